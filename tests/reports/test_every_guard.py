"""Each guard, the one change that only it refuses, and its message; no guard without such a change."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from reports.evidence import fairness_checks
from reports.evidence.arrays import from_rows
from reports.evidence.fairness_checks import EvidenceError
from reports.evidence.study_record import StudyRecord
from search_spaces.config import Setting
from tests.reports.discriminating import discriminating
from trainers.evaluation import Evaluation

Change = Callable[[StudyRecord], StudyRecord]
TASK, LEVEL = "task_2", "lecun_normal"


def sound() -> StudyRecord:
    """Eight families in one regime, one look."""
    return discriminating(families=(0, 1, 2, 3, 4, 5, 6, 7), looks=(8,), regimes=("deep",))


def at(row: Evaluation, phase: str, index: int) -> bool:
    s = row.slot
    return (s.phase, s.index, s.level, s.task, s.block) == (phase, index, LEVEL, TASK, 1)


def one(record: StudyRecord, phase: str, index: int) -> Evaluation:
    return next(row for row in record.evaluations if at(row, phase, index))


def changed(phase: str, index: int, change: Callable[[Evaluation], Evaluation | None]) -> Change:
    """One evaluation passed through `change`; None drops it."""

    def apply(record: StudyRecord) -> StudyRecord:
        rows = [change(row) if at(row, phase, index) else row for row in record.evaluations]
        return replace(record, evaluations=tuple(row for row in rows if row is not None))

    return apply


def added(phase: str, index: int, /, **place: object) -> Change:
    """One more evaluation, like another but for its place."""

    def apply(record: StudyRecord) -> StudyRecord:
        row = one(record, phase, index)
        return replace(
            record,
            evaluations=(*record.evaluations, replace(row, slot=replace(row.slot, **place))),  # type: ignore[arg-type]
        )

    return apply


def margin(record: StudyRecord, **changes: float | bool) -> StudyRecord:
    """The margin of one task, changed."""
    margins = [replace(m, **changes) if m.task == TASK else m for m in record.margins]  # type: ignore[arg-type]
    return replace(record, margins=tuple(margins))


def swapped(record: StudyRecord) -> StudyRecord:
    """Two search points of one level stand in another order than those of its rivals."""
    numbers = {2: one(record, "retune", 3).config.numbers, 3: one(record, "retune", 2).config.numbers}
    rows = [
        replace(row, config=replace(row.config, numbers=numbers[row.slot.index]))
        if any(at(row, "retune", index) for index in numbers)
        else row
        for row in record.evaluations
    ]
    return replace(record, evaluations=tuple(rows))


def setting(row: Evaluation) -> Evaluation:
    return replace(row, config=replace(row.config, setting=Setting(depth=20, width=32, steps=900)))


def level(factor: str, name: str) -> Callable[[Evaluation], Evaluation]:
    def apply(row: Evaluation) -> Evaluation:
        return replace(row, config=replace(row.config, levels={**row.config.levels, factor: name}))

    return apply


def same_curve(record: StudyRecord) -> StudyRecord:
    """The second run at the library's defaults learned as the first did, to the last bit."""
    curve = one(record, "confirm", 2).curve
    return changed("confirm", 3, lambda row: replace(row, curve=curve))(record)


PLACE = f"task '{TASK}', block 1"
CELL = f"{PLACE}, level '{LEVEL}'"
GUARDS: Mapping[str, tuple[Change, str]] = {
    "of another study": (
        changed("confirm", 0, lambda row: replace(row, slot=replace(row.slot, study="other"))),
        "belongs to study 'other', not to 'discriminating'",
    ),
    "twice": (added("confirm", 0), "two evaluations claim one slot"),
    "of another version": (
        changed("retune", 2, lambda row: replace(row, versions={**row.versions, "numpy": "1.0"})),
        "mixed versions: numpy is 2.4.6 in some and 1.0 in others",
    ),
    "of no planned task": (
        added("confirm", 0, task="another"),
        "was never planned (initializer@deep, task 'an",
    ),
    "of no planned block": (
        added("retune", 1, block=3),
        f"was never planned (initializer@deep, task '{TASK}', block 3",
    ),
    "of a block before the first": (added("retune", 1, block=-1), "block -1"),
    "of no planned level": (added("promote", 0, level="orthogonal"), "level 'orthogonal', promote 0)"),
    "one family more than the last look": (
        lambda record: replace(record, budget=replace(record.budget, looks=(7,))),
        "unplanned look: initializer@deep is judged on 8 task families; the plan allows looks after 7",
    ),
    "a search point that read test data": (
        changed("retune", 4, lambda row: replace(row, test={"best_validation": 0.1})),
        "test leak: evaluation",
    ),
    "a promoted run that read test data": (
        changed("promote", 1, lambda row: replace(row, test={"last": 0.1})),
        "of phase 'promote' has read test data",
    ),
    "no margin": (
        lambda record: margin(record, accepted=False),
        f"task '{TASK}' in regime 'deep' is judged but has no accepted margin",
    ),
    "a margin of 0": (lambda record: margin(record, delta=0.0), "margin 0.0 must be above 0"),
    "a margin that is no number": (
        lambda record: margin(record, delta=math.nan),
        "margin nan must be above 0",
    ),
    "a margin without end": (lambda record: margin(record, delta=math.inf), "margin inf must be above 0"),
    "a search point less": (
        changed("retune", 3, lambda row: None),
        f"unequal budgets in initializer@deep, {PLACE}: retune runs glorot_normal 7, he_normal 7, {LEVEL} 6",
    ),
    "a promoted run less": (
        changed("promote", 1, lambda row: None),
        f"promote runs glorot_normal 2, he_normal 2, {LEVEL} 1",
    ),
    "trained longer": (
        changed("confirm", 1, setting),
        f"{PLACE}: settings (steps, width, ...) differ by level",
    ),
    "another optimizer": (
        changed("confirm", 2, level("optimizer", "sgd")),
        "confounded comparison in initializer@deep",
    ),
    "another level than it is called": (
        changed("confirm", 0, level("initializer", "he_normal")),
        f"of '{LEVEL}' was trained with another level",
    ),
    "another design": (
        swapped,
        f"unequal designs in initializer@deep, {PLACE}: the search points of learning_rate",
    ),
    "a confirm run less": (
        changed("confirm", 3, lambda row: None),
        f"missing cell: confirm 3 of initializer@deep, {CELL} is missing",
    ),
    "a confirm run more": (
        added("confirm", 3, index=4),
        f"confirm 4 of initializer@deep, {CELL} was never planned",
    ),
    "the default arm for the tuned": (
        changed("confirm", 1, lambda row: replace(row, arm="default")),
        f"confirm 1 of initializer@deep, {CELL} is of the wrong arm ('default')",
    ),
    "the tuned arm for the default": (
        changed("confirm", 2, lambda row: replace(row, arm="tuned")),
        f"confirm 2 of initializer@deep, {CELL} is of the wrong arm ('tuned')",
    ),
    "a test error that is no number": (
        changed("confirm", 0, lambda row: replace(row, test={"best_validation": math.nan, "last": 0.2})),
        f"confirm 0 of initializer@deep, {CELL}: no finite test read-out 'best_validation'",
    ),
    "a test error without end": (
        changed("confirm", 2, lambda row: replace(row, test={"best_validation": math.inf, "last": 0.2})),
        f"confirm 2 of initializer@deep, {CELL}: no finite test read-out",
    ),
    "no primary read-out": (
        changed("confirm", 0, lambda row: replace(row, test={"last": 0.2})),
        f"confirm 0 of initializer@deep, {CELL}: no finite test read-out",
    ),
    "no test data read": (
        changed("confirm", 2, lambda row: replace(row, test=None)),
        f"confirm 2 of initializer@deep, {CELL}: no finite test read-out",
    ),
    "a seed used twice": (
        same_curve,
        f"reused seed in initializer@deep, {CELL}: confirm 3 repeats confirm 2",
    ),
}
"""What is wrong -> the change that makes it so, and what the message holds."""


def refusal(record: StudyRecord) -> EvidenceError:
    with pytest.raises(EvidenceError) as caught:
        fairness_checks.check(record)
    return caught.value


def test_without_a_change_nothing_is_refused() -> None:
    fairness_checks.check(sound())


@pytest.mark.parametrize("wrong", GUARDS)
def test_a_guard_refuses_what_breaks_it(wrong: str) -> None:
    change, message = GUARDS[wrong]
    assert message in str(refusal(change(sound())))


def uncalled() -> StudyRecord:
    """A raced study with one search point of a level after the look that dropped it."""
    record = discriminating()
    course = record.courses["initializer", "shallow"]
    (gone,) = course.dropped
    row = next(row for row in record.evaluations if row.slot.level == gone and row.slot.regime == "shallow")
    late = next(task for task, levels in course.called.items() if gone not in levels)
    more = replace(row, slot=replace(row.slot, task=late))
    return replace(record, evaluations=(*record.evaluations, more))


def test_nothing_is_trained_that_a_race_did_not_call_for() -> None:
    assert "was not called for by the race of its row" in str(refusal(uncalled()))


def not_evidence() -> EvidenceError:
    record = sound()
    rows = [row for row in record.evaluations if row.slot.phase in ("confirm", "retune")]
    with pytest.raises(EvidenceError, match="only confirm and external rows are evidence") as caught:
        from_rows(record, record.questions[0], "deep", rows)
    return caught.value


def test_every_refusal_of_the_guards_is_reached() -> None:
    """Each `raise` of reports/evidence/fairness_checks.py, by the line at which a change above ends."""
    text = Path(str(fairness_checks.__file__)).read_text(encoding="utf-8")
    raises = {
        (node.lineno, node.end_lineno or node.lineno)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Raise)
    }
    errors = [refusal(change(sound())) for change, _ in GUARDS.values()]
    ends = [_end(error) for error in (*errors, refusal(uncalled()), not_evidence())]
    reached = {span for span in raises for end in ends if span[0] <= end <= span[1]}
    assert raises - reached == set()


def _end(error: EvidenceError) -> int:
    """The last line of reports/evidence/fairness_checks.py that an error went through."""
    lines, here = [], error.__traceback__
    while here is not None:
        if here.tb_frame.f_code.co_filename == fairness_checks.__file__:
            lines.append(here.tb_lineno)
        here = here.tb_next
    return lines[-1]


def test_a_cell_without_a_confirm_run_is_named_though_no_guard_was_asked() -> None:
    record = sound()
    rows = [
        row
        for row in record.evaluations
        if row.slot.phase == "confirm" and not (at(row, "confirm", 0) or at(row, "confirm", 1))
    ]
    where = f"task '{TASK}', block 1, level '{LEVEL}' in deep has no confirm run of the tuned arm"
    with pytest.raises(EvidenceError, match=where):
        from_rows(record, record.questions[0], "deep", rows)
