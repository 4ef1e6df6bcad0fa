"""Augmentation moves what it says, for whom it says, from the member's own draws."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
import pytest
import torch
from scipy import ndimage

from search_spaces.config import Setting
from tests.trainers.packs import TINY, blobs, member, numbers_of, pictures
from trainers.loop.augmentation import check_augmentation, moved, reach, turned
from trainers.loop.feed import Feed
from trainers.loop.pack import train_pack
from trainers.loop.structure import structure_key
from trainers.member import Member
from trainers.tasks.task import Task

CPU = torch.device("cpu")
FLOAT32 = dataclasses.replace(TINY, precision="float32", batch_size=9)


def augmented(level: str, index: int = 0, setting: Setting = TINY, block: int = 0) -> Member:
    levels = {"augmentation": level, "optimizer": "adam"}
    return member(levels=levels, setting=setting, index=index, block=block, phase="confirm")


def waves() -> Task:
    """Sequences of 20 steps and 2 channels in which every step has a level of its own."""
    draws = np.random.default_rng(3)
    x = draws.normal(size=(120, 20, 2)) + 5 * np.arange(20)[:, None]
    return Task.from_arrays(
        x, np.arange(120) % 2, kind="classification", name="blobs", augmentations={"shift"}
    )


def grid(height: int, width: int, channels: int) -> torch.Tensor:
    """One image [1, 1, H, W, C] of which every number differs."""
    count = height * width * channels
    return torch.arange(count, dtype=torch.float64).view(1, 1, height, width, channels)


def offsets(down: int, right: int, flipped: bool = False) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.tensor([[down]]), torch.tensor([[right]]), torch.tensor([[flipped]])


@pytest.mark.parametrize(("down", "right"), [(0, 0), (2, -1), (-1, 3), (1, 0)])
def test_a_shift_is_scipys_with_the_border_repeated(down: int, right: int) -> None:
    image = grid(5, 6, 2)
    expected = ndimage.shift(image[0, 0].numpy(), (down, right, 0), order=0, mode="nearest")
    np.testing.assert_array_equal(moved(image, *offsets(down, right))[0, 0].numpy(), expected)


def test_a_flip_exchanges_left_and_right_before_the_shift() -> None:
    image = grid(4, 5, 3)
    assert torch.equal(moved(image, *offsets(0, 0, True)), image.flip(3))
    assert torch.equal(moved(image, *offsets(1, 2, True)), moved(image.flip(3), *offsets(1, 2)))


@pytest.mark.parametrize(("height", "width"), [(7, 7), (6, 9)])
@pytest.mark.parametrize("degrees", [0.0, 15.0, -40.0, 90.0])
def test_a_rotation_is_scipys_bilinear_one_about_the_middle(height: int, width: int, degrees: float) -> None:
    image = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 1, height, width, 2)))
    radians = np.radians(degrees)
    cosine, sine = (torch.tensor([[value]]) for value in (np.cos(radians), np.sin(radians)))
    matrix = np.array([[np.cos(radians), -np.sin(radians)], [np.sin(radians), np.cos(radians)]])
    middle = np.array([(height - 1) / 2, (width - 1) / 2])
    expected = [
        ndimage.affine_transform(
            image[0, 0, :, :, c].numpy(), matrix, middle - matrix @ middle, order=1, mode="nearest"
        )
        for c in range(2)
    ]
    found = turned(image, cosine, sine)[0, 0].numpy()
    np.testing.assert_allclose(found, np.stack(expected, axis=-1), atol=1e-9)


def test_items_are_shifted_by_an_eighth_of_a_side_and_at_least_by_one() -> None:
    assert [reach(side) for side in (1, 4, 8, 12, 28, 32)] == [0, 1, 1, 2, 4, 4]


@pytest.mark.parametrize("level", ["shift", "flip", "rotation", "declared"])
def test_a_training_item_changes_every_epoch_and_held_out_items_never(level: str) -> None:
    plain, changed = (
        Feed([augmented(name)], pictures(), device=CPU, dtype=torch.float64) for name in ("none", level)
    )
    assert torch.equal(plain.validation.x_RVF, changed.validation.x_RVF)
    assert plain.test is not None and changed.test is not None
    assert torch.equal(plain.test.x_RVF, changed.test.x_RVF)
    per_epoch = plain.steps_per_epoch
    differences = []
    for step in (0, per_epoch):
        (x, y), (z, labels) = plain.batch(step), changed.batch(step)
        assert torch.equal(y, labels)
        assert not torch.equal(x, z)
        differences.append((x - z).sum())
    assert differences[0] != differences[1]


def test_a_shifted_batch_holds_the_images_that_its_members_stream_says() -> None:
    one = augmented("shift", index=4)
    plain = Feed([augmented("none", index=4)], pictures(), device=CPU, dtype=torch.float64)
    changed = Feed([one], pictures(), device=CPU, dtype=torch.float64)
    draws = one.streams.stream("augmentation_shift", 0)
    used = plain.steps_per_epoch * plain.batch_size
    down, right = (draws.integers(-1, 1, size=used, endpoint=True) for _ in range(2))
    before, after = plain.batch(1)[0][0], changed.batch(1)[0][0]
    for i in range(plain.batch_size):
        at = plain.batch_size + i
        image = before[i].view(7, 6, 2).numpy()
        expected = ndimage.shift(image, (down[at], right[at], 0), order=0, mode="nearest")
        np.testing.assert_array_equal(after[i].view(7, 6, 2).numpy(), expected)


def test_half_of_the_items_are_flipped() -> None:
    feed = Feed([augmented("flip", index=k) for k in range(40)], pictures(), device=CPU, dtype=torch.float64)
    plain = Feed([augmented("none", index=k) for k in range(40)], pictures(), device=CPU, dtype=torch.float64)
    steps = range(feed.steps_per_epoch)
    same = torch.cat([(feed.batch(s)[0] == plain.batch(s)[0]).all(-1).flatten() for s in steps])
    # SD of a share of 2560 at 1/2 is 0.01.
    assert same.double().mean().item() == pytest.approx(0.5, abs=0.04)


def test_declared_does_everything_and_shares_its_draws_with_the_single_levels() -> None:
    """A task that declares one transformation: both levels are then the same."""
    draws = np.random.default_rng(0)
    task = Task.from_arrays(
        draws.normal(size=(90, 5, 5, 1)),
        np.arange(90) % 2,
        kind="classification",
        name="blobs",
        augmentations={"flip"},
    )
    both = [Feed([augmented(name)], task, device=CPU, dtype=torch.float64) for name in ("flip", "declared")]
    assert torch.equal(both[0].batch(3)[0], both[1].batch(3)[0])


def test_a_sequence_is_shifted_along_its_steps_in_the_units_it_came_in() -> None:
    """Every step is scaled by its own numbers; a reading that moves to another step meets other numbers."""
    task = waves()
    one = augmented("shift", setting=dataclasses.replace(TINY, batch_size=4))
    feed = Feed([one], task, device=CPU, dtype=torch.float64)
    split = task.split("test", 0)
    train = task.x[split.train[:64]].astype(np.float64)
    order = one.streams.stream("batches", 0).permutation(64)
    used = feed.steps_per_epoch * 4
    steps = one.streams.stream("augmentation_shift", 0).integers(-2, 2, size=used, endpoint=True)
    found = feed.batch(0)[0][0].numpy()
    for i in range(4):
        item = train[order[i]].reshape(20, 2)
        there = np.clip(np.arange(20) - steps[i], 0, 19)
        expected = (item[there].reshape(-1) - train.mean(0)) / train.std(0)
        np.testing.assert_allclose(found[i], expected, atol=1e-9)


@pytest.mark.parametrize("task", [pictures(), waves()], ids=["images", "sequences"])
def test_a_members_images_do_not_depend_on_its_companions_to_the_bit(task: Task) -> None:
    names = ["none", "shift", "flip", "rotation", "declared"] if task.is_image else ["none", "shift"]
    members = [augmented(name, index=k, setting=FLOAT32, block=k % 2) for k, name in enumerate(names)]
    together = Feed(members, task, device=CPU, dtype=torch.float32)
    turned_round = Feed(members[::-1], task, device=CPU, dtype=torch.float32)
    alone = [Feed([one], task, device=CPU, dtype=torch.float32) for one in members]
    for step in (0, 3, 8, 15):
        x, reverse = together.batch(step)[0], turned_round.batch(step)[0]
        for k, feed in enumerate(alone):
            assert torch.equal(feed.batch(step)[0][0], x[k])
            assert torch.equal(reverse[len(members) - 1 - k], x[k])


@pytest.mark.parametrize("network", ["mlp", "cnn"])
def test_members_with_different_augmentation_and_scaling_train_in_one_pack_to_the_bit(
    network: Literal["mlp", "cnn"],
) -> None:
    setting = dataclasses.replace(FLOAT32, network=network)
    scalings = ["z_score", "raw", "min_max", "z_score"]
    members = [
        member(
            levels={"augmentation": name, "input_scaling": scaling, "optimizer": "adam"},
            setting=setting,
            index=k,
            block=k % 2,
            phase="confirm",
        )
        for k, (name, scaling) in enumerate(
            zip(["none", "rotation", "shift", "declared"], scalings, strict=True)
        )
    ]
    assert len({structure_key(m.config, pictures()) for m in members}) == 1
    straight = train_pack(members, pictures())
    permuted = train_pack(members[::-1], pictures())[::-1]
    assert [numbers_of(e) for e in straight] == [numbers_of(e) for e in permuted]


@pytest.mark.parametrize("level", ["shift", "flip", "rotation", "declared"])
def test_an_augmentation_that_the_task_does_not_declare_is_refused_by_name(level: str) -> None:
    with pytest.raises(ValueError, match=f"task 'blobs' .*augmentation={level}.* declares none"):
        structure_key(augmented(level).config, blobs())


def test_only_what_is_not_declared_is_refused() -> None:
    for level in ("none", "shift", "declared"):
        check_augmentation(augmented(level).config, waves())
    with pytest.raises(ValueError, match=r"augmentation=flip .* declares shift"):
        check_augmentation(augmented("flip").config, waves())
