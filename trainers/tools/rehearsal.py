"""A user's own network before anything is paid for: does it train, and does it read what is compared?"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from search_spaces.catalog import FACTORS
from search_spaces.config import Config
from search_spaces.space import complete, open_ranges
from trainers.evaluation import Slot
from trainers.member import Member
from trainers.networks import OwnModule, network_for
from trainers.networks.network import ForwardPass
from trainers.networks.reproducible import check_reproducible
from trainers.randomness import StreamKey
from trainers.tasks.checks import READABLE
from trainers.tasks.network_contract import check_outputs, items, refused, reported
from trainers.tasks.task import Task
from trainers.tensors.precision import element_type

STEPS = 2
"""Of the training that is tried."""
ITEMS = 256
"""Whose outputs two networks are compared by: with a dropout rate of 1 % one mask in 13 of a single unit
would leave them all alone."""
SHIFTS = (0.0, 0.1, 1.0)
"""SDs of what is added to parameters to see whether outputs depend on items."""
STARTS = ("initializer", "bias")
"""Factors that reach a network of one's own from outside."""


def rehearse(config: Config, task: Task) -> None:
    """Trains two members of a task's own network for two steps, and judges them.

    Raises:
        ValueError: something fails on the way; one message with the task, the place and the contract.
    """
    from trainers.loop.pack import train_pack

    setting = dataclasses.replace(config.setting, steps=STEPS, evaluations=1)
    reached = {name: config.levels[name] for name in (*STARTS, *task.honours)}
    spans = open_ranges({**complete({}).levels, **reached})
    numbers = {
        name: value for name, value in config.numbers.items() if name in spans and name in _numbers(reached)
    }
    tried = complete(reached, numbers, setting=setting)
    members = [
        Member(
            slot=Slot(
                study="rehearsal",
                factor="",
                task=task.name,
                regime="",
                block=0,
                level="",
                phase="pilot",
                index=i,
            ),
            config=tried,
            seed_index=i,
        )
        for i in range(2)
    ]
    network = network_for(tried, task)
    assert isinstance(network, OwnModule)
    check_outputs(network.module, tried, task, finite=True)
    check_reproducible(tried, task)
    _check_answers(network, tried, task)
    _check_reads_items(network, tried, task)
    with reported(task, config, "cannot be trained"):
        train_pack(members, task, diagnostics="ends")


@torch.no_grad()
def _check_answers(network: OwnModule, config: Config, task: Task) -> None:
    """ValueError where the same items, parameters, buffers and seed give two answers.

    A generator of the module's own, numpy's, or something kept between passes would be shared by members.
    """
    for training in (True, False):
        answers = []
        for _ in range(2):
            params, buffers = _rows(network, config, task)
            views = network.parameters.views(params), network.buffers.views(buffers)
            how = ForwardPass(training=training, seeds=[1] if training else None)
            with torch.random.fork_rng(devices=[]), reported(task, config, "fails on items"):
                answers.append(network.forward(*views, _given(config, task), how))
        if not torch.equal(answers[0].nan_to_num(), answers[1].nan_to_num()):
            rule = (
                "gives two answers to the same items under one seed: what it draws must come from torch's "
                "global generator, which is set before each pass, and what it keeps must be a buffer"
            )
            raise refused(task, config, rule, network.module)


@torch.no_grad()
def _check_reads_items(network: OwnModule, config: Config, task: Task) -> None:
    """ValueError where all items get the same outputs, at the start and after shifts of all parameters.

    A last layer that starts at zero gives the same for all, too, until it is shifted.
    """
    x = _given(config, task)
    if bool((x == x[:, :1]).all()):
        return  # the items themselves are alike
    params, buffers = _rows(network, config, task)
    draws = torch.Generator().manual_seed(0)
    for size in SHIFTS:
        shifted = params + (size * torch.randn(params.shape, generator=draws)).to(params.dtype)
        views = network.parameters.views(shifted), network.buffers.views(buffers.clone())
        try:
            with torch.random.fork_rng(devices=[]):
                outputs = network.forward(*views, x, ForwardPass(training=False, seeds=None)).nan_to_num()
        except Exception:  # noqa: BLE001 - not every parameter may be shifted; that it works was seen before
            return
        if not torch.equal(outputs, outputs[:, :1].expand_as(outputs)):
            return
    rule = "gives the same to all items, whatever its parameters are: it does not read x"
    raise refused(task, config, rule, network.module)


def starts_alike(config: Config, task: Task) -> bool:
    """Whether every training of a task's own network has the same first weights, whatever its seed."""
    network = network_for(config, task)
    assert isinstance(network, OwnModule)
    one, other = (_rows(network, config, task, index=i)[0] for i in (0, 1))
    return torch.equal(one, other)


def unread(one: Config, other: Config, task: Task) -> tuple[str, ...]:
    """What two configs differ in, of that which only a network can read, and this task's network does not.

    A name is read where modules, starts or outputs under one seed change with its value alone, in the
    company of the values of either config.

    Raises:
        ValueError: the network cannot be built, or two builds with one seed differ.
    """
    names = tuple(_differing(one, other, task))
    if not names or _same(one, other, task):
        return names
    if len(names) == 1:
        return ()
    return tuple(
        name
        for name in names
        if _same(one, _with(one, name, other), task) and _same(other, _with(other, name, one), task)
    )


def undeclared(one: Config, other: Config, task: Task) -> tuple[str, ...]:
    """Settings that two configs differ in and that the task's network is said not to read."""
    if task.declared is None:
        return ()
    return tuple(name for name in _differing(one, other, task) if name in READABLE - task.declared)


def _differing(one: Config, other: Config, task: Task) -> Iterator[str]:
    for name in sorted(READABLE):
        if getattr(one.setting, name) != getattr(other.setting, name):
            yield name
    factors = (*STARTS, *sorted(task.honours))
    for name in factors:
        if one.levels[name] != other.levels[name]:
            yield name
    both = _numbers({f: one.levels[f] for f in factors}) & _numbers({f: other.levels[f] for f in factors})
    for name in sorted(both):
        if one.numbers.get(name) != other.numbers.get(name):
            yield name


def _numbers(levels: Mapping[str, str]) -> set[str]:
    """Numbers that these levels open."""
    return {span.name for factor, level in levels.items() for span in FACTORS[factor].level(level).ranges}


def _with(config: Config, name: str, other: Config) -> Config:
    """The config with one thing of another's."""
    if name in READABLE:
        value = getattr(other.setting, name)
        return dataclasses.replace(config, setting=dataclasses.replace(config.setting, **{name: value}))
    if name in config.numbers:
        return dataclasses.replace(config, numbers={**config.numbers, name: other.numbers[name]})
    levels = {**config.levels, name: other.levels[name]}
    spans = open_ranges(levels)
    numbers = {**other.numbers, **config.numbers}
    return complete(levels, {n: v for n, v in numbers.items() if n in spans}, setting=config.setting)


def _same(one: Config, other: Config, task: Task) -> bool:
    return _fingerprint(one, task) == _fingerprint(other, task)


def _fingerprint(config: Config, task: Task) -> str:
    """Of module, start and outputs under one seed; kept with the task."""
    known: dict[str, str] = vars(task).setdefault("_fingerprints", {})
    if config.id not in known:
        known[config.id] = _behaviour(config, task)
        if _behaviour(config, task) != known[config.id]:
            rule = (
                "differs between two builds with one seed: what it draws must come from torch, whose "
                "generator is set before each build"
            )
            raise refused(task, config, rule, task.network)
    return known[config.id]


@torch.no_grad()
def _behaviour(config: Config, task: Task) -> str:
    network = network_for(config, task)
    assert isinstance(network, OwnModule)
    rows = _rows(network, config, task)
    views = network.parameters.views(rows[0]), network.buffers.views(rows[1])
    x = _given(config, task)
    parts = hashlib.blake2b(str(network.module).encode(), digest_size=16)
    parts.update(repr([(s.name, s.shape) for s in network.parameters.segments]).encode())
    for tensor in rows:
        parts.update(tensor.numpy().tobytes())
    with torch.random.fork_rng(devices=[]), reported(task, config, "fails on items"):
        for training in (True, False):
            how = ForwardPass(training=training, seeds=[1] if training else None)
            parts.update(network.forward(*views, x, how).double().numpy().tobytes())
    parts.update(rows[1].numpy().tobytes())
    return parts.hexdigest()


def _rows(network: OwnModule, config: Config, task: Task, index: int = 0) -> tuple[Tensor, Tensor]:
    """Parameters and buffers [1, P] of one member at step 0."""
    streams = StreamKey(study="rehearsal", task=task.name, block=0, phase="pilot", index=index)
    dtype = element_type(config.setting.precision)
    params, buffers = (row[None].to(dtype) for row in network.start(config, streams))
    return params, buffers


def _given(config: Config, task: Task) -> Tensor:
    """Items [1, B, F] as the network is given them."""
    x = items(task, ITEMS, scaling="z_score")[None]
    return x if task.inputs == "tokens" else x.to(element_type(config.setting.precision))
