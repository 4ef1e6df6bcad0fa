"""The recommended levels and numbers of one study, with their evidence, as a file people can use."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import yaml

from reports.defaults.diff import same_regimes
from reports.defaults.recipes import recipes
from reports.defaults.schema import (
    READING,
    SCHEMA,
    Defaults,
    Gain,
    LevelEffect,
    Plan,
    RecommendedLevel,
    Regret,
    TunedSetting,
    content_hash,
    sealed,
)
from reports.evidence.arrays import gather
from reports.evidence.study_record import StudyRecord
from reports.io.dataclass_files import from_dict, refuse_text
from reports.io.yaml_limits import examine
from reports.verdicts.external_check import whole_recipe
from reports.verdicts.hyperparameter_values import tuned_numbers
from reports.verdicts.model import Effect, Verdict
from reports.verdicts.robustness import robustness
from reports.verdicts.validity_scope import scope_of
from search_spaces.catalog import FACTORS

__all__ = ["Defaults", "defaults", "load"]

LONGEST_FILE = 1_000_000
"""Characters; a longer file is not a defaults file."""
MAX_VALUES = 50_000
"""Names and values of one; the published table has about 2,000."""


def defaults(
    record: StudyRecord, verdicts: tuple[Verdict, ...], previous: Defaults | None = None
) -> Defaults:
    """What `record` recommends; EvidenceError unless it may carry verdicts (see `evidence_status`).

    Args:
        record: a complete study.
        verdicts: its answers.
        previous: the last release, whose levels stay where they may (see `kept`).

    Raises:
        ValueError: `previous` has other regimes.
    """
    evidence = {(e.question.factor, e.regime): e for e in gather(record)}
    rows, numbers = [], []
    for verdict in _released(verdicts, previous):
        body = evidence[(verdict.factor, verdict.regime)]
        meaning = body.question.meanings.get(verdict.recommended)
        meanings = (f"{verdict.recommended} means {meaning}",) if meaning else ()
        left_out = robustness(body, verdict, looks=record.budget.looks).leave_one_task_out
        points = (_short(100 * float(body.delta.min())), _short(100 * float(body.delta.max())))
        rows.append(replace(_row(verdict, left_out, meanings), margin_points=points))
        numbers += [
            TunedSetting(
                name=n.name,
                regime=verdict.regime,
                factor=verdict.factor,
                level=verdict.recommended,
                optimizer=n.optimizer,
                value=_short(n.value),
                range=(_short(n.low), _short(n.high)),
                cells=n.cells,
                tunability_margins=_short(n.tunability),
                loss_if_untuned_margins=_short(n.loss_if_untuned),
                leave_one_task_out_margins=None if n.left_out is None else _short(n.left_out),
            )
            for n in tuned_numbers(record, body, verdict.recommended)
        ]
    few = not all(verdict.general for verdict in verdicts)
    table = Defaults(
        table=record.name,
        scope=scope_of(record),
        plan=Plan(
            hash=record.plan_hash,
            protocol=record.protocol_hash,
            revision=record.revision,
            profile=record.budget.profile,
        ),
        versions=dict(sorted(record.versions.items())),
        rows=tuple(rows),
        numbers=tuple(numbers),
        recipes=tuple(
            replace(recipe, compared=whole_recipe(recipe.regime, [v.caveats for v in verdicts]))
            for recipe in recipes(record, rows, numbers)
        ),
        reading=replace(READING, holds_for="these tasks only") if few else READING,
    )
    if previous is not None:
        same_regimes(previous, table, ("the previous defaults", "these"))
    return sealed(table)


def kept(old: RecommendedLevel | None, new: RecommendedLevel) -> str:
    """The level that a new release recommends where the last one said `old`.

    It keeps the old level while that is still proved within one margin of every rival, though another may be
    cheaper: users change for evidence, not for cost. Where nothing is proved it keeps the old level too.
    """
    if old is None or old.recommended in new.admissible or new.decided_by == "fallback":
        return new.recommended if old is None else old.recommended
    return new.recommended


def _released(verdicts: Sequence[Verdict], previous: Defaults | None) -> Iterator[Verdict]:
    """The verdicts with the levels of the last release where those stay, which their caveats then say."""
    for verdict in verdicts:
        if verdict.fallback_reason:  # a recipe that lost gives way to the textbook's, not to an older one
            yield verdict
            continue
        old = None if previous is None else previous.row(verdict.factor, verdict.regime)
        level = kept(old, _row(verdict, None, ()))
        known = level in verdict.mean_error or level in getattr(FACTORS.get(verdict.factor), "names", ())
        if level == verdict.recommended or not known:
            yield verdict
            continue
        why = "still proved as good" if level in verdict.admissible else "no level is proved"
        caveat = (
            f"{level} is kept from the last release ({why}); without one it would be {verdict.recommended}"
        )
        yield replace(verdict, recommended=level, caveats=(*verdict.caveats, caveat))


def load(text: str, name: str = "defaults file") -> Defaults:
    """Reads a YAML or JSON defaults file, strictly.

    Raises:
        ValueError: Naming `name`, the key and the rule: not YAML, too long, an alias, a key twice, unknown
            or missing keys, wrong types, values outside the vocabulary, another schema, a hash that is not
            that of the content.
    """
    if len(text) > LONGEST_FILE:
        raise ValueError(f"{name}: longer than {LONGEST_FILE} characters")
    try:
        if text.lstrip().startswith("{"):
            data = json.loads(text, object_pairs_hook=_no_twins)
        else:
            examine(text, _Strict, most=MAX_VALUES)
            data = yaml.load(text, Loader=_Strict)
    # AttributeError: PyYAML of a time of day that is none.
    except (yaml.YAMLError, ValueError, RecursionError, AttributeError) as error:
        raise ValueError(f"{name}: {' '.join(str(error).split())[:500]}") from error
    if isinstance(data, dict) and type(data.get("schema")) is int and data["schema"] != SCHEMA:
        # First: a file of another schema would be blamed for keys that are right there.
        raise ValueError(
            f"{name}: schema {data['schema']} is not known here; this version reads schema {SCHEMA}"
        )
    refuse_text(data, name, more="\t\n")  # what we print of a file stays on its line
    table = from_dict(Defaults, data, name)
    if table.hash != content_hash(table):
        raise ValueError(
            f"{name}: was changed after it was written (it says hash {table.hash}, its content has "
            f"{content_hash(table)}); export it again"
        )
    return table


def _row(verdict: Verdict, leave_one_out: float | None, meaning: tuple[str, ...]) -> RecommendedLevel:
    head, bound = verdict.headline, verdict.regret_bound
    gain = None
    if head is not None and all(map(math.isfinite, head.interval)):
        gain = Gain(
            against=head.level,
            margins=_short(head.margins),
            interval=(_short(head.interval[0]), _short(head.interval[1])),
            points=_short(head.points),
            tasks=head.tasks,
            blocks=verdict.blocks,
            seeds=verdict.seeds,
        )
    return RecommendedLevel(
        factor=verdict.factor,
        regime=verdict.regime,
        recommended=verdict.recommended,
        decided_by=verdict.decided_by,
        textbook=verdict.textbook,
        verdict=verdict.label,
        tied_with=tuple(level for level in verdict.admissible if level != verdict.recommended),
        effect=gain,
        tasks=verdict.tasks,
        evaluations=len(verdict.evidence),
        regret_if_wrong=Regret(
            upper_bound_margins=None if bound is None or not math.isfinite(bound) else _short(bound),
            leave_one_task_out=None if leave_one_out is None else _short(leave_one_out),
        ),
        caveats=(*meaning, *_contradiction(verdict), *verdict.caveats),
        effects=tuple(_effect_of(e) for e in verdict.effects if e.against == verdict.recommended),
        mean_error={level: _short(error) for level, error in verdict.mean_error.items()},
        least_error=verdict.least[0] if len(verdict.least) == 1 else None,
    )


def _effect_of(effect: Effect) -> LevelEffect:
    low, high = effect.interval
    return LevelEffect(
        level=effect.level,
        margins=_short(effect.margins),
        interval=(_short(low), _short(high)) if math.isfinite(low) and math.isfinite(high) else None,
        points=_short(effect.points),
        tasks=effect.tasks,
    )


def _contradiction(verdict: Verdict) -> tuple[str, ...]:
    """Who beat the textbook, where it is not the recommended level that `effect` is measured against."""
    lost = verdict.contradiction
    if lost is None or lost.against == verdict.recommended:
        return ()
    low, high = lost.interval
    return (
        f"contradicted by {lost.against}: the error of {lost.level} is {lost.margins:+.3g} margins "
        f"[{low:+.3g}, {high:+.3g}] higher",
    )


def _short(value: float) -> float:
    """At 4 significant digits: more than the evidence carries, few enough to read."""
    return float(f"{value:.4g}")


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        raise ValueError(f"the key '{_twin(key for key, _ in pairs)}' stands twice")
    return mapping


def _twin(keys: Iterable[Any]) -> Any:
    """The first repeated key."""
    return next(key for key, count in Counter(keys).items() if count > 1)


class _Strict(yaml.SafeLoader):
    """A safe loader that refuses repeated keys; `examine` has already refused aliases and tags."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        mapping = super().construct_mapping(node, deep)
        if len(mapping) < len(keys):
            raise yaml.YAMLError(f"line {node.start_mark.line + 1}: the key '{_twin(keys)}' stands twice")
        return mapping
