"""The studies that are run under faults: small trainings, many packs, about ten seconds of work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TASKS_FROM = Path(__file__).with_name("tasks.py")
SETTING = {"width": 24, "batch_size": 32, "steps": 150, "train_size": 200, "evaluations": 3}
BUDGET = {
    "profile": "quick", "families": 3, "trials": 3, "promoted": 1, "promote_seeds": 1, "confirm_seeds": 1
}  # fmt: skip
CELL = 7
"""Members of a cell with this budget: 4 retuned, 1 promoted, 2 confirmed."""


def blocks_for(members: int, cells: int) -> int:
    """So many blocks that a study of so many cells a block trains at least these members."""
    return max(1, -(-members // (cells * CELL)))


def guideline(members: int = 250, name: str = "faulty") -> dict[str, Any]:
    """Initializers on tables that ship."""
    return {
        "study": name,
        "title": "Initializers while machines die",
        "questions": [{"factor": "initializer", "levels": ["he_normal", "glorot_normal"]}],
        "regimes": {"shallow": {"depth": 2}, "deep": {"depth": 5}},
        "setting": SETTING,
        "fixed": {"activation": "relu"},
        "background": {"optimizer": ["nesterov", "adam"]},
        "nuisance": ["learning_rate"],
        "tasks": ["wine", "breast_cancer", "digits", "diabetes"],
        "budget": {**BUDGET, "blocks": blocks_for(members, cells=12)},
        "pack_size": 8,
    }


def own(members: int = 150, name: str = "own") -> dict[str, Any]:
    """Optimizers on the networks of a user's task file."""
    return {
        "study": name,
        "title": "Optimizers on networks that misbehave",
        "questions": [{"factor": "optimizer", "levels": ["sgd", "adam"]}],
        "regimes": {"shallow": {"depth": 1}},
        "setting": {**SETTING, "steps": 60},
        "background": {},
        "nuisance": ["learning_rate"],
        "tasks": ["specks", "stripes", "rings"],
        "budget": {**BUDGET, "trials": 7, "blocks": blocks_for(members, cells=6)},
        "pack_size": 8,
    }


def search(members: int = 96, name: str = "sought") -> dict[str, Any]:
    """An adaptive search, whose points hang on earlier results."""
    return {
        "kind": "search",
        "study": name,
        "title": "A search while machines die",
        "tasks": ["digits"],
        "setting": {**SETTING, "depth": 2},
        "space": {"initializer": ["he_normal", "glorot_normal"], "learning_rate": None},
        "trials": members,
        "sampler": "tpe",
        "pruner": "none",
        "generation": 16,
    }


def written(study: dict[str, Any], folder: Path) -> Path:
    """The study as a file; JSON is YAML."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{study['study']}.yaml"
    file.write_text(json.dumps(study, indent=1), encoding="utf-8")
    return file
