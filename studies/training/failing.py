"""What the agendas do with a pack that failed: the record of it, and the members that are set aside.

A member that is set aside is an evaluation with status 'failed' and its cause. It fills its slot, so
that the study goes on to its end; it is no result, so that the row it belongs to gets no verdict
(`reports.guards`). It is not tried again in this study: what was trained after it hangs on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from studies.ledger import Ledger
from studies.packing import Pack
from studies.training.stage import Stage, Suspect
from trainers.evaluation import Evaluation
from trainers.feed import trivial_error
from trainers.task import Task

SET_ASIDE = "set aside"
"""The worker of a member that nobody could train."""
SPLIT = "split"
GIVEN_UP = "given_up"


@dataclass(kw_only=True)
class Failures:
    """The failures of one run of a study."""

    study: str
    ledger: Ledger
    task: Callable[[str], Task]
    """Name -> the task."""
    commit: Callable[[Pack, list[Evaluation]], None]
    """What the agenda does with results."""
    given_up: list[Pack] = field(default_factory=list)

    def note(self, stage: Stage | None, pack: Pack, cause: str, kind: str) -> None:
        """Records a failed attempt, and what follows from it.

        Args:
            stage: of the pack; None where it is complete.
            pack: as it was handed out.
            cause: in a line.
            kind: one of `studies.training.failures.KINDS`.
        """
        self.ledger.attempt(self.study, pack, kind=kind, cause=cause)
        if stage is None:
            return
        found = stage.failed(pack, kind, cause, others_trained=self._others_trained(pack))
        if found.split:
            told = " and ".join(f"{half.id} ({len(half.members)} members)" for half in found.split)
            why = f"into {told} after: {kind}; results then agree within rounding, not to the bit"
            self.ledger.attempt(self.study, pack, kind=SPLIT, cause=why)
        if found.given_up is not None:
            self.ledger.attempt(self.study, found.given_up, kind=GIVEN_UP, cause=cause)
            self.given_up.append(found.given_up)
        self.set_aside(found.set_aside)

    def landed(self, stage: Stage, pack: Pack) -> None:
        """After a commit: members that failed alone while this one of their pack can be trained."""
        self.set_aside(stage.convicted(pack))

    def set_aside(self, suspects: tuple[Suspect, ...]) -> None:
        """Fills the slots of members that cannot be trained."""
        for one in suspects:
            (member,) = one.pack.members
            slot = member.slot
            self.commit(
                one.pack,
                [
                    Evaluation(
                        slot=slot,
                        arm=member.arm,
                        config=member.config,
                        status="failed",
                        cause=f"{one.kind}: {one.cause}"[:500],
                        validation_metric=trivial_error(self.task(slot.task), slot.study, slot.block),
                        validation_loss=math.inf,
                        best_step=0,
                        steps=0,
                    )
                ],
            )

    def _others_trained(self, pack: Pack) -> bool:
        """Whether the ledger holds a member of the same chain that was trained."""
        if len(pack.members) > 1:
            return False  # nobody asks
        rows = self.ledger.chain(self.study, pack.factor, pack.task, pack.regime, curves=False)
        return any(row.status != "failed" for row in rows)
