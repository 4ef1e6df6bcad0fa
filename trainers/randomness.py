"""Random streams by name: no draw depends on level, regime, pack or slot."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class StreamKey:
    """What a member's randomness depends on (method.md 2.2). Levels and regimes share streams."""

    study: str
    task: str
    block: int
    phase: str
    index: int
    """The seed index: shared by levels, by candidates of one promotion, and by both confirm arms."""
    salt: str = ""
    """The name of a control arm; it would be identical to its twin by construction otherwise."""

    def stream(self, purpose: str, counter: int = 0) -> np.random.Generator:
        """An independent generator for one purpose ('weights', 'batches', 'dropout', ...).

        `counter` opens a fresh substream (an epoch) without drawing through the earlier ones.
        """
        return np.random.Generator(self.bits(purpose, counter))

    def bits(self, purpose: str, counter: int = 0) -> np.random.Philox:
        """The bit generator behind `stream`, for raw words."""
        names = (self.study, self.task, self.block, self.phase, self.index, self.salt, purpose)
        return philox(*names, counter=counter)


def stream(*names: str | int, counter: int = 0) -> np.random.Generator:
    """A counter-based generator (Philox 4x64) keyed by a hash of `names`.

    Adding a name elsewhere moves no other stream; equal in every process, whatever its hash seed.
    """
    return np.random.Generator(philox(*names, counter=counter))


def philox(*names: str | int, counter: int = 0) -> np.random.Philox:
    """The bit generator behind the function `stream`."""
    text = "\x1f".join(f"{type(name).__name__}:{name}" for name in names)
    key = np.frombuffer(hashlib.blake2b(text.encode(), digest_size=16).digest(), dtype=np.uint64)
    return np.random.Philox(key=key, counter=np.array([0, 0, 0, counter], dtype=np.uint64))


def integer_seed(*names: str | int) -> int:
    """A 32-bit seed for libraries that take only an integer (Optuna, scipy)."""
    return int(stream(*names).integers(2**32))
