"""Batch norm folded into the linear map before it: the same outputs without the norm's passes.

Shape letters: K members, P flat parameters.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from search_spaces.normalizations import EPS
from trainers.networks.perceptron import Perceptron

FOLDABLE = ("batch_norm", "batch_norm_no_bias")
"""Norms that directly follow a linear map; with running statistics they are linear at test time."""


def fused(network: Perceptron, params_KP: Tensor, buffers_KP: Tensor) -> tuple[Perceptron, Tensor]:
    """A network without norms, and its parameters, that computes what this one does in evaluation (001, 004).

    With s = gain / sqrt(running_var + 1e-5): weight becomes weight * s, bias becomes
    (bias - running_mean) * s + shift.

    Raises:
        ValueError: the network's norm is none that follows a linear map and keeps running statistics.
    """
    if network.block.normalization not in FOLDABLE:
        raise ValueError(
            f"normalization = {network.block.normalization} cannot be folded into a linear map; "
            f"only {' and '.join(FOLDABLE)} can"
        )
    folded = dataclasses.replace(network, block=dataclasses.replace(network.block, normalization="none"))
    rows_KP = params_KP.new_zeros(len(params_KP), folded.parameters.size)
    old, statistics = network.parameters.views(params_KP), network.buffers.views(buffers_KP)
    for name, new in folded.parameters.views(rows_KP).items():
        if name in old:
            new.copy_(old[name])
    views = folded.parameters.views(rows_KP)
    for i in range(len(network.sizes) - 2):
        scale = old[f"gain{i}"] * torch.rsqrt(statistics[f"running_var{i}"] + EPS)
        views[f"weight{i}"].mul_(scale)
        views[f"bias{i}"].sub_(statistics[f"running_mean{i}"]).mul_(scale).add_(old[f"shift{i}"])
    return folded, rows_KP
