"""Read-outs of trained networks: batch norms folded away, and how sharp a minimum is."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tests.trainers.packs import TINY, blobs, member
from trainers.diagnostics.sharpness import RADIUS, sharpness
from trainers.networks import network_for
from trainers.networks.fold_batch_norm import FOLDABLE, fused
from trainers.networks.network import ForwardPass
from trainers.networks.perceptron import Perceptron


@pytest.mark.parametrize("normalization", FOLDABLE)
@pytest.mark.parametrize("residual", [False, True])
def test_a_folded_norm_gives_the_same_outputs(normalization: str, residual: bool) -> None:
    setting = dataclasses.replace(TINY, depth=3, residual=residual)
    members = [member(levels={"normalization": normalization}, setting=setting, index=k) for k in range(3)]
    network = network_for(members[0].config, blobs())
    assert isinstance(network, Perceptron)
    starts = [network.start(m.config, m.streams) for m in members]
    params, buffers = (torch.stack(rows) for rows in zip(*starts, strict=True))
    draws = torch.Generator().manual_seed(0)
    params += 0.3 * torch.rand(params.shape, generator=draws, dtype=params.dtype)
    buffers += torch.rand(buffers.shape, generator=draws, dtype=buffers.dtype)
    x = torch.randn(3, 7, 5, generator=draws, dtype=params.dtype)
    how = ForwardPass(training=False)
    expected = network.forward(network.parameters.views(params), network.buffers.views(buffers), x, how)
    plain, rows_KP = fused(network, params, buffers)
    found = plain.forward(plain.parameters.views(rows_KP), {}, x, how)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_a_norm_of_each_item_cannot_be_folded() -> None:
    one = member(levels={"normalization": "layer_norm"})
    network = network_for(one.config, blobs())
    assert isinstance(network, Perceptron)
    params, buffers = network.start(one.config, one.streams)
    with pytest.raises(ValueError, match="layer_norm cannot be folded"):
        fused(network, params[None], buffers[None])


def test_sharpness_is_the_loss_gained_by_a_short_step_up() -> None:
    """For a linear regression the loss is a quadratic, whose gain along the gradient is known."""
    setting = dataclasses.replace(TINY, depth=1)
    one = member(levels={"activation": "identity", "initializer": "zeros"}, setting=setting)
    task = blobs("regression")
    network = network_for(one.config, task)
    assert isinstance(network, Perceptron)
    params, buffers = (row[None] for row in network.start(one.config, one.streams))
    x = torch.from_numpy(task.x[None, :32]).double()
    y = torch.from_numpy(task.y[None, :32]).double()
    found = sharpness(network, params, buffers, x, y, kind="regression", numbers={})
    # With zero weights only the output's bias has a gradient, -2 mean(y): the loss is mean((b - y)^2).
    expected = 2 * RADIUS * y.mean().abs() + RADIUS**2
    torch.testing.assert_close(found, expected[None])
