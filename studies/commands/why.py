"""The evidence behind one recommended default, from a workspace or from a defaults file alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reports.defaults.schema import Defaults, RecommendedLevel
from reports.defaults.sentences import describe_effect, describe_margin, families
from reports.io.control_characters import harmless
from reports.io.dataclass_files import to_dict
from reports.verdicts.sentences import counted
from search_spaces.factor import unknown

SHOWN = 3
"""Evaluations of each level that a card names; as JSON it has all."""


@dataclass(frozen=True, kw_only=True)
class LevelEvidence:
    """What a workspace knows of one compared level."""

    error: float
    """Mean test error over blocks, tasks and families."""
    finished: float
    """Share of its confirm members that did not diverge."""
    upper: float
    """The most it may be worse than its strongest rival, in margins (one-sided)."""
    evaluations: tuple[str, ...]
    """Ids of the confirm members that the verdict is made of."""


@dataclass(frozen=True, kw_only=True)
class EvidenceCard:
    """Everything that stands behind a row."""

    origin: str
    """A file, or a study in a workspace."""
    table: Defaults
    row: RecommendedLevel
    levels: Mapping[str, LevelEvidence] = field(default_factory=dict)
    """Cheapest first; empty from a file, which keeps no evaluations."""
    sentence: str = ""
    """The answer in words, where the verdict is at hand."""
    race: str = ""
    """How the row's race ended, where it raced and the verdict is at hand."""

    def plain(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {
            "origin": self.origin,
            "plan": to_dict(self.table.plan),
            "scope": to_dict(self.table.scope),
            "row": to_dict(self.row),
            "numbers": [to_dict(n) for n in self._numbers],
            "levels": to_dict(self.levels),
        }

    def lines(self) -> list[str]:
        """For a reader."""
        row, effect = self.row, self.row.effect
        found = [f"{row.name}: {row.recommended} ({row.verdict}, decided by {row.decided_by})"]
        found += [f"  {self.sentence}"] if self.sentence else []
        found += [f"  the row {self.race}"] if self.race else []
        found.append(f"  textbook: {' or '.join(row.textbook) or 'no such row'}")
        if row.tied_with:
            found.append(f"  as good within one margin: {', '.join(row.tied_with)}")
        if effect is None:
            found.append("  effect: no interval")
        else:
            low, high = effect.interval
            found += [
                f"  effect: test error of {effect.against} minus that of {row.recommended}: "
                f"{effect.margins:+.2f} margins [{low:+.2f}, {high:+.2f}] (95 %), {effect.points:+.2f} "
                "points; positive is worse",
                f"  n: {counted(effect.tasks, 'task family')} x {counted(effect.blocks, 'block')} x "
                f"{counted(effect.seeds, 'seed')}",
            ]
        found.append(f"  tasks: {', '.join(row.tasks)}")
        bound = row.regret_if_wrong.upper_bound_margins
        if bound is not None:
            found.append(f"  at most {bound:+.2f} margins worse than any rival (one-sided)")
        for n in self._numbers:
            found.append(
                f"  {n.name}: {n.value:g}, search {n.range[0]:g} to {n.range[1]:g} first (optimizer "
                f"{n.optimizer}, {n.cells} cells)"
            )
        errors = row.mean_error or {}
        for each in row.effects or ():
            mean = f", mean test error {errors[each.level]:.4g}" if each.level in errors else ""
            found.append(
                f"  {each.level} against it: {describe_effect(each)}, {each.points:+.2f} points, "
                f"{families(each.tasks)}{mean}"
            )
        if row.least_error is not None:
            found.append(f"  least mean test error: {row.least_error} (which proves nothing)")
        if row.margin_points is not None:
            found.append(
                f"  a margin: {describe_margin(row.margin_points)} points of test error on these tasks"
            )
        found += [f"  caveat: {caveat}" for caveat in row.caveats]
        found.append(f"  evidence: {row.evaluations} confirm evaluations of {self.origin}")
        for level, known in self.levels.items():
            ids = ", ".join(known.evaluations[:SHOWN])
            more = f", ... ({len(known.evaluations)})" if len(known.evaluations) > SHOWN else ""
            found.append(
                f"    {level}: error {known.error:.4g}, finished {known.finished:.0%}, "
                f"{_most(known.upper)} than its strongest rival: {ids}{more}"
            )
        plan = self.table.plan
        found.append(f"  plan {plan.hash}, revision {plan.revision}, profile {plan.profile}")
        found.append(
            "  train any of them again: groundrules replay ID"
            if self.levels
            else "  the evaluations are in the workspace of the study: groundrules why ROW there lists them"
        )
        # Names come from files of others: none may end its line and begin one of its own.
        return [harmless(" ".join(line.splitlines())) for line in found]

    @property
    def _numbers(self) -> list[Any]:
        return [n for n in self.table.numbers if (n.factor, n.regime) == (self.row.factor, self.row.regime)]


def _most(upper: float) -> str:
    return f"at most {upper:+.2f} margins worse" if math.isfinite(upper) else "by no bound better or worse"


def card_from_file(source: str, name: str) -> EvidenceCard:
    """The card of a row in a defaults file, or in what is `published`.

    Raises:
        ValueError: no such file, not a defaults file, or no such row in it.
    """
    from studies.commands.defaults_sources import PUBLISHED, published, read_table

    table = published() if source == PUBLISHED else read_table(Path(source))
    return EvidenceCard(origin=source, table=table, row=_row_named(table, name, source))


def card_from_workspace(workspace: Path, name: str, study: str | None = None) -> EvidenceCard:
    """The card of a row that a study of the workspace answers.

    Args:
        workspace: with the ledger.
        name: `factor@regime`.
        study: which one; needed only where several have answered that row.

    Raises:
        ValueError: no such row, an unknown study, one without verdicts, or several studies with that row.
        LedgerDamaged: the study is damaged, or none that is sound has that row and others are damaged.
    """
    from studies.ledger.ledger import Ledger
    from studies.ledger.row_codec import damaged_studies

    _parts(name)
    with Ledger.open(workspace) as ledger:
        studies, damage = ledger.sound_studies()
    asked = {one.name: _asks(one.protocol["spec"]) for one in studies}
    if study is not None and study in damage:
        raise damaged_studies({study: damage[study]})
    if study is not None and study not in asked:
        raise unknown(f"study in {workspace}", study, asked)
    having = [one for one, rows in asked.items() if name in rows and study in (None, one)]
    if not having and damage:
        raise damaged_studies(damage)
    if not having:
        rows = dict.fromkeys(row for one, of in asked.items() if study in (None, one) for row in of)
        raise unknown(f"row of {study or workspace}", name, rows)
    if len(having) > 1:
        raise ValueError(
            f"{len(having)} studies here ask {name}: choose one with --study {' or '.join(having)}"
        )
    return _answered(workspace, having[0], name)


def _asks(spec: Mapping[str, Any]) -> list[str]:
    """The rows that a study asks for; none of a search study, or of a scope, which answers nothing."""
    if spec.get("kind") == "scope":
        return []
    return [f"{q['factor']}@{regime}" for q in spec.get("questions", ()) for regime in q["regimes"]]


def _answered(workspace: Path, study: str, name: str) -> EvidenceCard:
    from reports.defaults.defaults_file import defaults
    from reports.verdicts import sentences
    from reports.verdicts.verdict import verdicts
    from studies.commands.records import record_of

    record: Any = record_of(workspace, study)
    found = verdicts(record)
    table = defaults(record, found)
    row = _row_named(table, name, f"study {study}")
    verdict = next(v for v in found if (v.factor, v.regime) == (row.factor, row.regime))
    behind = set(verdict.evidence)
    levels: dict[str, list[str]] = {level: [] for level in verdict.mean_error}
    for evaluation in record.evaluations:
        if evaluation.id in behind:
            levels[evaluation.slot.level].append(evaluation.id)
    return EvidenceCard(
        origin=f"study {study} in {workspace}",
        table=table,
        row=row,
        sentence=sentences.answer(verdict),
        race=sentences.raced(verdict.course) if verdict.course else "",
        levels={
            level: LevelEvidence(
                error=verdict.mean_error[level],
                finished=verdict.finished_share[level],
                upper=max(effect.upper for effect in verdict.effects if effect.level == level),
                evaluations=tuple(ids),
            )
            for level, ids in levels.items()
        },
    )


def _row_named(table: Defaults, name: str, where: str) -> RecommendedLevel:
    factor, regime = _parts(name)
    row = table.row(factor, regime)
    if row is None:
        raise unknown(f"row of {where}", name, [each.name for each in table.rows])
    return row


def _parts(name: str) -> tuple[str, str]:
    factor, at, regime = name.rpartition("@")
    if not at or not factor or not regime:
        raise ValueError(f"'{name}' is no row: a row is called factor@regime, such as initializer@deep")
    return factor, regime
