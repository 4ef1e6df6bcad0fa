"""What our own networks have in common: linear maps in layers, from which their tensors and draws follow.

A kind of network says which maps lead into each of its layers, how one forward pass goes, and how much it
computes. Everything else the trainer wants to know is derived here.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from torch import Tensor

from search_spaces.config import Config
from trainers.networks.block import Block
from trainers.networks.linear import InitialWeights
from trainers.networks.network import ForwardPass, Sites
from trainers.randomness import StreamKey
from trainers.tensors.layout import Layout


@dataclass(frozen=True, kw_only=True)
class LinearMap:
    """One weight of a layer."""

    name: str
    """Of its tensor."""
    inputs: int
    """Values, units or channels that it reads at one place of its kernel."""
    reads_items: bool = False
    """Whether these are the task's items and not activations."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A layer's sums: what its linear maps give is added, with one bias."""

    maps: tuple[LinearMap, ...]
    """The bias is drawn after the weight of the first."""
    outputs: int
    """Units or channels; of a hidden layer that is gated, each takes two sums."""
    taps: int = 1
    """Places of the maps' kernel; with torch's fans, taps * inputs and taps * outputs."""
    places: int = 1
    """Places of an item at which it is computed."""


class StackNetwork(abc.ABC):
    """A network whose members are trained as one stack. It has no fields: each kind is its own dataclass.

    Layer i's bias is called "bias{i}"; the other tensors of a hidden layer are its block's.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]
    block: Block
    """What follows the sums of every hidden layer."""

    @property
    @abc.abstractmethod
    def item_shape(self) -> tuple[int, ...]:
        """Of one item; a norm on the inputs has the features of the last axis."""

    @property
    @abc.abstractmethod
    def layers(self) -> tuple[Layer, ...]:
        """Hidden layers from the inputs on, then the outputs."""

    @property
    def steps(self) -> int:
        """Time steps that a hidden layer takes one after the other, each from the state before."""
        return 1

    @property
    @abc.abstractmethod
    def operations(self) -> tuple[str, ...]:
        """As `Network.operations`; the last is "residual" or "plain"."""

    @property
    @abc.abstractmethod
    def flops(self) -> float:
        """As `Network.flops`."""

    @abc.abstractmethod
    def forward(
        self, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], x: Tensor, how: ForwardPass
    ) -> Tensor:
        """As `Network.forward`."""

    @property
    def hidden(self) -> int:
        """Number of hidden layers."""
        return len(self.layers) - 1

    @cached_property
    def sites(self) -> Sites:
        hidden = self.layers[:-1]
        return Sites(
            layers=len(hidden),
            width=max(layer.outputs for layer in hidden),
            places=max(layer.places for layer in hidden),
            inputs=math.prod(self.item_shape),
            weights=tuple(one.name for layer in hidden for one in layer.maps),
            steps=self.steps,
        )

    @property
    def elements(self) -> int:
        """As `Network.elements`."""
        hidden = self.layers[:-1]
        return self.steps * self.block.maps * sum(layer.places * layer.outputs for layer in hidden)

    def maps_of(self, i: int) -> int:
        """Sums that a unit of layer i takes: 2 in gated hidden layers."""
        return self.block.maps if i < self.hidden else 1

    @cached_property
    def parameters(self) -> Layout:
        tensors = self.block.entry_parameters(self.item_shape[-1])
        for i, layer in enumerate(self.layers):
            sums = layer.outputs * self.maps_of(i)
            for one in layer.maps:
                tensors[one.name] = ((layer.taps * one.inputs, sums), "weight")
            if self.block.biased or i == self.hidden:
                tensors[f"bias{i}"] = ((1, sums), "bias")
            if i < self.hidden:
                tensors |= self.block.parameters(i, layer.outputs, layer.places)
        return Layout.of(tensors)

    @cached_property
    def buffers(self) -> Layout:
        tensors = self.block.entry_buffers(self.item_shape[-1])
        for i, layer in enumerate(self.layers[:-1]):
            tensors |= self.block.buffers(i, layer.outputs)
        return Layout.of(tensors)

    def start(self, config: Config, streams: StreamKey) -> tuple[Tensor, Tensor]:
        """Layers draw in order from the member's own 'weights' stream; levels share its numbers."""
        initial, draws = InitialWeights.of(config), streams.stream("weights")
        values = self.block.entry_start(self.item_shape[-1])
        for i, layer in enumerate(self.layers):
            for one in layer.maps:
                values[one.name], bias = initial.draw(
                    layer.taps * one.inputs,
                    layer.taps * layer.outputs,
                    draws,
                    reads_inputs=one.reads_items,
                    hidden=i < self.hidden,
                    maps=self.maps_of(i),
                    columns=layer.outputs,
                )
                values.setdefault(f"bias{i}", bias)
            if i < self.hidden:
                values |= self.block.start(i, layer.outputs, layer.places)
        return self.parameters.filled(values), self.buffers.filled(values)
