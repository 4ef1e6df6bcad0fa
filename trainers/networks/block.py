"""What surrounds the linear maps of a hidden layer, whatever the network: norm, activation, dropout.

Shape letters: B items, N rows (items, or items times places, item by item), F features of a row, U units
of a layer; "..." is the members of a stack or nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from search_spaces.activations import ACTIVATION, Activation
from search_spaces.config import Config
from search_spaces.factor import Level
from search_spaces.normalizations import NORM_MOMENTUM, NORMALIZATION, Normalization
from trainers.networks.linear import symmetrized
from trainers.networks.network import ForwardPass, Noise
from trainers.tensors.groups import Group, groups
from trainers.tensors.layout import Role

HALF = (torch.bfloat16, torch.float16)
"""What autocast leaves behind; the moments of a norm are taken in float32."""

Shapes = dict[str, tuple[tuple[int, ...], Role]]
Starts = dict[str, NDArray[np.float64]]
Tensors = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Block:
    """The parts of a hidden layer that follow its linear map; layers are known by number.

    A network calls `enter` on its items, `weight` for every map that leads into a hidden layer, and `apply`
    on what such a map gives.
    """

    activation: str
    """Of all members of a stack, or of its first where they differ."""
    normalization: str
    input_norm: bool = False
    """Batch norm on the inputs, before the first layer."""
    symmetric: bool = False
    """Square weights are (V + V^T) / 2 of the trained V."""
    activation_groups: tuple[Group, ...] = ()
    """Which rows of a stack have which activation; none where all have the same."""

    @staticmethod
    def of(config: Config) -> Block:
        """The block that a config describes."""
        return Block(
            activation=config.levels["activation"],
            normalization=config.levels["normalization"],
            input_norm=config.levels.get("input_scaling") == "batch_norm",
            symmetric=config.levels.get("weight_constraint") == "symmetric",
        )

    def shared_by(self, activations: Sequence[str]) -> Block:
        """The block of a stack whose rows have these activations."""
        neighbours = groups(activations)
        several = neighbours if len(neighbours) > 1 else ()
        return dataclasses.replace(self, activation=neighbours[0].level, activation_groups=several)

    def of_rows(self, rows: Sequence[int]) -> Block:
        """The block of these rows of the stack alone."""
        if not self.activation_groups:
            return self
        activations = [
            group.level for group in self.activation_groups for _ in range(group.start, group.stop)
        ]
        return self.shared_by([activations[k] for k in rows])

    @property
    def operations(self) -> tuple[str, ...]:
        """For `Network.operations`."""
        norm = ("input_norm",) if self.input_norm else ()
        active = "elementwise" if self.activation_built.shares else self.activation
        return (active, self.normalization, *norm, *(("symmetric",) if self.symmetric else ()))

    @property
    def biased(self) -> bool:
        """Whether the maps that lead into hidden layers have a bias."""
        return self.norm.biased

    @property
    def maps(self) -> int:
        """Sums that a linear map must give for every unit of a hidden layer: 2 where gated, else 1."""
        return 2 if self.activation_built.gated else 1

    @cached_property
    def norm(self) -> Normalization:
        """As the catalogue builds it."""
        return NORMALIZATION.level(self.normalization).build

    @cached_property
    def _level(self) -> Level[Activation]:
        return ACTIVATION.level(self.activation)

    @property
    def activation_built(self) -> Activation:
        """As the catalogue builds it."""
        return self._level.build

    # -- tensors -----------------------------------------------------------------------------

    def parameters(self, i: int, units: int, places: int = 1) -> Shapes:
        """Name -> (shape, role) of the trained tensors that layer i has besides its linear map."""
        tensors: Shapes = {f"{name}{i}": ((1, 1), "activation") for name in self.activation_built.learned}
        if self.norm.affine:
            shape = (1, self._normed(units, places))
            tensors |= {f"gain{i}": (shape, "norm"), f"shift{i}": (shape, "norm")}
        return tensors

    def buffers(self, i: int, units: int) -> Shapes:
        """Name -> (shape, role) of layer i's running statistics."""
        return _statistics(i, self._normed(units, 1)) if self.norm.running else {}

    def start(self, i: int, units: int, places: int = 1) -> Starts:
        """What layer i's own tensors start at; those not named start at zero."""
        learned = {f"{name}{i}": np.full(1, start) for name, start in self.activation_built.learned.items()}
        return learned | (_ones(i, self._normed(units, places)) if self.norm.affine else {})

    def entry_parameters(self, features: int) -> Shapes:
        """As `parameters`, of the norm on the inputs; an image or a sequence has its channels' features."""
        if not self.input_norm:
            return {}
        return {"gain_in": ((1, features), "norm"), "shift_in": ((1, features), "norm")}

    def entry_buffers(self, features: int) -> Shapes:
        """As `buffers`, of the norm on the inputs."""
        return _statistics("_in", features) if self.input_norm else {}

    def entry_start(self, features: int) -> Starts:
        """As `start`, of the norm on the inputs."""
        return _ones("_in", features)

    def _normed(self, units: int, places: int) -> int:
        norm = self.norm
        several = 1 if norm.after else self.maps
        return units * several * (places if norm.over == "item" else 1)

    # -- forward -----------------------------------------------------------------------------

    def enter(self, x: Tensor, parameters: Tensors, buffers: Tensors, how: ForwardPass) -> Tensor:
        """Items x [..., B, F] as the first layer sees them: normed, and some of their values dropped.

        Where the norm has fewer features than an item, the item's values are places times channels.
        """
        if self.input_norm:
            features = parameters["gain_in"].shape[-1]
            rows = x.reshape(*x.shape[:-2], -1, features)
            x = _normed(INPUT_NORM, "_in", rows, parameters, buffers, how).reshape(x.shape)
        return x if how.noise.inputs is None else x * how.noise.inputs

    def weight(self, name: str, parameters: Tensors, how: ForwardPass) -> Tensor:
        """The weight that a map into a hidden layer multiplies by."""
        weight = parameters[name]
        if self.symmetric:
            weight = symmetrized(weight)
        kept = how.noise.weights.get(name)
        return weight if kept is None else weight * kept

    def apply(
        self, i: int, z: Tensor, parameters: Tensors, buffers: Tensors, how: ForwardPass, places: int = 1
    ) -> Tensor:
        """Layer i's output [..., N, U] from its linear map's sums z [..., N, maps * U], N = B * places.

        Args:
            i: which hidden layer.
            z: rows, the places of one item after the other.
            parameters: name -> tensor; those of other layers are left alone.
            buffers: running statistics, updated when training.
            how: this pass.
            places: rows of one item.
        """
        z = how.seen(f"sum{i}", z)
        norm = self.norm
        if norm.apply is not None and not norm.after:
            z = self.normed(i, buffers, z, parameters, how, places)
        z = self.activated(i, z, parameters, how)
        if norm.apply is not None and norm.after:
            z = self.normed(i, buffers, z, parameters, how, places)
        return how.seen(f"hidden{i}", dropped(i, z, how.noise, places))

    def normed(
        self, i: int, buffers: Tensors, z: Tensor, parameters: Tensors, how: ForwardPass, places: int = 1
    ) -> Tensor:
        """Layer i's norm of z [..., N, F]; its running statistics are among `buffers`."""
        return _normed(self.norm, i, z, parameters, buffers, how, places)

    def activated(self, i: int, z: Tensor, parameters: Tensors, how: ForwardPass) -> Tensor:
        """Layer i's activation of z [..., N, maps * U]; it may overwrite z where it is not needed again."""
        if self.activation_groups:
            assert len(z) == self.activation_groups[-1].stop, "a network of another stack"
            if torch.is_grad_enabled() or how.watch is not None:
                return torch.cat(
                    [_elementwise(group, z[group.rows], how) for group in self.activation_groups]
                )
            # The sums are not read again; allocating another tensor took 4 % of a training's time.
            for group in self.activation_groups:
                z[group.rows] = _elementwise(group, z[group.rows], how)
            return z
        level = self._level
        own = {r.name: how.numbers[r.name] for r in level.ranges}
        own |= {name: parameters[f"{name}{i}"] for name in level.build.learned}
        if level.build.noisy:
            draw = how.noise.uniform
            noise = None if draw is None else draw(i)[..., : z.shape[-2], : z.shape[-1]]
            return level.build.apply(z, noise=noise, **own)
        return level.build.apply(z, **own)


def _elementwise(group: Group, z: Tensor, how: ForwardPass) -> Tensor:
    """What the members of a group make of their sums z [R, N, U]."""
    level = ACTIVATION.level(group.level)
    return level.build.apply(z, **{r.name: how.numbers[r.name][group.rows] for r in level.ranges})


INPUT_NORM = NORMALIZATION.level("batch_norm").build


def _normed(
    norm: Normalization,
    i: int | str,
    z: Tensor,
    parameters: Tensors,
    buffers: Tensors,
    how: ForwardPass,
    places: int = 1,
) -> Tensor:
    """`norm` on rows z [..., N, F]; over whole items where it says so."""
    assert norm.apply is not None
    rows = z.float() if z.dtype in HALF else z
    if norm.over == "item" and places > 1:
        rows = rows.reshape(*z.shape[:-2], -1, places * z.shape[-1])
    momentum = how.numbers.get("norm_momentum", NORM_MOMENTUM.default)
    y = norm.apply(
        rows,
        parameters.get(f"gain{i}"),
        parameters.get(f"shift{i}"),
        running_mean=buffers.get(f"running_mean{i}"),
        running_var=buffers.get(f"running_var{i}"),
        momentum=momentum if how.averaged is None else 1 / (how.averaged + 1),
        training=how.training,
    )
    return y if y.shape == z.shape else y.reshape(z.shape)


def dropped(i: int, z: Tensor, noise: Noise, places: int) -> Tensor:
    """Activations z [..., N, F] after dropout; all places of an item lose the same units."""
    if noise.scale is None:
        return z
    scale = noise.scale[i][..., : z.shape[-1]]
    offset = None if noise.offset is None else noise.offset[i][..., : z.shape[-1]]
    if places == 1:
        return z * scale if offset is None else z * scale + offset
    by_item = z.reshape(*z.shape[:-2], -1, places, z.shape[-1]) * scale.unsqueeze(-2)
    return (by_item if offset is None else by_item + offset.unsqueeze(-2)).reshape(z.shape)


def _statistics(i: int | str, features: int) -> Shapes:
    return {f"running_mean{i}": ((1, features), "buffer"), f"running_var{i}": ((1, features), "buffer")}


def _ones(i: int | str, features: int) -> Starts:
    return {f"gain{i}": np.ones(features), f"running_var{i}": np.ones(features)}
