"""From gradients to the next parameters, against a plain PyTorch loop over fifty steps in float64.

Every optimizer with its decay, an eps of its own where it has one, gradients clipped by norm and a 1cycle
that takes momentum along; then each rule around it by itself.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler

from search_spaces.optimizers import OPTIMIZER
from tests.trainers.packs import TINY, blobs, member
from trainers.loop.feed import Feed
from trainers.loop.pack import train_pack
from trainers.loop.updates import schedule
from trainers.member import Member
from trainers.networks import network_for

STEPS, WIDTH, DEPTH, PEAK, DECAY = 50, 10, 3, 0.02, 0.3
SETTING = dataclasses.replace(TINY, depth=DEPTH, width=WIDTH, steps=STEPS, evaluations=STEPS)
TOLERANCE = 1e-9
"""Relative: the two differ in the order of float64 sums, amplified over fifty steps."""

Optimizers = Callable[[nn.Sequential], Sequence[Any]]
Schedulers = Callable[[Any], Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loop:
    """What a newcomer's training loop does between the forward passes."""

    optimizers: Optimizers
    scheduler: Schedulers = lambda o: lr_scheduler.ConstantLR(o, factor=1.0)
    clip: float | None = None
    penalty: Callable[[nn.Sequential], Tensor | float] = lambda model: 0.0
    after_step: Callable[[nn.Sequential], None] = lambda model: None
    smoothing: float = 0.0


def torch_model(one: Member) -> nn.Sequential:
    """Linear, layer norm and relu, three times, and an output; from the member's own start."""
    layers: list[nn.Module] = []
    sizes = (5, *(WIDTH,) * DEPTH)
    for fan_in, fan_out in itertools.pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), nn.LayerNorm(fan_out), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(WIDTH, 3)).double()
    network = network_for(one.config, blobs())
    views = network.parameters.views(network.start(one.config, one.streams)[0])
    with torch.no_grad():
        for i, layer in enumerate(layer for layer in model if isinstance(layer, nn.Linear)):
            layer.weight.copy_(views[f"weight{i}"].T)
            layer.bias.copy_(views[f"bias{i}"][0])
    return model


def losses_of(loop: Loop, one: Member) -> tuple[list[float], list[float]]:
    """Training and validation loss of every step."""
    model = torch_model(one)
    optimizers = loop.optimizers(model)
    schedulers = [loop.scheduler(optimizer) for optimizer in optimizers]
    feed = Feed([one], blobs(), device=torch.device("cpu"), dtype=torch.float64)
    trained, validated = [], []
    for step in range(STEPS):
        x, y = feed.batch(step)
        loss = nn.functional.cross_entropy(model(x[0]), y[0], label_smoothing=loop.smoothing)
        trained.append(loss.item())
        for optimizer in optimizers:
            optimizer.zero_grad()
        torch.autograd.backward(loss + loop.penalty(model))
        if loop.clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), loop.clip)
        for optimizer, scheduler in zip(optimizers, schedulers, strict=True):
            optimizer.step()
            if step + 1 < STEPS:
                scheduler.step()
        loop.after_step(model)
        with torch.no_grad():
            scores = model(feed.validation.x_RVF[0])
            validated.append(nn.functional.cross_entropy(scores, feed.validation.y_RV[0]).item())
    return trained, validated


def assert_equal_training(
    levels: Mapping[str, str], numbers: Mapping[str, float], loop: Loop, tolerance: float = TOLERANCE
) -> None:
    """The packed trainer walks through the same losses as the loop."""
    one = member(
        levels={"initializer": "he_normal", "normalization": "layer_norm", "activation": "relu", **levels},
        numbers=numbers,
        setting=SETTING,
        index=4,
    )
    (evaluation,) = train_pack([one], blobs())
    trained, validated = losses_of(loop, one)
    np.testing.assert_allclose([p.train_loss for p in evaluation.curve], trained, rtol=tolerance)
    np.testing.assert_allclose([p.validation_loss for p in evaluation.curve], validated, rtol=tolerance)
    assert abs(validated[-1] - validated[0]) > 1e-3, "it must have moved for this to say anything"


# -- every optimizer -----------------------------------------------------------------------------

Recipe = tuple[str, str, dict[str, float], Callable[[Any], torch.optim.Optimizer]]
"""Optimizer, weight decay, numbers, and torch's own with the same."""

BETAS: dict[str, float] = {"beta1": 0.8, "beta2": 0.97, "eps": 1e-3}
BETAS_OF_TORCH: dict[str, Any] = {"betas": (0.8, 0.97), "eps": 1e-3, "weight_decay": DECAY}
L2: dict[str, Any] = {"lr": PEAK, "weight_decay": 0.01}

RECIPES: dict[str, Recipe] = {
    "sgd, coupled": ("sgd", "l2", {}, lambda p: torch.optim.SGD(p, **L2)),
    "momentum, coupled": (
        "momentum",
        "l2",
        {"momentum": 0.8},
        lambda p: torch.optim.SGD(p, momentum=0.8, **L2),
    ),
    "nesterov, coupled": (
        "nesterov",
        "l2",
        {"momentum": 0.8},
        lambda p: torch.optim.SGD(p, momentum=0.8, nesterov=True, **L2),
    ),
    "adagrad, coupled": ("adagrad", "l2", {"eps": 1e-3}, lambda p: torch.optim.Adagrad(p, eps=1e-3, **L2)),
    "rmsprop, coupled": (
        "rmsprop",
        "l2",
        {"eps": 1e-3, "alpha": 0.95},
        lambda p: torch.optim.RMSprop(p, alpha=0.95, eps=1e-3, **L2),
    ),
    "adam, coupled": (
        "adam",
        "l2",
        BETAS,
        lambda p: torch.optim.Adam(p, PEAK, **{**BETAS_OF_TORCH, "weight_decay": 0.01}),
    ),
    "adam, decoupled": ("adam", "decoupled", BETAS, lambda p: torch.optim.AdamW(p, PEAK, **BETAS_OF_TORCH)),
    "adamw, its own": (
        "adamw",
        "optimizer_default",
        BETAS,
        lambda p: torch.optim.AdamW(p, PEAK, **BETAS_OF_TORCH),
    ),
    "adamax, coupled": (
        "adamax",
        "l2",
        BETAS,
        lambda p: torch.optim.Adamax(p, PEAK, **{**BETAS_OF_TORCH, "weight_decay": 0.01}),
    ),
    "amsgrad, decoupled": (
        "amsgrad",
        "decoupled",
        BETAS,
        lambda p: torch.optim.AdamW(p, PEAK, amsgrad=True, **BETAS_OF_TORCH),
    ),
    "nadam, coupled": (
        "nadam",
        "l2",
        BETAS,
        lambda p: torch.optim.NAdam(p, PEAK, **{**BETAS_OF_TORCH, "weight_decay": 0.01}),
    ),
    "nadam, decoupled": (
        "nadam",
        "decoupled",
        BETAS,
        lambda p: torch.optim.NAdam(p, PEAK, decoupled_weight_decay=True, **BETAS_OF_TORCH),
    ),
    "radam, coupled": (
        "radam",
        "l2",
        BETAS,
        lambda p: torch.optim.RAdam(p, PEAK, **{**BETAS_OF_TORCH, "weight_decay": 0.01}),
    ),
    "radam, decoupled": (
        "radam",
        "decoupled",
        BETAS,
        lambda p: torch.optim.RAdam(p, PEAK, decoupled_weight_decay=True, **BETAS_OF_TORCH),
    ),
    "adafactor, decoupled": (
        "adafactor",
        "decoupled",
        {"beta2_decay": -0.7, "eps2": 1e-2, "update_limit": 1.5},
        lambda p: torch.optim.Adafactor(
            p, PEAK, beta2_decay=-0.7, eps=(None, 1e-2), d=1.5, weight_decay=DECAY
        ),
    ),
    "muon, its own": (
        "muon",
        "optimizer_default",
        {"momentum": 0.8},
        lambda p: torch.optim.Muon(p, PEAK, momentum=0.8, weight_decay=DECAY),
    ),
    "muon_matched, its own": (
        "muon_matched",
        "optimizer_default",
        {"momentum": 0.8},
        lambda p: torch.optim.Muon(p, PEAK, momentum=0.8, weight_decay=DECAY, adjust_lr_fn="match_rms_adamw"),
    ),
}


def of_model(name: str, make: Callable[[Any], torch.optim.Optimizer]) -> Optimizers:
    """torch's optimizer over a model; at Muon's side AdamW has all but the inner matrices."""

    def optimizers(model: nn.Sequential) -> Sequence[Any]:
        if not name.startswith("muon"):
            return [make(model.parameters())]
        _, *inner, _ = (layer.weight for layer in model if isinstance(layer, nn.Linear))
        rest = [p for p in model.parameters() if all(p is not matrix for matrix in inner)]
        return [make(inner), torch.optim.AdamW(rest, PEAK, weight_decay=DECAY)]

    return optimizers


def cycle(optimizer: Any) -> Any:
    """torch's OneCycleLR; it refuses to cycle a momentum that is not there."""
    group = optimizer.param_groups[0]
    plain = isinstance(optimizer, torch.optim.SGD) and group["momentum"] == 0
    beside_muon = isinstance(optimizer, torch.optim.AdamW) and group["betas"] == (0.9, 0.999)
    without = isinstance(optimizer, torch.optim.RMSprop | torch.optim.Adagrad | torch.optim.Adafactor)
    cycled = not (plain or beside_muon or without)
    return lr_scheduler.OneCycleLR(optimizer, max_lr=PEAK, total_steps=STEPS, cycle_momentum=cycled)


@pytest.fixture
def in_double(monkeypatch: pytest.MonkeyPatch) -> Any:
    """NAdam's product of momenta follows torch's default precision; Muon rounds to bfloat16."""
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("in_double")
@pytest.mark.parametrize("recipe", RECIPES)
def test_fifty_steps_with_decay_clipping_and_a_cycle_equal_torch(recipe: str) -> None:
    name, decay, numbers, make = RECIPES[recipe]
    assert_equal_training(
        {"optimizer": name, "weight_decay": decay, "clipping": "norm", "schedule": "one_cycle"},
        {
            "learning_rate": PEAK,
            "clip_norm": 0.5,
            "weight_decay": 0.01 if decay == "l2" else DECAY,
            **numbers,
        },
        Loop(optimizers=of_model(name, make), scheduler=cycle, clip=0.5),
    )


def test_every_optimizer_has_a_recipe() -> None:
    assert {name for name, *_ in RECIPES.values()} == set(OPTIMIZER.names)


# -- the rules around it -------------------------------------------------------------------------


def nesterov(model: nn.Sequential) -> Sequence[Any]:
    return [torch.optim.SGD(model.parameters(), PEAK, momentum=0.9, nesterov=True)]


PLAIN: dict[str, str] = {"optimizer": "nesterov"}
RATE = {"learning_rate": PEAK}


@pytest.mark.parametrize("decay", ["l2", "decoupled"])
def test_decay_of_weights_alone_equals_two_parameter_groups(decay: str) -> None:
    strength = 0.01 if decay == "l2" else DECAY

    def groups(model: nn.Sequential) -> Sequence[Any]:
        weights = [layer.weight for layer in model if isinstance(layer, nn.Linear)]
        rest = [p for p in model.parameters() if all(p is not w for w in weights)]
        kind = torch.optim.Adam if decay == "l2" else torch.optim.AdamW
        both = [{"params": weights, "weight_decay": strength}, {"params": rest, "weight_decay": 0.0}]
        return [kind(both, lr=PEAK)]

    levels = {"optimizer": "adam", "weight_decay": decay, "decay_scope": "weights"}
    assert_equal_training(levels, {**RATE, "weight_decay": strength}, Loop(optimizers=groups))


@pytest.mark.parametrize("scope", ["everything", "weights"])
def test_l1_equals_a_sum_of_absolute_values_in_the_loss_and_is_clipped_with_it(scope: str) -> None:
    def penalty(model: nn.Sequential) -> Tensor:
        over = model.parameters() if scope == "everything" else (p for p in model.parameters() if p.ndim > 1)
        return 0.005 * torch.stack([p.abs().sum() for p in over]).sum()

    levels = {**PLAIN, "weight_decay": "l1", "decay_scope": scope, "clipping": "norm"}
    numbers = {**RATE, "l1_strength": 0.005, "clip_norm": 0.5}
    assert_equal_training(levels, numbers, Loop(optimizers=nesterov, penalty=penalty, clip=0.5))


def test_max_norm_equals_the_function_of_its_source_after_every_step() -> None:
    """001's apply_max_norm without its eps of 1e-8, which shrinks a little what needs no shrinking."""

    @torch.no_grad()
    def apply_max_norm(model: nn.Sequential) -> None:
        for layer in model:
            if isinstance(layer, nn.Linear):
                actual = layer.weight.norm(p=2, dim=1, keepdim=True)
                layer.weight *= torch.clamp(actual, 0, 0.8) / actual

    levels = {**PLAIN, "weight_constraint": "max_norm"}
    loop = Loop(optimizers=nesterov, after_step=apply_max_norm)
    assert_equal_training(levels, {**RATE, "max_norm_radius": 0.8}, loop)


def test_smoothed_labels_equal_torchs_in_training_and_leave_validation_alone() -> None:
    loop = Loop(optimizers=nesterov, smoothing=0.2)
    assert_equal_training({**PLAIN, "label_smoothing": "label_smoothing"}, {**RATE, "smoothing": 0.2}, loop)


def test_a_warm_up_before_a_cosine_equals_torchs_chain() -> None:
    def chain(optimizer: Any) -> Any:
        warm = lr_scheduler.LinearLR(optimizer, start_factor=0.1, total_iters=10)
        then = lr_scheduler.CosineAnnealingLR(optimizer, STEPS - 10)
        return lr_scheduler.SequentialLR(optimizer, [warm, then], milestones=[10])

    levels = {**PLAIN, "schedule": "cosine", "warmup": "linear"}
    assert_equal_training(
        levels, {**RATE, "warmup_fraction": 0.2}, Loop(optimizers=nesterov, scheduler=chain)
    )


def test_a_cycle_without_momentum_leaves_the_optimizers_own() -> None:
    def fixed(optimizer: Any) -> Any:
        return lr_scheduler.OneCycleLR(optimizer, max_lr=PEAK, total_steps=STEPS, cycle_momentum=False)

    levels = {**PLAIN, "schedule": "one_cycle_fixed_momentum"}
    assert_equal_training(levels, RATE, Loop(optimizers=nesterov, scheduler=fixed))
    assert schedule(member(levels=levels).config).momentum is None
