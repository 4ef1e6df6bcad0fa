"""A scope looks at a study's ranges on tasks that are never judged, and nothing of it is evidence."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import cache
from math import log2
from pathlib import Path

import pytest

from reports.evidence.fairness_checks import EvidenceError, only_evidence
from reports.evidence.range_scan_record import RangeScanRecord
from reports.pages.range_scan_page import write_scope_page
from search_spaces.space import open_ranges
from studies.cli import invoke
from studies.comparison.protocol import comparison_protocol
from studies.execution.scheduler import Scheduler
from studies.ledger.ledger import FILE, Ledger
from studies.packing import Pack
from studies.range_scan.protocol import RangeScanProtocol, refuse_range_scan, scope_of, scope_protocol
from studies.range_scan.results import range_scan_record
from studies.range_scan.summary import lines, plain
from studies.range_scan.workload import RangeScanWorkload
from studies.run import run
from studies.spec.errors import SpecError
from studies.spec.load import load
from studies.spec.resolved import ResolvedStudy
from studies.spec.sections import RangeSpec
from tests.studies.planted import outcome, stripes, tiny
from tests.studies.planted import started as started_study
from tests.studies.tampering import unseal
from trainers.evaluation import Evaluation
from trainers.member import Member
from trainers.tasks import ROLES, TASKS
from trainers.tasks.task import TaskBook

Said = pytest.CaptureFixture[str]
Maker = Callable[[Member], Evaluation]

FIELDS = ("meadow", "moor", "heath")
BOOK: TaskBook = {
    name: cache(lambda name=name: stripes(name)) for name in ("stripes", "rings", "stairs", *FIELDS)
}
POINTS = 16
NARROW = {"learning_rate": {"low": 0.001, "high": 0.01}}

SMALL = """
study: small
questions: [{factor: initializer, levels: [torch_default, he_normal]}]
regimes: {shallow: {depth: 1}}
setting: {width: 4, steps: 4, batch_size: 8, train_size: 32, evaluations: 2}
nuisance: {learning_rate: {low: 0.001, high: 0.01}}
tasks: [sonar, digits]
budget: {families: 2, blocks: 1, trials: 3, promoted: 1}
"""


def fixed(study: ResolvedStudy | None = None, *, tasks: tuple[str, ...] = FIELDS) -> RangeScanProtocol:
    """What is fixed for the scope of a small study."""
    spec = study or tiny(nuisance=NARROW)
    return scope_protocol(scope_of(spec, BOOK, tasks=tasks, points=POINTS), BOOK)


def begun(workspace: Path, own: RangeScanProtocol | None = None) -> tuple[Ledger, Scheduler]:
    """Ledger and agenda, new or taken up again."""
    own = own or fixed()
    ledger, _ = started_study(workspace, own)  # type: ignore[arg-type]  # it needs only what both have
    return ledger, Scheduler(RangeScanWorkload(own, ledger, BOOK, flops_per_second=2e9), ledger, BOOK)


def by_rate(best: float) -> Maker:
    """Errors that grow with the distance from one learning rate, a margin per octave."""

    def make(member: Member) -> Evaluation:
        if member.slot.phase == "pilot":
            return outcome(member, error=0.1)
        away = abs(log2(member.config.numbers["learning_rate"] / best))
        return outcome(member, error=0.1 + away / 30)

    return make


def worked_off(agenda: Scheduler, make: Maker = outcome, *, packs: int | None = None) -> list[Pack]:
    """Commits made-up results, for all packs or the first few."""
    order: list[Pack] = []
    while (packs is None or len(order) < packs) and (pack := agenda.next_pack()) is not None:
        agenda.commit(pack, [make(m) for m in pack.members], seconds=1.0, worker="planted")
        order.append(pack)
    return order


def found_in(workspace: Path, make: Maker, own: RangeScanProtocol | None = None) -> RangeScanRecord:
    """What a complete scope of made-up results says."""
    ledger, agenda = begun(workspace, own)
    with ledger:
        worked_off(agenda, make)
        return range_scan_record(ledger, agenda.study)


def test_every_level_gets_the_same_points_of_one_design(workspace: Path) -> None:
    ledger, agenda = begun(workspace)
    with ledger:
        worked_off(agenda)
        rows = ledger.evaluations(agenda.study)
    points: dict[tuple[str, str, str], dict[str, list[Mapping[str, float]]]] = {}
    for row in rows:
        s = row.slot
        if s.phase == "retune" and s.index:
            points.setdefault((s.factor, s.task, s.regime), {}).setdefault(s.level, []).append(
                {"learning_rate": row.config.numbers["learning_rate"]}
            )
    assert {where[1] for where in points} == set(FIELDS)
    for levels in points.values():
        first, *others = levels.values()
        assert len(first) == POINTS
        assert all(other == first for other in others)
    assert agenda.finished == agenda.planned
    assert agenda.work_done == pytest.approx(agenda.work_planned)


def test_it_reads_no_test_item_and_trains_only_pilots_and_retunes(workspace: Path) -> None:
    ledger, agenda = begun(workspace)
    with ledger:
        packs = worked_off(agenda)
        assert all(row.test is None for row in ledger.evaluations(agenda.study))
    assert {pack.phase for pack in packs} == {"pilot", "retune"}
    assert not any(member.reads_test for pack in packs for member in pack.members)


def test_a_scope_that_was_stopped_ends_as_one_that_was_not(tmp_path: Path) -> None:
    ledger, agenda = begun(tmp_path / "whole")
    with ledger:
        order = [pack.id for pack in worked_off(agenda)]
        whole = range_scan_record(ledger, agenda.study)
    stopped = tmp_path / "stopped"
    trained: list[str] = []
    while True:
        ledger, agenda = begun(stopped)
        with ledger:
            some = worked_off(agenda, packs=3)
            told = range_scan_record(ledger, agenda.study)
        if not some:
            break
        trained += [pack.id for pack in some]
    assert sorted(trained) == sorted(order), "each pack once"
    assert plain(told) == plain(whole)


def test_a_pack_that_nobody_can_train_is_given_up_and_tried_again_by_the_next_run(workspace: Path) -> None:
    ledger, agenda = begun(workspace)
    with ledger:
        first = agenda.next_pack()
        assert first is not None
        agenda.fail(first, "broken", kind="error")
        while (pack := agenda.next_pack()) is not None:
            if {m.slot.id for m in pack.members} <= {m.slot.id for m in first.members}:
                agenda.fail(pack, "broken", kind="error")
            else:
                agenda.commit(pack, [outcome(m) for m in pack.members], seconds=1.0, worker="planted")
        assert [pack.id for pack in agenda.failed_packs] == [first.id]
        assert agenda.done
        assert not range_scan_record(ledger, agenda.study).complete
    ledger, again = begun(workspace)
    with ledger:
        assert [pack.id for pack in worked_off(again)] == [first.id]
        assert range_scan_record(ledger, again.study).complete


def test_a_range_whose_end_is_best_is_widened_there(workspace: Path) -> None:
    found = found_in(workspace, by_rate(0.1))
    (rate,) = found.proposals
    assert rate.old == (0.001, 0.01)
    assert rate.new is not None
    assert rate.new == pytest.approx((0.001, 0.0215)), "a third of a decade more"
    assert "in the highest" in rate.why
    assert "learning_rate: {low: 0.001, high: 0.0215}" in found.yaml
    assert all(one.edge.flagged for one in found.searched)


def test_what_it_proposes_can_be_pasted(tmp_path: Path, workspace: Path) -> None:
    found = found_in(workspace, by_rate(1e-6))
    new = found.proposals[0].new
    assert new is not None
    assert new[0] < 0.001
    file = tmp_path / "study.yaml"
    file.write_text(SMALL.replace("nuisance: {learning_rate: {low: 0.001, high: 0.01}}\n", found.yaml))
    assert load(file).nuisance["learning_rate"] == RangeSpec(low=new[0], high=new[1])


def test_a_range_with_its_best_points_inside_stays(workspace: Path) -> None:
    found = found_in(workspace, by_rate(0.003))
    (rate,) = found.proposals
    assert not rate.changed
    assert not any(one.edge.flagged for one in found.searched)


def test_a_range_that_is_the_catalogues_cannot_be_widened(workspace: Path) -> None:
    found = found_in(workspace, by_rate(1e9), fixed(tiny(nuisance=["learning_rate"])))
    (rate,) = found.proposals
    assert (rate.old, rate.new) == (None, None)
    assert "all that the catalogue allows" in rate.why
    assert found.yaml == "nuisance:\n  learning_rate:\n"


def test_no_proposal_leaves_what_the_catalogue_allows_at_every_level(workspace: Path) -> None:
    ranges = [
        open_ranges({"optimizer": name})["learning_rate"] for name in tiny().spec.background["optimizer"]
    ]
    most = min(span.high for span in ranges)
    assert most < max(span.high for span in ranges)
    study = tiny(nuisance={"learning_rate": {"low": most / 1.2, "high": most}})
    (rate,) = found_in(workspace, by_rate(1e9), fixed(study)).proposals
    assert not rate.changed
    assert "allows no more" in rate.why


def test_the_number_that_decides_is_the_important_one(workspace: Path) -> None:
    own = fixed(
        tiny(
            nuisance={**NARROW, "momentum": {"low": 0.5, "high": 0.95}},
            background={},
            fixed={"optimizer": "nesterov"},
        )
    )
    found = found_in(workspace, by_rate(0.003), own)
    shares = {one.edge.number: one.importance for one in found.searched}
    assert set(shares) == {"learning_rate", "momentum"}
    assert shares["learning_rate"] is not None
    assert shares["momentum"] is not None
    assert shares["learning_rate"] > shares["momentum"]


def test_scatter_is_told_in_margins(workspace: Path) -> None:
    def make(member: Member) -> Evaluation:
        """One level is two margins better on one task and two worse on another."""
        if member.slot.phase == "pilot":
            return outcome(member, error=0.1)
        first = member.slot.level == "he_normal"
        lead = {"meadow": 1.0, "moor": -1.0, "heath": 0.0}[member.slot.task] if first else 0.0
        return outcome(member, error=0.3 + lead * 2 / 30 + 0.001 * member.slot.index)

    found = found_in(workspace, make)
    assert {m.task for m in found.margins} == set(FIELDS)
    assert all(m.delta == pytest.approx(1 / 30) and m.seed_sd == 0 for m in found.margins)
    levels = len(tiny().asked[0].levels)
    lead = [2.0, -2.0, 0.0]
    of_one, of_others = [x * (1 - 1 / levels) for x in lead], [x / levels for x in lead]
    squares = (sum(x * x for x in of_one) + (levels - 1) * sum(x * x for x in of_others)) / 2 / levels
    for row in found.scatter:
        assert row.task_sd == pytest.approx(squares**0.5)
        assert row.tasks == 3


def test_diverged_points_are_no_best_points(workspace: Path) -> None:
    def make(member: Member) -> Evaluation:
        broken = member.slot.phase == "retune" and member.slot.level == "he_normal"
        return outcome(member, status="diverged") if broken else by_rate(0.003)(member)

    found = found_in(workspace, make)
    assert "he_normal" not in {one.edge.level for one in found.searched}
    assert found.complete


def test_a_task_of_the_study_or_one_kept_for_evidence_is_refused() -> None:
    with pytest.raises(SpecError, match="family that the study declares"):
        scope_of(tiny(), BOOK, tasks=("stripes",))
    with pytest.raises(SpecError, match=r"unknown task 'mer'; did you mean 'moor'"):
        scope_of(tiny(), BOOK, tasks=("mer",))
    raced = next(name for name, role in ROLES.items() if role == "race")
    with pytest.raises(SpecError, match=r"kept for evidence .*breast_cancer, diabetes"):
        scope_of(tiny(tasks=["wine"]), TASKS, tasks=(raced,))
    with pytest.raises(SpecError, match="at least 10"):
        scope_of(tiny(), BOOK, tasks=FIELDS, points=9)


def test_the_tasks_are_those_for_development_that_the_study_leaves() -> None:
    assert scope_of(tiny(tasks=["sonar"]), TASKS).wide.tasks == ("wine", "breast_cancer", "diabetes")
    assert scope_of(tiny(tasks=["wine"]), TASKS).wide.tasks == ("breast_cancer", "diabetes")
    with pytest.raises(SpecError, match="name some of your own"):
        scope_of(tiny(tasks=["wine", "diabetes", "breast_cancer"]), TASKS)


def test_a_study_cannot_judge_on_what_its_scope_has_seen(workspace: Path) -> None:
    found_in(workspace, outcome)
    with Ledger.open(workspace) as ledger:
        refuse_range_scan(tiny(), ledger)
        with pytest.raises(SpecError, match=r"'moor' was looked at in tiny\.scope"):
            refuse_range_scan(tiny(tasks=["stripes", "rings", "moor"]), ledger)


def test_nothing_of_it_is_evidence(workspace: Path, capsys: Said) -> None:
    found_in(workspace, outcome)
    with Ledger.open(workspace) as ledger:
        rows = ledger.evaluations("tiny.scope")
        for row in rows:
            with pytest.raises(EvidenceError, match="only confirm and external"):
                only_evidence([row])
    for words in (["report"], ["export"]):
        assert invoke([*words, "tiny.scope", "--workspace", str(workspace)]) == 2
        assert "a scope: it carries no verdicts" in capsys.readouterr().err
    assert invoke(["diff", "tiny.scope", "textbook", "--workspace", str(workspace)]) == 2
    capsys.readouterr()
    assert invoke(["why", "initializer@shallow", "--workspace", str(workspace)]) == 2
    assert "unknown row" in capsys.readouterr().err


def test_it_asks_what_the_study_asks_without_claims_and_controls() -> None:
    own = fixed(tiny(controls=True))
    assert [q.factor for q in own.study.asked] == [q.factor for q in tiny(controls=False).asked]
    assert own.plain()["spec"]["kind"] == "scope"
    assert own.hash != comparison_protocol(own.study, BOOK).hash


def test_the_page_is_the_same_to_the_byte_and_stands_on_the_index(workspace: Path) -> None:
    found = found_in(workspace, by_rate(0.1))
    page = write_scope_page(found, workspace / "reports" / found.name)
    once = page.read_bytes()
    assert write_scope_page(found, workspace / "reports" / found.name).read_bytes() == once
    text = once.decode()
    assert "nothing here is evidence" in text
    assert "high: 0.0215" in text
    assert "http" not in text.replace("http-equiv", "")
    index = (workspace / "reports" / "index.html").read_text(encoding="utf-8")
    assert "tiny.scope/index.html" in index
    assert "exploratory, not evidence" in index
    assert any("FLAGGED" in line for line in lines(found))


def test_the_command_trains_tells_and_resumes(tmp_path: Path, workspace: Path, capsys: Said) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(SMALL, encoding="utf-8")
    words = ["scan-ranges", str(file), "--engine", "inline", "--workspace", str(workspace), "--points", "10"]
    words += ["--tasks", "wine,breast_cancer"]
    assert invoke([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["name"], told["complete"], told["finished"]) == ("small.scope", True, 2 * (20 + 2 * 11))
    assert Path(told["page"]).is_file()
    assert invoke(words) == 0
    said = capsys.readouterr().out
    assert "trained 0 of 84 members" in said
    assert "nuisance:" in said
    for name in ("summary.json", "index.html"):
        file, victim = workspace / "reports" / "small.scope" / name, tmp_path / "victim"
        victim.write_text("mine", encoding="utf-8")
        file.unlink()
        file.symlink_to(victim)
        assert invoke(words) == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert said.startswith(f"error: {file} is a symbolic link")
        assert victim.read_text(encoding="utf-8") == "mine"
        file.unlink()
        assert invoke(words) == 0
        capsys.readouterr()


def test_a_killed_run_is_taken_up_where_it_was(tmp_path: Path, workspace: Path) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(SMALL, encoding="utf-8")
    scope = scope_of(load(file), TASKS, tasks=("wine",), points=10)

    def stop(agenda: Scheduler) -> None:
        if agenda.finished:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(scope, workspace=workspace, engine="inline", watch=stop)
    with Ledger.open(workspace) as ledger:
        before = set(ledger.filled("small.scope"))
    summary = run(scope, workspace=workspace, engine="inline")
    assert summary.complete
    assert summary.trained == summary.planned - len(before)


def test_a_search_study_has_no_scope(tmp_path: Path, capsys: Said) -> None:
    file = tmp_path / "search.yaml"
    file.write_text("kind: search\nstudy: s\ntasks: [wine]\nspace: {learning_rate: }\n", encoding="utf-8")
    for name in ("scan-ranges", "scope"):
        assert invoke([name, str(file)]) == 2
        said = capsys.readouterr().err
        assert "a search study compares no levels" in said
        assert ("'groundrules scope' is called 'groundrules scan-ranges' now" in said) is (name == "scope")


def _faults(workspace: Path, study: str) -> list[str]:
    with Ledger.open(workspace) as ledger:
        return [f"{fault.where}: {fault.what}" for fault in ledger.check(study).faults]


def test_its_margins_are_sealed_though_its_plan_does_not_name_them(workspace: Path) -> None:
    ledger, agenda = begun(workspace)
    with ledger:
        worked_off(agenda)
    assert _faults(workspace, agenda.study) == []
    with Ledger.open(workspace) as reader:
        assert [row.name for row in reader.studies()] == [agenda.study]
        assert len(reader.margins(agenda.study)) == 2 * len(FIELDS)  # in two regimes
    with closing(sqlite3.connect(workspace / FILE)) as file, file:
        file.execute("UPDATE margins SET margin = json_set(margin, '$.delta', 5.0) WHERE position = 1")
    assert _faults(workspace, agenda.study) == ["margins: they are not those of the plan that was recorded"]


def test_one_of_a_ledger_without_a_seal_is_sound_before_and_after_it_is_sealed(workspace: Path) -> None:
    ledger, agenda = begun(workspace)
    with ledger:
        worked_off(agenda)
    unseal(workspace)
    assert _faults(workspace, agenda.study) == []
    Ledger.open(workspace, create=True).close()
    assert _faults(workspace, agenda.study) == []
    with closing(sqlite3.connect(workspace / FILE)) as file, file:
        file.execute("DELETE FROM margins WHERE position = 0")
    assert _faults(workspace, agenda.study) == ["margins: they are not those of the plan that was recorded"]
