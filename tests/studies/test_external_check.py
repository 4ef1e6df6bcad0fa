"""After the rows are judged, whole recipes meet on families that nothing has touched; a loser gives way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from reports.defaults.defaults_file import defaults
from reports.evidence.budget import EXTERNAL
from reports.evidence.study_record import ExternalRecord, StudyRecord
from reports.evidence.validity import answering
from reports.export.formats import render
from reports.pages.study_page import build
from reports.verdicts.external_check import NAMES, external
from reports.verdicts.verdict import judge, verdicts
from studies.commands.pages import write_pages
from studies.commands.replay import replay
from studies.comparison.cost_estimate import outline
from studies.comparison.protocol import Protocol, protocol
from studies.comparison.record import spec_of, study_record
from studies.comparison.scheduler import ComparisonScheduler
from studies.ledger.ledger import Ledger
from studies.run import run
from studies.spec.load import parse
from studies.spec.resolved import ResolvedStudy
from tests.studies.planted import Maker, outcome, started, stripes, train
from tests.studies.tampering import tamper
from trainers.evaluation import Evaluation
from trainers.member import Member
from trainers.randomness import stream
from trainers.tasks.task import TaskBook

NAMED = [f"stripes_{i}" for i in range(8)]
BOOK: TaskBook = {name: cache(lambda name=name: stripes(name)) for name in NAMED}

CHECKED: Mapping[str, Any] = {
    "study": "checked",
    "questions": [{"factor": "initializer", "levels": ["torch_default", "he_normal"]}],
    "regimes": {"shallow": {"depth": 1}},
    "setting": {"width": 4, "steps": 4, "batch_size": 8, "train_size": 32, "evaluations": 2},
    "fixed": {"schedule": "one_cycle", "optimizer": "adamw"},
    "nuisance": ["learning_rate"],
    "tasks": NAMED,
    "budget": {"families": 3, "blocks": 4, "trials": 3, "external": 3},
}


def spec(**changes: Any) -> ResolvedStudy:
    return parse({**CHECKED, **changes}, file="checked.yaml")


def opened(workspace: Path, fixed: Protocol | None = None) -> tuple[Ledger, Protocol]:
    return started(workspace, fixed or protocol(spec(), BOOK))


def agenda_of(ledger: Ledger, fixed: Protocol) -> ComparisonScheduler:
    return ComparisonScheduler(fixed, ledger, BOOK, flops_per_second=2e9)


def torch_wins_its_row(member: Member, *, whole: float = 0.0) -> Evaluation:
    """torch_default wins the initializer's row; the whole recipe with it is `whole` worse."""
    noise = 1e-4 * float(stream("check", member.slot.id).normal())
    worse = 0.0
    if member.slot.factor == "initializer" and member.slot.level == "he_normal":
        worse = 0.2
    if member.slot.factor == EXTERNAL and member.slot.level == "recommended":
        worse = whole
    return outcome(member, error=0.1 + worse + noise)


def made_up(workspace: Path, make: Maker, fixed: Protocol | None = None) -> StudyRecord:
    ledger, fixed = opened(workspace, fixed)
    with ledger:
        agenda = agenda_of(ledger, fixed)
        while (pack := agenda.next_pack()) is not None:
            train(agenda, pack, make)
        assert agenda.done and agenda.planned == agenda.finished
        return study_record(ledger, fixed.spec.study)


def rows_of(record: StudyRecord) -> list[Any]:
    return [judge(record, evidence) for evidence in answering(record)]


def there(record: StudyRecord) -> ExternalRecord:
    assert record.external is not None
    return record.external


# what is planned


def test_no_family_of_the_check_took_part_in_anything_before(tmp_path: Path) -> None:
    record = made_up(tmp_path, torch_wins_its_row)
    piloted = {margin.task for margin in record.margins}
    assert piloted == set(NAMED[:3])
    assert there(record).tasks == {"shallow": tuple(NAMED[3:6])}
    assert {row.slot.task for row in there(record).evaluations} == set(NAMED[3:6])
    assert not {row.slot.task for row in record.evaluations} & set(NAMED[3:6])


def test_the_quick_profile_has_no_check_and_the_full_one_has_eight_families() -> None:
    without = {key: value for key, value in CHECKED["budget"].items() if key != "external"}
    assert spec(budget=without).external == 0
    assert "external" not in spec(budget=without).resolved()["budget"]
    assert spec(budget={**without, "profile": "full", "trials": 4}).external == 8
    assert spec(sampler="tpe").external == 0, "a search that adapts judges nothing"
    assert spec(questions=[{"factor": "width", "levels": [4, 8]}]).external == 0, (
        "the textbook has no such row"
    )
    assert spec_of(spec().resolved()).resolved() == spec().resolved()


def test_the_recipes_differ_where_the_rows_left_the_textbook(tmp_path: Path) -> None:
    record = made_up(tmp_path, torch_wins_its_row)
    recipes = there(record).recipes["shallow"]
    chosen, book = recipes["recommended"].levels, recipes["textbook"].levels
    assert {name for name in chosen if chosen[name] != book[name]} == {"initializer"}
    assert (chosen["initializer"], book["initializer"]) == ("torch_default", "he_normal")
    exported = defaults(record, verdicts(record)).recipe("shallow")
    as_it_is = [
        row for row in there(record).evaluations
        if (row.slot.level, row.slot.phase, row.arm) == ("recommended", "external", "default")
    ]  # fmt: skip
    assert {tuple(row.config.numbers.items()) for row in as_it_is} == {tuple(exported.numbers.items())}
    assert all(row.config.levels == exported.levels for row in as_it_is)


def test_the_verdicts_are_frozen_before_the_first_member_of_the_check(tmp_path: Path) -> None:
    ledger, fixed = opened(tmp_path)
    with ledger:
        agenda = agenda_of(ledger, fixed)
        while (pack := agenda.next_pack()) is not None:
            untouched = pack.task in NAMED[3:]
            assert ("verdicts" in ledger.frozen("checked")) == untouched
            assert ("external" in ledger.frozen("checked")) == (pack.factor == EXTERNAL)
            train(agenda, pack, torch_wins_its_row)


@pytest.mark.parametrize("every", [1, 3])
def test_a_study_stopped_anywhere_ends_like_one_that_was_not(every: int, tmp_path: Path) -> None:
    whole = made_up(tmp_path / "whole", torch_wins_its_row)
    ledger, fixed = opened(tmp_path / "cut")
    with ledger:
        agenda, count = agenda_of(ledger, fixed), 0
        while (pack := agenda.next_pack()) is not None:
            train(agenda, pack, torch_wins_its_row)
            count += 1
            if count % every == 0:
                agenda = agenda_of(ledger, fixed)
        assert study_record(ledger, "checked") == whole


def test_too_few_untouched_families_are_said(tmp_path: Path) -> None:
    fixed = protocol(spec(tasks=NAMED[:5]), BOOK)
    ledger, _ = opened(tmp_path, fixed)
    with ledger:
        agenda = agenda_of(ledger, fixed)
        while (pack := agenda.next_pack()) is not None:
            train(agenda, pack, torch_wins_its_row)
        assert "the external check of shallow has 2 untouched task families, not 3" in agenda.notes()
        assert agenda.planned == agenda.finished


def test_a_study_without_verdicts_is_not_checked(tmp_path: Path) -> None:
    """A control that fails leaves nothing to freeze."""

    def biased(member: Member) -> Evaluation:
        noise = 1e-4 * float(stream("biased", member.slot.id).normal())
        return outcome(member, error=0.1 + noise + (0.3 if member.slot.level == "again" else 0))

    data = spec(controls={"kinds": ["a_a"]}, budget={**CHECKED["budget"], "blocks": 16})
    fixed = protocol(data, BOOK)
    ledger, _ = opened(tmp_path, fixed)
    with ledger:
        agenda = agenda_of(ledger, fixed)
        while (pack := agenda.next_pack()) is not None:
            train(agenda, pack, biased)
        assert agenda.planned == agenda.finished
        assert any("no external check" in note and "INVALID" in note for note in agenda.notes())
        assert study_record(ledger, "checked").external is None


# what is judged


def test_a_recipe_that_holds_is_exported_with_what_came_out(tmp_path: Path) -> None:
    record = made_up(tmp_path, torch_wins_its_row)
    checked = external(record, rows_of(record))
    assert checked.kind == "done"
    (result,) = checked.results
    assert (result.state, result.lost) == ("tied", False)
    assert set(result.regrets) == set(NAMES.values())
    table = defaults(record, verdicts(record))
    assert table.row("initializer", "shallow").recommended == "torch_default"  # type: ignore[union-attr]
    assert "never touched before" in " ".join(render(table, "yaml").split())
    html, _ = build(record)
    assert html.index("stands above the table") < html.index("beside the textbook")
    assert there(record).verdicts_hash in html


def test_a_recipe_that_loses_gives_way_to_the_textbooks(tmp_path: Path) -> None:
    record = made_up(tmp_path, lambda member: torch_wins_its_row(member, whole=0.2))
    (verdict,) = verdicts(record)
    assert (verdict.recommended, verdict.decided_by) == ("he_normal", "fallback")
    assert "loses to the textbook's" in verdict.fallback_reason
    (row,) = defaults(record, verdicts(record)).rows
    assert (row.recommended, row.decided_by, row.admissible) == ("he_normal", "fallback", ())
    assert any("the row's own evidence says torch_default" in said for said in row.caveats)
    html, _ = build(record)
    assert "falls back on the textbook" in html and "fallback, see the external check" in html


def test_an_unfinished_check_takes_no_answer_away(tmp_path: Path) -> None:
    record = made_up(tmp_path, torch_wins_its_row)
    cut = replace(record, external=replace(there(record), evaluations=there(record).evaluations[:-1]))
    assert external(cut, rows_of(cut)).kind == "running"
    assert verdicts(cut)[0].recommended == "torch_default"
    assert "Not complete" in build(cut)[0]


def refused(record: StudyRecord, rows: Any = None) -> str:
    found = external(record, rows_of(record) if rows is None else rows)
    assert (found.kind, found.results) == ("refused", ())
    return found.reason


def test_what_breaks_a_guard_gives_no_result(tmp_path: Path) -> None:
    record = made_up(tmp_path, torch_wins_its_row)
    was = there(record)

    def with_rows(*rows: Evaluation) -> StudyRecord:
        return replace(record, external=replace(was, evaluations=rows))

    family = record.facts[NAMED[0]].family
    facts = {**record.facts, NAMED[3]: replace(record.facts[NAMED[3]], family=family)}
    assert "was used before" in refused(replace(record, facts=facts))

    twice = (*was.evaluations[:-1], was.evaluations[0])
    assert "two evaluations claim one slot" in refused(with_rows(*twice))

    early = next(row for row in was.evaluations if row.slot.phase == "retune")
    leak = tuple(replace(e, test={"best_validation": 0.1}) if e is early else e for e in was.evaluations)
    assert "test leak" in refused(with_rows(*leak))

    rows = [replace(verdict, recommended="he_normal") for verdict in rows_of(record)]
    assert "tried another recipe" in refused(record, rows)


def test_frozen_verdicts_that_were_edited_are_refused(tmp_path: Path) -> None:
    made_up(tmp_path, torch_wins_its_row)
    with Ledger.open(tmp_path) as ledger:
        edit = "json_set(content, '$.verdicts[0].recommended', 'he_normal')"
        tamper(ledger, f"UPDATE frozen SET content = {edit} WHERE part = 'verdicts'")
    with (
        Ledger.open(tmp_path) as ledger,
        pytest.raises(ValueError, match="record of frozen verdicts was changed"),
    ):
        study_record(ledger, "checked")


# with the real trainer

REAL: Mapping[str, Any] = {
    **CHECKED,
    "study": "real",
    "questions": [{"factor": "initializer", "levels": ["torch_default", "he_normal"]}],
    "setting": {"width": 8, "steps": 60, "batch_size": 16, "train_size": 100, "evaluations": 3},
    "tasks": ["wine", "breast_cancer", "digits"],
    "budget": {
        "families": 1, "blocks": 2, "trials": 2, "promoted": 1, "confirm_seeds": 1, "external": 1,
    },
}  # fmt: skip


def test_a_real_study_runs_its_check_shows_it_and_replays_its_members(tmp_path: Path) -> None:
    study = parse(REAL)
    summary = run(study, workspace=tmp_path, engine="inline")
    assert summary.complete, summary
    assert run(study, workspace=tmp_path, engine="inline").trained == 0
    with Ledger.open(tmp_path) as ledger:
        record = study_record(ledger, "real")
    assert external(record, rows_of(record)).kind == "done"
    page, exported = write_pages(tmp_path, record)
    assert exported is not None and "The recipe as a whole" in page.read_text(encoding="utf-8")
    for arm in ("recommended", "textbook"):
        last = [e for e in there(record).evaluations if (e.slot.level, e.slot.phase) == (arm, "external")]
        found = replay(tmp_path, last[-1].id)
        assert found.same, found.lines()
        then, now = found.then.curve[0].train_loss, found.now.curve[0].train_loss
        assert now == pytest.approx(then, rel=1e-4)


def test_what_plan_says_is_what_is_run(tmp_path: Path) -> None:
    study = parse(REAL)
    counted = outline(study)
    assert run(study, workspace=tmp_path, engine="inline").finished == counted.total
    assert counted.members["external"] == 3 * 2 * 2
    assert any("external check: 1 of 1 families" in fact for fact in counted.unsettled)
