"""An 'always' claim is put to the test on its worst tasks, on blocks that nobody has used."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reports.claims.cards import ClaimCard, cards
from reports.evidence.fairness_checks import EvidenceError, check, evidence_status
from reports.evidence.study_record import StudyRecord
from reports.statistics.reversals import FRESH_BLOCKS, WORST
from reports.verdicts.verdict import verdicts
from studies.execution.scheduler import Scheduler
from studies.spec.resolved import ResolvedStudy
from tests.studies.planted import train, train_all
from tests.studies.races import Lead, begun, fixed, made, racing, record_in

SAID: dict[str, Any] = {
    "id": "A1",
    "quote": "it always wins",
    "source": "001",
    "type": "always",
    "levels": ["he_normal", "torch_default"],
}
BLOCKS = 2
RUNS = 8
"""Members of one cell: the default, two trials, one promoted, two arms of two confirm seeds."""


def always(**changes: Any) -> ResolvedStudy:
    """A study of eight families with that claim."""
    return racing(
        **{
            "claims": [SAID],
            "questions": [
                {"factor": "initializer", "levels": ["torch_default", "glorot_normal", "he_normal"]}
            ],
            "regimes": {"deep": {"depth": 3}},
            "budget": {"families": 8, "looks": [], "blocks": BLOCKS, "trials": 2, "promoted": 1},
            **changes,
        }
    )


def ahead(regime: str, level: str, task: int) -> float:
    """he_normal leads by two margins everywhere."""
    return -2.0 if level == "he_normal" else 0.0


def turned(regime: str, level: str, task: int) -> float:
    """It leads by two margins, but on t3 it is three behind."""
    return (3.0 if task == 3 else -2.0) if level == "he_normal" else 0.0


def behind(regime: str, level: str, task: int) -> float:
    """It is two margins behind everywhere."""
    return 2.0 if level == "he_normal" else 0.0


def ran(workspace: Path, lead: Lead, spec: ResolvedStudy | None = None) -> tuple[Scheduler, StudyRecord]:
    """The whole study with made-up results."""
    ledger, agenda = begun(workspace, fixed(spec or always()))
    with ledger:
        train_all(agenda, make=made(lead))
        return agenda, record_in(ledger)


def card(record: StudyRecord) -> ClaimCard:
    """Of its only claim."""
    (found,) = cards(record)
    return found


@pytest.fixture(scope="module")
def stood(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scheduler, StudyRecord]:
    """A claim that holds."""
    return ran(tmp_path_factory.mktemp("stood"), ahead)


@pytest.fixture(scope="module")
def fell(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scheduler, StudyRecord]:
    """A claim that one task reverses."""
    return ran(tmp_path_factory.mktemp("fell"), turned)


def test_the_worst_tasks_are_trained_again_on_fresh_blocks(
    fell: tuple[Scheduler, StudyRecord],
) -> None:
    agenda, record = fell
    assert agenda.finished == agenda.planned == len(record.evaluations) + len(record.fresh)
    assert len(record.evaluations) == sum(record.planned.values())
    cells = Counter((row.slot.task, row.slot.block, row.slot.level) for row in record.fresh)
    assert {task for task, _, _ in cells} >= {"t3"}
    assert len({task for task, _, _ in cells}) == WORST
    assert {block for _, block, _ in cells} == set(range(BLOCKS, BLOCKS + FRESH_BLOCKS))
    assert {level for _, _, level in cells} == {"he_normal", "torch_default"}
    assert (len(cells), {*cells.values()}) == (WORST * FRESH_BLOCKS * 2, {RUNS})
    assert "challenged on t3" in " ".join(agenda.notes())


def test_their_designs_are_new(stood: tuple[Scheduler, StudyRecord]) -> None:
    record = stood[1]
    tasks = {row.slot.task for row in record.fresh}
    rates = [
        row.config.numbers["learning_rate"]
        for row in (*record.evaluations, *record.fresh)
        if row.slot.phase == "retune" and row.slot.index and row.slot.level == "he_normal"
        if row.slot.task in tasks
    ]
    assert len(set(rates)) == len(rates) == WORST * (BLOCKS + FRESH_BLOCKS) * 2


def test_a_claim_that_no_task_reverses_is_confirmed(stood: tuple[Scheduler, StudyRecord]) -> None:
    found = card(stood[1])
    assert found.verdict == "confirmed"
    assert "none reversed beyond the margin" in found.sentence


def test_one_reversed_task_contradicts_it_and_is_named(fell: tuple[Scheduler, StudyRecord]) -> None:
    record = fell[1]
    found = card(record)
    assert (found.verdict, [w.task for w in found.witnesses]) == ("contradicted", ["t3"])
    assert found.p < 1e-6
    ids = {row.id: row.slot for row in record.fresh}
    assert [ids[id_].level for id_ in found.witnesses[0].replay] == ["he_normal", "torch_default"]
    assert "reversed beyond the margin on t3" in found.sentence


@pytest.mark.parametrize(
    ("lead", "changes"),
    [
        (behind, {}),  # contradicted already
        (ahead, {"claims": [{**SAID, "type": "usually"}]}),
        (ahead, {"budget": {"families": 6, "blocks": BLOCKS, "trials": 2, "promoted": 1}}),
    ],
)
def test_where_nothing_hangs_on_it_nothing_is_challenged(
    lead: Lead, changes: dict[str, Any], tmp_path: Path
) -> None:
    agenda, record = ran(tmp_path, lead, always(**changes))
    assert record.fresh == ()
    assert agenda.finished == agenda.planned == len(record.evaluations)


def test_it_never_feeds_the_rows_own_evidence(fell: tuple[Scheduler, StudyRecord]) -> None:
    record = fell[1]
    assert verdicts(record) == verdicts(replace(record, fresh=()))
    mixed = replace(record, evaluations=(*record.evaluations, *record.fresh))
    with pytest.raises(EvidenceError, match="was never planned"):
        check(mixed)
    assert evidence_status(mixed).kind == "refused"


def test_a_challenge_that_is_not_whole_or_not_fresh_says_nothing(
    fell: tuple[Scheduler, StudyRecord],
) -> None:
    record = fell[1]
    short = card(replace(record, fresh=record.fresh[:-1]))
    wanted = WORST * FRESH_BLOCKS * 2 * RUNS
    assert (short.verdict, short.reason) == (
        "not_tested",
        f"its challenge stage is not complete: {wanted - 1} of {wanted} runs",
    )
    curves = {
        (row.slot.task, row.slot.level, row.slot.phase, row.slot.index): row.curve
        for row in record.evaluations
    }
    first, *rest = record.fresh
    place = (first.slot.task, first.slot.level, first.slot.phase, first.slot.index)
    again = card(replace(record, fresh=(replace(first, curve=curves[place]), *rest)))
    assert again.reason.startswith("its challenge stage is not sound: reused block")
    older = card(replace(record, fresh=(replace(first, versions={"torch": "1"}), *rest)))
    assert older.reason.startswith("its challenge stage is not sound")


@pytest.mark.parametrize("stops", [30, 60])
def test_an_interrupted_challenge_goes_on_where_it_ended(
    stops: int, fell: tuple[Scheduler, StudyRecord], tmp_path: Path
) -> None:
    ledger, agenda = begun(tmp_path, fixed(always()))
    for _ in range(stops):
        pack = agenda.next_pack()
        assert pack is not None
        train(agenda, pack, made(turned))
    agenda.next_pack()  # a pack that was being trained when the process died
    ledger.close()
    ledger, agenda = begun(tmp_path, fixed(always()))
    with ledger:
        train_all(agenda, shuffled=np.random.default_rng(3), make=made(turned))
        assert agenda.finished == agenda.planned == fell[0].planned
        record = record_in(ledger)
    assert {row.id for row in record.fresh} == {row.id for row in fell[1].fresh}
    assert card(record).verdict == "contradicted"


def test_a_complete_study_has_nothing_left_to_do(tmp_path: Path) -> None:
    ran(tmp_path, ahead)
    ledger, agenda = begun(tmp_path, fixed(always()))
    with ledger:
        assert agenda.done
        assert agenda.planned == agenda.finished


def test_only_studies_with_such_a_claim_have_the_rule() -> None:
    rules = [fixed(always(claims=said)).plain()["rules"] for said in ([SAID], [{**SAID, "type": "better"}])]
    assert ["challenge" in one for one in rules] == [True, False]
