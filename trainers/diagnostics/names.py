"""The form of the names that diagnostics are recorded under, and what is read from them without torch.

A name is `when.what`, or `when.what.layerNN` for one value per hidden layer (layer01 is the first after
the inputs); `trainers.diagnostics.instruments` explains each of them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Literal

Switch = Literal["none", "ends"]
"""'ends': at the first and the last step, and at validation; 'none': nothing is recorded."""
Recorded = Literal["evidence", "ends", "none"]
"""Of whose inside a study records the ends: of members that verdicts are made of and of a search's trials; of
all but the pilot; of nobody."""

LAYER = re.compile(r"(?P<profile>.+)\.layer(?P<number>\d+)")

EXPLODED = 100.0
"""A training loss that so often exceeds the first step's has exploded, though it may be finite."""

LEARNED_SHARE = 0.5
"""Underfits: less than this share of the trivial predictor's loss is gone on the training items."""
GAP_SHARE = 0.25
"""Overfits: the gap is larger than this share of the trivial predictor's loss."""

Fit = Literal["overfits", "underfits", "fits", ""]


def fit(numbers: Mapping[str, float]) -> Fit:
    """Over- or underfitting at the last step, read from its losses; '' where they were not recorded.

    'overfits' where validation loss exceeds training loss by more than a quarter of the trivial
    predictor's loss; else 'underfits' where training loss is more than half of the trivial predictor's.
    """
    gap, train, trivial = (numbers.get(name) for name in ("end.gap", "end.train_loss", "trivial_loss"))
    if gap is None or train is None or trivial is None or not math.isfinite(gap):
        return ""
    if gap > GAP_SHARE * trivial:
        return "overfits"
    return "underfits" if train > (1 - LEARNED_SHARE) * trivial else "fits"


def summaries(numbers: Mapping[str, float]) -> dict[str, float]:
    """What is recorded once per member."""
    return {name: value for name, value in numbers.items() if not LAYER.fullmatch(name)}


def profiles(numbers: Mapping[str, float]) -> dict[str, list[tuple[int, float]]]:
    """'init.activation_square' -> (layer, value) in the order of layers, for what is recorded per layer."""
    by_profile: dict[str, list[tuple[int, float]]] = {}
    for name, value in numbers.items():
        if match := LAYER.fullmatch(name):
            by_profile.setdefault(match["profile"], []).append((int(match["number"]), value))
    return {name: sorted(values) for name, values in by_profile.items()}


def factor(values: Sequence[float]) -> float | None:
    """Geometric mean of the ratios of neighbours, (last / first) ** (1 / (count - 1)).

    None for fewer than two values, and where one is not a number or both ends are zero or infinite.
    """
    if len(values) < 2 or any(math.isnan(v) for v in values):
        return None
    first, last = values[0], values[-1]
    if first == last:
        return None if first in (0.0, math.inf) else 1.0
    if first == 0 or last == math.inf:
        return math.inf
    if last == 0 or first == math.inf:
        return 0.0
    return math.exp((math.log(last) - math.log(first)) / (len(values) - 1))
