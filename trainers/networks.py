"""The networks that can be trained: a multilayer perceptron in a stack, or a user's own module.

Shape letters: K members, B items, F features, C outputs; "..." is K or nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from search_spaces.activations import ACTIVATION
from search_spaces.catalog import FACTORS
from search_spaces.config import Config
from search_spaces.initializers import INITIALIZER, Initializer
from search_spaces.normalizations import NORMALIZATION
from trainers.layout import EMPTY, Layout, Role
from trainers.randomness import StreamKey
from trainers.task import NetworkFactory, Task

Mask = Callable[[int], Tensor | None]
"""Hidden layer number -> dropout mask [..., B, width] already scaled by 1 / (1 - p), or None."""


@dataclass(frozen=True, kw_only=True)
class Pass:
    """What one forward pass needs besides parameters and items."""

    training: bool
    numbers: Mapping[str, Tensor] = field(default_factory=dict)
    """Per-member numbers of activations and norms, [..., 1, 1]."""
    mask: Mask = lambda layer: None
    seeds: Sequence[int] | None = None
    """What each member's own module sets torch's generator to; None leaves it alone."""


class Network(Protocol):
    """What the trainer asks of a network: where its tensors lie, how they start, what it computes."""

    @property
    def parameters(self) -> Layout: ...

    @property
    def buffers(self) -> Layout: ...

    @property
    def masked_layers(self) -> int:
        """How many layers ask `Pass.mask`, each `width` wide."""
        ...

    @property
    def operations(self) -> tuple[str, ...]:
        """The graph in words: members whose words and shapes agree can share a pack."""
        ...

    def start(self, config: Config, streams: StreamKey) -> tuple[Tensor, Tensor]:
        """One member's flat parameters and buffers at step 0, float64 on the CPU."""
        ...

    def forward(
        self, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], x: Tensor, how: Pass
    ) -> Tensor:
        """Outputs [..., B, C] of items x [..., B, F]; updates running statistics when training."""
        ...


@dataclass(frozen=True, kw_only=True)
class Perceptron:
    """Hidden layers of linear map, norm, activation, dropout; then a linear output.

    With `residual`, a hidden layer's input is added to its output where both have the same width.
    """

    sizes: tuple[int, ...]
    """Inputs, hidden widths, outputs."""
    activation: str
    normalization: str
    residual: bool

    @staticmethod
    def of(config: Config, n_inputs: int, n_outputs: int) -> Perceptron:
        """The perceptron that a config describes."""
        s = config.setting
        return Perceptron(
            sizes=(n_inputs, *(s.width,) * s.depth, n_outputs),
            activation=config.levels["activation"],
            normalization=config.levels["normalization"],
            residual=s.residual,
        )

    @property
    def masked_layers(self) -> int:
        return len(self.sizes) - 2

    @property
    def operations(self) -> tuple[str, ...]:
        return ("perceptron", self.activation, self.normalization, "residual" if self.residual else "plain")

    @property
    def parameters(self) -> Layout:
        norm = NORMALIZATION.level(self.normalization).build
        tensors: dict[str, tuple[tuple[int, ...], Role]] = {}
        for i, (fan_in, fan_out) in enumerate(itertools.pairwise(self.sizes)):
            tensors[f"weight{i}"] = ((fan_in, fan_out), "weight")
            tensors[f"bias{i}"] = ((1, fan_out), "bias")
            if norm.affine and i < self.masked_layers:
                tensors[f"gain{i}"] = ((1, fan_out), "norm")
                tensors[f"shift{i}"] = ((1, fan_out), "norm")
        return Layout.of(tensors)

    @property
    def buffers(self) -> Layout:
        if not NORMALIZATION.level(self.normalization).build.running:
            return EMPTY
        tensors: dict[str, tuple[tuple[int, ...], Role]] = {}
        for i, width in enumerate(self.sizes[1:-1]):
            tensors[f"running_mean{i}"] = ((1, width), "buffer")
            tensors[f"running_var{i}"] = ((1, width), "buffer")
        return Layout.of(tensors)

    def start(self, config: Config, streams: StreamKey) -> tuple[Tensor, Tensor]:
        """Layers draw in order from the member's own 'weights' stream; levels share its numbers."""
        initializer = INITIALIZER.level(config.levels["initializer"]).build
        gain = weight_gain(initializer, config)
        draws = streams.stream("weights")
        values: dict[str, NDArray[np.float64]] = {}
        for i, (fan_in, fan_out) in enumerate(itertools.pairwise(self.sizes)):
            weight, bias = drawn(initializer, fan_in, fan_out, draws)
            values[f"weight{i}"], values[f"bias{i}"] = gain * weight, bias
            values[f"gain{i}"] = np.ones(fan_out)
            values[f"running_var{i}"] = np.ones(fan_out)
        return filled(self.parameters, values), filled(self.buffers, values)

    def forward(
        self, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], x: Tensor, how: Pass
    ) -> Tensor:
        norm = NORMALIZATION.level(self.normalization).build
        activation = ACTIVATION.level(self.activation)
        own = {r.name: how.numbers[r.name] for r in activation.ranges}
        h = x
        for i in range(self.masked_layers):
            z = affine(h, parameters[f"weight{i}"], parameters[f"bias{i}"])
            if norm.apply is not None:
                z = norm.apply(
                    z,
                    parameters.get(f"gain{i}"),
                    parameters.get(f"shift{i}"),
                    running_mean=buffers.get(f"running_mean{i}"),
                    running_var=buffers.get(f"running_var{i}"),
                    momentum=how.numbers.get("norm_momentum"),
                    training=how.training,
                )
            z = activation.build(z, **own)
            mask = how.mask(i)
            if mask is not None:
                z = z * mask
            h = h + z if self.residual and h.shape == z.shape else z
        last = self.masked_layers
        return affine(h, parameters[f"weight{last}"], parameters[f"bias{last}"])


@dataclass(frozen=True, kw_only=True)
class OwnModule:
    """A user's torch module: one copy of the code, members in a loop, parameters in the same rows.

    Its own random layers (nn.Dropout) draw from torch's global generator, which is set from the
    member's stream before each of its passes, so a result never depends on companions.
    """

    factory: NetworkFactory
    config: Config
    n_inputs: int
    n_outputs: int
    honours: frozenset[str]
    module: torch.nn.Module
    """The graph; its own tensors are replaced by the member's at every pass."""

    @staticmethod
    def of(config: Config, task: Task) -> OwnModule:
        """Builds the module once for its graph; ValueError where the factory returns none."""
        assert task.network is not None
        module = built(task.network, config, task, seed=0)
        return OwnModule(
            factory=task.network,
            config=config,
            n_inputs=task.n_inputs,
            n_outputs=task.n_outputs,
            honours=task.honours,
            module=module,
        )

    @property
    def masked_layers(self) -> int:
        return 0

    @property
    def operations(self) -> tuple[str, ...]:
        honoured = tuple(f"{name}={self.config.levels[name]}" for name in sorted(self.honours))
        name = getattr(self.factory, "__qualname__", type(self.factory).__name__)
        return ("own", f"{self.factory.__module__}.{name}", str(self.module), *honoured)

    @property
    def parameters(self) -> Layout:
        return Layout.of({name: (tuple(p.shape), "own") for name, p in self.module.named_parameters()})

    @property
    def buffers(self) -> Layout:
        kept = {name: b for name, b in self.module.named_buffers() if b.dtype.is_floating_point}
        return Layout.of({name: (tuple(b.shape), "buffer") for name, b in kept.items()})

    def start(self, config: Config, streams: StreamKey) -> tuple[Tensor, Tensor]:
        """The module's own start, or, for a level other than torch_default, linear maps drawn by it."""
        seed = int(streams.stream("weights").integers(2**62))
        module = self.factory_start(config, seed)
        values = {name: p.detach().double().numpy() for name, p in module.named_parameters()}
        values |= {name: b.double().numpy() for name, b in module.named_buffers()}
        initializer = INITIALIZER.level(config.levels["initializer"]).build
        gain = weight_gain(initializer, config)
        draws = streams.stream("weights", counter=1)
        for name, layer in module.named_modules():
            if not isinstance(layer, torch.nn.Linear) or config.levels["initializer"] == "torch_default":
                continue
            prefix = f"{name}." if name else ""
            weight, bias = drawn(initializer, layer.in_features, layer.out_features, draws)
            values[f"{prefix}weight"] = gain * weight.T
            if layer.bias is not None:
                values[f"{prefix}bias"] = bias
        return filled(self.parameters, values), filled(self.buffers, values)

    def factory_start(self, config: Config, seed: int) -> torch.nn.Module:
        """A fresh module whose own initial draws come from `seed`, the global generator left as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.factory(self.n_inputs, self.n_outputs, config)

    def forward(
        self, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], x: Tensor, how: Pass
    ) -> Tensor:
        self.module.train(how.training)
        outputs = []
        for k in range(x.shape[0]):
            if how.seeds is not None:
                torch.manual_seed(how.seeds[k])
            tensors = {name: p[k] for name, p in parameters.items()}
            tensors |= {name: b[k] for name, b in buffers.items()}
            output: Tensor = torch.func.functional_call(self.module, tensors, (x[k],))
            outputs.append(output)
        return torch.stack(outputs)


def built(factory: NetworkFactory, config: Config, task: Task, *, seed: int) -> torch.nn.Module:
    """The factory's module, checked on two items: outputs must be [2, task.n_outputs]."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module: object = factory(task.n_inputs, task.n_outputs, config)
    if not isinstance(module, torch.nn.Module):
        kind = type(module).__name__
        raise ValueError(f"task '{task.name}': its network returned {kind}, not a torch module")
    with torch.no_grad():
        shape = tuple(module.eval()(torch.as_tensor(task.x[:2])).shape)
    if shape != (2, task.n_outputs):
        raise ValueError(
            f"task '{task.name}': its network maps 2 items to {shape}; it must be (2, {task.n_outputs})"
        )
    return module


def network_for(config: Config, task: Task) -> Network:
    """The network of a config on a task.

    Raises:
        ValueError: the task has a network of its own that ignores a factor the config varies.
    """
    if task.network is None:
        return Perceptron.of(config, task.n_inputs, task.n_outputs)
    for name in ("activation", "normalization", "dropout"):
        default = FACTORS[name].framework_default
        if name not in task.honours and config.levels[name] != default:
            raise ValueError(
                f"task '{task.name}' has a network of its own that does not honour '{name}': "
                f"only {name}={default} can be asked there, not {config.levels[name]}"
            )
    return OwnModule.of(config, task)


def affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x [..., B, F] @ weight [..., F, G] + bias [..., 1, G], one fused call for one member or a stack."""
    if x.ndim == 3:
        return torch.baddbmm(bias, x, weight)
    return torch.addmm(bias, x, weight)


def weight_gain(initializer: Initializer, config: Config) -> float:
    """Factor on every initial weight: the gain that is searched, and what the batch size has to say."""
    return float(config.numbers.get("init_gain", 1.0) * config.setting.batch_size**initializer.batch_power)


def drawn(
    initializer: Initializer, fan_in: int, fan_out: int, draws: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weight [fan_in, fan_out] and bias [fan_out] of one linear map."""
    weight = initializer.weight(fan_in, fan_out, draws)
    return weight.astype(np.float64), initializer.bias(fan_in, fan_out, draws).astype(np.float64)


def filled(layout: Layout, values: Mapping[str, NDArray[np.float64]]) -> Tensor:
    """One member's flat row [size]; a segment without a value is zero."""
    row = torch.zeros(layout.size, dtype=torch.float64)
    for name, view in layout.views(row).items():
        if name in values:
            view.copy_(torch.from_numpy(np.ascontiguousarray(values[name])).view(view.shape))
    return row
