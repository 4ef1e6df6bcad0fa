"""What can share a pack: computed from the member that would be built, never declared."""

from __future__ import annotations

import dataclasses

from search_spaces.config import Config, digest
from trainers.augmenting import check_augmentation
from trainers.networks import network_for
from trainers.task import Task


def structure_key(config: Config, task: Task) -> str:
    """Equal for members that can train as one stack on this task.

    Shapes, operations, update rule, batch, steps and precision decide; everything else (rates,
    schedules, initial weights, decay, dropout rate, clipping threshold) is a number per member.

    Raises:
        ValueError: the task's network cannot realise the config, or the task does not declare its
            augmentation.
    """
    check_augmentation(config, task)
    network = network_for(config, task)
    setting = {
        key: value
        for key, value in dataclasses.asdict(config.setting).items()
        if key not in ("network", "depth", "width", "funnel", "residual")
    }
    shapes = [[s.name, *s.shape] for layout in (network.parameters, network.buffers) for s in layout.segments]
    return digest(
        {
            "operations": network.operations,
            "shapes": shapes,
            "update_rule": config.levels["optimizer"],
            "setting": setting,
        }
    )


def estimated_flops(config: Config, task: Task) -> float:
    """Floating-point operations of one member's training: forward, twice that backward, validation."""
    setting = config.setting
    items = min(len(task.y), setting.train_size)
    one = network_for(config, task).flops
    training = 3.0 * one * min(setting.batch_size, items) * setting.steps
    return training + one * (items / 4) * setting.evaluations
