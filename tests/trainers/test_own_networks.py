"""A user's own network in a pack: it trains as alone, and its buffers and draws are each member's own."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import pytest
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from search_spaces.config import Config
from search_spaces.space import complete
from tests.trainers.own_networks import FLOAT32, Dropping, Layered, own
from tests.trainers.packs import member, numbers_of
from trainers.loop.feed import Feed
from trainers.loop.pack import _Training, train_pack
from trainers.member import Member
from trainers.networks import OwnModule
from trainers.tasks.task import Task
from trainers.tools.rehearsal import rehearse


class Lazy(nn.Module):
    def __init__(self, inputs: int, outputs: int, config: Config) -> None:
        super().__init__()
        self.first = nn.LazyLinear(6)
        self.norm = nn.LazyBatchNorm1d()
        self.last = nn.LazyLinear(outputs)

    def forward(self, x: Tensor) -> Any:
        return self.last(torch.relu(self.norm(self.first(x))))


class Averaging(Layered):
    """A norm whose statistics are plain averages over all batches so far, counted by itself."""

    def __init__(self, *words: Any) -> None:
        super().__init__(*words)
        self.norm = nn.BatchNorm1d(6, momentum=None)

    def forward(self, x: Tensor) -> Any:
        return self.last(torch.tanh(self.norm(self.first(x))))


class Remembering(Layered):
    """A buffer that is replaced at every step, and a counter."""

    shift: Tensor
    passes: Tensor

    def __init__(self, *words: Any) -> None:
        super().__init__(*words)
        self.register_buffer("shift", torch.zeros(6))
        self.register_buffer("passes", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Any:
        hidden = self.hidden(x)
        if self.training:
            self.passes = self.passes + 1
            self.shift = self.shift + (hidden.mean(0) - self.shift) / self.passes
        return self.last(hidden - self.shift)


class HalfFrozen(Layered):
    def __init__(self, *words: Any) -> None:
        super().__init__(*words)
        self.first.requires_grad_(False)


class Tied(nn.Module):
    def __init__(self, inputs: int, outputs: int, config: Config) -> None:
        super().__init__()
        self.up, self.again = nn.Linear(inputs, inputs), nn.Linear(inputs, inputs)
        self.again.weight = self.up.weight
        self.last = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Any:
        return self.last(torch.tanh(self.again(torch.tanh(self.up(x)))))


class ChangesItsItems(Layered):
    def forward(self, x: Tensor) -> Any:
        x.clamp_(-1, 1)
        x += 0.1
        return super().forward(x)


class AlwaysDropping(Layered):
    """Monte Carlo dropout: it draws in evaluation as well."""

    def forward(self, x: Tensor) -> Any:
        return self.last(functional.dropout(self.hidden(x), 0.5, training=True))


TAKEN: dict[str, Any] = {
    "lazy layers": Lazy,
    "float64 parameters": lambda i, o, c: Layered(i, o, c).double(),
    "float16 parameters": lambda i, o, c: Layered(i, o, c).half(),
    "a norm that counts": Averaging,
    "buffers that are replaced": Remembering,
    "frozen in part": HalfFrozen,
    "shared parameters": Tied,
    "items changed in place": ChangesItsItems,
    "dropout in evaluation": AlwaysDropping,
    "dropout": Dropping,
    "a partial": functools.partial(
        lambda width, i, o, c: nn.Sequential(nn.Linear(i, width), nn.Linear(width, o)), 7
    ),
}


def company(task: Task, count: int = 3, **more: Any) -> list[Member]:
    return [
        member(
            levels={"optimizer": "adam", "early_stopping": "patience"},
            numbers={"learning_rate": 0.02, "stop_patience": 2.0 + k},
            setting=dataclasses.replace(FLOAT32, steps=40, evaluations=8),
            index=k,
            phase="confirm",
            **more,
        )
        for k in range(count)
    ]


@pytest.mark.parametrize("case", TAKEN)
def test_what_is_taken_trains_alone_as_in_company(case: str) -> None:
    task = own(TAKEN[case])
    rehearse(complete({}, setting=FLOAT32), task)
    members = company(task)
    for one, packed in zip(members, train_pack(members, task), strict=True):
        (alone,) = train_pack([one], task)
        assert numbers_of(alone) == numbers_of(packed)
        assert packed.status == "finished"
        assert packed.curve[-1].validation_loss < packed.curve[0].validation_loss


def trained(task: Task, one: Member) -> tuple[_Training, OwnModule]:
    """A training of one member at its end, and its network."""
    with torch.random.fork_rng(devices=[]):
        training = _Training([one], task, torch.device("cpu"), "none")
        training.run(None)
    network = training.network
    assert isinstance(network, OwnModule)
    return training, network


def test_what_is_frozen_stays_what_it_was() -> None:
    task = own(HalfFrozen)
    (one,) = company(task, 1)
    training, network = trained(task, one)
    params, buffers = network.start(one.config, one.streams)
    assert [s.name for s in network.parameters.segments] == ["last.weight", "last.bias"]
    assert [s.name for s in network.buffers.segments] == ["first.weight", "first.bias"]
    assert torch.equal(training.stack.buffers_SP[0], buffers.float())
    assert not torch.equal(training.stack.params_SP[0], params.float())


def test_buffers_that_a_module_replaces_and_counters_are_each_members_own() -> None:
    """Against the same module in a plain loop: after n batches the mean of the batches' means."""
    task = own(Remembering)
    one = member(
        setting=dataclasses.replace(FLOAT32, steps=5, evaluations=1), numbers={"learning_rate": 3e-4}
    )
    training, network = trained(task, one)
    kept = network.buffers.views(training.stack.buffers_SP[0])
    assert kept["passes"].item() == 5
    feed = Feed([one], task, device=torch.device("cpu"), dtype=torch.float32)
    views = network.parameters.views(network.start(one.config, one.streams)[0].float())
    means = [
        torch.tanh(feed.batch(t)[0][0] @ views["first.weight"].T + views["first.bias"]).mean(0)
        for t in range(5)
    ]
    torch.testing.assert_close(kept["shift"], torch.stack(means).mean(0), atol=2e-3, rtol=0)


def test_held_out_items_are_not_changed_by_a_module_that_changes_x() -> None:
    task = own(ChangesItsItems)
    (one,) = company(task, 1)
    training, _ = trained(task, one)
    fresh = Feed([one], task, device=torch.device("cpu"), dtype=torch.float32)
    assert torch.equal(training.feed.validation.x_RVF, fresh.validation.x_RVF)


class Watched(nn.Module):
    """Says which units each pass in training kept; the masks of all kinds of dropout."""

    seen: list[Tensor] = []  # noqa: RUF012 - of the one test that reads it

    def __init__(self, inputs: int, outputs: int, config: Config, kind: str) -> None:
        super().__init__()
        self.map, self.kind = nn.Linear(inputs, outputs), kind
        self.noise = {
            "module": nn.Dropout(0.5),
            "channels": nn.Dropout1d(0.5),
            "alpha": nn.AlphaDropout(0.5),
        }.get(kind)

    def forward(self, x: Tensor) -> Any:
        ones = torch.ones(len(x), 24)
        if self.kind == "channels":
            mask = self.noise(ones[:, :, None])[:, :, 0]  # type: ignore[misc]
        elif self.kind == "functional":
            mask = functional.dropout(ones, 0.5, training=self.training)
        elif self.kind == "by hand":
            mask = torch.bernoulli(ones / 2) if self.training else ones
        else:
            mask = self.noise(ones)  # type: ignore[misc]
        if self.training:
            Watched.seen.append(mask.detach().clone())
        return self.map(x) * (1 + 1e-3 * mask.mean())


@pytest.mark.parametrize("kind", ["module", "functional", "channels", "alpha", "by hand"])
def test_masks_of_two_steps_and_of_two_members_differ_and_belong_to_the_member(kind: str) -> None:
    task = own(functools.partial(Watched, kind=kind))
    setting = dataclasses.replace(FLOAT32, steps=6, evaluations=1)
    members = [member(setting=setting, index=k) for k in range(3)]

    def masks(pack: list[Member]) -> list[list[Tensor]]:
        """[step][member]"""
        train_pack(pack, task, diagnostics="none")  # builds, and reads back, without training
        Watched.seen.clear()
        train_pack(pack, task, diagnostics="none")
        last = Watched.seen[-setting.steps * len(pack) :]
        return [last[t * len(pack) : (t + 1) * len(pack)] for t in range(setting.steps)]

    together = masks(members)
    flat = [mask for step in together for mask in step]
    assert all(len(set(mask.flatten().tolist())) == 2 for mask in flat), "nothing was dropped"
    for i, one in enumerate(flat):
        assert all(not torch.equal(one, other) for other in flat[i + 1 :])
    for k, one_member in enumerate(members):
        alone = masks([one_member])
        assert all(torch.equal(alone[t][0], together[t][k]) for t in range(setting.steps))
