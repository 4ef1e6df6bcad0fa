"""What is to be trained next: the pilot, then the chains that each row's race calls for."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from reports.evidence.budget import EXTERNAL, Margin
from reports.evidence.race_progress import RaceProgress
from reports.verdicts.sentences import counted, raced
from search_spaces.config import digest
from studies.comparison.challenge import challenge_chains, challenge_notes
from studies.comparison.expected_work import ExpectedWork, PlannedWork, expected_checks, expected_rows
from studies.comparison.external_check import (
    PLAN,
    VERDICTS,
    ExternalCheck,
    FrozenRecipes,
    chains,
    external_of,
    freeze,
)
from studies.comparison.pilot import margin, pilot_members
from studies.comparison.protocol import Chain, ComparisonProtocol, Plan, chains_of
from studies.comparison.record import study_record
from studies.comparison.stages import Fixed, Place, SearchState, check_known, next_members, place
from studies.execution.failure_handling import SET_ASIDE, Failures
from studies.execution.retries import Stage, handed_out
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


class ComparisonScheduler:
    """The order of work of one study, kept in step with its ledger; one thread at a time.

    Chains are independent: none waits for another, and the one with most work left to do after the
    pilot goes first. Only where a study looks more than once, a row's next families wait until those before
    the look are confirmed; what they train is then read off the ledger (`reports.evidence.race_progress`).
    Whatever the order of completion, the members, their packs and the plan are the same.
    """

    def __init__(
        self, protocol: ComparisonProtocol, ledger: Ledger, book: TaskBook, *, flops_per_second: float
    ) -> None:
        """Takes up the study where the ledger left it.

        Args:
            protocol: what is fixed.
            ledger: open for writing, with the study started.
            book: builds the tasks.
            flops_per_second: the recorded speed that sizes the packs.

        Raises:
            ValueError: the ledger holds members that this protocol would not have made.
        """
        self.study = protocol.name
        self.protocol = protocol
        self.diagnostics = protocol.study.diagnostics
        self.failures = Failures(
            study=self.study,
            ledger=ledger,
            task=lambda name: book[name](),
            commit=lambda pack, rows: self.commit(pack, rows, seconds=0.0, worker=SET_ASIDE),
        )
        self.failed_packs = self.failures.given_up
        """Packs given up in this run; the next run tries them again."""
        self._ledger = ledger
        self._book = book
        self._speed = flops_per_second
        self._seen = SeenEvaluations(ledger, self.study)
        """Also what the studies that this one extends have trained."""
        filled = ledger.filled(self.study)
        self._own = len(filled)
        self._own_diverged = sum(status == "diverged" for status in filled.values())
        self.set_aside = sum(status == "failed" for status in filled.values())
        """Members that this study could not train."""
        self.pruned = 0
        """Guideline studies train everything to its end: levels are compared, not searched."""
        self._own_work = 0.0
        self._expected = ExpectedWork(protocol=protocol, book=book, seen=self._seen)
        for where, count in ledger.chain_counts(self.study).items():
            self._own_work += count * self._expected.of_member(*where)
        self._running: dict[str, Pack] = {}
        self._margins: dict[tuple[str, str], Margin] = {}
        self._pilots: dict[tuple[str, str], int] = {}
        """(task, regime) -> pilot members, of every pilot that was opened."""
        self._progress: dict[tuple[str, str, str], _Progress] = {}
        """What has been started and is not complete, in the order of its start."""
        self._waiting: deque[Chain] = deque()
        """Chains of the plan that have not been started: asking Optuna takes time, so it is done when due."""
        self._courses: dict[tuple[str, str], RaceProgress] = {}
        """(factor, regime) -> how far its race has come, once the plan is frozen."""
        self._incomplete: dict[tuple[str, str], set[str]] = {}
        """(factor, regime) -> tasks that its race has called for and that are not complete."""
        self._challenges: dict[tuple[str, str], tuple[Chain, ...]] = {}
        """(factor, regime) -> what its 'always' claims are challenged with, once its rows are confirmed."""
        self._planned: PlannedWork | None = None
        """Of the whole study, until a margin changes it."""
        self.plan: Plan | None = None
        """None until the pilot has fixed the margins."""
        self._external: ExternalCheck | None = None
        """None until the rows are complete and their verdicts frozen."""
        self._unchecked = "" if protocol.study.external else "not asked for"
        """Why there is no external check; '' while there may be one."""
        self._pilot()

    @property
    def finished(self) -> int:
        """Members in the ledger, of this and earlier runs and of the studies that this one extends."""
        return self._own + self._planned_work().there

    @property
    def diverged(self) -> int:
        """As many of them as diverged."""
        return self._own_diverged + self._planned_work().there_diverged

    @property
    def work_done(self) -> float:
        """Floating-point operations behind the members in the ledger, as estimated."""
        return self._own_work + self._planned_work().there_work

    @property
    def planned(self) -> int:
        """Members of the whole study; an estimate until the pilot has fixed the tasks."""
        return sum(self.planned_by_phase().values())

    def planned_by_phase(self) -> dict[str, int]:
        """Phase -> members; the same estimate."""
        return dict(self._planned_work().members)

    @property
    def work_planned(self) -> float:
        """Floating-point operations of the whole study, as estimated; the unit of the time left."""
        return self._planned_work().work

    def _planned_work(self) -> PlannedWork:
        """Asked for ten times a second, so it is kept while nothing changes it."""
        if self._planned is None:
            expected = expected_rows(
                self.protocol,
                plan=self.plan,
                margins=self._margins,
                courses=self._courses,
                challenges=self._challenges,
            )
            if not self._unchecked:
                expected += expected_checks(
                    self.protocol, plan=self.plan, margins=self._margins, external=self._external
                )
            self._planned = self._expected.of_study(expected, self._pilots)
        return self._planned

    @property
    def plan_hash(self) -> str:
        """'' until the pilot has fixed the margins."""
        return self.plan.hash if self.plan else ""

    def notes(self) -> tuple[str, ...]:
        """Replaced tasks, and questions with too few families."""
        if self.plan is None:
            return ()
        found = [
            f"{m.task} was left out in {m.regime}: {m.explained}" for m in self.plan.margins if not m.accepted
        ]
        for factor, regimes in self.plan.tasks.items():
            wanted = self.protocol.families(factor)
            for regime, tasks in regimes.items():
                families = len({self.protocol.facts[task].family for task in tasks})
                if families < wanted:
                    on = counted(families, "task family")
                    found.append(f"{factor} in {regime} is judged on {on} instead of {wanted}")
        found += [
            f"{factor} in {regime}: {told}"
            for (factor, regime), course in self._courses.items()
            if (told := raced(course))
        ]
        found += challenge_notes(self._challenges)
        return (*found, *self._external_notes())

    def _external_notes(self) -> list[str]:
        wanted = self.protocol.study.external
        if not wanted:
            return []
        if self._unchecked:
            return [f"no external check: {self._unchecked}"]
        if self._external is None or self._external.unpiloted(self._margins):
            return []
        found = []
        for regime in self._external.frozen.recipes:
            tasks = self._external.judged(regime, self._margins)
            families = len({self.protocol.facts[task].family for task in tasks})
            if families < wanted:
                found.append(
                    f"the external check of {regime} has {families} untouched task families, not {wanted}"
                )
        return found

    @property
    def done(self) -> bool:
        """Nothing is running and nothing more can be started (complete, or the rest has failed)."""
        if self.failures.common.certain:
            return not self._running
        return not (self._running or self._waiting or any(p.stage.ready for p in self._progress.values()))

    def next_pack(self) -> Pack | None:
        """The next pack to train; None: nothing is ready now (see `done`), others are running."""
        if self.failures.common.certain:
            return None
        self.prepare()
        return handed_out(self.failures.common.order(self._open_stages), self._running)

    def prepare(self) -> None:
        """Starts chains that wait, until a pack is ready: their first points are asked of Optuna."""
        while self._waiting and not self.failures.common.enough(self._open_stages):
            progress = _Progress(chain=self._waiting.popleft())
            self._progress[progress.chain.place] = progress
            progress.done = self._trained(progress.chain)
            self._advance(progress)

    @property
    def _open_stages(self) -> list[Stage]:
        return [progress.stage for progress in self._progress.values()]

    def commit(self, pack: Pack, evaluations: Sequence[Evaluation], *, seconds: float, worker: str) -> None:
        """Writes the pack to the ledger in one transaction; then its chain advances.

        A pack that comes in twice (a worker believed dead) changes nothing but the list of attempts.

        Args:
            pack: as `next_pack` gave it.
            evaluations: one for each member, in order.
            seconds: training time of the whole pack.
            worker: who trained it, for the record.
        """
        new = self._ledger.commit(self.study, pack, evaluations, seconds=seconds, worker=worker)
        self._running.pop(pack.id, None)
        if not new:
            return
        self._own += new
        self._own_work += new * self._expected.of_member(pack.factor, pack.task, pack.regime)
        self._own_diverged += sum(e.status == "diverged" for e in evaluations)
        self.set_aside += sum(e.status == "failed" for e in evaluations)
        progress = self._of(pack)
        if progress is None:
            return
        if new == len(evaluations):
            progress.done |= {place(e.slot): _light(e) for e in evaluations}
        else:  # the ledger had some of them, and those count
            progress.done = self._trained(progress.chain)
        last = progress.stage.landed(pack)
        self.failures.landed(progress.stage, pack)
        if last:
            self._advance(progress)

    def fail(self, pack: Pack, cause: str, *, kind: str) -> None:
        """Records a failed attempt; the pack is retried, split or given up (`studies.execution.retries`).

        Args:
            pack: as `next_pack` gave it.
            cause: in a line.
            kind: one of `studies.execution.failure_kinds.KINDS`.
        """
        self._running.pop(pack.id, None)
        progress = self._of(pack)
        self.failures.note(progress.stage if progress else None, pack, cause, kind)

    def _of(self, pack: Pack) -> _Progress | None:
        return self._progress.get((pack.factor, pack.task, pack.regime))

    # the pilot

    def _pilot(self) -> None:
        """Starts what still needs a pilot; with nothing left, freezes the plan (or the external check's)."""
        of = self._external or self.protocol
        while new := [pair for pair in of.unpiloted(self._margins) if self._unknown(*pair)]:
            for task, regime in new:
                progress = _Progress(chain=Chain(factor="", task=task, regime=regime))
                self._progress[progress.chain.place] = progress
                progress.done = self._trained(progress.chain)
                members = self._pilot_members(progress.chain)
                self._pilots[task, regime] = len(members)
                self._planned = None
                self._open(progress, members)
                if not progress.stage.open:
                    self._settle(progress)
        if of.unpiloted(self._margins):
            return
        if self._external is None:
            self._freeze()
        else:
            self._freeze_external(self._external)

    def _unknown(self, task: str, regime: str) -> bool:
        return (task, regime) not in self._pilots

    def _pilot_members(self, chain: Chain) -> list[Member]:
        spec = self.protocol.study
        return pilot_members(
            spec.study,
            chain.task,
            chain.regime,
            spec.settings(chain.regime),
            self.protocol.unhonoured[chain.task],
            root=spec.root,
        )

    def _settle(self, progress: _Progress) -> None:
        """The margin of one task-regime, from its complete pilot."""
        chain = progress.chain
        evaluations = tuple(self._trained(chain).values())  # in an order that does not hang on the packs'
        found = margin(self._book[chain.task](), chain.regime, evaluations, root=self.protocol.study.root)
        self._margins[chain.task, chain.regime] = found
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
        counts = self._ledger.chain_counts(self.study)
        rows = [(q.factor, regime) for q in spec.asked for regime in q.regimes]
        self._call(rows, counts)
        for row in rows:
            self._challenge(row)
        self._check_externally()

    # the race of every row

    def _call(self, rows: Sequence[tuple[str, str]], counts: Mapping[tuple[str, str, str], int]) -> None:
        """Looks at rows as far as their confirm members allow, and queues what their races call for.

        Args:
            rows: (factor, regime) of each.
            counts: (factor, task, regime) -> members in the ledger, where there are any of tasks not queued.
        """
        assert self.plan is not None
        new: list[Chain] = []
        for factor, regime in rows:
            before = self._courses.get((factor, regime))
            queued = before.called if before else ()
            course = self.protocol.course(
                factor,
                regime,
                self.plan.tasks[factor][regime],
                self.plan.margins,
                self._seen.confirmed(factor, regime) if self._races else (),
            )
            self._courses[factor, regime] = course
            fresh = [
                chain
                for chain in chains_of(factor, regime, course.called)
                if chain.task not in queued and counts.get(chain.place, 0) < self._expected.missing(chain)
            ]
            self._incomplete[factor, regime] = {chain.task for chain in fresh}
            new += fresh
        self._planned = None
        self._waiting.extend(sorted(new, key=self._expected.of_chain, reverse=True))

    @property
    def _races(self) -> bool:
        return len(self.protocol.study.effective_budget.looks) > 1

    def _completed(self, chain: Chain) -> None:
        """The last one before a look makes it due, and so opens what comes after it."""
        if chain.fresh:
            return
        row = (chain.factor, chain.regime)
        if chain.factor == EXTERNAL:
            return
        self._incomplete[row].discard(chain.task)
        if self._races and not self._incomplete[row] and not self._courses[row].decided:
            self._call([row], {})
        self._challenge(row)

    def _challenge(self, row: tuple[str, str]) -> None:
        """Queues what challenges the 'always' claims of a row, once all of it is confirmed."""
        assert self.plan is not None
        if self._incomplete[row] or not self._courses[row].ended or row in self._challenges:
            return
        chains = challenge_chains(self.plan, *row, self._courses[row], self._seen)
        self._challenges[row] = chains
        self._planned = None
        if chains:
            counts = self._ledger.chain_counts(self.study)
            own = {chain.task: chain for chain in chains_of(*row, self._courses[row].called)}
            self._waiting.extend(
                chain
                for chain in chains
                if counts.get(chain.place, 0)
                < self._expected.missing(own[chain.task]) + self._expected.missing(chain)
            )

    # the external check

    def _check_externally(self) -> None:
        """With every row complete, freezes the verdicts and starts on families that nothing has touched."""
        if self.plan is None or self._external or self._unchecked or self._progress or self._waiting:
            return
        if self.failed_packs:
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
            found = freeze(self.protocol, study_record(self._ledger, self.study))
        except ValueError as error:
            self._unchecked, self._planned = str(error), None
            return None
        self._ledger.freeze(self.study, VERDICTS, found.hash, found.plain())
        return found

    def _freeze_external(self, external: ExternalCheck) -> None:
        """Its margins and tasks are fixed: the rest of it may be trained."""
        plan = external.plan(self._margins)
        self._ledger.freeze(self.study, PLAN, digest(plan), plan)
        counts = self._ledger.chain_counts(self.study)
        wanted = sorted(chains(plan["tasks"]), key=self._expected.of_chain, reverse=True)
        self._waiting.extend(
            chain for chain in wanted if counts.get(chain.place, 0) < self._expected.members(chain)
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
            self._completed(progress.chain)
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
