"""The numbers a user types in: the value of least mean regret, where to search, and what leaving it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reports.evidence.arrays import Evidence
from reports.evidence.fairness_checks import margin_of
from reports.evidence.study_record import StudyRecord
from reports.statistics.compare import CLIP, Array, family_effects
from reports.statistics.response_surface import MOST_CANDIDATES, Surface, profiles, widths_of
from search_spaces.config import SETTING_LIMITS, Config
from search_spaces.factor import Range
from search_spaces.space import open_ranges, setting_range
from trainers.evaluation import Evaluation


@dataclass(frozen=True, kw_only=True)
class TunedNumber:
    """One tuned number or setting over the tasks and blocks that share an optimizer."""

    name: str
    optimizer: str
    value: float
    """Of all values tried: the one of least mean regret over families (see `tuned_numbers`)."""
    low: float
    """First quartile of the values that tuning chose per task and block, or `value` if that is below it."""
    high: float
    """Third quartile, or `value` if that is above it."""
    cells: int
    """Tasks x blocks in which it was tuned."""
    families: int
    tunability: float
    """Of all numbers of the level together, on test data: mean over families of the error at the library's
    defaults minus the tuned error, in margins, clipped at +-4."""
    loss_if_untuned: float
    """Mean over families: regret with this number at its library default, minus the least regret that any
    value of it has in that family; the other numbers at their `value`. Margins, validation."""
    left_out: float | None
    """The same for the value that the other families choose; None with fewer than two families."""


def tuned_numbers(record: StudyRecord, evidence: Evidence, level: str) -> tuple[TunedNumber, ...]:
    """The tuned numbers of one level, by optimizer and name; none where the level was not compared.

    What is estimated: the regret of a value on a task is the validation metric there minus the best that the
    level's search found in that block, in margins, capped at 4 (a diverged member is at the cap). It is known
    at the designed points of the task's blocks, and in between by smoothing
    (`reports.statistics.response_surface`). Numbers that are open on all tasks are chosen together, as the
    tried point of least mean regret over families; one that only some backgrounds open is chosen on their
    tasks, with the others where they are.

    Same-named numbers of two optimizers are different numbers, so they are never pooled.
    """
    if level not in evidence.levels:
        return ()
    searched: dict[str, dict[str, list[Evaluation]]] = {}
    chosen: dict[str, list[Config]] = {}
    for row in record.of(evidence.question.factor, evidence.regime):
        s = row.slot
        if s.level != level or s.task not in evidence.tasks:
            continue
        optimizer = row.config.levels.get("optimizer", "")
        if s.phase == "retune" and row.status != "failed":
            searched.setdefault(optimizer, {}).setdefault(s.task, []).append(row)
        elif s.phase == "confirm" and row.arm == "tuned" and not s.index:
            chosen.setdefault(optimizer, []).append(row.config)
    numbers: list[TunedNumber] = []
    for optimizer in sorted(searched):
        # The first points of every design first: where not all can be compared, these cover the ranges.
        by_task = {
            task: sorted(rows, key=lambda row: (row.slot.index, row.slot.block))
            for task, rows in sorted(searched[optimizer].items())
        }
        numbers += _of_optimizer(record, evidence, level, optimizer, by_task, chosen.get(optimizer, []))
    return tuple(numbers)


def _of_optimizer(
    record: StudyRecord,
    evidence: Evidence,
    level: str,
    optimizer: str,
    by_task: Mapping[str, Sequence[Evaluation]],
    chosen: Sequence[Config],
) -> list[TunedNumber]:
    spans = _spans(record, evidence, level, by_task)
    surfaces = [_surface(record, evidence, rows, spans) for rows in by_task.values()]
    tunability = _tunability(evidence, level, set(by_task))
    widths = widths_of(surfaces)
    base: dict[str, float] = {}
    everywhere = [name for name in spans if all(name in surface.points for surface in surfaces)]
    if everywhere:
        tried = {name: _first([surface.points[name] for surface in surfaces]) for name in everywhere}
        best = int(profiles(surfaces, tried, widths)[1].mean(axis=0).argmin())
        base = {name: float(tried[name][best]) for name in everywhere}
    settings = []
    for name in (*everywhere, *(name for name in spans if name not in everywhere)):
        searched = [surface for surface in surfaces if name in surface.points]
        places = np.unique(_first([surface.points[name] for surface in searched]))
        families, along = _along(searched, name, places, base, widths)
        if name not in base:
            base[name] = float(places[along.mean(axis=0).argmin()])
        value = spans[name].at(base[name])
        values = np.sort([_place(spans[name], _number(c, name)) for c in chosen if _has(c, name)])
        low, high = (spans[name].at(place) for place in np.quantile(values, [0.25, 0.75]))
        untuned = np.array([_place(spans[name], spans[name].default)])
        at_default = _along(searched, name, untuned, base, widths)[1][:, 0]
        settings.append(
            TunedNumber(
                name=name,
                optimizer=optimizer,
                value=value,
                low=min(low, value),
                high=max(high, value),
                cells=len(values),
                families=len(families),
                tunability=tunability,
                loss_if_untuned=float((at_default - np.minimum(along.min(axis=1), at_default)).mean()),
                left_out=_left_out(along),
            )
        )
    return sorted(settings, key=lambda number: number.name)


def _spans(
    record: StudyRecord, evidence: Evidence, level: str, by_task: Mapping[str, Sequence[Evaluation]]
) -> dict[str, Range]:
    """The numbers and settings that the searches varied, with the range that they are measured in."""
    usual = {**record.regimes[evidence.regime], **evidence.question.change(level).setting}
    spans: dict[str, Range] = {}
    for name, (low, high) in sorted(record.nuisance.items()):
        having = [row.config for rows in by_task.values() for row in rows if _has(row.config, name)]
        if len({_number(config, name) for config in having}) < 2:
            continue  # stated by the level, or tried once: nothing was searched
        if name in SETTING_LIMITS:
            spans[name] = setting_range(name, low, high, int(str(usual[name])))
        else:
            span = open_ranges(having[0].levels)[name]
            spans[name] = span.narrowed(max(low, span.low), min(high, span.high))
    return spans


def _surface(
    record: StudyRecord, evidence: Evidence, rows: Sequence[Evaluation], spans: Mapping[str, Range]
) -> Surface:
    """The searched points of one task, all blocks together, each above the best of its own block."""
    task = rows[0].slot.task
    best: dict[int, float] = {}
    for row in rows:
        best[row.slot.block] = min(best.get(row.slot.block, np.inf), row.validation_metric)
    delta = margin_of(record, task, evidence.regime).delta
    regret = [(row.validation_metric - best[row.slot.block]) / delta for row in rows]
    lost = [row.status == "diverged" for row in rows]
    return Surface(
        family=record.facts[task].family,
        points={
            name: np.array([_place(span, _number(row.config, name)) for row in rows])
            for name, span in spans.items()
            if all(_has(row.config, name) for row in rows)
        },
        regret=np.where(lost, CLIP, np.minimum(regret, CLIP)),
    )


def _along(
    surfaces: Sequence[Surface],
    name: str,
    places: Array,
    base: Mapping[str, float],
    widths: Mapping[str, float],
) -> tuple[tuple[str, ...], Array]:
    """The families and their regret [F, C] along one number, the others at `base`."""
    others = {other: np.full(len(places), place) for other, place in base.items() if other != name}
    return profiles(surfaces, {**others, name: places}, widths)


def _left_out(along: Array) -> float | None:
    """Mean over families [F, C] of the regret of the value that the others choose, above the least there."""
    if len(along) < 2:
        return None
    picks = (along.sum(axis=0) - along).argmin(axis=1)
    return float((along[np.arange(len(along)), picks] - along.min(axis=1)).mean())


def _first(places: Sequence[Array]) -> Array:
    """The places tried on all tasks, the first points of every task first, at most MOST_CANDIDATES."""
    longest = max(map(len, places))
    padded = np.full((len(places), longest), np.nan)
    for row, tried in zip(padded, places, strict=True):
        row[: len(tried)] = tried
    mixed = padded.T.ravel()
    candidates: Array = mixed[~np.isnan(mixed)][:MOST_CANDIDATES]
    return candidates


def _place(span: Range, value: float) -> float:
    """Where a value lies, 0 to 1; a library default outside of the range counts as its nearest end."""
    return span.unit(min(max(value, span.low), span.high))


def _has(config: Config, name: str) -> bool:
    return name in config.numbers or name in SETTING_LIMITS


def _number(config: Config, name: str) -> float:
    return float(getattr(config.setting, name) if name in SETTING_LIMITS else config.numbers[name])


def _tunability(evidence: Evidence, level: str, tasks: set[str]) -> float:
    """Mean over the families of `tasks` of (untuned - tuned) / margin for `level`, on test data."""
    i = evidence.levels.index(level)
    gain = (evidence.untuned[:, :, i] - evidence.tuned[:, :, i]) / evidence.delta[:, None]
    per_task = np.clip(gain, -CLIP, CLIP).mean(axis=1)
    keep = np.array([task in tasks for task in evidence.tasks])
    _, family = np.unique(evidence.family[keep], return_inverse=True)
    return float(family_effects(per_task[keep][:, None, None], family).mean())
