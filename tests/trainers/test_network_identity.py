"""By what a user's own network is known again after an edit and in another process."""

from __future__ import annotations

import functools
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from search_spaces.config import Config
from search_spaces.space import complete
from tests.trainers.own_networks import FLOAT32, Dropping, Layered, own
from tests.trainers.packs import blobs
from trainers.networks import ForwardPass, network_for
from trainers.randomness import StreamKey
from trainers.tasks.task import Task
from trainers.tasks.user_tasks import load_user_tasks

FILE = '''
import numpy as np
import torch
from torch import nn
from trainers.tasks.task import Task

RATE = 0.25


def act(x):
    """Squashes."""
    return torch.relu(x)


class Body(nn.Module):
    def __init__(self, inputs, outputs, width):
        super().__init__()
        self.first, self.last = nn.Linear(inputs, width), nn.Linear(width, outputs)

    def forward(self, x):
        x = nn.functional.dropout(act(self.first(x)), RATE, self.training)
        return self.last(x)


def unused(x):
    return x


def factory(inputs, outputs, config):
    # a comment
    return Body(inputs, outputs, config.setting.width)


def lines():
    x = np.random.default_rng(0).standard_normal((100, 3))
    return Task.from_arrays(x, x.sum(axis=1), kind="regression", name="lines", network=factory)


TASKS = [lines]
'''

EDITS: dict[str, tuple[str, str, set[str]]] = {
    "a comment": ("# a comment", "# another", set()),
    "layout": ("nn.Linear(inputs, width), nn", "nn.Linear(inputs,   width),   nn", set()),
    "a docstring": ('"""Squashes."""', '"""Cuts off."""', set()),
    "what it does not use": ("    return x\n\n\ndef f", "    return -x\n\n\ndef f", set()),
    "a helper": ("torch.relu(x)", "torch.tanh(x)", {"source", "probe"}),
    "a constant": ("RATE = 0.25", "RATE = 0.5", {"source"}),
    "a shape": ("config.setting.width)", "2 * config.setting.width)", {"source", "structure", "probe"}),
    "a method": ("return self.last(x)", "return self.last(x) + 0", {"source"}),
}


@pytest.mark.parametrize("case", EDITS)
def test_an_edited_network_is_another_and_a_comment_is_no_edit(case: str, tmp_path: Path) -> None:
    old, new, changed = EDITS[case]
    assert FILE.count(old) == 1
    found = []
    for name, text in (("a", FILE), ("b", FILE.replace(old, new))):
        file = tmp_path / f"{name}.py"
        file.write_text(dedent(text), encoding="utf-8")
        found.append(load_user_tasks(file)["lines"]())
    before, after = found
    assert before.data_hash == after.data_hash
    assert {part for part, h in before.network_hashes.items() if h != after.network_hashes[part]} == changed
    assert (before.content_hash != after.content_hash) == bool(changed)
    assert all(before.network_hashes.values())


class Acting(Layered):
    def __init__(self, *words: Any, act: Any, rate: float) -> None:
        super().__init__(*words)
        self.act, self.rate = act, rate

    def extra_repr(self) -> str:
        return f"act={self.act}"

    def hidden(self, x: Tensor) -> Tensor:
        act: Tensor = self.act(self.first(x) * self.rate)
        return act


def test_a_network_is_the_same_in_another_process_whatever_it_was_given() -> None:
    """Where what was given lies in memory is no part of it; what it is and says, is."""

    def given(rate: float, squared: bool = False) -> Task:
        def act(x: Tensor) -> Tensor:
            return torch.tanh(x)

        def other(x: Tensor) -> Tensor:
            return torch.tanh(x) ** 2

        return own(functools.partial(Acting, act=other if squared else act, rate=rate))

    kept = [given(0.5), given(0.5)]
    assert kept[0].network.keywords["act"] is not kept[1].network.keywords["act"]  # type: ignore[union-attr]
    assert kept[0].network_hashes == kept[1].network_hashes
    assert given(0.25).network_hashes["source"] != kept[0].network_hashes["source"]
    assert given(0.5, squared=True).network_hashes["source"] != kept[0].network_hashes["source"]


def test_weights_that_a_network_brings_along_are_part_of_it() -> None:
    def loaded(value: float) -> Any:
        weights = torch.full((3, 5), value)

        def factory(inputs: int, outputs: int, config: Config) -> nn.Module:
            module = nn.Linear(inputs, outputs)
            module.load_state_dict({"weight": weights, "bias": torch.zeros(3)})
            return module

        return factory

    one, other = own(loaded(0.5)), own(loaded(0.25))
    assert one.network_hashes["source"] == other.network_hashes["source"]
    assert one.network_hashes["probe"] != other.network_hashes["probe"]
    assert one.content_hash != other.content_hash != blobs().content_hash


def test_a_forward_pass_of_its_own_kind_in_training_is_read_by_its_module() -> None:
    """What training=False gives is judged: nothing is dropped there."""
    task = own(Dropping)
    config = complete({}, setting=FLOAT32)
    network = network_for(config, task)
    row, kept = network.start(config, StreamKey(study="s", task="blobs", block=0, phase="pilot", index=0))
    views = (network.parameters.views(row[None].float()), network.buffers.views(kept[None].float()))
    x = torch.randn(1, 16, 5)
    quiet = [network.forward(*views, x, ForwardPass(training=False)) for _ in range(2)]
    loud = [network.forward(*views, x, ForwardPass(training=True, seeds=[seed])) for seed in (1, 1, 2)]
    assert torch.equal(quiet[0], quiet[1])
    assert torch.equal(loud[0], loud[1]) and not torch.equal(loud[0], loud[2])
