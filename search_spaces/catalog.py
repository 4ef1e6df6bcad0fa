"""Every factor that can vary, in the order people read them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from search_spaces.activations import ACTIVATION
from search_spaces.augmentation import AUGMENTATION
from search_spaces.bias import BIAS
from search_spaces.clipping import CLIPPING
from search_spaces.dropout import DROPOUT
from search_spaces.early_stopping import EARLY_STOPPING
from search_spaces.factor import Factor
from search_spaces.initializers import INITIALIZER
from search_spaces.input_scaling import INPUT_SCALING
from search_spaces.label_smoothing import LABEL_SMOOTHING
from search_spaces.normalizations import NORMALIZATION
from search_spaces.optimizers import OPTIMIZER
from search_spaces.regularizers import DECAY_SCOPE, WEIGHT_DECAY
from search_spaces.schedules import SCHEDULE, WARMUP
from search_spaces.weight_constraints import WEIGHT_CONSTRAINT

_IN_ORDER: tuple[Factor[Any], ...] = (
    INITIALIZER,
    BIAS,
    ACTIVATION,
    NORMALIZATION,
    INPUT_SCALING,
    AUGMENTATION,
    DROPOUT,
    WEIGHT_DECAY,
    DECAY_SCOPE,
    WEIGHT_CONSTRAINT,
    LABEL_SMOOTHING,
    EARLY_STOPPING,
    OPTIMIZER,
    SCHEDULE,
    WARMUP,
    CLIPPING,
)

FACTORS: Mapping[str, Factor[Any]] = MappingProxyType({factor.name: factor for factor in _IN_ORDER})
"""Factor name -> factor. To add a level, add a function and a row in the factor's own file."""
