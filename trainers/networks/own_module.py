"""A user's own torch module in the trainer: members in a loop, parameters in the same rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from search_spaces.config import Config
from trainers.networks.linear import InitialWeights
from trainers.networks.network import ForwardPass, Sites
from trainers.networks.own_initialization import norms_of, redrawn
from trainers.randomness import StreamKey
from trainers.tasks.network_contract import build, check_outputs, items, reported
from trainers.tasks.task import Task
from trainers.tensors.layout import Layout


@dataclass(frozen=True, kw_only=True)
class OwnModule:
    """A user's torch module: one copy of the code, members in a loop, parameters in the same rows.

    Its own random layers (nn.Dropout) draw from torch's global generator, which is set from the
    member's stream before each of its passes, so a result never depends on companions. What it keeps
    beside its parameters (buffers, and parameters that are frozen) is each member's own as well.
    """

    task: Task
    config: Config
    module: torch.nn.Module
    """The graph; its own tensors are replaced by the member's at every pass."""
    elements: int
    """Numbers that all parts of the module give out for one item."""

    @staticmethod
    def of(config: Config, task: Task) -> OwnModule:
        """Builds the module once for its graph.

        Raises:
            ValueError: it cannot be built, or does not give what `trainers.tasks.network_contract` asks.
        """
        assert task.network is not None
        module = build(task.network, config, task, seed=0)
        check_outputs(module, config, task)
        with reported(task, config, "fails on items"):
            elements = output_width(module, task)
        return OwnModule(task=task, config=config, module=module, elements=elements)

    @property
    def sites(self) -> Sites:
        return Sites()

    @property
    def operations(self) -> tuple[str, ...]:
        honoured = tuple(f"{name}={self.config.levels[name]}" for name in sorted(self.task.honours))
        factory = self.task.network
        name = getattr(factory, "__qualname__", type(factory).__name__)
        where = getattr(factory, "__module__", type(factory).__module__)
        return ("own", f"{where}.{name}", str(self.module), *honoured)

    @property
    def parameters(self) -> Layout:
        """The parameters that are trained."""
        trained = {name: p for name, p in self.module.named_parameters() if p.requires_grad}
        return Layout.of({name: (tuple(p.shape), "own") for name, p in trained.items()})

    @property
    def buffers(self) -> Layout:
        """Frozen parameters and buffers of each member, without counters that no layer reads."""
        stored = {name: tuple(p.shape) for name, p in self.module.named_parameters() if not p.requires_grad}
        stored |= {
            name: tuple(b.shape)
            for name, b in self.module.named_buffers()
            if b.dtype.is_floating_point or self._counts(name)
        }
        return Layout.of({name: (shape, "buffer") for name, shape in stored.items()})

    def _counts(self, name: str) -> bool:
        """Whether a whole-numbered buffer is kept per member: a norm's counter only if it averages by it."""
        owner, _, last = name.rpartition(".")
        layer = self.module.get_submodule(owner)
        return last != "num_batches_tracked" or getattr(layer, "momentum", 0.0) is None

    @property
    def flops(self) -> float:
        return 2.0 * sum(s.size for s in self.parameters.segments)

    def start(self, config: Config, streams: StreamKey) -> tuple[Tensor, Tensor]:
        """The module's own start; levels other than the framework's redraw weights or biases.

        `trainers.networks.own_initialization` says of which layers. Which map reads the inputs is not known:
        all are taken to read activations.
        """
        seed = int(streams.stream("weights").integers(2**62))
        module = self.factory_start(config, seed)
        with reported(self.task, config, "has a parameter or a buffer that cannot be read"):
            values = {name: p.detach().double().numpy() for name, p in module.named_parameters()}
            values |= {name: b.double().numpy() for name, b in module.named_buffers()}
        trained = {name for name, p in module.named_parameters() if p.requires_grad}
        linear, others = streams.stream("weights", counter=1), streams.stream("weights", counter=2)
        weights, biases = self._redraws(config)
        for name, is_bias, drawn in redrawn(module, InitialWeights.of(config), linear, others):
            if name in trained and (biases if is_bias else weights):
                values[name] = drawn
        return self.parameters.filled(values), self.buffers.filled(values)

    def _redraws(self, config: Config) -> tuple[bool, bool]:
        """Whether a config redraws weights, and biases."""
        own_weights = config.levels["initializer"] == "torch_default"
        return not own_weights, not (own_weights and config.levels["bias"] == "as_initializer")

    def unreached(self, config: Config) -> tuple[str, ...]:
        """Trained tensors that no initializer reaches; gains and shifts of norms are not among them."""
        draws = StreamKey(study="", task="", block=0, phase="", index=0)
        streams = draws.stream("linear"), draws.stream("others")
        reached = {name for name, *_ in redrawn(self.module, InitialWeights.of(config), *streams)}
        names = [segment.name for segment in self.parameters.segments]
        return tuple(name for name in names if name not in reached | norms_of(self.module))

    def factory_start(self, config: Config, seed: int) -> torch.nn.Module:
        """A fresh module whose own initial draws come from `seed`, the global generator left as it was."""
        assert self.task.network is not None
        return build(self.task.network, config, self.task, seed=seed)

    def forward(
        self, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], x: Tensor, how: ForwardPass
    ) -> Tensor:
        self.module.train(how.training)
        types = {name: b.dtype for name, b in self.module.named_buffers()}
        outputs = []
        for k in range(x.shape[0]):
            # In evaluation only layers that draw all the same need a seed, equal for all members.
            torch.manual_seed(0 if how.seeds is None else how.seeds[k])
            rows = {name: b[k] for name, b in buffers.items()}
            # Copies: what is kept for the backward pass must not change with the buffer.
            own = {name: rows[name].to(types[name], copy=True) for name in rows.keys() & types.keys()}
            tensors = {name: p[k] for name, p in parameters.items()} | rows | own
            # A copy: a module that changes x in place would change the items of all members.
            x_BF = x[k].long() if self.task.inputs == "tokens" else x[k].clone()
            with _BuffersAfter(self.module, set(own)) as after:
                output: Tensor = torch.func.functional_call(self.module, tensors, (x_BF,))
            if how.training:
                after.write(rows)
            outputs.append(output)
        return how.seen("output", torch.stack(outputs))


class _BuffersAfter:
    """A module's buffers at the end of one pass, in which it may have replaced them by other tensors."""

    def __init__(self, module: torch.nn.Module, names: set[str]):
        self._module, self._names = module, names
        self._values: dict[str, Tensor] = {}

    def __enter__(self) -> _BuffersAfter:
        if self._names:
            self._hook = self._module.register_forward_hook(self._look)
        return self

    def __exit__(self, *error: object) -> None:
        if self._names:
            self._hook.remove()

    def _look(self, module: torch.nn.Module, inputs: object, output: object) -> None:
        self._values = {name: module.get_buffer(name) for name in self._names}

    def write(self, rows: Mapping[str, Tensor]) -> None:
        """Into the member's rows."""
        with torch.no_grad():
            for name, value in self._values.items():
                rows[name].copy_(value)


def output_width(module: torch.nn.Module, task: Task) -> int:
    """Numbers that the modules without parts give out for one item, counted on the first two."""
    counts = [0]

    def count(part: torch.nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, Tensor):
            counts.append(output.numel())

    hooks = [m.register_forward_hook(count) for m in module.modules() if not any(m.children())]
    x = items(task, 2)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        module.eval()(x if task.inputs == "tokens" else x.to(next(module.parameters()).dtype))
    for hook in hooks:
        hook.remove()
    return sum(counts) // 2
