"""Augmentation: a member's training items are moved, flipped or turned, with new draws every epoch.

Draws come from the member's own streams, one for each transformation, so that levels which share a
transformation share its draws. Shape letters: K members, M of them augmented, B items, P places,
H height, W width, C channels, F = P * C features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from torch import Tensor

from search_spaces.augmentation import AUGMENTATION, ROTATION_DEGREES
from search_spaces.config import Config
from trainers.member import Member
from trainers.tasks.input_scaling import Scaling
from trainers.tasks.task import Task


def check_augmentation(config: Config, task: Task) -> None:
    """ValueError unless the task declares that the config's augmentation leaves its labels right."""
    name = config.levels["augmentation"]
    level = AUGMENTATION.level(name).build
    if not level.transformations <= task.augmentations or (level.declared and not task.augmentations):
        declared = ", ".join(sorted(task.augmentations)) or "none"
        raise ValueError(
            f"task '{task.name}' does not declare what augmentation={name} does to leave its labels right; "
            f"it declares {declared} (its field augmentations)"
        )


def transformations(config: Config, task: Task) -> frozenset[str]:
    """What the config's augmentation does to this task's training items."""
    return AUGMENTATION.level(config.levels["augmentation"]).build.on(task.augmentations)


class Augmenter:
    """Changes the batches of a pack's augmented members and leaves the others to the bit."""

    def __init__(
        self,
        members: Sequence[Member],
        task: Task,
        *,
        scalings: Sequence[Scaling],
        batch_size: int,
        steps_per_epoch: int,
        device: torch.device,
        dtype: torch.dtype,
    ):
        """`scalings` are the members', in their order."""
        drawn = [transformations(m.config, task) for m in members]
        who = [k for k, names in enumerate(drawn) if names]
        assert task.shape is not None
        self._members = [members[k] for k in who]
        self._drawn = [drawn[k] for k in who]
        self._who_M = torch.tensor(who, device=device)
        turning = [m for m, names in enumerate(self._drawn) if "rotation" in names]
        self._turning = torch.tensor(turning, dtype=torch.long, device=device)
        height, width, channels = task.shape if task.is_image else (task.shape[0], 1, task.shape[1])
        self._shape = (height, width, channels)
        self._reach = tuple(reach(side) for side in (height, width))
        self._steps, self._items = steps_per_epoch, batch_size
        self._device, self._dtype = device, dtype
        self._affine = None if task.is_image else self._stacked([scalings[k] for k in who])
        self._epoch = -1
        self._draws: Mapping[str, Tensor] = {}

    def augment(self, x_KBF: Tensor, epoch: int, place: int) -> Tensor:
        """`x_KBF` with the augmented members' items changed; step `place` of that epoch."""
        if epoch != self._epoch:
            self._draws, self._epoch = self._epoch_draws(epoch), epoch
        now = {name: draws[place] for name, draws in self._draws.items()}
        everyone = len(self._who_M) == len(x_KBF)
        x = x_KBF if everyone else x_KBF.index_select(0, self._who_M)
        shape = x.shape
        if self._affine is not None:  # a step's numbers are its own: they must not move with the item
            centre, unit = self._affine
            x = x * unit + centre
        x = x.view(*shape[:2], *self._shape)
        if "rotation" in now:
            cosine, sine = now["rotation"][:, self._turning]
            x = x.index_copy(0, self._turning, turned(x[self._turning], cosine, sine))
        if "offset" in now:
            x = moved(x, now["offset"][0], now["offset"][1], now["flipped"])
        x = x.reshape(shape)
        if self._affine is not None:
            x = (x - centre) / unit
        return x if everyone else x_KBF.index_copy(0, self._who_M, x)

    def _stacked(self, scalings: Sequence[Scaling]) -> tuple[Tensor, Tensor]:
        """Centres and units [M, 1, F]."""
        columns = ([s.centre_F for s in scalings], [s.unit_F for s in scalings])
        centre, unit = (torch.from_numpy(np.stack(c)).to(self._device, self._dtype) for c in columns)
        return centre[:, None], unit[:, None]

    def _epoch_draws(self, epoch: int) -> dict[str, Tensor]:
        """Name -> [steps, ..., M, B]; draws of a missing transformation change nothing."""
        used = self._steps * self._items
        count = len(self._members)
        offset = np.zeros((2, count, used), dtype=np.int64)
        flipped = np.zeros((count, used), dtype=np.bool_)
        angle = np.zeros((2, count, used))
        for m, (member, names) in enumerate(zip(self._members, self._drawn, strict=True)):
            if "shift" in names:
                draws = member.streams.stream("augmentation_shift", epoch)
                for axis, most in enumerate(self._reach):
                    offset[axis, m] = draws.integers(-most, most, size=used, endpoint=True)
            if "flip" in names:
                flipped[m] = member.streams.stream("augmentation_flip", epoch).integers(2, size=used)
            if "rotation" in names:
                degrees = member.config.numbers.get("rotation_degrees", ROTATION_DEGREES.default)
                unit = member.streams.stream("augmentation_rotation", epoch).uniform(-1, 1, size=used)
                # cos and sin here: torch's last bit may depend on a number's place in the tensor.
                angle[:, m] = np.cos(np.radians(degrees) * unit), np.sin(np.radians(degrees) * unit)
        names = frozenset().union(*self._drawn)
        tensors: dict[str, Tensor] = {}
        if names & {"shift", "flip"}:
            tensors |= {"offset": self._by_step(offset), "flipped": self._by_step(flipped)}
        if "rotation" in names:
            tensors["rotation"] = self._by_step(angle).to(self._dtype)
        return tensors

    def _by_step(self, draws: NDArray[np.generic]) -> Tensor:
        """[..., M, steps * B] as [steps, ..., M, B]."""
        split = draws.reshape(*draws.shape[:-1], self._steps, self._items)
        return torch.from_numpy(np.ascontiguousarray(np.moveaxis(split, -2, 0))).to(self._device)


def reach(side: int) -> int:
    """By how many places an item may be shifted along a side: an eighth of it, at least 1; 0 of 1."""
    return 0 if side == 1 else max(1, round(side / 8))


def moved(x: Tensor, down: Tensor, right: Tensor, flipped: Tensor) -> Tensor:
    """Items [M, B, H, W, C] flipped left to right where `flipped`, then shifted; the border is repeated.

    Args:
        x: the items.
        down: places by which an item moves to higher rows, [M, B] whole numbers.
        right: the same of columns.
        flipped: which items are flipped, [M, B].
    """
    members, items, height, width, channels = x.shape
    rows = (torch.arange(height, device=x.device) - down[..., None]).clamp_(0, height - 1)
    columns = (torch.arange(width, device=x.device) - right[..., None]).clamp_(0, width - 1)
    columns = torch.where(flipped[..., None], width - 1 - columns, columns)
    first = torch.arange(members * items, device=x.device).view(members, items, 1) * height
    places = (rows + first)[..., :, None] * width + columns[..., None, :]
    # One index_select over all places: with 3 channels twice as fast as a gather within each image.
    return x.reshape(-1, channels).index_select(0, places.flatten()).view(x.shape)


def turned(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Images [M, B, H, W, C] turned about their middle, bilinear, the border repeated.

    Args:
        x: the images.
        cosine: of each image's angle, [M, B]; a positive angle turns columns toward higher rows
            (clockwise as images are shown).
        sine: of the same angle.
    """
    height, width, channels = x.shape[2:]
    down = torch.arange(height, device=x.device, dtype=x.dtype)[:, None] - (height - 1) / 2
    right = torch.arange(width, device=x.device, dtype=x.dtype) - (width - 1) / 2
    cosine, sine = (angle.reshape(-1, 1, 1) for angle in (cosine, sine))
    from_right = (cosine * right + sine * down) * (2 / width)
    from_down = (cosine * down - sine * right) * (2 / height)
    images = x.reshape(-1, height, width, channels).permute(0, 3, 1, 2)
    grid = torch.stack([from_right, from_down], dim=-1)
    tensors = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return tensors.permute(0, 2, 3, 1).reshape(x.shape)
