"""A task's items on the device: every member's own batches, and what members are judged on.

Shape letters: K members, R sources (a block whose items are scaled one way), B items of a batch,
V held-out items, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.loop.augmentation import Augmenter, transformations
from trainers.member import Member
from trainers.tasks.input_scaling import Scaling, TargetScaling
from trainers.tasks.task import Task
from trainers.tasks.task_fields import Split

LEAST_VALIDATION = 200
"""Validation items that are used at least, where the task has them."""

CHUNK = 256
"""Held-out items in one forward pass, at most: small enough that a stack's activations stay in cache."""


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Validation or test items of all sources of a pack, or the training items whose loss is recorded."""

    x_RVF: Tensor
    y_RV: Tensor


def trivial_error(task: Task, study: str, block: int) -> float:
    """Validation error of the predictor that ignores x: the most frequent class, or the mean."""
    split = task.split(study, block)
    return _trivial(task, split, TargetScaling.of(task, split.train))


def _trivial(task: Task, split: Split, targets: TargetScaling) -> float:
    if task.kind == "classification":
        most = np.bincount(task.y[split.train]).argmax()
        return float((task.y[split.validation] != most).mean())
    return float(np.sqrt(np.mean(targets.items(task, split.validation) ** 2)))


class Feed:
    """All data that a pack's members see, in the order they see it."""

    def __init__(self, members: Sequence[Member], task: Task, *, device: torch.device, dtype: torch.dtype):
        self._members = members
        y_dtype = torch.long if task.kind == "classification" else dtype
        blocks = sorted({m.slot.block for m in members})
        study, setting = members[0].streams.study, members[0].config.setting
        splits = [task.split(study, block) for block in blocks]
        trains = [split.train[: setting.train_size] for split in splits]
        targets = [TargetScaling.of(task, train) for train in trains]
        self.trivial = {b: _trivial(task, s, t) for b, s, t in zip(blocks, splits, targets, strict=True)}
        seen = [(blocks.index(m.slot.block), m.config.levels["input_scaling"]) for m in members]
        sources = sorted(set(seen))
        scalings = {source: Scaling.of(task, trains[source[0]], source[1]) for source in sources}

        def stacked(parts: Sequence[NDArray[np.int64]]) -> HeldOut:
            # Source by source: of large images, all of them in float64 would be gigabytes.
            x = [
                torch.from_numpy(scalings[source].items(task, parts[source[0]])).to(dtype)
                for source in sources
            ]
            y = np.stack([targets[block].items(task, parts[block]) for block, _ in sources])
            return HeldOut(x_RVF=torch.stack(x).to(device), y_RV=torch.from_numpy(y).to(device, y_dtype))

        train = stacked(trains)
        self.training = HeldOut(x_RVF=train.x_RVF[:, :CHUNK], y_RV=train.y_RV[:, :CHUNK])
        self._x, self._y = train.x_RVF.flatten(0, 1), train.y_RV.flatten(0, 1)
        # At most half as many as are trained on: a large task would validate for longer than it trains.
        most = max(setting.train_size // 2, LEAST_VALIDATION)
        self.validation = stacked([split.validation[:most] for split in splits])
        reads_test = all(m.reads_test for m in members)
        self.test = stacked([split.test for split in splits]) if reads_test else None
        self.source_K = torch.tensor([sources.index(source) for source in seen], device=device)
        self.items = len(trains[0])
        self.batch_size = min(setting.batch_size, self.items)
        self.steps_per_epoch = self.items // self.batch_size
        self._offset_K = (self.source_K.cpu().numpy() * self.items)[:, None]
        self._order = torch.empty(0, dtype=torch.long)
        self._epoch = -1
        self._augmenter = None
        if any(transformations(m.config, task) for m in members):
            self._augmenter = Augmenter(
                members,
                task,
                scalings=[scalings[source] for source in seen],
                batch_size=self.batch_size,
                steps_per_epoch=self.steps_per_epoch,
                device=device,
                dtype=dtype,
            )

    def batch(self, step: int, rows_S: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Items x [K, B, F], augmented, and y [K, B] of the 0-based step; a fresh order every epoch.

        With `rows_S` only those members' items.
        """
        numbers = self.row_numbers(step)
        if rows_S is not None and self._augmenter is None:
            numbers = numbers[rows_S]
        flat = numbers.reshape(-1)
        x = self._x.index_select(0, flat).view(*numbers.shape, -1)
        y = self._y.index_select(0, flat).view(numbers.shape)
        if self._augmenter is not None:
            x = self._augmenter.augment(x, *divmod(step, self.steps_per_epoch))
            if rows_S is not None:
                x, y = x[rows_S], y[rows_S]
        return x, y

    def unaugmented(self, step: int) -> Tensor:
        """The items x [K, B, F] of the 0-based step as they are without augmentation."""
        numbers = self.row_numbers(step)
        return self._x.index_select(0, numbers.flatten()).view(*numbers.shape, -1)

    def row_numbers(self, step: int) -> Tensor:
        """Where the items of the 0-based step lie among the training items of all sources, [K, B]."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._order, self._epoch = self._shuffled(epoch), epoch
        return self._order[place].view(-1, self.batch_size)

    def training_items(self, k: int) -> Tensor:
        """All training items [1, items, F] of member k, as they are without augmentation."""
        first = int(self._offset_K[k, 0])
        return self._x[first : first + self.items].unsqueeze(0)

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
