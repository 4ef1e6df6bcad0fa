"""The fairness certificate: what was equal for all levels, counted from the evaluations themselves.

A study that cannot show every line gets no verdict. The fairness checks refuse at the first rule that is
broken; the certificate says what they counted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

from reports.evidence.fairness_checks import CHAIN, EvidenceError, evidence_status
from reports.evidence.processors import NOT_RECORDED, mixture_of
from reports.evidence.registered_looks import registered
from reports.evidence.study_record import StudyRecord
from reports.evidence.validity import controls
from reports.verdicts.sentences import listed, raced
from trainers.evaluation import EVIDENCE_PHASES, Evaluation


@dataclass(frozen=True, kw_only=True)
class CertificateLine:
    """One thing that was the same for every level."""

    what: str
    text: str
    """What was counted, in words."""


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """What a comparison needs to be called fair; made by `certify` only."""

    lines: tuple[CertificateLine, ...]


def certify(record: StudyRecord) -> Certificate:
    """The certificate of a study that passed all fairness checks.

    Raises:
        EvidenceError: it may not carry verdicts, so that there is nothing to certify.
    """
    now = evidence_status(record)
    if now.kind != "evidence":
        raise EvidenceError(f"no certificate for study '{record.name}' ({now.kind}): {now.reason}")
    rows = [row for row in record.evaluations if row.slot.phase in CHAIN]
    return Certificate(
        lines=(
            _budgets(rows),
            *_looks(record),
            *_race(record),
            _designs(record, rows),
            _data(record),
            _seeds(rows),
            _test_reads(record),
            _versions(record),
            _kept(record),
            *_controls(record),
            CertificateLine(
                what="frozen before the first comparison",
                text=f"protocol {record.protocol_hash}, plan {record.plan_hash} "
                f"(revision {record.revision}; {len(record.abandoned_plans)} abandoned)",
            ),
        )
    )


def _budgets(rows: list[Evaluation]) -> CertificateLine:
    """Runs by phase of every (row, task, block, level)."""
    cells: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for row in rows:
        cells[(*map(str, row.slot.cell), row.slot.regime)][row.slot.phase] += 1
    kinds = {tuple(counts[phase] for phase in CHAIN) for counts in cells.values()}
    each = " or ".join(
        ", ".join(f"{count} {phase}" for phase, count in zip(CHAIN, kind, strict=True))
        for kind in sorted(kinds)
    )
    return CertificateLine(
        what="runs per task, block and level", text=f"{each}, in {len(cells)} of {len(cells)} cells"
    )


def _race(record: StudyRecord) -> list[CertificateLine]:
    """At which look each row stopped; nothing where all of them had one look."""
    rows = [
        f"{factor}@{regime} {how}"
        for (factor, regime), course in record.courses.items()
        if (how := raced(course))
    ]
    return [CertificateLine(what="race", text=". ".join(rows))] if rows else []


def _looks(record: StudyRecord) -> list[CertificateLine]:
    """Of a study that extends another or may be extended: which, and that this was planned."""
    planned = registered(record)
    lines = [CertificateLine(what="looks", text=planned)] if planned else []
    if (extends := record.extends) is not None:
        inherited = sum(row.slot.study != record.name for row in record.evaluations)
        lines.append(
            CertificateLine(
                what="extends",
                text=f"study {extends.parent} (protocol {extends.protocol_hash}, plan {extends.plan_hash}); "
                f"{inherited} of {len(record.evaluations)} runs are of {listed(list(extends.studies))}",
            )
        )
    return lines


def _designs(record: StudyRecord, rows: list[Evaluation]) -> CertificateLine:
    """Search points that levels of a block share, number by number."""
    points: dict[tuple[str, str, str, int, int], list[Evaluation]] = defaultdict(list)
    for row in rows:
        s = row.slot
        if s.phase == "retune" and s.index:
            points[s.factor, s.regime, s.task, s.block, s.index].append(row)
    shared = same = 0
    for levels in points.values():
        for name in record.nuisance:
            values = [row.config.numbers[name] for row in levels if name in row.config.numbers]
            if len(values) > 1:
                shared += 1
                same += len(set(values)) == 1
    if not shared:
        return CertificateLine(what="search points", text=f"{len(points)}, no number searched at two levels")
    others = "" if same == shared else ", the others the same place in limits that differ by level"
    return CertificateLine(
        what="search points",
        text=f"one {record.sampler} design per block: {same} of {shared} points of a shared number have the "
        f"same value at every level{others}",
    )


def _data(record: StudyRecord) -> CertificateLine:
    tasks = {task for course in record.courses.values() for task in course.called}
    hashes = {record.facts[task].content_hash for task in tasks}
    return CertificateLine(
        what="data and splits",
        text=f"{len(tasks)} tasks ({len(hashes)} contents), {record.budget.blocks} splits each, "
        "shared by all levels",
    )


def _seeds(rows: list[Evaluation]) -> CertificateLine:
    finished = sum(row.status == "finished" for row in rows)
    return CertificateLine(
        what="seeds",
        text=f"none used twice in a cell, by the learning curves of {finished} finished runs",
    )


def _test_reads(record: StudyRecord) -> CertificateLine:
    reads = Counter(row.slot.phase for row in record.evaluations if row.test is not None)
    counted = listed([f"{reads[phase]} in {phase}" for phase in EVIDENCE_PHASES if reads[phase]])
    return CertificateLine(what="test data", text=f"read once by each run that may: {counted}; 0 elsewhere")


def _versions(record: StudyRecord) -> CertificateLine:
    versions = sorted({item for row in record.evaluations for item in row.versions.items()})
    text = ", ".join(f"{name} {version}" for name, version in versions) or NOT_RECORDED
    mixed = mixture_of(record)
    return CertificateLine(what="versions", text=f"{text}; but {mixed}" if mixed else text)


def _controls(record: StudyRecord) -> tuple[CertificateLine, ...]:
    """The comparisons with a known answer that got the same treatment; () where none were run."""
    judged = controls(record)
    if not judged:
        return ()
    decided = sum(control.state != "unresolved" for control in judged)
    names = listed([control.name for control in judged])
    return (
        CertificateLine(
            what="controls", text=f"{names}: {decided} of {len(judged)} decided, as they must be"
        ),
    )


def _kept(record: StudyRecord) -> CertificateLine:
    status = Counter(row.status for row in record.evaluations if row.slot.phase in CHAIN)
    return CertificateLine(
        what="runs left out",
        text=f"0 of {status.total()}; {status['diverged']} diverged and scored like the trivial predictor",
    )
