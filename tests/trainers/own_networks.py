"""Networks of one's own that several test files share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from search_spaces.config import Config
from tests.trainers.packs import TINY, blobs
from trainers.tasks.task import Task

FLOAT32 = dataclasses.replace(TINY, precision="float32")
Module = Callable[..., nn.Module]


def own(build: Any, **more: Any) -> Task:
    """The blobs with a network of one's own."""
    return dataclasses.replace(blobs(), network=build, **more)


class Layered(nn.Module):
    """One hidden layer, and whatever a case does to it."""

    def __init__(self, inputs: int, outputs: int, config: Config) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, 6)
        self.last = nn.Linear(6, outputs)

    def hidden(self, x: Tensor) -> Tensor:
        return torch.tanh(self.first(x))

    def forward(self, x: Tensor) -> Any:
        return self.last(self.hidden(x))


class Dropping(Layered):
    def __init__(self, *words: Any) -> None:
        super().__init__(*words)
        self.noise = nn.Dropout(0.3)

    def forward(self, x: Tensor) -> Any:
        return self.last(functional.dropout(self.noise(self.hidden(x)), 0.2, self.training))
