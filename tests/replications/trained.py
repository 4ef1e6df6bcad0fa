"""A training of our own, step by step, where `train_pack` would not show what is inside at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.loop.feed import Feed
from trainers.loop.noise import NoiseSource
from trainers.loop.stack import Stack
from trainers.loop.updates import Updates
from trainers.losses import member_losses
from trainers.member import Member
from trainers.networks import network_for
from trainers.networks.network import ForwardPass
from trainers.networks.perceptron import Perceptron
from trainers.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Members of one structure after their last step."""

    network: Perceptron
    stack: Stack
    x_KVF: Tensor
    """Their validation items."""


def trained(members: Sequence[Member], task: Task) -> Trained:
    """All steps of the members' training in float64, by autograd and the trainer's own parts."""
    config, device, dtype = members[0].config, torch.device("cpu"), torch.float64
    network = network_for(config, task)
    assert isinstance(network, Perceptron)
    feed = Feed(members, task, device=device, dtype=dtype)
    starts = [network.start(m.config, m.streams) for m in members]
    params, buffers = (torch.stack(rows).to(dtype) for rows in zip(*starts, strict=True))
    stack = Stack(
        network=network,
        configs=[m.config for m in members],
        rows_S=torch.arange(len(members)),
        params_SP=params,
        buffers_SP=buffers,
    )
    updates = Updates([m.config for m in members], network.parameters, stack.params_SP)
    noise = NoiseSource(
        members,
        network,
        items=feed.batch_size,
        steps_per_epoch=feed.steps_per_epoch,
        dtype=dtype,
        device=device,
    )
    steady = torch.ones(len(members), dtype=dtype)
    for step in range(config.setting.steps):
        x, y = feed.batch(step)
        how = ForwardPass(training=True, numbers=stack.numbers, noise=noise.at(step, None))
        outputs = network.forward(stack.leaves, stack.buffers, x, how)
        stack.grads_SP.zero_()
        torch.autograd.backward(member_losses(outputs, y, task.kind).sum())
        with torch.no_grad():
            updates.step(step, stack.params_SP, stack.grads_SP, steady)
    return Trained(network=network, stack=stack, x_KVF=feed.validation.x_RVF[feed.source_K])
