"""Where every tensor of one member lies in its flat row, so that an update rule is one pass."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Role = Literal["weight", "bias", "norm", "activation", "own", "buffer"]

ALIGNMENT = 16
"""Segments start at multiples of 16 elements (64 bytes in float32): a matrix product may depend on
alignment in its last bit, and a member's numbers must not depend on its place in the pack."""


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One tensor of a member: its name, shape, role and first element in the flat row."""

    name: str
    shape: tuple[int, ...]
    role: Role
    start: int

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Layout:
    """The segments of one member's flat row of length `size`."""

    segments: tuple[Segment, ...]

    @staticmethod
    def of(tensors: Mapping[str, tuple[tuple[int, ...], Role]]) -> Layout:
        """Lay the tensors (name -> shape, role) one after the other, aligned."""
        segments, start = [], 0
        for name, (shape, role) in tensors.items():
            segments.append(Segment(name=name, shape=shape, role=role, start=start))
            start += -(-math.prod(shape) // ALIGNMENT) * ALIGNMENT
        return Layout(tuple(segments))

    @cached_property
    def size(self) -> int:
        """Elements of one row, padding included (at least one alignment, so that it is never empty)."""
        last = self.segments[-1] if self.segments else None
        return ALIGNMENT if last is None else -(-(last.start + last.size) // ALIGNMENT) * ALIGNMENT

    @cached_property
    def gaps(self) -> tuple[int, ...]:
        """Elements of a row that belong to no segment."""
        ends = [segment.start for segment in self.segments[1:]] + [self.size]
        spans = zip(self.segments, ends, strict=True) if self.segments else ()
        return tuple(j for segment, end in spans for j in range(segment.start + segment.size, end))

    def filled(self, values: Mapping[str, NDArray[np.float64]]) -> Tensor:
        """One member's flat row [size], float64; a segment without a value is zero."""
        row = np.zeros(self.size)
        for s in self.segments:
            if s.name in values:
                row[s.start : s.start + s.size] = values[s.name].reshape(s.size)
        return torch.from_numpy(row)

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """Name -> view of shape [..., *shape] into `flat` [..., size]; writing to one writes the other."""
        lead = flat.shape[:-1]
        return {s.name: flat[..., s.start : s.start + s.size].view((*lead, *s.shape)) for s in self.segments}

    def leaves(self, flat: Tensor, grads: Tensor) -> dict[str, Tensor]:
        """As `views`, each a leaf whose gradient accumulates into the same place of `grads`."""
        leaves = {}
        gradients = self.views(grads)
        for name, view in self.views(flat).items():
            leaf = view.detach().requires_grad_()
            leaf.grad = gradients[name]
            leaves[name] = leaf
        return leaves


EMPTY = Layout(())
