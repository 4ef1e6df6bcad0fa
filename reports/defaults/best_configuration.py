"""The best configuration that a search found, as a file: a starting point, not a verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from reports.evidence.effective_settings import training_items
from reports.evidence.processors import mixture_of
from reports.evidence.search_record import EXPLORATORY, SearchRecord
from reports.io.dataclass_files import json_text, optional_field, yaml_text
from search_spaces.factor import unknown
from search_spaces.overrides import spelled
from trainers.effective_values import describe, effective_values


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
    trial = record.best
    if trial is None:
        raise ValueError(
            f"study '{record.name}': no trial has finished yet ({len(record.evaluations)} of "
            f"{record.planned} trained, {record.count('diverged')} diverged)"
        )
    mixed, items = mixture_of(record), training_items(record.facts)
    cut = describe({record.facts.name: effective_values(trial.config, items=items)})
    return Best(
        study=record.name,
        task=record.facts.name,
        metric=record.facts.metric,
        validation=float(f"{trial.validation_metric:.6g}"),
        trial=trial.slot.index,
        best_step=trial.best_step,
        trials={
            "planned": record.planned,
            **{status: record.count(status) for status in ("finished", "pruned", "diverged")},
        },
        levels=dict(trial.config.levels),
        numbers=dict(trial.config.numbers),
        setting=dict(vars(trial.config.setting)),
        protocol=record.protocol_hash,
        versions=dict(sorted(record.versions.items())),
        hardware=record.hardware,
        caveats=(*([mixed] if mixed else []), *cut) or None,
    )


def render(row: Best, format: str) -> str:
    """The file's text in 'yaml', 'json' or 'markdown'; equal for equal searches."""
    if format not in FORMATS:
        raise unknown("format of a configuration", format, FORMATS)
    return FORMATS[format](row)


def _markdown(row: Best) -> str:
    counts = ", ".join(f"{count} {status}" for status, count in row.trials.items())
    lines = [
        f"# Best configuration of the search {row.study}",
        "",
        f"{EXPLORATORY[0].upper()}{EXPLORATORY[1:]}.",
        "",
        f"Trial {row.trial} on {row.task}: validation {row.metric.replace('_', ' ')} "
        f"{row.validation:.4g} at step {row.best_step}. Trials: {counts}.",
        "",
        "| key | value |",
        "|---|---|",
    ]
    for part in (row.levels, row.numbers, row.setting):
        lines += [f"| {name} | {spelled(value)} |" for name, value in part.items()]
    versions = ", ".join(f"{name} {version}" for name, version in row.versions.items())
    lines += ["", *(f"Caveat: {caveat}." for caveat in row.caveats)] if row.caveats else []
    return "\n".join(
        [
            *lines,
            "",
            f"Protocol {row.protocol}. Versions: {versions}. {row.hardware}.",
            "",
        ]
    )


FORMATS: Mapping[str, Callable[[Best], str]] = {
    "yaml": lambda row: f"# {EXPLORATORY}\n{yaml_text(row)}",
    "json": json_text,
    "markdown": _markdown,
}
