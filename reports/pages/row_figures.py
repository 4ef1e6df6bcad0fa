"""Pictures of one row beside its forest plots: blocks in pairs, the way to a target, effects over depth."""

from __future__ import annotations

import numpy as np

from reports.evidence.arrays import Evidence
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
from reports.statistics.compare import CLIP
from reports.verdicts.crossovers import Crossing, EffectMap
from reports.verdicts.speed_profile import SpeedProfile

MOST_LINES = 200
"""Blocks drawn one by one; of more, evenly chosen ones (the data file has all)."""


def paired_blocks(name: str, evidence: Evidence) -> FigurePanel:
    """Every block as a line through its levels: test error above the block's mean over levels, in margins."""
    count = len(evidence.levels)
    middle = np.nanmean(evidence.tuned, axis=2, keepdims=True)  # a level may have left the race
    above = np.clip((evidence.tuned - middle) / evidence.delta[:, None, None], -CLIP, CLIP)
    lines = above.reshape(-1, count)
    shown = lines[np.unique(np.linspace(0, len(lines) - 1, min(len(lines), MOST_LINES)).astype(int))]
    places = np.arange(count)
    with styled():
        figure, axes = panel(height=2.7, left=0.66, bottom=0.5)
        axes.axhspan(-0.5, 0.5, color=BAND, lw=0)
        # One line with gaps: a path for every block would make the page heavy.
        x = np.tile([*places, np.nan], len(shown))
        y = np.concatenate([shown, np.full((len(shown), 1), np.nan)], axis=1).ravel()
        axes.plot(x, y, "-", lw=0.6, color=MUTED, alpha=0.45, clip_on=False)
        axes.plot(np.tile(places, len(shown)), shown.ravel(), "o", ms=2.4, mew=0, color=MUTED, alpha=0.7)
        axes.plot(places, np.nanmean(lines, axis=0), "o-", lw=2, ms=6, mew=0, color=SERIES[0], clip_on=False)
        axes.set_xlim(-0.35, count - 0.65)
        axes.set_xticks(places, [brief(level, max(6, 44 // count)) for level in evidence.levels])
        axes.set_ylim(-CLIP - 0.2, CLIP + 0.2)
        axes.set_yticks([-4, -2, 0, 2, 4], ["≤−4", "−2", "0", "2", "≥4"])
        axes.set_ylabel("error above the block’s mean")
        axes.grid(axis="y", color=GRID, lw=0.6)
        return FigurePanel(
            name=name,
            title=f"{evidence.regime}: every block, level by level",
            description=f"Test error of {', '.join(evidence.levels)} in {len(lines)} blocks, in margins "
            "above the mean of the block.",
            svg=svg(figure, name),
            columns=("task", "block", "level", "margins_above_the_blocks_mean"),
            rows=tuple(
                (task, r, level, float(above[t, r, i]))
                for t, task in enumerate(evidence.tasks)
                for r in range(above.shape[1])
                for i, level in enumerate(evidence.levels)
                if np.isfinite(above[t, r, i])
            ),
        )


def time_profile(name: str, pace: SpeedProfile, regime: str) -> FigurePanel:
    """The share of runs that reach the target within a multiple of the fastest level's steps there."""
    with styled():
        figure, axes = panel(height=2.6, left=0.66, bottom=0.55)
        for number, (level, shares) in enumerate(zip(pace.levels, pace.shares, strict=True)):
            axes.step(
                pace.ratios, shares, where="post", lw=1.8, color=SERIES[number % 8], label=level.level,
                ls=("-", "--", "-.", ":")[number % 4], clip_on=False,
            )  # fmt: skip
        axes.set_xlim(1, float(pace.ratios[-1]))
        axes.set_ylim(0, 1.02)
        axes.set_xticks([1, 2, 3, 4], ["1", "2", "3", "4"])
        axes.set_xlabel("steps, as a multiple of the fastest level")
        axes.set_ylabel("share of runs there")
        axes.grid(color=GRID, lw=0.6)
        return FigurePanel(
            name=name,
            title=f"{regime}: reached the target by then",
            description="Performance profiles. Area under each, of 1: "
            + ", ".join(f"{level.level} {level.area:.2f}" for level in pace.levels)
            + ".",
            svg=svg(figure, name),
            columns=("level", "ratio_to_the_fastest", "share_of_runs"),
            rows=tuple(
                (level.level, float(ratio), float(share))
                for level, shares in zip(pace.levels, pace.shares, strict=True)
                for ratio, share in zip(pace.ratios, shares, strict=True)
            ),
        )


def effect_by_depth(name: str, crossing: Crossing) -> FigurePanel:
    """The effect at every depth measured, family by family, with mean, 95 % interval and the crossover."""
    depths = np.array(crossing.depths, dtype=float)
    where = f" ({crossing.where})" if crossing.where else ""
    with styled():
        figure, axes = panel(height=2.9, left=0.66, bottom=0.78)
        axes.axhspan(-1, 1, color=BAND, lw=0)
        axes.axhline(0, color=MUTED, lw=0.8)
        for units in crossing.units:
            axes.plot(depths, units, "-", lw=0.7, color=MUTED, alpha=0.6)
        low, high = crossing.crossover.low, crossing.crossover.high
        if np.isfinite([low, high]).all():
            axes.plot([float(low), float(high)], [0, 0], "-", lw=5, color=ACCENT, alpha=0.55, clip_on=False)
        if np.isfinite(crossing.crossover.depth):
            axes.plot([float(crossing.crossover.depth)], [0], "D", ms=6, mew=0, color=ACCENT)
        spread = np.clip([crossing.mean - crossing.low, crossing.high - crossing.mean], 0, 2 * CLIP)
        axes.errorbar(
            depths, crossing.mean, yerr=spread, fmt="o-", lw=1.8, ms=5.5, mew=0, capsize=3, color=SERIES[0]
        )
        axes.set_xscale("log", base=2)
        axes.set_xticks(depths, [str(depth) for depth in crossing.depths])
        axes.xaxis.minorticks_off()
        axes.set_xlim(depths[0] / 1.12, depths[-1] * 1.12)
        axes.set_ylim(-CLIP - 0.3, CLIP + 0.3)
        axes.set_yticks([-4, -2, -1, 0, 1, 2, 4], ["≤−4", "−2", "−1", "0", "1", "2", "≥4"])
        axes.set_xlabel(f"hidden layers (above 0: {brief(crossing.against, 16)} better)")
        axes.set_ylabel("effect, margins")
        rows: list[tuple[str | float | int, ...]] = [
            (depth, "mean", float(m), float(lo), float(hi))
            for depth, m, lo, hi in zip(
                crossing.depths, crossing.mean, crossing.low, crossing.high, strict=True
            )
        ]
        rows += [
            (depth, family, float(crossing.units[f, d]), "", "")
            for f, family in enumerate(crossing.families)
            for d, depth in enumerate(crossing.depths)
        ]
        return FigurePanel(
            name=name,
            title=f"{crossing.level} against {crossing.against}{where}",
            description=f"How much worse {crossing.level} is than {crossing.against}, in margins, at "
            f"{', '.join(map(str, crossing.depths))} hidden layers: "
            + ", ".join(f"{value:+.2f}" for value in crossing.mean)
            + f". {crossing.sentences[0]}",
            svg=svg(figure, name),
            columns=("hidden_layers", "family", "effect_in_margins", "interval_low", "interval_high"),
            rows=tuple(rows),
        )


def effect_map(name: str, effects: EffectMap) -> FigurePanel:
    """The mean effect at every depth and size of the study: shaded within a margin, coloured beyond."""
    with styled():
        figure, axes = panel(height=0.9 + 0.42 * len(effects.depths), left=0.66, bottom=0.55)
        for d in range(len(effects.depths)):
            for n in range(len(effects.sizes)):
                value = float(effects.mean[d, n])
                if np.isnan(value):
                    continue
                colour = BAND if abs(value) <= 1 else SERIES[0] if value > 0 else ACCENT
                strength = 1.0 if abs(value) <= 1 else 0.15 + 0.12 * min(abs(value), CLIP)
                axes.fill([n - 0.48, n + 0.48, n + 0.48, n - 0.48], [d - 0.46, d - 0.46, d + 0.46, d + 0.46],
                          color=colour, alpha=strength, lw=0)  # fmt: skip
                axes.text(n, d, f"{value:+.1f}".replace("-", "−"), ha="center", va="center", color=INK)
        axes.set_xlim(-0.5, len(effects.sizes) - 0.5)
        axes.set_ylim(-0.5, len(effects.depths) - 0.5)
        axes.set_xticks(range(len(effects.sizes)), [str(size) for size in effects.sizes])
        axes.set_yticks(range(len(effects.depths)), [str(depth) for depth in effects.depths])
        axes.set_xlabel("training items")
        axes.set_ylabel("hidden layers")
        rows = tuple(
            (depth, size, "" if np.isnan(effects.mean[d, n]) else float(effects.mean[d, n]))
            for d, depth in enumerate(effects.depths)
            for n, size in enumerate(effects.sizes)
        )
        return FigurePanel(
            name=name,
            title=f"{effects.level} against {effects.against}, by depth and training items",
            description=f"Mean margins by which {effects.level} is worse than {effects.against}: "
            + "; ".join(
                f"{depth} layers, {size} items: {shown or 'not asked'}" for depth, size, shown in rows
            ),
            svg=svg(figure, name),
            columns=("hidden_layers", "training_items", "effect_in_margins"),
            rows=rows,
        )
