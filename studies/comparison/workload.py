"""What a comparison trains next: the pilot, then the chains that each row's race calls for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from reports.evidence.budget import EXTERNAL, Margin
from search_spaces.config import digest
from studies.comparison.external_check import (
    PLAN,
    VERDICTS,
    ExternalCheck,
    FrozenRecipes,
    chains,
    external_of,
    freeze,
)
from studies.comparison.notes import plan_notes
from studies.comparison.pilot import margin
from studies.comparison.planned_work import (
    Decisions,
    MemberFlops,
    chain_size,
    planned_work,
)
from studies.comparison.protocol import Chain, ComparisonProtocol, Plan
from studies.comparison.record import study_record
from studies.comparison.row_races import RowRaces
from studies.comparison.stages import Fixed, Place, SearchState, check_known, next_members, place
from studies.execution.planned_work import ChainKey, PlannedWork
from studies.execution.retries import Stage
from studies.ledger.ledger import Ledger
from studies.ledger.lineage import SeenEvaluations
from studies.packing import Pack, missing_packs
from trainers.evaluation import Evaluation
from trainers.member import Member
from trainers.tasks.task import TaskBook


@dataclass(kw_only=True)
class _Progress:
    """One chain (or one task-regime of the pilot) on its way."""

    chain: Chain
    stage: Stage = field(default_factory=Stage)
    done: dict[Place, Evaluation] = field(default_factory=dict)
    """What the ledger holds of it, without curves and diagnostics."""
    memory: SearchState = field(default_factory=SearchState)


class ComparisonWorkload:
    """The members of a comparison, stage by stage (`studies.execution.scheduler.Workload`).

    Chains are independent: none waits for another, and the one with most work left to do after the
    pilot goes first. Only where a study looks more than once, a row's next families wait until those before
    the look are confirmed; what they train is then read off the ledger (`reports.evidence.race_progress`).
    """

    def __init__(
        self, protocol: ComparisonProtocol, ledger: Ledger, book: TaskBook, *, flops_per_second: float
    ) -> None:
        """Nothing is read yet but what earlier studies have trained.

        Args:
            protocol: what is fixed.
            ledger: open for writing, with the study started.
            book: builds the tasks.
            flops_per_second: the recorded speed that sizes the packs.
        """
        self.study = protocol.name
        self.diagnostics = protocol.study.diagnostics
        self.protocol = protocol
        self.member_work = MemberFlops(protocol=protocol, book=book)
        self._ledger = ledger
        self._book = book
        self._speed = flops_per_second
        self._seen = SeenEvaluations(ledger, self.study)
        """Also what the studies that this one extends have trained."""
        self._margins: dict[tuple[str, str], Margin] = {}
        self._pilots: dict[tuple[str, str], None] = {}
        """(task, regime) of every pilot that was opened."""
        self._progress: dict[ChainKey, _Progress] = {}
        """What has been started and is not complete, in the order of its start."""
        self._waiting: deque[Chain] = deque()
        """Chains of the plan that have not been started: asking Optuna takes time, so it is done when due."""
        self._races: RowRaces | None = None
        """None until the plan is frozen."""
        self._planned: PlannedWork | None = None
        """Until a decision changes it."""
        self.plan: Plan | None = None
        """None until the pilot has fixed the margins."""
        self._external: ExternalCheck | None = None
        """None until the rows are complete and their verdicts frozen."""
        self._unchecked = "" if protocol.study.external else "not requested"
        """Why there is no external check; '' while there may be one."""
        self._abandoned: Sequence[Pack] = ()

    @property
    def planned(self) -> PlannedWork:
        """Of the whole study; an estimate until the pilot has fixed the tasks and the races are over."""
        if self._planned is None:
            decisions = Decisions(
                pilots=self._pilots,
                margins=self._margins,
                plan=self.plan,
                races=self._races.progress if self._races else {},
                challenges=self._races.challenges if self._races else {},
                external=self._external,
                unchecked=bool(self._unchecked),
            )
            self._planned = planned_work(
                self.protocol, decisions, seen=self._seen, member_work=self.member_work
            )
        return self._planned

    @property
    def plan_hash(self) -> str:
        """'' until the pilot has fixed the margins."""
        return self.plan.hash if self.plan else ""

    def notes(self) -> tuple[str, ...]:
        """Replaced tasks, and questions with too few families."""
        if self.plan is None or self._races is None:
            return ()
        return plan_notes(
            self.plan,
            races=self._races.progress,
            challenges=self._races.challenges,
            external=self._external,
            unchecked=self._unchecked,
            margins=self._margins,
        )

    def start(self, abandoned: Sequence[Pack]) -> None:
        """Opens the pilots that are not complete; with none left, what their margins lead to.

        Raises:
            ValueError: the ledger holds members that this protocol would not have made.
        """
        self._abandoned = abandoned
        self._pilot()

    def stages(self) -> list[Stage]:
        """Of the chains that have been started, in that order."""
        return [progress.stage for progress in self._progress.values()]

    def stage_of(self, pack: Pack) -> Stage | None:
        """Of the pack's chain."""
        progress = self._of(pack)
        return progress.stage if progress else None

    def has_more(self) -> bool:
        """Whether chains wait to be started."""
        return bool(self._waiting)

    def open_stages(self, enough: Callable[[], bool]) -> None:
        """Starts chains that wait, until a pack is ready: their first points are asked of Optuna."""
        while self._waiting and not enough():
            progress = _Progress(chain=self._waiting.popleft())
            self._progress[progress.chain.place] = progress
            progress.done = self._trained(progress.chain)
            self._advance(progress)

    def receive(self, pack: Pack, evaluations: Sequence[Evaluation] | None) -> None:
        """Keeps what the chain's next stage depends on."""
        progress = self._of(pack)
        if progress is None:
            return
        if evaluations is None:
            progress.done = self._trained(progress.chain)
        else:
            progress.done |= {place(e.slot): _light(e) for e in evaluations}

    def complete_stage(self, pack: Pack) -> None:
        """Opens the next stage of the pack's chain."""
        progress = self._of(pack)
        assert progress is not None, "a stage is completed before its chain is"
        self._advance(progress)

    def _of(self, pack: Pack) -> _Progress | None:
        return self._progress.get((pack.factor, pack.task, pack.regime))

    # the pilot

    def _pilot(self) -> None:
        """Starts what still needs a pilot; with nothing left, freezes the plan (or the external check's)."""
        of = self._external or self.protocol
        while new := [pair for pair in of.unpiloted(self._margins) if pair not in self._pilots]:
            for task, regime in new:
                progress = _Progress(chain=Chain(factor="", task=task, regime=regime))
                self._progress[progress.chain.place] = progress
                progress.done = self._trained(progress.chain)
                self._pilots[task, regime] = None
                self._planned = None
                self._open(progress, self.protocol.pilot(task, regime))
                if not progress.stage.open:
                    self._settle(progress)
        if of.unpiloted(self._margins):
            return
        if self._external is None:
            self._freeze()
        else:
            self._freeze_external(self._external)

    def _settle(self, progress: _Progress) -> None:
        """The margin of one task-regime, from its complete pilot."""
        chain = progress.chain
        evaluations = tuple(self._trained(chain).values())  # in an order that does not depend on the packs'
        root = self.protocol.study.root
        self._margins[chain.task, chain.regime] = margin(
            self._book[chain.task](), chain.regime, evaluations, root=root
        )
        self._planned = None
        del self._progress[chain.place]

    def _freeze(self) -> None:
        spec = self.protocol.study
        ordered = sorted(
            self._margins.values(),
            key=lambda m: (spec.tasks.index(m.task), tuple(spec.regimes).index(m.regime)),
        )
        self.plan = Plan(protocol=self.protocol, margins=tuple(ordered))
        self._ledger.start_plan(self.study, self.plan.hash, self.plan.plain(), self.plan.margins)
        self._races = RowRaces(self.plan, self._ledger, self._seen, self.member_work)
        self._waiting.extend(self._races.start())
        self._planned = None
        self._check_externally()

    # the external check

    def _check_externally(self) -> None:
        """With every row complete, freezes the verdicts and starts on families that nothing has touched."""
        if self.plan is None or self._external or self._unchecked or self._progress or self._waiting:
            return
        if self._abandoned:
            return  # the next run tries them again
        frozen = self._frozen()
        if frozen is None:
            return
        self._external = external_of(self.protocol, frozen, self.plan.margins)
        self._pilot()

    def _frozen(self) -> FrozenRecipes | None:
        """The verdicts as they were frozen at first; None where there are none to freeze."""
        if VERDICTS in (parts := self._ledger.frozen(self.study)):
            return FrozenRecipes.from_plain(parts[VERDICTS][1])
        try:
            recipes = freeze(self.protocol, study_record(self._ledger, self.study))
        except ValueError as error:
            self._unchecked, self._planned = str(error), None
            return None
        self._ledger.freeze(self.study, VERDICTS, recipes.hash, recipes.plain())
        return recipes

    def _freeze_external(self, external: ExternalCheck) -> None:
        """Its margins and tasks are fixed: the rest of it may be trained."""
        plan = external.plan(self._margins)
        self._ledger.freeze(self.study, PLAN, digest(plan), plan)
        counts = self._ledger.chain_counts(self.study)
        assert self._races is not None
        self._waiting.extend(
            chain
            for chain in self._races.by_work(chains(plan["tasks"]))
            if counts.get(chain.place, 0) < chain_size(self.protocol, chain)
        )
        self._planned = None

    # the chains

    def _advance(self, progress: _Progress) -> None:
        """The current stage is committed: opens the next one that has something to train."""
        if not progress.chain.factor:
            self._settle(progress)
            self._pilot()
            return
        members = next_members(self._fixed(progress.chain), progress.chain, progress.done, progress.memory)
        check_known(self.study, members, progress.done)
        self._open(progress, members)
        if not members:
            del self._progress[progress.chain.place]
            if progress.chain.factor != EXTERNAL:
                assert self._races is not None
                self._waiting.extend(self._races.complete(progress.chain))
                self._planned = None
            self._check_externally()

    def _fixed(self, chain: Chain) -> Fixed:
        """What knows the chain's levels and points."""
        if chain.factor != EXTERNAL:
            return self.protocol
        assert self._external is not None
        return self._external

    def _trained(self, chain: Chain) -> dict[Place, Evaluation]:
        """What the ledger holds of a chain: read once, when it is started; then commits add to it."""
        rows = self._seen.chain(*chain.place)
        return {place(row.slot): row for row in rows}

    def _open(self, progress: _Progress, members: Sequence[Member]) -> None:
        """Packs one stage; packs that the ledger holds whole are left out.

        What studies before this one trained is no part of a pack: nothing is trained twice.
        """
        chain, done = progress.chain, progress.done
        own = [
            member
            for member in members
            if (known := done.get(place(member.slot))) is None or known.slot.study == self.study
        ]
        if not own:
            return
        missing = missing_packs(
            own,
            self._book[chain.task](),
            positions=self._fixed(chain).positions[chain.factor],
            pack_size=self.protocol.study.pack_size,
            flops_per_second=self._speed,
            there=lambda member: place(member.slot) in done,
        )
        progress.stage.add(missing)


def _light(evaluation: Evaluation) -> Evaluation:
    return replace(evaluation, curve=(), diagnostics={})
