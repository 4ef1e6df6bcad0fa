"""What happened in the members that were confirmed, summed up by level: it explains, and judges nothing."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from reports.evidence.question import Question
from reports.evidence.study_record import StudyRecord
from reports.verdicts.sentences import listed
from trainers.diagnostics.names import Fit, fit
from trainers.evaluation import Evaluation


@dataclass(frozen=True, kw_only=True)
class DiagnosticColumn:
    """One column of the table: a recorded number in words."""

    name: str
    """As in `trainers.diagnostics.instruments.SUMMARIES`."""
    title: str
    form: str
    """How its median is printed."""
    meaning: str


COLUMNS = (
    DiagnosticColumn(
        name="init.signal_factor",
        title="Signal per layer",
        form="×{:.3g}",
        meaning="what the mean square of activations is multiplied by from one layer to the next before the "
        "first step: ×1 keeps the signal, ×0.5 halves it in every layer",
    ),
    DiagnosticColumn(
        name="init.gradient_factor",
        title="Gradient per layer",
        form="×{:.3g}",
        meaning="the same for gradients on their way back, from one layer to the one before",
    ),
    DiagnosticColumn(
        name="half.update_ratio",
        title="Step / weights",
        form="{:.2g}",
        meaning="how far a step halfway moves a layer’s weights, as a share of their norm; 0.001 is usual",
    ),
    DiagnosticColumn(
        name="best.dead_units",
        title="Dead units",
        form="{:.0%}",
        meaning="share of hidden units that give the same value for every validation item",
    ),
    DiagnosticColumn(
        name="end.gap",
        title="Gap",
        form="{:.3g}",
        meaning="validation loss minus training loss after the last step, both without dropout",
    ),
    DiagnosticColumn(
        name="best.test_ece",
        title="Calibration error",
        form="{:.1%}",
        meaning="how far confidence and accuracy on test items lie apart on average, in 15 equal bins "
        "(classification)",
    ),
    DiagnosticColumn(
        name="end.sparsity",
        title="Tiny weights",
        form="{:.1%}",
        meaning="share of weights below 0.001 in absolute value after the last step",
    ),
)


@dataclass(frozen=True, kw_only=True)
class LevelDiagnostics:
    """One row."""

    level: str
    members: int
    diverged: str
    """'none', or how many and why."""
    reading: str
    """How many overfit, underfit and fit."""
    values: tuple[str, ...]
    """Medians in the order of `COLUMNS`; '–' where nothing was recorded."""


@dataclass(frozen=True, kw_only=True)
class DiagnosticsTable:
    """The table of one question in one regime."""

    factor: str
    regime: str
    sentence: str
    levels: tuple[LevelDiagnostics, ...]


def inside(record: StudyRecord) -> tuple[DiagnosticsTable, ...]:
    """One table per question and regime of which something was recorded."""
    tables = []
    for question in record.answered:
        for regime in question.regimes:
            rows = {level: _confirmed(record, question, regime, level) for level in question.by_cost}
            if any(row.diagnostics for members in rows.values() for row in members):
                tables.append(_table(question, regime, rows))
    return tuple(tables)


def _confirmed(record: StudyRecord, question: Question, regime: str, level: str) -> list[Evaluation]:
    place = (level, "confirm", "tuned")
    return [
        row
        for row in record.of(question.factor, regime)
        if (row.slot.level, row.slot.phase, row.arm) == place
    ]


def _table(question: Question, regime: str, rows: dict[str, list[Evaluation]]) -> DiagnosticsTable:
    return DiagnosticsTable(
        factor=question.factor,
        regime=regime,
        sentence=_sentence(rows),
        levels=tuple(
            LevelDiagnostics(
                level=level,
                members=len(members),
                diverged=_diverged(members),
                reading=_reading(members),
                values=tuple(_median(members, column) for column in COLUMNS),
            )
            for level, members in rows.items()
        ),
    )


def _values(members: Sequence[Evaluation], name: str) -> list[float]:
    values = (row.diagnostics.get(name, math.nan) for row in members)
    return [value for value in values if not math.isnan(value)]


def _median(members: Sequence[Evaluation], column: DiagnosticColumn) -> str:
    values = _values(members, column.name)
    if not values:
        return "–"
    return column.form.format(statistics.median(values)).replace("-", "−")


def _diverged(members: Sequence[Evaluation]) -> str:
    causes = Counter(row.cause.replace("_", " ") for row in members if row.status == "diverged")
    exploded = sum("loss.exploded_at" in row.diagnostics for row in members if row.status != "diverged")
    parts = [f"{count} ({cause})" for cause, count in sorted(causes.items())]
    parts += [f"{exploded} exploded and came back"] if exploded else []
    return ", ".join(parts) or "none"


def _reading(members: Sequence[Evaluation]) -> str:
    words: tuple[Fit, ...] = ("fits", "overfits", "underfits")
    counts = Counter(fit(row.diagnostics) for row in members)
    total = sum(counts[word] for word in words)
    return ", ".join(f"{counts[word] / total:.0%} {word}" for word in words if counts[word]) if total else "–"


FADES, GROWS = 0.9, 1.1
"""Factors per layer beyond which a signal is said to fade or to grow."""


def _sentence(rows: dict[str, list[Evaluation]]) -> str:
    """Which levels lose the signal or the gradient on its way through the layers."""
    parts = []
    for name, what in (("init.signal_factor", "signal"), ("init.gradient_factor", "gradient")):
        by_level = {level: _values(members, name) for level, members in rows.items()}
        middle = {level: statistics.median(values) for level, values in by_level.items() if values}
        if not middle:
            continue
        fading = [level for level, value in middle.items() if value < FADES]
        growing = [level for level, value in middle.items() if value > GROWS]
        phrases = [f"fades under {listed(fading)}"] if fading else []
        phrases += [f"grows under {listed(growing)}"] if growing else []
        parts.append(f"the {what} {' and '.join(phrases) or 'keeps its size under every level'}")
    if not parts:
        return "The networks have too few layers, or hide them, to say how signals pass."
    text = "; ".join(parts)
    return f"Before the first step, {text} (median over members)."
