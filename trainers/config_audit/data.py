"""The data of a built pack, measured: batches, scaling, augmentation, and the training loss.

Shape letters: K members, B items of a batch, n training items, F features.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from search_spaces.augmentation import AUGMENTATION
from trainers.config_audit.reading import AuditedProperty, BuiltPack, sampled
from trainers.loop.augmentation import reach
from trainers.tasks.task import Task

DRAWN = 64
"""Items among which augmentation has changed at least one: a flip leaves half of them alone."""

FIRST_STEPS = 16
"""Steps of the first epoch whose items are counted."""

COMPARED = 16
"""Features by which a training item is recognized."""

SURE = 3.0
"""Score of one class, the others having 0, at which the loss is measured."""


def item_readings(built: BuiltPack) -> Iterator[AuditedProperty]:
    """Batches, training items, input scaling, augmentation, and the loss they are trained on."""
    configs, feed, task = built.configs, built.feed, built.task
    count = len(configs)
    wanted = [min(c.setting.batch_size, feed.items) for c in configs]
    yield AuditedProperty(key="batch_size", expected=wanted, measured=[built.x_KBF.shape[1]] * count)
    blocks = {(m.streams.study, m.slot.block) for m in built.members}
    training = {block: len(task.split(*block).train) for block in blocks}
    most = [training[m.streams.study, m.slot.block] for m in built.members]
    expected = [min(c.setting.train_size, n) for c, n in zip(configs, most, strict=True)]
    rows = [feed.training_items(k)[0] for k in range(count)]
    yield AuditedProperty(key="train_size", expected=expected, measured=[len(own) for own in rows])
    plain_KBF = feed.unaugmented(0)
    yield _order(built, rows, plain_KBF)
    yield _scaling(built, rows)
    yield from _augmentation(built, plain_KBF)
    yield from _loss(built)


def _order(built: BuiltPack, rows: list[Tensor], first_KBF: Tensor) -> AuditedProperty:
    """Whether an epoch's batches are distinct items of the member's own; measured for a few members."""
    feed, measured = built.feed, [True] * len(rows)
    steps = range(min(feed.steps_per_epoch, built.configs[0].setting.steps, FIRST_STEPS))
    who = sampled(len(rows))
    numbers = torch.stack([feed.row_numbers(step)[who] for step in steps], dim=1).flatten(1)
    for k, own in zip(who, numbers, strict=True):
        item, known = first_KBF[k, 0, :COMPARED], rows[k][:, :COMPARED]
        measured[k] = len(own.unique()) == own.numel() and bool((known == item).all(-1).any())
    return AuditedProperty(key="own_items_once_an_epoch", expected=[True] * len(rows), measured=measured)


def _scaling(built: BuiltPack, rows: list[Tensor]) -> AuditedProperty:
    """The scaling that the training items show: the configured one, if they have its moments or limits."""
    known: dict[tuple[int, int, str], str] = {}
    measured = []
    for member, own in zip(built.members, rows, strict=True):
        level = member.config.levels["input_scaling"]
        key = (own.data_ptr(), member.slot.block, level)
        if key not in known:
            split = built.task.split(member.streams.study, member.slot.block).train
            known[key] = _scaled(level, own, built.task, split)
        measured.append(known[key])
    return AuditedProperty(
        key="input_scaling", expected=[c.levels["input_scaling"] for c in built.configs], measured=measured
    )


def _scaled(expected: str, rows: Tensor, task: Task, numbers: NDArray[np.int64]) -> str:
    """`level` where the items have its moments or limits, else what they show instead."""
    few = slice(0, min(COMPARED, len(rows)))  # `numbers` go on where a study trains on fewer
    raw = torch.from_numpy(task.x[numbers[few]]).to(rows)
    untouched = torch.allclose(rows[few], raw, rtol=1e-3, atol=1e-6)
    if task.inputs == "tokens":
        return expected if untouched else "not the tokens as they are"
    if expected in ("raw", "batch_norm"):
        return expected if untouched else "not raw"
    if expected not in ("z_score", "min_max"):
        return expected  # how to measure another level is not known
    grouped = rows.reshape(-1, task.shape[-1]) if task.shape is not None and task.is_image else rows
    if expected == "min_max":
        low, high = grouped.amin(0), grouped.amax(0)
        wrong = torch.where(high > low, (low + 1).abs() + (high - 1).abs(), low.abs())
        return expected if bool((wrong < 1e-3).all()) else "not in [-1, 1]"
    mean = grouped.mean(0)
    sd = (grouped.square().mean(0) - mean.square()).clamp_min(0).sqrt()
    # A constant feature is only centred.
    wrong = mean.abs() + torch.where(sd > 1e-3, (sd - 1).abs(), 0.0)
    return expected if bool((wrong < 0.02).all()) else "raw" if untouched else "not of mean 0 and SD 1"


def _augmentation(built: BuiltPack, plain_KBF: Tensor) -> Iterator[AuditedProperty]:
    """Which members' items are changed, and by what; batches are drawn until chance changes one."""
    task = built.task
    builds = [AUGMENTATION.level(c.levels["augmentation"]).build for c in built.configs]
    wanted = [build.on(task.augmentations) for build in builds]
    expected = [_can_change(names, task) for names in wanted]
    changed_K = _changed(built.x_KBF, plain_KBF)
    step = 0
    while step * plain_KBF.shape[1] < DRAWN and not all(
        c or not a for c, a in zip(changed_K.tolist(), expected, strict=True)
    ):
        step += 1
        changed_K |= _changed(built.feed.batch(step)[0], built.feed.unaugmented(step))
    yield AuditedProperty(key="augmented", expected=expected, measured=changed_K.tolist())
    # Each step of a sequence is scaled by its own numbers, so that a shift cannot be recognized.
    alone = [k for k, names in enumerate(wanted) if len(names) == 1 and task.is_image]
    measured = list(wanted)
    for k in [alone[i] for i in sampled(len(alone))]:
        (name,) = wanted[k]
        assert task.shape is not None
        if not _only(name, plain_KBF[k], built.x_KBF[k], task.shape):
            measured[k] = frozenset({f"not {name}"})
    asked_names, found_names = ([sorted(names) for names in sets] for sets in (wanted, measured))
    yield AuditedProperty(key="augmentation", expected=asked_names, measured=found_names)


def _can_change(names: frozenset[str], task: Task) -> bool:
    """Whether one of the transformations can change items of that shape."""
    if not names or task.shape is None:
        return False
    height, width = task.shape[:2] if task.is_image else (task.shape[0], 1)
    return (
        "rotation" in names
        or ("flip" in names and width > 1)
        or ("shift" in names and max(reach(height), reach(width)) > 0)
    )


def _changed(x_KBF: Tensor, plain_KBF: Tensor) -> Tensor:
    return (x_KBF != plain_KBF).flatten(1).any(1)


def _only(name: str, plain_BF: Tensor, x_BF: Tensor, shape: tuple[int, ...]) -> bool:
    """Whether that transformation alone explains the item that changed most."""
    most = int((plain_BF - x_BF).abs().sum(1).argmax())
    plain, x = (rows[most].view(shape) for rows in (plain_BF, x_BF))
    if torch.equal(plain, x):
        return True
    if name == "flip":
        return _same(x, plain.flip(1))
    shifted = any(
        _same(_middle(x, 0, 0, shape), _middle(plain, down, right, shape))
        for down in range(-reach(shape[0]), reach(shape[0]) + 1)
        for right in range(-reach(shape[1]), reach(shape[1]) + 1)
    )
    return shifted if name == "shift" else not (shifted or _same(x, plain.flip(1)))


def _middle(x: Tensor, down: int, right: int, shape: tuple[int, ...]) -> Tensor:
    """The part of an item that stays within the border under every possible shift."""
    rows, columns = reach(shape[0]), reach(shape[1])
    return x[rows - down : shape[0] - rows - down, columns - right : shape[1] - columns - right]


def _same(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, rtol=1e-3, atol=1e-3)


def _loss(built: BuiltPack) -> Iterator[AuditedProperty]:
    """The loss of one item, which shows the label smoothing, or the square of a known error."""
    task, count = built.task, len(built.members)
    outputs_KBC = torch.zeros(count, 1, task.n_outputs).to(built.params_KP)
    outputs_KBC[:, :, 0] = SURE
    y_KB = torch.zeros(count, 1).to(outputs_KBC)
    classes = task.n_outputs
    if task.kind == "regression":
        measured = built.losses(outputs_KBC, y_KB + 1).tolist()
        yield AuditedProperty(key="loss", expected=[(SURE - 1) ** 2] * count, measured=measured)
        return
    if classes < 2:
        return
    losses_K = built.losses(outputs_KBC, y_KB.long()).double()
    smallest = math.log(math.exp(SURE) + classes - 1) - SURE
    measured = ((losses_K - smallest) / (SURE * (1 - 1 / classes))).tolist()
    expected = [c.numbers.get("smoothing", 0.0) for c in built.configs]
    yield AuditedProperty(key="smoothing", expected=expected, measured=measured, atol=1e-5)
