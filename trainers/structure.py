"""What can share a pack: computed from the member that would be built, never declared."""

from __future__ import annotations

import dataclasses

from search_spaces.config import Config, digest
from trainers.networks import network_for
from trainers.task import Task


def structure_key(config: Config, task: Task) -> str:
    """Equal for members that can train as one stack on this task.

    Shapes, operations, update rule, batch, steps and precision decide; everything else (rates,
    schedules, initial weights, decay, dropout rate, clipping threshold) is a number per member.

    Raises:
        ValueError: the task's network cannot realise the config.
    """
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
    weights = sum(s.size for s in network_for(config, task).parameters.segments)
    setting = config.setting
    items = min(len(task.y), setting.train_size)
    training = 6.0 * weights * min(setting.batch_size, items) * setting.steps
    return training + 2.0 * weights * (items / 4) * setting.evaluations
