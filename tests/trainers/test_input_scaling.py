"""Inputs are scaled by the training items alone, each member as its level says."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from search_spaces.input_scaling import INPUT_SCALING
from tests.trainers.packs import TINY, blobs, member, pictures
from trainers.diagnostics.batch_check import single_batch_check
from trainers.loop.feed import Feed
from trainers.loop.structure import structure_key
from trainers.member import Member
from trainers.tasks.task import Task

CPU = torch.device("cpu")


def scaled(level: str, index: int = 0, block: int = 0) -> Member:
    setting = dataclasses.replace(TINY, batch_size=64)
    return member(levels={"input_scaling": level}, setting=setting, index=index, block=block)


def feed(*members: Member, task: Task) -> Feed:
    return Feed(members, task, device=CPU, dtype=torch.float64)


def training_items(task: Task, block: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return task.x[task.split("test", block).train[:64]].astype(np.float64)


def held_out(level: str, task: Task) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return feed(scaled(level), task=task).validation.x_RVF[0].numpy()


def test_held_out_items_of_a_table_are_scaled_by_the_training_items_features() -> None:
    task = blobs()
    train = training_items(task)
    items = task.x[task.split("test", 0).validation].astype(np.float64)
    low, high = train.min(0), train.max(0)
    expected = {
        "z_score": (items - train.mean(0)) / train.std(0),
        "min_max": 2 * (items - low) / (high - low) - 1,
        "raw": items,
        "batch_norm": items,
    }
    for level, values in expected.items():
        np.testing.assert_allclose(held_out(level, task), values, atol=1e-9, err_msg=level)


def test_an_images_places_share_the_numbers_of_their_channel() -> None:
    task = pictures()
    train = training_items(task).reshape(-1, 2)
    items = task.x[task.split("test", 0).validation].reshape(-1, 42, 2)
    expected = (items - train.mean(0)) / train.std(0)
    np.testing.assert_allclose(held_out("z_score", task), expected.reshape(len(items), -1), atol=1e-6)


def test_targets_are_scaled_by_the_training_items_alone() -> None:
    task = blobs("regression")
    one = member(block=2)
    split = task.split("test", 2)
    y = task.y[split.train[: one.config.setting.train_size]].astype(np.float64)
    feed = Feed([one], task, device=torch.device("cpu"), dtype=torch.float64)
    expected = (task.y[split.validation] - y.mean()) / y.std()
    np.testing.assert_allclose(feed.validation.y_RV[0].numpy(), expected, atol=1e-9)
    assert abs(task.y.mean() - y.mean()) > 1e-3, "the training items have the mean of all"


def test_a_constant_feature_divides_nothing_by_zero() -> None:
    x = np.random.default_rng(0).normal(size=(160, 3))
    x[:, 1] = 7
    task = Task.from_arrays(x, np.arange(160) % 2, kind="classification", name="blobs")
    for level, value in (("z_score", 0), ("min_max", 0), ("raw", 7)):
        assert (held_out(level, task)[:, 1] == value).all()


def test_members_of_one_pack_may_be_scaled_differently_and_in_different_blocks() -> None:
    task = blobs()
    members = [
        scaled("raw"),
        scaled("z_score", index=1, block=1),
        scaled("min_max", index=2),
        scaled("raw", 3, 1),
    ]
    together = feed(*members, task=task)
    for k, one in enumerate(members):
        alone = feed(one, task=task)
        assert torch.equal(alone.batch(0)[0][0], together.batch(0)[0][k])
        source = together.source_K[k]
        assert torch.equal(alone.validation.x_RVF[0], together.validation.x_RVF[source])
        assert torch.equal(alone.validation.y_RV[0], together.validation.y_RV[source])


def test_members_scaled_alike_share_one_copy_of_the_items() -> None:
    together = feed(*(scaled("min_max", index=k, block=k % 2) for k in range(6)), task=blobs())
    assert len(together.validation.x_RVF) == 2


def test_the_single_batch_check_says_whether_the_scaling_worked() -> None:
    """One batch of all 64 training items: the statistics are then those of the items."""
    levels = ("z_score", "min_max", "raw")
    x_KBF, _ = feed(*(scaled(name) for name in levels), task=blobs()).batch(0)
    found = single_batch_check(x_KBF)
    train = training_items(blobs())
    assert found.mean_K.tolist() == pytest.approx([0, float(x_KBF[1].mean()), train.mean()], abs=1e-9)
    assert found.sd_K.tolist() == pytest.approx([1, float(x_KBF[1].std(correction=0)), train.std()])
    assert (float(found.low_K[1]), float(found.high_K[1])) == (-1, 1)


def test_a_network_of_ones_own_cannot_be_given_a_first_layer() -> None:
    task = dataclasses.replace(blobs(), network=lambda inputs, outputs, config: nn.Linear(inputs, outputs))
    with pytest.raises(ValueError, match=r"input_scaling=batch_norm .*Allowed there: z_score, raw, min_max"):
        structure_key(scaled("batch_norm").config, task)
    assert structure_key(scaled("raw").config, task)


def test_only_a_level_that_adds_a_layer_is_a_structure_of_its_own() -> None:
    keys = {level.name: structure_key(scaled(level.name).config, blobs()) for level in INPUT_SCALING.levels}
    for level in INPUT_SCALING.levels:
        alone = list(keys.values()).count(keys[level.name]) == 1
        assert alone == level.build.first_layer_norm == (level.enters == "structure")
