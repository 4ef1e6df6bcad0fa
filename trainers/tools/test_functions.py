"""Update rules on loss surfaces of two parameters: ravine, steep optimum, cliff, many basins.

    python -m trainers.tools.test_functions    which rule reaches the optimum, for how many of 19 rates

The surfaces are those of documents 002 (after the UvA deep-learning tutorials) and 000; claims O13, O14,
O18, O19, S6 and S11. The rules and schedules are the catalogue's own, and starts times rates are a stack.
Shape letters: K members (a start and a rate each), T steps.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from search_spaces.config import Setting
from search_spaces.optimizers import OPTIMIZER
from search_spaces.space import complete
from trainers.loop.updates import Updates
from trainers.randomness import stream
from trainers.tensors.layout import ALIGNMENT, Layout

STARTS, RATES, STEPS = 16, 19, 100


@dataclass(frozen=True, kw_only=True)
class Surface:
    """A loss of two parameters and where on it rules are tried."""

    name: str
    source: str
    loss: Callable[[Tensor, Tensor], Tensor]
    """(w1 [...], w2 [...]) -> loss [...]."""
    low: tuple[float, float]
    high: tuple[float, float]
    """Starts are drawn uniformly between the two corners."""
    reached: float
    """The loss from which the optimum counts as reached."""


def ravine(w1: Tensor, w2: Tensor) -> Tensor:
    """tanh(w1)^2 + |w1| / 100 + sigmoid(w2): steep across, nearly flat along (002)."""
    return torch.tanh(w1) ** 2 + 0.01 * w1.abs() + torch.sigmoid(w2)


WELLS = ((1.0, -0.5), (-1.0, 0.5), (-0.5, -0.8))


def steep_optimum(w1: Tensor, w2: Tensor) -> Tensor:
    """Minus three Gaussian wells of SD 0.2: flat almost everywhere, steep around the optima (002)."""
    sd = 0.2
    wells = [
        torch.exp(-((w1 - a) ** 2 + (w2 - b) ** 2) / (2 * sd**2)) / (2 * math.pi * sd**2) for a, b in WELLS
    ]
    return -torch.stack(wells).sum(0)


def quadratic(w1: Tensor, w2: Tensor) -> Tensor:
    """(w1^2 + 20 w2^2) / 2: the simple bowl of 001, twenty times as steep one way as the other."""
    return 0.5 * (w1**2 + 20 * w2**2)


def cliff(w1: Tensor, w2: Tensor) -> Tensor:
    """A gentle slope to w1 = 0 that breaks off at w1 = 1: 50 times the gradient in a strip (000)."""
    return 0.05 * (w1**2 + w2**2) + torch.sigmoid(50 * (w1 - 1)) * 4


def basins(w1: Tensor, w2: Tensor) -> Tensor:
    """A bowl with ripples, a local minimum in each: what warm restarts should leave (001)."""
    ripple = 2 - torch.cos(2 * math.pi * w1) - torch.cos(2 * math.pi * w2)
    return 0.1 * (w1**2 + w2**2) + 0.5 * ripple


SURFACES: Mapping[str, Surface] = {
    surface.name: surface
    for surface in (
        Surface(name="ravine", source="002", loss=ravine, low=(-5, 3), high=(5, 7), reached=0.1),
        Surface(
            name="steep_optimum", source="002", loss=steep_optimum, low=(-1, -1), high=(1, 1), reached=-3.9
        ),
        Surface(name="quadratic", source="001", loss=quadratic, low=(-3, -3), high=(3, 3), reached=1e-3),
        Surface(name="cliff", source="000", loss=cliff, low=(1.2, -2), high=(3, 2), reached=1e-2),
        Surface(name="basins", source="001", loss=basins, low=(-3, -3), high=(3, 3), reached=0.05),
    )
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class DescentResult:
    """What one rule did on one surface."""

    path_TK2: Tensor
    """Parameters before every step and after the last."""
    loss_TK: Tensor
    rates_K: Tensor
    reached_K: Tensor
    """Whether the last step stands in the optimum."""

    @property
    def rates_that_reach(self) -> int:
        """For how many learning rates at least half of the starts reach the optimum."""
        return sum(
            bool(self.reached_K[self.rates_K == rate].float().mean() >= 0.5)
            for rate in set(self.rates_K.tolist())
        )

    @property
    def straightness_K(self) -> Tensor:
        """Distance from first to last over the length of the path; 1 is a straight line (claim O19)."""
        moves_TK2 = self.path_TK2.diff(dim=0)
        length_K: Tensor = torch.linalg.vector_norm(moves_TK2, dim=-1).sum(0)
        between_K: Tensor = torch.linalg.vector_norm(self.path_TK2[-1] - self.path_TK2[0], dim=-1)
        return between_K / length_K.clamp_min(1e-12)


def rates(optimizer: str, count: int = RATES) -> list[float]:
    """Learning rates evenly spaced in the logarithm over the optimizer's own range."""
    span = next(r for r in OPTIMIZER.level(optimizer).ranges if r.name == "learning_rate")
    return [span.at(unit) for unit in np.linspace(0, 1, count).tolist()]


def descend(
    surface: Surface,
    levels: Mapping[str, str],
    learning_rates: Sequence[float],
    *,
    numbers: Mapping[str, float] | None = None,
    starts: int = STARTS,
    steps: int = STEPS,
) -> DescentResult:
    """Runs one recipe from random starts with every learning rate, all at once, in float64.

    Args:
        surface: where.
        levels: of optimizer, schedule, clipping and the like; missing ones are the framework's.
        learning_rates: one member for each of them and each start.
        numbers: of those levels; missing ones are the library's.
        starts: drawn from the surface's own stream, the same for every recipe.
        steps: updates.

    Raises:
        ValueError: an update rule for matrices, which has none to work on here.
    """
    setting = Setting(steps=steps, evaluations=1, precision="float64")
    corner, far = torch.tensor(surface.low), torch.tensor(surface.high)
    unit_S2 = torch.from_numpy(stream("surfaces", surface.name).random((starts, 2)))
    start_S2 = corner + unit_S2 * (far - corner)
    cases = list(itertools.product(learning_rates, range(starts)))
    configs = [
        complete(levels, {**(numbers or {}), "learning_rate": rate}, setting=setting) for rate, _ in cases
    ]
    params_KP = torch.zeros(len(cases), ALIGNMENT, dtype=torch.float64)
    params_KP[:, :2] = start_S2[[s for _, s in cases]]
    layout = Layout.of({"point": ((2,), "own")})
    check = OPTIMIZER.level(configs[0].levels["optimizer"]).build.check
    if check is not None:
        check(layout.segments)
    updates = Updates(configs, layout, params_KP)
    steady_K = torch.ones(len(cases), dtype=torch.float64)
    path, losses = [params_KP[:, :2].clone()], []
    for step in range(steps):
        loss_K, grads_KP = _gradient(surface, params_KP)
        losses.append(loss_K)
        updates.step(step, params_KP, grads_KP, steady_K)
        path.append(params_KP[:, :2].clone())
    losses.append(_gradient(surface, params_KP)[0])
    loss_TK = torch.stack(losses)
    return DescentResult(
        path_TK2=torch.stack(path),
        loss_TK=loss_TK,
        rates_K=torch.tensor([rate for rate, _ in cases], dtype=torch.float64),
        reached_K=loss_TK[-1] <= surface.reached,
    )


def _gradient(surface: Surface, params_KP: Tensor) -> tuple[Tensor, Tensor]:
    """Loss [K] and its gradient in the shape of the rows."""
    point_KP = params_KP.detach().clone().requires_grad_()
    loss_K = surface.loss(point_KP[:, 0], point_KP[:, 1])
    (grads_KP,) = torch.autograd.grad(loss_K.sum(), point_KP)
    return loss_K.detach(), grads_KP


def iterated(x: Tensor, times: int) -> Tensor:
    """f(f(...f(x))) with f(x) = -3.5 x^2 + 3.5 x: how composing makes mountains of a hill (000, A21)."""
    for _ in range(times):
        x = -3.5 * x**2 + 3.5 * x
    return x


def extrema(times: int, points: int = 200_001) -> int:
    """Local extrema of the iterated function inside (0, 1), counted on an even grid."""
    y = iterated(torch.linspace(0, 1, points, dtype=torch.float64), times)
    turns = y.diff().sign()
    return int((turns[1:] * turns[:-1] < 0).sum())


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    print(f"learning rates (of {RATES}) with which at least half of {STARTS} starts reach the optimum in")
    print(f"{options.steps} steps; constant rate, all other numbers at torch's defaults\n")
    print(f"{'':15s}" + "".join(f"{name:>15s}" for name in SURFACES) + "  straightness on the quadratic")
    for optimizer in OPTIMIZER.names:
        try:
            cells = {
                name: descend(surface, {"optimizer": optimizer}, rates(optimizer), steps=options.steps)
                for name, surface in SURFACES.items()
            }
        except ValueError as error:  # a rule for matrices has none to work on
            print(f"{optimizer:15s} {error}")
            continue
        counts = "".join(f"{cell.rates_that_reach:15d}" for cell in cells.values())
        bowl = cells["quadratic"]
        straight = bowl.straightness_K[bowl.reached_K].nanmedian()
        print(f"{optimizer:15s}{counts}{straight:31.2f}", flush=True)
    counts = ", ".join(f"{extrema(times)} at {times}" for times in range(1, 9))
    print(f"\nextrema of f(x) = -3.5 x^2 + 3.5 x applied so many times: {counts}")


if __name__ == "__main__":
    main()
