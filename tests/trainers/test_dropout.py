"""Where units, inputs and weights are dropped, and what is left of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from search_spaces.catalog import FACTORS
from search_spaces.config import Precision
from search_spaces.dropout import DROPOUT
from tests.trainers.packs import TINY, blobs, member, numbers_of
from trainers.loop.noise import NoiseSource
from trainers.loop.pack import train_pack
from trainers.member import Member
from trainers.networks import ForwardPass, Noise, network_for
from trainers.networks.block import dropped

DEEP = dataclasses.replace(TINY, depth=5, width=11)
LEVELS = DROPOUT.names


def one_of(level: str, rate: float = 0.3, index: int = 0, **numbers: float) -> Member:
    own = {} if level == "none" else {"dropout_rate": rate}
    return member(levels={"dropout": level}, numbers={**own, **numbers}, setting=DEEP, index=index)


def drawn(*members: Member, items: int = 64) -> Noise:
    """The first step's noise, in batches of `items`."""
    network = network_for(members[0].config, blobs())
    source = NoiseSource(
        members, network, items=items, steps_per_epoch=3, dtype=torch.float64, device=torch.device("cpu")
    )
    return source.at(0)


def layers_with_zeros(noise: Noise) -> list[bool]:
    assert noise.scale is not None
    return [bool((layer == 0).any()) for layer in noise.scale]


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("dropout", [True] * 5),
        ("alpha_dropout", [True] * 5),
        ("dropout_last1", [False] * 4 + [True]),
        ("dropout_last3", [False] * 2 + [True] * 3),
    ],
)
def test_a_placement_drops_units_of_its_layers_only(level: str, expected: list[bool]) -> None:
    noise = drawn(one_of(level))
    assert layers_with_zeros(noise) == expected
    assert noise.inputs is None and not noise.weights


def test_input_dropout_drops_inputs_only_and_keeps_their_mean() -> None:
    noise = drawn(one_of("dropout_inputs", 0.25), items=4000)
    assert noise.scale is None and not noise.weights
    assert noise.inputs is not None and noise.inputs.shape == (1, 4000, 5)
    assert sorted(set(noise.inputs.ravel().tolist())) == pytest.approx([0, 1 / 0.75])
    # 20,000 values: four standard errors of their mean
    assert noise.inputs.mean().item() == pytest.approx(1, abs=4 * (0.25 / 0.75 / 20_000) ** 0.5)


def test_dropconnect_drops_incoming_weights_of_hidden_layers_only() -> None:
    noise = drawn(one_of("dropconnect", 0.4))
    assert noise.scale is None and noise.inputs is None
    shapes = {name: tuple(mask.shape) for name, mask in noise.weights.items()}
    assert shapes == {"weight0": (1, 5, 11), **{f"weight{i}": (1, 11, 11) for i in range(1, 5)}}
    every = torch.cat([mask.ravel() for mask in noise.weights.values()])
    assert sorted(set(every.tolist())) == pytest.approx([0, 1 / 0.6])
    # 539 weights: four standard errors of the share that is kept
    assert (every > 0).double().mean().item() == pytest.approx(0.6, abs=4 * (0.24 / len(every)) ** 0.5)


def test_a_network_multiplies_by_what_was_drawn() -> None:
    """Inputs, weights and the last layer's units, one after the other, against the sums by hand."""
    network = network_for(one_of("none").config, blobs())
    one = one_of("none")
    views = network.parameters.views(network.start(one.config, one.streams)[0])
    x = torch.randn(8, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def forward(noise: Noise, values: dict[str, Tensor], items: Tensor) -> Tensor:
        return network.forward(values, {}, items, ForwardPass(training=True, noise=noise))

    inputs = torch.ones(8, 5, dtype=torch.float64)
    inputs[:, 2] = 0
    assert torch.equal(forward(Noise(inputs=inputs), views, x), forward(Noise(), views, x * inputs))
    kept = torch.ones(11, 11, dtype=torch.float64)
    kept[3, 4] = 0
    fewer = {**views, "weight2": views["weight2"] * kept}
    assert torch.equal(forward(Noise(weights={"weight2": kept}), views, x), forward(Noise(), fewer, x))
    scale = torch.ones(5, 8, 11, dtype=torch.float64)
    scale[4, :, 6] = 0
    outputs = {**views, "weight5": views["weight5"] * scale[4, 0, :, None]}
    torch.testing.assert_close(forward(Noise(scale=scale), views, x), forward(Noise(), outputs, x))


def test_places_of_an_image_lose_the_same_channels() -> None:
    noise = drawn(one_of("alpha_dropout", 0.5), items=4)
    z = torch.randn(1, 4 * 6, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    image = dropped(0, z, noise, 6).view(4, 6, 11)
    for place in range(6):
        alone = dropped(0, z.view(1, 4, 6, 11)[:, :, place], noise, 1)
        assert torch.equal(image[:, place], alone[0])


# -- alpha dropout -----------------------------------------------------------------------------


def after_alpha_dropout(rate: float, x: Tensor) -> Tensor:
    """Activations x [items, 11] of the first layer."""
    return dropped(0, x.unsqueeze(0), drawn(one_of("alpha_dropout", rate), items=len(x)), 1)[0]


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.6])
def test_alpha_dropout_gives_an_activation_one_of_the_two_values_torch_gives_it(rate: float) -> None:
    x = torch.linspace(-1.7, 3, 2000, dtype=torch.float64)[:, None].expand(-1, 11)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        # repeated until an element has met both fates
        theirs = torch.stack([nn.AlphaDropout(rate)(x[:, :1]) for _ in range(300)])
    dropped_value, low = theirs.min(), theirs.amin(0)
    assert torch.equal(low, dropped_value.expand_as(low)), "below SELU's limit nothing is kept"
    high = theirs.amax(0)
    ours = after_alpha_dropout(rate, x)
    same_as = torch.minimum((ours - dropped_value).abs(), (ours - high).abs())
    assert same_as.max() < 1e-12
    share = ((ours - dropped_value).abs() < 1e-12).double().mean().item()
    assert share == pytest.approx(rate, abs=4 * (rate * (1 - rate) / ours.numel()) ** 0.5)


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.6])
def test_alpha_dropout_keeps_the_mean_and_variance_of_selu_outputs(rate: float) -> None:
    """220,000 elements; bounds of about five standard errors (the fourth moment is below 10)."""
    z = torch.randn(20_000, 11, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    y = after_alpha_dropout(rate, nn.functional.selu(z))
    assert y.mean().item() == pytest.approx(0, abs=0.012)
    assert y.var().item() == pytest.approx(1, abs=0.03)


# -- packs -------------------------------------------------------------------------------------


def mixed(precision: Precision, **changes: int) -> list[Member]:
    """One member of every level, at rates of their own."""
    setting = dataclasses.replace(DEEP, precision=precision, **changes)  # type: ignore[arg-type]
    return [
        member(
            levels={"dropout": level, "optimizer": "adam"},
            numbers={} if level == "none" else {"dropout_rate": 0.1 + 0.05 * k},
            setting=setting,
            index=k,
            phase="confirm",
        )
        for k, level in enumerate(LEVELS)
    ]


def test_members_of_every_placement_train_in_one_pack_as_they_train_alone() -> None:
    members = mixed("float64")
    for one, packed in zip(members, train_pack(members, blobs()), strict=True):
        (alone,) = train_pack([one], blobs())
        np.testing.assert_allclose(
            [p.validation_loss for p in alone.curve], [p.validation_loss for p in packed.curve], rtol=1e-9
        )


def test_permuting_members_of_every_placement_permutes_results_to_the_bit() -> None:
    members = mixed("float32", width=16, batch_size=16)  # others may differ in the last bit
    order = [3, 0, 6, 4, 2, 1, 5]
    straight = train_pack(members, blobs())
    permuted = train_pack([members[i] for i in order], blobs())
    for place, i in enumerate(order):
        assert numbers_of(permuted[place]) == numbers_of(straight[i])


def test_a_rate_of_zero_is_no_dropout_wherever_it_is_placed() -> None:
    (plain,) = train_pack([one_of("none")], blobs())
    for level in LEVELS[1:]:
        (evaluation,) = train_pack([one_of(level, 0.0)], blobs())
        assert evaluation.curve == plain.curve


def test_levels_that_share_a_layer_drop_the_same_units_there() -> None:
    """They draw the same bits, so that under one stream two placements differ by their rule only."""
    everywhere, last = drawn(one_of("dropout")), drawn(one_of("dropout_last1"))
    assert everywhere.scale is not None and last.scale is not None
    assert torch.equal(everywhere.scale[4], last.scale[4])


# -- noisy activations -------------------------------------------------------------------------

RRELU = FACTORS["activation"].level("rrelu").build


def test_random_slopes_are_uniform_between_an_eighth_and_a_third() -> None:
    noise = drawn(member(levels={"activation": "rrelu"}, setting=DEEP), items=2000)
    assert noise.uniform is not None
    x = -torch.ones(1, 2000, 11, dtype=torch.float64)
    slopes = -RRELU.apply(x, noise=noise.uniform(2)).ravel().numpy()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        theirs = -nn.RReLU()(x).ravel().numpy()
    assert slopes.min() >= 1 / 8 and slopes.max() <= 1 / 3
    # 22,000 draws each: 1.95 sqrt(2 / n), which equal laws exceed once in a thousand samples
    distance = np.abs(
        np.searchsorted(np.sort(slopes), np.sort(theirs)) / len(slopes) - np.arange(len(theirs)) / len(theirs)
    ).max()
    assert distance < 1.95 * (2 / len(slopes)) ** 0.5


def test_random_slopes_leave_positive_values_and_differ_between_layers_and_steps() -> None:
    network = network_for(member(levels={"activation": "rrelu"}, setting=DEEP).config, blobs())
    source = NoiseSource(
        [member(levels={"activation": "rrelu"}, setting=DEEP)],
        network,
        items=8,
        steps_per_epoch=3,
        dtype=torch.float64,
        device=torch.device("cpu"),
    )
    first, second = source.at(0).uniform, source.at(1).uniform
    assert first is not None and second is not None
    x = torch.ones(1, 8, 11, dtype=torch.float64)
    assert torch.equal(RRELU.apply(x, noise=first(0)), x)
    assert not torch.equal(first(0), first(1))


def test_members_with_random_slopes_do_not_depend_on_their_companions_to_the_bit() -> None:
    setting = dataclasses.replace(DEEP, precision="float32")
    members = [
        member(levels={"activation": "rrelu"}, setting=setting, index=k, phase="confirm") for k in range(4)
    ]
    others = [
        member(levels={"activation": "rrelu"}, setting=setting, index=90 + k, phase="confirm")
        for k in range(3)
    ]
    first = train_pack(members, blobs())[2]
    second = train_pack([others[0], members[2], *others[1:]], blobs())[1]
    assert numbers_of(first) == numbers_of(second)
