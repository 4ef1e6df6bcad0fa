"""The convolutional network against torch's own modules, alone and in a stack."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from search_spaces.config import Setting
from tests.trainers.packs import TINY, member, numbers_of
from trainers.loop.feed import Feed
from trainers.loop.pack import train_pack
from trainers.member import Member
from trainers.networks import Convolutional, ForwardPass, Noise, network_for
from trainers.networks.convolution import convolve, convolve_grouped, convolve_looped, convolve_unfolded
from trainers.networks.linear import Floats, InitialWeights
from trainers.tasks.task import Task

SMALL = dataclasses.replace(TINY, network="cnn", depth=3, width=4, steps=30, evaluations=3)


def pictures(shape: tuple[int, ...] = (9, 9, 2), items: int = 120) -> Task:
    """Noise with a brighter place, whose half of the item is the class."""
    draws = np.random.default_rng(3)
    x = draws.normal(size=(items, *shape))
    y = np.arange(items) % 2
    x[np.arange(items), y * (shape[0] - 2)] += 1.5
    return Task.from_arrays(x, y, kind="classification", name="pictures", shape=shape)


def torch_twin(norm: str, side: bool, channels: int, width: int = SMALL.width) -> nn.Sequential:
    """Three convolutions with two poolings between them, as a newcomer would write them."""
    convolution, batch_norm, pool = (
        (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d) if side else (nn.Conv1d, nn.BatchNorm1d, nn.MaxPool1d)
    )
    layers: list[nn.Module] = []
    for i, (inputs, outputs) in enumerate(pairwise((channels, width, width, width))):
        layers.append(convolution(inputs, outputs, 3, padding=1))
        layers += [batch_norm(width)] if norm == "batch_norm" else []
        layers += [nn.ELU(), *([pool(2)] if i < 2 else [])]
    mean: nn.Module = nn.AdaptiveAvgPool2d(1) if side else nn.AdaptiveAvgPool1d(1)
    return nn.Sequential(*layers, mean, nn.Flatten(), nn.Linear(width, 2)).double()


def load(twin: nn.Sequential, one: Member, task: Task) -> None:
    """Start the twin where the member starts: ours are [places, channels in] x channels out."""
    network = network_for(one.config, task)
    assert isinstance(network, Convolutional)
    views = network.parameters.views(network.start(one.config, one.streams)[0])
    maps = [layer for layer in twin if hasattr(layer, "weight") and not hasattr(layer, "running_mean")]
    with torch.no_grad():
        for i, layer in enumerate(maps):
            weight, target = views[f"weight{i}"], layer.weight
            assert isinstance(target, torch.Tensor) and isinstance(layer.bias, torch.Tensor)
            if target.ndim > 2:
                kernel = target.shape[2:]
                weight = torch.unflatten(weight, 0, (*kernel, target.shape[1])).movedim((-1, -2), (0, 1))
                target.copy_(weight)
            else:
                target.copy_(weight.T)
            layer.bias.copy_(views[f"bias{i}"][0])


@pytest.mark.parametrize("norm", ["none", "batch_norm"])
@pytest.mark.parametrize("shape", [(9, 9, 2), (7, 4, 1), (11, 3)], ids=["square", "oblong", "sequence"])
def test_a_training_equals_a_plain_torch_loop(shape: tuple[int, ...], norm: str) -> None:
    task = pictures(shape)
    one = member(
        levels={"normalization": norm, "activation": "elu", "initializer": "he_normal", "optimizer": "adam"},
        numbers={"learning_rate": 0.01},
        setting=SMALL,
    )
    others = [dataclasses.replace(one, slot=dataclasses.replace(one.slot, index=k)) for k in (1, 2)]
    evaluation = train_pack([others[0], one, others[1]], task)[1]

    twin = torch_twin(norm, len(shape) == 3, shape[-1])
    load(twin, one, task)
    optimizer = torch.optim.Adam(twin.parameters(), lr=0.01)
    feed = Feed([one], task, device=torch.device("cpu"), dtype=torch.float64)

    def items(x: torch.Tensor) -> torch.Tensor:
        return torch.unflatten(x, -1, shape).movedim(-1, 1)

    losses, validation = [], []
    for step in range(SMALL.steps):
        x, y = feed.batch(step)
        loss = nn.functional.cross_entropy(twin.train()(items(x[0])), y[0])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % 10 == 0:
            with torch.no_grad():
                scores = twin.eval()(items(feed.validation.x_RVF[0]))
                validation.append(nn.functional.cross_entropy(scores, feed.validation.y_RV[0]).item())

    # 1e-8: as for the perceptron, float64 sums in another order, amplified over the steps
    curve = evaluation.curve
    np.testing.assert_allclose([p.train_loss for p in curve], np.reshape(losses, (3, -1)).mean(1), rtol=1e-8)
    np.testing.assert_allclose([p.validation_loss for p in curve], validation, rtol=1e-8)


@pytest.mark.parametrize(("shape", "kernel"), [((9, 8), (3, 3)), ((5, 5), (3, 3)), ((9, 1), (3, 1))])
@pytest.mark.parametrize("form", [convolve, convolve_looped, convolve_grouped, convolve_unfolded])
def test_every_form_of_the_convolution_is_torchs(
    form: object, shape: tuple[int, int], kernel: tuple[int, int]
) -> None:
    assert callable(form)
    draws = torch.Generator().manual_seed(1)
    taps = kernel[0] * kernel[1]
    x = torch.randn(3, 5, *shape, 2, dtype=torch.float64, generator=draws).requires_grad_()
    weight = torch.randn(3, taps * 2, 4, dtype=torch.float64, generator=draws).requires_grad_()
    bias = torch.randn(3, 1, 4, dtype=torch.float64, generator=draws).requires_grad_()
    ours = form(x, weight, bias, kernel)
    for k in range(3):
        filters = weight[k].view(*kernel, 2, 4).permute(3, 2, 0, 1)
        theirs = nn.functional.conv2d(
            x[k].movedim(-1, 1), filters, bias[k, 0], padding=[s // 2 for s in kernel]
        )
        torch.testing.assert_close(ours[k], theirs.movedim(1, -1), rtol=1e-12, atol=1e-12)
        leaves = (x, weight, bias)
        mine = torch.autograd.grad(ours[k].square().sum(), leaves, retain_graph=True)
        reference = torch.autograd.grad(theirs.square().sum(), leaves, retain_graph=True)
        for a, b in zip(mine, reference, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("shape", [(5, 5, 3), (9, 9, 3), (9, 3)], ids=["grouped", "looped", "unfolded"])
def test_permuting_members_permutes_results_to_the_bit(shape: tuple[int, ...]) -> None:
    task = pictures(shape)
    setting = dataclasses.replace(SMALL, precision="float32", width=5)
    levels = {"normalization": "batch_norm", "dropout": "dropout", "optimizer": "adam", "activation": "gelu"}
    members = [
        member(levels=levels, numbers={"learning_rate": 0.003 * (k + 1)}, setting=setting, index=k)
        for k in range(5)
    ]
    order = [3, 0, 4, 2, 1]
    straight = train_pack(members, task)
    permuted = train_pack([members[k] for k in order], task)
    for place, k in enumerate(order):
        assert numbers_of(permuted[place]) == numbers_of(straight[k])


@pytest.mark.parametrize("shape", [(5, 5, 3), (9, 9, 3), (9, 3)], ids=["grouped", "looped", "unfolded"])
def test_a_member_turned_nan_changes_nobody_to_the_bit(shape: tuple[int, ...]) -> None:
    task = pictures(shape)
    setting = dataclasses.replace(SMALL, precision="float32", width=5, steps=12)
    network = network_for(member(setting=setting).config, task)
    starts = [
        network.start(m.config, m.streams)[0] for m in (member(index=k, setting=setting) for k in range(3))
    ]
    rows = torch.stack(starts).float()
    x = torch.randn(3, 8, task.n_inputs, generator=torch.Generator().manual_seed(2))
    how = ForwardPass(training=True)

    def gradients(rows: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        grads = torch.zeros_like(rows)
        leaves = network.parameters.leaves(rows, grads)
        network.forward(leaves, {}, x, how).square().sum().backward()  # type: ignore[no-untyped-call]
        return grads

    broken = rows.clone()
    broken[1] = torch.nan
    quiet, loud = gradients(rows, x), gradients(broken, x)
    assert loud[1].isnan().any()
    assert torch.equal(quiet[[0, 2]], loud[[0, 2]])


def test_weights_start_by_torchs_fans_of_a_convolution() -> None:
    fills: dict[str, Callable[[torch.Tensor], object]] = {
        "he_fan_out_uniform": lambda w: nn.init.kaiming_uniform_(w, mode="fan_out", nonlinearity="relu"),
        "glorot_normal": nn.init.xavier_normal_,
        "he_normal": lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"),
    }
    for name, fill in fills.items():
        theirs = torch.empty(64, 16, 3, 3, dtype=torch.float64)
        torch.manual_seed(1)
        fill(theirs)
        ours = started(name, 16, 64)
        assert ours.shape == (9 * 16, 64)
        # 9216 numbers of a variance with a relative standard error of at most 1.5 %
        assert ours.std() == pytest.approx(float(theirs.std()), rel=0.05)
    start = started("orthogonal", 1, 4)
    np.testing.assert_allclose(start.T @ start, np.eye(4), atol=1e-6)


def started(initializer: str, channels: int, outputs: int) -> Floats:
    """The weight of a hidden convolution that reads activations."""
    start = InitialWeights.of(member(levels={"initializer": initializer}).config)
    draws = np.random.default_rng(1)
    return start.draw(9 * channels, 9 * outputs, draws, reads_inputs=False, hidden=True, columns=outputs)[0]


def test_poolings_stand_between_three_stages_and_stop_at_one_place() -> None:
    def of(depth: int, shape: tuple[int, ...]) -> Convolutional:
        setting = dataclasses.replace(SMALL, depth=depth)
        return Convolutional.of(member(setting=setting).config, shape, 2)

    assert of(1, (8, 8, 1)).places == (64,)
    assert of(2, (8, 8, 1)).places == (64, 16)
    assert of(3, (9, 9, 1)).places == (81, 16, 4)
    assert of(6, (8, 8, 1)).places == (64, 64, 16, 16, 4, 4)
    assert of(3, (2, 2, 1)).places == (4, 1, 1)
    assert of(3, (40, 1)).places == (40, 20, 10)


def test_a_residual_convolution_adds_its_input_where_the_channels_agree() -> None:
    task = pictures((6, 6, SMALL.width))
    plain = member(setting=dataclasses.replace(SMALL, depth=1)).config
    residual = member(setting=dataclasses.replace(SMALL, depth=1, residual=True)).config
    x = torch.as_tensor(task.x[:7], dtype=torch.float64)
    outputs = []
    for config in (plain, residual):
        network = network_for(config, task)
        start, _ = network.start(config, member().streams)
        outputs.append(network.forward(network.parameters.views(start), {}, x, ForwardPass(training=False)))
    weight = network.parameters.views(start)["weight1"]
    added = torch.unflatten(x, -1, (36, -1)).mean(1) @ weight
    torch.testing.assert_close(outputs[1], outputs[0] + added)


def test_dropout_drops_a_channel_at_all_its_places() -> None:
    task = pictures((6, 6, 2))
    network = network_for(member(setting=SMALL).config, task)
    start, _ = network.start(member(setting=SMALL).config, member().streams)
    mask = torch.ones(5, SMALL.width, dtype=torch.float64)
    mask[1, 2] = 0
    seen = {}

    def watch(name: str, z: torch.Tensor) -> torch.Tensor:
        seen[name] = z
        return z

    scale = torch.stack([mask, torch.ones_like(mask), torch.ones_like(mask)])
    how = ForwardPass(training=True, noise=Noise(scale=scale), watch=watch)
    x = torch.as_tensor(task.x[:5], dtype=torch.float64)
    network.forward(network.parameters.views(start), {}, x, how)
    hidden = seen["hidden0"].view(5, 36, SMALL.width)
    assert not hidden[1, :, 2].any()
    assert hidden[0, :, 2].any() and hidden[1, :, 1].any()


@pytest.mark.parametrize(
    ("shape", "places"), [((9, 9, 2), 81 + 16 + 4), ((11, 16), 11 + 5 + 2)], ids=["image", "sequence"]
)
def test_operations_are_counted_at_every_place(
    shape: tuple[int, ...], places: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 16 channels, so that a sequence's windows need no zeros, whose products torch would count."""
    task = pictures(shape)
    one = member(setting=dataclasses.replace(SMALL, width=16))
    network = network_for(one.config, task)
    start, _ = network.start(one.config, one.streams)
    x = torch.as_tensor(task.x[:5], dtype=torch.float64)
    monkeypatch.setattr("trainers.networks.linear.FULL", 1)  # torch would count columns of zeros too
    with FlopCounterMode(display=False) as counted:
        network.forward(network.parameters.views(start), {}, x, ForwardPass(training=False))
    assert network.flops == counted.get_total_flops() / 5
    assert network.elements == places * 16


def test_a_table_cannot_be_convolved() -> None:
    task = dataclasses.replace(pictures(), shape=None)
    setting: Setting = SMALL
    with pytest.raises(ValueError, match=r"setting network = 'cnn'.*'pictures'.*Allowed there: mlp"):
        train_pack([member(setting=setting)], task)
