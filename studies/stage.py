"""The packs of one stage: all of them must be committed before anybody knows what comes next."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from studies.packing import Pack
from studies.work import ATTEMPTS


@dataclass(kw_only=True)
class Stage:
    """What is ready, what is not committed, and how often it has failed."""

    ready: deque[Pack] = field(default_factory=deque)
    open: set[str] = field(default_factory=set)
    """Packs of the stage that are not committed."""
    _attempts: dict[str, int] = field(default_factory=dict, init=False)

    def add(self, packs: Iterable[Pack]) -> None:
        """More packs of this stage."""
        for pack in packs:
            self.ready.append(pack)
            self.open.add(pack.id)

    def landed(self, pack: Pack) -> bool:
        """The pack is committed; True if it was the last of its stage."""
        self.open.discard(pack.id)
        if pack.id in self._attempts:  # given up for lost, and perhaps waiting for its next attempt
            self.ready = deque(p for p in self.ready if p.id != pack.id)
        return not self.open

    def failed(self, pack: Pack) -> bool:
        """The pack has failed; True if it is not tried again in this run."""
        if pack.id not in self.open:
            return False  # another worker has committed it meanwhile
        self._attempts[pack.id] = self._attempts.get(pack.id, 0) + 1
        if self._attempts[pack.id] < ATTEMPTS:
            self.ready.append(pack)
            return False
        return True
