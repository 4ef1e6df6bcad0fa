"""Every factor that can vary, in the order people read them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from search_spaces.activations import ACTIVATION
from search_spaces.augmentation import AUGMENTATION
from search_spaces.clipping import CLIPPING
from search_spaces.factor import Factor
from search_spaces.initializers import INITIALIZER
from search_spaces.input_scaling import INPUT_SCALING
from search_spaces.normalizations import NORMALIZATION
from search_spaces.optimizers import OPTIMIZER
from search_spaces.regularizers import DROPOUT, WEIGHT_DECAY
from search_spaces.schedules import SCHEDULE

_IN_ORDER: tuple[Factor[Any], ...] = (
    INITIALIZER,
    ACTIVATION,
    NORMALIZATION,
    INPUT_SCALING,
    AUGMENTATION,
    DROPOUT,
    WEIGHT_DECAY,
    OPTIMIZER,
    SCHEDULE,
    CLIPPING,
)

FACTORS: Mapping[str, Factor[Any]] = MappingProxyType({factor.name: factor for factor in _IN_ORDER})
"""Factor name -> factor. To add a level, add a function and a row in the factor's own file."""
