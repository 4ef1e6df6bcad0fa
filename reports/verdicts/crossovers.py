"""At which depth the better of two levels changes, for every question with regimes of several depths."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reports.evidence.arrays import Evidence
from reports.evidence.study_record import StudyRecord
from reports.statistics.compare import Array, bounded, over_families
from reports.verdicts.regime_interaction import Crossover, contrast, crossover, paired_effects
from reports.verdicts.sentences import listed, signed


@dataclass(frozen=True, kw_only=True, eq=False)
class Crossing:
    """One pair of levels over depth; an effect says how much worse `level` is than `against`, in margins."""

    factor: str
    level: str
    """The cheapest of the question,"""
    against: str
    """and one of its rivals."""
    where: str
    """What else these regimes have in common with no other regime, in words; '' for nothing."""
    depths: tuple[int, ...]
    families: tuple[str, ...]
    units: Array
    """[F, D] effects."""
    mean: Array
    """[D], with the ends of its 95 % t-interval over families:"""
    low: Array
    high: Array
    crossover: Crossover
    sentences: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class NoCrossover:
    """A question at several depths for which no crossover can be estimated."""

    factor: str
    reason: str


@dataclass(frozen=True, kw_only=True, eq=False)
class EffectMap:
    """The effect of one pair over depth and training items."""

    factor: str
    level: str
    against: str
    depths: tuple[int, ...]
    sizes: tuple[int, ...]
    mean: Array
    """[D, N] margins; NaN where the study has no such regime."""


def crossings(record: StudyRecord, rows: Sequence[Evidence]) -> tuple[Crossing | NoCrossover, ...]:
    """Every pair with the cheapest level, for each question whose regimes differ in depth.

    Regimes that agree in all other settings are compared. Where none do, each depth's first regime is taken,
    and what else differs is said.
    """
    results: list[Crossing | NoCrossover] = []
    for factor in dict.fromkeys(row.question.factor for row in rows):
        of_factor = [row for row in rows if row.question.factor == factor]
        if factor == "depth" or len({_depth(record, row) for row in of_factor}) < 2:
            continue
        for where, caveat, group in _groups(record, of_factor):
            for against in group[0].levels[1:]:
                results.append(_crossing(record, group, group[0].levels[0], against, where, caveat))
    return tuple(results)


def effect_maps(record: StudyRecord, rows: Sequence[Evidence]) -> tuple[EffectMap, ...]:
    """Depth by training items, for each question whose regimes vary both."""
    maps = []
    for factor in dict.fromkeys(row.question.factor for row in rows):
        of_factor = [row for row in rows if row.question.factor == factor]
        places = {(_depth(record, row), _size(record, row)): row for row in of_factor}
        depths, sizes = (tuple(sorted({place[k] for place in places})) for k in (0, 1))
        if len(depths) < 2 or len(sizes) < 2:
            continue
        for against in of_factor[0].levels[1:]:
            mean = np.full((len(depths), len(sizes)), np.nan)
            for (depth, size), row in places.items():
                if against in row.levels and len(row.families) > 1:
                    _, units = paired_effects([row], row.levels[0], against)
                    mean[depths.index(depth), sizes.index(size)] = units.mean()
            maps.append(
                EffectMap(
                    factor=factor,
                    level=of_factor[0].levels[0],
                    against=against,
                    depths=depths,
                    sizes=sizes,
                    mean=mean,
                )
            )
    return tuple(maps)


def _depth(record: StudyRecord, row: Evidence) -> int:
    return int(str(record.regimes[row.regime].get("depth", 0)))


def _size(record: StudyRecord, row: Evidence) -> int:
    return int(str(record.regimes[row.regime].get("train_size", 0)))


def _groups(record: StudyRecord, rows: Sequence[Evidence]) -> list[tuple[str, str, list[Evidence]]]:
    """(what tells the group from the others, caveat, its rows by depth), each with two depths or more."""
    kin: dict[tuple[tuple[str, str], ...], dict[int, Evidence]] = {}
    for row in rows:
        others = tuple(sorted((k, str(v)) for k, v in record.regimes[row.regime].items() if k != "depth"))
        kin.setdefault(others, {}).setdefault(_depth(record, row), row)
    shared = set.intersection(*(set(others) for others in kin))
    groups = [
        (_words([part for part in others if part not in shared]), "", [by[depth] for depth in sorted(by)])
        for others, by in kin.items()
        if len(by) > 1
    ]
    if groups:
        return groups
    first: dict[int, Evidence] = {}
    for row in rows:
        first.setdefault(_depth(record, row), row)
    differing = sorted({name for others in kin for name, _ in set(others) - shared})
    caveat = f"Caveat: these regimes also differ in {listed([name.replace('_', ' ') for name in differing])}."
    return [("", caveat, [first[depth] for depth in sorted(first)])]


def _words(parts: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in parts)


def _crossing(
    record: StudyRecord, rows: Sequence[Evidence], level: str, against: str, where: str, caveat: str
) -> Crossing | NoCrossover:
    factor = rows[0].question.factor
    try:
        families, units = paired_effects(rows, level, against)
    except ValueError as why:
        return NoCrossover(factor=factor, reason=str(why))
    if not np.isfinite(units).all():
        reason = f"{level} against {against}: one of them left the race before all depths were judged"
        return NoCrossover(factor=factor, reason=reason)
    depths = tuple(_depth(record, row) for row in rows)
    mean, error, freedom = over_families(units[:, None, :])
    interval = bounded(mean, error, freedom, level=0.025)
    crossing = crossover(units, depths)
    looks = max(1, len(record.budget.looks))
    change = contrast(units[:, -1], units[:, 0], alpha=rows[0].question.alpha, looks=looks)
    return Crossing(
        factor=factor,
        level=level,
        against=against,
        where=where,
        depths=depths,
        families=families,
        units=units,
        mean=mean[0],
        low=interval.lower[0],
        high=interval.upper[0],
        crossover=crossing,
        sentences=(
            (f"With {where}: " if where else "") + crossed(crossing, mean[0], depths, level, against),
            *_single(depths, interval.lower[0], interval.upper[0], level, against),
            f"From {depths[0]} to {depths[-1]} hidden layers the effect changes by "
            f"{signed(float(change.mean))} margins (one-sided bounds {signed(float(change.lower))} and "
            f"{signed(float(change.upper))}): depth "
            + (
                "matters to this choice."
                if change.lower > 0 or change.upper < 0
                else "is not proved to matter."
            ),
            *((caveat,) if caveat else ()),
        ),
    )


def _single(depths: Sequence[int], low: Array, high: Array, level: str, against: str) -> list[str]:
    """At which depths by themselves one of the two is better: their 95 % intervals leave 0 out."""
    parts = []
    for better, proved in ((against, low > 0), (level, high < 0)):
        if at := [str(depth) for depth, is_so in zip(depths, proved, strict=True) if is_so]:
            parts.append(f"{better} has the smaller error at {listed(at)}")
    return [f"By themselves (95 % each): {'; '.join(parts)} hidden layers."] if parts else []


def crossed(crossing: Crossover, mean: Array, depths: Sequence[int], level: str, against: str) -> str:
    """From which depth on `against` is better than `level`, or why that cannot be said."""
    first, last = depths[0], depths[-1]
    low, high, depth = float(crossing.low), float(crossing.high), float(crossing.depth)
    if math.isnan(depth):
        better = against if mean.mean() > 0 else level
        text = f"{better} has the smaller mean error at every measured depth, {first} to {last} hidden layers"
        if math.isnan(low):
            return f"No crossover: {text}, proved at each."
        return f"No crossover was seen: {text}, not proved from {low:.0f} to {high:.0f}."
    if low <= first and high >= last:
        return (
            f"From which depth on {against if mean[-1] > 0 else level} is better cannot be said: the mean "
            f"changes sign near {depth:.0f} hidden layers, but the interval covers all depths measured, "
            f"{first} to {last}."
        )
    later, sooner = (against, level) if mean[-1] > 0 else (level, against)
    ends = f"[{'≤ ' if low <= first else ''}{low:.0f}, {'≥ ' if high >= last else ''}{high:.0f}]"
    if len(depths) == 2:
        return (
            f"Between {first} and {last} hidden layers the better one changes: {sooner} has the smaller mean "
            f"error at {first}, {later} at {last}. From which depth on cannot be said from two depths; a "
            f"straight line over log depth would put it at {depth:.0f} {ends}."
        )
    text = f"From depth {depth:.0f} {ends} on, {later} has the smaller error; below, {sooner} has."
    matters = float(crossing.matters_from)
    if later == against and not math.isnan(matters):
        text += f" From depth {matters:.0f} on it is proved to be worth more than a margin."
    return text
