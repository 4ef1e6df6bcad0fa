"""From compared levels to one answer: admissible set, recommendation, label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from reports.evidence.arrays import Evidence, families_of
from reports.evidence.effective_settings import what_ran
from reports.evidence.fairness_checks import EvidenceError
from reports.evidence.processors import mixture_of
from reports.evidence.registered_looks import registered
from reports.evidence.study_record import StudyRecord
from reports.evidence.validity import answering, validity_status
from reports.statistics.compare import FEW_FAMILIES, Array, Comparison, Unit, family_effects
from reports.statistics.decision import Label, admissible, labels
from reports.verdicts.external_check import fallen_back
from reports.verdicts.families_needed import families_needed
from reports.verdicts.model import DecidedBy, Effect, Verdict


@dataclass(frozen=True, kw_only=True, eq=False)
class Decision:
    """What the rule says to one body of evidence, before it is described."""

    comparison: Comparison
    admissible: tuple[str, ...]
    recommended: str
    decided_by: DecidedBy
    label: Label


def verdicts(record: StudyRecord) -> tuple[Verdict, ...]:
    """One verdict per question and regime, in the order of the study file; controls get none.

    Where the recipe they make together lost the external check, its rows fall back
    (`reports.verdicts.external_check`).

    Raises:
        EvidenceError: The study is interim or exploratory (adaptive sampler), or a check or a control failed.
    """
    now = validity_status(record)
    if now.kind == "invalid":
        raise EvidenceError(f"INVALID study '{record.name}': a control failed. {now.reason}")
    if now.kind == "refused":  # a control that could not fail is refused here, not by the guards
        raise EvidenceError(f"no verdict for study '{record.name}' (refused): {now.reason}")
    return fallen_back(record, [judge(record, evidence) for evidence in answering(record)])


def decide(evidence: Evidence, *, looks: Sequence[int] | int, over: Unit | None = None) -> Decision:
    """Takes the cheapest level proved within one margin of every rival, and labels the textbook's row.

    Where no level is proved, the textbook's level is kept, marked 'fallback': the only place where the
    textbook matters to a recommendation. (The method's first fallback, the last release's level, takes its
    place in an export that is given a release: `reports.defaults.defaults_file.kept`.) A textbook whose
    levels were not compared can only get 'insufficient'.

    Args:
        evidence: of one row.
        looks: families after which the plan allows a look: with several of them the levels race (method.md
            2.10), and families beyond the look at which the race stops are not read. A number: one look at
            everything, corrected for so many.
        over: see `compare.Unit`; None: what the number of families allows.
    """
    surviving = None
    if isinstance(looks, int) or len(looks) < 2 or over is not None or evidence.over == "splits":
        count = looks if isinstance(looks, int) else max(1, len(looks))
        comparison = evidence.compared(looks=count, over=over)
        surviving = None if evidence.present.all() else evidence.present
        good = admissible(comparison.upper, surviving)
    else:
        ran = evidence.raced(looks)
        comparison, surviving, good = ran.comparison, ran.surviving, ran.admissible
    textbook = evidence.textbook()
    proved = tuple(level for level, passed in zip(evidence.levels, good, strict=True) if passed)
    if proved:
        recommended = proved[0]
    else:
        named = [level for level, inside in zip(evidence.levels, textbook, strict=True) if inside]
        named += evidence.question.textbook.get(evidence.regime, ())
        recommended = (named or list(evidence.levels))[0]
    return Decision(
        comparison=comparison,
        admissible=proved,
        recommended=recommended,
        decided_by="fallback" if not proved else "data" if len(proved) == 1 else "cost_order",
        label=cast(
            Label,
            str(
                labels(
                    comparison.lower,
                    comparison.upper,
                    textbook,
                    listed=evidence.listed,
                    surviving=surviving,
                )
            ),
        ),
    )


def judge(record: StudyRecord, evidence: Evidence) -> Verdict:
    """The verdict of one row, from evidence that passed the fairness checks."""
    looks = max(1, len(record.budget.looks))
    decision = decide(evidence, looks=record.budget.looks)
    course = record.courses[evidence.question.factor, evidence.regime]
    levels, mean = evidence.levels, decision.comparison.mean
    real, own = families_of(evidence)
    needed = None
    if decision.label == "insufficient":
        needed = families_needed(evidence, looks=looks)
    return Verdict(
        factor=evidence.question.factor,
        regime=evidence.regime,
        textbook=evidence.question.textbook.get(evidence.regime, ()),
        recommended=decision.recommended,
        decided_by=decision.decided_by,
        label=decision.label,
        admissible=decision.admissible,
        best=levels[int(np.argmin(mean.sum(axis=-1)))],
        effects=_effects(evidence, decision.comparison),
        mean_error={level: _mean_error(evidence.of(level), level) for level in levels},
        finished_share=dict(zip(levels, evidence.finished.tolist(), strict=True)),
        families=len(evidence.families),
        real_families=len(real),
        own_families=len(own),
        tasks=evidence.tasks,
        blocks=evidence.tuned.shape[1],
        seeds=evidence.seeds,
        tasks_needed=needed,
        evidence=evidence.ids,
        caveats=(
            *_never_trained(decision, levels),
            *what_ran(record, evidence.question.factor, evidence.regime),
            *_caveats(evidence),
            *_networks(record, evidence),
            *filter(None, [registered(record), mixture_of(record)]),
        ),
        course=course if len(course.looks) > 1 else None,
    )


def _never_trained(decision: Decision, levels: Sequence[str]) -> tuple[str, ...]:
    if decision.recommended in levels:
        return ()
    return (f"{decision.recommended} was never trained here: it is the textbook's word, not this study's",)


def _effects(evidence: Evidence, comparison: Comparison) -> tuple[Effect, ...]:
    def points(level: str, against: str) -> float:
        """Over the tasks on which both were trained."""
        both = evidence.of(level, against)
        raw = _over_tasks(both, both.tuned)
        return float(100 * (raw[both.levels.index(level)] - raw[both.levels.index(against)]))

    return tuple(
        Effect(
            level=level,
            against=against,
            margins=float(comparison.mean[i, j]),
            interval=(float(comparison.interval_low[i, j]), float(comparison.interval_high[i, j])),
            upper=float(comparison.upper[i, j]),
            lower=float(comparison.lower[i, j]),
            points=points(level, against),
            tasks=len(evidence.of(level, against).families),
        )
        for i, level in enumerate(evidence.levels)
        for j, against in enumerate(evidence.levels)
        if i != j
    )


def _mean_error(evidence: Evidence, level: str) -> float:
    return float(_over_tasks(evidence, evidence.tuned)[evidence.levels.index(level)])


def _over_tasks(evidence: Evidence, errors: Array) -> Array:
    """[L] mean over blocks, then tasks of a family, then families of [T, R, L] unclipped errors."""
    units = family_effects(errors.mean(axis=1)[:, None, :], evidence.family)
    levels: Array = units.mean(axis=0)[0]
    return levels


STARTS = ("initializer", "bias", "init_gain")
"""Factors that set the first weights and biases."""


def _networks(record: StudyRecord, evidence: Evidence) -> tuple[str, ...]:
    """What a reader must know of the tasks' own networks: first tensors that no initializer reaches."""
    held = record.fixed.get("initializer", "torch_default").split(" ")[0]
    if evidence.question.factor not in STARTS and held == "torch_default":
        return ()
    notes = []
    for task in evidence.tasks:
        names = (record.facts[task].network or {}).get("unreached") or ()
        if names:
            more = f" and {len(names) - 8} more" if len(names) > 8 else ""
            few = ", ".join(names[:8])
            notes.append(f"on task {task} no initializer reaches {few}{more}, which keep their own start")
    return tuple(notes)


def _caveats(evidence: Evidence) -> tuple[str, ...]:
    """What a reader must know before using the row, in a fixed order."""
    notes = []
    if len(evidence.families) < FEW_FAMILIES:
        few = f"{len(evidence.families)} task famil{'y' if len(evidence.families) == 1 else 'ies'}"
        notes.append(
            f"{few} (fewer than {FEW_FAMILIES}): holds on these tasks ({', '.join(evidence.tasks)}) only; "
            "intervals are over their data splits"
        )
    named = evidence.question.textbook.get(evidence.regime, ())
    absent = [level for level in named if level not in evidence.levels]
    if absent:
        notes.append(f"the textbook's {', '.join(absent)} was not compared")
    if len(set(evidence.percent)) > 1:
        notes.append("points mix percentage points of error with hundredths of a target SD")
    diverged = [
        f"{level} {1 - share:.0%}"
        for level, share in zip(evidence.levels, evidence.finished, strict=True)
        if share < 1
    ]
    if diverged:
        notes.append(f"diverged runs, scored like the trivial predictor: {', '.join(diverged)}")
    if all(evidence.generated):
        notes.append("generated tasks only, no measured data")
    return tuple(notes)
