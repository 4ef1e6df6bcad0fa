"""Which configurations train alike: what of a configuration reaches the training of a task.

Two levels that come to the same are no question. So they are compared by what is built of them (the table of
learning rates, the rates of dropout, the shapes and operations of the network, its first parameters), not by
what they are called.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_spaces.config import Config, digest
from search_spaces.dropout import DROPOUT, GRID
from search_spaces.factor import Range
from search_spaces.optimizers import OPTIMIZER
from search_spaces.space import decay_kind
from trainers.effective_values import used, waits
from trainers.loop.augmentation import reach, transformations
from trainers.loop.updates import schedule
from trainers.networks import Network, OwnModule, StackNetwork, network_for
from trainers.randomness import StreamKey
from trainers.tasks.task import Task

STRUCTURAL = ("network", "depth", "width", "funnel", "residual")
"""Settings that reach a network of ours through its shapes and operations alone."""
OF_PACE = (
    *(
        "learning_rate",
        "warmup_share",
        "warmup_fraction",
        "cooldown_share",
        "final_lr_fraction",
        "step_factor",
    ),
    *("plateau_patience", "plateau_factor"),
)
"""Numbers that reach a training through its table of learning rates and its plateau rule."""
DRAWN_UP_TO = 1_000_000
"""Parameters up to which first parameters are drawn and compared; in larger networks levels are what they are
called."""
KEY = StreamKey(study="alike", task="alike", block=0, phase="retune", index=0)
"""Whose random numbers first parameters are drawn from."""
NO_MOMENTUM = {"momentum": "sgd", "nesterov": "sgd"}
"""What an update rule is once its momentum is 0 throughout."""


def trained(config: Config, task: Task, *, items: int, starts: bool = True) -> str:
    """Equal for configurations of which the same is trained on a task, from the same random numbers.

    Args:
        config: a complete point.
        task: what it is trained on,
        items: with so many items in its training part.
        starts: whether initializers are compared by what they draw, which takes time; else by name.

    Raises:
        ValueError: a network that the task cannot have.
    """
    network = network_for(config, task)
    levels, numbers = dict(config.levels), dict(config.numbers)
    setting = asdict(used(config.setting, items=items))
    built: dict[str, Any] = {
        "pace": _pace(config),
        "rule": _rule(config),
        "decay": decay_kind(levels),
        "stops": numbers["stop_patience"] // 1 if _acts(config, "stop_patience") else None,
        "smoothed": numbers.get("smoothing", 0.0),
        "augmented": _augmented(config, task),
    }
    for name in ("schedule", "warmup", "early_stopping", "optimizer", "weight_decay", "label_smoothing"):
        del levels[name]
    del levels["augmentation"]
    if built["decay"] == "none":
        del levels["decay_scope"]
    momentum = OPTIMIZER.level(config.levels["optimizer"]).build.momentum_number
    for name in (*OF_PACE, "stop_patience", "smoothing", *([momentum] if momentum else [])):
        numbers.pop(name, None)
    if not isinstance(network, OwnModule):  # which may read all of a configuration
        for name in STRUCTURAL:
            del setting[name]
        built["network"] = _operations(network)
        del levels["dropout"]
        numbers.pop("dropout_rate", None)
        built["dropped"] = _dropped(config, network)
        if starts and network.parameters.size <= DRAWN_UP_TO:
            del levels["initializer"], levels["bias"]
            numbers.pop("init_gain", None)
            built["start"] = _start(config, network)
    return digest({"levels": levels, "numbers": numbers, "setting": setting, "built": built})


def without_effect(
    spans: Mapping[str, Range], config: Callable[[Mapping[str, float]], Config], task: Task, *, items: int
) -> tuple[str, ...]:
    """The numbers of a search that may be anything in their range and the same is trained.

    They are compared at the ends and the middle of their range, the others all at their lower ends, all at
    the middle and all at their upper ends.

    Args:
        spans: number -> where it is searched.
        config: the configuration at a value for each of them.
        task: what it is trained on,
        items: with so many items in its training part.

    Raises:
        ValueError: a network that the task cannot have.
    """
    places = (0.0, 1.0, 0.5)

    def moves(name: str) -> bool:
        for others in places:
            point = {other: span.at(others) for other, span in spans.items()}
            values = (spans[name].at(place) for place in places)
            keys = (
                trained(config({**point, name: value}), task, items=items, starts=False) for value in values
            )
            first = next(keys)
            if any(key != first for key in keys):
                return True
        return False

    return tuple(name for name in spans if not moves(name))


def _acts(config: Config, patience: str) -> bool:
    return patience in config.numbers and waits(config, patience)


def _pace(config: Config) -> list[Any]:
    """Learning rate and momentum at every step, and the plateau rule where it can act."""
    course, numbers = schedule(config), config.numbers
    rates = course.multiplier * numbers["learning_rate"]
    if config.setting.precision != "float64":
        rates = rates.astype(np.float32)
    plateau = [course.patience, course.factor] if _acts(config, "plateau_patience") else None
    momentum = None if _rule(config) == "sgd" else _momentum(config)
    return [_bytes(rates), plateau, None if momentum is None else _bytes(momentum)]


def _momentum(config: Config) -> NDArray[np.float64] | None:
    """What the update rule has of it at every step; None where it has none."""
    name, course = OPTIMIZER.level(config.levels["optimizer"]).build.momentum_number, schedule(config)
    if name is None:
        return None
    return np.full(config.setting.steps, config.numbers[name]) if course.momentum is None else course.momentum


def _rule(config: Config) -> str:
    """The update rule apart from its decay, by its simplest name."""
    name, momentum = config.levels["optimizer"], _momentum(config)
    if momentum is not None and not momentum.any():
        name = NO_MOMENTUM.get(name, name)
    return "adam" if name == "adamw" else name


def _augmented(config: Config, task: Task) -> list[Any]:
    """The transformations that can change an item of the task, and how far one is turned."""
    names = transformations(config, task)
    if not names or task.shape is None:
        return []
    height, width = task.shape[:2] if task.is_image else (task.shape[0], 1)
    possible = {"rotation": True, "flip": width > 1, "shift": max(reach(height), reach(width)) > 0}
    effective = [name for name in sorted(names) if possible[name]]
    return [effective, config.numbers.get("rotation_degrees")] if effective else []


def _dropped(config: Config, network: Network) -> list[Any]:
    """How many of the numbers that are drawn drop something, at each site; [] where nothing is dropped."""
    built, rate = DROPOUT.level(config.levels["dropout"]).build, config.numbers.get("dropout_rate", 0.0)
    sites, below = network.sites, round(rate * GRID)
    hidden = [round(one * GRID) for one in built.rates(rate, sites.layers)]
    whole = [
        hidden,
        below * (built.inputs and sites.inputs > 0),
        below * (built.weights and bool(sites.weights)),
    ]
    if not any(hidden):
        whole[0] = []
    return [*whole, built.saturates and any(hidden)] if any(whole) else []


def _operations(network: StackNetwork) -> list[Any]:
    """Shapes, and operations in order; a skip connection that no layer can have is left out."""
    words = list(network.operations)
    if words[-1] == "residual" and not any(h.maps[0].inputs == h.outputs for h in network.layers[:-1]):
        words[-1] = "plain"
    return [
        words,
        [[s.name, *s.shape] for part in (network.parameters, network.buffers) for s in part.segments],
    ]


def _start(config: Config, network: Network) -> str:
    """Of the parameters and buffers at step 0."""
    return _bytes(np.concatenate([part.numpy() for part in network.start(config, KEY)]).astype(np.float32))


def _bytes(values: NDArray[Any]) -> str:
    return hashlib.blake2b(np.ascontiguousarray(values).tobytes(), digest_size=16).hexdigest()
