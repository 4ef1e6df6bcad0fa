"""What a built pack is fed: whose items, how many, how scaled, which of them changed, and how it is judged.

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
"""Items after which one that is to be augmented has been changed: a flip spares half of them."""

FIRST_STEPS = 16
"""Steps of the first epoch whose items are counted."""

COMPARED = 16
"""Features by which a training item is known again."""

SURE = 3.0
"""The score of one class, against 0 of the others, at which the dry loss is taken."""


def item_readings(wiring: BuiltPack) -> Iterator[AuditedProperty]:
    """Batches, training items, input scaling, augmentation, and the loss they are trained on."""
    configs, feed, task = wiring.configs, wiring.feed, wiring.task
    count = len(configs)
    wanted = [min(c.setting.batch_size, feed.items) for c in configs]
    yield AuditedProperty(key="batch_size", asked=wanted, found=[wiring.x_KBF.shape[1]] * count)
    blocks = {(m.streams.study, m.slot.block) for m in wiring.members}
    training = {block: len(task.split(*block).train) for block in blocks}
    most = [training[m.streams.study, m.slot.block] for m in wiring.members]
    asked = [min(c.setting.train_size, n) for c, n in zip(configs, most, strict=True)]
    rows = [feed.training_items(k)[0] for k in range(count)]
    yield AuditedProperty(key="train_size", asked=asked, found=[len(own) for own in rows])
    plain_KBF = feed.unaugmented(0)
    yield _order(wiring, rows, plain_KBF)
    yield _scaling(wiring, rows)
    yield from _augmentation(wiring, plain_KBF)
    yield from _loss(wiring)


def _order(wiring: BuiltPack, rows: list[Tensor], first_KBF: Tensor) -> AuditedProperty:
    """Whether an epoch's batches are different items of the member's own; of a few members."""
    feed, found = wiring.feed, [True] * len(rows)
    steps = range(min(feed.steps_per_epoch, wiring.configs[0].setting.steps, FIRST_STEPS))
    who = sampled(len(rows))
    numbers = torch.stack([feed.row_numbers(step)[who] for step in steps], dim=1).flatten(1)
    for k, own in zip(who, numbers, strict=True):
        item, known = first_KBF[k, 0, :COMPARED], rows[k][:, :COMPARED]
        found[k] = len(own.unique()) == own.numel() and bool((known == item).all(-1).any())
    return AuditedProperty(key="own_items_once_an_epoch", asked=[True] * len(rows), found=found)


def _scaling(wiring: BuiltPack, rows: list[Tensor]) -> AuditedProperty:
    """The name of the scaling that the training items look like: the one asked for, if they do."""
    known: dict[tuple[int, int, str], str] = {}
    found = []
    for member, own in zip(wiring.members, rows, strict=True):
        level = member.config.levels["input_scaling"]
        key = (own.data_ptr(), member.slot.block, level)
        if key not in known:
            split = wiring.task.split(member.streams.study, member.slot.block).train
            known[key] = _scaled(level, own, wiring.task, split)
        found.append(known[key])
    return AuditedProperty(
        key="input_scaling", asked=[c.levels["input_scaling"] for c in wiring.configs], found=found
    )


def _scaled(asked: str, rows: Tensor, task: Task, numbers: NDArray[np.int64]) -> str:
    """`asked` where the items have what it promises, else what they look like."""
    few = slice(0, min(COMPARED, len(rows)))  # `numbers` go on where a study trains on fewer
    raw = torch.from_numpy(task.x[numbers[few]]).to(rows)
    untouched = torch.allclose(rows[few], raw, rtol=1e-3, atol=1e-6)
    if task.inputs == "tokens":
        return asked if untouched else "not the tokens as they are"
    if asked in ("raw", "batch_norm"):
        return asked if untouched else "not raw"
    if asked not in ("z_score", "min_max"):
        return asked  # of a level that promises something else nothing is known here
    grouped = rows.reshape(-1, task.shape[-1]) if task.shape is not None and task.is_image else rows
    if asked == "min_max":
        low, high = grouped.amin(0), grouped.amax(0)
        wrong = torch.where(high > low, (low + 1).abs() + (high - 1).abs(), low.abs())
        return asked if bool((wrong < 1e-3).all()) else "not in [-1, 1]"
    mean = grouped.mean(0)
    sd = (grouped.square().mean(0) - mean.square()).clamp_min(0).sqrt()
    # A constant feature is only centred.
    wrong = mean.abs() + torch.where(sd > 1e-3, (sd - 1).abs(), 0.0)
    return asked if bool((wrong < 0.02).all()) else "raw" if untouched else "not of mean 0 and SD 1"


def _augmentation(wiring: BuiltPack, plain_KBF: Tensor) -> Iterator[AuditedProperty]:
    """Who gets changed items, and by what; a batch that chance spared is followed by the next."""
    task = wiring.task
    builds = [AUGMENTATION.level(c.levels["augmentation"]).build for c in wiring.configs]
    wanted = [build.on(task.augmentations) for build in builds]
    asked = [_can_change(names, task) for names in wanted]
    changed_K = _changed(wiring.x_KBF, plain_KBF)
    step = 0
    while step * plain_KBF.shape[1] < DRAWN and not all(
        c or not a for c, a in zip(changed_K.tolist(), asked, strict=True)
    ):
        step += 1
        changed_K |= _changed(wiring.feed.batch(step)[0], wiring.feed.unaugmented(step))
    yield AuditedProperty(key="augmented", asked=asked, found=changed_K.tolist())
    # The steps of a sequence are scaled each by its own numbers: a shifted one is not seen as such.
    alone = [k for k, names in enumerate(wanted) if len(names) == 1 and task.is_image]
    found = list(wanted)
    for k in [alone[i] for i in sampled(len(alone))]:
        (name,) = wanted[k]
        assert task.shape is not None
        if not _only(name, plain_KBF[k], wiring.x_KBF[k], task.shape):
            found[k] = frozenset({f"not {name}"})
    asked_names, found_names = ([sorted(names) for names in sets] for sets in (wanted, found))
    yield AuditedProperty(key="augmentation", asked=asked_names, found=found_names)


def _can_change(names: frozenset[str], task: Task) -> bool:
    """Whether one of the transformations has something to do on items of that shape."""
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
    """Whether the item that changed most is what that transformation alone can make of it."""
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
    """The places of an item that a shift within reach cannot push over the border."""
    rows, columns = reach(shape[0]), reach(shape[1])
    return x[rows - down : shape[0] - rows - down, columns - right : shape[1] - columns - right]


def _same(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, rtol=1e-3, atol=1e-3)


def _loss(wiring: BuiltPack) -> Iterator[AuditedProperty]:
    """The loss of one item: of a sure score it tells the smoothing, of a target 1 off it is the square."""
    task, count = wiring.task, len(wiring.members)
    outputs_KBC = torch.zeros(count, 1, task.n_outputs).to(wiring.params_KP)
    outputs_KBC[:, :, 0] = SURE
    y_KB = torch.zeros(count, 1).to(outputs_KBC)
    classes = task.n_outputs
    if task.kind == "regression":
        found = wiring.losses(outputs_KBC, y_KB + 1).tolist()
        yield AuditedProperty(key="loss", asked=[(SURE - 1) ** 2] * count, found=found)
        return
    if classes < 2:
        return
    losses_K = wiring.losses(outputs_KBC, y_KB.long()).double()
    least = math.log(math.exp(SURE) + classes - 1) - SURE
    found = ((losses_K - least) / (SURE * (1 - 1 / classes))).tolist()
    asked = [c.numbers.get("smoothing", 0.0) for c in wiring.configs]
    yield AuditedProperty(key="smoothing", asked=asked, found=found, least=1e-5)
