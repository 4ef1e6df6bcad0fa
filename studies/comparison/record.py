"""A study as reports see it, put together from the ledger alone: no task is built, nothing trained."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from reports.evidence.budget import EXTERNAL, Budget, TaskFacts
from reports.evidence.question import Question
from reports.evidence.study_record import ExternalRecord, StudyRecord
from search_spaces.config import SETTING_NAMES
from search_spaces.overrides import spelled
from studies.comparison.external_check import PLAN, VERDICTS, chains, external_record
from studies.comparison.planned_work import planned_members
from studies.comparison.protocol import Chain, ComparisonProtocol, chains_of
from studies.ledger.ledger import Ledger, StudyRow
from studies.ledger.lineage import SeenEvaluations, extension
from studies.ledger.protocol_hash import as_recorded, untouched
from studies.ledger.rows import still_abandoned
from studies.spec.load import parse
from studies.spec.questions import ParsedQuestion
from studies.spec.resolved import ResolvedStudy
from trainers.evaluation import Evaluation, Slot


def study_record(ledger: Ledger, study: str) -> StudyRecord:
    """Everything the ledger knows of one study.

    Raises:
        ValueError: an unknown study, or one whose pilot is not complete: it has no plan to judge by.
    """
    row = ledger.study(study)
    untouched(study, row.protocol, row.protocol_hash, "protocol")
    with as_recorded(study):
        return _record(ledger, row)


def _record(ledger: Ledger, row: StudyRow) -> StudyRecord:
    study = row.name
    if row.protocol["spec"].get("kind") == "search":
        raise ValueError(f"study '{study}' in {ledger.workspace} is a search study: it carries no verdicts")
    if row.protocol["spec"].get("kind") == "scope":
        raise ValueError(f"study '{study}' in {ledger.workspace} is a scope: it carries no verdicts")
    plans = ledger.plans(study)
    if not plans:
        raise ValueError(
            f"study '{study}' in {ledger.workspace} has no plan yet: its pilot is not complete; "
            f"run it again to resume{''.join(f'; given up: {why}' for why in _given_up(ledger, study)[:1])}"
        )
    plan, margins = plans[-1], ledger.margins(study)
    untouched(study, plan.plan, plan.hash, "plan")
    if [asdict(margin) for margin in margins] != plan.plan["margins"]:
        raise ValueError(f"study '{study}': its margins were changed after the plan {plan.hash} was hashed")
    resolved: dict[str, Any] = row.protocol["spec"]
    facts = {f["name"]: _facts(f, row.protocol["unhonoured"]) for f in row.protocol["facts"]}
    tasks = {f: {r: tuple(names) for r, names in by.items()} for f, by in plan.plan["tasks"].items()}
    fixed = protocol_of(row.protocol)
    seen = SeenEvaluations(ledger, study)
    everything, blocks = seen.evaluations(layers=False), fixed.study.effective_budget.blocks
    parts = _frozen(ledger, study)
    # What the external check trained has a record of its own, and what was trained to challenge a claim is
    # kept apart: neither may feed a row's own evidence.
    piloted = {(margin.task, margin.regime) for margin in margins}
    shared = parts or seen.before
    rows = everything if not shared else tuple(e for e in everything if _of_a_row(e, piloted))
    evaluations = tuple(e for e in rows if e.slot.block < blocks)
    confirmed: dict[tuple[str, str], list[Evaluation]] = defaultdict(list)
    for e in evaluations:
        if e.slot.phase == "confirm":
            confirmed[e.slot.factor, e.slot.regime].append(e)
    own = [
        chain
        for factor, regimes in tasks.items()
        for regime, names in regimes.items()
        for chain in chains_of(
            factor,
            regime,
            fixed.course(factor, regime, names, margins, confirmed[factor, regime]).possible,
        )
    ]
    if seen.before:
        evaluations = _asked_for(evaluations, study, fixed, own)
    pilots = Counter(e.slot.phase for e in evaluations)["pilot"]
    backgrounds = {name: _backgrounds(fixed, name) for name in facts}
    return StudyRecord(
        name=row.name,
        title=row.title,
        questions=(
            *(
                _question(plain, asked)
                for plain, asked in zip(resolved["questions"], fixed.study.understood, strict=True)
            ),
            *(question for question in fixed.study.asked if question.control),
        ),
        regimes=resolved["regimes"],
        fixed={name: _text(value) for name, value in resolved["fixed"].items()},
        background={name: shared for name, (shared, _) in backgrounds.items()},
        background_in={
            regime: {name: places[regime] for name, (_, places) in backgrounds.items()}
            for regime in (fixed.study.regimes if fixed.study.spec.background_in else ())
        },
        nuisance=_limits(fixed, own),
        tasks=tasks,
        facts=facts,
        margins=margins,
        budget=_budget(resolved["budget"]),
        sampler=resolved["sampler"],
        planned=planned_members(fixed, own, pilots),
        evaluations=evaluations,
        plan_hash=plan.hash,
        protocol_hash=row.protocol_hash,
        revision=plan.revision,
        abandoned_plans=tuple(earlier.hash for earlier in plans[:-1]),
        versions=row.terms["versions"],
        hardware=row.terms["hardware"],
        external=_external(fixed, parts, everything) if parts else None,
        claims=fixed.study.claimed,
        fresh=tuple(e for e in everything if e.slot.block >= blocks),
        core_seconds=seen.core_seconds(blocks=blocks) if fixed.study.claimed else {},
        extends=extension(ledger, study),
        given_up=_given_up(ledger, study),
    )


def _given_up(ledger: Ledger, study: str) -> tuple[str, ...]:
    return still_abandoned(ledger.attempts(study), ledger.filled(study))


def _facts(plain: Mapping[str, Any], unhonoured: Mapping[str, Sequence[str]]) -> TaskFacts:
    """A task's facts; of one with its own network also where that was not recorded yet."""
    own = "network" in unhonoured.get(plain["name"], ())
    return TaskFacts(**{"network": {} if own else None, **plain})


def _of_a_row(evaluation: Evaluation, piloted: Collection[tuple[str, str]]) -> bool:
    slot = evaluation.slot
    return (slot.task, slot.regime) in piloted if slot.phase == "pilot" else slot.factor != EXTERNAL


def _asked_for(
    evaluations: Sequence[Evaluation], study: str, fixed: ComparisonProtocol, own: Sequence[Chain]
) -> tuple[Evaluation, ...]:
    """Without what the studies before it trained and this one's races do not call for."""
    levels = {chain.place: set(fixed.trained(chain)) for chain in own}

    def called(slot: Slot) -> bool:
        return slot.level in levels.get((slot.factor, slot.task, slot.regime), ())

    return tuple(e for e in evaluations if e.slot.study == study or e.slot.phase == "pilot" or called(e.slot))


def _frozen(ledger: Ledger, study: str) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """What was frozen for the external check; {} before it began."""
    parts = ledger.frozen(study)
    for part, (hashed, content) in parts.items():
        untouched(
            study, content, hashed, {VERDICTS: "record of frozen verdicts", PLAN: "external plan"}[part]
        )
    return parts


def _external(
    fixed: ComparisonProtocol,
    parts: Mapping[str, tuple[str, Mapping[str, Any]]],
    evaluations: Sequence[Evaluation],
) -> ExternalRecord:
    planned: dict[str, int] = {}
    if PLAN in parts:
        counts = planned_members(fixed, chains(parts[PLAN][1]["tasks"]), 0)
        planned = {phase: count for phase, count in counts.items() if count}
    trained = [e for e in evaluations if e.slot.factor == EXTERNAL]
    return external_record(fixed, parts, trained, planned)


def _backgrounds(fixed: ComparisonProtocol, task: str) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """The task's background: what all regimes share, and what each has of its own."""
    by_regime = {regime: fixed.background(task, regime) for regime in fixed.study.regimes}
    changed = {factor for own in fixed.study.spec.background_in.values() for factor in own}
    shared = {f: level for f, level in next(iter(by_regime.values())).items() if f not in changed}
    return shared, {
        regime: {f: level for f, level in background.items() if f in changed}
        for regime, background in by_regime.items()
    }


def protocol_of(plain: Mapping[str, Any]) -> ComparisonProtocol:
    """The protocol that a ledger keeps, as an object again."""
    return ComparisonProtocol(
        study=spec_of(plain["spec"]),
        facts={f["name"]: TaskFacts(**f) for f in plain["facts"]},
        unhonoured={task: frozenset(factors) for task, factors in plain["unhonoured"].items()},
    )


def spec_of(resolved: Mapping[str, Any]) -> ResolvedStudy:
    """The spec whose `resolved()` this is, as far as planning needs it."""
    return parse(study_file_of(resolved), file=f"ledger, study {resolved['study']}")


def study_file_of(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """A study file, as data, that resolves to this; what changes no result is left out."""
    budget = resolved["budget"]
    # A question may be about a setting that no regime changes: back to where the study file had it.
    by_regime: list[Mapping[str, Any]] = list(resolved["regimes"].values())
    shared = {
        name: by_regime[0][name]
        for name in SETTING_NAMES
        if all(one.get(name) == by_regime[0][name] for one in by_regime)
    }
    numbers = ("families", "blocks", "trials", "promoted", "promote_seeds", "confirm_seeds")
    return {
        **{key: resolved[key] for key in ("study", "title", "fixed", "background", "nuisance")},
        "background_in": resolved.get("background_in", {}),
        "setting": shared,
        "regimes": {
            regime: {name: value for name, value in words.items() if name not in shared}
            for regime, words in resolved["regimes"].items()
        },
        "questions": [
            {"factor": q["factor"], "levels": q.get("said", q["levels"])} for q in resolved["questions"]
        ],
        "tasks": resolved["tasks"],
        "budget": {
            "profile": budget["profile"],
            **{name: budget[name] for name in numbers},
            "looks": [look for look in budget["looks"] if look != budget["families"]],
            "external": budget.get("external", 0),
        },
        "controls": resolved.get("controls", False),
        **{key: resolved[key] for key in ("sampler", "pack_size", "alpha")},
        "claims": resolved.get("claims", ()),
        **({"extends": resolved["extends"]} if "extends" in resolved else {}),
    }


def _question(plain: Mapping[str, Any], asked: ParsedQuestion) -> Question:
    return Question(
        factor=plain["factor"],
        levels=tuple(plain["levels"]),
        regimes=tuple(plain["regimes"]),
        cost=plain["cost"],
        textbook={regime: tuple(levels) for regime, levels in plain["textbook"].items()},
        changes=asked.changes,
        alpha=plain["alpha"],
    )


def _text(value: Any) -> str:
    """A level, a number, or [level, number] as text."""
    return " ".join(spelled(part) for part in value) if isinstance(value, list) else spelled(value)


def _budget(plain: Mapping[str, Any]) -> Budget:
    own = {key: value for key, value in plain.items() if key != "external"}
    return Budget(**{**own, "looks": tuple(plain["looks"])})


def _limits(fixed: ComparisonProtocol, chains: list[Chain]) -> dict[str, tuple[float, float]]:
    """Number -> the widest limits it is searched in, over all levels and tasks."""
    limits: dict[str, tuple[float, float]] = {}
    for chain in chains:
        for level in fixed.levels_of(chain.factor):
            for name, span in fixed.searched(chain, level).items():
                low, high = limits.get(name, (span.low, span.high))
                limits[name] = (min(low, span.low), max(high, span.high))
    return dict(sorted(limits.items()))
