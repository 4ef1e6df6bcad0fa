"""How initializers and bias rules reach the layers of a user's own torch module.

What one map is, and its fans ("kernel" is the product of the kernel's sides, "groups" a convolution's):

| layer | maps | fan_in | fan_out |
|---|---|---|---|
| Linear, and an attention's output | 1 | in_features | out_features |
| Conv1d, 2d, 3d | 1 | in_channels / groups * kernel | out_channels * kernel, as torch counts |
| ConvTranspose1d, 2d, 3d | one a group | in_channels / groups * kernel | out_channels / groups * kernel |
| Embedding, EmbeddingBag | one a row | 1: an item reads one row | embedding_dim |
| MultiheadAttention | query, key, value | what it reads | embed_dim |
| RNN, LSTM, GRU and their cells | one a gate | input or hidden size | hidden size |

Gains and shifts of norms have no fans and keep 1 and 0; every other trained tensor that is not listed keeps
its own start and is named at `plan`. So does what is frozen, and the row of an embedding's `padding_idx`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from search_spaces.weight_draws import orthogonal
from trainers.networks.linear import InitialWeights

Floats = NDArray[np.float64]

CONVOLUTIONS = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)
TRANSPOSED = (torch.nn.ConvTranspose1d, torch.nn.ConvTranspose2d, torch.nn.ConvTranspose3d)
EMBEDDINGS = (torch.nn.Embedding, torch.nn.EmbeddingBag)
RECURRENT = (torch.nn.RNNBase, torch.nn.RNNCellBase)
NORMS = (
    *(torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.BatchNorm3d, torch.nn.SyncBatchNorm),
    *(torch.nn.InstanceNorm1d, torch.nn.InstanceNorm2d, torch.nn.InstanceNorm3d),
    torch.nn.GroupNorm,
    torch.nn.LayerNorm,
    torch.nn.RMSNorm,
)
"""Layers whose tensors are a gain and a shift."""


def redrawn(
    module: torch.nn.Module, start: InitialWeights, linear: np.random.Generator, others: np.random.Generator
) -> Iterator[tuple[str, bool, Floats]]:
    """(tensor, whether it is a bias, its start) of every tensor that a rule reaches, by module and then name.

    Args:
        module: the user's.
        start: the rules.
        linear: the stream of its linear maps,
        others: and of all other layers.
    """
    for name, layer in module.named_modules():
        prefix = f"{name}." if name else ""
        if isinstance(layer, torch.nn.Linear):
            weight, bias = _draw(start, layer.in_features, layer.out_features, linear)
            yield f"{prefix}weight", False, weight.T
            yield f"{prefix}bias", True, bias
            continue
        for tensor, is_bias, values in _of_layer(layer, start, others):
            yield f"{prefix}{tensor}", is_bias, values


def norms_of(module: torch.nn.Module) -> frozenset[str]:
    """Names of gains and shifts."""
    return frozenset(
        f"{name}.{tensor}" if name else tensor
        for name, layer in module.named_modules()
        if isinstance(layer, NORMS)
        for tensor, _ in layer.named_parameters(recurse=False)
    )


def _of_layer(
    layer: torch.nn.Module, start: InitialWeights, draws: np.random.Generator
) -> Iterator[tuple[str, bool, Floats]]:
    if isinstance(layer, CONVOLUTIONS):
        yield from _convolution(layer, start, draws)
    elif isinstance(layer, TRANSPOSED):
        yield from _transposed(layer, start, draws)
    elif isinstance(layer, EMBEDDINGS):
        yield "weight", False, _embedding(layer, start, draws)
    elif isinstance(layer, torch.nn.MultiheadAttention):
        yield from _attention(layer, start, draws)
    elif isinstance(layer, RECURRENT):
        yield from _recurrent(layer, start, draws)


def _draw(start: InitialWeights, fan_in: int, fan_out: int, draws: np.random.Generator, **more: Any) -> Any:
    """Which map reads the inputs is not known: all are taken to read activations."""
    return start.draw(fan_in, fan_out, draws, reads_inputs=False, hidden=False, **more)


def _convolution(
    layer: Any, start: InitialWeights, draws: np.random.Generator
) -> Iterator[tuple[str, bool, Floats]]:
    kernel = math.prod(layer.kernel_size)
    fan_in = layer.in_channels // layer.groups * kernel
    weight, bias = _draw(start, fan_in, layer.out_channels * kernel, draws, columns=layer.out_channels)
    yield "weight", False, weight.T.reshape(layer.weight.shape)
    yield "bias", True, bias


def _transposed(
    layer: Any, start: InitialWeights, draws: np.random.Generator
) -> Iterator[tuple[str, bool, Floats]]:
    kernel = math.prod(layer.kernel_size)
    reads, gives = layer.in_channels // layer.groups, layer.out_channels // layer.groups
    pairs = [_draw(start, reads * kernel, gives * kernel, draws, columns=gives) for _ in range(layer.groups)]
    # [in / groups, kernel, out / groups] of each group becomes torch's [in, out / groups, *kernel].
    parts = [weight.reshape(reads, kernel, gives).transpose(0, 2, 1) for weight, _ in pairs]
    yield "weight", False, np.concatenate(parts).reshape(layer.weight.shape)
    yield "bias", True, np.concatenate([bias for _, bias in pairs])


def _embedding(layer: Any, start: InitialWeights, draws: np.random.Generator) -> Floats:
    rows, width = layer.num_embeddings, layer.embedding_dim
    if start.initializer.weight is orthogonal:  # the one rule whose numbers hang together
        weight = np.concatenate([_draw(start, 1, width, draws)[0] for _ in range(rows)])
    else:
        weight = _draw(start, 1, width, draws, columns=rows * width)[0].reshape(rows, width)
    if layer.padding_idx is not None:
        weight[layer.padding_idx] = 0.0
    return np.asarray(weight)


def _attention(
    layer: Any, start: InitialWeights, draws: np.random.Generator
) -> Iterator[tuple[str, bool, Floats]]:
    width = layer.embed_dim
    pairs = [_draw(start, reads, width, draws) for reads in (width, layer.kdim, layer.vdim)]
    if layer.in_proj_weight is not None:
        yield "in_proj_weight", False, np.concatenate([weight.T for weight, _ in pairs])
    else:
        for name, (weight, _) in zip(("q", "k", "v"), pairs, strict=True):
            yield f"{name}_proj_weight", False, weight.T
    yield "in_proj_bias", True, np.concatenate([bias for _, bias in pairs])


def _recurrent(
    layer: Any, start: InitialWeights, draws: np.random.Generator
) -> Iterator[tuple[str, bool, Floats]]:
    for name, tensor in layer.named_parameters(recurse=False):
        if not name.startswith("weight"):
            continue
        rows, fan_in = tensor.shape
        projects = name.startswith("weight_hr")
        gives = rows if projects else layer.hidden_size
        pairs = [_draw(start, fan_in, gives, draws) for _ in range(rows // gives)]
        yield name, False, np.concatenate([weight.T for weight, _ in pairs])
        if not projects:
            yield name.replace("weight", "bias"), True, np.concatenate([bias for _, bias in pairs])
