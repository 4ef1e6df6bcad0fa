"""Tasks of a user whose networks misbehave for one point, in workers only: FAULTS_DEED (JSON) says how."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainers.tasks.task import Task

DEED: dict[str, Any] = json.loads(os.environ.get("FAULTS_DEED", "{}"))
"""`task` and `learning_rate` (of the member that is hit; 0 for all of the task), and `what`."""
IN_A_WORKER = Path(sys.argv[0]).name == "default_worker.py" if sys.argv else False
_poisoned = False


class Net(torch.nn.Module):
    """Two maps, and a factor that is 1, or NaN for who is to go NaN: all share one structure."""

    def __init__(self, inputs: int, outputs: int, factor: float) -> None:
        super().__init__()
        self.hidden = torch.nn.Linear(inputs, 16)
        self.last = torch.nn.Linear(16, outputs)
        self.register_buffer("factor", torch.tensor([factor]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.last(torch.relu(self.hidden(x))) * self.factor)


def network(task: str) -> Any:
    """The function that builds a task's network."""

    def built(inputs: int, outputs: int, config: Any) -> torch.nn.Module:
        global _poisoned
        rate = config.numbers.get("learning_rate", -1.0)
        hit = DEED.get("task") == task and DEED["learning_rate"] in (0, rate)
        if IN_A_WORKER and (hit or _poisoned):
            what = DEED["what"]
            if what == "segfault":
                os.kill(os.getpid(), signal.SIGSEGV)
            if what == "exception":
                raise RuntimeError("made up by the harness")
            if what == "device":  # as after a device-side assert: nothing works in this process any more
                _poisoned = True
                raise RuntimeError("CUDA error: device-side assert triggered (made up by the harness)")
        return Net(inputs, outputs, float("nan") if hit and DEED["what"] == "nan" else 1.0)

    return built


def task(name: str, seed: int) -> Any:
    """A function that returns the task."""

    def made() -> Task:
        x = np.random.default_rng(seed).normal(size=(300, 4))
        return Task.from_arrays(
            x, x[:, 0] + 0.5 * x[:, 1] > 0, kind="classification", name=name, network=network(name)
        )

    made.__name__ = name
    return made


TASKS = [task(name, seed) for seed, name in enumerate(("specks", "stripes", "rings"))]
