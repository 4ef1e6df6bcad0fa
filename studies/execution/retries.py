"""The packs of one stage: all of them must be committed before anybody knows what comes next.

A pack that fails is tried again; one that goes on failing is split, and its halves, until the member that
brings it down stands alone. That one is set aside if others of its pack can be trained. Where nobody of
a pack can, the fault is not a member's, and the pack is given up until the next run.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from studies.packing import Pack, halves, probes

ATTEMPTS = 3
"""How often a pack is tried in one run before it is split to find the member that brings it down."""
PREEMPTIONS = 20
"""How often a pack may lose its worker for reasons outside it, before that counts as its own fault."""
ALONE = 2
"""Attempts of a member that stands alone after its pack was split."""


@dataclass(frozen=True, kw_only=True)
class FailingMember:
    """A member that failed by itself."""

    pack: Pack
    """Of this one member."""
    kind: str
    cause: str


@dataclass(frozen=True, kw_only=True)
class FailureOutcome:
    """What a failure leads to besides another attempt."""

    split: tuple[Pack, ...] = ()
    """The halves that take the pack's place."""
    given_up: Pack | None = None
    """As it was before it was split; not tried again in this run."""
    set_aside: tuple[FailingMember, ...] = ()
    """Members to be recorded as failed, so that the rest of the study goes on."""


@dataclass(kw_only=True)
class _Origin:
    """A pack as the plan made it, and what has become of its parts."""

    pack: Pack
    trained: bool = False
    """At least one of its members."""
    suspects: list[FailingMember] = field(default_factory=list)
    given_up: bool = False


@dataclass(kw_only=True)
class Stage:
    """What is ready, what is not committed, and how often it has failed."""

    ready: deque[Pack] = field(default_factory=deque)
    open: set[str] = field(default_factory=set)
    """Packs of the stage that are not committed."""
    _attempts: Counter[str] = field(default_factory=Counter, init=False)
    _preempted: Counter[str] = field(default_factory=Counter, init=False)
    _origins: dict[str, _Origin] = field(default_factory=dict, init=False)
    """Pack -> the one that it was split from."""
    _probed: bool = field(default=False, init=False)

    @property
    def failing(self) -> int:
        """0: nothing has failed here; 1: something has; -1: members of a pack are being tried alone."""
        return -1 if self._probed else int(bool(self._attempts))

    def add(self, packs: Iterable[Pack]) -> None:
        """More packs of this stage."""
        for pack in packs:
            self.ready.append(pack)
            self.open.add(pack.id)

    def landed(self, pack: Pack) -> bool:
        """The pack is committed; True if it was the last of its stage."""
        self.open.discard(pack.id)
        if pack.id in self._attempts or pack.id in self._preempted:
            self._forget(pack.id)  # given up for lost, and perhaps waiting for its next attempt
        origin = self._origins.get(pack.id)
        if origin is not None:
            origin.trained = True
            if origin.pack.id == pack.id:  # it was split, and comes in whole after all
                for part in [part for part, its in self._origins.items() if its is origin]:
                    self.open.discard(part)
                    self._forget(part)
        return not self.open

    def convicted(self, pack: Pack) -> tuple[FailingMember, ...]:
        """Members that failed alone, now that another of their pack has been trained; each only once."""
        origin = self._origins.get(pack.id)
        if origin is None or not origin.trained or origin.given_up:
            return ()
        convicted = tuple(one for one in origin.suspects if one.pack.id in self.open)
        origin.suspects.clear()
        return convicted

    def failed(
        self, pack: Pack, kind: str, cause: str, *, others_trained: bool, probe: bool = False
    ) -> FailureOutcome:
        """The pack has failed.

        Args:
            pack: as it was handed out.
            kind: one of `studies.execution.failure_kinds.KINDS`.
            cause: in a line.
            others_trained: whether other members of its chain have been trained: what a pack of one member
                is compared with.
            probe: everything tried so far has failed alike, so two members alone are to show whether any can
                be trained (`studies.execution.common_cause`).
        """
        if pack.id not in self.open:
            return FailureOutcome()  # another worker has committed it meanwhile
        if kind == "preempted":
            self._preempted[pack.id] += 1
            if self._preempted[pack.id] < PREEMPTIONS:
                self.ready.append(pack)
                return FailureOutcome()
        self._attempts[pack.id] += 1
        origin = self._origins.setdefault(pack.id, _Origin(pack=pack))
        alone, whole = len(pack.members) == 1, origin.pack.id == pack.id
        allowed = ATTEMPTS if whole else ALONE if alone else 1
        if kind == "memory" and not alone:
            allowed = 1  # it would not fit the next time either
        if probe:
            allowed = 1  # it would fail the next time as well
        if self._attempts[pack.id] < allowed and kind != "preempted":
            self.ready.append(pack) if whole else self.ready.appendleft(pack)
            return FailureOutcome()
        if not alone:
            return FailureOutcome(split=self._split(pack, origin, probe=probe))
        return self._alone(FailingMember(pack=pack, kind=kind, cause=cause), origin, others_trained)

    def _split(self, pack: Pack, origin: _Origin, *, probe: bool) -> tuple[Pack, ...]:
        parts = probes(pack) if probe else halves(pack)
        self._probed = self._probed or probe
        self.open.discard(pack.id)
        for part in parts:
            self.open.add(part.id)
            self._origins[part.id] = origin
        self.ready.extendleft(reversed(parts))  # first: who looks for the culprit keeps nobody else waiting
        return parts

    def _alone(self, suspect: FailingMember, origin: _Origin, others_trained: bool) -> FailureOutcome:
        single = len(origin.pack.members) == 1
        if origin.trained or (single and others_trained):
            return FailureOutcome(set_aside=(suspect,))
        origin.suspects.append(suspect)
        if not single and len(origin.suspects) < 2:
            return FailureOutcome()
        origin.given_up = True
        for part, its in self._origins.items():
            if its is origin:
                self._forget(part)
        return FailureOutcome(given_up=origin.pack)

    def _forget(self, pack: str) -> None:
        self.ready = deque(p for p in self.ready if p.id != pack)
