"""A failed control invalidates the whole page; the certificate counts; edges of ranges are flagged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from reports.evidence.control_arms import ControlKind, control_states, fails
from reports.evidence.fairness_checks import EvidenceError
from reports.evidence.range_edges import audit, flagged
from reports.evidence.study_record import StudyRecord
from reports.evidence.validity import controls, validity_status
from reports.pages.study_page import write_report
from reports.verdicts.fairness_certificate import certify
from reports.verdicts.verdict import verdicts
from tests.reports.planted import noisy_errors, planted_study
from trainers.evaluation import Evaluation


def controlled(errors: NDArray[np.float64], kind: ControlKind) -> StudyRecord:
    """A study whose only question is a control of two levels, the second at `errors[..., 1]`."""
    record = planted_study({"deep": errors}, levels=("he_normal", "glorot_normal"))
    return replace(record, questions=(replace(record.questions[0], control=kind),))


@pytest.mark.parametrize(
    ("means", "kind", "kind_of_standing"),
    [
        ((0, 0), "a_a", "evidence"),
        ((0, 4), "a_a", "invalid"),
        ((4, 0), "placebo", "invalid"),
        ((0, 3), "positive", "evidence"),
        ((0, 0), "positive", "invalid"),
        ((3, 0), "positive", "invalid"),
    ],
)
def test_a_control_that_comes_out_wrong_invalidates_the_study(
    means: tuple[float, float], kind: ControlKind, kind_of_standing: str
) -> None:
    record = controlled(noisy_errors(means, block_sd=0.2, tau=0.1), kind)
    assert validity_status(record).kind == kind_of_standing
    (control,) = controls(record)
    assert control.failed == (kind_of_standing == "invalid")
    if control.failed:
        with pytest.raises(EvidenceError, match=r"INVALID.*FAILED"):
            verdicts(record)
    else:
        assert verdicts(record) == (), "a control is not a row of the table"


def test_an_invalid_page_carries_no_verdict_word(tmp_path: Path) -> None:
    record = controlled(noisy_errors((0, 4), block_sd=0.2), "a_a")
    page = write_report(record, tmp_path).read_text(encoding="utf-8")
    assert "INVALID: a control failed" in page and "FAILED" in page
    assert 'class="badge' not in page and "Recommended defaults" not in page


def test_controls_are_judged_more_strictly_the_more_there_are() -> None:
    errors = np.random.default_rng(1).normal(size=(400, 8, 4, 2)) * 2.0
    errors[..., 1] += 2.0
    found = [
        fails("a_a", control_states(errors, np.ones(8), np.arange(8), alpha=0.05, count=count)).mean()
        for count in (1, 3, 10)
    ]
    assert found[0] > found[1] > found[2]


def test_a_control_has_two_levels() -> None:
    question = planted_study({"deep": noisy_errors((0, 0, 0))}).questions[0]
    with pytest.raises(ValueError, match="exactly two levels"):
        replace(question, control="a_a")


def test_the_certificate_counts_what_was_equal(tmp_path: Path) -> None:
    record = planted_study({"deep": noisy_errors((0, 1, 2))})
    lines = {line.what: line.found for line in certify(record).lines}
    assert "5 retune, 2 promote, 4 confirm, in 96 of 96 cells" in lines["runs per task, block and level"]
    assert "128 of 128 points" in lines["search points"]
    assert "384 in confirm; 0 elsewhere" in lines["test data"]
    assert lines["runs left out"].startswith("0 of ")
    page = write_report(record, tmp_path).read_text(encoding="utf-8")
    assert "Fairness certificate" in page and "This study ran no controls" in page


def test_without_a_certificate_there_is_no_verdict_word() -> None:
    record = planted_study({"deep": noisy_errors((0, 1, 2))})
    unequal = replace(record, evaluations=record.evaluations[:-1])
    with pytest.raises(EvidenceError, match="no certificate"):
        certify(unequal)
    with pytest.raises(EvidenceError):
        verdicts(unequal)


def test_search_points_of_another_design_are_refused() -> None:
    record = planted_study({"deep": noisy_errors((0, 1, 2))})

    def swapped(row: Evaluation) -> Evaluation:
        s = row.slot
        if (s.phase, s.level, s.task, s.block) != ("retune", "he_normal", "task_0", 0) or s.index == 0:
            return row
        rate = row.config.numbers["learning_rate"]
        return replace(row, config=replace(row.config, numbers={"learning_rate": 1e-5 / rate}))

    changed = replace(record, evaluations=tuple(map(swapped, record.evaluations)))
    assert "unequal designs" in validity_status(changed).reason
    stretched = replace(record, evaluations=tuple(_twice(row) for row in record.evaluations))
    assert validity_status(stretched).kind == "evidence", "limits may differ by level"


def _twice(row: Evaluation) -> Evaluation:
    """One level's search points at twice the rate: the same places in limits of its own."""
    if row.slot.phase != "retune" or row.slot.level != "he_normal":
        return row
    rate = row.config.numbers["learning_rate"]
    return replace(row, config=replace(row.config, numbers={"learning_rate": 2 * rate}))


def test_winners_at_the_edge_of_a_range_are_flagged_and_others_are_not() -> None:
    record = planted_study({"deep": noisy_errors((0, 1, 2))})

    def at(row: Evaluation) -> Evaluation:
        if row.slot.phase != "confirm" or row.arm != "tuned":
            return row
        edge = row.slot.level == "he_normal" and row.slot.task in ("task_0", "task_1", "task_2")
        return replace(row, config=replace(row.config, numbers={"learning_rate": 0.99 if edge else 0.01}))

    edges = audit(replace(record, evaluations=tuple(map(at, record.evaluations))))
    assert [(edge.level, edge.high, edge.winners, edge.flagged) for edge in edges] == [
        ("glorot_normal", 0, 32, False),
        ("he_normal", 12, 32, True),
        ("torch_default", 0, 32, False),
    ]
    ((edge,),) = flagged(edges).values()
    assert "12 of 32 winners" in edge.sentence()
