"""Every level of the catalogue in an exported file: it trains as ours does, or is named with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from reports.export import torch_levels
from reports.export.torch_file import TABLES, left_out, torch_file
from search_spaces.catalog import FACTORS
from search_spaces.config import Config, Setting
from search_spaces.input_scaling import INPUT_SCALING
from search_spaces.space import complete
from tests.reports.tables import recipe, table
from tests.reports.test_torch_file import ran
from trainers.loop.stack import Stack
from trainers.loop.updates import Updates
from trainers.loop.validation_log import Plateau
from trainers.losses import member_losses
from trainers.networks.network import ForwardPass
from trainers.networks.perceptron import Perceptron
from trainers.randomness import StreamKey
from trainers.tasks.task_fields import Kind

STEPS = 12
SETTING = Setting(depth=3, width=6, steps=STEPS, batch_size=10, evaluations=4)
INPUTS, CLASSES = 6, 3
LEVELS = [(factor.name, level.name) for factor in FACTORS.values() for level in factor.levels]

BESIDE: Mapping[str, Mapping[str, str]] = {
    "decay_scope": {"weight_decay": "l2", "normalization": "layer_norm"},
    "weight_constraint": {"initializer": "he_normal"},
    "optimizer": {"schedule": "one_cycle", "decay_scope": "weights", "bias": "uniform"},
    "schedule": {"optimizer": "momentum"},
    "warmup": {"schedule": "cosine"},
    "weight_decay": {"optimizer": "adam", "decay_scope": "weights"},
    "clipping": {"weight_decay": "l1"},
}
"""What a factor's levels need beside them to show what they do."""

STRONG: Mapping[str, float] = {
    "learning_rate": 0.05,
    "weight_decay": 0.01,
    "l1_strength": 0.01,
    "clip_norm": 0.2,
    "clip_value": 0.02,
    "max_norm_radius": 0.6,
    "dropout_rate": 0.0,
    "smoothing": 0.1,
    "plateau_patience": 0.0,
    "norm_momentum": 0.3,
}
"""Numbers under which a level acts within a few steps; nothing is dropped, which would be a draw."""


@pytest.mark.parametrize(("factor", "level"), LEVELS)
def test_a_level_trains_as_ours_does_or_is_named_with_its_reason(factor: str, level: str) -> None:
    levels = {**BESIDE.get(factor, {}), factor: level}
    if level not in TABLES[factor]:  # type: ignore[operator]
        defaults = table(recipes=(recipe(levels=levels),))
        (note,) = [note for note in left_out(defaults) if note.startswith(f"{factor} {level} of regime deep")]
        assert torch_levels.LEFT_OUT[factor, level] in note
        assert note in " ".join(torch_file(defaults).split('"""')[1].split())
        return
    # A noisy activation draws in training, and only there.
    ours, theirs = trained(levels, training=level != "rrelu")
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.allclose(tensor, theirs[name], rtol=2e-4, atol=2e-5), name


@pytest.mark.parametrize("kind", ["classification", "regression"])
@pytest.mark.parametrize("shape", [{}, {"funnel": True}, {"residual": True}])
def test_a_whole_recipe_trains_as_ours_does(kind: Kind, shape: dict[str, Any]) -> None:
    levels = {
        "initializer": "he_normal",
        "activation": "swish_learned",
        "normalization": "batch_norm_after",
        "optimizer": "adamw",
        "schedule": "one_cycle",
        "clipping": "norm",
        "decay_scope": "weights",
        "weight_constraint": "max_norm",
        "input_scaling": "min_max",
    }
    ours, theirs = trained(levels, setting=replace(SETTING, **shape), kind=kind)
    for name, tensor in ours.items():
        assert torch.allclose(tensor, theirs[name], rtol=2e-4, atol=2e-5), name


def test_the_comparison_sees_another_level() -> None:
    ours, _ = trained({"optimizer": "adam"})
    _, theirs = trained({"optimizer": "nadam"})
    assert not torch.allclose(ours["weight1"], theirs["weight1"], rtol=2e-4, atol=2e-5)


def test_every_level_left_out_has_a_reason_and_is_one_of_few() -> None:
    absent = {(f, level) for f, level in LEVELS if level not in TABLES[f]}  # type: ignore[operator]
    assert absent == set(torch_levels.LEFT_OUT)
    assert {factor for factor, _ in absent} == {"augmentation"}
    assert set(TABLES) == set(FACTORS)


def trained(
    levels: Mapping[str, str],
    *,
    setting: Setting = SETTING,
    kind: Kind = "classification",
    training: bool = True,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Parameters by our names after the same steps from the same start: by our trainer, and by the file."""
    spans = complete(levels).numbers
    numbers = {name: value for name, value in STRONG.items() if name in spans}
    chosen = recipe(levels=levels, numbers=numbers, setting=setting)
    config = Config(levels=chosen.levels, numbers=chosen.numbers, setting=setting)
    made = ran(torch_file(table(recipes=(chosen,))))
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(setting.batch_size * STEPS, INPUTS, generator=generator) * 3 + 5
    outputs = CLASSES if kind == "classification" else 1
    y = (x[:, 0] > 5).long() + (x[:, 1] > 6).long() if outputs > 1 else x[:, 0] * 2 - x[:, 1]
    model = made.build_model(INPUTS, outputs, seed=3)
    with torch.no_grad():
        for p in model.parameters():  # no zeros: biases and shifts must show what pulls them
            p.add_(0.1 * torch.randn(p.shape, generator=generator))
    network = Perceptron.of(config, INPUTS, outputs)
    start = torch.zeros(1, network.parameters.size)
    views = network.parameters.views(start)
    theirs = named(model)
    assert set(theirs) == set(views)
    for name, tensor in theirs.items():
        views[name].copy_(tensor)
    by_file(made, model, x, y, training)
    by_trainer(network, config, start, x, y, kind, training)
    return {n: v[0].clone() for n, v in network.parameters.views(start).items()}, named(model)


def by_file(made: SimpleNamespace, model: Any, x: Tensor, y: Tensor, training: bool) -> None:
    regime, size = made.REGIMES["deep"], SETTING.batch_size
    regime.measure(model, x, y)
    optimizer = made.build_optimizer(model)
    scheduler = made.build_scheduler(optimizer, STEPS)
    model.train(training)
    for step in range(STEPS):
        batch = slice(step * size, (step + 1) * size)
        optimizer.zero_grad()
        made.loss_of(model, x[batch], y[batch], regime.smoothing).backward()
        regime.update(model, optimizer)
        if not isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            scheduler.step()
        elif step % 3 == 2:
            scheduler.step(LOSSES[step // 3])


LOSSES = (0.9, 1.0, 0.8, 0.9)
"""What looks at validation find: a rate that is cut at every look without improvement is cut twice."""


def by_trainer(
    network: Perceptron, config: Config, start: Tensor, x: Tensor, y: Tensor, kind: Kind, training: bool
) -> None:
    """Changes `start` [1, P] in place."""
    centre, unit = INPUT_SCALING.level(config.levels["input_scaling"]).build.fit(x.double().numpy())
    x = ((x.double() - torch.from_numpy(centre)) / torch.from_numpy(unit)).float()
    if kind == "regression":
        y = (y - y.mean()) / y.std(correction=0)
    streams = StreamKey(study="s", task="t", block=0, phase="confirm", index=0, salt="")
    buffers = network.start(config, streams)[1].float()[None]
    stack = Stack(
        network=network, configs=[config], rows_S=torch.arange(1), params_SP=start, buffers_SP=buffers
    )
    updates = Updates([config], network.parameters, start)
    plateau = Plateau(updates.schedules.patience_K, updates.schedules.factor_K)
    smoothing = torch.tensor([config.numbers.get("smoothing", 0.0)]) if kind == "classification" else None
    how = ForwardPass(training=training, numbers=stack.numbers)
    for step in range(STEPS):
        batch = slice(step * SETTING.batch_size, (step + 1) * SETTING.batch_size)
        outputs = network.forward(stack.leaves, stack.buffers, x[batch][None], how)
        stack.grads_SP.zero_()
        losses = member_losses(outputs, y[batch][None], kind, smoothing)
        torch.autograd.backward(losses.sum())
        with torch.no_grad():
            updates.step(step, start, stack.grads_SP, plateau.scale_K)
        if step % 3 == 2:
            plateau.update(torch.tensor([LOSSES[step // 3]]))


def named(model: Any) -> dict[str, Tensor]:
    """The file's parameters under our names and in our shapes."""
    found: dict[str, Tensor] = {}
    layer = -1
    modules = [m for m in model.layers.modules() if next(m.parameters(recurse=False), None) is not None]
    for module in modules:
        own = dict(module.named_parameters(recurse=False))
        if isinstance(module, torch.nn.Linear):
            layer += 1
            found[f"weight{layer}"] = module.weight.detach().T.clone()
            if module.bias is not None:
                found[f"bias{layer}"] = module.bias.detach()[None].clone()
        elif "beta" in own or isinstance(module, torch.nn.PReLU):
            name = "beta" if "beta" in own else "slope"
            found[f"{name}{layer}"] = next(iter(own.values())).detach().reshape(1, 1).clone()
        else:
            place = "_in" if layer < 0 else str(layer)
            for name, tensor in own.items():
                found[f"{'gain' if name == 'weight' else 'shift'}{place}"] = tensor.detach()[None].clone()
    return found
