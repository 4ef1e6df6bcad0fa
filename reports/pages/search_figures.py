"""Pictures of a search: what it tried, what mattered, where the good trials lie. Exploratory, all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from reports.evidence.search_record import Dimension, SearchRecord
from reports.pages.figures import (
    ACCENT,
    BAND,
    GRID,
    INK,
    MUTED,
    SERIES,
    FigurePanel,
    brief,
    panel,
    styled,
    svg,
)
from search_spaces.overrides import Value, spelled
from trainers.evaluation import Evaluation

BEST_SHARE = 0.1
"""The trials drawn as good: the best tenth of those that finished."""
MOST_AXES = 10
"""Of a parallel-coordinates plot; the most important parameters are shown."""
SMALLEST = 1e-6
"""Errors below are drawn as if they were this: the logarithm has no zero."""
MOST_LABELS = 9
"""Of a choice's values on one axis."""


def error_curve(record: SearchRecord, best: Evaluation) -> FigurePanel:
    """The validation error of one trial while it trained."""
    steps = [look.step for look in best.curve]
    errors = [look.validation_metric for look in best.curve]
    with styled():
        figure, axes = panel(height=2.6, left=0.66, bottom=0.55)
        axes.plot(steps, errors, "o-", lw=1.6, ms=4, mew=0, color=SERIES[0], clip_on=False)
        axes.plot([best.best_step], [best.validation_metric], "o", ms=9, mfc="none", color=ACCENT)
        axes.set_xlim(0, max([*steps, 1]))
        axes.set_ylim(0, max([*errors, 1e-9]) * 1.05)
        axes.set_xlabel("step")
        axes.set_ylabel(_error(record))
        axes.grid(axis="y", color=GRID, lw=0.6)
        return FigurePanel(
            name="best-curve",
            title=f"Trial {best.slot.index} while it trained",
            description=f"Validation error at {len(steps)} looks; least at step {best.best_step}.",
            svg=svg(figure, "best-curve"),
            columns=("step", "validation_metric", "validation_loss", "train_loss", "learning_rate"),
            rows=tuple(
                (p.step, p.validation_metric, p.validation_loss, p.train_loss, p.learning_rate)
                for p in best.curve
            ),
        )


def history(record: SearchRecord) -> FigurePanel:
    """Every trial's validation error in the order of proposal, and the best finished one so far."""
    low, high = ends(record)
    rows, best, line = [], math.inf, []
    for row in record.evaluations:
        if row.status == "finished":
            best = min(best, row.validation_metric)
        line.append(best)
        shown = "" if math.isinf(best) else best
        rows.append((row.slot.index, row.status, ended_at(row), shown, row.steps))
    with styled():
        figure, axes = panel(height=2.6, left=0.66, bottom=0.55)
        for status, look in _LOOKS.items():
            numbers = [row.slot.index for row in record.evaluations if row.status == status]
            heights = [max(ended_at(row), low) for row in record.evaluations if row.status == status]
            axes.plot(numbers, heights, ls="", clip_on=False, **look)  # type: ignore[arg-type]
        numbers = [row.slot.index for row in record.evaluations]
        axes.step(numbers, [max(value, low) for value in line], where="post", lw=1.6, color=INK)
        axes.set_xlim(-0.5, max(record.planned - 0.5, 0.5))
        axes.set_yscale("log")
        axes.minorticks_off()
        axes.set_yticks(*_ticks(low, high))
        axes.set_ylim(low, high)
        axes.set_xlabel("trial")
        axes.locator_params(axis="x", integer=True)
        axes.set_ylabel(_error(record))
        axes.grid(axis="y", color=GRID, lw=0.6)
        return FigurePanel(
            name="history",
            title="Every trial, and the best so far",
            description=f"Validation error of {len(rows)} trials in the order asked.",
            svg=svg(figure, "history"),
            columns=("trial", "status", "validation_metric", "best_so_far", "steps"),
            rows=tuple(rows),
        )


def importance(record: SearchRecord) -> FigurePanel | None:
    """How much each parameter has to do with being among the best tenth; None with too few trials."""
    if not record.importances:
        return None
    names = [name for name, _ in record.importances]
    shares = [share for _, share in record.importances]
    with styled():
        figure, axes = panel(height=0.75 + 0.26 * len(names), left=1.9, bottom=0.55)
        axes.barh(range(len(names)), shares, height=0.62, color=SERIES[0])
        axes.set_yticks(range(len(names)), [brief(name, 24) for name in names])
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(0, max([*shares, 1e-9]) * 1.05)
        axes.set_xlabel("share of importance (PED-ANOVA)")
        axes.spines["left"].set_visible(False)
        text = ", ".join(f"{name} {share:.0%}" for name, share in record.importances)
        return FigurePanel(
            name="importance",
            title="What the best tenth has in common",
            description=f"Importance by PED-ANOVA: {text}.",
            svg=svg(figure, "importance"),
            columns=("parameter", "share"),
            rows=tuple(record.importances),
        )


def parallel(record: SearchRecord) -> FigurePanel | None:
    """Each finished trial as a line through its values; the best tenth in front."""
    shown = _most_important(record)
    trials = [
        (row, point)
        for row, point in zip(record.evaluations, record.points, strict=True)
        if row.status == "finished"
    ]
    if not trials:
        return None
    good = best_tenth(record)
    errors = [row.validation_metric for row, _ in trials]
    low = max(min(errors), SMALLEST)
    high = max(*errors, 1.01 * low)
    places = range(len(shown) + 1)
    with styled():
        figure, axes = panel(height=3.4, left=0.75, bottom=0.75, width=9.6, top=0.25, right=0.75)
        axes.axhspan(-0.16, -0.08, color=BAND, lw=0)
        # The good ones last, so that they lie on top.
        for row, point in sorted(trials, key=lambda trial: trial[0].slot.index in good):
            error = math.log(max(row.validation_metric, low) / low) / math.log(high / low)
            line = [_height(d, point) + _apart(d, row.slot.index) for d in shown]
            front = row.slot.index in good
            look = {"color": SERIES[1], "lw": 1.5} if front else {"color": MUTED, "lw": 0.7, "alpha": 0.4}
            axes.plot(places, [*line, error], clip_on=False, **look)  # type: ignore[arg-type]
        for place, dimension in enumerate(shown):
            axes.axvline(place, ymin=0, color=INK, lw=0.8)
            for height, text in _labels(dimension):
                axes.text(place + 0.03, height, brief(text, 14), fontsize=8.5, color=INK, va="center")
        axes.axvline(len(shown), color=INK, lw=0.8)
        for height, value in ((0.0, min(errors)), (1.0, max(errors))):
            axes.text(len(shown) + 0.03, height, f"{value:.3g}", fontsize=8.5, color=INK, va="center")
        names = [*(brief(d.name.replace("_", " "), 22) for d in shown), "error"]
        axes.set_xticks(places, [_broken(name) for name in names])
        axes.set_yticks([-0.12], ["closed"])
        axes.tick_params(length=0)
        axes.set_xlim(0, len(shown) + 0.001)
        axes.set_ylim(-0.2, 1.04)
        for side in axes.spines.values():
            side.set_visible(False)
        rows = [
            (row.slot.index, *(_cell(point.get(d.name)) for d in shown), row.validation_metric)
            for row, point in trials
        ]
        return FigurePanel(
            name="parallel",
            title="Finished trials as lines through their values",
            description=f"{len(trials)} finished trials in parallel coordinates of {len(shown)} parameters.",
            svg=svg(figure, "parallel"),
            columns=("trial", *(d.name for d in shown), "validation_metric"),
            rows=tuple(rows),
        )


def slices(record: SearchRecord) -> tuple[FigurePanel, ...]:
    """One picture for each parameter: the error of every trial against its value."""
    return tuple(
        _slice(record, dimension, f"slice-{number}") for number, dimension in enumerate(record.space, 1)
    )


def _slice(record: SearchRecord, dimension: Dimension, name: str) -> FigurePanel:
    (low, high), good = ends(record), best_tenth(record)
    trials = [
        (row, point[dimension.name])
        for row, point in zip(record.evaluations, record.points, strict=True)
        if dimension.name in point
    ]
    with styled():
        figure, axes = panel(height=2.6, left=0.66, bottom=0.55)
        for status, look in _LOOKS.items():
            for front in (False, True):
                some = [
                    (row, value)
                    for row, value in trials
                    if row.status == status and (row.slot.index in good) == front
                ]
                places = [_along(dimension, value, row.slot.index) for row, value in some]
                heights = [max(ended_at(row), low) for row, _ in some]
                shown = {**look, "color": SERIES[1], "alpha": 0.95} if front else look
                axes.plot(places, heights, ls="", clip_on=False, **shown)  # type: ignore[arg-type]
        if dimension.values:
            axes.set_xlim(-0.5, len(dimension.values) - 0.5)
            turned = len(dimension.values) > 4
            most = 6 if turned else 12
            texts = [brief(spelled(value), most) for value in dimension.values]
            axes.set_xticks(range(len(texts)), texts, rotation=35 if turned else 0)
        else:
            if dimension.log:
                axes.set_xscale("log")
                axes.set_xticks(*_ticks(dimension.low, dimension.high))
            axes.set_xlim(dimension.low, dimension.high)
        axes.set_yscale("log")
        axes.minorticks_off()
        axes.set_yticks(*_ticks(low, high))
        axes.set_ylim(low, high)
        axes.set_ylabel(_error(record))
        axes.grid(axis="y", color=GRID, lw=0.6)
        return FigurePanel(
            name=name,
            title=brief(dimension.name, 40),
            description=f"Validation error of {len(trials)} trials against {dimension.name}.",
            svg=svg(figure, name),
            columns=("trial", "status", dimension.name, "validation_metric"),
            rows=tuple((row.slot.index, row.status, _cell(value), ended_at(row)) for row, value in trials),
        )


def best_tenth(record: SearchRecord) -> frozenset[int]:
    """The numbers of the best tenth of the finished trials, at least one where there is one."""
    ranked = sorted(record.finished, key=lambda row: (row.validation_metric, row.validation_loss))
    most = max(1, round(len(ranked) * BEST_SHARE))
    return frozenset(row.slot.index for row in ranked[:most])


def ended_at(row: Evaluation) -> float:
    """The error that a trial is known by: its best; where it was stopped, its last."""
    return row.curve[-1].validation_metric if row.status == "pruned" else row.validation_metric


def ends(record: SearchRecord) -> tuple[float, float]:
    """The least and the largest error of an axis in the logarithm; smaller ones lie on its lower edge."""
    errors = [error for row in record.evaluations if (error := ended_at(row)) >= SMALLEST]
    return (0.85 * min(errors), 1.15 * max(errors)) if errors else (SMALLEST, 1.0)


_LOOKS: dict[str, dict[str, object]] = {
    "finished": {"marker": "o", "ms": 4.0, "mew": 0.0, "color": SERIES[0], "alpha": 0.6},
    "pruned": {"marker": "o", "ms": 2.6, "mew": 0.0, "color": MUTED, "alpha": 0.6},
    "diverged": {"marker": "x", "ms": 5.0, "mew": 1.2, "color": ACCENT},
}


def _along(dimension: Dimension, value: Value, number: int) -> float:
    """A value's place on a slice; trials of one choice are spread, each always to the same place."""
    if dimension.values:
        return dimension.values.index(value) + 0.5 * (_spread(number) - 0.5)
    return float(value)


def _height(dimension: Dimension, point: object) -> float:
    """Where a trial crosses an axis; below it where the parameter is closed."""
    assert isinstance(point, dict)
    return dimension.unit(point[dimension.name]) if dimension.name in point else -0.12


def _apart(dimension: Dimension, number: int) -> float:
    """A small step aside, so that lines through one value do not hide each other."""
    return 0.5 / len(dimension.values) * (_spread(number) - 0.5) if dimension.values else 0.0


def _spread(number: int) -> float:
    """A fixed place in [0, 1) for each trial, neighbours far apart (the golden ratio's multiples)."""
    return (number * 0.6180339887498949) % 1.0


def _ticks(low: float, high: float) -> tuple[list[float], list[str]]:
    """Round values of an axis in the logarithm, and their texts: decades, or 1, 2 and 5 in a short one."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1,) if len(decades) > 4 else (1, 2, 5)
    ticks = [step * 10.0**power for power in decades for step in steps]
    inside = [value for value in ticks if low * 0.999 <= value <= high * 1.001]
    shown = inside[:: -(-len(inside) // 7) or 1]
    return shown, [f"{value:g}" for value in shown]


def _labels(dimension: Dimension) -> list[tuple[float, str]]:
    if not dimension.values:
        return [(0.0, f"{dimension.low:g}"), (1.0, f"{dimension.high:g}")]
    if len(dimension.values) > MOST_LABELS:
        return []
    return [(dimension.unit(value), spelled(value)) for value in dimension.values]


def _most_important(record: SearchRecord) -> Sequence[Dimension]:
    """In the order of the study file, at most MOST_AXES of them."""
    rank = {name: place for place, (name, _) in enumerate(record.importances)}
    chosen = sorted(record.space, key=lambda d: rank.get(d.name, len(rank)))[:MOST_AXES]
    return [dimension for dimension in record.space if dimension in chosen]


def _broken(name: str) -> str:
    """A long name on two lines."""
    words = name.replace(".", ". ").split()
    half = (len(words) + 1) // 2
    return "\n".join(filter(None, (" ".join(words[:half]), " ".join(words[half:]))))


def _cell(value: Value | None) -> str | float | int:
    return "" if value is None else spelled(value) if isinstance(value, bool) else value


def _error(record: SearchRecord) -> str:
    return f"validation {record.facts.metric.replace('_', ' ')}"
