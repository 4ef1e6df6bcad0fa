"""Rows race over task families: dropped levels cost nothing more, and the ledger alone decides."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reports.evidence.fairness_checks import CHAIN, EvidenceError, check, evidence_status
from reports.pages.study_page import build
from reports.verdicts.fairness_certificate import certify
from reports.verdicts.verdict import verdicts
from studies.execution.progress import ThroughputMeter
from studies.ledger.ledger import Ledger
from studies.operations.why import card_from_workspace
from studies.packing import Pack
from studies.run import run_inline
from studies.spec.errors import SpecError
from studies.spec.load import parse, with_profile
from tests.studies.planted import train, train_all
from tests.studies.races import (
    BOOK,
    LEVELS,
    RACING,
    begun,
    fixed,
    hopeless,
    made,
    racing,
    record_in,
    trained_on,
)
from tests.studies.tampering import tamper
from trainers.evaluation import Phase

MAKE = made(hopeless)
PHASES: tuple[Phase, ...] = ("pilot", *CHAIN)
FIRST = {f"t{i}" for i in range(8)}
ALL = {f"t{i}" for i in range(10)}


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ledger, list[Pack]]:
    """The study without any disturbance; nobody changes it."""
    ledger, agenda = begun(tmp_path_factory.mktemp("quiet"))
    return ledger, train_all(agenda, make=MAKE)


def test_the_next_families_train_only_what_survives_the_first_look(quiet: tuple[Ledger, list[Pack]]) -> None:
    record = record_in(quiet[0])
    deep = trained_on(record, "deep")
    assert {task for task, levels in deep.items() if "he_normal" in levels} == FIRST
    assert {task for task, levels in deep.items() if levels >= {"torch_default", "glorot_normal"}} == ALL
    course = record.courses["initializer", "deep"]
    assert course.dropped == {"he_normal": 8}
    assert (course.families, course.taken, course.saved) == (10, 2, (2, 30))


def test_a_row_whose_cheapest_level_is_good_enough_stops_at_the_first_look(
    quiet: tuple[Ledger, list[Pack]],
) -> None:
    record = record_in(quiet[0])
    assert trained_on(record, "shallow").keys() == FIRST
    assert record.courses["initializer", "shallow"].saved == (6, 30)
    (shallow,) = (v for v in verdicts(record) if v.regime == "shallow")
    assert (shallow.recommended, shallow.families) == ("torch_default", 8)


def test_no_family_after_a_look_is_opened_before_the_look(workspace: Path) -> None:
    ledger, agenda = begun(workspace)
    del ledger
    confirmed: set[tuple[str, str]] = set()
    per_chain = 3 * 2 * 4  # levels, blocks, members of both arms
    seen: dict[tuple[str, str], int] = {}
    while (pack := agenda.next_pack()) is not None:
        if pack.factor and pack.task not in FIRST:
            assert {task for task, regime in confirmed if regime == pack.regime} >= FIRST
        train(agenda, pack, MAKE)
        if pack.phase == "confirm":
            place = (pack.task, pack.regime)
            seen[place] = seen.get(place, 0) + len(pack.members)
            if seen[place] == per_chain:
                confirmed.add(place)


@pytest.mark.parametrize("seed", range(2))
def test_the_order_of_completion_changes_nothing(
    seed: int, workspace: Path, quiet: tuple[Ledger, list[Pack]]
) -> None:
    undisturbed, packs = quiet
    ledger, mixed = begun(workspace)
    order = train_all(mixed, shuffled=np.random.default_rng(seed), make=MAKE)
    assert {pack.id for pack in order} == {pack.id for pack in packs}
    assert ledger.evaluations("racing") == undisturbed.evaluations("racing")


@pytest.mark.parametrize("share", [0.6, 0.85, 0.93, 0.99])
def test_a_race_killed_anywhere_is_taken_up_and_ends_the_same(
    share: float, workspace: Path, quiet: tuple[Ledger, list[Pack]]
) -> None:
    undisturbed, whole = quiet
    ledger, agenda = begun(workspace)
    before: list[Pack] = []
    while len(before) < share * len(whole) and (pack := agenda.next_pack()) is not None:
        train(agenda, pack, MAKE)
        before.append(pack)
    agenda.next_pack()  # was being trained when the end came
    ledger.close()
    again, agenda = begun(workspace)
    after = train_all(agenda, make=MAKE)
    assert sorted(p.id for p in (*before, *after)) == sorted(p.id for p in whole)
    assert again.evaluations("racing") == undisturbed.evaluations("racing")
    assert again.plans("racing") == undisturbed.plans("racing")
    assert agenda.finished == agenda.planned
    assert [note.split(",")[0] for note in agenda.notes()] == [
        "initializer in shallow: stopped at look 1 of 2",
        "initializer in deep: stopped at look 2 of 2",
    ]


def test_the_total_shrinks_as_the_race_goes_on_and_is_reached_at_the_end(workspace: Path) -> None:
    _, agenda = begun(workspace)
    pace = ThroughputMeter(clock=lambda: float(agenda.finished))
    totals, left = [], []
    while (pack := agenda.next_pack()) is not None:
        train(agenda, pack, MAKE)
        standing = pace.at(agenda)
        totals.append(standing.planned)
        left.append(standing.seconds_left)
        assert standing.finished <= standing.planned
    assert totals == sorted(totals, reverse=True)
    assert len(set(totals)) >= 3
    assert agenda.finished == agenda.planned == totals[-1]
    assert left[-1] == 0


def test_a_raced_study_passes_the_guards_and_says_how_it_raced(quiet: tuple[Ledger, list[Pack]]) -> None:
    record = record_in(quiet[0])
    assert evidence_status(record).kind == "evidence"
    assert len(record.evaluations) == sum(record.planned.values())
    (line,) = (line.text for line in certify(record).lines if line.what == "race")
    assert "initializer@shallow stopped at look 1 of 2, after 8 of 10 task families" in line
    assert "he_normal after 8" in line
    page, _ = build(record)
    assert "stopped at look 1 of 2" in page
    deep = next(v for v in verdicts(record) if v.regime == "deep")
    assert deep.effect("he_normal", "glorot_normal").tasks == 8
    assert deep.effect("torch_default", "glorot_normal").tasks == 10
    assert all(np.isfinite(value) for value in deep.mean_error.values())
    assert deep.finished_share["he_normal"] == 1.0


def test_why_says_how_a_row_raced(quiet: tuple[Ledger, list[Pack]]) -> None:
    card = card_from_workspace(quiet[0].workspace, "initializer@shallow")
    assert any(line.startswith("  the row stopped at look 1 of 2, after 8 of 10") for line in card.lines())


def test_a_raced_study_without_one_of_its_rows_gets_no_verdict(workspace: Path) -> None:
    ledger, agenda = begun(workspace)
    train_all(agenda, make=MAKE)
    tamper(
        ledger,
        "DELETE FROM evaluations WHERE phase = 'confirm' AND task = 't3' AND regime = 'deep' AND number = 0"
        " AND block = 1 AND level = 'glorot_normal'",
    )
    record = record_in(ledger)
    assert evidence_status(record).kind == "interim"  # a resume would fill it in, and look again
    with pytest.raises(EvidenceError, match="interim"):
        verdicts(record)
    with pytest.raises(
        EvidenceError, match=r"missing cell: confirm 0 of initializer@deep, task 't3', block 1"
    ):
        check(record)
    # Nor where somebody has counted what is there as all that was planned.
    ran = Counter(row.slot.phase for row in record.evaluations)
    recounted = replace(record, planned={phase: ran[phase] for phase in PHASES})
    assert evidence_status(recounted).kind == "refused"


def test_a_row_of_the_last_look_that_is_missing_leaves_the_study_interim(workspace: Path) -> None:
    ledger, agenda = begun(workspace)
    train_all(agenda, make=MAKE)
    tamper(
        ledger,
        "DELETE FROM evaluations WHERE phase = 'confirm' AND task = 't9' AND regime = 'deep' AND number = 0"
        " AND block = 1 AND level = 'glorot_normal'",
    )
    now = evidence_status(record_in(ledger))
    assert (now.kind, now.reason[:5]) == ("interim", "1 of ")


@pytest.mark.parametrize(("regime", "task", "level"), [("deep", "t9", "he_normal"), ("shallow", "t9", "*")])
def test_what_the_race_had_not_called_for_is_refused(
    regime: str, task: str, level: str, quiet: tuple[Ledger, list[Pack]]
) -> None:
    record = record_in(quiet[0])
    more = [
        replace(row, slot=replace(row.slot, task=task))
        for row in record.of("initializer", regime)
        if row.slot.task == "t0" and (row.slot.level == level or level == "*")
    ]
    now = evidence_status(replace(record, evaluations=(*record.evaluations, *more)))
    assert now.kind == "refused"
    assert "was not called for by the race" in now.reason


def test_one_look_is_one_look(workspace: Path) -> None:
    budget = {**RACING["budget"], "looks": []}
    ledger, agenda = begun(workspace, fixed(racing(budget=budget)))
    train_all(agenda, make=MAKE)
    record = record_in(ledger)
    assert trained_on(record, "shallow") == {task: set(LEVELS) for task in ALL}
    assert all(line.what != "race" for line in certify(record).lines)


@pytest.mark.parametrize(
    ("profile", "families", "looks"),
    [
        ("quick", None, (8,)),
        ("standard", None, (8, 16)),
        ("full", None, (8, 16, 24)),
        ("full", 12, (8, 12)),
        ("full", 6, (6,)),
        ("quick", 20, (20,)),
    ],
)
def test_profiles_say_after_how_many_families_rows_are_looked_at(
    profile: str, families: int | None, looks: tuple[int, ...]
) -> None:
    budget = {"profile": profile, **({"families": families} if families else {})}
    assert racing(budget=budget).effective_budget.looks == looks


def test_an_adaptive_sampler_gives_no_verdict_and_so_drops_nothing() -> None:
    assert racing(sampler="tpe").effective_budget.looks == (10,)


@pytest.mark.parametrize("looks", [[4], [8, 8], [9, 8], [10], [8, 10, 12]])
def test_looks_that_cannot_be_are_refused(looks: list[int]) -> None:
    with pytest.raises(SpecError, match=r"budget\.looks"):
        racing(budget={**RACING["budget"], "looks": looks})


def test_the_protocol_says_that_rows_race_only_where_they_do() -> None:
    def rule(**budget: Any) -> str:
        return str(fixed(racing(budget=budget)).plain()["rules"]["looks"])

    assert rule(profile="quick") == "one, when all families are complete"
    assert rule(profile="standard").startswith("rows race over families")


def test_a_study_read_from_its_ledger_has_the_looks_it_was_started_with(
    quiet: tuple[Ledger, list[Pack]],
) -> None:
    assert record_in(quiet[0]).budget.looks == (8, 10)


def test_another_profile_keeps_the_looks_that_it_has_families_for() -> None:
    data = {**RACING, "budget": {"profile": "full", "looks": [8, 12, 20]}}
    spec = parse(data, file="racing.yaml")
    assert with_profile(spec, "standard").effective_budget.looks == (8, 12, 16)
    assert with_profile(spec, "quick").effective_budget.looks == (8,)


# Real trainings: one learning rate is far too small to learn anything in 60 steps.

REAL: dict[str, Any] = {
    "study": "racing",
    "questions": [{"factor": "learning_rate", "levels": [0.1, 0.03, 0.00001]}],
    "regimes": {"shallow": {"depth": 1}},
    "setting": {"width": 8, "steps": 60, "batch_size": 16, "train_size": 100, "evaluations": 3},
    "fixed": {"optimizer": "adamw"},
    "tasks": [f"t{i}" for i in range(12)],
    "budget": {
        "families": 9, "looks": [8], "blocks": 2, "trials": 1, "promoted": 1, "confirm_seeds": 1,
    },
}  # fmt: skip


def test_a_real_study_stopped_twice_drops_the_hopeless_level_at_its_first_look(tmp_path: Path) -> None:
    spec = parse(REAL, file="real.yaml")
    quiet, agenda = begun(tmp_path / "quiet", fixed(spec))
    run_inline(agenda, BOOK)
    assert agenda.finished == agenda.planned

    def interrupt(agenda: Any, *, at: int) -> None:
        if agenda.finished >= at:
            raise KeyboardInterrupt

    for at in (agenda.finished // 2, agenda.finished - 2):
        ledger, stopped = begun(tmp_path / "stopped", fixed(spec))
        with pytest.raises(KeyboardInterrupt):
            run_inline(stopped, BOOK, watch=partial(interrupt, at=at))
        ledger.close()
    again, resumed = begun(tmp_path / "stopped", fixed(spec))
    run_inline(resumed, BOOK)
    assert again.evaluations("racing") == quiet.evaluations("racing")

    record = record_in(again)
    assert evidence_status(record).kind == "evidence"
    course = record.courses["learning_rate", "shallow"]
    assert course.dropped == {"1e-05": 8}
    trained = {row.slot.task for row in record.evaluations if row.slot.level == "1e-05" and row.slot.factor}
    assert trained == set(course.planned) - {list(course.planned)[-1]}
