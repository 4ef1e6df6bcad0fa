"""Running an exported PyTorch file in a process that has torch and numpy, and nothing of ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from trainers.tasks.task import Task
from trainers.tasks.task_fields import Split

ALONE = """
import sys
from importlib.machinery import PathFinder

class TorchAndNumpy:
    def find_spec(self, name, path=None, target=None):
        absent = {"search_spaces", "trainers", "reports", "studies", "scipy", "sklearn", "optuna", "pandas"}
        return None if name.split(".")[0] in absent else PathFinder.find_spec(name, path, target)

# Without the finder that an editable install puts there.
sys.meta_path = [
    TorchAndNumpy() if finder is PathFinder else finder
    for finder in sys.meta_path
    if getattr(finder, "__name__", "") != "_EditableFinder"
]
for name in ("search_spaces", "scipy", "sklearn"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    sys.exit(f"{name} is here after all")
"""

TRAINING = """
import importlib.util
import math
import numpy as np
import torch

spec = importlib.util.spec_from_file_location("recipe", sys.argv[1])
recipe = importlib.util.module_from_spec(spec)
spec.loader.exec_module(recipe)
data = np.load(sys.argv[2])
inputs, outputs = data["x_train"].shape[1], int(data["y_train"].max()) + 1
torch.set_num_threads(1)
for regime in recipe.REGIMES:
    torch.manual_seed(1)
    model = recipe.build_model(inputs, outputs, regime=regime)
    before = recipe.error_of(model, data["x_test"], data["y_test"])
    history = recipe.fit(
        model, data["x_train"], data["y_train"], data["x_validation"], data["y_validation"], seed=1
    )
    error = recipe.error_of(model, data["x_test"], data["y_test"])
    print(regime, before, error, history["best_step"])
"""


def handed_over(task: Task, split: Split, file: Path, *, train_size: int | None = None) -> None:
    """Writes a split of a task as npz: the only thing that the process is given besides the file."""
    arrays: dict[str, Any] = {}
    parts = (("train", split.train[:train_size]), ("validation", split.validation), ("test", split.test))
    for part, numbers in parts:
        arrays |= {f"x_{part}": task.x[numbers], f"y_{part}": task.y[numbers]}
    np.savez(file, **arrays)


def trained_alone(file: Path, data: Path) -> dict[str, tuple[float, float, int]]:
    """Regime -> (error before, error after, best step) of the file's own training on that data.

    Raises:
        RuntimeError: the process failed; with what it said.
    """
    done = subprocess.run(
        [sys.executable, "-c", ALONE + TRAINING, str(file), str(data)],
        cwd=file.parent,
        env={"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    lines = [line.rsplit(maxsplit=3) for line in done.stdout.splitlines()]
    return {regime: (float(before), float(after), int(step)) for regime, before, after, step in lines}
