"""What Ray Tune runs in a worker process: a shell that finds our packages before others of their names.

A worker imports from the folders that it was given, and one of them may hold a `reports` of somebody else's.
So the class that travels to it comes by value and imports nothing of ours until our packages are claimed.
With `studies.execution.local_cluster` and `studies.execution.ray_workers` a door to Ray.
"""

from __future__ import annotations

import os
import pickle
import runpy
import sys
from pathlib import Path
from typing import Any

import studies.execution.local_cluster  # noqa: F401 - first: it decides how Ray is imported

# isort: split
import ray
from ray import tune

ROOT = Path(__file__).resolve().parents[2]
"""Where our packages lie; on another machine they may lie elsewhere."""


def shell_of(trainer: type) -> type:
    """The class for Tune.

    Args:
        trainer: `studies.execution.pack_trainer.PackTrainer`, or one that is derived from it.
    """
    home, packed = str(ROOT), ray.cloudpickle.dumps(trainer)  # type: ignore[no-untyped-call,unused-ignore]

    class Shell(tune.Trainable):  # type: ignore[misc,unused-ignore]
        """Travels by value: in here, nothing of ours may be named."""

        def setup(self, config: dict[str, Any]) -> None:
            for folder in (home, *sys.path):
                file = os.path.join(folder, "search_spaces", "precedence.py")
                if os.path.isfile(file):
                    runpy.run_path(file)["claim"]("studies")
                    break
            self.trainer = pickle.loads(packed)()
            self.trainer.setup(config)

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            return bool(self.trainer.reset_config(new_config))

        def step(self) -> Any:
            return self.trainer.step()

    Shell.__name__ = Shell.__qualname__ = trainer.__name__  # as which Ray shows its process
    return Shell
