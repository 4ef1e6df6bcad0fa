"""What happens between two linear maps, whatever the network: norm, activation, dropout.

Shape letters: N rows (items, or items times places), F features; "..." is the members of a stack or
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from search_spaces.activations import ACTIVATION
from search_spaces.config import Config
from search_spaces.normalizations import NORMALIZATION
from trainers.layout import Role
from trainers.networks.network import Pass

HALF = (torch.bfloat16, torch.float16)
"""What autocast leaves behind; the moments of a norm are taken in float32."""

Shapes = dict[str, tuple[tuple[int, ...], Role]]


@dataclass(frozen=True, kw_only=True)
class Block:
    """The part of a hidden layer that follows its linear map; layers are told apart by number."""

    activation: str
    normalization: str

    @staticmethod
    def of(config: Config) -> Block:
        """The block that a config describes."""
        return Block(activation=config.levels["activation"], normalization=config.levels["normalization"])

    @property
    def words(self) -> tuple[str, ...]:
        """For `Network.operations`."""
        return (self.activation, self.normalization)

    def parameters(self, i: int, features: int) -> Shapes:
        """Name -> (shape, role) of layer i's own trained tensors."""
        if not NORMALIZATION.level(self.normalization).build.affine:
            return {}
        return {f"gain{i}": ((1, features), "norm"), f"shift{i}": ((1, features), "norm")}

    def buffers(self, i: int, features: int) -> Shapes:
        """Name -> (shape, role) of layer i's running statistics."""
        if not NORMALIZATION.level(self.normalization).build.running:
            return {}
        return {f"running_mean{i}": ((1, features), "buffer"), f"running_var{i}": ((1, features), "buffer")}

    def start(self, i: int, features: int) -> dict[str, NDArray[np.float64]]:
        """What layer i's own tensors start at; those not named start at zero."""
        return {f"gain{i}": np.ones(features), f"running_var{i}": np.ones(features)}

    def apply(
        self, i: int, z: Tensor, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], how: Pass
    ) -> Tensor:
        """Layer i's output [..., N, F] from its linear map's sums z [..., N, F]."""
        norm = NORMALIZATION.level(self.normalization).build
        activation = ACTIVATION.level(self.activation)
        z = how.seen(f"sum{i}", z)
        if norm.apply is not None:
            z = norm.apply(
                z.float() if z.dtype in HALF else z,
                parameters.get(f"gain{i}"),
                parameters.get(f"shift{i}"),
                running_mean=buffers.get(f"running_mean{i}"),
                running_var=buffers.get(f"running_var{i}"),
                momentum=how.numbers.get("norm_momentum"),
                training=how.training,
            )
        z = activation.build(z, **{r.name: how.numbers[r.name] for r in activation.ranges})
        mask = how.mask(i)
        if mask is not None:
            z = z * mask[..., : z.shape[-1]]
        return how.seen(f"hidden{i}", z)
