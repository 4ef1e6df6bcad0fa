"""The door to Optuna for joint spaces: what it is told, the next points, importances.

What is asked is a function of what has been trained: the sampler's seed depends on the generation, and of the
trials asked earlier only the results are told. So a resumed search asks for the same points as one that was
never stopped. Each trial is told once; a generation costs what Optuna's sampler takes for it (TPE with 1,000
trials 16 ms a trial, as much as by Optuna's own loop, and growing with their number).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from search_spaces.config import Config
from search_spaces.factor import Range, rounded
from search_spaces.overrides import Value
from studies.samplers import design
from studies.search.space import Point, Space
from trainers.randomness import integer_seed, stream

STARTUP = 10
"""Trials before a sampler uses its model, as in Optuna's own samplers."""
AHEAD = 1
"""Generations that are asked before the one in training has ended: then no worker waits for its last packs,
and none for the sampler."""
DRAWS = 100
"""How often a point that means nothing is replaced by another."""
FEWEST = 10
"""Finished trials that importances need."""

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """What the sampler learns from one trial."""

    point: Point
    metric: float
    """The validation metric, finite: a diverged member has the trivial error; a pruned one its last."""
    pruned_at: int | None = None
    """The step at which it was stopped; None for a trial that ended by itself."""


class SobolDesignSampler(BaseSampler):
    """Trial number n takes row n of a scrambled Sobol design, parameter p takes p's column."""

    def __init__(self, study: str, task: str, trials: int, columns: Sequence[str]) -> None:
        """The columns are all parameters of the space; a trial uses those that are open at its choices."""
        self._study = study
        self._rows = design(study=study, task=task, block=0, points=trials, columns=len(columns))
        self._column = {name: i for i, name in enumerate(columns)}
        self._number, self._draw = 0, 0

    def move_to(self, number: int, draw: int) -> None:
        """The trial that is asked next; a point that was refused is drawn again, from no design."""
        self._number, self._draw = number, draw

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        row = self._rows[self._number]
        if self._draw:
            row = stream(self._study, "redraw", self._number, self._draw).random(len(row))
        unit = float(row[self._column[param_name]])
        if isinstance(param_distribution, CategoricalDistribution):
            choices = param_distribution.choices
            return choices[min(int(unit * len(choices)), len(choices) - 1)]
        assert isinstance(param_distribution, (FloatDistribution, IntDistribution))
        return _range(param_distribution).at(unit)


Inner = dict[tuple[int, tuple[str, ...]], list[float]]
"""(A trial's number, parameters) -> their values as Optuna's models take them."""


class GroupedTPE(TPESampler):
    """Optuna's, which would find the same groups of parameters again for every trial of a generation.

    And it would translate every trial's values again for every trial that is asked: a quarter of the time.
    """

    def __init__(self, seed: int, inner: Inner) -> None:
        # A level's own numbers are drawn together (`group`). The trials of a generation that have no result
        # yet count as bad ones, so that they do not all go to one place (`constant_liar`).
        super().__init__(seed=seed, n_startup_trials=STARTUP, group=True, constant_liar=True)
        self._found: dict[str, BaseDistribution] | None = None
        self._inner = inner

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        if self._found is None:
            self._found = super().infer_relative_search_space(study, trial)
        return dict(self._found)

    def _get_internal_repr(
        self, trials: list[FrozenTrial], search_space: dict[str, BaseDistribution], study: Study
    ) -> dict[str, NDArray[np.float64]]:
        names = tuple(search_space)
        rows: list[list[float]] = []
        for trial in trials:
            row = self._inner.get((trial.number, names))
            if row is None:
                found = super()._get_internal_repr([trial], search_space, study)
                row = [float(found[name][0]) for name in names if len(found[name])]
                self._inner[trial.number, names] = row  # it has all its values: they are asked one by one
            if row:
                rows.append(row)
        columns = np.array(rows, dtype=float).reshape(len(rows), len(names)).T
        return {name: np.ascontiguousarray(column) for name, column in zip(names, columns, strict=True)}


class OptunaStudy:
    """One search's talk with Optuna: results are told as they come, points asked generation by generation."""

    def __init__(
        self,
        space: Space,
        *,
        study: str,
        task: str,
        trials: int,
        sampler: str,
        refused: Callable[[Config], str | None] = lambda config: None,
    ) -> None:
        """Nothing told, nothing asked.

        Args:
            space: what may be chosen.
            study: the study's name; the randomness depends on it,
            task: and on the task's name.
            trials: of the whole search: the size of a design.
            sampler: 'tpe', 'gp', 'random' or 'qmc'.
            refused: why a configuration means nothing; such a point is replaced.
        """
        self._space, self._study, self._task, self._trials = space, study, task, trials
        self._name, self._refused = sampler, refused
        self._memory = optuna.create_study(direction="minimize")
        self._inner: Inner = {}
        self.told = 0
        """Trials whose results the sampler knows."""

    def tell(self, told: Sequence[TrialResult]) -> None:
        """The next trials, by number."""
        with _quiet():
            self._memory.add_trials([_ended(self._space, one) for one in told])
        self.told += len(told)

    def ask(self, count: int, *, generation: int, running: Sequence[Point] = ()) -> list[Point]:
        """The points of one generation: a function of what was told, of what is running, of its number.

        Args:
            count: how many.
            generation: its number.
            running: the trials between those told and these, which have no result yet.

        Raises:
            ValueError: an unknown sampler, or a space in which hardly any point means something.
        """
        seed = integer_seed(self._study, self._task, "joint", generation)
        points: list[Point] = []
        asked: list[int] = []
        start = self.told + len(running)
        with _quiet():
            for busy in running:
                self._memory.add_trial(_frozen(self._space, busy, TrialState.RUNNING))
                asked.append(self._memory.get_trials(deepcopy=False)[-1].number)
            chosen = self._sampler(seed)
            self._memory.sampler = chosen
            for number in range(start, start + count):
                for draw in range(DRAWS):
                    if isinstance(chosen, SobolDesignSampler):
                        chosen.move_to(number, draw)
                    trial = self._memory.ask()
                    point = _suggested(trial, self._space)
                    problem = self._refused(self._space.config(point))
                    if problem is None:
                        asked.append(trial.number)
                        points.append(point)
                        break
                    self._memory.tell(trial, state=TrialState.FAIL)
                else:
                    raise ValueError(f"of {DRAWS} points in a row none can be trained: {problem}")
            for place in asked:  # told again with its result, at the rounded values that were trained
                self._memory.tell(place, state=TrialState.FAIL)
        return points

    def _sampler(self, seed: int) -> BaseSampler:
        if self._name == "tpe":
            return GroupedTPE(seed, self._inner)
        if self._name == "gp":
            return GPSampler(seed=seed, n_startup_trials=STARTUP, warn_independent_sampling=False)
        if self._name == "random":
            return RandomSampler(seed=seed)
        if self._name == "qmc":
            columns = [found.name for found in self._space.dimensions]
            return SobolDesignSampler(self._study, self._task, self._trials, columns)
        raise ValueError(f"unknown sampler '{self._name}'. Allowed: gp, qmc, random, tpe")


def importances(space: Space, told: Sequence[TrialResult]) -> tuple[tuple[str, float], ...]:
    """Each parameter's share in being among the best tenth, by PED-ANOVA, largest first.

    Conditional parameters count where they are open (Optuna's evaluator, arXiv 2304.10255, 2601.20800).
    Only trials that ended by themselves are used; () with fewer than FEWEST of them.
    """
    ended = [one for one in told if one.pruned_at is None]
    if len(ended) < FEWEST:
        return ()
    names = sorted({name for one in ended for name in one.point})
    with _quiet():
        memory = optuna.create_study(direction="minimize")
        memory.add_trials([_ended(space, one) for one in ended])
        found = optuna.importance.get_param_importances(memory, params=names)
    return tuple(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def _suggested(trial: optuna.Trial, space: Space) -> Point:
    """One point, choice by choice and then the numbers that they open."""
    point: dict[str, Value] = {}
    for name, values in space.choices.items():
        place = values.index(trial.suggest_categorical(name, values))
        point[name] = values[place]
    for name, span in space.open(point):
        if span.whole:
            point[name] = trial.suggest_int(name, int(span.low), int(span.high), log=span.log)
        else:
            drawn = rounded(trial.suggest_float(name, span.low, span.high, log=span.log))
            point[name] = min(max(drawn, span.low), span.high)
    return point


def _ended(space: Space, told: TrialResult) -> FrozenTrial:
    """A trial with its result, as if Optuna had been there."""
    if told.pruned_at is None:
        return _frozen(space, told.point, TrialState.COMPLETE, told.metric)
    return _frozen(space, told.point, TrialState.PRUNED, told.metric, {told.pruned_at: told.metric})


def _frozen(
    space: Space,
    point: Point,
    state: TrialState,
    value: float | None = None,
    looks: Mapping[int, float] | None = None,
) -> FrozenTrial:
    picked = {name: point[name] for name in space.choices}
    distributions: dict[str, BaseDistribution] = {
        name: CategoricalDistribution(values) for name, values in space.choices.items()
    }
    distributions |= {name: _distribution(span) for name, span in space.open(picked)}
    return optuna.trial.create_trial(
        state=state,
        value=value,
        params=dict(point),
        distributions=distributions,
        intermediate_values=dict(looks or {}),
    )


def _distribution(span: Range) -> BaseDistribution:
    if span.whole:
        return IntDistribution(int(span.low), int(span.high), log=span.log)
    return FloatDistribution(span.low, span.high, log=span.log)


def _range(found: FloatDistribution | IntDistribution) -> Range:
    whole = isinstance(found, IntDistribution)
    return Range(
        name="", low=found.low, high=found.high, default=found.low, log=found.log, whole=whole, meaning=""
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's notes that `group` is experimental and that few trials are few."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
