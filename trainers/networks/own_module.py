"""A user's own torch module in the trainer: members in a loop, parameters in the same rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from search_spaces.config import Config
from trainers.layout import Layout
from trainers.networks.linear import Start, filled
from trainers.networks.network import Pass, Sites
from trainers.randomness import StreamKey
from trainers.task import NetworkFactory, Task


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
    elements: int
    """Numbers that all parts of the module give out for one item."""

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
            elements=given_out(module, task),
        )

    @property
    def sites(self) -> Sites:
        return Sites()

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

    @property
    def flops(self) -> float:
        return 2.0 * sum(s.size for s in self.parameters.segments)

    def start(self, config: Config, streams: StreamKey) -> tuple[Tensor, Tensor]:
        """The module's own start; levels other than the framework's redraw linear maps' weights or biases.

        Which map reads the inputs is not known: all are taken to read activations.
        """
        seed = int(streams.stream("weights").integers(2**62))
        module = self.factory_start(config, seed)
        values = {name: p.detach().double().numpy() for name, p in module.named_parameters()}
        values |= {name: b.double().numpy() for name, b in module.named_buffers()}
        start, draws = Start.of(config), streams.stream("weights", counter=1)
        own_weights = config.levels["initializer"] == "torch_default"
        own_biases = own_weights and config.levels["bias"] == "as_initializer"
        for name, layer in module.named_modules():
            if not isinstance(layer, torch.nn.Linear):
                continue
            prefix = f"{name}." if name else ""
            weight, bias = start.draw(
                layer.in_features, layer.out_features, draws, reads_inputs=False, hidden=False
            )
            if not own_weights:
                values[f"{prefix}weight"] = weight.T
            if f"{prefix}bias" in values and not own_biases:
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
        return how.seen("output", torch.stack(outputs))


def given_out(module: torch.nn.Module, task: Task) -> int:
    """Numbers that the modules without parts give out for one item, counted on the first two."""
    counts = [0]

    def count(part: torch.nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, Tensor):
            counts.append(output.numel())

    hooks = [m.register_forward_hook(count) for m in module.modules() if not any(m.children())]
    with torch.no_grad():
        module.eval()(torch.as_tensor(task.x[:2]))
    for hook in hooks:
        hook.remove()
    return sum(counts) // 2


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
