"""What a schedule is: a table over steps, relative to the peak learning rate."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float64]
"""[steps], one value for each update."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What a schedule asks of the trainer."""

    multiplier: Table
    """Learning rate of each step divided by the peak learning rate."""
    momentum: Table | None = None
    """The optimizer's momentum number at each step; None: whatever it was set to."""
    patience: float = math.inf
    """Looks at validation without improvement that are tolerated before the rate is cut."""
    factor: float = 1.0
    """What the rate is multiplied by at such a cut."""
