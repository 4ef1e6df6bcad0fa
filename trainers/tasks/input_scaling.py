"""How items and targets are scaled: by statistics of one block's training items alone.

Shape letters: n items, F features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search_spaces.config import Config
from search_spaces.input_scaling import INPUT_SCALING
from trainers.tasks.task_fields import TaskFields

Floats = NDArray[np.float64]


def check_input_scaling(config: Config, task: TaskFields) -> None:
    """ValueError where a level adds a first layer that a network of one's own does not have."""
    name = config.levels["input_scaling"]
    if task.network is not None and INPUT_SCALING.level(name).build.first_layer_norm:
        allowed = [level.name for level in INPUT_SCALING.levels if not level.build.first_layer_norm]
        raise ValueError(
            f"task '{task.name}' has a network of its own, to which input_scaling={name} cannot add a first "
            f"layer. Allowed there: {', '.join(allowed)}"
        )


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """Items become (x - centre) / unit."""

    centre_F: Floats
    unit_F: Floats

    @staticmethod
    def of(task: TaskFields, train: NDArray[np.int64], level: str) -> Scaling:
        """By a level of the factor input_scaling; tokens stay what they are.

        The places of an image share their channel's numbers.
        """
        if task.inputs == "tokens":
            level = "raw"
        fit = INPUT_SCALING.level(level).build.fit
        x = task.x[train].astype(np.float64)
        if task.shape is None or not task.is_image:
            centre, unit = fit(x)
        else:
            channels = task.shape[-1]
            places = task.n_inputs // channels
            centre, unit = (np.tile(numbers, places) for numbers in fit(x.reshape(-1, channels)))
        return Scaling(centre_F=centre, unit_F=unit)

    def items(self, task: TaskFields, numbers: NDArray[np.int64]) -> Floats:
        """Scaled x [n, F] of those items."""
        scaled: Floats = (task.x[numbers].astype(np.float64) - self.centre_F) / self.unit_F
        return scaled


@dataclass(frozen=True, kw_only=True)
class TargetScaling:
    """Targets of regression are standardized; class numbers stay what they are."""

    mean: float
    sd: float

    @staticmethod
    def of(task: TaskFields, train: NDArray[np.int64]) -> TargetScaling:
        """From the training items."""
        if task.kind == "classification":
            return TargetScaling(mean=0.0, sd=1.0)
        y = task.y[train].astype(np.float64)
        return TargetScaling(mean=float(y.mean()), sd=float(y.std()) or 1.0)

    def items(self, task: TaskFields, numbers: NDArray[np.int64]) -> Floats:
        """Scaled y [n] of those items."""
        scaled: Floats = (task.y[numbers].astype(np.float64) - self.mean) / self.sd
        return scaled
