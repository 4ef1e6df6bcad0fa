"""The program with a catalogue that has one level more of every factor, in the middle of its order of cost.

python -m tests.studies.grown run study.yaml --workspace ws     as `groundrules`
python -m tests.studies.grown written WORKSPACE                 its reports and exports
python -m tests.studies.grown hashes                            shipped study -> hash of its file
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from search_spaces import catalog
from search_spaces.factor import Factor

ADDED = "added_level"
FILES = ("yaml", "json", "markdown", "python", "optuna", "latex", "csv")
"""What `written` leaves in the workspace, besides its reports."""


def grown(factor: Factor[Any]) -> Factor[Any]:
    """The same factor with one level more, built as its cheapest one is."""
    levels = factor.levels
    middle = (len(levels) + 1) // 2
    cheapest = min(levels, key=lambda level: level.cost_rank)
    rank = sorted(level.cost_rank for level in levels)[middle]
    moved = [replace(one, cost_rank=one.cost_rank + (one.cost_rank >= rank)) for one in levels]
    return replace(
        factor, levels=(*moved[:middle], replace(cheapest, name=ADDED, cost_rank=rank), *moved[middle:])
    )


def written(workspace: Path) -> None:
    """Reports, exports and results of the studies `tiny` and `seek` in a workspace."""
    from studies.cli import invoke

    place = ("--workspace", str(workspace))
    for study in ("tiny", "seek"):
        assert invoke(["report", study, *place]) == 0
    for kind in FILES[:-1]:
        assert invoke(["export", "tiny", "--format", kind, "--output", str(workspace / kind), *place]) == 0
    assert invoke(["results", "tiny", "--output", str(workspace / FILES[-1]), *place]) == 0


def hashes() -> dict[str, str]:
    """Every study that ships -> the hash of its resolved file."""
    from search_spaces.config import digest
    from studies.load_study import load
    from studies.spec.load import shipped

    return {name: digest(load(name).resolved()) for name in shipped()}


if __name__ == "__main__":
    # Before anything else reads it.
    catalog.FACTORS = {name: grown(factor) for name, factor in catalog.FACTORS.items()}
    if sys.argv[1:] == ["hashes"]:
        print(json.dumps(hashes()))
    elif sys.argv[1] == "written":
        written(Path(sys.argv[2]))
    else:
        from studies.cli import main

        main()
