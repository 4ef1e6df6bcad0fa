"""The external check: whole recipes on task families that nothing was decided on (method.md 2.3, P4).

Rows are judged one at a time. Once their verdicts are frozen, the recipe they make together meets the
textbook's, level by level retuned with the same budget, on families never touched before. That comparison was
registered with the plan; where the assembled recipe loses it, the export falls back on the textbook's rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from reports.evidence.arrays import Evidence, families_of, from_rows
from reports.evidence.budget import ARMS, EXTERNAL
from reports.evidence.data_kinds import kinds
from reports.evidence.fairness_checks import EvidenceError, check
from reports.evidence.question import Question
from reports.evidence.study_record import ExternalRecord, StudyRecord
from reports.statistics.claim_rules import between, states
from reports.statistics.compare import block_effects, family_effects
from reports.verdicts.model import Verdict
from search_spaces.overrides import Overrides
from trainers.evaluation import Evaluation

NAMES: Mapping[tuple[str, bool], str] = {
    ("recommended", True): "the recommended recipe, retuned",
    ("recommended", False): "the recommended recipe exactly as exported",
    ("textbook", True): "the textbook's recipe, retuned",
    ("textbook", False): "the textbook's recipe at the library's numbers",
    ("framework", True): "the framework's default levels, retuned",
    ("framework", False): "the framework's defaults as they are",
}
"""(arm, tuned) -> what it is called."""


WHOLE = "the whole recommended recipe of"
"""Begins what is said of a regime's recipe; a row's caveats quote it."""


@dataclass(frozen=True, kw_only=True)
class RecipeResult:
    """How the recipes of one regime did."""

    regime: str
    margins: float
    """How much worse the textbook's recipe is than the recommended one, both retuned."""
    interval: tuple[float, float]
    """Two-sided 95 %."""
    state: str
    """Of the recommended recipe: 'better', 'tied', 'worse' or 'unresolved', at alpha."""
    regrets: Mapping[str, float]
    """Name (see `NAMES`) -> margins that it is worse than the recommended recipe retuned."""
    families: int
    real_families: int
    own_families: int
    """As `Verdict.own_families`."""
    tasks: tuple[str, ...]
    blocks: int
    seeds: int

    @property
    def lost(self) -> bool:
        """The textbook's recipe is better."""
        return self.state == "worse"

    def sentence(self) -> str:
        """In words; `whole_recipe` finds it again."""
        word = {
            "better": "beats the textbook's",
            "tied": "and the textbook's are tied",
            "worse": "loses to the textbook's",
            "unresolved": "and the textbook's are not told apart",
        }[self.state]
        low, high = self.interval
        n = f"{kinds(self.real_families, self.own_families)}, {self.blocks} blocks, {self.seeds} seeds"
        return (
            f"on {self.families} task families never touched before ({n}) {WHOLE} {self.regime} "
            f"{word}, both retuned: {self.margins:+.2f} margins [{low:+.2f}, {high:+.2f}]"
        )


@dataclass(frozen=True, kw_only=True)
class ExternalVerdict:
    """What the external check says at this moment."""

    kind: Literal["none", "running", "refused", "done"]
    """none: the study has no such phase, or has not come to it."""
    reason: str = ""
    results: tuple[RecipeResult, ...] = ()
    """One for each regime that has tasks; empty unless done."""

    def of(self, regime: str) -> RecipeResult | None:
        """The result of one regime; None where there is none."""
        return next((result for result in self.results if result.regime == regime), None)


def external(record: StudyRecord, judged: Sequence[Verdict]) -> ExternalVerdict:
    """The result of the external check; never raises.

    Args:
        record: a study that may carry verdicts.
        judged: its verdicts, as the rows' own evidence decides them.
    """
    phase = record.external
    if phase is None:
        return ExternalVerdict(kind="none")
    missing = sum(phase.planned.values()) - len(phase.evaluations)
    if missing or not phase.plan_hash:
        return ExternalVerdict(
            kind="running",
            reason=f"{len(phase.evaluations)} runs are there, more are to come: the same command resumes",
        )
    try:
        _untouched(record, phase)
        _as_frozen(phase, judged)
        return ExternalVerdict(
            kind="done",
            results=tuple(_result(record, phase, regime) for regime in phase.tasks if phase.tasks[regime]),
        )
    except EvidenceError as error:
        return ExternalVerdict(kind="refused", reason=str(error))


def fallen_back(record: StudyRecord, judged: Sequence[Verdict]) -> tuple[Verdict, ...]:
    """The verdicts, with the textbook's level in every row of a regime whose whole recipe lost.

    Rows that the textbook does not have, and rows that agree with it, keep their level. Every row of a regime
    that was checked says in its caveats what came out.
    """
    check_result = external(record, judged)
    return tuple(_released(record, verdict, check_result.of(verdict.regime)) for verdict in judged)


def _released(record: StudyRecord, verdict: Verdict, result: RecipeResult | None) -> Verdict:
    if result is None or record.external is None:
        return verdict
    verdict = replace(verdict, caveats=(*verdict.caveats, result.sentence()))
    if not result.lost:
        return verdict
    book = record.external.recipes[verdict.regime]["textbook"].levels.get(verdict.factor)
    if not verdict.textbook or book is None or book == verdict.recommended:
        return verdict
    return replace(
        verdict,
        recommended=book,
        decided_by="fallback",
        admissible=(),
        fallback_reason=result.sentence(),
        caveats=(*verdict.caveats, f"fallback; the row's own evidence says {verdict.recommended}"),
    )


def whole_recipe(regime: str, caveats: Iterable[Sequence[str]]) -> str | None:
    """What the external check said of a regime's recipe, from the caveats of its rows; None: nothing."""
    stated = (note for notes in caveats for note in notes if not note.startswith("fallback"))
    return next((note for note in stated if f"{WHOLE} {regime} " in note), None)


def question(phase: ExternalRecord, regime: str, alpha: float) -> Question:
    """The comparison of whole recipes in one regime, as a question on three levels."""
    recipes = phase.recipes[regime]
    return Question(
        factor=EXTERNAL,
        levels=ARMS,
        regimes=(regime,),
        cost={arm: place for place, arm in enumerate(ARMS)},
        textbook={},
        changes={arm: Overrides(levels=recipes[arm].levels, numbers=recipes[arm].numbers) for arm in ARMS},
        alpha=alpha,
    )


def evidence(record: StudyRecord, phase: ExternalRecord, regime: str) -> Evidence:
    """The test errors of one regime's recipes, through the fairness checks that every row passes.

    Raises:
        EvidenceError: a fairness check fails.
    """
    recipes = question(phase, regime, record.questions[0].alpha)
    rows = tuple(_as_confirm(row) for row in phase.evaluations if row.slot.regime == regime)
    ids = {_as_confirm(row).id: row.id for row in phase.evaluations}
    study = replace(
        record,
        questions=(recipes,),
        tasks={EXTERNAL: {regime: phase.tasks[regime]}},
        margins=phase.margins,
        budget=replace(record.budget, looks=(phase.families,)),
        evaluations=rows,
        planned={},
        external=None,
    )
    check(study)
    gathered = from_rows(study, recipes, regime, [row for row in rows if row.slot.phase == "confirm"])
    return replace(gathered, ids=tuple(sorted(ids[one] for one in gathered.ids)))


def _result(record: StudyRecord, phase: ExternalRecord, regime: str) -> RecipeResult:
    body = evidence(record, phase, regime)
    pair = replace(body, tuned=body.tuned[..., :2], levels=body.levels[:2])
    comparison = pair.compared(looks=1)
    both = np.concatenate([body.tuned, body.untuned], axis=-1)
    losses = family_effects(block_effects(both, body.delta).mean(axis=1), body.family).mean(axis=0)[:, 0]
    places = [(arm, True) for arm in body.levels] + [(arm, False) for arm in body.levels]
    real, own = families_of(body)
    return RecipeResult(
        regime=regime,
        margins=float(comparison.mean[1, 0]),
        interval=(float(comparison.interval_low[1, 0]), float(comparison.interval_high[1, 0])),
        state=str(states(between(comparison, 0, 1))),
        regrets={NAMES[place]: float(loss) for place, loss in zip(places, losses, strict=True)},
        families=len(body.families),
        real_families=len(real),
        own_families=len(own),
        tasks=body.tasks,
        blocks=body.tuned.shape[1],
        seeds=body.seeds,
    )


def _as_confirm(row: Evaluation) -> Evaluation:
    """The last phase of the external check as a confirm phase, which is what the fairness checks know."""
    if row.slot.phase != "external":
        return row
    return replace(row, slot=replace(row.slot, phase="confirm"))


def _untouched(record: StudyRecord, phase: ExternalRecord) -> None:
    """No family of the check took part in anything that came before it."""
    earlier = {record.facts[margin.task].family: margin.task for margin in record.margins}
    for by_regime in record.tasks.values():
        earlier |= {record.facts[task].family: task for tasks in by_regime.values() for task in tasks}
    for regime, tasks in phase.tasks.items():
        for task in tasks:
            family = record.facts[task].family
            if family in earlier:
                raise EvidenceError(
                    f"the external check of {regime} uses task '{task}', whose family {family} was used "
                    f"before (by '{earlier[family]}'): it would confirm what was chosen there"
                )
    read = [row for row in phase.evaluations if row.test is not None and row.slot.phase != "external"]
    if read:
        raise EvidenceError(
            f"test leak: evaluation {read[0].id} of phase '{read[0].slot.phase}' has read test data of the "
            "external check"
        )


def _as_frozen(phase: ExternalRecord, judged: Sequence[Verdict]) -> None:
    """The verdicts are those that were frozen before the first external member was trained."""
    for verdict in judged:
        then = phase.verdicts.get((verdict.factor, verdict.regime))
        if then != verdict.recommended:
            raise EvidenceError(
                f"the external check tried another recipe: {verdict.factor}@{verdict.regime} was "
                f"{then or 'not there'} when the verdicts were frozen and is {verdict.recommended} now"
            )
