"""A search is a function of its file and its ledger, whatever stops it or in whatever order packs end."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.samplers import TPESampler

import studies
from search_spaces.config import Setting
from search_spaces.overrides import Value
from studies.comparison.record import study_record
from studies.execution.pack_payload import member_from_dict, member_to_dict
from studies.execution.retries import ATTEMPTS
from studies.ledger.ledger import Ledger
from studies.load_study import load
from studies.operations.replay import member_again
from studies.packing import Pack
from studies.run import run
from studies.search import optuna_study
from studies.search.generations import SearchState, members_of, open_generations
from studies.search.optuna_study import OptunaStudy, TrialResult, importances
from studies.search.protocol import protocol_of, search_protocol
from studies.search.record import search_record
from studies.search.space import Point
from studies.search.successive_halving import rung_looks, rungs
from studies.spec.errors import SpecError
from tests.studies.planted import BOOK, stripes
from tests.studies.searches import agenda_of, outcome, planned, seek, started, train_all
from tests.studies.tampering import tamper
from trainers.evaluation import Evaluation
from trainers.loop.pack import train_pack
from trainers.member import Member
from trainers.tasks.task import Task

SAMPLERS = ("tpe", "gp", "random", "qmc")


# What a file says


def test_a_number_has_a_name_of_its_own_where_levels_differ_in_its_limits() -> None:
    found = {d.name: d for d in seek().joint.dimensions}
    assert list(found) == [
        "activation",
        "optimizer",
        "adamw.learning_rate",
        "nesterov.learning_rate",
        "weight_decay",
    ]
    assert found["adamw.learning_rate"].where == ("optimizer=adamw",)
    assert found["activation"].where == ()


def test_a_number_that_is_alike_for_all_levels_is_one_parameter() -> None:
    spec = seek(space={"optimizer": ["nesterov", "adamw"], "learning_rate": {"low": 0.001, "high": 0.01}})
    (_, rate) = spec.joint.dimensions
    assert (rate.name, rate.low, rate.high, rate.where) == ("learning_rate", 0.001, 0.01, ())


def test_settings_and_all_levels_of_a_factor_can_be_searched() -> None:
    spec = seek(
        space={
            "initializer": "all",
            "width": [4, 8],
            "depth": {"low": 1, "high": 3},
            "weight_decay": {"levels": ["none", "l2"]},
        }
    )
    names = [d.name for d in spec.joint.dimensions]
    assert names == ["initializer", "width", "weight_decay", "depth", "l2.weight_decay"]
    point: dict[str, Value] = {
        "initializer": "he_normal",
        "width": 8,
        "weight_decay": "l2",
        "depth": 2,
        "l2.weight_decay": 0.01,
    }
    config = spec.joint.config(point)
    assert (config.setting.width, config.setting.depth, config.numbers["weight_decay"]) == (8, 2, 0.01)
    assert spec.joint.point(config) == point


@pytest.mark.parametrize(
    ("changes", "key", "rule"),
    [
        ({"kind": "serach"}, "kind", "'search'"),
        ({"trails": 3}, "trails", "did you mean 'trials'"),
        ({"tasks": ["stripes", "rings"]}, "tasks", "at most 1"),
        ({"space": {}}, "space", "at least 1"),
        ({"space": {"activaton": ["relu", "tanh"]}}, "space", "did you mean 'activation'"),
        ({"space": {"activation": ["relu", "tan"]}}, "space.activation", "did you mean 'tanh'"),
        ({"space": {"activation": ["relu"]}}, "space.activation", "at least 2"),
        ({"space": {"activation": ["relu", "relu"]}}, "space.activation", "listed twice"),
        ({"space": {"activation": None}}, "space.activation", "a list of values, or all"),
        ({"space": {"learning_rate": [0.1, 0.2]}}, "space.learning_rate", "low, high"),
        ({"space": {"learning_rate": {"low": 0.1}}}, "space.learning_rate", "low and high"),
        (
            {"space": {"learning_rate": {"low": 1e-9, "high": 1.0}}},
            "space.learning_rate",
            "within its limits",
        ),
        ({"space": {"dropout_rate": None}}, "space.dropout_rate", "which no level of this study is"),
        ({"fixed": {"dropout_rate": 0.1}}, "fixed.dropout_rate", "which no level of this study is"),
        ({"fixed": {"dropout": "dropout", "dropout_rate": 1.5}}, "fixed.dropout_rate", "outside its limits"),
        ({"space": {"width": None}}, "space.width", "low, high"),
        ({"space": {"evaluations": [3, 4]}}, "space.evaluations", "cannot be searched"),
        ({"fixed": {"activation": "relu"}}, "fixed.activation", "what is searched cannot be fixed"),
        ({"setting": {"evaluations": 2}}, "pruner", "at least 3 looks"),
        ({"sampler": "sobol"}, "sampler", "'tpe', 'gp', 'random' or 'qmc'"),
        ({"trials": 0}, "trials", "greater than or equal to 1"),
    ],
)
def test_a_mistake_names_file_key_and_rule(changes: dict[str, Any], key: str, rule: str) -> None:
    with pytest.raises(SpecError) as error:
        seek(**changes)
    assert str(error.value).startswith(f"seek.yaml: {key}")
    assert rule in str(error.value)


def test_the_ledger_gives_the_protocol_back() -> None:
    fixed = planned(seek(space={"activation": "all", "weight_decay": {"levels": ["none", "l2"]}}))
    again = protocol_of(json.loads(json.dumps(fixed.plain())))
    assert again.hash == fixed.hash
    assert members_of(0, again, {}) == members_of(0, fixed, {})


# What is trained


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_stopped_search_ends_as_if_nothing_had_happened(tmp_path: Path, sampler: str) -> None:
    fixed = planned(seek(sampler=sampler))
    whole, _ = started(tmp_path / "whole", fixed)
    packs = train_all(agenda_of(whole, fixed))
    for stop_after in (1, packs // 2, packs - 1):
        ledger, _ = started(tmp_path / str(stop_after), fixed)
        train_all(agenda_of(ledger, fixed), most=stop_after)  # and is killed
        rest = agenda_of(ledger, fixed)
        assert rest.finished < fixed.study.trials
        train_all(rest)
        assert ledger.evaluations("seek") == whole.evaluations("seek")


def test_the_order_in_which_packs_end_changes_nothing(tmp_path: Path) -> None:
    quiet, fixed = started(tmp_path / "quiet")
    train_all(agenda_of(quiet, fixed))
    ledger, _ = started(tmp_path / "mixed")
    agenda, running, chance = agenda_of(ledger, fixed), [], np.random.default_rng(0)
    while not agenda.done:
        while (pack := agenda.next_pack()) is not None:
            running.append(pack)
        pack = running.pop(int(chance.integers(len(running))))
        agenda.commit(pack, [outcome(m) for m in pack.members], seconds=1.0, worker="planted")
        if chance.integers(2):
            agenda.prepare()
    assert ledger.evaluations("seek") == quiet.evaluations("seek")


def test_who_waits_for_a_pack_does_not_wait_for_the_sampler(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, fixed = started(workspace)
    agenda, ask = agenda_of(ledger, fixed), OptunaStudy.ask
    asked: list[int] = []

    def noted(
        talk: OptunaStudy, count: int, *, generation: int, running: Sequence[Point] = ()
    ) -> list[Point]:
        asked.append(generation)
        return ask(talk, count, generation=generation, running=running)

    monkeypatch.setattr(OptunaStudy, "ask", noted)
    for _ in range(2):  # the packs of the first generation
        pack = agenda.next_pack()
        assert pack is not None
        agenda.commit(pack, [outcome(m) for m in pack.members], seconds=1.0, worker="planted")
    assert agenda.next_pack() is not None and not asked
    agenda.prepare()
    assert asked == [2]


def test_what_is_kept_between_trials_changes_no_point_of_tpe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, fixed = started(tmp_path / "ours")
    train_all(agenda_of(ours, fixed))

    def plain(seed: int, inner: object) -> TPESampler:
        return TPESampler(seed=seed, n_startup_trials=optuna_study.STARTUP, group=True, constant_liar=True)

    monkeypatch.setattr(optuna_study, "GroupedTPE", plain)
    theirs, _ = started(tmp_path / "theirs")
    train_all(agenda_of(theirs, fixed))
    last = [row.config for row in ours.evaluations("seek") if row.slot.index >= 18]
    assert last, "the model has been asked for none"
    assert ours.evaluations("seek") == theirs.evaluations("seek")


def test_a_search_goes_on_where_nobody_prepares_it(workspace: Path) -> None:
    ledger, fixed = started(workspace)
    agenda, count = agenda_of(ledger, fixed), 0
    while not agenda.done:
        pack = agenda.next_pack()
        assert pack is not None
        agenda.commit(pack, [outcome(m) for m in pack.members], seconds=1.0, worker="planted")
        count += len(pack.members)
    assert count == fixed.study.trials


def test_every_trial_is_trained_once_in_packs_of_one_generation(workspace: Path) -> None:
    ledger, fixed = started(workspace)
    agenda, numbers, together = agenda_of(ledger, fixed), [], []
    while (pack := agenda.next_pack()) is not None:
        generations = {m.slot.index // fixed.study.generation for m in pack.members}
        assert len(generations) == 1
        numbers += [m.slot.index for m in pack.members]
        together.append({m.config.levels["optimizer"] for m in pack.members})
        agenda.commit(pack, [outcome(m) for m in pack.members], seconds=1.0, worker="planted")
    assert sorted(numbers) == list(range(22))
    assert {"nesterov", "adamw"} in together, "trials of one structure share a pack"
    assert agenda.done and agenda.finished == agenda.planned == 22


def test_a_pack_that_fails_is_tried_again_and_given_up(workspace: Path) -> None:
    ledger, fixed = started(workspace)
    agenda = agenda_of(ledger, fixed)
    first, tries = agenda.next_pack(), 0
    assert first is not None
    pack: Pack | None = first
    while pack is not None:
        if {m.slot.id for m in pack.members} <= {m.slot.id for m in first.members}:
            assert agenda.failed_packs == []
            agenda.fail(pack, "broken", kind="error")
            tries += 1
        else:
            agenda.commit(pack, [outcome(m) for m in pack.members], seconds=1.0, worker="planted")
        pack = agenda.next_pack()
    assert (agenda.failed_packs, agenda.done) == ([first], True)
    assert tries > ATTEMPTS, "its members were tried alone"
    assert agenda.finished == 12 - len(first.members)  # the next but one waits for all of this one
    train_all(agenda_of(ledger, fixed))
    assert len(ledger.filled("seek")) == 22


def test_a_ledger_with_another_point_than_is_asked_for_is_refused(workspace: Path) -> None:
    ledger, fixed = started(workspace)
    train_all(agenda_of(ledger, fixed), most=1)
    tamper(
        ledger,
        "UPDATE evaluations"
        " SET evaluation = replace(evaluation, '\"learning_rate\":', '\"learning_rate\":1')",
    )
    with pytest.raises(ValueError, match="another point for trial"):
        agenda_of(ledger, fixed)


def test_the_default_sampler_goes_where_trials_did_well(workspace: Path) -> None:
    fixed = planned(seek(pruner="none", trials=60, generation=10))
    ledger, _ = started(workspace, fixed)
    train_all(agenda_of(ledger, fixed))
    rows = search_record(ledger, "seek").evaluations
    far = [abs(row.config.numbers["learning_rate"] - 0.03) for row in rows]
    assert np.median(far[-30:]) < np.median(far[:20])


def test_the_design_fills_every_choice_evenly(workspace: Path) -> None:
    fixed = planned(seek(sampler="qmc", trials=32, generation=8, pruner="none"))
    ledger, _ = started(workspace, fixed)
    train_all(agenda_of(ledger, fixed))
    points = search_record(ledger, "seek").points
    assert Counter(p["optimizer"] for p in points) == {"nesterov": 16, "adamw": 16}


# Who is stopped


def test_rungs_lie_at_a_ninth_and_a_third_rounded_up_to_looks() -> None:
    assert rung_looks(9) == (1, 3)
    assert rung_looks(15) == (2, 5)
    assert rung_looks(3) == (1,)


def test_a_rung_lets_the_best_third_of_earlier_generations_pass() -> None:
    fixed = planned()
    first = members_of(0, fixed, {})
    assert [m.rungs for m in first] == [()] * 6  # nobody to be compared with
    earlier = [outcome(m) for m in first]
    found = dict(rungs(Setting(**fixed.study.setting), earlier))
    assert list(found) == [2, 6]
    at_first = sorted(row.curve[0].validation_metric if row.curve else np.inf for row in earlier)
    assert found[2] == at_first[1]  # two of six
    done = {row.slot.index: row for row in earlier}
    memory = SearchState.of(fixed)
    second, third = (members_of(number, fixed, done, memory) for number in (1, 2))
    assert {m.rungs for m in second} == {()}, "asked while the first is in training"
    assert {m.rungs for m in third} == {tuple(found.items())}


def test_a_member_is_stopped_at_its_rung_and_says_so() -> None:
    free = members_of(0, planned(), {})[:1]
    (whole,) = train_pack(free, BOOK["stripes"]())
    at = whole.curve[2]
    judged = [
        Member(slot=m.slot, config=m.config, seed_index=m.seed_index, rungs=((at.step, limit),))
        for m in free
        for limit in (at.validation_metric, at.validation_metric - 1e-6)
    ]
    passed, stopped = (train_pack([m], BOOK["stripes"]())[0] for m in judged)
    assert (passed.status, passed.curve) == ("finished", whole.curve)
    assert (stopped.status, stopped.steps) == ("pruned", at.step)
    assert stopped.curve == whole.curve[:3]
    assert stopped.test is None


def test_a_stopped_companion_changes_nothing() -> None:
    members = [m for m in members_of(0, planned(seek(generation=20)), {}) if _kind(m) == ("relu", "adamw")][
        :3
    ]
    assert len(members) == 3
    alone = [train_pack([m], BOOK["stripes"]())[0] for m in members]
    doomed = Member(**{**vars(members[0]), "rungs": ((2, -1.0),)})
    together = train_pack([doomed, *members[1:]], BOOK["stripes"]())
    assert together[0].status == "pruned"
    assert together[1:] == alone[1:]


def test_rungs_travel_to_a_worker_and_back() -> None:
    member = Member(**{**vars(members_of(0, planned(), {})[0]), "rungs": ((2, 0.25), (6, 0.125))})
    assert member_from_dict(json.loads(json.dumps(member_to_dict(member)))) == member


# What comes out


def test_importance_finds_the_parameter_that_decides() -> None:
    space = planned(seek(space={"activation": ["relu", "tanh"], "init_gain": None})).study.joint
    gain = next(d for d in space.dimensions if d.name == "init_gain")
    told = [
        TrialResult(
            point={"activation": ("relu", "tanh")[n % 2], "init_gain": gain.span.at(n / 40)}, metric=n / 40
        )
        for n in range(40)
    ]
    assert importances(space, told)[0][0] == "init_gain"
    assert importances(space, told[:9]) == ()
    pruned = [TrialResult(point=t.point, metric=t.metric, pruned_at=2) for t in told]
    assert importances(space, pruned) == ()


def test_a_search_reads_no_test_item(tmp_path: Path) -> None:
    file = tmp_path / "tasks.py"
    file.write_text(
        "import numpy as np\nfrom trainers.tasks.task import Task\n"
        "def stripes():\n"
        "    x = np.random.default_rng(0).normal(size=(200, 3)).astype('float32')\n"
        "    x[140:] = 1e30\n"  # whoever read these would diverge
        "    y = x[:, 0] > 0\n    y[140:] = np.arange(60) % 2\n"
        "    return Task.from_arrays(x, y, kind='classification', name='stripes', n_test=60)\n"
        "TASKS = [stripes]\n",
        encoding="utf-8",
    )
    summary = run(seek(trials=12), workspace=tmp_path / "w", tasks_from=file, engine="inline")
    assert summary.complete
    record = studies.read_search("seek", workspace=tmp_path / "w")
    assert {row.test for row in record.evaluations} == {None}
    assert record.best is not None and record.best.validation_metric < 0.3
    again = run(seek(trials=12), workspace=tmp_path / "w", tasks_from=file, engine="inline")
    assert (again.trained, again.complete) == (0, True)


def test_a_search_is_never_judged(workspace: Path) -> None:
    ledger, fixed = started(workspace)
    train_all(agenda_of(ledger, fixed))
    with pytest.raises(ValueError, match="search study: it carries no verdicts"):
        study_record(ledger, "seek")
    with pytest.raises(ValueError, match="search study"):
        studies.verdicts("seek", workspace=workspace)


def test_the_shipped_search_is_of_the_other_kind() -> None:
    spec = load("search")
    assert spec.kind == "search"
    assert load("quickstart").kind == "guideline"


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "tasks.py"
    file.write_text(
        "from tests.studies.planted import stripes\n"
        "def own():\n    return stripes('stripes')\n"
        "TASKS = [own]\n",
        encoding="utf-8",
    )
    run(seek(trials=6, pruner="none"), workspace=tmp_path, tasks_from=file, engine="inline")
    with pytest.raises(SpecError, match=r"other values of: .*generation \(6 -> 3\)"):
        run(seek(trials=6, pruner="none", generation=3), workspace=tmp_path, tasks_from=file, engine="inline")
    with Ledger.open(tmp_path) as ledger:
        assert len(ledger.filled("seek")) == 6


def test_a_users_network_is_not_asked_for_what_it_does_not_take() -> None:
    def own() -> Task:
        network = {"network": lambda inputs, outputs, config: None, "honours": frozenset()}
        return Task(**{**vars(stripes("stripes")), **network})

    with pytest.raises(SpecError, match=r"space.activation: the network of task 'stripes'"):
        search_protocol(seek(), {"stripes": own})


def _kind(member: Member) -> tuple[str, str]:
    return member.config.levels["activation"], member.config.levels["optimizer"]


def test_what_mlflow_shows_of_a_search_is_chosen_outside_of_what_is_hashed() -> None:
    brief = seek(tracking="cells")
    assert (seek().tracking, brief.tracking) == ("members", "cells")
    assert seek().resolved() == brief.resolved()
    with pytest.raises(SpecError, match=r"tracking.*'evidence'.*'members' or 'cells'"):
        seek(tracking="evidence")


@pytest.mark.parametrize("sampler", ["tpe", "gp", "random", "qmc"])
def test_a_search_that_remembers_what_it_told_asks_for_the_same_members(sampler: str) -> None:
    fixed = planned(seek(sampler=sampler))
    memory = SearchState.of(fixed)
    done: dict[int, Evaluation] = {}
    while ready := open_generations(fixed, done, memory):
        members = {number: members_of(number, fixed, done, memory) for number in ready}
        alone = SearchState.of(fixed)
        for number in ready:  # as after a stop: what has no result was asked for in this order
            assert members_of(number, fixed, done, memory) == members[number]
            assert members_of(number, fixed, done, alone) == members[number]
        done |= {m.slot.index: outcome(m) for m in members[ready[0]]}
    assert len(done) == fixed.study.trials


def test_a_replayed_trial_is_judged_by_the_rungs_it_was_asked_with(workspace: Path) -> None:
    ledger, fixed = started(workspace)
    agenda = agenda_of(ledger, fixed)
    asked: dict[int, Member] = {}
    while (pack := agenda.next_pack()) is not None:
        asked |= {member.slot.index: member for member in pack.members}
        agenda.commit(pack, [outcome(m) for m in pack.members], seconds=1.0, worker="planted")
    row = ledger.study(fixed.name)
    assert len({member.rungs for member in asked.values()}) > 1, "later generations are judged"
    for then in ledger.evaluations(fixed.name):
        assert member_again(ledger, row, then).rungs == asked[then.slot.index].rungs
