"""B6: what asking for K points at once costs a search, in trials.

    python -m tests.benchmarks.batched_suggestions [--trials 128] [--seeds 20] [--sizes 1 8 32 128]

A generation of K points is asked before any of its results is told, by the joint sampler of search studies
(`studies.search.optuna_study.OptunaStudy`, TPE) with all that surrounds it: levels that open numbers of
their own, rounding, six digits. With --ahead the next generation is asked before the results too, as searches
do. Equal trials for everyone; printed is the normalised regret of the best point so far: (best found - best
there is) / (mean of random points - best there is), the median over seeds, and its ratio to asking one by
one. Random points stand beside it. The functions are closed forms on the space of the end-to-end benchmark;
nothing is trained.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable, Mapping
from functools import cache

from search_spaces.overrides import Overrides
from studies.search.optuna_study import AHEAD, OptunaStudy, TrialResult
from studies.search.space import Point, Space
from tests.benchmarks.peers.digits_network import DROPOUT_RATE, LEARNING_RATE, WEIGHT_DECAY
from trainers.randomness import stream

SPACE = Space(
    choices={
        "initializer": ("he_normal", "glorot_normal"),
        "activation": ("relu", "tanh", "silu"),
        "optimizer": ("momentum", "adam"),
    },
    numbers={"learning_rate": LEARNING_RATE, "weight_decay": WEIGHT_DECAY, "dropout_rate": DROPOUT_RATE},
    held=Overrides(levels={"weight_decay": "l2", "dropout": "dropout"}),
)
"""The space of the end-to-end benchmark."""
STUDY = "batched-suggestions"
GUESSES = 1024
"""Random points whose mean is what guessing gives."""
NOISE = 0.01
"""SD of what is told in the noisy case, in units of what guessing gives."""

Units = tuple[float, float, float]
"""Rate, decay and dropout on [0, 1], the first two by their logarithms."""
Surface = Callable[[Mapping[str, str], Units], float]


def bowl(levels: Mapping[str, str], at: Units) -> float:
    """Levels that differ a little and move the best rate: what trainings of small networks look like."""
    best = 0.8 if levels["optimizer"] == "momentum" else 0.25
    rate, decay, dropout = at
    apart = {"relu": 0.0, "tanh": 0.05, "silu": 0.02}[levels["activation"]]
    apart += 0.02 * (levels["initializer"] == "glorot_normal") + 0.03 * (levels["optimizer"] == "adam")
    return apart + 2 * (rate - best) ** 2 + 0.3 * (decay - 0.4) ** 2 + 0.5 * (dropout - 0.3) ** 2


def branin(levels: Mapping[str, str], at: Units) -> float:
    """Branin's function of rate and decay, in units of its range; three equal optima. Least: 0."""
    x, y = 15 * at[0] - 5, 15 * at[1]
    value = (y - 5.1 * x**2 / (4 * math.pi**2) + 5 * x / math.pi - 6) ** 2
    value += 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10 - 0.397887
    return value / 100 + 0.1 * (levels["activation"] != "tanh") + 0.1 * (at[2] - 0.7) ** 2


def ravine(levels: Mapping[str, str], at: Units) -> float:
    """Rosenbrock's function of rate and decay: a bent valley whose floor falls slowly. Least: 0."""
    x, y = 3 * at[0] - 1.5, 3 * at[1] - 1
    return (100 * (y - x**2) ** 2 + (1 - x) ** 2) / 100 + 0.05 * (levels["optimizer"] != "adam")


def cliff(levels: Mapping[str, str], at: Units) -> float:
    """The best rate lies just below one at which every training diverges. Least: 0."""
    edge = 0.7 if levels["activation"] == "relu" else 0.5
    return 1.0 if at[0] > edge else edge - at[0] + 0.2 * (0.7 - edge) + 0.2 * at[2]


SURFACES: dict[str, tuple[Surface, float]] = {
    "bowl": (bowl, 0.0),
    "bowl, noisy": (bowl, NOISE),
    "branin": (branin, 0.0),
    "ravine": (ravine, 0.0),
    "cliff": (cliff, 0.0),
}
"""Name -> the function, whose least value is 0, and the noise of what is told."""


def value(surface: Surface, point: Point) -> float:
    """The surface at a point of the space."""
    config = SPACE.config(point)
    spans = (("learning_rate", LEARNING_RATE), ("weight_decay", WEIGHT_DECAY))
    rate, decay = (math.log(config.numbers[name] / low) / math.log(high / low) for name, (low, high) in spans)
    return surface(config.levels, (rate, decay, config.numbers["dropout_rate"] / DROPOUT_RATE[1]))


@cache
def guess(name: str) -> float:
    """The mean of random points."""
    talk = OptunaStudy(SPACE, study=STUDY, task=name, trials=GUESSES, sampler="random")
    points = talk.ask(GUESSES, generation=0)
    return statistics.fmean(value(SURFACES[name][0], point) for point in points)


def regret(name: str, seed: int, trials: int, size: int, sampler: str, ahead: int = 0) -> float:
    """Of the best of so many trials, asked `size` at a time and `ahead` generations early, over a guess's."""
    surface, noise = SURFACES[name]
    talk = OptunaStudy(SPACE, study=f"{STUDY}-{seed}", task=name, trials=trials, sampler=sampler)
    running: list[list[TrialResult]] = []
    asked, best = 0, math.inf
    while asked < trials:
        if len(running) > ahead:
            talk.tell(running.pop(0))
        points = talk.ask(
            min(size, trials - asked),
            generation=asked // size,
            running=[one.point for generation in running for one in generation],
        )
        running.append([])
        for point in points:
            truth = value(surface, point)
            drawn = float(stream("noise", name, seed, asked).standard_normal())
            running[-1].append(TrialResult(point=point, metric=truth + noise * guess(name) * drawn))
            best = min(best, truth)
            asked += 1
    return best / guess(name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trials", type=int, default=128)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--ahead", action="store_true")
    parser.add_argument("--surfaces", nargs="+", choices=SURFACES, default=list(SURFACES))
    asked = parser.parse_args()
    print(
        f"{asked.trials} trials, {asked.seeds} seeds; median normalised regret, and times that of the first"
    )
    print(
        f"{'':14}" + "".join(f"{f'{size} at once':>18}" for size in asked.sizes) + f"{'random':>18}",
        flush=True,
    )
    ways = [(size, "tpe") for size in asked.sizes] + [(asked.trials, "random")]
    ratios: list[list[float]] = [[] for _ in ways]
    for name in asked.surfaces:
        medians = []
        for size, sampler in ways:
            ahead = AHEAD if asked.ahead and size > 1 else 0
            found = [regret(name, seed, asked.trials, size, sampler, ahead) for seed in range(asked.seeds)]
            medians.append(statistics.median(found))
        for column, middle in zip(ratios, medians, strict=True):
            column.append(middle / medians[0])
        cells = (f"{middle:9.4f} {f'({middle / medians[0]:.2f})':>8}" for middle in medians)
        print(f"{name:14}" + "".join(cells), flush=True)
    means = (f"{statistics.geometric_mean(column):18.2f}" for column in ratios)
    print(f"{'geometric mean':14}" + "".join(means))


if __name__ == "__main__":
    main()
