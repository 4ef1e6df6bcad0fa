"""The one door to Optuna: one in-memory study per cell, asked for points and told their results.

The default sampler is ours: its point is a function of the trial number, from one scrambled Sobol
design per (study, task, block). Columns belong to number names, so that a number shared by two levels
or regimes takes the same places in both (common random numbers).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from search_spaces.factor import Range, rounded
from trainers.randomness import integer_seed

GENERATION = 4
"""Trials asked together by an adaptive sampler; the next ones wait for all of their results."""

optuna.logging.set_verbosity(optuna.logging.WARNING)


def design(*, study: str, task: str, block: int, points: int, columns: int) -> NDArray[np.float64]:
    """The scrambled Sobol points [points, columns] in the unit cube that all levels of a block share."""
    return _design(study, task, block, points, columns)


@lru_cache(maxsize=4096)
def _design(study: str, task: str, block: int, points: int, columns: int) -> NDArray[np.float64]:
    from scipy.stats import qmc  # here: a second that searches without a design need not wait

    seed = np.random.default_rng(integer_seed(study, task, block, "design"))
    # Drawn to the next power of two and cut: a prefix does not depend on how much of it is used.
    drawn = qmc.Sobol(columns, scramble=True, rng=seed).random_base2(max(points - 1, 0).bit_length())
    values: NDArray[np.float64] = drawn[:points]
    values.setflags(write=False)
    return values


class DesignSampler(BaseSampler):
    """Optuna's view of a design: trial number n takes row n - 1, parameter p takes p's column."""

    def __init__(self, points: NDArray[np.float64], columns: Sequence[str], ranges: Mapping[str, Range]):
        self._points = points
        self._column = {name: i for i, name in enumerate(columns)}
        self._ranges = ranges

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> float:
        span = self._ranges[param_name]
        return _flipped(span, span.at(float(self._points[trial.number - 1, self._column[param_name]])))


class Search:
    """One cell's search. Trial 0 is the library default; the sampler fills the rest.

    The same asks and tells in the same order give the same points in any process, which is how a
    resumed study gets its searches back from the ledger.
    """

    def __init__(
        self,
        *,
        study: str,
        task: str,
        block: int,
        ranges: Mapping[str, Range],
        columns: Sequence[str],
        trials: int,
        sampler: str,
    ) -> None:
        """Levels and regimes are no arguments: they share the block's design and the sampler's seed.

        Args:
            study: the study's name; the randomness hangs on it,
            task: on the task's name,
            block: and on the block.
            ranges: the numbers that this cell searches, with their limits.
            columns: all nuisance numbers of the study, sorted: the columns of the design.
            trials: points besides the library default.
            sampler: 'sobol', 'random', 'tpe' or 'gp'.
        """
        self._ranges = dict(sorted(ranges.items()))
        self._asked: list[optuna.Trial] = []
        seed = integer_seed(study, task, block, "search")
        chosen: BaseSampler
        if sampler == "sobol":
            points = design(study=study, task=task, block=block, points=trials, columns=max(len(columns), 1))
            chosen = DesignSampler(points, columns, self._ranges)
        elif sampler == "random":
            chosen = RandomSampler(seed=seed)
        elif sampler == "tpe":
            chosen = TPESampler(seed=seed, n_startup_trials=_startup(trials))
        elif sampler == "gp":
            chosen = GPSampler(seed=seed, n_startup_trials=_startup(trials))
        else:
            raise ValueError(f"unknown sampler '{sampler}'. Allowed: gp, random, sobol, tpe")
        self._study = optuna.create_study(sampler=chosen, direction="minimize")
        self._defaults = {name: span.default for name, span in self._ranges.items()}
        self._default_is_a_point = all(
            span.low <= span.default <= span.high for span in self._ranges.values()
        )
        if self._default_is_a_point:
            self._study.enqueue_trial(
                {name: _flipped(span, span.default) for name, span in self._ranges.items()}
            )

    def ask(self, count: int) -> list[dict[str, float]]:
        """The next `count` points: number name -> value at 6 significant digits."""
        return [self._ask_one() for _ in range(count)]

    def tell(self, number: int, value: float) -> None:
        """The validation metric of trial `number` (finite: a diverged member has the trivial error)."""
        trial = self._asked[number]
        if number == 0 and not self._default_is_a_point:
            # A default outside the ranges (weight decay 0 on a log scale) is no point of the space.
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            self._study.tell(trial, value)

    def _ask_one(self) -> dict[str, float]:
        trial = self._study.ask()
        self._asked.append(trial)
        if trial.number == 0 and not self._default_is_a_point:
            return dict(self._defaults)
        found = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            for name, span in self._ranges.items():
                if span.whole:
                    value = float(trial.suggest_int(name, int(span.low), int(span.high), log=span.log))
                else:
                    low, high = sorted((_flipped(span, span.low), _flipped(span, span.high)))
                    drawn = trial.suggest_float(name, low, high, log=span.log or span.log_of_complement)
                    value = rounded(_flipped(span, drawn))
                inside = min(max(value, span.low), span.high)
                found[name] = span.default if trial.number == 0 else inside
        return found


def _flipped(span: Range, value: float) -> float:
    """What Optuna sees of a value, and back: 1 minus it where the range is logarithmic in that."""
    return 1 - value if span.log_of_complement else value


def _startup(trials: int) -> int:
    """Random points before an adaptive sampler uses its model: Optuna's 10, or half of few trials."""
    return min(10, max(2, trials // 2))
