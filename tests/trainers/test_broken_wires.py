"""Each wire between a config and its training is cut or crossed once, and the read-back notices."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch

from search_spaces.catalog import FACTORS
from search_spaces.config import Setting
from search_spaces.schedules import Schedule
from search_spaces.weight_draws import zero_bias
from tests.trainers.packs import TINY, blobs, member, pictures
from trainers.config_audit import check
from trainers.config_audit.reading import BuiltPack
from trainers.loop.augmentation import moved
from trainers.loop.pack import _Training
from trainers.loop.updates import StepSchedule, Updates
from trainers.loop.validation_log import Patience
from trainers.networks.linear import InitialWeights
from trainers.tasks.input_scaling import Scaling
from trainers.tasks.task import Task

SETTING = dataclasses.replace(TINY, width=16, batch_size=16, precision="float32")


def built(
    levels: Mapping[str, str],
    numbers: Mapping[str, float] | None = None,
    *,
    setting: Setting = SETTING,
    task: Task | None = None,
) -> BuiltPack:
    """A pack of two members with these levels."""
    pack = [member(levels=levels, numbers=numbers, setting=setting, index=k) for k in range(2)]
    pictured = levels.get("augmentation", "none") != "none" or setting.network != "mlp"
    training = _Training(pack, task or (pictures() if pictured else blobs()), torch.device("cpu"), "none")
    return training.built_pack(*training.feed.batch(0), training.noise.at(0))


def nothing(*_: Any, **__: Any) -> None:
    """What a part that was never connected does."""


def no_list(*_: Any) -> list[Any]:
    return []


def flips_instead(x: torch.Tensor, down: torch.Tensor, right: torch.Tensor, flipped: torch.Tensor) -> Any:
    return moved(x, 0 * down, 0 * right, torch.ones_like(flipped))


def without_cycle(
    updates: Updates, made: Callable[[Updates], StepSchedule] = Updates._schedules
) -> StepSchedule:
    return dataclasses.replace(made(updates), momentum_TK1=None)


@pytest.mark.parametrize(
    ("key", "levels", "numbers", "place", "broken"),
    [
        (
            "dropout_rate",
            {"dropout": "dropout_last1"},
            {},
            "search_spaces.dropout.Dropout.rates",
            lambda self, rate, layers: [rate] * layers,
        ),
        (
            "dropout.layers",
            {"dropout": "dropout_last1"},
            {},
            "search_spaces.dropout.Dropout.rates",
            lambda self, rate, layers: [rate, *[0.0] * (layers - 1)],
        ),
        (
            "dropout.applied",
            {"dropout": "dropout"},
            {},
            "trainers.networks.block.dropped",
            lambda i, z, noise, places: z,
        ),
        (
            "dropout_rate.inputs",
            {"dropout": "dropout_inputs"},
            {},
            "trainers.loop.noise.NoiseSource._of_inputs",
            nothing,
        ),
        (
            "dropout.applied",
            {"dropout": "dropout_inputs"},
            {},
            "trainers.networks.block.Block.enter",
            lambda self, x, parameters, buffers, how: x,
        ),
        (
            "dropout_rate.weights",
            {"dropout": "dropconnect"},
            {},
            "trainers.loop.noise.NoiseSource._of_weights",
            nothing,
        ),
        (
            "dropout.applied",
            {"dropout": "dropconnect"},
            {},
            "trainers.networks.block.Block.weight",
            lambda self, name, parameters, how: parameters[name],
        ),
        ("dropout_scale", {"dropout": "alpha_dropout"}, {}, "trainers.loop.noise.SELU_LIMIT", 0.0),
        ("activation.noisy", {"activation": "rrelu"}, {}, "trainers.loop.noise.NoiseSource._draws", nothing),
        ("weight_decay.pull", {"weight_decay": "l1"}, {}, "trainers.loop.decay.Decay.add_penalty", nothing),
        (
            "weight_decay.pull",
            {"weight_decay": "l1", "optimizer": "adam", "clipping": "norm"},
            {"l1_strength": 1e-2, "clip_norm": 0.1},
            "trainers.loop.decay.Decay.add_penalty",
            nothing,
        ),
        (
            "weight_decay.pull",
            {"weight_decay": "l2", "optimizer": "adam"},
            {},
            "trainers.loop.decay.Decay.add_coupled",
            nothing,
        ),
        ("weight_decay.share", {"optimizer": "adamw"}, {}, "trainers.loop.decay.Decay.shrink", nothing),
        (
            "weight_decay.share_of_others",
            {"weight_decay": "decoupled", "decay_scope": "weights"},
            {"weight_decay": 0.5, "learning_rate": 0.5},
            "trainers.loop.decay.Decay._scope",
            nothing,
        ),
        (
            "weight_decay.pull_of_others",
            {"weight_decay": "l1", "decay_scope": "weights", "optimizer": "adam"},
            {},
            "trainers.loop.decay.Decay._scope",
            nothing,
        ),
        (
            "max_norm_radius",
            {"weight_constraint": "max_norm"},
            {},
            "trainers.loop.updates.Updates._constraining",
            no_list,
        ),
        (
            "smoothing",
            {"label_smoothing": "label_smoothing"},
            {},
            "trainers.loop.pack._Training._smoothing",
            nothing,
        ),
        (
            "stop_patience",
            {"early_stopping": "patience"},
            {},
            "trainers.loop.pack._Training._patience",
            lambda self: Patience(torch.full((2,), torch.inf)),
        ),
        (
            "stop_patience",
            {},
            {},
            "trainers.loop.pack._Training._patience",
            lambda self: Patience(torch.ones(2)),
        ),
        (
            "plateau_patience",
            {"schedule": "performance"},
            {},
            "trainers.loop.updates.schedule",
            lambda config: Schedule(multiplier=np.ones(config.setting.steps)),
        ),
        (
            "learning_rate.first",
            {"warmup": "linear"},
            {"warmup_fraction": 0.2},
            "search_spaces.schedules.warmups.warmed_up",
            lambda warmup, after: np.concatenate([np.repeat(after[:1], warmup), after]),
        ),
        (
            "learning_rate.mean",
            {"warmup": "linear", "schedule": "cosine"},
            {"warmup_fraction": 0.2},
            "search_spaces.schedules.warmups.warmed_up",
            lambda warmup, after: np.concatenate([np.linspace(0.1, 0.5, warmup) * after[0], after]),
        ),
        (
            "momentum_number",
            {"schedule": "one_cycle", "optimizer": "adam"},
            {},
            "trainers.loop.updates.Updates._schedules",
            without_cycle,
        ),
        (
            "input_norm",
            {"input_scaling": "batch_norm"},
            {},
            "trainers.networks.block.Block.enter",
            lambda self, x, parameters, buffers, how: x,
        ),
        (
            "augmented",
            {"augmentation": "flip"},
            {},
            "trainers.loop.augmentation.Augmenter.augment",
            lambda self, x, epoch, place: x,
        ),
        ("augmentation", {"augmentation": "shift"}, {}, "trainers.loop.augmentation.moved", flips_instead),
        (
            "augmentation",
            {"augmentation": "rotation"},
            {},
            "trainers.loop.augmentation.turned",
            lambda x, *_: x.flip(3),
        ),
        (
            "own_items_once_an_epoch",
            {},
            {},
            "trainers.loop.feed.Feed._shuffled",
            lambda self, epoch: torch.zeros(self.steps_per_epoch, 2 * self.batch_size, dtype=torch.long),
        ),
    ],
)
def test_a_part_that_is_not_connected_is_noticed(
    key: str,
    levels: Mapping[str, str],
    numbers: Mapping[str, float],
    place: str,
    broken: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check(built(levels, numbers))
    monkeypatch.setattr(place, broken)
    with pytest.raises(ValueError, match=rf"{key}[a-z._]* was asked to be"):
        check(built(levels, numbers))


@pytest.mark.parametrize("asked", ["z_score", "min_max", "raw", "batch_norm"])
def test_items_scaled_in_another_way_are_noticed(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    other = "min_max" if asked == "z_score" else "z_score"
    scaled = Scaling.of
    for task in (blobs(), pictures()):
        check(built({"input_scaling": asked}, task=task))
    monkeypatch.setattr(
        "trainers.loop.feed.Scaling.of", lambda task, train, level: scaled(task, train, other)
    )
    with pytest.raises(ValueError, match="input_scaling was asked to be"):
        check(built({"input_scaling": asked}))


@pytest.mark.parametrize("optimizer", FACTORS["optimizer"].names)
@pytest.mark.parametrize("clipping", ["norm", "value", "shrink"])
def test_lost_clipping_is_noticed_under_every_optimizer(
    optimizer: str, clipping: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels = {"optimizer": optimizer, "clipping": clipping}
    check(built(levels))
    monkeypatch.setattr("trainers.loop.updates.Updates._clipping", no_list)
    with pytest.raises(ValueError, match="clipping was asked to be"):
        check(built(levels))


@pytest.mark.parametrize(
    ("network", "place", "key", "levels"),
    [
        ("mlp", "trainers.networks.perceptron.equal_parameters", "gated_weights", {"activation": "swiglu"}),
        (
            "cnn",
            "trainers.networks.convolutional.equal_parameters",
            "gated_weights",
            {"activation": "swiglu"},
        ),
        ("rnn", "trainers.networks.recurrent.equal_parameters", "gated_weights", {"activation": "swiglu"}),
        ("mlp", "trainers.networks.block.symmetrized", "symmetric", {"weight_constraint": "symmetric"}),
        ("rnn", "trainers.networks.block.symmetrized", "symmetric", {"weight_constraint": "symmetric"}),
    ],
)
def test_widths_and_shapes_of_weights_that_were_not_built_are_noticed(
    network: str, place: str, key: str, levels: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = dataclasses.replace(SETTING, network=network)
    check(built(levels, setting=setting))
    monkeypatch.setattr(place, lambda first, *_: first)
    with pytest.raises(ValueError, match=rf"{key} was asked to be"):
        check(built(levels, setting=setting))


def test_a_funnel_that_does_not_narrow_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    setting = dataclasses.replace(SETTING, funnel=True, depth=4, width=32)
    check(built({}, setting=setting))
    monkeypatch.setattr("trainers.networks.perceptron.funnel", lambda width, depth, outputs: (width,) * depth)
    with pytest.raises(ValueError, match="width was asked to be"):
        check(built({}, setting=setting))


@pytest.mark.parametrize("network", ["mlp", "cnn", "rnn"])
@pytest.mark.parametrize(
    ("key", "levels", "change"),
    [
        ("initializer.weight0", {"initializer": "std_normal"}, {"gain": 0.2}),
        ("initializer.[a-z]+", {"initializer": "activation_gain_normal"}, {"activation_gain": 0.1}),
        ("bias0.zero", {"bias": "uniform"}, {"bias": zero_bias}),
    ],
)
def test_a_start_that_was_not_asked_for_is_noticed_in_every_network(
    network: str,
    key: str,
    levels: Mapping[str, str],
    change: Mapping[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    setting = dataclasses.replace(SETTING, network=network)
    check(built(levels, setting=setting))
    start = InitialWeights.of
    monkeypatch.setattr(InitialWeights, "of", lambda config: dataclasses.replace(start(config), **change))
    with pytest.raises(ValueError, match=rf"({key}\d?|initializer.recurrent0) was asked to be"):
        check(built(levels, setting=setting))


@pytest.mark.parametrize("network", ["mlp", "cnn", "rnn"])
@pytest.mark.parametrize("norm", ["batch_norm", "batch_norm_after", "batch_norm_no_bias"])
def test_a_momentum_of_running_statistics_that_got_lost_is_noticed(
    network: str, norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = dataclasses.replace(SETTING, network=network)
    levels, numbers = {"normalization": norm}, {"norm_momentum": 0.02}
    check(built(levels, numbers, setting=setting))
    monkeypatch.setattr("trainers.loop.stack.Stack.numbers", {})
    with pytest.raises(ValueError, match="norm_momentum was asked to be"):
        check(built(levels, numbers, setting=setting))


@pytest.mark.parametrize("network", ["cnn", "rnn"])
@pytest.mark.parametrize("dropout", ["dropout", "dropout_last1", "dropout_inputs", "dropconnect"])
def test_masks_that_a_network_leaves_out_are_noticed(
    network: str, dropout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = dataclasses.replace(SETTING, network=network)
    check(built({"dropout": dropout}, setting=setting))
    monkeypatch.setattr("trainers.networks.block.dropped", lambda i, z, noise, places: z)
    monkeypatch.setattr("trainers.networks.block.Block.enter", lambda self, x, *_: x)
    monkeypatch.setattr("trainers.networks.block.Block.weight", lambda self, name, given, how: given[name])
    with pytest.raises(ValueError, match=r"dropout\.applied was asked to be"):
        check(built({"dropout": dropout}, setting=setting))


def test_another_number_of_training_items_is_noticed() -> None:
    half = [member(setting=dataclasses.replace(SETTING, train_size=32), index=k) for k in range(2)]
    with pytest.raises(ValueError, match=r"train_size was asked to be 32, .* applies 64"):
        check(dataclasses.replace(built({}), members=half))


def test_an_augmentation_that_reaches_its_neighbour_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    pack = [
        member(levels={"augmentation": level}, setting=SETTING, index=k)
        for k, level in enumerate(("none", "shift"))
    ]

    def built_pack() -> BuiltPack:
        training = _Training(pack, pictures(), torch.device("cpu"), "none")
        return training.built_pack(*training.feed.batch(0), training.noise.at(0))

    check(built_pack())
    monkeypatch.setattr("trainers.loop.augmentation.Augmenter.augment", lambda self, x, *_: x.flip(0))
    with pytest.raises(ValueError, match="augmented was asked to be False"):
        check(built_pack())
