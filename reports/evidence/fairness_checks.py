"""What must hold before a study may say anything: the comparison was equal, complete and fresh."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from reports.evidence.budget import Budget, Margin
from reports.evidence.question import Question
from reports.evidence.study_record import StudyRecord, once
from reports.evidence.test_errors import READ_OUT
from trainers.evaluation import EVIDENCE_PHASES, Evaluation, Phase, Slot

FIXED_DESIGNS = ("sobol", "random")
"""The samplers that may carry verdicts: their points are fixed before any result. With every other one levels
differ in how well they were searched, and a study is exploratory."""

MOST = 100
"""Reasons that are listed."""

CHAIN: tuple[Phase, ...] = ("retune", "promote", "confirm")

Cell = dict[str, list[Evaluation]]
"""Level -> its evaluations in one task, regime and block."""


class EvidenceError(ValueError):
    """The evaluations cannot carry a verdict; the message says which rule they break."""


@dataclass(frozen=True, kw_only=True)
class EvidenceStatus:
    """What a study may say at this moment."""

    kind: Literal["evidence", "interim", "exploratory", "refused", "unjudged", "invalid"]
    """evidence: verdicts; interim: not all planned runs are there; exploratory: an adaptive sampler
    chose the points, or nobody had planned to extend its parent so; refused: a check found the comparison
    unequal or incomplete; unjudged: the pilot left no task to judge on, or every row has a gap where a member
    could not be trained; invalid: a control came out wrong (`reports.evidence.validity`)."""
    reason: str = ""


@once
def evidence_status(record: StudyRecord) -> EvidenceStatus:
    """Whether `record` may carry verdicts, and if not, why; never raises."""
    if record.sampler not in FIXED_DESIGNS:
        return EvidenceStatus(
            kind="exploratory",
            reason=f"the sampler '{record.sampler}' looks at earlier results, so levels were not searched "
            f"equally; only designs fixed in advance ({', '.join(FIXED_DESIGNS)}) carry verdicts",
        )
    if record.extends and record.extends.unregistered:
        return EvidenceStatus(
            kind="exploratory",
            reason=f"study '{record.extends.parent}' was extended beyond what it had registered "
            f"({'; '.join(record.extends.unregistered)}), so whether to go on was decided after its results "
            "had been seen",
        )
    ran = Counter(row.slot.phase for row in record.evaluations)
    missing = sum(max(0, planned - ran[phase]) for phase, planned in _phases(record))
    if missing or not record.evaluations:
        return EvidenceStatus(
            kind="interim",
            reason=f"{missing} of {sum(record.planned.values())} planned runs are not there yet",
        )
    try:
        check(record)
    except EvidenceError as error:
        return EvidenceStatus(kind="refused", reason=str(error))
    gaps = unjudged(record)
    answered = [(question.factor, regime) for question in record.answered for regime in question.regimes]
    if answered and all(row in gaps for row in answered):
        reasons = [gap for gaps_of in gaps.values() for gap in gaps_of]
        more = [f"and {len(reasons) - MOST} more"] if len(reasons) > MOST else []
        return EvidenceStatus(kind="unjudged", reason="; ".join([*reasons[:MOST], *more]))
    return EvidenceStatus(kind="evidence")


@once
def unjudged(record: StudyRecord) -> dict[tuple[str, str], tuple[str, ...]]:
    """(factor, regime) of every row that gets no verdict, while others may -> why.

    The pilot left all of its tasks out, or members of it could not be trained. A gap is nothing that a
    comparison may step over: a level may fail where it would have lost.
    """
    gaps = {
        (question.factor, regime): tuple(
            f"{margin.task} in {regime}: {margin.explained}"
            for margin in record.margins
            if margin.regime == regime and not margin.accepted
        )
        for question in record.questions
        for regime in question.regimes
        if not record.tasks[question.factor][regime]
    }
    return gaps | untrained(record)


@once
def untrained(record: StudyRecord) -> dict[tuple[str, str], tuple[str, ...]]:
    """(factor, regime) of every row with members that could not be trained -> which, and their causes."""
    reasons_by_row: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in record.evaluations:
        s = row.slot
        if row.status == "failed" and s.phase in CHAIN:
            where = f"{s.phase} {s.index} of {s.level} on {s.task}, block {s.block}"
            reasons_by_row[s.factor, s.regime].append(f"{where} could not be trained ({row.cause})")
    return {row: tuple(reasons) for row, reasons in reasons_by_row.items()}


def check(record: StudyRecord) -> None:
    """Raises EvidenceError at the first rule that the study's evaluations break.

    Rows with members that could not be trained get no verdict anyway (`unjudged`), so that their cells need
    not be complete.
    """
    rows, gaps = record.evaluations, untrained(record)
    _one_study(rows, {record.name, *(record.extends.studies if record.extends else ())})
    _no_duplicates(rows)
    _one_version(rows)
    _planned_places(record)
    _planned_looks(record)
    _test_read_once(rows)
    by_cell: dict[tuple[str, str, str, int], Cell] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        s = row.slot
        if s.phase in CHAIN:
            by_cell[(s.factor, s.regime, s.task, s.block)][s.level].append(row)
    for question in record.questions:
        for regime in question.regimes:
            if (question.factor, regime) in gaps:
                continue
            for task in record.tasks[question.factor][regime]:
                margin_of(record, task, regime)
            for task, called in record.courses[question.factor, regime].called.items():
                for block in range(record.budget.blocks):
                    levels = by_cell[(question.factor, regime, task, block)]
                    where = f"{question.factor}@{regime}, task '{task}', block {block}"
                    _equal_budgets(levels, called, question, record.nuisance, where)
                    _equal_background(levels, question, where)
                    if record.sampler == "sobol":
                        _one_design(levels, called, record.nuisance, where)
                    for level in called:
                        _complete(levels[level], record.budget, f"{where}, level '{level}'")
                        _fresh_seeds(levels[level], f"{where}, level '{level}'")
    _called_for(record)


def only_evidence(rows: Iterable[Evaluation]) -> None:
    """Raises EvidenceError on a row of a phase that may not enter a verdict."""
    for row in rows:
        if row.slot.phase not in EVIDENCE_PHASES:
            raise EvidenceError(
                f"evaluation {row.id} is of phase '{row.slot.phase}'; only {' and '.join(EVIDENCE_PHASES)} "
                "rows are evidence (search scores are optimistic)"
            )


def margin_of(record: StudyRecord, task: str, regime: str) -> Margin:
    """The accepted margin of a judged task; EvidenceError where there is none."""
    for margin in record.margins:
        if (margin.task, margin.regime) == (task, regime) and margin.accepted:
            if not (math.isfinite(margin.delta) and margin.delta > 0):
                raise EvidenceError(f"task '{task}' in '{regime}': margin {margin.delta} must be above 0")
            return margin
    raise EvidenceError(f"task '{task}' in regime '{regime}' is judged but has no accepted margin")


def _phases(record: StudyRecord) -> list[tuple[Phase, int]]:
    return [(phase, record.planned[phase]) for phase in ("pilot", *CHAIN) if phase in record.planned]


def _one_study(rows: Iterable[Evaluation], studies: Collection[str]) -> None:
    """All rows are the study's own, or of the studies that it extends."""
    for row in rows:
        if row.slot.study not in studies:
            names = "' or '".join(sorted(studies))
            raise EvidenceError(f"evaluation {row.id} belongs to study '{row.slot.study}', not to '{names}'")


def _no_duplicates(rows: Iterable[Evaluation]) -> None:
    """Whichever studies filled the slots: nothing is trained twice."""
    seen: set[tuple[object, ...]] = set()
    for row in rows:
        place = (*row.slot.cell, row.slot.phase, row.slot.index)
        if place in seen:
            raise EvidenceError(f"two evaluations claim one slot ({row.id}: {_place(row.slot)})")
        seen.add(place)


def _one_version(rows: Iterable[Evaluation]) -> None:
    first: dict[str, str] | None = None
    for row in rows:
        if row.status == "failed":
            continue  # nobody trained it
        versions = dict(row.versions)
        if first is None:
            first = versions
        elif versions != first:
            name = min(key for key in {*first, *versions} if first.get(key) != versions.get(key))
            one, other = first.get(name), versions.get(name)
            raise EvidenceError(
                f"evaluations of mixed versions: {name} is {one} in some and {other} in others "
                f"({_place(row.slot)}); results of different versions are not comparable"
            )


def _planned_places(record: StudyRecord) -> None:
    """No evaluation of the chain lies outside the plan's factors, regimes, tasks, blocks and levels."""
    levels = {question.factor: set(question.levels) for question in record.questions}
    for row in record.evaluations:
        s = row.slot
        if s.phase in CHAIN and not (
            s.task in record.tasks.get(s.factor, {}).get(s.regime, ())
            and 0 <= s.block < record.budget.blocks
            and s.level in levels[s.factor]
        ):
            raise EvidenceError(f"evaluation {row.id} was never planned ({_place(s)})")


def _called_for(record: StudyRecord) -> None:
    """Nothing was trained after a row stopped, nor a level after it was dropped: one more peek."""
    for row in record.evaluations:
        s = row.slot
        if s.phase in CHAIN and s.level not in record.courses[s.factor, s.regime].called.get(s.task, ()):
            raise EvidenceError(
                f"evaluation {row.id} was not called for by the race of its row ({_place(s)}): by then the "
                "row had stopped, or the level was dropped"
            )


def _planned_looks(record: StudyRecord) -> None:
    """No row is judged on more families than the last planned look: that would be one more peek."""
    budget = record.budget
    last = max((look for look in budget.looks if look <= (budget.families or look)), default=0)
    for factor, regimes in record.tasks.items():
        for regime, tasks in regimes.items():
            families = len({record.facts[task].family for task in tasks})
            if last and families > last:
                raise EvidenceError(
                    f"unplanned look: {factor}@{regime} is judged on {families} task families; the plan "
                    f"allows looks after {', '.join(map(str, record.budget.looks))}"
                )


def _test_read_once(rows: Iterable[Evaluation]) -> None:
    """Only confirm and external members read test data (method.md 2.2)."""
    for row in rows:
        if row.test is not None and row.slot.phase not in EVIDENCE_PHASES:
            raise EvidenceError(
                f"test leak: evaluation {row.id} of phase '{row.slot.phase}' has read test data "
                f"({_place(row.slot)})"
            )


def _one_design(levels: Cell, called: Collection[str], searched: Collection[str], where: str) -> None:
    """A number that several levels search takes the same places in each (method.md 2.3).

    Limits may differ by level, so places are compared by their order: of two search points, the same one
    is the higher at every level. An adaptive search passed off as a fixed design does not survive this.
    """
    tables = [
        {row.slot.index: row.config.numbers for row in levels[name] if row.slot.phase == "retune"}
        for name in called
    ]
    for number in searched:
        columns = [
            {index: numbers[number] for index, numbers in table.items() if index and number in numbers}
            for table in tables
        ]
        having = [(name, column) for name, column in zip(called, columns, strict=True) if column]
        if not having:
            continue
        first, reference = having[0]
        order = sorted(reference, key=lambda index: (reference[index], index))
        for name, column in having[1:]:
            if column.keys() != reference.keys():
                continue  # unequal budgets, which have a message of their own
            values = [column[index] for index in order]
            ties = [reference[index] for index in order]
            if any(
                a > b and low < high
                for a, b, low, high in zip(values, values[1:], ties, ties[1:], strict=False)
            ):
                raise EvidenceError(
                    f"unequal designs in {where}: the search points of {number} stand in another order for "
                    f"{name} than for {first}; levels of a block share one design"
                )


def _equal_budgets(
    levels: Cell, names: Collection[str], question: Question, searched: Collection[str], where: str
) -> None:
    """Every level of a (task, block) was searched equally often and trained equally long.

    `names` are those that were still in the race: budgets are equal look by look. Settings may differ
    where the question is about them, or where every level searches them.
    """
    spent = {
        name: Counter(row.slot.phase for row in levels[name] if row.status != "failed" and _searched(row))
        for name in names
    }
    for phase in ("retune", "promote"):
        counts = {name: spent[name][phase] for name in names}
        if len(set(counts.values())) > 1:
            listed = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
            raise EvidenceError(f"unequal budgets in {where}: {phase} runs {listed}")
    free = {*searched, *(name for kind, name in question.parts if kind == "setting")}
    settings = {
        tuple((name, value) for name, value in vars(row.config.setting).items() if name not in free)
        for name in names
        for row in levels[name]
    }
    if len(settings) > 1:
        raise EvidenceError(f"unequal budgets in {where}: settings (steps, width, ...) differ by level")


def _searched(row: Evaluation) -> bool:
    return row.slot.phase in ("retune", "promote")


def _equal_background(levels: Cell, question: Question, where: str) -> None:
    """The levels differ in what the question is about and in nothing else, and are what they are called."""
    factor, varied = question.factor, {name for kind, name in question.parts if kind == "factor"}
    backgrounds = {
        tuple(sorted((name, level) for name, level in row.config.levels.items() if name not in varied))
        for rows in levels.values()
        for row in rows
    }
    if len(backgrounds) > 1:
        raise EvidenceError(f"confounded comparison in {where}: other factors than '{factor}' differ")
    for name, rows in levels.items():
        change = question.change(name)
        for row in rows:
            config = row.config
            trained = (
                *((config.levels.get(key, level), level) for key, level in change.levels.items()),
                *((config.numbers.get(key, value), value) for key, value in change.numbers.items()),
                *((getattr(config.setting, key), value) for key, value in change.setting.items()),
            )
            if any(used != stated for used, stated in trained):
                raise EvidenceError(
                    f"{where}: evaluation {row.id} of '{name}' was trained with another level"
                )


def _complete(rows: list[Evaluation], budget: Budget, where: str) -> None:
    """Every planned slot of one cell holds a usable evaluation, and there are no others."""
    planned: dict[Phase, int] = {
        "retune": budget.trials + 1,
        "promote": budget.promoted * budget.promote_seeds,
        "confirm": 2 * budget.confirm_seeds,
    }
    present = {(row.slot.phase, row.slot.index) for row in rows if row.status != "failed"}
    wanted = {(phase, index) for phase in CHAIN for index in range(planned[phase])}
    if wanted - present:
        phase, index = min(wanted - present)
        failed = any((row.slot.phase, row.slot.index) == (phase, index) for row in rows)
        why = "failed, which counts as missing" if failed else "is missing"
        raise EvidenceError(f"missing cell: {phase} {index} of {where} {why}; nothing is filled in")
    if present - wanted:
        phase, index = min(present - wanted)
        raise EvidenceError(f"unequal budgets: {phase} {index} of {where} was never planned")
    for row in rows:
        if row.slot.phase != "confirm":
            continue
        if row.arm != ("tuned" if row.slot.index < budget.confirm_seeds else "default"):
            raise EvidenceError(f"confirm {row.slot.index} of {where} is of the wrong arm ('{row.arm}')")
        value = (row.test or {}).get(READ_OUT, math.nan)
        if row.status == "finished" and not math.isfinite(value):
            raise EvidenceError(f"confirm {row.slot.index} of {where}: no finite test read-out '{READ_OUT}'")


def _fresh_seeds(rows: list[Evaluation], where: str) -> None:
    """No two trainings of one configuration in a cell share their seed.

    Seeds are not stored with an evaluation, but a reused one shows: the same configuration gives the same
    learning curve to the last bit. Networks that learned nothing may agree by themselves and are passed.
    """
    seen: dict[tuple[object, ...], Slot] = {}
    for row in sorted(rows, key=lambda row: (CHAIN.index(row.slot.phase), row.slot.index)):
        losses = tuple((point.step, point.train_loss) for point in row.curve)
        if row.status != "finished" or len({loss for _, loss in losses}) < 3:
            continue
        key = (row.arm, tuple(sorted(row.config.numbers.items())), losses)
        if key in seen:
            first = seen[key]
            raise EvidenceError(
                f"reused seed in {where}: {row.slot.phase} {row.slot.index} repeats "
                f"{first.phase} {first.index} to the last bit"
            )
        seen[key] = row.slot


def _place(slot: Slot) -> str:
    cell = f"{slot.factor}@{slot.regime}, task '{slot.task}', block {slot.block}, level '{slot.level}'"
    return f"{cell}, {slot.phase} {slot.index}"
