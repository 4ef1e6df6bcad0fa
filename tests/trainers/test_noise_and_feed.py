"""Batches and dropout bits belong to the member, not to the pack."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

import trainers.loop.noise
from tests.trainers.packs import TINY, blobs, member
from trainers.loop.feed import Feed, trivial_error
from trainers.loop.noise import DropoutMasks, NoiseSource, RandomDraws
from trainers.member import Member
from trainers.networks import Noise, network_for

DEVICE = torch.device("cpu")


def noise(indices: list[int], rates: list[float], level: str = "dropout") -> NoiseSource:
    """Members on five inputs with two hidden layers of seven units, in batches of eight."""
    setting = dataclasses.replace(TINY, width=7)
    members = [
        member(levels={"dropout": level}, numbers={"dropout_rate": p}, index=i, setting=setting)
        for i, p in zip(indices, rates, strict=True)
    ]
    return source(members)


def source(members: list[Member]) -> NoiseSource:
    network = network_for(members[0].config, blobs())
    return NoiseSource(members, network, items=8, steps_per_epoch=5, dtype=torch.float32, device=DEVICE)


def masks(drawn: NoiseSource, step: int) -> Tensor:
    """[L, K, B, U]"""
    scale = drawn.at(step).scale
    assert scale is not None
    return scale


def test_a_member_draws_the_same_bits_alone_and_in_company() -> None:
    alone, together = noise([3], [0.4]), noise([1, 3, 2], [0.2, 0.4, 0.0])
    for step in range(12):
        assert torch.equal(masks(alone, step)[:, 0], masks(together, step)[:, 1])


def test_bits_do_not_depend_on_how_they_are_chunked(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = noise([3], [0.4])
    reference = [masks(whole, step) for step in range(12)]
    monkeypatch.setattr(trainers.loop.noise, "CHUNK_BYTES", 1)
    small = noise([3], [0.4])
    assert all(torch.equal(masks(small, step), reference[step]) for step in range(12))


def test_masks_keep_the_declared_share_and_preserve_the_mean() -> None:
    drawn = torch.stack([masks(noise([k], [0.3]), 0) for k in range(100)])
    share = (drawn > 0).float().mean().item()
    assert share == pytest.approx(0.7, abs=4 * (0.21 / drawn.numel()) ** 0.5)
    assert drawn.max().item() == pytest.approx(1 / 0.7)


def test_masks_of_two_epochs_differ() -> None:
    drawn = noise([3], [0.4])
    steps = [masks(drawn, step) for step in range(10)]
    for step in range(10):
        assert all(not torch.equal(steps[step], other) for other in steps[step + 1 :])


def test_a_member_without_dropout_keeps_everything_unscaled() -> None:
    assert torch.equal(masks(noise([1, 2], [0.5, 0.0]), 0)[:, 1], torch.ones(2, 8, 7))


def test_who_drops_nearly_everything_keeps_nothing() -> None:
    drawn = RandomDraws([member(index=1).streams], purpose="dropout", shape=(4096,), steps_per_epoch=1)
    kept = DropoutMasks(drawn, np.array([[1 - 1e-7]]), dtype=torch.float32, device=DEVICE)
    assert not kept.at(0, slice(None)).any()


def test_without_dropout_nothing_is_drawn() -> None:
    assert source([member()]).at(0) == Noise()


def test_an_epoch_shows_every_item_at_most_once_and_epochs_differ() -> None:
    feed = Feed([member(index=1)], blobs(), device=DEVICE, dtype=torch.float64)
    first = torch.cat([feed.batch(s)[0][0] for s in range(feed.steps_per_epoch)])
    second = torch.cat([feed.batch(feed.steps_per_epoch + s)[0][0] for s in range(feed.steps_per_epoch)])
    assert len(torch.unique(first, dim=0)) == len(first)
    assert not torch.equal(first, second)


def test_training_items_are_standardized_and_held_out_items_by_the_same_numbers() -> None:
    task = blobs()
    one = member(index=1, block=3)
    feed = Feed([one], task, device=DEVICE, dtype=torch.float64)
    split = task.split("test", 3)
    train = task.x[split.train[:64]].astype(np.float64)
    expected = (task.x[split.validation] - train.mean(0)) / train.std(0)
    np.testing.assert_allclose(feed.validation.x_RVF[0].numpy(), expected, atol=1e-9)


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_every_part_holds_its_own_items_and_their_targets(kind: str) -> None:
    """Items are known by their values: each part's are those of the split, and none is in two parts."""
    task = blobs(kind)
    one = member(index=1, block=3, phase="confirm")
    feed = Feed([one], task, device=DEVICE, dtype=torch.float64)
    split = task.split("test", 3)
    train = task.x[split.train[:64]].astype(np.float64)
    y_train = task.y[split.train[:64]].astype(np.float64)
    assert feed.test is not None
    parts = {"train": feed.training, "validation": feed.validation, "test": feed.test}
    numbers = {"train": split.train[:64], "validation": split.validation, "test": split.test}
    for name, part in parts.items():
        x = (task.x[numbers[name]] - train.mean(0)) / train.std(0)
        y = task.y[numbers[name]].astype(np.float64)
        y = y if kind == "classification" else (y - y_train.mean()) / y_train.std()
        np.testing.assert_allclose(part.x_RVF[0].numpy(), x, atol=1e-9)
        np.testing.assert_allclose(part.y_RV[0].double().numpy(), y, atol=1e-9)


def test_members_of_different_blocks_see_their_own_split() -> None:
    pair = Feed([member(block=0), member(block=1)], blobs(), device=DEVICE, dtype=torch.float64)
    alone = Feed([member(block=1)], blobs(), device=DEVICE, dtype=torch.float64)
    assert torch.equal(pair.batch(0)[0][1], alone.batch(0)[0][0])


def test_the_trivial_error_is_that_of_the_most_frequent_class_or_of_the_mean() -> None:
    task = blobs()
    split = task.split("test", 0)
    most = np.bincount(task.y[split.train]).argmax()
    assert trivial_error(task, "test", 0) == (task.y[split.validation] != most).mean()
    assert trivial_error(blobs("regression"), "test", 0) == pytest.approx(1.0, abs=0.35)
