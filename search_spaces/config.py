"""One point of the search space: a level for every factor, a number for every open range."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property, lru_cache
from typing import Any, Literal, get_args

from search_spaces.networks import NETWORKS

Precision = Literal["float32", "float64", "bfloat16", "float16"]


def digest(value: Any, size: int = 10) -> str:
    """A hash of plain data (hex, `size` bytes): equal in every process and Python version."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=size).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The training setting: what is held while levels are compared, or varied by a regime."""

    network: str = "mlp"
    """One of `search_spaces.networks.NETWORKS`; a task's own network ignores it."""
    depth: int = 2
    """Hidden layers; convolutions of a cnn, stacked recurrent layers of an rnn."""
    width: int = 64
    """Units in each hidden layer; channels of a cnn."""
    funnel: bool = False
    """Widths of an mlp shrink by equal ratios, from `width` to about twice the outputs."""
    residual: bool = False
    """Add each hidden layer's input to its output where the shapes agree."""
    batch_size: int = 32
    """Training items in one step."""
    steps: int = 300
    """Updates in one training."""
    train_size: int = 1000
    """Training items at most; a task with fewer uses all it has."""
    evaluations: int = 15
    """How often validation is measured in one training, evenly spaced, the last step included."""
    precision: Precision = "float32"
    """Of parameters, gradients and optimizer. With bfloat16 and float16 these stay float32 and only the
    forward pass runs in torch's autocast; float16 scales the loss."""

    def plain(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {name: getattr(self, name) for name in SETTING_NAMES}

    def __post_init__(self) -> None:
        limits = SETTING_LIMITS
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise ValueError(f"setting {name} = {value!r} must be a whole number in [{low}, {high}]")
        for name in ("funnel", "residual"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"setting {name} = {getattr(self, name)!r} must be true or false")
        for name, words in SETTING_WORDS.items():
            if getattr(self, name) not in words:
                raise ValueError(
                    f"setting {name} = {getattr(self, name)!r} must be one of {', '.join(words)}"
                )
        if self.evaluations > self.steps:
            raise ValueError(f"setting evaluations = {self.evaluations} must not exceed steps = {self.steps}")


SETTING_LIMITS: dict[str, tuple[int, int]] = {
    "depth": (1, 100),
    "width": (1, 4096),
    "batch_size": (2, 4096),
    "steps": (1, 1_000_000),
    "train_size": (8, 10_000_000),
    "evaluations": (1, 1000),
}
SETTING_WORDS: dict[str, tuple[str, ...]] = {
    "network": tuple(NETWORKS),
    "precision": get_args(Precision),
}
SETTING_NAMES = tuple(f.name for f in fields(Setting))


@dataclass(frozen=True, kw_only=True)
class Config:
    """One complete point; `search_spaces.space.complete` makes valid ones."""

    levels: Mapping[str, str]
    """Factor -> level name, for every factor of the catalogue."""
    numbers: Mapping[str, float]
    """Number name -> value, for exactly the ranges that the levels open."""
    setting: Setting = field(default_factory=Setting)

    def plain(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {"levels": dict(self.levels), "numbers": dict(self.numbers), "setting": self.setting.plain()}

    @staticmethod
    def from_plain(data: Mapping[str, Any]) -> Config:
        """The inverse of `plain`; TypeError, KeyError or ValueError for what it never makes."""
        numbers = {sys.intern(name): value for name, value in data["numbers"].items()}
        for name, value in numbers.items():
            if type(value) is not float and (type(value) is not int or abs(value) >= 1 << 63):
                raise TypeError(f"{name} = {value!r:.80} is no number")
        return Config(
            levels=_levels(tuple(data["levels"].items())),
            numbers=numbers,
            setting=_setting(tuple(data["setting"].items())),
        )

    @cached_property
    def id(self) -> str:
        """Equal for equal points, in any process."""
        return digest(self.plain())


# The members of a study share few settings and few sets of levels: each is kept once.


@lru_cache(maxsize=4096)
def _levels(items: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    for factor, level in items:
        if type(level) is not str:
            raise TypeError(f"{factor} = {level!r:.80} is no level")
    return dict(items)


@lru_cache(maxsize=4096)
def _setting(items: tuple[tuple[str, Any], ...]) -> Setting:
    return Setting(**dict(items))
