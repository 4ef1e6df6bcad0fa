"""A perceptron's training pass with its derivative written out: the gradients that autograd would give.

In a small stack autograd's own bookkeeping takes as long as the layers. Here the order of operations is known
beforehand, gradients go straight to where the update rule reads them, and an activation overwrites its sums
where its derivative allows it. What has no derivative of its own here (most activations, RMS norm) is left to
autograd, one operation at a time. `trainers.config_audit` holds every pack's first gradients against
autograd's.

Shape letters: S members of the stack, B items, F features in, G features out, U units, C outputs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from search_spaces.elementwise import WHOLE, WithDerivative
from search_spaces.normalizations import NORM_MOMENTUM, BatchStatistics, ItemStatistics
from trainers.networks.block import Block
from trainers.networks.linear import affine, filled_up
from trainers.networks.network import ForwardPass, Network
from trainers.networks.perceptron import Perceptron
from trainers.tensors.matmul import product

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class StackTensors:
    """The tensors of a stack by name, [S, ...] each: views into the members' flat rows."""

    parameters: Tensors
    gradients: Tensors
    """Where each parameter's gradient belongs."""
    buffers: Tensors


class Operation(Protocol):
    """One step of the pass; it remembers from `forward` what `backward` needs."""

    def forward(self, x: Tensor, how: ForwardPass) -> Tensor:
        """What it makes of x [S, B, F]; it may overwrite x."""
        ...

    def backward(self, dy: Tensor) -> Tensor:
        """dL/dx from dL/dy, which it may overwrite; its parameters' gradients are left in their places."""
        ...


class Affine:
    """x W + b, with W [S, F, G] and b [S, 1, G] or none."""

    def __init__(self, i: int, rows: StackTensors):
        self._weight, self._bias = rows.parameters[f"weight{i}"], rows.parameters.get(f"bias{i}")
        self._weight_gradient = rows.gradients[f"weight{i}"]
        self._bias_gradient = rows.gradients.get(f"bias{i}")
        self._reads_items = i == 0

    def forward(self, x: Tensor, how: ForwardPass) -> Tensor:
        self._x = x
        return affine(x, self._weight, self._bias)

    def backward(self, dy: Tensor) -> Tensor:
        product(self._x.mT, dy, self._weight_gradient)
        if self._bias_gradient is not None:
            torch.sum(dy, 1, keepdim=True, out=self._bias_gradient)
        # The derivative with respect to items is not needed.
        return dy if self._reads_items else product(dy, self._weight.mT)


class Outputs:
    """The last map, its few columns filled up where that is faster (see `trainers.networks.linear.FULL`)."""

    def __init__(self, i: int, rows: StackTensors):
        self._weight, self._bias = rows.parameters[f"weight{i}"], rows.parameters[f"bias{i}"]
        self._weight_gradient, self._bias_gradient = rows.gradients[f"weight{i}"], rows.gradients[f"bias{i}"]
        self._columns = self._weight.shape[-1]

    def forward(self, x: Tensor, how: ForwardPass) -> Tensor:
        self._x, self._filled = x, filled_up(self._weight)
        return affine(x, self._filled, filled_up(self._bias))[..., : self._columns]

    def backward(self, dy: Tensor) -> Tensor:
        torch.sum(dy, 1, keepdim=True, out=self._bias_gradient)
        dy = filled_up(dy)
        if dy.shape[-1] == self._columns:
            product(self._x.mT, dy, self._weight_gradient)
        else:
            self._weight_gradient.copy_(product(self._x.mT, dy)[..., : self._columns])
        return product(dy, self._filled.mT)


class Elementwise:
    """An activation with its derivative."""

    def __init__(self, function: WithDerivative):
        self._function = function

    @property
    def spares_sums(self) -> bool:
        """Whether its sums may be overwritten."""
        return not self._function.reads_sums

    def forward(self, x: Tensor, how: ForwardPass) -> Tensor:
        return self.into(x if self.spares_sums else torch.empty_like(x), x)

    def into(self, place: Tensor, x: Tensor) -> Tensor:
        """What it makes of x, in `place`: x itself where it spares its sums, else another tensor."""
        self._x = x
        self._y = self._function.apply(x, place)
        return self._y

    def backward(self, dy: Tensor) -> Tensor:
        return self._function.pull(dy, self._x, self._y)


class NormalizationPass:
    """Batch norm or layer norm, with gain and shift [S, 1, U]."""

    def __init__(
        self, i: int, rows: StackTensors, statistics: Callable[[Tensor], BatchStatistics | ItemStatistics]
    ):
        self._gain, self._shift = (rows.parameters[f"{name}{i}"] for name in ("gain", "shift"))
        self._gradients = tuple(rows.gradients[f"{name}{i}"] for name in ("gain", "shift"))
        self._running = tuple(rows.buffers.get(f"running_{name}{i}") for name in ("mean", "var"))
        self._statistics_of = statistics

    def forward(self, x: Tensor, how: ForwardPass) -> Tensor:
        self._statistics = self._statistics_of(x)
        mean, var = self._running
        if isinstance(self._statistics, BatchStatistics) and mean is not None and var is not None:
            self._statistics.move(mean, var, how.numbers.get("norm_momentum", NORM_MOMENTUM.default))
        return self._statistics.output(self._gain, self._shift)

    def backward(self, dy: Tensor) -> Tensor:
        dx, *gradients = self._statistics.pull(dy)
        for place, gradient in zip(self._gradients, gradients, strict=True):
            place.copy_(gradient)
        return dx


class DropoutPass:
    """Dropout by this step's masks, where there are any."""

    def __init__(self, i: int):
        self._i = i

    def forward(self, x: Tensor, how: ForwardPass) -> Tensor:
        self._scale = None
        if how.noise.scale is None:
            return x
        self._scale = how.noise.scale[self._i][..., : x.shape[-1]]
        y = x * self._scale
        return y if how.noise.offset is None else y.add_(how.noise.offset[self._i][..., : x.shape[-1]])

    def backward(self, dy: Tensor) -> Tensor:
        return dy if self._scale is None else dy.mul_(self._scale)


class AutogradOperation:
    """Any function of x and of some parameters."""

    def __init__(
        self,
        function: Callable[[Tensor, Tensors, ForwardPass], Tensor],
        names: Sequence[str],
        rows: StackTensors,
    ):
        """`function` is given x, all parameters by name, and the pass; it may use those that are named."""
        self._function = function
        self._leaves = {name: rows.parameters[name].detach().requires_grad_() for name in names}
        self._gradients = [rows.gradients[name] for name in names]

    def forward(self, x: Tensor, how: ForwardPass) -> Tensor:
        self._x = x.detach().requires_grad_()
        with torch.enable_grad():
            self._y = self._function(self._x, self._leaves, how)
        return self._y.detach()

    def backward(self, dy: Tensor) -> Tensor:
        dx, *gradients = torch.autograd.grad(self._y, (self._x, *self._leaves.values()), dy)
        for place, gradient in zip(self._gradients, gradients, strict=True):
            place.copy_(gradient)
        return dx


class MixedActivations:
    """The activations of a stack whose members have different ones, each on the rows of its own."""

    def __init__(self, parts: Sequence[tuple[slice, Elementwise | AutogradOperation]]):
        """`parts` are the rows of each, first to last."""
        self._parts = parts

    def forward(self, x: Tensor, how: ForwardPass) -> Tensor:
        for rows, part in self._parts:
            own = x[rows]
            if isinstance(part, Elementwise):
                part.into(own, own if part.spares_sums else own.clone())
            else:
                numbers = {name: values[rows] for name, values in how.numbers.items()}
                x[rows] = part.forward(own.clone(), dataclasses.replace(how, numbers=numbers))
        return x

    def backward(self, dy: Tensor) -> Tensor:
        for rows, part in self._parts:
            if isinstance(part, Elementwise):
                part.backward(dy[rows])
            else:
                dy[rows] = part.backward(dy[rows])
        return dy


class ManualBackward:
    """The training pass of one stack of perceptrons."""

    def __init__(self, network: Perceptron, rows: StackTensors, *, items: int):
        """`items` are those of a batch."""
        self._network, self._rows = network, rows
        self._layers = [_layer(network, i, rows, items) for i in range(network.hidden)]
        self._outputs = Outputs(network.hidden, rows)

    @torch.no_grad()
    def gradients(
        self, x: Tensor, how: ForwardPass, losses: Callable[[Tensor], tuple[Tensor, Tensor]]
    ) -> Tensor:
        """Losses [S] of items x [S, B, F]; their gradients are left in their places.

        Args:
            x: one batch for each member.
            how: the training pass, without a watch.
            losses: outputs [S, B, C] -> what each member is trained on [S], and its derivative [S, B, C].
        """
        x = self._network.block.enter(x, self._rows.parameters, self._rows.buffers, how)
        for layer in self._layers:
            entered = x
            for operation in layer:
                x = operation.forward(x, how)
            if self._skips(entered, x):
                x = x + entered
        losses_S, dy = losses(self._outputs.forward(x, how))
        dy = self._outputs.backward(dy)
        for layer in reversed(self._layers):
            past = dy.clone() if self._network.residual else dy
            for operation in reversed(layer):
                dy = operation.backward(dy)
            if self._skips(dy, past):
                dy = dy + past
        return losses_S

    def _skips(self, entered: Tensor, left: Tensor) -> bool:
        return self._network.residual and entered.shape == left.shape


def build_manual_backward(network: Network, rows: StackTensors, *, items: int) -> ManualBackward | None:
    """The pass of such a stack; None where it must be left to autograd as a whole.

    That is every network but a perceptron, and a perceptron that norms its inputs or has symmetric weights.
    """
    if not isinstance(network, Perceptron) or network.block.input_norm or network.block.symmetric:
        return None
    return ManualBackward(network, rows, items=items)


def _layer(network: Perceptron, i: int, rows: StackTensors, items: int) -> list[Operation]:
    block = network.block
    whole = items * network.sizes[i + 1] % WHOLE == 0  # of one member: companions are not to decide
    active: Operation
    if block.activation_groups:
        parts = [
            (group.rows, block.of_rows(range(group.start, group.stop))) for group in block.activation_groups
        ]
        active = MixedActivations([(own, _active(part, i, rows, whole)) for own, part in parts])
    else:
        active = _active(block, i, rows, whole)
    linear, dropped = Affine(i, rows), DropoutPass(i)
    norm = block.norm
    if norm.apply is None:
        return [linear, active, dropped]
    normed: Operation
    if norm.statistics is not None:
        normed = NormalizationPass(i, rows, norm.statistics)
    else:
        normed = AutogradOperation(partial(block.normed, i, rows.buffers), [f"gain{i}", f"shift{i}"], rows)
    return [linear, active, normed, dropped] if norm.after else [linear, normed, active, dropped]


def _active(block: Block, i: int, rows: StackTensors, whole: bool) -> Elementwise | AutogradOperation:
    """Layer i's activation, of a stack in which all have the same."""
    activation = block.activation_built
    if activation.with_derivative is not None and whole:
        return Elementwise(activation.with_derivative)
    # Elements that do not fill a register are not to depend on their place (see `steady`).
    return AutogradOperation(partial(block.activated, i), [f"{name}{i}" for name in activation.learned], rows)
