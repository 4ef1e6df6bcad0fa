"""Known results about update rules: algebra, and two published counterexamples.

Shape letters: T steps, P parameters, N items.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from search_spaces.config import Setting
from search_spaces.space import complete
from trainers.loop.updates import Updates
from trainers.tensors.layout import Layout
from trainers.tools.signal_probes import MeasuredClaim
from trainers.tools.test_functions import SURFACES, descend, rates

Gradient = Callable[[int, Tensor], Tensor]
"""(0-based step, parameters [P]) -> gradient [P]."""


def descended(
    optimizer: str, gradient: Gradient, *, size: int, steps: int, box: float | None = None, **numbers: float
) -> Tensor:
    """Parameters after every step [T, P] of the catalogue's rule, from zero, in float64.

    Args:
        optimizer: its level.
        gradient: of the loss of each step.
        size: how many parameters.
        steps: how many updates.
        box: parameters are kept within -box and box after every step; None: anywhere.
        numbers: of the optimizer; what is not named is torch's default.
    """
    setting = Setting(steps=steps, evaluations=1, precision="float64")
    config = complete({"optimizer": optimizer, "weight_decay": "none"}, numbers, setting=setting)
    layout = Layout.of({"point": ((size,), "own")})
    row = torch.zeros(1, layout.size, dtype=torch.float64)
    updates = Updates([config], layout, row)
    point = layout.views(row)["point"][0]
    grads = torch.zeros_like(row)
    slope = layout.views(grads)["point"][0]
    steady = torch.ones(1, dtype=torch.float64)
    path = torch.empty(steps, size, dtype=torch.float64)
    for step in range(steps):
        slope.copy_(gradient(step, point))
        updates.step(step, row, grads, steady)
        if box is not None:
            point.clamp_(-box, box)
        path[step] = point
    return path


def rules() -> Iterator[MeasuredClaim]:
    """Every known result about update rules alone."""
    yield from _velocity()
    yield from _adagrad()
    yield from _surfaces()
    yield from _reddi()
    yield from _wilson()


def _steady(step: int, point: Tensor) -> Tensor:
    return torch.ones_like(point)


def _velocity() -> Iterator[MeasuredClaim]:
    sgd = descended("sgd", _steady, size=1, steps=300, learning_rate=0.01)
    for name in ("momentum", "nesterov"):
        path = descended(name, _steady, size=1, steps=300, learning_rate=0.01, momentum=0.9)
        yield MeasuredClaim(
            claim="O1",
            what=f"{name} 0.9: last step over SGD's, steady gradient",
            claimed="1 / (1 - 0.9) = 10",
            measured=float((path[-1] - path[-2]) / (sgd[-1] - sgd[-2])),
            low=9.999,
            high=10.001,
        )


def _adagrad() -> Iterator[MeasuredClaim]:
    path = descended("adagrad", _steady, size=1, steps=100, learning_rate=0.01)
    yield MeasuredClaim(
        claim="O3",
        what="AdaGrad: step 100 over step 1, steady gradient",
        claimed="1 / sqrt(100) = 0.1",
        measured=float((path[99] - path[98]) / path[0]),
        low=0.0999,
        high=0.1001,
    )


def _surfaces() -> Iterator[MeasuredClaim]:
    """How many of 19 learning rates lead at least half of 16 starts to the optimum in 100 steps."""
    for claim, surface, optimizer, claimed, low, high in (
        ("O13", "ravine", "sgd", "0 (fails)", 0.0, 0.0),
        ("O13", "ravine", "momentum", "3 (reaches it)", 1.0, 19.0),
        ("O13", "ravine", "adam", "8 (reaches it)", 1.0, 19.0),
    ):
        found = descend(SURFACES[surface], {"optimizer": optimizer}, rates(optimizer))
        yield MeasuredClaim(
            claim=claim,
            what=f"{surface}, {optimizer}: learning rates of 19 that reach the optimum",
            claimed=claimed,
            measured=float(found.rates_that_reach),
            low=low,
            high=high,
        )
    wells = [descend(SURFACES["steep_optimum"], {"optimizer": name}, rates(name)) for name in ("adam", "sgd")]
    yield MeasuredClaim(
        claim="O14",
        what="steep optimum: learning rates that reach it, Adam's minus SGD's",
        claimed="8 - 0",
        measured=float(wells[0].rates_that_reach - wells[1].rates_that_reach),
        low=1,
        high=19,
    )
    bowl = descend(SURFACES["quadratic"], {"optimizer": "sgd"}, [0.099, 0.101], steps=2000)
    for rate, claimed, low, high in (
        (0.099, "below 2 / 20: 1", 1.0, 1.0),
        (0.101, "above 2 / 20: 0", 0.0, 0.0),
    ):
        reached = bowl.reached_K[bowl.rates_K == rate].double().mean()
        what = f"bowl of curvature 20, SGD at {rate}: share of starts that arrive"
        yield MeasuredClaim(
            claim="G4", what=what, claimed=claimed, measured=float(reached), low=low, high=high
        )


PERIOD, SPIKE, REST = 101, 1010.0, -10.0


def _spiked(step: int, point: Tensor) -> Tensor:
    """Reddi et al. 2018, section 5: 1010 x once in 101 steps, else -10 x. The mean loss falls toward -1."""
    return torch.full_like(point, SPIKE if step % PERIOD == 0 else REST)


def _reddi() -> Iterator[MeasuredClaim]:
    """Adam walks away from the best point of a linear loss, AMSGrad does not (arXiv:1904.09237)."""
    for name, low, high, claimed in (
        ("adam", 0.5, 1.0, "+1, the worst point"),
        ("amsgrad", -1.0, -0.5, "-1, the best point"),
    ):
        path = descended(
            name, _spiked, size=1, steps=30_300, box=1.0, learning_rate=0.04, beta1=0.9, beta2=0.99
        )
        yield MeasuredClaim(
            claim="G6",
            what=f"{name} on Reddi et al.'s loss: mean place of the last 1010 steps",
            claimed=claimed,
            measured=float(path[-1010:].mean()),
            low=low,
            high=high,
        )


def wilson(rng: np.random.Generator, n: int, own: int, share: float = 0.7) -> tuple[Tensor, Tensor]:
    """Items [n, 3 + own] and labels [n] of Wilson et al. 2017, section 3.3 (arXiv:1705.08292).

    The first feature is the label, the next two are always 1, and every item has features of its own: one
    where the label is 1, five where it is -1. With `own` 0 they are left out: at new items' own features
    every weight is still at zero.
    """
    y = np.where(rng.random(n) < share, 1.0, -1.0)
    x = np.zeros((n, 3 + own))
    x[:, 0], x[:, 1:3] = y, 1.0
    if own:
        for i, label in enumerate(y):
            x[i, 3 + 5 * i : 3 + 5 * i + (1 if label > 0 else 5)] = 1.0
    return torch.from_numpy(x), torch.from_numpy(y)


def _wilson() -> Iterator[MeasuredClaim]:
    """Least squares from zero: gradient descent separates new items, adaptive rules call all of them 1."""
    n = 200
    x_NP, y_N = wilson(np.random.default_rng(1), n, 5 * n)
    new_NP, labels_N = wilson(np.random.default_rng(2), 1000, 0)
    negative = float((labels_N < 0).double().mean())

    def gradient(step: int, point: Tensor) -> Tensor:
        return x_NP.T @ (x_NP @ point - y_N) / n

    for name, rate, steps in (
        ("sgd", 0.3, 3000),
        ("momentum", 0.03, 3000),
        ("adagrad", 0.1, 500),
        ("rmsprop", 0.001, 500),
        ("adam", 0.001, 500),
    ):
        point = descended(name, gradient, size=3 + 5 * n, steps=steps, learning_rate=rate)[-1]
        adaptive = name not in ("sgd", "momentum")
        wrong = float((new_NP @ point[:3] * labels_N <= 0).double().mean())
        expected = negative if adaptive else 0.0
        yield MeasuredClaim(
            claim="O9",
            what=f"Wilson et al.'s data, {name}: test error",
            claimed=f"{expected:.3f}" + (" (all negatives)" if adaptive else ""),
            measured=wrong,
            low=expected - 1e-9,
            high=expected + 1e-9,
        )
