"""Draws the pictures of the documentation from the real statistics: `python -m infra.docs_pictures`.

Every number in them comes out of `reports.statistics`, `reports.verdicts.families_needed`, the profiles or
the simulated studies of `groundrules simulate`, with fixed seeds. A test draws them again and compares.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import FancyBboxPatch

from reports.statistics.compare import block_effects, compare, family_effects
from reports.statistics.decision import labels
from reports.verdicts.families_needed import settle_probability
from studies.simulation import table
from studies.spec.sections import PROFILES

FOLDER = Path(__file__).parent / "docs" / "pictures"
INK, QUIET, BLUE, ORANGE, BAND = "#2b2f36", "#8a929e", "#2f6db3", "#c8642b", "#e8edf3"
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: no outlines of one machine's fonts
    "svg.hashsalt": "groundrules",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
FAMILIES, BLOCKS = 8, 4
WORDS = {
    "confirmed": "confirmed",
    "tied": "tied",
    "contradicted": "contradicted",
    "insufficient": "insufficient evidence",
}


def phases() -> Any:
    """What one level on one task and data split goes through, with the numbers of the profile quick."""
    quick = PROFILES["quick"]
    steps = (
        ("pilot", "reference recipes\nfix the margin", "validation"),
        ("retune", f"{quick['trials']} configurations\nand the default", "validation"),
        ("promote", f"the best {quick['promoted']} again,\nfresh seeds", "validation"),
        ("confirm", f"the chosen one,\n{quick['confirm_seeds']} fresh seeds", "test, read once"),
        ("judge", f"paired over {quick['families']} task\nfamilies", ""),
    )
    figure, axes = plt.subplots(figsize=(8.4, 1.9))
    figure.subplots_adjust(left=0, right=1, bottom=0, top=1)
    axes.set(xlim=(0, len(steps) * 2 - 0.2), ylim=(0, 1.9))
    axes.axis("off")
    for place, (name, text, data) in enumerate(steps):
        left = place * 2 + 0.1
        colour = ORANGE if name == "confirm" else BLUE
        axes.add_patch(
            FancyBboxPatch(
                (left, 0.55),
                1.6,
                1.2,
                boxstyle="round,pad=0.03,rounding_size=0.08",
                facecolor="white",
                edgecolor=colour,
                linewidth=1.4,
            )
        )
        axes.text(left + 0.8, 1.5, name, ha="center", weight="bold", color=colour)
        axes.text(left + 0.8, 1.0, text, ha="center", va="center", fontsize=8.5)
        axes.text(left + 0.8, 0.22, data, ha="center", fontsize=8, color=QUIET)
        if place:
            axes.annotate(
                "",
                (left - 0.06, 1.15),
                (left - 0.36, 1.15),
                arrowprops={"arrowstyle": "->", "color": QUIET},
            )
    return figure


def four_answers() -> Any:
    """Four planted studies of two levels: effects of the rival, families, interval, and the answer given."""
    plants = {
        "the rival is worse": (2.2, 0.5, 1.0),
        "both are alike": (0.0, 0.25, 0.6),
        "the rival is better": (-2.2, 0.5, 1.0),
        "tasks disagree": (-0.3, 1.6, 1.0),
    }
    figure, panels = plt.subplots(1, 4, figsize=(8.4, 2.6), sharey=True)
    for axes, (title, (lead, tau, noise)) in zip(panels, plants.items(), strict=True):
        draw = np.random.Generator(np.random.Philox(7))
        errors = np.zeros((FAMILIES, BLOCKS, 2))
        errors[..., 1] = lead + tau * draw.standard_normal((FAMILIES, 1))
        errors += noise * draw.standard_normal(errors.shape) / 2
        margin, family = np.ones(FAMILIES), np.arange(FAMILIES)
        found = compare(errors, margin, family, alpha=0.05)
        label = str(labels(found.lower, found.upper, np.array([True, False])))
        dots = family_effects(block_effects(errors, margin).mean(axis=-3), family)[:, 1, 0]
        axes.axvspan(-1, 1, color=BAND, zorder=0)
        axes.axvline(0, color=QUIET, linewidth=0.8)
        axes.plot(dots, np.arange(FAMILIES) + 2, "o", color=BLUE, markersize=4)
        low, high = found.interval_low[1, 0], found.interval_high[1, 0]
        axes.plot([low, high], [0, 0], color=ORANGE, linewidth=2)
        axes.plot([found.mean[1, 0]], [0], "D", color=ORANGE, markersize=6)
        axes.set(xlim=(-4.2, 4.2), ylim=(-1, FAMILIES + 2.5), yticks=[], xticks=[-4, -1, 0, 1, 4])
        axes.spines["left"].set_visible(False)
        axes.set_title(f"{title}\n", fontsize=9)
        axes.text(0, FAMILIES + 2.4, WORDS[label], ha="center", weight="bold", fontsize=9)
    figure.supxlabel("error of the rival minus that of the textbook's level, in margins", fontsize=9)
    figure.tight_layout()
    return figure


def settling() -> Any:
    """The chance that a row of equal levels settles, by the number of task families."""
    counts = (8, 10, 12, 16, 20, 24, 32, 40)
    figure, panels = plt.subplots(1, 2, figsize=(8.4, 2.8), sharey=True)
    for axes, tau in zip(panels, (0.5, 1.0), strict=True):
        for levels, colour in ((2, BLUE), (4, INK), (6, ORANGE)):
            chances = [
                settle_probability(levels, families, BLOCKS, tau=tau, block_sd=1.0)["equal"]
                for families in counts
            ]
            axes.plot(counts, np.round(chances, 3), marker="o", markersize=3, color=colour, label=levels)
        axes.axhline(0.8, color=QUIET, linewidth=0.8, linestyle=":")
        title = f"tasks differ by {tau:g} margin{'s' if tau != 1 else ''}"
        axes.set(xlabel="task families", ylim=(0, 1.04), xticks=(8, 16, 24, 32, 40))
        axes.set_title(title, fontsize=10)
    panels[0].set_ylabel("chance that the row settles", fontsize=9)
    panels[1].legend(title="levels compared", frameon=False, fontsize=8, title_fontsize=8, loc="lower right")
    figure.tight_layout()
    return figure


SHORTCUTS: Mapping[str, tuple[str, str]] = {
    "one learning rate for both levels,\nwhich need different ones": ("V6", "false at one shared rate"),
    "each level tuned": ("V6", "false 'better' or 'worse'"),
    "best search score, where one\nlevel is noisier": ("V7", "false win by best search score"),
    "fresh seeds on test data": ("V7", "false win of the noisy level"),
}
"""What is drawn -> row and check of the validation table."""


def shortcuts() -> Any:
    """How often two equal levels are called different: by common shortcuts, and by the method."""
    rows = {(one.row, one.check.name): one for one in table.simulate(["V6", "V7"], studies=400)}
    figure, axes = plt.subplots(figsize=(8.4, 2.4))
    for place, (name, key) in enumerate(SHORTCUTS.items()):
        share = rows[key].share
        axes.barh(-place, share, height=0.6, color=BLUE if place % 2 else ORANGE)
        axes.text(share + 0.01, -place, f"{share:.0%}", va="center", fontsize=9)
        axes.text(-0.01, -place, name, ha="right", va="center", fontsize=9)
    axes.axvline(0.05, color=QUIET, linewidth=0.8, linestyle=":")
    axes.set(xlim=(0, 1.1), yticks=[], xticks=(0, 0.05, 0.5, 1))
    axes.set_xticklabels(("0", "5 %", "50 %", "100 %"), fontsize=8)
    axes.set_xlabel("studies that call two equal levels different", fontsize=9)
    figure.subplots_adjust(left=0.32, right=0.98, top=0.97, bottom=0.22)
    return figure


PICTURES: Mapping[str, Callable[[], Any]] = {
    "phases": phases,
    "four-answers": four_answers,
    "settling": settling,
    "shortcuts": shortcuts,
}
"""File name without its end -> the figure."""


def svg(name: str) -> str:
    """One picture as text, the same on every call."""
    with plt.rc_context(STYLE), io.StringIO() as text:
        figure = PICTURES[name]()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(figure)
        return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


def main() -> None:
    """Writes every picture."""
    FOLDER.mkdir(exist_ok=True)
    for name in PICTURES:
        (FOLDER / f"{name}.svg").write_text(svg(name), encoding="utf-8")


if __name__ == "__main__":
    main()
