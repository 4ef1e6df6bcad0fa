"""The best configuration that a search found, as a file: a starting point, not a verdict."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import yaml

from reports.evidence.effective_settings import training_items
from reports.evidence.processors import mixture_of
from reports.evidence.search_record import EXPLORATORY, SearchRecord
from reports.io.dataclass_files import optional_field, to_dict
from search_spaces.factor import unknown
from search_spaces.overrides import spelled
from trainers.effective_values import describe, effective_values

FORMATS = ("yaml", "json", "markdown")


@dataclass(frozen=True, kw_only=True)
class Best:
    """One complete configuration, and how it came about."""

    schema: int = 1
    kind: str = "search"
    status: str = EXPLORATORY
    study: str
    task: str
    metric: str
    validation: float
    """Of the metric, on the items by which it was chosen: too low, as the best of many is."""
    trial: int
    best_step: int
    trials: dict[str, int]
    """planned, finished, pruned, diverged."""
    levels: dict[str, str]
    numbers: dict[str, float]
    setting: dict[str, Any]
    protocol: str
    versions: dict[str, str]
    hardware: str
    caveats: tuple[str, ...] | None = optional_field()


def best(record: SearchRecord) -> Best:
    """The best finished trial of a search.

    Raises:
        ValueError: no trial has finished yet.
    """
    found = record.best
    if found is None:
        raise ValueError(
            f"study '{record.name}': no trial has finished yet ({len(record.evaluations)} of "
            f"{record.planned} trained, {record.count('diverged')} diverged)"
        )
    mixed, items = mixture_of(record), training_items(record.facts)
    cut = describe({record.facts.name: effective_values(found.config, items=items)})
    return Best(
        study=record.name,
        task=record.facts.name,
        metric=record.facts.metric,
        validation=float(f"{found.validation_metric:.6g}"),
        trial=found.slot.index,
        best_step=found.best_step,
        trials={
            "planned": record.planned,
            **{status: record.count(status) for status in ("finished", "pruned", "diverged")},
        },
        levels=dict(found.config.levels),
        numbers=dict(found.config.numbers),
        setting=dict(vars(found.config.setting)),
        protocol=record.protocol_hash,
        versions=dict(sorted(record.versions.items())),
        hardware=record.hardware,
        caveats=(*([mixed] if mixed else []), *cut) or None,
    )


def render(found: Best, format: str) -> str:
    """The file's text in 'yaml', 'json' or 'markdown'; equal for equal searches."""
    if format == "yaml":
        plain = to_dict(found)
        return f"# {EXPLORATORY}\n" + str(
            yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None)
        )
    if format == "json":
        return json.dumps(to_dict(found), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if format == "markdown":
        return _markdown(found)
    raise unknown("format of a configuration", format, FORMATS)


def _markdown(found: Best) -> str:
    counts = ", ".join(f"{count} {status}" for status, count in found.trials.items())
    lines = [
        f"# Best configuration of the search {found.study}",
        "",
        f"{EXPLORATORY[0].upper()}{EXPLORATORY[1:]}.",
        "",
        f"Trial {found.trial} on {found.task}: validation {found.metric.replace('_', ' ')} "
        f"{found.validation:.4g} at step {found.best_step}. Trials: {counts}.",
        "",
        "| key | value |",
        "|---|---|",
    ]
    for part in (found.levels, found.numbers, found.setting):
        lines += [f"| {name} | {spelled(value)} |" for name, value in part.items()]
    versions = ", ".join(f"{name} {version}" for name, version in found.versions.items())
    lines += ["", *(f"Caveat: {caveat}." for caveat in found.caveats)] if found.caveats else []
    return "\n".join([*lines, "", f"Protocol {found.protocol}. Versions: {versions}. {found.hardware}.", ""])
