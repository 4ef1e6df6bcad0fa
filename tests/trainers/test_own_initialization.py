"""Which tensors of a user's own network an initializer reaches, and by which fans."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from search_spaces.space import complete
from tests.trainers.own_networks import FLOAT32, own
from trainers.networks import OwnModule, network_for
from trainers.randomness import StreamKey
from trainers.tasks.task import Task


class Holding(nn.Module):
    """Layers of any kind; it is only ever started."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.free = nn.Parameter(torch.ones(3))


class Mapped(nn.Module):
    """Items through one linear map, with layers of any kind beside it."""

    def __init__(self, inputs: int, outputs: int, layers: Callable[[], list[nn.Module]]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers())
        self.map = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Any:
        return self.map(x)


def holding(*layers: Callable[[], nn.Module]) -> Task:
    return own(lambda i, o, c: Mapped(i, o, lambda: [layer() for layer in layers]))


FANS: dict[str, tuple[Callable[[], nn.Module], dict[str, tuple[int, int]]]] = {
    "Linear": (lambda: nn.Linear(40, 30), {"weight": (40, 30)}),
    "Conv1d": (lambda: nn.Conv1d(8, 24, 5), {"weight": (40, 120)}),
    "Conv2d": (lambda: nn.Conv2d(8, 24, 3), {"weight": (72, 216)}),
    "Conv2d in groups": (lambda: nn.Conv2d(8, 24, 3, groups=4), {"weight": (18, 216)}),
    "Conv3d": (lambda: nn.Conv3d(4, 10, 3), {"weight": (108, 270)}),
    "ConvTranspose1d": (lambda: nn.ConvTranspose1d(24, 8, 5), {"weight": (120, 40)}),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(24, 8, 3), {"weight": (216, 72)}),
    "ConvTranspose2d in groups": (lambda: nn.ConvTranspose2d(24, 8, 3, groups=4), {"weight": (54, 18)}),
    "Embedding": (lambda: nn.Embedding(60, 20), {"weight": (1, 20)}),
    "EmbeddingBag": (lambda: nn.EmbeddingBag(60, 20), {"weight": (1, 20)}),
    "MultiheadAttention": (
        lambda: nn.MultiheadAttention(24, 4),
        {"in_proj_weight": (24, 24), "out_proj.weight": (24, 24)},
    ),
    "MultiheadAttention across": (
        lambda: nn.MultiheadAttention(24, 4, kdim=36, vdim=48),
        {"q_proj_weight": (24, 24), "k_proj_weight": (36, 24), "v_proj_weight": (48, 24)},
    ),
    "LSTM": (lambda: nn.LSTM(30, 20), {"weight_ih_l0": (30, 20), "weight_hh_l0": (20, 20)}),
    "GRU both ways": (
        lambda: nn.GRU(30, 20, bidirectional=True),
        {"weight_ih_l0": (30, 20), "weight_hh_l0_reverse": (20, 20)},
    ),
    "RNNCell": (lambda: nn.RNNCell(30, 20), {"weight_ih": (30, 20), "weight_hh": (20, 20)}),
}


def first(task: Task, **levels: str) -> dict[str, Tensor]:
    config = complete(levels, setting=FLOAT32)
    network = network_for(config, task)
    row, _ = network.start(config, StreamKey(study="s", task="blobs", block=0, phase="pilot", index=0))
    return network.parameters.views(row)


@pytest.mark.parametrize("case", FANS)
def test_initializers_reach_every_kind_of_layer_by_its_fans(case: str) -> None:
    layer, fans = FANS[case]
    task = holding(layer)
    he, glorot, backward = (
        first(task, initializer=name) for name in ("he_normal", "glorot_uniform", "he_fan_out_normal")
    )
    default = first(task)
    for name, (fan_in, fan_out) in fans.items():
        name = f"layers.0.{name}"
        near = 5 / math.sqrt(he[name].numel())
        assert he[name].square().mean().item() == pytest.approx(2 / fan_in, rel=near)
        assert backward[name].square().mean().item() == pytest.approx(2 / fan_out, rel=near)
        assert glorot[name].square().mean().item() == pytest.approx(2 / (fan_in + fan_out), rel=near)
        assert glorot[name].abs().max().item() <= math.sqrt(6 / (fan_in + fan_out))
        assert not torch.equal(he[name], default[name])
    built = layer()
    for name, tensor in built.named_parameters():
        if "bias" in name:
            assert not he[f"layers.0.{name}"].any(), "he starts biases at zero"
        assert he[f"layers.0.{name}"].shape == tensor.shape
    assert not torch.equal(first(task, bias="zeros")["map.bias"], default["map.bias"])


def test_orthogonal_rows_and_gates() -> None:
    found = first(
        holding(lambda: nn.GRU(12, 12), lambda: nn.Embedding(9, 4), lambda: nn.Conv2d(3, 5, 2)),
        initializer="orthogonal",
    )
    for gate in found["layers.0.weight_hh_l0"].chunk(3):
        torch.testing.assert_close(gate @ gate.T, torch.eye(12).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        found["layers.1.weight"].square().sum(1), torch.ones(9).double(), atol=1e-5, rtol=0
    )
    kernel = found["layers.2.weight"].flatten(1)
    torch.testing.assert_close(kernel @ kernel.T, torch.eye(5).double(), atol=1e-5, rtol=0)


def test_the_row_of_padding_stays_zero_and_frozen_layers_keep_their_start() -> None:
    def frozen() -> nn.Module:
        return nn.Conv1d(4, 4, 3).requires_grad_(False)

    task = holding(lambda: nn.Embedding(9, 4, padding_idx=2), frozen)
    config = complete({"initializer": "he_normal"}, setting=FLOAT32)
    streams = StreamKey(study="s", task="blobs", block=0, phase="pilot", index=0)
    network = network_for(config, task)
    assert isinstance(network, OwnModule)
    params, buffers = network.start(config, streams)
    embedding = network.parameters.views(params)["layers.0.weight"]
    assert not embedding[2].any() and embedding[[0, 1, 3]].all()
    plain = network.start(complete({}, setting=FLOAT32), streams)[1]
    assert torch.equal(buffers, plain)


def test_a_linear_map_starts_as_it_did_whatever_else_there_is() -> None:
    alone = first(own(lambda i, o, c: nn.Linear(i, o)), initializer="he_normal")["weight"]
    beside = first(holding(lambda: nn.Conv1d(4, 4, 3), lambda: nn.LSTM(3, 3)), initializer="he_normal")[
        "map.weight"
    ]
    assert torch.equal(alone, beside)


def test_tensors_that_no_initializer_reaches_are_named() -> None:
    def free() -> nn.Module:
        return Holding(nn.Bilinear(2, 3, 4), nn.LayerNorm(4), nn.BatchNorm1d(3), nn.Conv1d(2, 2, 1))

    config = complete({}, setting=FLOAT32)
    network = network_for(config, holding(free))
    assert isinstance(network, OwnModule)
    assert network.unreached(config) == (
        "layers.0.free",
        "layers.0.layers.0.weight",
        "layers.0.layers.0.bias",
    )
