"""What a user's own network reads: of the configuration, and of its items."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from search_spaces.config import Config
from search_spaces.space import complete
from tests.trainers.own_networks import FLOAT32, own
from tests.trainers.packs import member, numbers_of
from trainers.loop.pack import train_pack
from trainers.tasks.task import Task
from trainers.tools.rehearsal import rehearse, undeclared, unread


def stacked(inputs: int, outputs: int, config: Config) -> nn.Module:
    """Reads depth, and of width nothing."""
    return nn.Sequential(
        *(nn.Linear(inputs, inputs) for _ in range(config.setting.depth)), nn.Linear(inputs, outputs)
    )


def dropping(inputs: int, outputs: int, config: Config) -> nn.Module:
    """Reads dropout by a function, which no module shows."""

    class Noisy(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return functional.dropout(
                super().forward(x), config.numbers.get("dropout_rate", 0.0), self.training
            )

    return Noisy(inputs, outputs)


def pair(name: str, one: Any, other: Any, **levels: str) -> tuple[Config, Config]:
    if name in ("depth", "width"):
        settings = (dataclasses.replace(FLOAT32, **{name: value}) for value in (one, other))
        a, b = (complete(levels, setting=setting) for setting in settings)
        return a, b
    if name in complete(levels).numbers:
        return complete(levels, {name: one}, setting=FLOAT32), complete(
            levels, {name: other}, setting=FLOAT32
        )
    return complete({name: one}, setting=FLOAT32), complete({name: other}, setting=FLOAT32)


def plain(inputs: int, outputs: int, config: Config) -> nn.Module:
    return nn.Linear(inputs, outputs, bias=False)


class Scaled(nn.Module):
    """No tensor of it is one that an initializer reaches."""

    def __init__(self, inputs: int, outputs: int, config: Config) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inputs, outputs))

    def forward(self, x: Tensor) -> Any:
        return x @ self.weight


READING: dict[str, tuple[Any, tuple[Config, Config], frozenset[str], tuple[str, ...]]] = {
    "depth is read": (stacked, pair("depth", 1, 3), frozenset(), ()),
    "width is not": (stacked, pair("width", 4, 8), frozenset(), ("width",)),
    "depth is not": (plain, pair("depth", 1, 3), frozenset(), ("depth",)),
    "an initializer is read": (plain, pair("initializer", "he_normal", "glorot_normal"), frozenset(), ()),
    "or reaches nothing": (
        Scaled, pair("initializer", "he_normal", "glorot_normal"), frozenset(), ("initializer",),
    ),
    "a gain is read": (plain, pair("init_gain", 0.5, 2.0, initializer="he_normal"), frozenset(), ()),
    "there is no bias": (plain, pair("bias", "zeros", "uniform"), frozenset(), ("bias",)),
    "dropout is read": (dropping, pair("dropout", "none", "dropout"), frozenset({"dropout"}), ()),
    "its rate is read": (
        dropping, pair("dropout_rate", 0.1, 0.2, dropout="dropout"), frozenset({"dropout"}), (),
    ),
    "dropout is said to be": (
        plain, pair("dropout", "none", "dropout"), frozenset({"dropout"}), ("dropout",),
    ),
    "optimizers reach all": (plain, pair("optimizer", "sgd", "adam"), frozenset(), ()),
}  # fmt: skip


@pytest.mark.parametrize("case", READING)
def test_what_a_network_does_not_read_is_found_by_building_it(case: str) -> None:
    build, configs, honours, names = READING[case]
    assert unread(*configs, own(build, honours=honours)) == names


def test_of_two_things_that_differ_the_one_that_is_not_read_is_named() -> None:
    shallow, deep = (
        complete({}, setting=dataclasses.replace(FLOAT32, depth=d, width=w)) for d, w in ((1, 4), (3, 8))
    )
    assert unread(shallow, deep, own(stacked)) == ("width",)
    assert unread(shallow, deep, own(plain)) == ("depth", "width")


def test_a_factory_or_its_task_says_what_it_reads() -> None:
    shallow, deep = pair("depth", 1, 3)
    assert undeclared(shallow, deep, own(stacked)) == ()
    assert undeclared(shallow, deep, own(stacked, reads=frozenset({"width"}))) == ("depth",)
    assert undeclared(shallow, deep, own(stacked, reads=frozenset({"depth"}))) == ()

    def said(inputs: int, outputs: int, config: Config) -> nn.Module:
        return stacked(inputs, outputs, config)

    said.reads = {"width"}  # type: ignore[attr-defined]
    assert undeclared(shallow, deep, own(said)) == ("depth",)
    with pytest.raises(ValueError, match="reads must hold names among depth, funnel, residual, width"):
        own(stacked, reads=frozenset({"deepness"}))


class Looking(nn.Module):
    """Looks ids up."""

    seen: list[Tensor] = []  # noqa: RUF012 - of the one test that reads it

    def __init__(self, inputs: int, outputs: int, config: Config, cast: bool = False) -> None:
        super().__init__()
        self.table, self.out, self.cast = nn.Embedding(50, 4), nn.Linear(4 * inputs, outputs), cast

    def forward(self, x: Tensor) -> Any:
        Looking.seen.append(x.clone())
        return self.out(self.table(x.long() if self.cast else x).flatten(1))


def ids(network: Any, **more: Any) -> Task:
    draws = np.random.default_rng(3)
    x = draws.integers(0, 50, size=(160, 6))
    return Task.from_arrays(x, x[:, 0] % 2, kind="classification", name="ids", network=network, **more)


@pytest.mark.parametrize("network", [Looking, functools.partial(Looking, cast=True)])
def test_whole_numbers_reach_a_network_that_takes_them_as_they_are(network: Any) -> None:
    task = ids(network)
    assert task.inputs == "tokens"
    Looking.seen.clear()
    members = [member(setting=FLOAT32, index=k, task="ids") for k in range(2)]
    together = train_pack(members, task)
    assert {x.dtype for x in Looking.seen} == {torch.int64}
    known = {tuple(row) for row in task.x.astype(np.int64).tolist()}
    assert {tuple(row) for x in Looking.seen for row in x.tolist()} <= known
    assert [numbers_of(train_pack([m], task)[0]) for m in members] == [numbers_of(e) for e in together]


def test_a_network_that_takes_no_whole_numbers_is_given_scaled_ones() -> None:
    assert ids(plain).inputs == "numbers"
    assert ids(functools.partial(Looking, cast=True), inputs="numbers").inputs == "numbers"
    pixels = np.arange(160 * 6, dtype=np.uint8).reshape(160, 6)
    of_pixels = Task.from_arrays(
        pixels,
        np.arange(160) % 2,
        kind="classification",
        name="p",
        network=functools.partial(Looking, cast=True),
    )
    assert of_pixels.inputs == "numbers"


def test_tokens_are_whole_numbers_that_float32_holds() -> None:
    x = np.full((80, 2), 3.0)
    x[5, 1] = 2.5
    for wrong, said in ((2.5, "x holds 2.5"), (-1.0, "x holds -1"), (2.0**24, "x holds 1.67772e")):
        x[5, 1] = wrong
        with pytest.raises(ValueError, match=said):
            Task.from_arrays(
                x, np.arange(80) % 2, kind="classification", name="t", network=Looking, inputs="tokens"
            )
    with pytest.raises(ValueError, match="needs a network of one's own"):
        Task.from_arrays(
            np.abs(x // 1) % 7, np.arange(80) % 2, kind="classification", name="t", inputs="tokens"
        )


def test_the_forward_pass_says_int64_in_its_contract() -> None:
    with pytest.raises(ValueError, match=r"int64 \[batch, 6\], whole numbers from 0 to 49, as they are"):
        rehearse(complete({}, setting=FLOAT32), ids(plain, inputs="tokens"))
