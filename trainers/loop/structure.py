"""What can share a pack: computed from the member that would be built, never declared."""

from __future__ import annotations

import dataclasses

from search_spaces.config import Config, digest
from search_spaces.label_smoothing import LABEL_SMOOTHING
from search_spaces.optimizers import OPTIMIZER
from trainers.loop.augmentation import check_augmentation
from trainers.loop.feed import CHUNK
from trainers.networks import Network, OwnModule, Perceptron, network_for
from trainers.tasks.input_scaling import check_input_scaling
from trainers.tasks.task import Task

OPERATIONS_OF_A_SUM = 50.0
"""What norm, activation, dropout and their derivatives cost for one sum of a hidden layer, counted in the
operations of matrix products. On one thread of an EPYC core (torch 2.14.1, 22 packs of perceptrons,
convolutional and recurrent networks of widths 8 to 64, with and without batch norm), trainings then took
0.12 to 0.8 of what `estimated_flops` says at 2e9 a second, and 0.17 to 2.0 without this."""
TRAINING_COPIES, JUDGING_COPIES = 8, 4
"""Tensors of the size of a hidden layer's sums that are alive at a time. In training those of all layers:
7 to 9 were measured as growth of the process (three packs of convolutional and recurrent networks)."""
JUDGED = 1 << 19
"""Sums of one hidden layer of one member that are computed at a time for held-out items."""

MIXED_LAYERS = 4
"""Hidden layers of a perceptron up to which members with different activations share a pack. Measured were
2 and 20 (48 members, one thread of a busy EPYC core, torch 2.14.1). With 2 x 100 units (digits, relu, tanh,
gelu) a member's step took 0.48 ms in a mixed pack, as in packs of 48 with one of them each (n = 7). With 20
x 32 (elu, mish, gelu; 16 steps, the read-back before them included) it took 1.6 and 2.1 ms, in three packs
of 16 with one of them each 1.3 (n = 2). In convolutional and recurrent networks autograd copies what
activations give at every place and step (digits_images, three activations and two rules): packs of 24, of
48, and of 16 with one activation each took 0.89, 0.76 and 0.72 ms as recurrent networks of 2 x 16 units,
and 1.81, 2.01 and 1.90 ms as convolutional ones of 2 x 8 channels (n = 3)."""


def structure_key(config: Config, task: Task) -> str:
    """Equal for members that can train as one stack on this task.

    Shapes, operations, batch, steps and precision decide. Update rules, and in shallow perceptrons
    activations that take one sum to one output with nothing to learn or to draw, act on the rows of their
    members; everything else (rates, schedules, initial weights, decay, dropout rate, clipping
    threshold) is a number per member. A network of the task's own may look at all of the config, so there
    the update rule decides too.

    Raises:
        ValueError: the task's network cannot realise the config, the task does not declare its
            augmentation, or a level means nothing on this kind of task or for this network.
    """
    check_augmentation(config, task)
    check_input_scaling(config, task)
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
            "activation": "any" if mixes(network) else config.levels["activation"],
            "shapes": shapes,
            "update_rule": config.levels["optimizer"] if isinstance(network, OwnModule) else "any",
            "setting": setting,
        }
    )


def mixes(network: Network) -> bool:
    """Whether activations that may share a stack of such networks do so; elsewhere it was no faster."""
    return isinstance(network, Perceptron) and network.hidden <= MIXED_LAYERS


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
    """Floating-point operations of one member's training: forward, twice that backward, validation.

    Places of a convolution and time steps of a recurrence are counted; a task's own module counts by its
    parameters and by what its parts give out.
    """
    setting = config.setting
    items = min(len(task.y), setting.train_size)
    network = network_for(config, task)
    one = network.flops + OPERATIONS_OF_A_SUM * network.elements
    training = 3.0 * one * min(setting.batch_size, items) * setting.steps
    return training + one * (items / 4) * setting.evaluations


def activation_bytes(config: Config, task: Task) -> int:
    """Bytes that one member's activations take while it is trained or judged, whichever is more."""
    network = network_for(config, task)
    number = 8 if config.setting.precision == "float64" else 4
    training = TRAINING_COPIES * network.elements * min(config.setting.batch_size, len(task.y))
    return number * max(training, JUDGING_COPIES * widest(network) * judged_at_once(network))


def judged_at_once(network: Network) -> int:
    """Held-out items in one forward pass: fewer of them where a hidden layer has many places or steps."""
    return max(1, min(CHUNK, JUDGED // widest(network)))


def widest(network: Network) -> int:
    """Sums that the largest hidden layer computes for one item, at all its places or time steps."""
    sites = network.sites
    return max(1, sites.places * sites.width, -(-network.elements // max(sites.layers, 1)))
