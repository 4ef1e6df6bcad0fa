"""What the scheduler does with a pack that failed: the record of it, and the members that are set aside.

A member that is set aside is an evaluation with status 'failed' and its cause. It fills its slot, so
that the study goes on to its end; it is no result, so that the row it belongs to gets no verdict
(`reports.evidence.fairness_checks`). It is not tried again in this study, because what
was trained after it depends on it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from reports.io.control_characters import harmless
from studies.execution.common_cause import CommonCause
from studies.execution.failure_causes import ADVICE, UNLIKE, first_line, reason_of
from studies.execution.retries import FailingMember, Stage
from studies.ledger.ledger import Ledger
from studies.ledger.rows import GIVEN_UP
from studies.packing import Pack
from studies.site import masked
from trainers.evaluation import Evaluation
from trainers.loop.feed import trivial_error
from trainers.tasks.task import Task

SET_ASIDE = "set aside"
"""The worker of a member that nobody could train."""
SPLIT = "split"


@dataclass(frozen=True, kw_only=True)
class AbandonedPack:
    """A pack that nobody could train in this run."""

    pack: Pack
    cause: str
    """In a line: of its last attempt."""
    advice: str
    """Whether trying again can help."""

    @property
    def sentence(self) -> str:
        """As it is recorded: where, why, and what to do."""
        pack = self.pack
        count = len(pack.members)
        members = f"{count} member{'s' if count > 1 else ''}"
        return f"{pack.task} in {pack.regime} ({pack.phase}, {members}): {self.cause}; {self.advice}"


@dataclass(kw_only=True)
class Failures:
    """The failures of one run of a study."""

    study: str
    ledger: Ledger
    task: Callable[[str], Task]
    """Name -> the task."""
    commit: Callable[[Pack, list[Evaluation]], None]
    """What the scheduler does with results."""
    given_up: list[Pack] = field(default_factory=list)
    reasons: list[AbandonedPack] = field(default_factory=list)
    """The same, with their causes."""
    common: CommonCause = field(default_factory=CommonCause)
    _unlike: defaultdict[tuple[str, str, str], set[str]] = field(
        default_factory=lambda: defaultdict(set), init=False
    )
    """(factor, task, regime) -> the reasons for which its packs failed in this run."""
    _set_aside: set[str] = field(default_factory=set, init=False)
    """Packs that are committed without having been trained."""

    def note(self, stage: Stage | None, pack: Pack, cause: str, kind: str) -> None:
        """Records a failed attempt, and what follows from it.

        Args:
            stage: of the pack; None where it is complete.
            pack: as it was handed out.
            cause: a line, and below it the traceback where there is one.
            kind: one of `studies.execution.failure_kinds.KINDS`.
        """
        cause = harmless(masked(cause))
        self._unlike[pack.factor, pack.task, pack.regime].add(reason_of(kind, cause))
        self.common.failed(pack, kind, first_line(cause))
        self.ledger.attempt(self.study, pack, kind=kind, cause=cause)
        if stage is None:
            return
        outcome = stage.failed(
            pack, kind, cause, others_trained=self._others_trained(pack), probe=self.common.pressing
        )
        if outcome.split:
            parts = " and ".join(f"{part.id} ({len(part.members)} members)" for part in outcome.split)
            why = f"into {parts} after: {kind}; results then agree within rounding, not to the bit"
            self.ledger.attempt(self.study, pack, kind=SPLIT, cause=why)
        if outcome.given_up is not None:
            self._give_up(outcome.given_up, kind, first_line(cause))
        self.set_aside(outcome.set_aside)

    def landed(self, stage: Stage, pack: Pack) -> None:
        """After a commit: members that failed alone while this one of their pack can be trained."""
        if pack.id not in self._set_aside:
            self.common.trained = True
        self.set_aside(stage.convicted(pack))

    def set_aside(self, suspects: tuple[FailingMember, ...]) -> None:
        """Fills the slots of members that cannot be trained."""
        for one in suspects:
            (member,) = one.pack.members
            self._set_aside.add(one.pack.id)
            slot = member.slot
            self.commit(
                one.pack,
                [
                    Evaluation(
                        slot=slot,
                        arm=member.arm,
                        config=member.config,
                        status="failed",
                        cause=f"{one.kind}: {first_line(one.cause)}"[:500],
                        validation_metric=trivial_error(self.task(slot.task), slot.study, slot.block),
                        validation_loss=math.inf,
                        best_step=0,
                        steps=0,
                    )
                ],
            )

    def _give_up(self, pack: Pack, kind: str, cause: str) -> None:
        alike = len(self._unlike[pack.factor, pack.task, pack.regime]) == 1
        one = AbandonedPack(pack=pack, cause=cause, advice=ADVICE[kind] if alike else UNLIKE)
        # Under its first member's slot: once that is filled, the pack is given up no more.
        slot = pack.members[0].slot.id
        self.ledger.attempt(self.study, pack, kind=GIVEN_UP, cause=one.sentence, slot=slot)
        self.given_up.append(pack)
        self.reasons.append(one)
        self.common.given_up()

    def _others_trained(self, pack: Pack) -> bool:
        """Whether the ledger holds a member of the same chain that was trained."""
        if len(pack.members) > 1:
            return False  # nobody asks
        rows = self.ledger.chain(self.study, pack.factor, pack.task, pack.regime, curves=False)
        return any(row.status != "failed" for row in rows)
