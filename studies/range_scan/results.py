"""The findings of a range scan, put together from the ledger alone: no task is built, nothing trained."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from reports.evidence.budget import Margin
from reports.evidence.processors import mixture
from reports.evidence.range_edges import OUTER, Edge
from reports.evidence.range_scan_record import RangeScanRecord, SearchedRange, TaskSpread
from search_spaces.factor import Range
from search_spaces.overrides import Overrides
from studies.comparison.protocol import Chain
from studies.ledger.ledger import Ledger, StudyRow
from studies.ledger.protocol_hash import as_recorded, untouched
from studies.ledger.rows import still_abandoned
from studies.range_scan.protocol import RangeScanProtocol, is_scope, recorded_range_scan
from studies.range_scan.widening import proposals
from studies.range_scan.workload import range_scan_work
from studies.search.optuna_study import TrialResult, importances
from studies.search.space import Space
from trainers.evaluation import Evaluation

BEST_SHARE = 10
"""The best tenth of a level's points on a task are looked at, and at least one."""

Cells = Mapping[str, Mapping[str, Sequence[Evaluation]]]
"""Level -> task -> its points, the library default left out: it is no point of the design."""


def range_scan_record(ledger: Ledger, name: str) -> RangeScanRecord:
    """What a scope has found; of a scope that is not complete, what its complete searches say.

    Raises:
        ValueError: an unknown study, or one that is no scope.
    """
    row = ledger.study(name)
    untouched(name, row.protocol, row.protocol_hash, "protocol")
    with as_recorded(name):
        return _scoped(ledger, row)


def _scoped(ledger: Ledger, row: StudyRow) -> RangeScanRecord:
    name = row.name
    if not is_scope(row):
        raise ValueError(f"study '{name}' in {ledger.workspace} is no scope")
    protocol = recorded_range_scan(row)
    spec, points = protocol.study, protocol.study.effective_budget.trials
    margins = ledger.margins(name)
    everything = [
        e
        for regime in spec.regimes
        for task in spec.tasks
        for e in ledger.chain(name, "", task, regime, curves=False)
    ]
    searched: list[SearchedRange] = []
    scatter: list[TaskSpread] = []
    for question in spec.asked:
        for regime in question.regimes:
            cells: dict[str, dict[str, list[Evaluation]]] = {level: {} for level in question.levels}
            for task in protocol.fixed.candidates(question.factor):
                for e in ledger.chain(name, question.factor, task, regime, curves=False):
                    everything.append(e)
                    if e.slot.index:
                        cells[e.slot.level].setdefault(task, []).append(e)
            whole = {
                level: {task: rows for task, rows in by.items() if len(rows) == points}
                for level, by in cells.items()
            }
            for level, by_task in whole.items():
                searched += _level(protocol, question.factor, regime, level, by_task)
            spread = _scatter(question.factor, regime, whole, margins)
            scatter += [spread] if spread else []
    return RangeScanRecord(
        name=name,
        title=row.title,
        facts=protocol.fixed.facts,
        points=points,
        finished=len(ledger.filled(name)),
        planned=range_scan_work(protocol).total,
        margins=margins,
        searched=tuple(searched),
        proposals=proposals(spec, searched),
        scatter=tuple(scatter),
        versions=row.terms["versions"],
        hardware=row.terms["hardware"],
        mixture=mixture(everything),
        given_up=still_abandoned(ledger.attempts(name), ledger.filled(name)),
    )


def best(rows: Sequence[Evaluation]) -> list[Evaluation]:
    """The best tenth of a search by validation, of the points that finished."""
    ended = [e for e in rows if e.status == "finished"]
    ended.sort(key=lambda e: (e.validation_metric, e.validation_loss, e.slot.index))
    return ended[: max(1, len(rows) // BEST_SHARE)]


def _level(
    protocol: RangeScanProtocol,
    factor: str,
    regime: str,
    level: str,
    by_task: Mapping[str, Sequence[Evaluation]],
) -> list[SearchedRange]:
    """Every number of one level of one row, over the tasks."""
    spans: dict[str, list[Range]] = {}
    values: dict[str, list[float]] = {}
    places: dict[str, list[float]] = {}
    shares: dict[str, list[float]] = {}
    for task, rows in by_task.items():
        chain = Chain(factor=factor, task=task, regime=regime)
        ranges = protocol.fixed.searched(chain, level)
        space = _space(protocol, chain, level, ranges)
        for name, span in ranges.items():
            spans.setdefault(name, []).append(span)
            best_values = [float(space.point(e.config)[name]) for e in best(rows)]
            values.setdefault(name, []).extend(best_values)
            places.setdefault(name, []).extend(map(span.unit, best_values))
        for name, share in _importances(space, rows):
            shares.setdefault(name, []).append(share)
    return [
        SearchedRange(
            edge=Edge(
                factor=factor,
                regime=regime,
                level=level,
                number=name,
                low=sum(at < OUTER for at in places[name]),
                high=sum(at > 1 - OUTER for at in places[name]),
                winners=len(places[name]),
            ),
            low=min(span.low for span in spans[name]),
            high=max(span.high for span in spans[name]),
            best=(min(values[name]), statistics.median(values[name]), max(values[name])),
            importance=statistics.fmean(shares[name]) if name in shares else None,
        )
        for name in sorted(spans)
        if places[name]
    ]


def _space(protocol: RangeScanProtocol, chain: Chain, level: str, ranges: Mapping[str, Range]) -> Space:
    """The space of one search: its numbers, at one choice of everything else."""
    config = protocol.fixed.config(chain, level)
    return Space(
        choices={},
        numbers={name: (span.low, span.high) for name, span in ranges.items()},
        held=Overrides(levels=config.levels, setting=vars(config.setting)),
    )


def _importances(space: Space, rows: Sequence[Evaluation]) -> tuple[tuple[str, float], ...]:
    """Of one search; () where a number is searched alone, too few finished, or all came out alike."""
    trials = [
        TrialResult(point=space.point(e.config), metric=e.validation_metric)
        for e in rows
        if e.status == "finished"
    ]
    if len(space.numbers) < 2 or len({one.metric for one in trials}) < 2:
        return ()
    importance = importances(space, trials)
    return importance if all(math.isfinite(share) for _, share in importance) else ()


def _scatter(factor: str, regime: str, cells: Cells, margins: Sequence[Margin]) -> TaskSpread | None:
    """Over the tasks on which every level was searched; None where there is no such task yet."""
    deltas = {margin.task: margin.delta for margin in margins if margin.regime == regime}
    tasks = [task for task in deltas if all(task in by_task for by_task in cells.values())]
    if not tasks:
        return None
    metrics = {
        (level, task): [e.validation_metric / deltas[task] for e in cells[level][task]]
        for level in cells
        for task in tasks
    }
    least = {cell: min(errors) for cell, errors in metrics.items()}
    middle = {task: statistics.fmean(least[level, task] for level in cells) for task in tasks}
    variances = [
        statistics.variance([least[level, task] - middle[task] for task in tasks])
        for level in cells
        if len(tasks) > 1
    ]
    return TaskSpread(
        factor=factor,
        regime=regime,
        task_sd=math.sqrt(statistics.fmean(variances)) if variances else None,
        tasks=len(tasks),
        point_sd=statistics.fmean(
            statistics.stdev([e.validation_metric / deltas[task] for e in rows])
            for by_task in cells.values()
            for task, rows in by_task.items()
            if task in tasks and len(rows) > 1
        ),
    )
