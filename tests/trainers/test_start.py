"""What a network's weights start as: the initializer's draw, times what is the trainer's business."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from search_spaces.activation_gains import activation_gain
from search_spaces.catalog import FACTORS
from tests.trainers.packs import TINY, blobs, member
from trainers.networks import network_for
from trainers.networks.linear import InitialWeights


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


def start(
    levels: dict[str, str], depth: int = 3, width: int = 64, own_module: bool = False
) -> dict[str, Tensor]:
    """All tensors at step 0."""
    one = member(levels=levels, setting=dataclasses.replace(TINY, depth=depth, width=width))
    task = blobs()
    if own_module:
        task = dataclasses.replace(task, network=lambda inputs, outputs, config: nn.Linear(inputs, outputs))
    network = network_for(one.config, task)
    return network.parameters.views(network.start(one.config, one.streams)[0])


@pytest.mark.parametrize("activation", FACTORS["activation"].names)
@pytest.mark.parametrize("kind", ["normal", "uniform"])
def test_weights_that_read_activations_start_with_the_activations_gain(kind: str, activation: str) -> None:
    """The first map reads inputs, whose second moment is 1 already."""
    ours = start({"initializer": f"activation_gain_{kind}", "activation": activation})
    plain = start({"initializer": f"lecun_{kind}", "activation": activation})
    row = FACTORS["activation"].level(activation)
    gain = activation_gain(activation, {r.name: r.default for r in row.ranges})
    assert torch.equal(ours["weight0"], plain["weight0"])
    for i in (1, 2, 3):
        torch.testing.assert_close(ours[f"weight{i}"], gain * plain[f"weight{i}"], rtol=1e-12, atol=0)


def test_the_gain_follows_a_searched_slope() -> None:
    numbers = ({"negative_slope": 0.01}, {"negative_slope": 0.5})
    levels = {"initializer": "activation_gain_normal", "activation": "leaky_relu"}
    gains = [InitialWeights.of(member(levels=levels, numbers=n).config).activation_gain for n in numbers]
    assert gains == pytest.approx([(2 / 1.0001) ** 0.5, (2 / 1.25) ** 0.5])


@pytest.mark.parametrize("own_module", [False, True])
def test_biases_start_as_their_level_says_and_weights_do_not_mind(own_module: bool) -> None:
    bias, weight = ("bias", "weight") if own_module else ("bias1", "weight1")
    for initializer in ("torch_default", "he_normal"):
        found = {
            level: start({"initializer": initializer, "bias": level}, own_module=own_module)
            for level in FACTORS["bias"].names
        }
        assert not found["zeros"][bias].any()
        drawn = found["uniform"][bias]
        assert drawn.any() and drawn.abs().max() <= (1 / 5 if own_module else 1 / 64) ** 0.5
        alike = "uniform" if initializer == "torch_default" else "zeros"
        if not own_module or initializer == "he_normal":  # a module's own biases are drawn by torch
            assert torch.equal(found["as_initializer"][bias], found[alike][bias])
        for level in ("zeros", "uniform"):
            assert torch.equal(found[level][weight], found["as_initializer"][weight])


def test_a_gated_layer_starts_as_two_maps_of_its_own_fan_out() -> None:
    """Glorot's variance counts the units of the layer, not the sums of both maps."""
    found = start({"initializer": "glorot_normal", "activation": "swiglu"}, width=200)
    fan_in, sums = found["weight1"].shape
    assert sums == 2 * fan_in
    # n draws: four standard errors of their SD
    assert found["weight1"].std().item() == pytest.approx(fan_in**-0.5, rel=4 / (2 * fan_in * sums) ** 0.5)


@pytest.mark.parametrize(
    ("activation", "name", "value"), [("prelu", "slope", 0.25), ("swish_learned", "beta", 1)]
)
def test_every_layer_has_one_learned_scalar_which_starts_as_torchs(
    activation: str, name: str, value: float
) -> None:
    found = start({"activation": activation})
    learned = [found[f"{name}{i}"] for i in range(3)]
    assert [t.shape for t in learned] == [(1, 1)] * 3
    assert [t.item() for t in learned] == [value] * 3
