"""What a network's weights start as: the initializer's draw, times what is the trainer's business."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from tests.trainers.packs import TINY, blobs, member
from trainers.networks import network_for


def weights(initializer: str, batch_size: int, own_module: bool = False, gain: float | None = None) -> Tensor:
    """The first map's weights at step 0; a user's own module stores them transposed."""
    one = member(
        levels={"initializer": initializer},
        numbers={} if gain is None else {"init_gain": gain},
        setting=dataclasses.replace(TINY, batch_size=batch_size),
    )
    task = blobs()
    if own_module:
        task = dataclasses.replace(task, network=lambda inputs, outputs, config: nn.Linear(inputs, outputs))
    network = network_for(one.config, task)
    start, _ = network.start(one.config, one.streams)
    views = network.parameters.views(start)
    return views["weight"] if own_module else views["weight0"]


@pytest.mark.parametrize("own_module", [False, True])
@pytest.mark.parametrize("batch_size", [2, 16, 64])
def test_the_batch_scaled_start_has_a_variance_of_one_over_the_root_of_the_batch_size(
    own_module: bool, batch_size: int
) -> None:
    scaled = weights("batch_scaled", batch_size, own_module)
    standard = weights("std_normal", batch_size, own_module)
    torch.testing.assert_close(scaled, standard * batch_size**-0.25, rtol=1e-12, atol=0)


@pytest.mark.parametrize("own_module", [False, True])
def test_other_starts_do_not_look_at_the_batch_size(own_module: bool) -> None:
    assert torch.equal(weights("he_normal", 2, own_module), weights("he_normal", 64, own_module))


def test_the_gain_of_constant_variance_is_its_standard_deviation_in_twentieths() -> None:
    narrow, wide = (weights("constant_variance", 8, gain=gain) for gain in (0.1, 20.0))
    torch.testing.assert_close(wide, narrow * 200, rtol=1e-12, atol=0)
    torch.testing.assert_close(wide, weights("std_normal", 8), rtol=1e-6, atol=0)
