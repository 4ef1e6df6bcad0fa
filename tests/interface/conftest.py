"""One tiny study that tests of the interface look at, trained once."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import groundrules as gr
from groundrules import Results

TINY: dict[str, Any] = {
    "study": "tiny",
    "questions": [{"factor": "activation", "levels": ["relu", "tanh"]}],
    "regimes": {"shallow": {"depth": 1}},
    "setting": {"width": 8, "steps": 20, "train_size": 200, "evaluations": 4, "batch_size": 16},
    "tasks": ["wine", "breast_cancer"],
    "budget": {
        "profile": "quick",
        "families": 2,
        "blocks": 2,
        "trials": 3,
        "promoted": 1,
        "promote_seeds": 1,
        "confirm_seeds": 1,
    },
    "controls": False,
}
"""A study of about a hundred trainings of milliseconds each."""


@pytest.fixture
def tiny() -> dict[str, Any]:
    return TINY


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The tiny study, run by the interface. Look, but do not touch: it is shared."""
    return gr.run(TINY, workspace=tmp_path_factory.mktemp("interface") / "workspace", engine="inline")


@pytest.fixture
def copied(trained: Results, tmp_path: Path) -> Path:
    """A copy of its workspace."""
    return Path(shutil.copytree(trained.workspace, tmp_path / "copied"))
