"""The names of everything that is recorded of a member's inside, and what they mean in words.

A name is `when.what`, or `when.what.layerNN` for one value per hidden layer (layer01 is the first after
the inputs). Imports without torch: reports and tracking only read the numbers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Literal

Switch = Literal["none", "ends"]
"""'ends': at the first and the last step, and the judging between; 'none': nothing is recorded."""
Recorded = Literal["evidence", "ends", "none"]
"""Of whose inside a study records the ends: of members that verdicts are made of and of a search's trials; of
all but the pilot; of nobody."""

LAYER = re.compile(r"(?P<profile>.+)\.layer(?P<number>\d+)")

PROFILES: Mapping[str, str] = {
    "activation_mean": "mean of what a hidden layer gives on, over items and units",
    "activation_square": "second moment of what a hidden layer gives on",
    "gradient_square": "second moment of the derivative of an item's loss by a hidden layer's sums",
    "jacobian_norm": "Frobenius norm of the derivative of a layer's output by its input, root mean square "
    "over items (estimated with one random direction an item; a skip connection is left out)",
    "spectral_radius": "largest absolute eigenvalue of a hidden layer's weights, where they are square",
    "update_ratio": "norm of a step's change of a layer's weights, divided by the norm of the weights",
}
"""One value per layer, at "init", "end" or (update_ratio) "half" of the training."""

SUMMARIES: Mapping[str, str] = {
    "init.input_mean": "mean of the first batch over all its items and features, as the network gets them: "
    "near 0 where inputs are standardized",
    "init.input_sd": "their SD (of n): near 1 where inputs are standardized",
    "init.input_low": "the smallest of them",
    "init.input_high": "the largest of them",
    "init.signal_factor": "what the second moment of activations is multiplied by from one hidden layer to "
    "the next, before the first step (geometric mean): 1 keeps the signal, 0.5 halves it in each layer",
    "init.gradient_factor": "the same for gradients, from one hidden layer back to the one before",
    "init.jacobian_gain": "what a layer stretches a small random change by, before the first step "
    "(Frobenius norm over the root of its inputs, geometric mean over layers)",
    "init.spectral_radius": "largest over the hidden layers",
    "end.signal_factor": "as init.signal_factor, after the last step",
    "end.gradient_factor": "as init.gradient_factor, after the last step",
    "end.jacobian_gain": "as init.jacobian_gain, after the last step",
    "end.spectral_radius": "as init.spectral_radius, after the last step",
    "half.update_ratio": "median over the hidden layers, at the look nearest the middle of the training",
    "end.sparsity": "share of the weights (no biases, no norms) whose absolute value is below 0.001",
    "end.sharpness": "what a step of length 0.05 up the gradient adds to the loss of the first batch: near 0 "
    "in a flat minimum",
    "end.train_loss": "loss on training items without dropout and the like, after the last step",
    "end.validation_loss": "loss on the validation items after the last step",
    "end.gap": "end.validation_loss minus end.train_loss",
    "trivial_loss": "loss on the same training items of the predictor that ignores x",
    "best.dead_units": "share of the hidden units that give the same value for every validation item",
    "best.validation_nll": "mean negative log-likelihood on the validation items (classification)",
    "best.validation_ece": "expected calibration error there: confidence v accuracy, over 15 equal bins",
    "best.test_nll": "as best.validation_nll, from the one read of the test items",
    "best.test_ece": "as best.validation_ece, from the one read of the test items",
    "loss.largest": "the largest training loss of any step, divided by the loss of the first",
    "loss.exploded_at": "the first step whose loss is not finite or above 100 times the first; absent "
    "where there is none",
}
"""One value per member; "end" is the last step, "best" the best validation checkpoint."""

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
    found: dict[str, list[tuple[int, float]]] = {}
    for name, value in numbers.items():
        if match := LAYER.fullmatch(name):
            found.setdefault(match["profile"], []).append((int(match["number"]), value))
    return {name: sorted(values) for name, values in found.items()}


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
