"""What an extension sees of the ledger: what it trained itself, and what the studies before it had trained.

Rows of all of them are read, none is copied: the earlier studies keep their rows, records and pages.
Where the external check is concerned everyone is alone, because its recipes hang on each study's own
verdicts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from reports.evidence.budget import EXTERNAL
from reports.evidence.study_record import Extension
from studies.ledger.protocol_hash import as_recorded, untouched
from trainers.evaluation import PHASES, Evaluation, Slot

if TYPE_CHECKING:
    from studies.ledger.ledger import Ledger, StudyRow

Cell = tuple[int, str]
"""(block, level)."""


class SeenEvaluations:
    """The evaluations of one study and of those that it extends; of a study of its own, the ledger's."""

    def __init__(self, ledger: Ledger, study: str) -> None:
        self.study = study
        self.before = tuple(row.name for row in before(ledger, study))
        """The studies that it extends, the first of them all first."""
        self._ledger = ledger
        self._cells: dict[tuple[str, str, str], dict[Cell, tuple[int, int]]] = {}
        for name in self.before:
            for (factor, task, regime, block, level), counts in ledger.cell_counts(name).items():
                if factor != EXTERNAL:
                    self._cells.setdefault((factor, task, regime), {}).setdefault((block, level), counts)

    def chain(self, factor: str, task: str, regime: str) -> tuple[Evaluation, ...]:
        """The evaluations of one chain (factor '' for the pilot), without curves, in canonical order."""
        return self._joined(lambda study: self._ledger.chain(study, factor, task, regime, curves=False))

    def confirmed(self, factor: str, regime: str) -> tuple[Evaluation, ...]:
        """The confirm evaluations of one row so far, without curves, in canonical order."""
        return self._joined(lambda study: self._ledger.confirmed(study, factor, regime))

    def evaluations(self, *, layers: bool = True) -> tuple[Evaluation, ...]:
        """Every evaluation that may count for the study, in canonical order; `layers` as in the ledger's."""
        return self._joined(lambda study: self._ledger.evaluations(study, layers=layers))

    def core_seconds(self, *, blocks: int) -> dict[tuple[str, str, str], float]:
        """(factor, regime, level) -> seconds of training, as `Ledger.core_seconds`, of all of them."""
        found: dict[tuple[str, str, str], float] = {}
        for name in (*self.before, self.study):
            for where, seconds in self._ledger.core_seconds(name, blocks=blocks).items():
                if name == self.study or where[0] != EXTERNAL:
                    found[where] = found.get(where, 0.0) + seconds
        return found

    def taken_over(self, place: tuple[str, str, str], cells: Iterable[Cell] | None = None) -> tuple[int, int]:
        """How many members of one place the studies before it trained, and how many of them diverged.

        Args:
            place: factor, task and regime.
            cells: that are asked for; None: all.
        """
        known = self._cells.get(place)
        if not known:
            return 0, 0
        asked = known if cells is None else cells
        counts = [known[cell] for cell in asked if cell in known]
        return sum(count for count, _ in counts), sum(diverged for _, diverged in counts)

    def _joined(self, read: Callable[[str], tuple[Evaluation, ...]]) -> tuple[Evaluation, ...]:
        if not self.before:
            return read(self.study)
        found: dict[tuple[Any, ...], Evaluation] = {}
        for name in (*self.before, self.study):
            for row in read(name):
                if name == self.study or row.slot.factor != EXTERNAL:
                    found.setdefault(_canonical(row.slot), row)
        return tuple(found[place] for place in sorted(found))


def before(ledger: Ledger, study: str) -> tuple[StudyRow, ...]:
    """The studies that one extends, the first of them all first; () for a study of its own.

    Raises:
        ValueError: one of them is not here, or is not what it was when it was extended.
    """
    with as_recorded(study):
        return tuple(reversed([parent for _, parent in _steps(ledger, study)]))


def extension(ledger: Ledger, study: str) -> Extension | None:
    """What a study extends, for reports; None for a study of its own. Raises as `before`."""
    with as_recorded(study):
        steps = list(_steps(ledger, study))
        if not steps:
            return None
        row, parent = steps[0]
        said = row.protocol["spec"]["extends"]
        reasons = unregistered(row.protocol["spec"], parent.protocol["spec"])
        if any(unregistered(a.protocol["spec"], b.protocol["spec"]) for a, b in steps[1:]):
            reasons = (*reasons, f"{parent.name} itself is exploratory")
        return Extension(
            parent=parent.name,
            protocol_hash=said["protocol"],
            plan_hash=said["plan"],
            studies=tuple(reversed([earlier.name for _, earlier in steps])),
            unregistered=reasons,
        )


def unregistered(child: Mapping[str, Any], parent: Mapping[str, Any]) -> tuple[str, ...]:
    """What an extension does that its parent had not registered; () where its evaluations are evidence.

    Registered are the parent's looks beyond its own families: the same blocks of the same tasks in the same
    order, up to one of them.

    Args:
        child: its resolved spec,
        parent: and the parent's.
    """
    ours, theirs = child["budget"], parent["budget"]
    found = []
    if ours["blocks"] != theirs["blocks"]:
        found.append(f"{ours['blocks']} blocks instead of {theirs['blocks']}")
    if new := [task for task in child["tasks"] if task not in parent["tasks"]]:
        found.append(f"tasks that it did not declare ({', '.join(new)})")
    if ours["families"] != theirs["families"] and ours["families"] not in theirs["looks"]:
        looks = ", ".join(map(str, theirs["looks"]))
        found.append(f"{ours['families']} task families, where it has no look (it has them after {looks})")
    if not found and list(ours["looks"]) != list(theirs["looks"]):
        found.append("other looks")
    return tuple(found)


def _steps(ledger: Ledger, study: str) -> Iterator[tuple[StudyRow, StudyRow]]:
    """Every study of the chain with the one that it extends, from the last to the first."""
    row, seen = ledger.study(study), {study}
    while said := row.protocol["spec"].get("extends"):
        parent = ledger.find_study(said["study"])
        if parent is None:
            raise ValueError(
                f"study '{row.name}' extends '{said['study']}', which is not in {ledger.workspace}: what it "
                "had trained is a part of the evidence"
            )
        plans = ledger.plans(parent.name)
        kept: dict[str, tuple[str, Any]] = {
            "protocol": (parent.protocol_hash, parent.protocol),
            "plan": (plans[-1].hash, plans[-1].plan) if plans else ("none", None),
        }
        for part, (hashed, content) in kept.items():
            if hashed != said[part]:
                raise ValueError(
                    f"study '{row.name}' extends '{parent.name}' with the {part} {said[part]}; in "
                    f"{ledger.workspace} that study has the {part} {hashed}"
                )
            if content is not None:
                untouched(parent.name, content, hashed, part)
        if parent.name in seen:
            raise ValueError(f"study '{study}' extends itself, by way of '{row.name}'")
        seen.add(parent.name)
        yield row, parent
        row = parent


def _canonical(slot: Slot) -> tuple[Any, ...]:
    """A slot's place whichever study filled it; sorts as the ledger does."""
    phase = PHASES.index(slot.phase)
    return (phase, slot.factor, slot.task, slot.regime, slot.block, slot.level, slot.index)
