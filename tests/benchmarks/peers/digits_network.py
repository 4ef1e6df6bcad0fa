"""What all peers of the end-to-end benchmark share: the data, the network, one training loop.

Plain PyTorch as an expert writes it: tensors in memory, one thread, torch.optim.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from trainers.tasks import TASKS

EPOCHS, BATCH, WIDTH = 20, 64, 100
INITIALIZERS = ("he_normal", "glorot_normal")
ACTIVATIONS = ("relu", "tanh", "silu")
OPTIMIZERS = ("momentum", "adam")
LEARNING_RATE = (1e-3, 1e-1)
WEIGHT_DECAY = (1e-6, 1e-2)
DROPOUT_RATE = (0.0, 0.5)

MODULES: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "silu": nn.SiLU}
DRAWS: dict[str, Callable[[Tensor], Tensor]] = {
    "he_normal": nn.init.kaiming_normal_,
    "glorot_normal": nn.init.xavier_normal_,
}


@dataclass(frozen=True, kw_only=True)
class Point:
    """One point of the search space that everybody searches."""

    initializer: str
    activation: str
    optimizer: str
    learning_rate: float
    weight_decay: float
    dropout_rate: float


STUDY = "GROUNDRULES_BENCHMARK_STUDY"
"""The environment variable that names the study of ours whose split of the data the peers take."""


@cache
def data() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Digits with the split and the scaling of ours: x and y of training, x and y of validation."""
    task = TASKS["digits"]()
    split = task.split(os.environ.get(STUDY, "end-to-end"), 0)
    x, y = torch.from_numpy(task.x), torch.from_numpy(task.y)
    mean, sd = x[split.train].mean(0), x[split.train].std(0, correction=0)
    x = (x - mean) / torch.where(sd > 0, sd, 1.0)
    return x[split.train], y[split.train], x[split.validation], y[split.validation]


def network(point: Point) -> nn.Sequential:
    """64-100-100-10 with dropout after each hidden activation."""
    layers: list[nn.Module] = []
    for inputs in (64, WIDTH):
        layers += [nn.Linear(inputs, WIDTH), MODULES[point.activation](), nn.Dropout(point.dropout_rate)]
    model = nn.Sequential(*layers, nn.Linear(WIDTH, 10))
    for layer in model:
        if isinstance(layer, nn.Linear):
            DRAWS[point.initializer](layer.weight)
            nn.init.zeros_(layer.bias)
    return model


def optimizer(point: Point, model: nn.Module) -> torch.optim.Optimizer:
    """With torch's fused form, the fastest there is."""
    if point.optimizer == "adam":
        return torch.optim.Adam(
            model.parameters(), lr=point.learning_rate, weight_decay=point.weight_decay, fused=True
        )
    return torch.optim.SGD(
        model.parameters(),
        lr=point.learning_rate,
        momentum=0.9,
        weight_decay=point.weight_decay,
        fused=True,
    )


def epochs(point: Point, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> Iterator[float]:
    """Trains; the validation error after every epoch."""
    _, _, x_held, y_held = data()
    model = network(point)
    steps = optimizer(point, model)
    loss = nn.CrossEntropyLoss()
    for _ in range(EPOCHS):
        model.train()
        for x, y in batches():
            steps.zero_grad(set_to_none=True)
            loss(model(x), y).backward()
            steps.step()
        model.eval()
        with torch.no_grad():
            yield float((model(x_held).argmax(1) != y_held).float().mean())


def in_memory() -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch of whole batches, gathered from tensors."""
    x, y, _, _ = data()
    order = torch.randperm(len(x))
    for start in range(0, len(x) - BATCH + 1, BATCH):
        rows = order[start : start + BATCH]
        yield x[rows], y[rows]
