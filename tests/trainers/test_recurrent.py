"""The recurrent network against torch.nn.RNN, alone and in a stack."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tests.trainers.packs import TINY, member, numbers_of
from trainers.loop.feed import Feed
from trainers.loop.pack import train_pack
from trainers.networks import ForwardPass, Noise, Recurrent, network_for
from trainers.tasks.task import Task

SMALL = dataclasses.replace(TINY, network="rnn", depth=2, width=6, steps=30, evaluations=3)


def melodies(shape: tuple[int, ...] = (7, 3), items: int = 120) -> Task:
    """Noise that rises or falls."""
    draws = np.random.default_rng(4)
    y = np.arange(items) % 2
    slope = np.linspace(-1, 1, shape[0]) * (2 * y - 1)[:, None]
    x = draws.normal(size=(items, *shape)) + slope.reshape(items, shape[0], *(1,) * (len(shape) - 1))
    return Task.from_arrays(x, y, kind="classification", name="melodies", shape=shape)


class Twin(nn.Module):
    """torch.nn.RNN and a linear map of its last state."""

    def __init__(self, channels: int, nonlinearity: str):
        super().__init__()
        self.rnn = nn.RNN(
            channels,
            SMALL.width,
            SMALL.depth,
            nonlinearity=nonlinearity,
            batch_first=True,
            dtype=torch.float64,
        )
        self.last = nn.Linear(SMALL.width, 2, dtype=torch.float64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.last(self.rnn(x)[0][:, -1])
        return scores


@pytest.mark.parametrize("shape", [(7, 3), (5, 2, 2)], ids=["sequence", "rows of an image"])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_a_training_equals_torchs_rnn(activation: str, shape: tuple[int, ...]) -> None:
    task = melodies(shape)
    members = [
        member(
            levels={"activation": activation, "initializer": "orthogonal", "optimizer": "adam"},
            numbers={"learning_rate": 0.01},
            setting=SMALL,
            index=k,
        )
        for k in range(3)
    ]
    one = members[1]
    evaluation = train_pack(members, task)[1]

    twin = Twin(int(np.prod(shape[1:])), activation)
    network = network_for(one.config, task)
    views = network.parameters.views(network.start(one.config, one.streams)[0])
    with torch.no_grad():
        for i in range(SMALL.depth):
            getattr(twin.rnn, f"weight_ih_l{i}").copy_(views[f"weight{i}"].T)
            getattr(twin.rnn, f"weight_hh_l{i}").copy_(views[f"recurrent{i}"].T)
            getattr(twin.rnn, f"bias_ih_l{i}").copy_(views[f"bias{i}"][0])
            getattr(twin.rnn, f"bias_hh_l{i}").zero_()  # torch has two biases for one sum
        twin.last.weight.copy_(views[f"weight{SMALL.depth}"].T)
        twin.last.bias.copy_(views[f"bias{SMALL.depth}"][0])
    trained = [p for name, p in twin.named_parameters() if "bias_hh" not in name]
    optimizer = torch.optim.Adam(trained, lr=0.01)
    feed = Feed([one], task, device=torch.device("cpu"), dtype=torch.float64)
    losses = []
    for step in range(SMALL.steps):
        x, y = feed.batch(step)
        loss = nn.functional.cross_entropy(twin(x[0].view(-1, shape[0], twin.rnn.input_size)), y[0])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())

    # 1e-8: as for the perceptron, float64 sums in another order, amplified over the steps
    means = np.reshape(losses, (3, -1)).mean(1)
    np.testing.assert_allclose([p.train_loss for p in evaluation.curve], means, rtol=1e-8)


def test_layer_norm_stands_between_the_sums_and_the_activation_of_every_step() -> None:
    task = melodies()
    one = member(
        levels={"normalization": "layer_norm", "activation": "tanh"},
        setting=dataclasses.replace(SMALL, depth=1),
    )
    network = network_for(one.config, task)
    p = network.parameters.views(network.start(one.config, one.streams)[0])
    x = torch.as_tensor(task.x[:9], dtype=torch.float64)
    h = torch.zeros(9, SMALL.width, dtype=torch.float64)
    for x_BC in x.view(9, *(7, 3)).unbind(1):
        sums = x_BC @ p["weight0"] + h @ p["recurrent0"] + p["bias0"]
        h = torch.tanh(nn.functional.layer_norm(sums, (SMALL.width,)))
    ours = network.forward(p, {}, x, ForwardPass(training=True))
    torch.testing.assert_close(ours, h @ p["weight1"] + p["bias1"])


def test_running_statistics_move_in_one_batch_as_far_as_their_momentum_says() -> None:
    """With equal sums at every step, T small moves must end where one move would."""
    task = melodies()
    one = member(levels={"normalization": "batch_norm"}, setting=dataclasses.replace(SMALL, depth=1))
    network = network_for(one.config, task)
    start, buffers = network.start(one.config, one.streams)
    parameters, running = network.parameters.views(start), network.buffers.views(buffers)
    parameters["recurrent0"].zero_()
    x = torch.as_tensor(task.x[:9, :3], dtype=torch.float64).repeat(1, 7)
    numbers = {"norm_momentum": torch.tensor([[0.2]], dtype=torch.float64)}
    network.forward(parameters, running, x, ForwardPass(training=True, numbers=numbers))
    sums = x[:, :3] @ parameters["weight0"] + parameters["bias0"]
    torch.testing.assert_close(running["running_mean0"], 0.2 * sums.mean(0, keepdim=True))
    torch.testing.assert_close(running["running_var0"], 0.8 + 0.2 * sums.var(0, keepdim=True))


def test_dropout_drops_the_same_units_at_every_step() -> None:
    task = melodies()
    one = member(levels={"activation": "identity"}, setting=dataclasses.replace(SMALL, depth=1))
    network = network_for(one.config, task)
    p = network.parameters.views(network.start(one.config, one.streams)[0])
    draws = torch.Generator().manual_seed(0)
    mask = 2.0 * torch.randint(0, 2, (9, SMALL.width), generator=draws).double()
    x = torch.as_tensor(task.x[:9], dtype=torch.float64)
    h = torch.zeros(9, SMALL.width, dtype=torch.float64)
    for x_BC in x.view(9, 7, 3).unbind(1):
        h = mask * (x_BC @ p["weight0"] + h @ p["recurrent0"] + p["bias0"])
    ours = network.forward(p, {}, x, ForwardPass(training=True, noise=Noise(scale=mask[None])))
    torch.testing.assert_close(ours, h @ p["weight1"] + p["bias1"])


def test_a_residual_layer_hands_on_its_input_too_and_keeps_its_recurrence() -> None:
    task = melodies((5, SMALL.width))
    one = member(levels={"activation": "tanh"}, setting=dataclasses.replace(SMALL, depth=1, residual=True))
    network = network_for(one.config, task)
    p = network.parameters.views(network.start(one.config, one.streams)[0])
    x = torch.as_tensor(task.x[:4], dtype=torch.float64)
    h = torch.zeros(4, SMALL.width, dtype=torch.float64)
    for x_BC in x.view(4, 5, SMALL.width).unbind(1):
        h = torch.tanh(x_BC @ p["weight0"] + h @ p["recurrent0"] + p["bias0"])
    ours = network.forward(p, {}, x, ForwardPass(training=False))
    torch.testing.assert_close(ours, (h + x_BC) @ p["weight1"] + p["bias1"])


def test_both_maps_start_by_the_level() -> None:
    one = member(levels={"initializer": "orthogonal"}, setting=SMALL)
    network = network_for(one.config, melodies())
    assert isinstance(network, Recurrent)
    views = network.parameters.views(network.start(one.config, one.streams)[0])
    u, v = views["recurrent0"], views["recurrent1"]
    torch.testing.assert_close(u @ u.T, torch.eye(SMALL.width).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(v @ v.T, torch.eye(SMALL.width).double(), atol=1e-6, rtol=0)
    assert not torch.equal(u, v)


def test_permuting_members_permutes_results_to_the_bit() -> None:
    """With batches and widths that are multiples of 16, so that every member's matrices start at 64 bytes:
    a matrix product may depend on alignment in its last bit."""
    setting = dataclasses.replace(SMALL, precision="float32", width=16, batch_size=16)
    levels = {"normalization": "batch_norm", "dropout": "dropout", "optimizer": "adam", "activation": "tanh"}
    members = [
        member(levels=levels, numbers={"learning_rate": 0.003 * (k + 1)}, setting=setting, index=k)
        for k in range(5)
    ]
    order = [3, 0, 4, 2, 1]
    straight = train_pack(members, melodies())
    permuted = train_pack([members[k] for k in order], melodies())
    for place, k in enumerate(order):
        assert numbers_of(permuted[place]) == numbers_of(straight[k])


def test_operations_are_counted_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    task = melodies()
    network = network_for(member(setting=SMALL).config, task)
    start, _ = network.start(member(setting=SMALL).config, member().streams)
    x = torch.as_tensor(task.x[:5], dtype=torch.float64)
    monkeypatch.setattr("trainers.networks.linear.FULL", 1)  # torch would count columns of zeros too
    with FlopCounterMode(display=False) as counted:
        network.forward(network.parameters.views(start), {}, x, ForwardPass(training=False))
    first = 2 * SMALL.depth * SMALL.width**2  # from a state of zeros, which is not multiplied
    assert network.flops == counted.get_total_flops() / 5 + first
    assert network.elements == 7 * SMALL.depth * SMALL.width


def test_a_table_cannot_be_read_step_by_step() -> None:
    task = dataclasses.replace(melodies(), shape=None)
    with pytest.raises(ValueError, match=r"setting network = 'rnn'.*'melodies'.*Allowed there: mlp"):
        train_pack([member(setting=SMALL)], task)
