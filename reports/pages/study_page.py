"""One self-contained HTML page per study, with the data of every figure as CSV beside it.

Nothing here reads a clock, a path or the order of a dictionary: the same record gives the same bytes.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from reports.claims.cards import ClaimCard, cards, write_cards
from reports.claims.ledger import entries
from reports.evidence.arrays import Evidence
from reports.evidence.budget import ORIGINS
from reports.evidence.data_kinds import kinds
from reports.evidence.fairness_checks import CHAIN, untrained
from reports.evidence.processors import mixture_of
from reports.evidence.range_edges import audit, flagged
from reports.evidence.registered_looks import registered
from reports.evidence.study_record import StudyRecord
from reports.evidence.tuning_curves import search_of
from reports.evidence.validity import answering, controls, unanswered, validity_status
from reports.io.control_characters import cell
from reports.io.safe_paths import make_folder, write
from reports.pages import figures, row_figures
from reports.pages.extra_tables import TableData, other_tables
from reports.pages.figures import FigurePanel
from reports.statistics.decision import relation
from reports.verdicts import sentences
from reports.verdicts.crossovers import Crossing, NoCrossover, crossings, effect_maps
from reports.verdicts.exploratory_errors import measured
from reports.verdicts.external_check import ExternalVerdict, external, fallen_back
from reports.verdicts.fairness_certificate import certify
from reports.verdicts.headline import decided, other_orders
from reports.verdicts.hyperparameter_values import TunedNumber, tuned_numbers
from reports.verdicts.model import Verdict
from reports.verdicts.robustness import Robustness, robustness
from reports.verdicts.sensitivity import SensitivityAnalysis, sensitivity
from reports.verdicts.speed_profile import SpeedProfile, pace_of
from reports.verdicts.time_to_target import targets
from reports.verdicts.training_diagnostics import COLUMNS, inside
from reports.verdicts.validity_scope import described, scope_of
from reports.verdicts.verdict import judge
from search_spaces.overrides import spelled

PHASES = ("pilot", *CHAIN)


@dataclass(frozen=True, kw_only=True)
class RegretStep:
    """One level's step on the regret ladder."""

    level: str
    upper: float
    """Largest upper bound over its rivals."""
    rival: str
    admissible: bool
    mean_error: float
    finished: float


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Everything the page says about one row of the table."""

    anchor: str
    verdict: Verdict
    sentence: str
    ladder: tuple[RegretStep, ...]
    robustness: Robustness
    numbers: tuple[TunedNumber, ...]
    forests: tuple[FigurePanel, ...]
    paired: FigurePanel
    others: tuple[SensitivityAnalysis, ...]
    pace: SpeedProfile | None
    profile: FigurePanel | None


@dataclass(frozen=True, kw_only=True)
class Depths:
    """One question over depth: a crossover with its picture, or why none can be said."""

    factor: str
    sentences: tuple[str, ...]
    picture: FigurePanel | None


@dataclass(frozen=True, kw_only=True)
class SearchPanels:
    """The search panels of one row: exploratory in every study."""

    factor: str
    regime: str
    levels: tuple[str, ...]
    curves: FigurePanel | None
    rates: tuple[FigurePanel, ...]


def write_report(record: StudyRecord, folder: Path) -> Path:
    """Writes `index.html`, a CSV per figure or small table and the cards of claims; returns the page's path.

    An unfinished study gets a page without verdicts marked interim, an adaptively sampled one a page marked
    exploratory, one that breaks a guard a page that says which.
    """
    claimed = cards(record)
    html, sheets = build(record, claimed)
    make_folder(folder)
    write_cards(claimed, folder)
    for sheet in sheets:
        write(folder / f"{sheet.name}.csv", csv_text(sheet))
    page = folder / "index.html"
    write(page, html)
    return page


def build(
    record: StudyRecord, claimed: tuple[ClaimCard, ...] | None = None
) -> tuple[str, tuple[FigurePanel | TableData, ...]]:
    """The page's text, and what has its data beside it, without touching a disk.

    Args:
        record: the study.
        claimed: the cards of its claims, where they are at hand; None: they are made here.
    """
    now = validity_status(record)
    rows = answering(record) if now.kind == "evidence" else ()
    judged = [judge(record, evidence) for evidence in rows]
    answers = _answers(record, rows, fallen_back(record, judged))
    checked = external(record, judged) if judged else ExternalVerdict(kind="none")
    searches = () if now.kind == "interim" else _searches(record)
    depths = _depths(record, rows)
    others = other_tables(record, rows)
    pictures = [picture for answer in answers for picture in answer.forests]
    pictures += [picture for answer in answers for picture in (answer.paired, answer.profile) if picture]
    pictures += [depth.picture for depth in depths if depth.picture]
    for search in searches:
        pictures += [*([search.curves] if search.curves else []), *search.rates]
    html = (
        environment()
        .get_template("report.html")
        .render(
            record=record,
            scope=scope_of(record),
            standing=now,
            answers=answers,
            external=checked,
            decided=decided([answer.verdict for answer in answers]),
            orders=other_orders([answer.verdict for answer in answers]),
            depths=depths,
            others=others,
            searches=searches,
            claim_entries=entries(cards(record) if claimed is None else claimed),
            insides=() if now.kind == "interim" else inside(record),
            columns=COLUMNS,
            general=all(answer.verdict.general for answer in answers),
            phases=_phases(record),
            spent=_spent(record),
            margins=sorted(record.margins, key=lambda m: (m.regime, not m.accepted, m.task)),
            facts=[record.facts[name] for name in sorted(record.facts)],
            wording=sentences,
            described=described,
            unjudged=unanswered,
            looks=registered(record),
            measured=measured(record),
            untrained=untrained(record),
            mixture=mixture_of(record),
            certificate=certify(record) if answers else None,
            controls=controls(record) if now.kind in ("evidence", "invalid") else (),
            edges=flagged(audit(record)) if answers else {},
            relation=relation,
            series=range(len(figures.SERIES)),
        )
    )
    return html + "\n", (*pictures, *others.sheets)


def _answers(
    record: StudyRecord, rows: Sequence[Evidence], verdicts: Sequence[Verdict]
) -> tuple[Answer, ...]:
    """The rows; `verdicts` are theirs, after what the external check of the whole recipe says."""
    answers = []
    goals = {regime: targets(record, regime) for regime in {row.regime for row in rows}}
    for number, (evidence, verdict) in enumerate(zip(rows, verdicts, strict=True), start=1):
        checks = robustness(evidence, verdict, looks=record.budget.looks)
        pace = pace_of(record, evidence, verdict.recommended, goals[evidence.regime])
        stem = f"{number}-{slug(verdict.factor)}-{slug(verdict.regime)}"
        answers.append(
            Answer(
                anchor=f"row-{number}",
                verdict=verdict,
                sentence=sentences.answer(verdict),
                ladder=_ladder(verdict, evidence),
                robustness=checks,
                numbers=tuned_numbers(record, evidence, verdict.recommended),
                forests=_forests(verdict, evidence, checks, number),
                paired=row_figures.paired_blocks(f"blocks-{stem}", evidence),
                others=sensitivity(record, evidence, verdict, checks),
                pace=pace,
                profile=row_figures.time_profile(f"steps-{stem}", pace, verdict.regime) if pace else None,
            )
        )
    return tuple(answers)


def _depths(record: StudyRecord, rows: Sequence[Evidence]) -> tuple[Depths, ...]:
    """The questions with regimes of several depths."""
    panels = []
    for number, one in enumerate(crossings(record, rows), start=1):
        if isinstance(one, NoCrossover):
            panels.append(Depths(factor=one.factor, sentences=(one.reason,), picture=None))
        else:
            assert isinstance(one, Crossing)
            name = f"depth-{number}-{slug(one.factor)}-{slug(one.against)}"
            picture = row_figures.effect_by_depth(name, one)
            panels.append(Depths(factor=one.factor, sentences=one.sentences, picture=picture))
    for number, each in enumerate(effect_maps(record, rows), start=1):
        name = f"map-{number}-{slug(each.factor)}-{slug(each.against)}"
        picture = row_figures.effect_map(name, each)
        panels.append(Depths(factor=each.factor, sentences=(), picture=picture))
    return tuple(panels)


def _forests(
    verdict: Verdict, evidence: Evidence, checks: Robustness, number: int
) -> tuple[FigurePanel, ...]:
    """Every rival against the recommended level (or the cheapest, where that was not compared)."""
    reference = verdict.recommended if verdict.recommended in evidence.levels else evidence.levels[0]
    effects = [effect for effect in verdict.effects if effect.against == reference]
    return tuple(
        figures.forest(
            f"forest-{number}-{k}-{slug(verdict.factor)}-{slug(verdict.regime)}-{slug(effect.level)}",
            evidence,
            effect,
            checks if effect == verdict.headline else None,
        )
        for k, effect in enumerate(effects, start=1)
    )


def _ladder(verdict: Verdict, evidence: Evidence) -> tuple[RegretStep, ...]:
    steps = []
    for level in evidence.levels:
        worst = max((e for e in verdict.effects if e.level == level), key=lambda e: e.upper)
        steps.append(
            RegretStep(
                level=level,
                upper=worst.upper,
                rival=worst.against,
                admissible=level in verdict.admissible,
                mean_error=verdict.mean_error[level],
                finished=verdict.finished_share[level],
            )
        )
    return tuple(steps)


def _searches(record: StudyRecord) -> tuple[SearchPanels, ...]:
    panels = []
    pairs = [(question, regime) for question in record.answered for regime in question.regimes]
    for number, (question, regime) in enumerate(pairs, start=1):
        search = search_of(record, question, regime)
        stem = f"{number}-{slug(question.factor)}-{slug(regime)}"
        rates = [
            figures.rate_sensitivity(f"rates-{stem}-{k}-{slug(level)}", search, level)
            for k, level in enumerate(search.trials, start=1)
        ]
        panels.append(
            SearchPanels(
                factor=question.factor,
                regime=regime,
                levels=tuple(level for level, trials in search.trials.items() if trials),
                curves=figures.tuning_curves(f"tuning-{stem}", search),
                rates=tuple(picture for picture in rates if picture),
            )
        )
    return tuple(panels)


def _phases(record: StudyRecord) -> list[dict[str, Any]]:
    """Planned, run, diverged, failed and excluded by phase; the last is 0 by construction."""
    rows = []
    for phase in PHASES:
        members = [row for row in record.evaluations if row.slot.phase == phase]
        status = Counter(row.status for row in members)
        rows.append(
            {
                "phase": phase,
                "planned": record.planned.get(phase, 0),
                "run": len(members) - status["failed"],
                "diverged": status["diverged"],
                "failed": status["failed"],
                "excluded": 0,
            }
        )
    return rows


def _spent(record: StudyRecord) -> list[dict[str, Any]]:
    """What every level of every question got: equal for all, or the page says no verdict."""
    table = []
    for question in record.questions:
        for regime in question.regimes:
            for level in question.by_cost:
                rows = [
                    row
                    for row in record.of(question.factor, regime)
                    if row.slot.level == level and row.slot.phase in CHAIN
                ]
                runs = Counter(row.slot.phase for row in rows)
                table.append(
                    {
                        "factor": question.factor,
                        "regime": regime,
                        "level": level,
                        "runs": [runs[phase] for phase in CHAIN],
                        "steps": sum(row.config.setting.steps for row in rows),
                        "diverged": sum(row.status == "diverged" for row in rows),
                    }
                )
    return table


def environment() -> Environment:
    """The templates, with the filters that they use."""
    templates = Environment(
        loader=PackageLoader("reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals |= {"kinds": kinds, "origins": ORIGINS}
    templates.filters["signed"] = lambda value: _number(value, "+.2f")
    templates.filters["short"] = lambda value: _number(value, ".4g")
    templates.filters["spelled"] = spelled
    templates.filters["p"] = _p_value
    templates.filters["percent"] = lambda value: f"{value:.0%}"
    # Drawn by us; matplotlib escaped the names in it.
    templates.filters["drawing"] = lambda picture: Markup(picture.svg)
    return templates


def _number(value: float | None, form: str) -> str:
    if value is None:
        return "–"
    return format(value, form).replace("-", "−") if math.isfinite(value) else "unbounded"


def _p_value(p: float) -> str:
    """'= 0.012' or '< 0.0001'."""
    return f"= {p:.2g}" if p >= 1e-4 else "< 0.0001"


def csv_text(picture: FigurePanel | TableData) -> str:
    """The data of a figure or a small table as comma-separated text with a header."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(map(cell, picture.columns))
    writer.writerows([cell(value) for value in row] for row in picture.rows)
    return out.getvalue()


def slug(text: str) -> str:
    """The text as part of a file name or an id."""
    return re.sub(r"[^A-Za-z0-9_]+", "-", text)[:40].strip("-") or "x"
