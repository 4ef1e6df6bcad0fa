"""A task's items on the device: every member's own batches, and what members are judged on.

Shape letters: K members, R blocks, B items of a batch, V held-out items, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.member import Member
from trainers.task import Split, Task

Floats = NDArray[np.float64]

LEAST_VALIDATION = 200
"""Validation items that are used at least, where the task has them."""

CHUNK = 256
"""Held-out items in one forward pass: small enough that a stack's activations stay in cache."""


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Validation or test items of all blocks of a pack, or the training items that are looked at."""

    x_RVF: Tensor
    y_RV: Tensor


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """Means and SDs of one block's training items; held-out items are scaled by the same numbers."""

    x_mean: Floats
    x_sd: Floats
    y_mean: float
    y_sd: float

    @staticmethod
    def of(task: Task, train: NDArray[np.int64]) -> Scaling:
        """From the training items alone; a constant feature is only centred."""
        x = task.x[train].astype(np.float64)
        sd = x.std(axis=0)
        y = task.y[train].astype(np.float64)
        regression = task.kind == "regression"
        return Scaling(
            x_mean=x.mean(axis=0),
            x_sd=np.where(sd > 0, sd, 1.0),
            y_mean=float(y.mean()) if regression else 0.0,
            y_sd=float(y.std()) or 1.0 if regression else 1.0,
        )

    def items(self, task: Task, numbers: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Scaled x [n, F] and y [n] of those items."""
        x = (task.x[numbers].astype(np.float64) - self.x_mean) / self.x_sd
        return x, (task.y[numbers].astype(np.float64) - self.y_mean) / self.y_sd


def trivial_error(task: Task, study: str, block: int) -> float:
    """Validation error of the predictor that ignores x: the most frequent class, or the mean."""
    split = task.split(study, block)
    return _trivial(task, split, Scaling.of(task, split.train))


def _trivial(task: Task, split: Split, scaling: Scaling) -> float:
    if task.kind == "classification":
        most = np.bincount(task.y[split.train]).argmax()
        return float((task.y[split.validation] != most).mean())
    return float(np.sqrt(np.mean(scaling.items(task, split.validation)[1] ** 2)))


class Feed:
    """All data that a pack's members see, in the order they see it."""

    def __init__(self, members: Sequence[Member], task: Task, *, device: torch.device, dtype: torch.dtype):
        self._members = members
        y_dtype = torch.long if task.kind == "classification" else dtype
        blocks = sorted({m.slot.block for m in members})
        study, setting = members[0].slot.study, members[0].config.setting
        splits = [task.split(study, block) for block in blocks]
        trains = [split.train[: setting.train_size] for split in splits]
        scalings = [Scaling.of(task, train) for train in trains]
        self.trivial = {b: _trivial(task, s, c) for b, s, c in zip(blocks, splits, scalings, strict=True)}

        def stacked(parts: Sequence[NDArray[np.int64]]) -> HeldOut:
            scaled = [c.items(task, part) for c, part in zip(scalings, parts, strict=True)]
            x, y = (torch.from_numpy(np.stack(column)) for column in zip(*scaled, strict=True))
            return HeldOut(x_RVF=x.to(device, dtype), y_RV=y.to(device, y_dtype))

        train = stacked(trains)
        self.training = HeldOut(x_RVF=train.x_RVF[:, :CHUNK], y_RV=train.y_RV[:, :CHUNK])
        self._x, self._y = train.x_RVF.flatten(0, 1), train.y_RV.flatten(0, 1)
        # Nobody holds out more than half of what they train on; a large task would judge longer than learn.
        most = max(setting.train_size // 2, LEAST_VALIDATION)
        self.validation = stacked([split.validation[:most] for split in splits])
        reads_test = all(m.reads_test for m in members)
        self.test = stacked([split.test for split in splits]) if reads_test else None
        self.block_K = torch.tensor([blocks.index(m.slot.block) for m in members], device=device)
        self.items = len(trains[0])
        self.batch_size = min(setting.batch_size, self.items)
        self.steps_per_epoch = self.items // self.batch_size
        self._offset_K = (self.block_K.cpu().numpy() * self.items)[:, None]
        self._order = torch.empty(0, dtype=torch.long)
        self._epoch = -1

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Items x [K, B, F] and y [K, B] of the 0-based step; a fresh order every epoch."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._order, self._epoch = self._shuffled(epoch), epoch
        numbers = self._order[place]
        shape = (len(self._members), self.batch_size)
        x = self._x.index_select(0, numbers).view(*shape, -1)
        return x, self._y.index_select(0, numbers).view(shape)

    def _shuffled(self, epoch: int) -> Tensor:
        """Row numbers [steps per epoch, K * B] into the stacked training items."""
        drawn: dict[object, NDArray[np.int64]] = {}
        for member in self._members:
            key = member.streams
            if key not in drawn:
                drawn[key] = key.stream("batches", epoch).permutation(self.items)
        used = self.steps_per_epoch * self.batch_size
        order = np.stack([drawn[m.streams][:used] for m in self._members]) + self._offset_K
        by_step = order.reshape(len(self._members), self.steps_per_epoch, self.batch_size).transpose(1, 0, 2)
        flat = np.ascontiguousarray(by_step).reshape(self.steps_per_epoch, -1)
        return torch.from_numpy(flat).to(self._x.device)
