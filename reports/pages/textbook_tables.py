"""What the textbook's chapter says besides its table of guidelines: two small tables, as expectations.

They stand beside what a study measured and enter no computation. Source: the same chapter as the guidelines'
(document 001, "Glorot and He initialization" and the table that closes its part on optimizers).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

_GLOROT = ("glorot_normal", "glorot_uniform")
_HE = ("he_normal", "he_uniform")
_LECUN = ("lecun_normal", "lecun_uniform")

PAIRINGS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "identity": _GLOROT,
        "tanh": _GLOROT,
        "logistic": _GLOROT,
        "relu": _HE,
        "leaky_relu": _HE,
        "elu": _HE,
        "gelu": _HE,
        "silu": _HE,
        "mish": _HE,
        "swiglu": _HE,
        "relu_squared": _HE,
        "selu": _LECUN,
    }
)
"""Activation -> the initializers that the textbook pairs with it, in the textbook's order.

It names the variance only, so that the normal and the uniform draw both count. Its 'softmax' is an output.
"""


@dataclass(frozen=True, kw_only=True)
class TextbookRating:
    """The textbook's judgement of one optimizer."""

    says: str
    """Its name there."""
    speed: str
    quality: str


STARS: Mapping[str, TextbookRating] = MappingProxyType(
    {
        "sgd": TextbookRating(says="SGD", speed="★", quality="★★★"),
        "momentum": TextbookRating(says="SGD(momentum)", speed="★★", quality="★★★"),
        "nesterov": TextbookRating(says="SGD(momentum, nesterov)", speed="★★", quality="★★★"),
        "adagrad": TextbookRating(says="Adagrad", speed="★★★", quality="★ (stops too early)"),
        "rmsprop": TextbookRating(says="RMSprop", speed="★★★", quality="★★ / ★★★"),
        "adam": TextbookRating(says="Adam", speed="★★★", quality="★★ / ★★★"),
        "adamax": TextbookRating(says="AdaMax", speed="★★★", quality="★★ / ★★★"),
        "nadam": TextbookRating(says="NAdam", speed="★★★", quality="★★ / ★★★"),
        "adamw": TextbookRating(says="AdamW", speed="★★★", quality="★★ / ★★★"),
    }
)
"""Optimizer -> its stars, in the textbook's order."""
