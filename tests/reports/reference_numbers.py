"""The numbers a user types in, a second time: point by point, straight from what the page says they are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reports.evidence.study_record import StudyRecord
from tests.reports.reference_row import Table, table_of
from trainers.evaluation import Evaluation

RANGES = {
    ("adamw", "learning_rate"): (1e-5, 0.1, 1e-3),
    ("adamw", "weight_decay"): (1e-6, 1.0, 1e-2),
    ("nesterov", "learning_rate"): (1e-4, 1.0, 1e-3),
}
"""Of the catalogue: low, high and default, all searched by their ratio."""

WIDTHS = (math.inf, 0.4, 0.2, 0.1, 0.05)
Places = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Expected:
    """As `reports.verdicts.hyperparameter_values.TunedNumber`."""

    name: str
    optimizer: str
    value: float
    low: float
    high: float
    cells: int
    families: int
    tunability: float
    loss_if_untuned: float
    left_out: float | None


@dataclass(frozen=True, kw_only=True)
class Searched:
    """The search points of one task."""

    family: str
    points: Sequence[Places]
    """Number -> place in its range, 0 to 1."""
    regrets: Sequence[float]


def numbers_of(record: StudyRecord, regime: str, level: str) -> list[Expected]:
    """By optimizer, then by name."""
    table = table_of(record, regime)
    rows = [
        row
        for row in record.evaluations
        if row.slot.regime == regime and row.slot.level == level and row.slot.task in table.tasks
    ]
    found = []
    for optimizer in sorted({row.config.levels["optimizer"] for row in rows if row.slot.factor}):
        own = [row for row in rows if row.slot.factor and row.config.levels["optimizer"] == optimizer]
        found += _of_optimizer(record, table, regime, level, optimizer, own)
    return found


def _of_optimizer(
    record: StudyRecord, table: Table, regime: str, level: str, optimizer: str, rows: Sequence[Evaluation]
) -> list[Expected]:
    names = sorted(name for owner, name in RANGES if owner == optimizer)
    tasks = [task for task in table.tasks if any(row.slot.task == task for row in rows)]
    searched = [_searched(record, regime, optimizer, names, task, rows) for task in tasks]
    widths = _widths(searched, names)
    families = list(dict.fromkeys(one.family for one in searched))

    def regret(family: str, at: Places) -> float:
        each = [_smoothed(one, at, widths) for one in searched if one.family == family]
        return sum(each) / len(each)

    tried = [point for one in searched for point in one.points]
    best = min(tried, key=lambda point: sum(regret(family, point) for family in families))
    found = []
    for name in names:

        def along(family: str, place: float, name: str = name) -> float:
            return regret(family, {**best, name: place})

        places = sorted({point[name] for point in tried})
        curves = {family: [along(family, place) for place in places] for family in families}
        default = _place(record, optimizer, name, RANGES[optimizer, name][2])
        untuned = {family: along(family, default) for family in families}
        losses = [untuned[family] - min(*curves[family], untuned[family]) for family in families]
        chosen = sorted(
            _place(record, optimizer, name, row.config.numbers[name])
            for row in rows
            if (row.slot.phase, row.arm, row.slot.index) == ("confirm", "tuned", 0)
        )
        value = _value(record, optimizer, name, best[name])
        low, high = (_value(record, optimizer, name, float(np.quantile(chosen, q))) for q in (0.25, 0.75))
        found.append(
            Expected(
                name=name,
                optimizer=optimizer,
                value=value,
                low=min(low, value),
                high=max(high, value),
                cells=len(chosen),
                families=len(families),
                tunability=_tunability(table, level, tasks),
                loss_if_untuned=sum(losses) / len(losses),
                left_out=_left_out(curves),
            )
        )
    return found


def _searched(
    record: StudyRecord,
    regime: str,
    optimizer: str,
    names: Sequence[str],
    task: str,
    rows: Sequence[Evaluation],
) -> Searched:
    (delta,) = (margin.delta for margin in record.margins if (margin.task, margin.regime) == (task, regime))
    own = [row for row in rows if (row.slot.phase, row.slot.task) == ("retune", task)]
    regrets = []
    for row in own:
        best = min(other.validation_metric for other in own if other.slot.block == row.slot.block)
        lost = row.status == "diverged"
        regrets.append(4.0 if lost else min(4.0, (row.validation_metric - best) / delta))
    return Searched(
        family=record.facts[task].family,
        points=[
            {name: _place(record, optimizer, name, row.config.numbers[name]) for name in names} for row in own
        ],
        regrets=regrets,
    )


def _limits(record: StudyRecord, optimizer: str, name: str) -> tuple[float, float]:
    low, high, _ = RANGES[optimizer, name]
    least, most = record.nuisance[name]
    return max(low, least), min(high, most)


def _place(record: StudyRecord, optimizer: str, name: str, value: float) -> float:
    low, high = _limits(record, optimizer, name)
    return math.log(min(max(value, low), high) / low) / math.log(high / low)


def _value(record: StudyRecord, optimizer: str, name: str, place: float) -> float:
    low, high = _limits(record, optimizer, name)
    return float(low * (high / low) ** place)


def _weight(a: Places, b: Places, widths: Mapping[str, float]) -> float:
    return -0.5 * sum(((a[name] - b[name]) / width) ** 2 for name, width in widths.items() if name in a)


def _smoothed(one: Searched, at: Places, widths: Mapping[str, float], without: int = -1) -> float:
    """Nadaraya and Watson's estimate."""
    logs = [
        (_weight(at, point, widths), regret)
        for k, (point, regret) in enumerate(zip(one.points, one.regrets, strict=True))
        if k != without
    ]
    most = max(log for log, _ in logs)
    return sum(math.exp(log - most) * regret for log, regret in logs) / sum(
        math.exp(log - most) for log, _ in logs
    )


def _widths(searched: Sequence[Searched], names: Sequence[str]) -> dict[str, float]:
    """The widths at which a point is foretold best by the others of its task, chosen in turn, twice."""
    found = dict.fromkeys(names, 0.2)
    for _ in range(2):
        for name in names:
            misses = {width: _miss(searched, {**found, name: width}) for width in WIDTHS}
            found[name] = min(WIDTHS, key=lambda width: misses[width])
    return found


def _miss(searched: Sequence[Searched], widths: Mapping[str, float]) -> float:
    each = [
        np.mean(
            [
                (_smoothed(one, point, widths, without=k) - one.regrets[k]) ** 2
                for k, point in enumerate(one.points)
            ]
        )
        for one in searched
    ]
    return float(np.mean(each))


def _tunability(table: Table, level: str, tasks: Sequence[str]) -> float:
    by_family: dict[int, list[float]] = {}
    for task in tasks:
        t, i = table.tasks.index(task), table.levels.index(level)
        gains = (table.untuned[t, :, i] - table.errors[t, :, i]) / table.delta[t]
        by_family.setdefault(table.family[t], []).append(float(np.clip(gains, -4, 4).mean()))
    return float(np.mean([np.mean(gains) for gains in by_family.values()]))


def _left_out(curves: Mapping[str, Sequence[float]]) -> float | None:
    if len(curves) < 2:
        return None
    losses = []
    for family, own in curves.items():
        others = [sum(curves[name][k] for name in curves if name != family) for k in range(len(own))]
        losses.append(own[others.index(min(others))] - min(own))
    return sum(losses) / len(losses)
