"""Pictures of one study as inline SVG: equal input gives equal bytes, and the page's colours apply.

Drawn narrow (about 350 px), so that a phone shows one panel at full size and a desk several side by side.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from reports.evidence.arrays import Evidence
from reports.evidence.tuning_curves import REGRET_SHOWN, Search, Trial, best_so_far
from reports.statistics.compare import CLIP, block_effects, family_effects
from reports.verdicts.model import Effect
from reports.verdicts.robustness import Robustness

NARROW = 0.2
"""Margins below which a diamond would be a line (0, where every family is at the clip): a mark instead."""

WIDTH = 4.8
"""Inches, at 72 units each in the SVG."""

INK, MUTED, BAND, GRID, ACCENT = "#a1f001", "#a1f002", "#a1f003", "#a1f004", "#a1f005"
SERIES = tuple(f"#a1f0{number:02d}" for number in range(10, 18))
MARKERS = "osD^vP*X"
"""Levels differ in marker as well as in colour."""

_COLOURS = {INK: "--ink", MUTED: "--muted", BAND: "--band", GRID: "--line", ACCENT: "--accent"} | {
    colour: f"--s{number}" for number, colour in enumerate(SERIES)
}
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "groundrules",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 10.0,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
}


@dataclass(frozen=True, kw_only=True)
class FigurePanel:
    """One panel and the numbers in it."""

    name: str
    """Unique on the page; names the data file."""
    title: str
    description: str
    """For readers who do not see it."""
    svg: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | float | int, ...], ...]


def forest(name: str, evidence: Evidence, effect: Effect, checks: Robustness | None = None) -> FigurePanel:
    """How much worse `effect.level` is than `effect.against`, by family, with the pooled diamond.

    Small dots are blocks, large ones family means, the band is one margin either way, the diamond the mean
    with its 95 % interval, the thin line below it the 95 % interval for a new family (where `checks` is the
    row's headline).
    """
    evidence = evidence.of(effect.level, effect.against)
    i, j = evidence.levels.index(effect.level), evidence.levels.index(effect.against)
    blocks = block_effects(evidence.tuned, evidence.delta)
    units = family_effects(blocks.mean(axis=1), evidence.family)[:, i, j]
    count = len(units)
    with styled():
        figure, axes = panel(height=1.0 + 0.22 * (count + 1), left=1.66, bottom=0.78)
        axes.axvspan(-1, 1, color=BAND, lw=0)
        axes.axvline(0, color=MUTED, lw=0.8)
        for f in range(count):
            dots = blocks[evidence.family == f, :, i, j].ravel()
            axes.plot(dots, np.full(len(dots), f), "o", ms=2.6, color=MUTED, mew=0, alpha=0.75, clip_on=False)
            axes.plot(units[f], f, "o", ms=6, color=SERIES[0], mew=0, clip_on=False)
        low, high = effect.interval
        if np.isfinite([low, high]).all() and high - low > NARROW:
            x, up, down = effect.margins, count - 0.32, count + 0.32
            corners = np.clip([(low, count), (x, up), (high, count), (x, down)], [-5, -1], [5, count + 1])
            axes.add_patch(Polygon(corners, closed=True, color=ACCENT, lw=0))
        else:
            axes.plot(effect.margins, count, "D", ms=6, color=ACCENT, mew=0, clip_on=False)
        if checks is not None and checks.prediction is not None:
            axes.plot(np.clip(checks.prediction, -5, 5), [count + 0.55] * 2, "-", lw=1.2, color=ACCENT)
        axes.set_ylim(count + 0.9, -0.7)
        axes.set_yticks(range(count + 1), [*map(brief, evidence.families), "mean"])
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(-CLIP - 0.3, CLIP + 0.3)
        axes.set_xticks([-4, -2, -1, 0, 1, 2, 4], ["≤−4", "−2", "−1", "0", "1", "2", "≥4"])
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("difference in test error, margins")
        _under(axes, f"← {brief(effect.level, 14)} better", f"{brief(effect.against, 14)} better →")
        rows = [
            (task, evidence.families[evidence.family[t]], r, float(blocks[t, r, i, j]))
            for t, task in enumerate(evidence.tasks)
            for r in range(blocks.shape[1])
        ]
        return FigurePanel(
            name=name,
            title=f"{effect.level} against {effect.against}",
            description=f"{effect.level} is worse than {effect.against} by {effect.margins:+.2f} margins, "
            f"95 % interval {low:+.2f} to {high:+.2f}, over {count} task families.",
            svg=svg(figure, name),
            columns=("task", "family", "block", "effect_in_margins"),
            rows=tuple(rows),
        )


def tuning_curves(name: str, search: Search) -> FigurePanel | None:
    """Median regret of the best of the first k designed points, by level; the library default at k = 0."""
    drawn = {level: trials for level, trials in search.trials.items() if trials}
    if not drawn:
        return None
    rows: list[tuple[str | float | int, ...]] = []
    coverage = 1.0
    with styled():
        figure, axes = panel(height=2.6, left=0.66, bottom=0.55)
        most, top = 1, 1.0
        for number, (level, trials) in enumerate(drawn.items()):
            curve = best_so_far(trials, search.families)
            k = np.arange(len(curve.median))
            coverage = min(coverage, curve.coverage)
            most, top = max(most, int(k[-1])), max(top, float(np.nanmax([curve.median, curve.high])))
            series = {"color": SERIES[number % 8], "marker": MARKERS[number % 8], "mew": 0.0, "ms": 5.0}
            if curve.coverage:
                bar = [curve.low[0], curve.high[0]]
                axes.fill_between(
                    k[1:], curve.low[1:], curve.high[1:], color=SERIES[number % 8], alpha=0.13, lw=0
                )
                shift = 0.12 * (number - (len(drawn) - 1) / 2)
                axes.plot([shift, shift], bar, "-", lw=3, color=SERIES[number % 8], alpha=0.3)
            axes.plot([0], curve.median[:1], ls="", clip_on=False, **series)  # type: ignore[arg-type]
            axes.plot(k[1:], curve.median[1:], lw=1.6, clip_on=False, **series)  # type: ignore[arg-type]
            rows += [
                (level, int(at), *(float(part[at]) if np.isfinite(part[at]) else "" for part in parts))
                for parts in [(curve.median, curve.low, curve.high, curve.mean)]
                for at in k
            ]
        axes.set_xlim(-0.5, most + 0.3)
        axes.set_ylim(0, top * 1.05)
        step = max(1, most // 8)
        ticks = [0, *range(1, most + 1, step)]
        axes.set_xticks(ticks, ["lib.", *map(str, ticks[1:])])
        axes.set_xlabel("designed points tried (lib. = library default)")
        axes.set_ylabel("validation regret, margins")
        axes.grid(axis="y", color=GRID, lw=0.6)
        band = f"; bands hold the median of families with a chance of {coverage:.1%}" if coverage else ""
        return FigurePanel(
            name=name,
            title=f"{search.regime}: best so far",
            description=f"Median validation regret after 1 to {most} trials of {', '.join(drawn)}{band}.",
            svg=svg(figure, name),
            columns=("level", "designed_points", "median_regret_in_margins", "low", "high", "mean"),
            rows=tuple(rows),
        )


def rate_sensitivity(name: str, search: Search, level: str) -> FigurePanel | None:
    """Regret against learning rate for every search point of one level; crosses diverged."""
    trials = [t for t in search.trials[level] if t.learning_rate is not None and t.learning_rate > 0]
    everyone = [t.learning_rate for by in search.trials.values() for t in by if t.learning_rate]
    if len({t.learning_rate for t in trials}) < 3:
        return None
    number = list(search.trials).index(level) % 8
    ran = [t for t in trials if not t.diverged]
    with styled():
        figure, axes = panel(height=2.6, left=0.66, bottom=0.55)
        for chosen, look in (
            ([t for t in ran if t.index > 0], {"marker": "o", "ms": 3.4, "mew": 0.0}),
            ([t for t in ran if t.index == 0], {"marker": "D", "ms": 4.2, "mfc": "none"}),
            ([t for t in trials if t.diverged], {"marker": "x", "ms": 5.0, "mew": 1.2}),
        ):
            colour = ACCENT if look["marker"] == "x" else SERIES[number]
            heights = [REGRET_SHOWN if t.diverged else min(t.regret, REGRET_SHOWN) for t in chosen]
            rates = [t.learning_rate for t in chosen]
            axes.plot(rates, heights, ls="", color=colour, alpha=0.6, clip_on=False, **look)  # type: ignore[arg-type]
        axes.plot(*_medians(trials), "-", lw=1.6, color=INK)
        axes.set_xscale("log")
        low, high = np.log10([min(everyone), max(everyone)])
        axes.set_xlim(10 ** (low - 0.1), 10 ** (high + 0.1))
        decades = [10.0**power for power in range(int(np.ceil(low)), int(np.floor(high)) + 1)]
        axes.set_xticks(decades, [f"{decade:g}" for decade in decades])
        axes.xaxis.minorticks_off()
        axes.set_ylim(-0.2, REGRET_SHOWN + 0.3)
        axes.set_yticks([0, 2, 4, 6, 8], ["0", "2", "4", "6", "≥8"])
        axes.grid(axis="y", color=GRID, lw=0.6)
        axes.set_xlabel("peak learning rate")
        axes.set_ylabel("validation regret, margins")
        return FigurePanel(
            name=name,
            title=f"{search.regime}: {level}",
            description=f"Validation regret of {len(trials)} search points of {level} against learning rate; "
            f"{sum(t.diverged for t in trials)} diverged.",
            svg=svg(figure, name),
            columns=("task", "block", "trial", "learning_rate", "regret_in_margins", "diverged"),
            rows=tuple(
                (t.task, t.block, t.index, t.learning_rate or 0.0, t.regret, int(t.diverged)) for t in trials
            ),
        )


def _medians(trials: Sequence[Trial]) -> tuple[list[float], list[float]]:
    """Median regret in half-decades of learning rate that hold at least 3 points."""
    bins: dict[int, list[tuple[float, float]]] = {}
    for t in trials:
        rate = t.learning_rate or 0.0
        height = REGRET_SHOWN if t.diverged else min(t.regret, REGRET_SHOWN)
        bins.setdefault(int(np.floor(2 * np.log10(rate))), []).append((float(np.log10(rate)), height))
    medians = [np.median(np.array(bins[key]), axis=0) for key in sorted(bins) if len(bins[key]) >= 3]
    return [float(10 ** point[0]) for point in medians], [float(point[1]) for point in medians]


def styled() -> AbstractContextManager[None]:
    """Context for drawing: sizes, and colours that the page replaces."""
    context: AbstractContextManager[None] = style.context(["default", _STYLE])
    return context


def panel(
    *, height: float, left: float, bottom: float, width: float = WIDTH, top: float = 0.1, right: float = 0.12
) -> tuple[Figure, Axes]:
    """A figure with one axes whose margins are given in inches, so that nothing depends on text sizes."""
    figure = Figure(figsize=(width, height))
    figure.patch.set_visible(False)
    wide, high = width - left - right, height - bottom - top
    axes = figure.add_axes((left / width, bottom / height, wide / width, high / height))
    axes.patch.set_visible(False)
    return figure, axes


def _under(axes: Axes, left: str, right: str) -> None:
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    y = 0.09 / float(figure.get_figheight())
    box = axes.get_position()
    figure.text(box.x0, y, left, ha="left", color=MUTED, fontsize=9)
    figure.text(box.x1, y, right, ha="right", color=MUTED, fontsize=9)


def brief(text: str, most: int = 18) -> str:
    """The text, cut to what fits beside an axis."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"


def svg(figure: Figure, name: str) -> str:
    """The figure as one <svg> element for a page: no header, metadata, foreign names or repeated ids."""
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL)
    text = re.sub(r"\sxmlns(:xlink)?=\"[^\"]*\"", "", text).replace("xlink:href=", "href=")
    text = re.sub(r'^<svg[^>]*?(viewBox="[^"]*")[^>]*>', r'<svg \1 aria-hidden="true">', text)
    prefix = re.sub(r"[^A-Za-z0-9]", "-", name)
    text = re.sub(r'(\sid="|href="#|url\(#)', rf"\g<1>{prefix}-", text)
    for colour, variable in _COLOURS.items():
        text = text.replace(colour, f"var({variable})")
    return text.strip()
