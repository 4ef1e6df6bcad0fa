"""One evaluation of the ledger trained again, alone, and compared with what the ledger says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports.evidence.budget import EXTERNAL
from search_spaces.factor import unknown
from search_spaces.overrides import spelled
from studies.comparison.protocol import Chain
from studies.comparison.record import protocol_of
from studies.comparison.stages import salted
from studies.ledger.ledger import Ledger, StudyRow
from studies.ledger.row_codec import damaged_studies
from studies.search.generations import known_when_asked
from studies.search.successive_halving import rungs
from trainers.evaluation import Evaluation, Slot
from trainers.loop.pack import train_pack
from trainers.member import Member
from trainers.tasks.task import Task
from trainers.tasks.user_tasks import TaskSource, task_book
from trainers.versions import versions

SHARE_OF_MARGIN = 0.5
"""A metric may differ by so much of its task's margin: matrix products of a pack and of one member may differ
in their last bit, which a training can magnify, and half a margin changes no verdict."""
SHARE_OF_METRIC = 0.05
"""Where a study has no margins: by so much of the larger value."""
SHORTEST = 4
"""Digits of an id that must be given at least."""


@dataclass(frozen=True, kw_only=True)
class ReplayedValue:
    """One measured value, then and now."""

    name: str
    then: float
    now: float
    tolerance: float

    @property
    def same(self) -> bool:
        """Equal, or within the tolerance."""
        return self.then == self.now or abs(self.then - self.now) <= self.tolerance


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What came out."""

    then: Evaluation
    now: Evaluation
    values: tuple[ReplayedValue, ...]
    rule: str
    """What the tolerance is."""
    changed_versions: tuple[str, ...]
    """'torch 2.14.1 -> 2.15.0' for each that is not what it was."""

    @property
    def same(self) -> bool:
        """Same status, and every metric within its tolerance."""
        return self.then.status == self.now.status and all(value.same for value in self.values)

    @property
    def to_the_bit(self) -> bool:
        """Status, metrics and the whole learning curve are equal."""
        return (self.then.status, self.then.curve) == (self.now.status, self.now.curve) and all(
            value.then == value.now for value in self.values
        )

    def plain(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {
            "id": self.then.id,
            "same": self.same,
            "equal_to_the_bit": self.to_the_bit,
            "rule": self.rule,
            "slot": self.then.slot.plain(),
            "config": self.then.config.plain(),
            "status": {"then": self.then.status, "now": self.now.status},
            "values": {v.name: {"then": _word(v.then), "now": _word(v.now)} for v in self.values},
            "changed_versions": list(self.changed_versions),
        }

    def lines(self) -> list[str]:
        """For a reader."""
        slot, config = self.then.slot, self.then.config
        found = [
            f"evaluation {self.then.id}",
            f"  study {slot.study}, {slot.phase} {slot.index} of {slot.factor or 'all'}={slot.level} in "
            f"{slot.regime}, task {slot.task}, block {slot.block}",
            *_listed("levels", config.levels),
            *_listed("numbers", config.numbers),
            *_listed("setting", config.setting.plain()),
            f"  status: {self.then.status}, again: {self.now.status}",
        ]
        for value in self.values:
            mark = "" if value.same else "  <- differs"
            found.append(f"  {value.name}: {value.then:.6g}, again: {value.now:.6g}{mark}")
        found += [f"  version: {change}" for change in self.changed_versions]
        if self.to_the_bit:
            return [*found, "the same, to the last bit of its learning curve"]
        return [*found, f"{'the same within' if self.same else 'NOT the same: beyond'} {self.rule}"]


def replay(
    workspace: Path, evaluation: str, *, tasks_from: TaskSource | None = None, device: str = "cpu"
) -> Replay:
    """Trains one evaluation again as a pack of one; the ledger is only read.

    Args:
        workspace: with the ledger.
        evaluation: its id, or the first digits of it.
        tasks_from: the file with the user's own tasks, where its task is one of them.
        device: torch device.

    Raises:
        ValueError: no such evaluation or several, a task that is not here or has other content than it had,
            or a device that cannot be used.
    """
    from studies.run import check_device

    check_device(device)
    with Ledger.open(workspace) as ledger:
        row, then = _found(ledger, evaluation)
        member = member_again(ledger, row, then)
        margins = {(m.task, m.regime): m.delta for m in ledger.margins(row.name)}
    task = _task(row, then.slot.task, tasks_from)
    (now,) = train_pack([member], task, device=device, diagnostics="none")
    margin = margins.get((then.slot.task, then.slot.regime))
    return Replay(
        then=then,
        now=now,
        values=_compared(then, now, margin),
        rule=(
            f"{SHARE_OF_MARGIN:g} margins of {margin:.4g}"
            if margin is not None
            else f"{100 * SHARE_OF_METRIC:g} % of the metric"
        ),
        changed_versions=(
            *_changes(then.versions, {**versions(), "device": device.split(":")[0]}),
            *_changes(then.processor, now.processor),
        ),
    )


def _found(ledger: Ledger, wanted: str) -> tuple[StudyRow, Evaluation]:
    """The evaluation and its study."""
    digits = wanted.lower()
    if len(digits) < SHORTEST or set(digits) - set("0123456789abcdef"):
        raise ValueError(
            f"'{wanted}' is no evaluation's id: ids are 20 hexadecimal digits, of which at least the first "
            f"{SHORTEST} are needed (`groundrules results STUDY` lists them)"
        )
    rows, damage = ledger.sound_studies()
    found = [(row, evaluation) for row in rows for evaluation in ledger.starting_with(row.name, digits)]
    if len(found) > 1:
        ids = ", ".join(evaluation.id for _, evaluation in found[:5])
        raise ValueError(f"{len(found)} evaluations in {ledger.workspace} begin with {digits}: {ids}")
    if not found and damage:
        raise damaged_studies(damage)
    if not found:
        raise ValueError(f"no evaluation in {ledger.workspace} has an id that begins with {digits}")
    return found[0]


def member_again(ledger: Ledger, row: StudyRow, then: Evaluation) -> Member:
    """The member that was trained; its streams follow from its slot and the study's budget."""
    slot, spec = then.slot, row.protocol["spec"]
    of_phase = {"promote": "promote_seeds", "confirm": "confirm_seeds", "external": "confirm_seeds"}
    seeds = of_phase.get(slot.phase)
    stops: tuple[tuple[int, float], ...] = ()
    if slot.phase == "search" and spec["pruner"] == "successive_halving":
        known = known_when_asked(slot.index // spec["generation"], spec["generation"])
        earlier = [e for e in ledger.evaluations(row.name) if e.slot.index < known]
        stops = rungs(then.config.setting, earlier)
    return Member(
        slot=slot,
        config=then.config,
        seed_index=slot.index % spec["budget"][seeds] if seeds else slot.index,
        arm=then.arm,
        salt=_salt(row, slot),
        rungs=stops,
        root=spec.get("extends", {}).get("root", ""),
    )


def _salt(row: StudyRow, slot: Slot) -> str:
    """Of a control's member its arm's name, as it was trained."""
    if slot.factor in ("", EXTERNAL) or "controls" not in row.protocol["spec"]:
        return ""
    chain = Chain(factor=slot.factor, task=slot.task, regime=slot.regime)
    return salted(protocol_of(row.protocol), chain, slot.level)


def _task(row: StudyRow, name: str, tasks_from: TaskSource | None) -> Task:
    """The task, with the content it had."""
    book = task_book(tasks_from)
    if name not in book:
        rule = f"{unknown('task', name, book)} (its study had it from a file: --tasks-from FILE.py)"
        raise ValueError(rule)
    task = book[name]()
    known = row.protocol["facts"]
    facts = known if isinstance(known, list) else [known]
    same: Mapping[str, Any] = {"content_hash": task.content_hash}
    then: Mapping[str, Any] = next((each for each in facts if each["name"] == name), same)
    was, now = then["content_hash"], task.content_hash
    if task.network is not None and "network" not in then:  # recorded before networks were
        now = task.data_hash
    if now != was:
        other = "other data"
        if (then.get("network") or {}).get("data") == task.data_hash:
            other = "another network"
        raise ValueError(
            f"task '{name}' has {other} than study '{row.name}' ran with (content {now}, then {was}): a "
            "replay would say nothing"
        )
    return task


def _compared(then: Evaluation, now: Evaluation, margin: float | None) -> tuple[ReplayedValue, ...]:
    pairs: dict[str, tuple[float, float]] = {
        "validation metric": (then.validation_metric, now.validation_metric)
    }
    for name, value in (then.test or {}).items():
        pairs[f"test metric ({name.replace('_', ' ')})"] = (value, (now.test or {}).get(name, math.nan))
    return tuple(
        ReplayedValue(name=name, then=a, now=b, tolerance=_tolerance(a, b, margin))
        for name, (a, b) in pairs.items()
    )


def _tolerance(then: float, now: float, margin: float | None) -> float:
    if margin is not None:
        return SHARE_OF_MARGIN * margin
    largest = max(abs(then), abs(now))
    return SHARE_OF_METRIC * largest if math.isfinite(largest) else 0.0


def _changes(then: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(
        f"{name} {was} -> {now.get(name, 'unknown')}" for name, was in then.items() if now.get(name) != was
    )


def _listed(what: str, values: Mapping[str, Any]) -> list[str]:
    return [f"  {what}: {', '.join(f'{name} {spelled(value)}' for name, value in values.items())}"]


def _word(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)
