"""How items are scaled before a network sees them: numbers from the training items, or a norm layer.

Shape letters: n training items, F features (of images: channels, all places pooled).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search_spaces.factor import Factor, Level, Source

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class InputScaling:
    """Items are scaled to (x - centre) / unit, the same numbers for training and held-out items."""

    fit: Callable[[Floats], tuple[Floats, Floats]]
    """f(training items [n, F]) -> centre [F] and unit [F], units above 0."""
    first_layer_norm: bool = False
    """The network itself begins with a batch norm with gain and shift."""


def z_score(x: Floats) -> tuple[Floats, Floats]:
    """Mean and SD (of n, not n - 1) of each feature; a constant feature is only centred."""
    sd = x.std(axis=0)
    return x.mean(axis=0), np.where(sd > 0, sd, 1.0)


def raw(x: Floats) -> tuple[Floats, Floats]:
    """0 and 1: items stay as they are."""
    return np.zeros(x.shape[1]), np.ones(x.shape[1])


def min_max(x: Floats) -> tuple[Floats, Floats]:
    """Middle and half-width of each feature's range, which becomes [-1, 1]; a constant one becomes 0."""
    low, high = x.min(axis=0), x.max(axis=0)
    half = (high - low) / 2
    return (low + high) / 2, np.where(half > 0, half, 1.0)


CHANNELS = "Of images, statistics are each channel's over all places, as in torchvision's Normalize."
UNIT = (
    "The framework scales nothing by itself; the z-score stands here for what its users do, so that a "
    "study that asks about something else begins from a sound start."
)

# Cost ranks: the framework's own, nothing at all, a second pass over the training items once, and a norm
# in every step.
INPUT_SCALING: Factor[InputScaling] = Factor(
    name="input_scaling",
    meaning="how items are scaled before the first layer",
    levels=(
        Level(
            name="z_score",
            build=InputScaling(fit=z_score),
            enters="numbers",
            source=Source(
                document="001 002 004",
                claim="data normalized to mean 0 and SD 1, by statistics of the data set, work well",
            ),
            cost_rank=0,
            note=f"By the numbers of the training items alone. {CHANNELS} {UNIT}",
            formula="(x - mean) / sd of each feature (of n, not n - 1); a constant one is only centred",
        ),
        Level(
            name="raw",
            build=InputScaling(fit=raw),
            enters="numbers",
            source=Source(document="002", claim="normalized data work well; these are what they were"),
            cost_rank=1,
            formula="x",
        ),
        Level(
            name="min_max",
            build=InputScaling(fit=min_max),
            enters="numbers",
            source=Source(document="002", claim="values between -1 and 1 work as well as z-scores"),
            cost_rank=2,
            note=f"Held-out items may lie outside. {CHANNELS}",
            formula="(x - middle) / half-width of each feature's range: [-1, 1]; a constant one becomes 0",
        ),
        Level(
            name="batch_norm",
            build=InputScaling(fit=raw, first_layer_norm=True),
            enters="structure",
            source=Source(
                document="001 004; Ioffe and Szegedy 2015, arXiv:1502.03167",
                claim="batch norm as the first layer removes the need to standardize the training set",
            ),
            cost_rank=3,
            note="Its running statistics follow the momentum of the framework, and eval mode uses them.",
            formula="batch norm of the items as they are, as the first layer",
        ),
    ),
    framework_default="z_score",
    textbook_shallow=("z_score",),
    textbook_deep=("z_score",),
)
