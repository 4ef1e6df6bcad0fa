"""The packed trainer against a plain PyTorch loop: torch modules, torch.optim, torch schedulers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from tests.trainers.packs import TINY, blobs, member
from trainers.loop.feed import Feed
from trainers.loop.pack import train_pack
from trainers.networks import network_for

STEPS = 100
SETTING = dataclasses.replace(TINY, depth=3, width=12, steps=STEPS, evaluations=5)

OptimizerOf = Callable[..., torch.optim.Optimizer]
Recipe = tuple[dict[str, str], dict[str, float], Callable[[], nn.Module], OptimizerOf]
"""Levels, numbers, and the same in torch's own parts."""

RECIPES: dict[str, Recipe] = {
    "sgd with coupled decay": (
        {"optimizer": "sgd", "weight_decay": "l2"},
        {"learning_rate": 0.05, "weight_decay": 0.01},
        nn.ReLU,
        lambda p: torch.optim.SGD(p, lr=0.05, weight_decay=0.01),
    ),
    "nesterov with clipping": (
        {"optimizer": "nesterov", "clipping": "norm", "activation": "elu"},
        {"learning_rate": 0.02, "momentum": 0.9, "clip_norm": 0.3},
        nn.ELU,
        lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9, nesterov=True),
    ),
    "adamw with its own decay": (
        {"optimizer": "adamw", "activation": "gelu"},
        {"learning_rate": 0.01, "weight_decay": 0.1},
        nn.GELU,
        lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
    ),
    "rmsprop": (
        {"optimizer": "rmsprop", "activation": "silu"},
        {"learning_rate": 0.01},
        nn.SiLU,
        lambda p: torch.optim.RMSprop(p, lr=0.01),
    ),
}


def torch_twin(activation: Callable[[], nn.Module], norm: str) -> nn.Sequential:
    """The perceptron of SETTING on the blobs, as a newcomer would write it."""
    norms = {"none": nn.Identity, "batch_norm": nn.BatchNorm1d, "layer_norm": nn.LayerNorm}
    layers: list[nn.Module] = []
    width = 5
    for _ in range(SETTING.depth):
        own = nn.Identity() if norm == "none" else norms[norm](SETTING.width)
        layers += [nn.Linear(width, SETTING.width), own, activation()]
        width = SETTING.width
    return nn.Sequential(*layers, nn.Linear(width, 3)).double()


@pytest.mark.parametrize("norm", ["none", "batch_norm", "layer_norm"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_hundred_steps_equal_a_plain_torch_loop(recipe: str, norm: str) -> None:
    levels, numbers, activation, optimizer_of = RECIPES[recipe]
    one = member(
        levels={**levels, "normalization": norm, "initializer": "he_normal", "schedule": "cosine"},
        numbers=numbers,
        setting=SETTING,
        index=4,
    )
    task = blobs()
    (evaluation,) = train_pack([one], task)

    model = torch_twin(activation, norm)
    network = network_for(one.config, task)
    start, _ = network.start(one.config, one.streams)
    views = network.parameters.views(start)
    linears = [layer for layer in model if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        for i, layer in enumerate(linears):
            layer.weight.copy_(views[f"weight{i}"].T)
            layer.bias.copy_(views[f"bias{i}"][0])
    optimizer = optimizer_of(model.parameters())
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    feed = Feed([one], task, device=torch.device("cpu"), dtype=torch.float64)
    losses, validation = [], []
    for step in range(STEPS):
        x, y = feed.batch(step)
        loss = nn.functional.cross_entropy(model.train()(x[0]), y[0])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if "clip_norm" in numbers:
            nn.utils.clip_grad_norm_(model.parameters(), numbers["clip_norm"])
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
        if (step + 1) % (STEPS // 5) == 0:
            with torch.no_grad():
                scores = model.eval()(feed.validation.x_RVF[0])
                validation.append(nn.functional.cross_entropy(scores, feed.validation.y_RV[0]).item())

    # 1e-8: the two differ only in the order of float64 sums, amplified over a hundred steps
    curve = evaluation.curve
    np.testing.assert_allclose([p.train_loss for p in curve], np.reshape(losses, (5, -1)).mean(1), rtol=1e-8)
    np.testing.assert_allclose([p.validation_loss for p in curve], validation, rtol=1e-8)


class Own(nn.Module):
    """A user's network with noise and running statistics of its own."""

    def __init__(self, n_inputs: int, n_outputs: int):
        super().__init__()
        self.first = nn.Linear(n_inputs, 10)
        self.norm = nn.BatchNorm1d(10)
        self.noise = nn.Dropout(0.2)
        self.last = nn.Linear(10, n_outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = torch.tanh(self.norm(self.first(x)))
        scores: torch.Tensor = self.last(self.noise(hidden))
        return scores


def test_a_users_own_module_trains_alone_as_in_company_and_learns() -> None:
    task = dataclasses.replace(blobs(), network=lambda inputs, outputs, config: Own(inputs, outputs))
    setting = dataclasses.replace(SETTING, steps=60)
    members = [
        member(
            levels={"optimizer": "adam", "initializer": name},
            numbers={"learning_rate": 0.01},
            setting=setting,
            index=k,
            phase="confirm",
        )
        for k, name in enumerate(("torch_default", "he_normal", "orthogonal"))
    ]
    together = train_pack(members, task)
    for one, packed in zip(members, together, strict=True):
        (alone,) = train_pack([one], task)
        np.testing.assert_allclose(
            [p.validation_loss for p in alone.curve], [p.validation_loss for p in packed.curve], rtol=1e-9
        )
        assert packed.curve[-1].validation_loss < packed.curve[0].validation_loss


def test_an_own_module_refuses_a_factor_it_does_not_honour() -> None:
    task = dataclasses.replace(blobs(), network=lambda inputs, outputs, config: Own(inputs, outputs))
    with pytest.raises(ValueError, match="does not honour 'activation'"):
        train_pack([member(levels={"activation": "tanh"})], task)
