"""Known results about trained networks: norms, decay, and who trains at which depth.

Shape letters: K members, V validation items, F features.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from search_spaces.config import Setting
from search_spaces.space import complete
from tests.replications.trained import Trained, trained
from trainers.evaluation import Slot
from trainers.loop.pack import train_pack
from trainers.member import Member
from trainers.networks.fold_batch_norm import fused
from trainers.networks.network import ForwardPass, Noise
from trainers.tasks import TASKS
from trainers.tools.signal_probes import MeasuredClaim

RATES = (0.003, 0.01, 0.03, 0.1)
SMALL = Setting(
    depth=3, width=32, batch_size=32, steps=200, train_size=1000, evaluations=2, precision="float64"
)


def members(
    levels: Mapping[str, str], numbers: Mapping[str, float], setting: Setting, rates: tuple[float, ...]
) -> list[Member]:
    """One member on digits for every learning rate, all with the same streams."""
    return [
        Member(
            slot=Slot(
                study="replications", factor="", task="digits", regime="", block=0, level="", phase="search",
                index=i,
            ),
            config=complete(levels, {**numbers, "learning_rate": rate}, setting=setting),
            seed_index=0,
        )
        for i, rate in enumerate(rates)
    ]  # fmt: skip


def nets() -> Iterator[MeasuredClaim]:
    """Every known result that needs a trained network."""
    yield from _decay()
    yield from _fusion()
    yield from _variance_shift()
    yield from _depth()


def _decay() -> Iterator[MeasuredClaim]:
    """An L2 penalty and decoupled decay of one strength: one training for SGD, two for Adam (R4)."""
    task = TASKS["digits"]()
    for optimizer, rate, claimed, low, high in (
        ("sgd", 0.1, "0 (the same)", 0.0, 1e-9),
        ("adam", 0.003, "not 0", 1e-2, math.inf),
    ):
        ends = []
        for level in ("l2", "decoupled"):
            levels = {"initializer": "he_normal", "optimizer": optimizer, "weight_decay": level}
            ends.append(
                trained(members(levels, {"weight_decay": 0.01}, SMALL, (rate,)), task).stack.params_SP
            )
        apart = float((ends[0] - ends[1]).norm() / ends[1].norm())
        what = f"{optimizer}: L2 against decoupled decay, distance of weights after 200 steps"
        yield MeasuredClaim(claim="R4", what=what, claimed=claimed, measured=apart, low=low, high=high)


def _fusion() -> Iterator[MeasuredClaim]:
    """A trained batch norm folded into the map before it gives the same outputs (N9)."""
    levels = {"initializer": "he_normal", "optimizer": "nesterov", "normalization": "batch_norm"}
    end = trained(members(levels, {}, SMALL, (0.03,)), TASKS["digits"]())
    how = ForwardPass(training=False, numbers=end.stack.numbers)
    with torch.no_grad():
        normed = end.network.forward(end.stack.parameters, end.stack.buffers, end.x_KVF, how)
        plain, rows = fused(end.network, end.stack.params_SP, end.stack.buffers_SP)
        folded = plain.forward(plain.parameters.views(rows), {}, end.x_KVF, how)
    what = "trained batch norm, folded or not: largest difference of outputs"
    found = float((normed - folded).abs().max())
    yield MeasuredClaim(claim="N9", what=what, claimed="below 1e-5", measured=found, low=0.0, high=1e-5)


def _variance_shift() -> Iterator[MeasuredClaim]:
    """Dropout before a batch norm: the norm learns from a larger variance than it meets at test time (N7).

    Li et al. 2019, arXiv:1801.05134. Dropping inputs h of a linear map with weights w, and scaling the others
    by 1 / (1 - p), adds p / (1 - p) * sum(w^2 E[h^2]) to the variance of its sums.
    """
    p, copies = 0.5, 20
    levels = {
        "initializer": "he_normal",
        "optimizer": "nesterov",
        "normalization": "batch_norm",
        "dropout": "dropout",
    }
    end = trained(members(levels, {"dropout_rate": p}, SMALL, (0.03,)), TASKS["digits"]())
    x_KVF = end.x_KVF.repeat(1, copies, 1)
    draws = torch.rand(
        (SMALL.depth, 1, x_KVF.shape[1], SMALL.width), generator=torch.Generator().manual_seed(0)
    )
    mask = (draws >= p).to(x_KVF.dtype) / (1 - p)
    seen = [_sums(end, x_KVF, noise) for noise in (Noise(), Noise(scale=mask))]
    at_test, in_training = (sums["sum1"].var(1) for sums in seen)
    squares = seen[0]["hidden0"].square().mean(1)
    added = p / (1 - p) * (squares[:, None] @ end.stack.parameters["weight1"].detach() ** 2)[:, 0]
    expected = float((1 + added / at_test).median())
    yield MeasuredClaim(
        claim="N7",
        what="dropout 0.5, then batch norm: variance in training over that at test",
        claimed=f"{expected:.2f} (algebra)",
        measured=float((in_training / at_test).median()),
        low=max(1.1, 0.95 * expected),
        high=1.05 * expected,
    )


def _sums(end: Trained, x_KVF: Tensor, noise: Noise) -> dict[str, Tensor]:
    """What flows through the trained network, its norms at their running statistics, with that noise."""
    seen: dict[str, Tensor] = {}

    def watch(name: str, z: Tensor) -> Tensor:
        seen[name] = z
        return z

    how = ForwardPass(training=False, numbers=end.stack.numbers, noise=noise, watch=watch)
    with torch.no_grad():
        end.network.forward(end.stack.parameters, end.stack.buffers, x_KVF, how)
    return seen


def _accuracy(depth: int, activation: str, initializer: str, normalization: str = "none") -> float:
    """Best validation accuracy on digits over four rates: width 64, 12 epochs of batches of 32, Nesterov."""
    setting = Setting(depth=depth, width=64, batch_size=32, steps=12 * 33, train_size=1078, evaluations=12)
    levels = {
        "activation": activation,
        "initializer": initializer,
        "normalization": normalization,
        "optimizer": "nesterov",
    }
    found = train_pack(members(levels, {}, setting, RATES), TASKS["digits"](), diagnostics="none")
    return 1 - min(e.validation_metric for e in found)


def _depth() -> Iterator[MeasuredClaim]:
    depths = (3, 20, 30)
    he, glorot = (
        {depth: _accuracy(depth, "relu", f"{name}_normal") for depth in depths} for name in ("he", "glorot")
    )

    def probe(claim: str, what: str, claimed: str, measured: float, low: float, high: float) -> MeasuredClaim:
        return MeasuredClaim(
            claim=claim, what=f"{what}: accuracy", claimed=claimed, measured=measured, low=low, high=high
        )

    gap = he[3] - glorot[3]
    yield probe("I5", "3 layers of ReLU, He minus Glorot", "0.972 - 0.975", gap, -0.03, 0.03)
    gap = he[20] - glorot[20]
    yield probe("I5", "20 layers of ReLU, He minus Glorot", "0.89 - 0.20", gap, 0.3, 1.0)
    yield probe("I5", "30 layers of ReLU, Glorot", "0.08, stalls", glorot[30], 0.0, 0.25)
    selu = _accuracy(30, "selu", "lecun_normal")
    yield probe("I10", "30 layers of SELU, LeCun", "0.96, trains", selu, 0.8, 1.0)
    silu = _accuracy(30, "silu", "he_normal")
    yield probe("I8", "30 layers of Swish, He", "chance, stalls", silu, 0.0, 0.25)
    rescued = _accuracy(30, "silu", "he_normal", "batch_norm")
    yield probe("N1", "the same with batch norm, gained", "rescued", rescued - silu, 0.3, 1.0)
