"""What a sampler is asked for and what it is shown: new points in every generation, true states of trials."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from search_spaces.factor import Range
from studies.samplers import Search
from studies.search.generations import SearchState, members_of, open_generations
from studies.search.optuna_study import OptunaStudy
from studies.search.protocol import SearchProtocol
from tests.studies.searches import outcome, planned, seek
from trainers.evaluation import Evaluation

SAMPLERS = ("tpe", "gp", "random", "qmc")
CELL_SAMPLERS = ("sobol", "tpe", "gp", "random")
RATE = Range(name="learning_rate", low=1e-4, high=1.0, default=0.01, log=True, meaning="")
DECAY = Range(name="weight_decay", low=1e-6, high=0.1, default=1e-4, log=True, meaning="")


def searched(
    fixed: SearchProtocol, before: Callable[[int, dict[int, Evaluation]], object] = lambda number, done: None
) -> dict[int, Evaluation]:
    """The whole search with made-up results, generation by generation, two of them open as in a run."""
    memory, done = SearchState.of(fixed), dict[int, Evaluation]()
    while ready := open_generations(fixed, done, memory):
        members = {}
        for number in ready:
            before(number, done)
            members[number] = members_of(number, fixed, done, memory)
        done |= {member.slot.index: outcome(member) for member in members[ready[0]]}
    return done


class Witness(BaseSampler):
    """Optuna's random sampler, which writes down what it could see of the other trials."""

    def __init__(self, seed: int, sights: list[list[FrozenTrial]]) -> None:
        self._random = RandomSampler(seed=seed)
        self._sights = sights
        self._first = True

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        if self._first:
            self._sights.append([other for other in study.get_trials() if other.number != trial.number])
            self._first = False
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._random.sample_independent(study, trial, param_name, param_distribution)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_no_generation_of_a_search_repeats_a_point(sampler: str) -> None:
    fixed = planned(seek(sampler=sampler, trials=40, generation=5, pruner="none"))
    done = searched(fixed)
    rates = [done[place].config.numbers["learning_rate"] for place in sorted(done)]
    assert len(rates) == 40
    # Models go to the end of a range, as often as that pays: only there may a continuous number come again.
    ends = {end for dimension in fixed.study.joint.dimensions for end in (dimension.low, dimension.high)}
    inside = [rate for rate in rates if rate not in ends]
    assert len(set(inside)) == len(inside)
    assert len(inside) > 20, "almost all of them were at an end, which tests nothing"


@pytest.mark.parametrize("sampler", CELL_SAMPLERS)
def test_no_generation_of_a_cell_repeats_a_point(sampler: str) -> None:
    search = Search(
        study="s",
        task="t",
        block=0,
        ranges={"learning_rate": RATE},
        columns=["learning_rate"],
        trials=16,
        sampler=sampler,
    )
    rates: list[float] = []
    for start, count in ((0, 1), (1, 4), (5, 4), (9, 4), (13, 4)):
        points = search.ask(count)
        rates += [point["learning_rate"] for point in points]
        for number in range(start, start + count):
            search.tell(number, abs(np.log10(rates[number] / 0.05)))
    inside = [rate for rate in rates if rate not in (RATE.low, RATE.high)]
    assert len(set(inside)) == len(inside)
    assert len(inside) > 8


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_two_searches_with_other_names_ask_for_other_points(sampler: str) -> None:
    rates = [
        {row.config.numbers["learning_rate"] for row in searched(planned(spec)).values()}
        for spec in (seek(sampler=sampler), seek(sampler=sampler, study="seek-again"))
    ]
    assert len(rates[0] & rates[1]) <= 2, "the ends of the range at most"


def test_a_sampler_sees_what_was_stopped_what_ended_and_what_still_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fixed = planned(seek(trials=90, generation=6))
    sights: list[list[FrozenTrial]] = []
    known: dict[int, dict[int, Evaluation]] = {}
    """Generation -> the results there were when it was first asked for."""
    monkeypatch.setattr(OptunaStudy, "_sampler", lambda talk, seed: Witness(seed, sights))
    searched(fixed, before=lambda number, done: known.setdefault(number, dict(done)))
    assert list(known) == list(range(15))
    assert len(sights) == 15, "each generation is asked for once"
    stopped: set[int] = set()
    for (number, done), sight in zip(known.items(), sights, strict=True):
        results = [done[place] for place in range(len(done))]
        seen = [trial for trial in sight if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        assert len(seen) == len(results)
        for trial, result in zip(seen, results, strict=True):
            assert trial.value == result.validation_metric
            if result.status == "pruned":
                assert trial.state == TrialState.PRUNED
                assert trial.intermediate_values == {result.steps: result.validation_metric}
                stopped.add(result.steps)
            else:
                assert trial.state == TrialState.COMPLETE
        running = [trial for trial in sight if trial.state == TrialState.RUNNING]
        assert len(running) == 6 * number - len(done), "those asked earlier that have no result"
        rates = {value for trial in running for name, value in trial.params.items() if "rate" in name}
        assert len(rates) == len(running), "each with its point"
    assert len(stopped) == 2, "nobody was stopped at one of the two rungs, which tests nothing"
    assert any(len(done) < 6 * number for number, done in known.items()), (
        "nobody was running, which tests nothing"
    )


def test_a_design_moves_its_parameters_independently() -> None:
    """Of a joint space and of a cell: no two columns of a design are the same."""
    fixed = planned(seek(sampler="qmc", trials=32, generation=8, pruner="none"))
    configs = [row.config for row in searched(fixed).values()]
    spans = {span.name: span for span in (RATE, DECAY)}
    decaying = [config.numbers for config in configs if "weight_decay" in config.numbers]
    search = Search(
        study="s", task="t", block=0, ranges=spans, columns=sorted(spans), trials=32, sampler="sobol"
    )
    for points in (decaying, search.ask(33)[1:]):
        rates, decays = (
            np.array([np.log(point[name]) for point in points]) for name in ("learning_rate", "weight_decay")
        )
        assert abs(np.corrcoef(rates, decays)[0, 1]) < 0.6
