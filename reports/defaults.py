"""The recommended levels and numbers of one study, with their evidence, as a file people can use."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, Literal

import yaml

from reports.decision import Label
from reports.evidence import gather
from reports.markdown import markdown
from reports.numbers import tuned_numbers
from reports.plain import from_plain, to_plain
from reports.record import StudyRecord
from reports.robustness import robustness
from reports.scope import Scope, scope_of
from reports.verdict import DecidedBy, Verdict
from search_spaces.factor import unknown

LONGEST_FILE = 1_000_000
"""Characters; a longer file is not a defaults file."""

Format = Literal["yaml", "json", "markdown"]
FORMATS: tuple[Format, ...] = ("yaml", "json", "markdown")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Which plan produced the file."""

    hash: str
    protocol: str
    revision: int
    profile: str


@dataclass(frozen=True, kw_only=True)
class Gain:
    """What the recommended level gains over one rival (positive: the rival is worse)."""

    against: str
    margins: float
    interval: tuple[float, float]
    """Two-sided 95 %."""
    points: float
    """Percentage points of error (regression: hundredths of the target's SD), unclipped."""
    tasks: int
    """Task families."""
    blocks: int
    seeds: int


@dataclass(frozen=True, kw_only=True)
class Regret:
    """What it may cost to follow a row."""

    upper_bound_margins: float | None
    """At most this much worse than any rival (one-sided, at alpha); null where nothing bounds it."""
    leave_one_task_out: float | None
    """Mean loss in margins on a family that the choice has not seen; null for fewer than 8."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One recommended level."""

    factor: str
    regime: str
    recommended: str
    decided_by: DecidedBy
    textbook: tuple[str, ...]
    verdict: Label
    tied_with: tuple[str, ...]
    """Other levels proved as good within one margin, cheapest first."""
    effect: Gain | None
    regret_if_wrong: Regret
    caveats: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Number:
    """One number a user types in, for the recommended level of a row."""

    name: str
    regime: str
    factor: str
    level: str
    optimizer: str
    value: float
    range: tuple[float, float]
    cells: int
    """Tasks x blocks behind `value`."""
    tunability_margins: float


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How the numbers are to be read; the same in every file of schema 1."""

    value: str = "median of the values chosen per task and block (geometric where the search was logarithmic)"
    range: str = "interquartile range of the chosen values: search here first"
    tunability_margins: str = (
        "test error at the level's library defaults minus tuned error, in margins (clipped at 4): what "
        "leaving all of a level's numbers untuned costs"
    )
    holds_for: str = "new tasks of this scope"


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """A defaults file."""

    schema: int = 1
    table: str
    """The study's name."""
    scope: Scope
    plan: Plan
    versions: dict[str, str]
    rows: tuple[Row, ...]
    numbers: tuple[Number, ...]
    reading: Reading

    @property
    def general(self) -> bool:
        """Enough families were judged to speak of new tasks."""
        return self.reading.holds_for == Reading.holds_for

    def __post_init__(self) -> None:
        if self.schema != 1:
            raise ValueError(f"defaults: schema {self.schema} is not known here; this version reads schema 1")
        keys = [(row.factor, row.regime) for row in self.rows]
        for key in keys:
            if keys.count(key) > 1:
                raise ValueError(f"defaults: two rows for {key[0]}@{key[1]}")
        for row in self.rows:
            if row.recommended in row.tied_with:
                raise ValueError(f"defaults: row {row.factor}@{row.regime} is tied with itself")
            if row.effect and not row.effect.interval[0] <= row.effect.interval[1]:
                raise ValueError(f"defaults: row {row.factor}@{row.regime}: the interval is reversed")
        for number in self.numbers:
            if not number.range[0] <= number.range[1]:
                raise ValueError(f"defaults: {number.name}@{number.regime}: the range is reversed")


def defaults(record: StudyRecord, verdicts: tuple[Verdict, ...]) -> Defaults:
    """What `record` recommends; EvidenceError unless it may carry verdicts (see `guards.standing`)."""
    evidence = {(e.question.factor, e.regime): e for e in gather(record)}
    rows, numbers = [], []
    for verdict in verdicts:
        body = evidence[(verdict.factor, verdict.regime)]
        meaning = body.question.meanings.get(verdict.recommended)
        said = (f"{verdict.recommended} means {meaning}",) if meaning else ()
        rows.append(
            _row(verdict, robustness(body, verdict, looks=record.budget.looks).leave_one_task_out, said)
        )
        numbers += [
            Number(
                name=n.name,
                regime=verdict.regime,
                factor=verdict.factor,
                level=verdict.recommended,
                optimizer=n.optimizer,
                value=_short(n.value),
                range=(_short(n.low), _short(n.high)),
                cells=n.cells,
                tunability_margins=_short(n.tunability),
            )
            for n in tuned_numbers(record, body, verdict.recommended)
        ]
    few = not all(verdict.general for verdict in verdicts)
    return Defaults(
        table=record.name,
        scope=scope_of(record),
        plan=Plan(
            hash=record.plan_hash,
            protocol=record.protocol_hash,
            revision=record.revision,
            profile=record.budget.profile,
        ),
        versions=dict(sorted(record.versions.items())),
        rows=tuple(rows),
        numbers=tuple(numbers),
        reading=Reading(holds_for="these tasks only" if few else Reading.holds_for),
    )


def render(defaults: Defaults, format: str) -> str:
    """The file's text in 'yaml', 'json' or 'markdown'; equal for equal defaults."""
    if format == "yaml":
        plain = to_plain(defaults)
        return str(
            yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None)
        )
    if format == "json":
        return json.dumps(to_plain(defaults), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if format == "markdown":
        return markdown(defaults)
    raise unknown("format of defaults", format, FORMATS)


def load(text: str, name: str = "defaults file") -> Defaults:
    """Reads a YAML or JSON defaults file, strictly.

    Raises:
        ValueError: Naming `name`, the key and the rule: not YAML, too long, an alias, a key twice, unknown
            or missing keys, wrong types, values outside the vocabulary.
    """
    if len(text) > LONGEST_FILE:
        raise ValueError(f"{name}: longer than {LONGEST_FILE} characters")
    try:
        if text.lstrip().startswith("{"):
            data = json.loads(text, object_pairs_hook=_no_twins)
        else:
            data = yaml.load(text, Loader=_Strict)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{name}: {' '.join(str(error).split())}") from error
    return from_plain(Defaults, data, name)


def _row(verdict: Verdict, leave_one_out: float | None, meaning: tuple[str, ...]) -> Row:
    head, bound = verdict.headline, verdict.regret_bound
    gain = None
    if head is not None and all(map(math.isfinite, head.interval)):
        gain = Gain(
            against=head.level,
            margins=_short(head.margins),
            interval=(_short(head.interval[0]), _short(head.interval[1])),
            points=_short(head.points),
            tasks=head.tasks,
            blocks=verdict.blocks,
            seeds=verdict.seeds,
        )
    return Row(
        factor=verdict.factor,
        regime=verdict.regime,
        recommended=verdict.recommended,
        decided_by=verdict.decided_by,
        textbook=verdict.textbook,
        verdict=verdict.label,
        tied_with=tuple(level for level in verdict.admissible if level != verdict.recommended),
        effect=gain,
        regret_if_wrong=Regret(
            upper_bound_margins=None if bound is None or not math.isfinite(bound) else _short(bound),
            leave_one_task_out=None if leave_one_out is None else _short(leave_one_out),
        ),
        caveats=(*meaning, *_contradiction(verdict), *verdict.caveats),
    )


def _contradiction(verdict: Verdict) -> tuple[str, ...]:
    """Who beat the textbook, where it is not the recommended level that `effect` is measured against."""
    lost = verdict.contradiction
    if lost is None or lost.against == verdict.recommended:
        return ()
    low, high = lost.interval
    return (
        f"contradicted by {lost.against}: the error of {lost.level} is {lost.margins:+.3g} margins "
        f"[{low:+.3g}, {high:+.3g}] higher",
    )


def _short(value: float) -> float:
    """At 4 significant digits: more than the evidence carries, few enough to read."""
    return float(f"{value:.4g}")


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise ValueError(f"the key '{key}' stands twice")
    return dict(pairs)


class _Strict(yaml.SafeLoader):
    """A safe loader that refuses aliases and keys that stand twice."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError(f"line {self.line + 1}: aliases are not allowed")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"line {node.start_mark.line + 1}: the key '{key}' stands twice")
        return super().construct_mapping(node, deep)
