"""A member is trained with what its config asks, or not at all: every broken wire is noticed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
import torch

from search_spaces.catalog import FACTORS
from tests.trainers.packs import TINY, blobs, member, pictures
from trainers.config_audit import check, effective
from trainers.config_audit.reading import AuditedProperty, BuiltPack
from trainers.loop.pack import _Training, train_pack
from trainers.member import Member

LEVELS = {
    "initializer": "he_normal",
    "activation": "leaky_relu",
    "normalization": "batch_norm",
    "dropout": "dropout",
    "weight_decay": "decoupled",
    "optimizer": "momentum",
    "schedule": "one_cycle",
    "clipping": "norm",
}
NUMBERS = {"learning_rate": 0.5, "weight_decay": 0.5, "dropout_rate": 0.3}
FLOAT32 = dataclasses.replace(TINY, precision="float32")


def members(count: int = 3, **changes: Any) -> list[Member]:
    given: dict[str, Any] = {"levels": LEVELS, "numbers": NUMBERS, "setting": FLOAT32, **changes}
    return [member(**given, index=i) for i in range(count)]


def wired(pack: list[Member]) -> BuiltPack:
    """What `pack` is built as, on images where items are to be augmented."""
    augmented = any(m.config.levels["augmentation"] != "none" for m in pack)
    training = _Training(pack, pictures() if augmented else blobs(), torch.device("cpu"), "none")
    return training.built_pack(*training.feed.batch(0), training.noise.at(0))


def asking(pack: list[Member], *, built_as: list[Member]) -> BuiltPack:
    """The members of one pack over everything that was built for another."""
    return dataclasses.replace(wired(built_as), members=pack)


def test_what_was_applied_is_plain_data() -> None:
    (first, *_) = effective(wired(members()))
    assert first["activation"] == "leaky_relu"
    assert first["depth"] == 2
    assert first["steps"] == 20
    assert first["clipping"] == pytest.approx(1.0 / 1e4, rel=5e-3)
    assert first["weight_decay.share"] == pytest.approx(0.5 * first["learning_rate.peak"], rel=0.5)


@pytest.mark.parametrize("factor", FACTORS)
def test_every_level_reads_back_as_itself(factor: str) -> None:
    for level in FACTORS[factor].names:
        check(wired(members(2, levels={factor: level}, numbers={})))


@pytest.mark.parametrize(
    ("key", "expected", "built"),
    [
        ("depth", {"depth": 3}, {}),
        ("width", {"width": 9}, {}),
        ("residual", {"residual": True}, {}),
        ("residual", {}, {"residual": True}),
        ("width", {"funnel": False}, {"funnel": True, "depth": 2, "width": 64}),
        ("batch_size", {"batch_size": 4}, {}),
        ("steps", {"steps": 10}, {}),
        ("precision", {"precision": "float64"}, {}),
        ("precision", {"precision": "bfloat16"}, {}),
    ],
)
def test_a_setting_that_was_not_built_is_noticed(key: str, expected: Mapping[str, Any], built: Any) -> None:
    want = dataclasses.replace(FLOAT32, **{**built, "residual": False, **expected})
    have = dataclasses.replace(FLOAT32, **built)
    with pytest.raises(ValueError, match=rf"block 0\): {key} was asked to be .*, but what was built applies"):
        check(asking(members(setting=want), built_as=members(setting=have)))


@pytest.mark.parametrize(
    ("key", "factor", "expected", "built"),
    [
        ("activation", "activation", "tanh", "relu"),
        ("activation", "activation", "gelu", "silu"),
        ("activation", "activation", "relu", "leaky_relu"),
        ("normalization.scale_free", "normalization", "none", "layer_norm"),
        ("normalization.scale_free", "normalization", "batch_norm", "none"),
        ("initializer.weight0", "initializer", "zeros", "he_normal"),
        ("initializer.weight1", "initializer", "std_normal", "he_normal"),
        ("initializer", "initializer", "torch_default", "lecun_normal"),
        ("dropout_rate", "dropout", "none", "dropout"),
        ("dropout_rate", "dropout", "dropout", "none"),
        ("weight_decay.share", "weight_decay", "none", "decoupled"),
        ("weight_decay.share", "weight_decay", "decoupled", "none"),
        ("clipping", "clipping", "norm", "none"),
        ("clipping", "clipping", "none", "value"),
        ("clipping", "clipping", "shrink", "norm"),
        ("learning_rate", "schedule", "cosine", "constant"),
        ("learning_rate", "schedule", "linear", "one_cycle_linear"),
        ("momentum_number.first", "optimizer", "nesterov", "sgd"),
        ("gradient_share", "optimizer", "sgd", "nesterov"),
        ("momentum_number.first", "optimizer", "adam", "rmsprop"),
        ("updates_as_alone", "optimizer", "adam", "adamax"),
    ],
)
def test_a_level_that_was_not_built_is_noticed(key: str, factor: str, expected: str, built: str) -> None:
    setting = dataclasses.replace(FLOAT32, width=32, batch_size=32)

    def pack(level: str) -> list[Member]:
        # A rate of 1, so that what a step takes off the weights is seen.
        levels = {factor: level}
        decays = {"weight_decay": 0.5} if level == "decoupled" else {}
        rate = 0.1 if level in ("adam", "adamax", "rmsprop") else 1.0
        return members(levels=levels, numbers={"learning_rate": rate, **decays}, setting=setting)

    with pytest.raises(ValueError, match=rf"{key}[a-z0-9.]* was asked to be"):
        check(asking(pack(expected), built_as=pack(built)))


@pytest.mark.parametrize(
    ("key", "levels", "number", "values"),
    [
        ("activation", {"activation": "leaky_relu"}, "negative_slope", (0.01, 0.3)),
        ("norm_momentum", {"normalization": "batch_norm"}, "norm_momentum", (0.1, 0.3)),
        ("learning_rate.first", {}, "learning_rate", (0.1, 0.2)),
        ("dropout_rate", {"dropout": "dropout"}, "dropout_rate", (0.1, 0.6)),
        ("momentum_number", {"optimizer": "momentum"}, "momentum", (0.9, 0.8)),
        ("clipping", {"clipping": "norm"}, "clip_norm", (1.0, 2.0)),
        ("momentum_number", {"optimizer": "adam"}, "beta1", (0.9, 0.5)),
        ("updates_as_alone", {"optimizer": "adam"}, "beta2", (0.999, 0.9)),
        ("updates_as_alone", {"optimizer": "rmsprop"}, "alpha", (0.9, 0.99)),
        ("initializer.weight0", {"initializer": "he_normal"}, "init_gain", (4.0, 0.5)),
    ],
)
def test_members_that_got_each_others_numbers_are_noticed(
    key: str, levels: Mapping[str, str], number: str, values: tuple[float, float]
) -> None:
    setting = dataclasses.replace(FLOAT32, width=32, batch_size=32)
    pack = [
        member(levels=levels, numbers={number: value}, setting=setting, index=i)
        for i, value in enumerate(values)
    ]
    check(wired(pack))
    with pytest.raises(ValueError, match=key):
        check(asking(pack[::-1], built_as=pack))


def test_a_broken_wire_fails_the_training_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainers.loop.updates.Updates._clipping", lambda self: [])
    with pytest.raises(ValueError, match=r"task 'blobs'.*clipping was asked to be"):
        train_pack(members(levels={"clipping": "norm"}, numbers={}), blobs())


def test_reading_back_leaves_the_pack_as_it_was() -> None:
    built_pack = wired(members())
    params, buffers = built_pack.params_KP.clone(), built_pack.buffers_KP.clone()
    (group,) = built_pack.updates.groups
    state = {name: tensor.clone() for name, tensor in group.state.items()}
    check(built_pack)
    assert torch.equal(params, built_pack.params_KP)
    assert torch.equal(buffers, built_pack.buffers_KP)
    assert all(torch.equal(tensor, group.state[name]) for name, tensor in state.items())


def test_a_network_of_ones_own_is_read_back_as_far_as_it_shows_itself() -> None:
    task = dataclasses.replace(
        blobs(), network=lambda inputs, outputs, config: torch.nn.Linear(inputs, outputs)
    )
    one = member(levels={"optimizer": "momentum"}, numbers={"learning_rate": 0.1})
    training = _Training([one], task, torch.device("cpu"), "none")
    (measured,) = effective(training.built_pack(*training.feed.batch(0), training.noise.at(0)))
    assert measured["momentum"] == pytest.approx(0.9, abs=2e-3)
    assert "activation" not in measured


def test_numbers_may_differ_a_little_and_names_not_at_all() -> None:
    assert AuditedProperty(key="x", expected=[1.0, 1.0], measured=[1.0001, 1.0]).wrong() is None
    assert AuditedProperty(key="x", expected=[1.0, 1.0], measured=[1.0, 1.1]).wrong() == 1
    assert AuditedProperty(key="x", expected=["relu"], measured=["gelu"]).wrong() == 0


@pytest.mark.parametrize("network", ["cnn", "rnn"])
def test_networks_for_images_and_sequences_are_read_back_too(network: str) -> None:
    def built(activation: str, depth: int) -> BuiltPack:
        setting = dataclasses.replace(FLOAT32, network=network, depth=depth)
        training = _Training(
            members(1, levels={"activation": activation}, numbers={}, setting=setting),
            pictures(),
            torch.device("cpu"),
            "none",
        )
        return training.built_pack(*training.feed.batch(0), training.noise.at(0))

    right = built("tanh", 2)
    check(right)
    for key, wrong in (("activation", built("relu", 2)), ("depth", built("tanh", 1))):
        with pytest.raises(ValueError, match=key):
            check(dataclasses.replace(wrong, members=right.members))
