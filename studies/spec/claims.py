"""What a study file may claim, checked against its own questions and regimes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reports.claims.claim_types import TYPES
from reports.evidence.claim import Claim, allowed, catalogued
from reports.evidence.fairness_checks import FIXED_DESIGNS
from search_spaces.config import SETTING_LIMITS, SETTING_NAMES
from search_spaces.factor import unknown
from search_spaces.overrides import spelled
from studies.spec.errors import SpecError, unique
from studies.spec.questions import ParsedQuestion
from studies.spec.sections import ClaimSpec
from studies.spec.study_spec import StudySpec
from trainers.diagnostics.instruments import SUMMARIES


def parse_claims(spec: StudySpec) -> tuple[Claim, ...]:
    """The claims of a study file, with what it left out filled in.

    Raises:
        SpecError: the first thing that is wrong.
    """
    found: list[Claim] = []
    for i, said in enumerate(spec.claims):
        claim = _understood(spec, said, f"claims[{i}]")
        twin = next((j for j, other in enumerate(found) if _statement(other) == _statement(claim)), None)
        if twin is not None:
            raise SpecError(spec.file, f"claims[{i}]", f"states the same as claims[{twin}]")
        found.append(claim)
    if found and spec.sampler not in FIXED_DESIGNS:
        rule = f"the sampler {spec.sampler} looks at earlier results, so that no claim is ever judged"
        raise SpecError(spec.file, "claims", rule)
    return tuple(found)


def _statement(claim: Claim) -> tuple[object, ...]:
    return (claim.id, claim.type, claim.factor, claim.levels, claim.regimes, claim.measure)


def _understood(spec: StudySpec, said: ClaimSpec, key: str) -> Claim:
    if not catalogued(said.id):
        raise SpecError(spec.file, f"{key}.id", f"unknown claim '{said.id}'. Allowed: {allowed()}")
    if said.type not in TYPES:
        raise SpecError(spec.file, f"{key}.type", str(unknown("type of claim", said.type, TYPES)))
    asked = _asked(spec, said, key)
    _check_type_keys(spec, said, key)
    return Claim(
        id=said.id,
        quote=said.quote,
        source=said.source,
        type=said.type,
        factor=asked.name,
        levels=_levels(spec, said, asked, key),
        regimes=_regimes(spec, said, key),
        direction=said.direction,
        measure=said.measure,
        expected=said.expected,
        tolerance=said.tolerance,
        scope=_scope(spec, said, key),
    )


def _asked(spec: StudySpec, said: ClaimSpec, key: str) -> ParsedQuestion:
    """The question that the claim is about; one that stands alone need not be named."""
    questions = {asked.name: asked for asked in spec.understood}
    if said.factor is None and len(questions) == 1:
        return next(iter(questions.values()))
    if said.factor is None:
        raise SpecError(spec.file, f"{key}.factor", f"say which question: {', '.join(questions)}")
    if said.factor not in questions:
        raise SpecError(spec.file, f"{key}.factor", str(unknown("question", said.factor, questions)))
    return questions[said.factor]


def _check_type_keys(spec: StudySpec, said: ClaimSpec, key: str) -> None:
    """Keys that only one type has stand there, and nowhere else."""
    for name, type_ in ((name, type_) for type_, row in TYPES.items() for name in row.keys):
        there = getattr(said, name) not in (None, "")
        if there and said.type != type_:
            rule = f"only a claim of type {type_} has it, not one of type {said.type}"
            raise SpecError(spec.file, f"{key}.{name}", rule)
        if not there and said.type == type_:
            raise SpecError(spec.file, f"{key}.{name}", f"a claim of type {type_} needs it")
    if "measure" in TYPES[said.type].keys:
        if said.measure not in SUMMARIES:
            raise SpecError(spec.file, f"{key}.measure", str(unknown("measure", said.measure, SUMMARIES)))
        if said.tolerance is not None and said.tolerance <= 0:
            raise SpecError(spec.file, f"{key}.tolerance", f"{said.tolerance:g} must be above 0")
    if TYPES[said.type].counted and spec.diagnostics == "none":
        rule = f"a claim of type {said.type} is judged by diagnostics, which this study records none of"
        raise SpecError(spec.file, f"{key}.type", rule)


def _levels(spec: StudySpec, said: ClaimSpec, asked: ParsedQuestion, key: str) -> tuple[str, ...]:
    place = f"{key}.levels"
    for level in said.levels:
        if not isinstance(level, (str, int, float, bool)):
            raise SpecError(spec.file, place, f"{level!r} must be one level or one value")
    levels = tuple(spelled(level) for level in said.levels)
    for level in levels:
        if level not in asked.changes:
            raise SpecError(spec.file, place, str(unknown(f"level of {asked.name}", level, asked.changes)))
    unique(spec.file, place, levels)
    low, high = TYPES[said.type].levels
    if not low <= len(levels) <= high:
        most = f"exactly {low}" if low == high else f"at least {low}"
        rule = f"a claim of type {said.type} needs {most} level{'s' if high > 1 else ''}, not {len(levels)}"
        raise SpecError(spec.file, place, rule)
    return levels


def _regimes(spec: StudySpec, said: ClaimSpec, key: str) -> tuple[str, ...]:
    place, wanted = f"{key}.regimes", TYPES[said.type].regimes
    regimes = said.regimes
    if not regimes and len(spec.regimes) == wanted == 1:
        regimes = tuple(spec.regimes)
    for regime in regimes:
        if regime not in spec.regimes:
            raise SpecError(spec.file, place, str(unknown("regime", regime, spec.regimes)))
    unique(spec.file, place, regimes)
    if len(regimes) != wanted:
        rule = f"a claim of type {said.type} is about {wanted} regime{'s' if wanted > 1 else ''}"
        found = f"not {len(regimes)}; this study has {', '.join(spec.regimes)}"
        raise SpecError(spec.file, place, f"{rule}, {found}")
    return regimes


def _scope(spec: StudySpec, said: ClaimSpec, key: str) -> dict[str, Any]:
    """Settings with a value, or with limits where they are whole numbers."""
    found: dict[str, Any] = {}
    for name, wish in said.scope.items():
        place = f"{key}.scope.{name}"
        if name not in SETTING_NAMES:
            raise SpecError(spec.file, f"{key}.scope", str(unknown("setting", name, SETTING_NAMES)))
        limits = {**wish} if isinstance(wish, Mapping) else {}
        ends = [limits.get("low"), limits.get("high")]
        numbers = all(type(end) in (int, float) for end in ends if end is not None)
        plain = isinstance(wish, (str, int, bool)) and not limits
        within = name in SETTING_LIMITS and limits and set(limits) <= {"low", "high"} and ends != [None, None]
        if not (plain or (within and numbers)):
            rule = f"{wish!r} must be a value, or limits {{low: ..., high: ...}} of a whole-numbered setting"
            raise SpecError(spec.file, place, rule)
        found[name] = {end: value for end, value in limits.items() if value is not None} or wish
    return found
