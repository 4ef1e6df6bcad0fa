"""What can share a pack: computed from the member that would be built, never declared."""

from __future__ import annotations

import dataclasses

from search_spaces.config import Config, digest
from search_spaces.label_smoothing import LABEL_SMOOTHING
from search_spaces.optimizers import OPTIMIZER
from trainers.augmenting import check_augmentation
from trainers.networks import Network, network_for
from trainers.task import Task


def structure_key(config: Config, task: Task) -> str:
    """Equal for members that can train as one stack on this task.

    Shapes, operations, update rule, batch, steps and precision decide; everything else (rates,
    schedules, initial weights, decay, dropout rate, clipping threshold) is a number per member.

    Raises:
        ValueError: the task's network cannot realise the config, the task does not declare its
            augmentation, or a level means nothing on this kind of task or for this network.
    """
    check_augmentation(config, task)
    network = network_for(config, task)
    check_meaning(config, task, network)
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


def check_meaning(config: Config, task: Task, network: Network) -> None:
    """ValueError for a level that means nothing on this kind of task or for this network."""
    levels = config.levels
    if LABEL_SMOOTHING.level(levels["label_smoothing"]).build.active and task.kind == "regression":
        raise ValueError(
            f"label_smoothing={levels['label_smoothing']} needs classes, and task '{task.name}' has "
            "kind=regression; only label_smoothing=none can be asked there"
        )
    check = OPTIMIZER.level(levels["optimizer"]).build.check
    if check is not None:
        check(network.parameters.segments)


def estimated_flops(config: Config, task: Task) -> float:
    """Floating-point operations of one member's training: forward, twice that backward, validation."""
    setting = config.setting
    items = min(len(task.y), setting.train_size)
    one = network_for(config, task).flops
    training = 3.0 * one * min(setting.batch_size, items) * setting.steps
    return training + one * (items / 4) * setting.evaluations
