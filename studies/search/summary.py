"""What the command line says of a search study, as lines of text and as data for a program."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any

from reports.defaults.best_configuration import best, render
from reports.evidence.search_record import EXPLORATORY, SearchRecord
from reports.verdicts.sentences import counted, titled
from studies.execution.progress import planned_time
from studies.search.cost_estimate import SearchCostEstimate


def planned(found: SearchCostEstimate, title: str) -> list[str]:
    """What a search would cost."""
    cores = len(os.sched_getaffinity(0))
    early = ", less by what is stopped early" if found.pruner != "none" else ""
    wide = max(len(row["parameter"]) for row in found.space)
    time = planned_time(found.seconds / cores)
    time = time if time.startswith("under") else f"about {time}"
    far = max(len(row["values"]) for row in found.space)
    lines = [titled(found.study, title), f"search on {found.task} ({EXPLORATORY})", ""]
    lines.append(f"  {'parameter':{wide}}  {'values':{far}}  open")
    lines += [f"  {row['parameter']:{wide}}  {row['values']:{far}}  {row['open']}" for row in found.space]
    lines += [
        "",
        f"{counted(found.trials, 'trial')} in {counted(found.generations, 'generation')} of at most "
        f"{found.generation}",
        f"  {counted(found.trials, 'member')} in about {counted(found.packs, 'pack')} "
        f"({found.packs_per_generation} in the first generation)",
        f"  {time} on {counted(cores, 'core')}{early}",
    ]
    return [*lines, *(f"  note: {note}" for note in found.notes)]


def concluded(record: SearchRecord) -> list[str]:
    """What a search found so far."""
    counts = ", ".join(f"{record.count(status)} {status}" for status in ("finished", "pruned", "diverged"))
    lines = [EXPLORATORY]
    if record.best is None:
        return [*lines, f"no trial has finished yet ({counts})"]
    found = best(record)
    lines.append(
        f"best: trial {found.trial}, validation {found.metric.replace('_', ' ')} {found.validation:.4g} "
        f"({counts} of {record.planned})"
    )
    numbers = {d.name.rpartition(".")[2] for d in record.space}
    searched: dict[str, Any] = {
        **{name: level for name, level in found.levels.items() if name in numbers},
        **{name: f"{value:.4g}" for name, value in found.numbers.items() if name in numbers},
        **{name: value for name, value in found.setting.items() if name in numbers},
    }
    return [*lines, "  " + ", ".join(f"{name} {value}" for name, value in searched.items())]


def answer(record: SearchRecord) -> dict[str, Any]:
    """The best configuration for a program; None before a trial has finished."""
    found = asdict(best(record)) if record.best is not None else None
    return {"exploratory": EXPLORATORY, "best": found, "verdicts": []}


def exported(record: SearchRecord, format: str) -> str:
    """The best configuration as a file; ValueError before a trial has finished."""
    return render(best(record), format)
