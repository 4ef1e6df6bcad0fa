"""Retune, promote, confirm: equal budgets, shared streams, fresh seeds, selection by validation alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from search_spaces.space import complete, framework_levels
from studies.comparison.protocol import Chain, ComparisonProtocol
from studies.comparison.stages import Place, SearchState, choose, next_members, place
from tests.studies.planted import outcome, planned, tiny
from trainers.evaluation import Evaluation
from trainers.member import Member

CHAIN = Chain(factor="initializer", task="stripes", regime="deep")


def stages(fixed: ComparisonProtocol, chain: Chain = CHAIN) -> Iterator[list[Member]]:
    """Every stage of a chain whose members are trained by `outcome`."""
    done: dict[Place, Evaluation] = {}
    while members := next_members(fixed, chain, done):
        yield members
        done |= {place(m.slot): outcome(m) for m in members}


def test_every_level_gets_the_planned_budget_in_every_block() -> None:
    fixed = planned()
    budget = fixed.study.effective_budget
    counted: dict[tuple[int, str, str], int] = {}
    for stage in stages(fixed):
        for m in stage:
            key = (m.slot.block, m.slot.level, m.slot.phase)
            counted[key] = counted.get(key, 0) + 1
    expected = {"retune": 4, "promote": 2, "confirm": 4}
    assert sum(expected.values()) == budget.runs_per_cell
    assert counted == {
        (block, level, phase): count
        for block in range(2)
        for level in ("he_normal", "torch_default")
        for phase, count in expected.items()
    }


def test_levels_and_regimes_share_points_and_streams() -> None:
    fixed = planned()
    (retune, *_), (shallow, *_) = stages(fixed), stages(fixed, replace(CHAIN, regime="shallow"))
    rates: dict[tuple[int, int], set[float]] = {}
    for m in (*retune, *shallow):
        place = (m.slot.block, m.slot.index)
        rates.setdefault(place, set()).add(m.config.numbers["learning_rate"])
        assert m.seed_index == m.slot.index
    assert all(len(found) == 1 for found in rates.values())
    designed = [rate for (_, index), found in rates.items() for rate in found if index > 0]
    assert len(set(designed)) == len(designed)


def test_trial_0_is_the_library_default_and_is_never_promoted() -> None:
    fixed = planned()

    def loves_defaults(member: Member) -> Evaluation:
        return outcome(member, error=0.0 if member.arm == "default" else None)

    retune = next_members(fixed, CHAIN, {})
    zero = [m for m in retune if m.slot.index == 0]
    for m in zero:
        assert m.arm == "default"
        assert m.config == complete(
            m.config.levels, setting=fixed.study.settings("deep"), base=framework_levels()
        )
    done = {place(m.slot): loves_defaults(m) for m in retune}
    promote = next_members(fixed, CHAIN, done)
    assert {m.slot.phase for m in promote} == {"promote"}
    defaults = {m.config.id for m in zero}
    assert not defaults & {m.config.id for m in promote}


def test_the_best_by_validation_are_promoted_ties_by_loss_then_by_index() -> None:
    fixed = planned(tiny(budget={"families": 2, "blocks": 1, "trials": 4, "promoted": 3}))
    scores = {1: (0.2, 5.0), 2: (0.1, 3.0), 3: (0.1, 2.0), 4: (0.2, 5.0)}

    def scored(member: Member) -> Evaluation:
        metric, loss = scores.get(member.slot.index, (0.0, 0.0))
        return replace(outcome(member), validation_metric=metric, validation_loss=loss)

    retune = next_members(fixed, CHAIN, {})
    done = {place(m.slot): scored(m) for m in retune}
    by_place = {(m.slot.level, m.slot.index): m.config for m in retune}
    promote = next_members(fixed, CHAIN, done)
    for level in ("he_normal", "torch_default"):
        promoted = [m.config for m in promote if m.slot.level == level]
        assert promoted == [by_place[level, 3], by_place[level, 2], by_place[level, 1]]


def test_the_candidate_with_the_best_mean_over_fresh_seeds_is_confirmed_beside_the_default() -> None:
    fixed = planned(tiny(budget={"families": 2, "blocks": 1, "trials": 3, "promote_seeds": 2}))
    retune = next_members(fixed, CHAIN, {})
    done = {place(m.slot): outcome(m) for m in retune}
    promote = next_members(fixed, CHAIN, done)
    assert [m.slot.index for m in promote if m.slot.level == "he_normal"] == [0, 1, 2, 3]
    assert [m.seed_index for m in promote if m.slot.level == "he_normal"] == [0, 1, 0, 1]
    second = {0: 0.3, 1: 0.1, 2: 0.18, 3: 0.18}  # means 0.2 and 0.18
    done |= {place(m.slot): outcome(m, error=second[m.slot.index]) for m in promote}
    confirm = next_members(fixed, CHAIN, done)
    of_level = [m for m in confirm if m.slot.level == "he_normal"]
    chosen = next(m.config for m in promote if m.slot.level == "he_normal" and m.slot.index == 2)
    default = next(m.config for m in retune if m.slot.level == "he_normal" and m.slot.index == 0)
    assert [(m.slot.index, m.seed_index, m.arm) for m in of_level] == [
        (0, 0, "tuned"),
        (1, 1, "tuned"),
        (2, 0, "default"),
        (3, 1, "default"),
    ]
    assert [m.config for m in of_level] == [chosen, chosen, default, default]
    assert all(m.reads_test for m in confirm)
    assert not any(m.reads_test for m in (*retune, *promote))


def test_a_chain_where_everything_diverges_still_ends() -> None:
    fixed = planned()
    done: dict[Place, Evaluation] = {}
    trained = 0
    while members := next_members(fixed, CHAIN, done):
        done |= {place(m.slot): outcome(m, status="diverged") for m in members}
        trained += len(members)
    assert trained == 2 * 2 * fixed.study.effective_budget.runs_per_cell


def test_equal_candidates_go_to_the_earlier_trial() -> None:
    retune = [outcome(m, error=0.2) for m in next_members(planned(), CHAIN, {}) if m.slot.index in (1, 2)][:2]
    assert choose(retune[::-1], retune) == retune[0].config


@pytest.mark.parametrize("sampler", ["random", "tpe", "gp"])
def test_an_interrupted_search_asks_for_the_same_points(sampler: str) -> None:
    fixed = planned(tiny(sampler=sampler, budget={"families": 2, "blocks": 1, "trials": 10}))
    whole = list(stages(fixed))
    done: dict[Place, Evaluation] = {}
    for stage in whole:
        half = stage[: len(stage) // 2]
        done |= {place(m.slot): outcome(m) for m in half}
        assert next_members(fixed, CHAIN, done) == stage
        done |= {place(m.slot): outcome(m) for m in stage}
    assert next_members(fixed, CHAIN, done) == []
    generations = [len(stage) for stage in whole if stage[0].slot.phase == "retune"]
    assert generations == ([22] if sampler == "random" else [10, 8, 4])


@pytest.mark.parametrize("sampler", ["sobol", "tpe"])
def test_a_chain_that_remembers_its_searches_asks_for_the_same_members(sampler: str) -> None:
    fixed = planned(tiny(sampler=sampler, budget={"families": 2, "blocks": 2, "trials": 14}))
    done: dict[Place, Evaluation] = {}
    memory = SearchState()
    for stage in stages(fixed):
        assert next_members(fixed, CHAIN, done, memory) == stage
        assert next_members(fixed, CHAIN, done, memory) == stage
        done |= {place(m.slot): outcome(m) for m in stage}
    assert next_members(fixed, CHAIN, done, memory) == []


def test_permuting_the_names_of_levels_permutes_the_members_and_nothing_else() -> None:
    question = {"factor": "initializer", "levels": ["he_normal", "torch_default"]}
    swapped = {"factor": "initializer", "levels": ["torch_default", "he_normal"]}
    one, two = (planned(tiny(questions=[q])) for q in (question, swapped))
    for a, b in zip(stages(one), stages(two), strict=True):
        assert {(m.slot.id, m.config.id, m.seed_index) for m in a} == {
            (m.slot.id, m.config.id, m.seed_index) for m in b
        }
