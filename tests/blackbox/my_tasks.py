"""A user's task file: arrays of one's own, and a network of one's own."""

import numpy as np
import torch

from search_spaces.config import Config
from trainers.tasks.task import Task


def rings() -> Task:
    """Two noisy rings in the plane; the multilayer perceptron of the study learns them."""
    rng = np.random.default_rng(7)
    y = np.arange(400) % 2
    angle, radius = rng.uniform(0, 2 * np.pi, 400), 1 + y + rng.normal(0, 0.15, 400)
    x = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return Task.from_arrays(x, y, kind="classification", name="rings")


class Bottleneck(torch.nn.Module):
    """A network that our own code could not have made: it narrows, with a skip around."""

    def __init__(self, inputs: int, outputs: int, width: int) -> None:
        super().__init__()
        self.down = torch.nn.Linear(inputs, 3)
        self.up = torch.nn.Linear(3, width)
        self.skip = torch.nn.Linear(inputs, width)
        self.out = torch.nn.Linear(width, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, inputs] -> [batch, outputs]."""
        hidden = torch.relu(self.up(torch.tanh(self.down(x))) + self.skip(x))
        y: torch.Tensor = self.out(hidden)
        return y


def bottleneck(inputs: int, outputs: int, config: Config) -> torch.nn.Module:
    """The factory that a task names."""
    return Bottleneck(inputs, outputs, config.setting.width)


def slopes() -> Task:
    """A regression on arrays, learned by the network above."""
    rng = np.random.default_rng(8)
    x = rng.normal(size=(300, 5))
    y = x[:, 0] - 2 * x[:, 1] * x[:, 2] + rng.normal(0, 0.1, 300)
    return Task.from_arrays(x, y, kind="regression", name="slopes", network=bottleneck)


TASKS = [rings, slopes]
