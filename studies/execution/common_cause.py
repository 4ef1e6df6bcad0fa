"""Whether everything that a run tries fails for one and the same reason, so that going on is in vain.

A network that raises in its first step fails in every pack. To halve all of them in search of a member that
brings them down would repeat one message hundreds of times. So, while nothing has been trained and all
failures are alike, packs of other tasks are tried first; after `FEW` failures two members of one pack are
trained alone. If both fail in the same way, no member is to blame, and the run ends.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from studies.execution.failure_causes import reason_of
from studies.execution.retries import Stage
from studies.packing import Pack

FEW = 3
"""Failed attempts, all alike, before members are tried alone."""
TELLING = frozenset(("error", "crash", "timeout"))
"""Kinds of failure that speak of what is trained. Memory is answered by smaller packs, and a worker that was
taken away says nothing."""


@dataclass(kw_only=True)
class CommonCause:
    """The failures of one run, as far as they are alike; nothing here is kept beyond the run."""

    attempts: int = 0
    """That failed."""
    trained: bool = False
    """A pack has been committed in this run."""
    last: str = ""
    """The cause of the last failure."""
    _reasons: set[str] = field(default_factory=set)
    _alone: set[str] = field(default_factory=set)
    """Members that failed by themselves."""
    _in_vain: bool = False

    def failed(self, pack: Pack, kind: str, cause: str) -> None:
        """One more attempt has failed."""
        self.attempts += 1
        self.last = cause
        self._reasons.add(reason_of(kind, cause) if kind in TELLING else kind)
        if kind not in TELLING:
            self.trained = True  # as good as: nothing is known of what would have been trained
        if len(pack.members) == 1:
            self._alone.add(pack.members[0].slot.id)

    def given_up(self) -> None:
        """Nobody of a pack can be trained."""
        self._in_vain = self._in_vain or len(self._alone) > 1

    @property
    def suspected(self) -> bool:
        """Nothing has been trained in this run, and all failures are alike."""
        return not self.trained and len(self._reasons) == 1

    @property
    def pressing(self) -> bool:
        """It is time to try members alone."""
        return self.suspected and self.attempts >= FEW

    @property
    def certain(self) -> bool:
        """The run need not go on, unless a pack that is still in hand can be trained after all."""
        return self.suspected and self._in_vain

    def enough(self, stages: Iterable[Stage]) -> bool:
        """Whether a pack can be handed out without opening another stage."""
        elsewhere = self.suspected and not self.pressing  # there it may be different
        return any(stage.ready and not (elsewhere and stage.failing) for stage in stages)

    def order(self, stages: Iterable[Stage]) -> list[Stage]:
        """Where to look for the next pack: where nothing has failed yet first, if a cause is suspected."""
        ordered = list(stages)
        return sorted(ordered, key=lambda stage: stage.failing) if self.suspected else ordered
