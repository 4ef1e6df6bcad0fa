"""How signals pass through deep networks before any training: the probes of claims I2 to I10 and A16.

    python -m trainers.tools.signal_probes              measured beside claimed, under a minute
    python -m trainers.tools.signal_probes --training   also the claims about training 3 to 30 layers, minutes

The networks, initializers and activations are the catalogue's own, and the seeds are a stack.
Shape letters: K seeds, B items, F features, L layers.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from search_spaces.activations import ACTIVATION
from search_spaces.config import Setting
from search_spaces.initializers import INITIALIZER
from search_spaces.normalizations import NORMALIZATION
from search_spaces.space import complete
from trainers.diagnostics.flow import FlowTaps
from trainers.evaluation import Slot
from trainers.loop.pack import train_pack
from trainers.member import Member
from trainers.networks.network import ForwardPass, Noise
from trainers.networks.perceptron import Perceptron
from trainers.randomness import StreamKey, stream
from trainers.tasks import TASKS

SEEDS, ITEMS, WIDTH = 10, 16, 256


@dataclass(frozen=True, kw_only=True)
class MeasuredClaim:
    """One number of the claims' table, measured."""

    claim: str
    what: str
    claimed: str
    """As the claims' table has it, from a small simulation of its own."""
    measured: float
    low: float
    high: float
    """The tolerance: where the measured number must lie."""

    @property
    def reproduced(self) -> bool:
        return self.low <= self.measured <= self.high


def propagate(
    levels: Mapping[str, str],
    *,
    depth: int,
    width: int = WIDTH,
    seeds: int = SEEDS,
    items: int = ITEMS,
    numbers: Mapping[str, float] | None = None,
    residual: bool = False,
    drop: float = 0.0,
    spread: float = 1.0,
    shift: float = 0.0,
) -> Tensor:
    """Second moments [K, L] of what each hidden layer gives on, for inputs from N(shift, spread^2).

    Biases are zero: the claims are about weights. With `drop`, units are dropped and the others scaled up,
    as in training.
    """
    setting = Setting(depth=depth, width=width, residual=residual)
    config = complete(levels, numbers, setting=setting)
    network = Perceptron.of(config, width, 2)
    keys = [StreamKey(study="probes", task="normal", block=0, phase="probe", index=k) for k in range(seeds)]
    starts = [network.start(config, key) for key in keys]
    params, buffers = (torch.stack(rows).float() for rows in zip(*starts, strict=True))
    views = network.parameters.views(params)
    for segment in network.parameters.segments:
        if segment.role == "bias":
            views[segment.name].zero_()
    draws = [torch.from_numpy(key.stream("items").standard_normal((items, width))) for key in keys]
    x = torch.stack(draws).float() * spread + shift
    spans = (
        *ACTIVATION.level(config.levels["activation"]).ranges,
        *NORMALIZATION.level(config.levels["normalization"]).ranges,
    )
    generator = torch.Generator().manual_seed(0)
    taps = FlowTaps()
    scale = None
    if drop:
        scale = (torch.rand(depth, seeds, items, width, generator=generator) >= drop) / (1 - drop)

    how = ForwardPass(
        training=True,
        numbers={span.name: torch.full((seeds, 1, 1), config.numbers[span.name]) for span in spans},
        noise=Noise(scale=scale),
        watch=taps,
    )
    with torch.no_grad():
        network.forward(views, network.buffers.views(buffers), x, how)
    return torch.stack([h.double().square().flatten(1).mean(1) for h in taps.hidden], dim=1)


def first_lost(moments_KL: Tensor) -> Tensor:
    """The first layer [K], from 1, whose numbers are not finite; infinite where all are."""
    lost = ~torch.isfinite(moments_KL)
    return torch.where(lost.any(1), lost.int().argmax(1).double() + 1, math.inf)


def average(moments_KL: Tensor) -> float:
    """Mean over seeds of the last layer's second moment; single seeds lie decades apart under GELU."""
    return float(moments_KL[:, -1].mean())


def probes() -> Iterator[MeasuredClaim]:
    """Every claim that is a matter of mathematics or of rounding, with no training in it."""
    yield from _overflow()
    yield from _relu()
    yield from _he_elsewhere()
    yield from _selu()


def _overflow() -> Iterator[MeasuredClaim]:
    lost = first_lost(propagate({"initializer": "std_normal", "activation": "identity"}, depth=40))
    what = "linear, N(0, 1): first layer that overflows"
    for name, end in (("earliest seed", lost.min()), ("latest seed", lost.max())):
        yield MeasuredClaim(
            claim="I2", what=f"{what}, {name}", claimed="31-32", measured=float(end), low=30, high=33
        )
    steady = propagate({"initializer": "lecun_normal", "activation": "identity"}, depth=100)
    yield MeasuredClaim(
        claim="I2",
        what="linear, N(0, 1/256): seeds finite after 100 layers",
        claimed="all",
        measured=float(torch.isfinite(steady).all(1).double().mean()),
        low=1.0,
        high=1.0,
    )
    tanh = propagate({"initializer": "glorot_uniform", "activation": "tanh"}, depth=100)
    yield MeasuredClaim(
        claim="I3",
        what="tanh, Glorot uniform: SD after 100 layers",
        claimed="0.067 (0.034-0.088)",
        measured=float(tanh[:, -1].sqrt().mean()),
        low=0.034,
        high=0.088,
    )


def _relu() -> Iterator[MeasuredClaim]:
    """Each layer multiplies E h^2 by (weight variance) * fan_in / 2."""
    for name, claimed, factor in (
        ("he_normal", "0.74", 1.0),
        ("lecun_normal", "7e-10", 1 / 2),
        ("glorot_normal", "", 1 / 2),
        ("torch_default", "3e-24", 1 / 6),
    ):
        measured = average(propagate({"initializer": name, "activation": "relu"}, depth=30))
        yield _after("I4", f"relu, {name}", claimed or "as LeCun", measured, factor**30, 3.0)
    draws = stream("probes", "I6")
    levels = ("torch_default", "he_uniform")
    default, he = (INITIALIZER.level(level).build.weight(1024, 1024, draws) for level in levels)
    yield MeasuredClaim(
        claim="I6",
        what="torch default: SD of weights * sqrt(fan_in)",
        claimed="0.5778",
        measured=float(default.std() * 32),
        low=0.5774 * 0.99,
        high=0.5774 * 1.01,
    )
    yield MeasuredClaim(
        claim="I6",
        what="He uniform: bound over torch default's",
        claimed="2.449",
        measured=float(abs(he).max() / abs(default).max()),
        low=math.sqrt(6) * 0.999,
        high=math.sqrt(6) * 1.001,
    )


def _he_elsewhere() -> Iterator[MeasuredClaim]:
    """He's gain is ReLU's own: under others the signal fades or grows."""
    for level, number, times in (
        ("silu", 1.2e-8, 3),
        ("gelu", 9e-4, 5),
        ("mish", 3.7e-2, 3),
        ("elu", 9.8, 2),
    ):
        measured = average(propagate({"initializer": "he_normal", "activation": level}, depth=30))
        yield _after("I8", f"{level}, he_normal", f"{number:g}", measured, number, times)
    leaky = {"initializer": "he_normal", "activation": "leaky_relu"}
    slope = 0.2
    for what, gain, expected, claimed in (
        ("uncorrected", 1.0, (1 + slope**2) ** 30, "2.9"),
        ("variance / (1 + 0.04)", 1 / math.sqrt(1 + slope**2), 1.0, "1"),
    ):
        numbers = {"negative_slope": slope, "init_gain": gain}
        measured = average(propagate(leaky, depth=30, numbers=numbers))
        yield _after("I9", f"leaky relu 0.2, he_normal, {what}", claimed, measured, expected, 2.0)


def _selu() -> Iterator[MeasuredClaim]:
    """Self-normalizing: the fixed point is 1, and each condition of A16 is broken alone."""
    good = {"initializer": "lecun_normal", "activation": "selu"}
    measured = average(propagate(good, depth=30))
    yield _after("I10", "selu, lecun_normal", "0.994", measured, 1.0, 1.1)
    he = average(propagate({**good, "initializer": "he_normal"}, depth=30))
    yield _after("I10", "selu, he_normal", "191", he, 191.0, 2.0)
    arms: tuple[tuple[str, Callable[[], Tensor], float, float], ...] = (
        ("all conditions kept", lambda: propagate(good, depth=30), 0.9, 1.1),
        ("inputs N(3, 1)", lambda: propagate(good, depth=30, shift=3.0), 0.8, 1.25),
        ("inputs N(0, 100)", lambda: propagate(good, depth=30, spread=10.0), 0.8, 1.25),
        ("not LeCun but He", lambda: propagate({**good, "initializer": "he_normal"}, depth=30), 10, 1e6),
        ("skip connections", lambda: propagate(good, depth=30, residual=True), 10, 1e12),
        ("dropout 0.2", lambda: propagate(good, depth=30, drop=0.2), 1.25, 10),
    )
    for what, arm, low, high in arms:
        # The claim names the conditions; what the fixed point of 1 turns into is measured here.
        claimed = "1" if low < 1 else "not 1"
        yield MeasuredClaim(
            claim="A16", what=f"selu, {what}", claimed=claimed, measured=average(arm()), low=low, high=high
        )


def _after(
    claim: str, what: str, claimed: str, measured: float, expected: float, times: float
) -> MeasuredClaim:
    """A second moment after 30 layers, right within a factor of `times`."""
    return MeasuredClaim(
        claim=claim,
        what=f"{what}: E h^2 after 30 layers",
        claimed=claimed,
        measured=measured,
        low=expected / times,
        high=expected * times,
    )


# -- claims about training: measured on request, never asserted ----------------------------------


def trainings(rates: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1)) -> Iterator[tuple[str, str, str, float]]:
    """(claim, what, claimed, best validation accuracy over the rates) for deep nets on digits.

    One seed, 12 epochs of batches of 32, Nesterov momentum 0.9, width 64, no normalization.
    """
    task = TASKS["digits"]()
    steps = 12 * 33
    for claim, depth, activation, initializer, claimed in (
        ("I5", 3, "relu", "he_normal", "0.972"),
        ("I5", 3, "relu", "glorot_normal", "0.975"),
        ("I5", 20, "relu", "he_normal", "0.89"),
        ("I5", 20, "relu", "glorot_normal", "0.20"),
        ("I5", 30, "relu", "he_normal", "0.27"),
        ("I5", 30, "relu", "glorot_normal", "0.08"),
        ("I10 A17", 30, "selu", "lecun_normal", "0.96"),
        ("I10", 30, "selu", "he_normal", "0.87"),
        ("I19", 30, "tanh", "glorot_normal", "0.93"),
    ):
        setting = Setting(depth=depth, width=64, batch_size=32, steps=steps, train_size=1078, evaluations=12)
        levels = {"activation": activation, "initializer": initializer, "optimizer": "nesterov"}
        slot = Slot(
            study="probes",
            factor="",
            task="digits",
            regime="",
            block=0,
            level=initializer,
            phase="search",
            index=0,
        )
        members = [
            Member(slot=dataclasses.replace(slot, index=i), config=config, seed_index=0)
            for i, config in enumerate(
                complete(levels, {"learning_rate": rate}, setting=setting) for rate in rates
            )
        ]
        best = min(e.validation_metric for e in train_pack(members, task, diagnostics="none"))
        yield claim, f"{depth} layers, {activation}, {initializer}", claimed, 1 - best


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description="Signal propagation at the start, measured v claimed.")
    parser.add_argument("--training", action="store_true", help="also train nets of 3 to 30 layers")
    options = parser.parse_args()
    print(f"{SEEDS} seeds, {ITEMS} items, width {WIDTH}, float32")
    print(f"{'claim':6} {'what':58} {'claimed':>20} {'measured':>10} {'tolerance':>22}")
    for p in probes():
        limits = f"{p.low:.3g} to {p.high:.3g}"
        mark = "" if p.reproduced else "  NOT REPRODUCED"
        print(f"{p.claim:6} {p.what:58} {p.claimed:>20} {p.measured:>10.3g} {limits:>22}{mark}")
    if options.training:
        print("\nvalidation accuracy on digits, 1 seed, best of 4 rates")
        for claim, what, claimed, accuracy in trainings():
            print(f"{claim:8} {what:56} {claimed:>20} {accuracy:>10.3f}", flush=True)


if __name__ == "__main__":
    main()
