"""The exported PyTorch file does what the levels say, needs nobody else, and trains."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from reports.defaults.schema import Recipe
from reports.export import torch_levels
from reports.export.formats import render
from reports.export.torch_file import identifiers, left_out, to_know, torch_file
from search_spaces.activations import ACTIVATION
from search_spaces.config import Config, Setting
from search_spaces.initializers import INITIALIZER
from search_spaces.optimizers import OPTIMIZER
from search_spaces.regularizers import WEIGHT_DECAY
from tests.reports.alone import handed_over, trained_alone
from tests.reports.tables import recipe, row, table
from trainers.loop.updates import schedule
from trainers.networks.perceptron import Perceptron
from trainers.tasks import TASKS

SMALL = Setting(depth=3, width=6, steps=20, batch_size=8, evaluations=4)


def ran(text: str) -> SimpleNamespace:
    """The names that a file defines."""
    names: dict[str, Any] = {"__name__": "exported"}
    exec(compile(text, "exported.py", "exec"), names)
    return SimpleNamespace(**names)


def exported(
    levels: Mapping[str, str] | None = None,
    numbers: Mapping[str, float] | None = None,
    setting: Setting = SMALL,
) -> SimpleNamespace:
    """The file of a table whose one regime has these levels, numbers and setting."""
    return ran(torch_file(table(recipes=(recipe(levels=levels, numbers=numbers, setting=setting),))))


def items(n: int = 40, features: int = 5) -> tuple[Tensor, Tensor]:
    x = torch.from_numpy(np.random.default_rng(1).normal(3.0, 2.0, (n, features))).float()
    return x, (x[:, 0] > 3).long()


@pytest.mark.parametrize("level", torch_levels.ACTIVATIONS)
def test_a_written_activation_is_the_level_it_is_named_for(level: str) -> None:
    made = exported({"activation": level})
    layer = made.build_model(5, 2).layers[1].eval()
    build = ACTIVATION.level(level).build
    own = {r.name: r.default for r in ACTIVATION.level(level).ranges} | dict(build.learned)
    z = torch.linspace(-4, 4, 41)[:, None].repeat(1, 2)
    ours = build.apply(z, noise=None, **own) if build.noisy else build.apply(z, **own)
    assert torch.allclose(layer(z), ours, atol=1e-6)


@pytest.mark.parametrize("level", torch_levels.INITIALIZERS)
def test_written_initial_weights_have_the_levels_variance_and_limits(level: str) -> None:
    torch.manual_seed(0)
    made = exported({"initializer": level, "activation": "tanh"}, setting=Setting(depth=2, width=160))
    drawn = made.build_model(240, 3).layers[2].weight.detach()
    assert drawn.shape == (160, 160)
    build = INITIALIZER.level(level).build
    ours = torch.from_numpy(build.weight(160, 160, np.random.default_rng(0)).astype(np.float32))
    gain = torch_levels.gain({"initializer": level, "activation": "tanh"}, {})[1]
    ours = ours * gain * SMALL.batch_size**0 * Setting().batch_size ** build.batch_power
    assert float(drawn.std()) == pytest.approx(float(ours.std()), rel=0.03, abs=1e-9)
    assert float(drawn.mean()) == pytest.approx(float(ours.mean()), abs=3e-2 * float(ours.std()) + 1e-9)
    if "uniform" in level or "truncated" in level:
        assert float(drawn.abs().max()) == pytest.approx(float(ours.abs().max()), rel=0.03)


@pytest.mark.parametrize("level", [*torch_levels.SCHEDULES, *torch_levels.ONE_CYCLES])
@pytest.mark.parametrize("optimizer", ["nesterov", "adam", "rmsprop"])
@pytest.mark.parametrize("warmup", ["none", "linear"])
def test_a_written_schedule_takes_the_same_rates(level: str, optimizer: str, warmup: str) -> None:
    if warmup == "linear" and (level in torch_levels.ONE_CYCLES or level.startswith("warmup")):
        return  # refused, or not asked for: these have a warm-up of their own
    levels = {"schedule": level, "optimizer": optimizer, "warmup": warmup}
    made = exported(levels)
    config = config_of(levels)
    course = schedule(config)
    optimizer_ = made.build_optimizer(made.build_model(5, 2))
    steps = made.build_scheduler(optimizer_, config.setting.steps)
    for multiplier, momentum in zip(
        course.multiplier, [None] * 20 if course.momentum is None else course.momentum, strict=True
    ):
        group = optimizer_.param_groups[0]
        assert group["lr"] == pytest.approx(multiplier * config.numbers["learning_rate"], rel=1e-6, abs=1e-12)
        if momentum is not None and optimizer != "rmsprop":
            now = group["betas"][0] if optimizer == "adam" else group["momentum"]
            assert now == pytest.approx(momentum)
        optimizer_.step()
        steps.step()


def config_of(levels: Mapping[str, str]) -> Config:
    made: Recipe = recipe(levels=levels, setting=SMALL)
    return Config(levels=made.levels, numbers=made.numbers, setting=SMALL)


@pytest.mark.parametrize("optimizer", sorted(set(OPTIMIZER.names) - set(torch_levels.MUONS)))
@pytest.mark.parametrize("decay", [level.name for level in WEIGHT_DECAY.levels])
@pytest.mark.parametrize("scope", ["everything", "weights"])
def test_a_written_update_is_ours(optimizer: str, decay: str, scope: str) -> None:
    """Three updates with everything that pulls, against the trainer's own (Muon's: `test_torch_walk`)."""
    from trainers.loop.updates import Updates
    from trainers.tensors.layout import Layout

    levels = {
        "optimizer": optimizer,
        "weight_decay": decay,
        "decay_scope": scope,
        "clipping": "norm",
        "weight_constraint": "max_norm",
    }
    chosen: Recipe = recipe(levels=levels, setting=SMALL)
    strong: dict[str, float] = {n: 0.01 for n in ("weight_decay", "l1_strength") if n in chosen.numbers}
    numbers = (
        dict(chosen.numbers) | strong | {"learning_rate": 0.05, "clip_norm": 0.5, "max_norm_radius": 0.9}
    )
    made = exported(levels, numbers)
    config = Config(levels=chosen.levels, numbers=numbers, setting=SMALL)
    torch.manual_seed(3)
    model = torch.nn.Linear(4, 3)
    layout = Layout.of({"weight0": ((4, 3), "weight"), "bias0": ((1, 3), "bias")})

    def flat(weight: Tensor, bias: Tensor) -> Tensor:
        found = torch.zeros(1, layout.size)
        layout.views(found)["weight0"].copy_(weight.detach().T)
        layout.views(found)["bias0"].copy_(bias.detach())
        return found

    rows = flat(model.weight, model.bias)
    ours = Updates([config], layout, rows)
    theirs = made.REGIMES["deep"].optimizer(model)
    for step in range(3):
        model.weight.grad, model.bias.grad = torch.randn(3, 4), torch.randn(3)
        gradients = flat(model.weight.grad, model.bias.grad)
        made.REGIMES["deep"].update(model, theirs)
        ours.step(step, rows, gradients, torch.ones(1))
        assert torch.allclose(flat(model.weight, model.bias), rows, atol=2e-6), step


@pytest.mark.parametrize("level", torch_levels.NORMALIZATIONS)
@pytest.mark.parametrize("activation", ["relu", "swiglu"])
@pytest.mark.parametrize("shape", ["plain", "residual", "funnel"])
def test_a_written_network_has_as_many_parameters_as_ours(level: str, activation: str, shape: str) -> None:
    setting = replace(SMALL, width=16, residual=shape == "residual", funnel=shape == "funnel")
    levels = {"normalization": level, "activation": activation, "input_scaling": "batch_norm"}
    model = exported(levels, setting=setting).build_model(5, 3)
    config = replace(config_of(levels), setting=setting)
    ours = Perceptron.of(config, 5, 3).parameters.segments
    assert sum(p.numel() for p in model.parameters()) == sum(math.prod(each.shape) for each in ours)
    assert model(items()[0]).shape == (40, 3)


def test_dropped_weights_are_scaled_up_in_training_and_whole_afterwards() -> None:
    made = exported({"dropout": "dropconnect"}, {"dropout_rate": 0.25}, replace(SMALL, width=40))
    linear = made.build_model(40, 2).layers[0]
    ones = torch.eye(40)
    with torch.no_grad():
        seen = (linear.train()(ones) - linear.bias) / linear.weight.T
        whole = (linear.eval()(ones) - linear.bias) / linear.weight.T
    assert torch.allclose(whole, torch.ones(40, 40), atol=1e-2)
    kept = seen > 0.5
    assert torch.allclose(seen[kept], torch.tensor(4 / 3), atol=1e-2)
    assert torch.allclose(seen[~kept], torch.tensor(0.0), atol=1e-2)
    assert float(kept.float().mean()) == pytest.approx(0.75, abs=0.05)


@pytest.mark.parametrize("level", [level for level in torch_levels.DROPOUTS if level != "dropconnect"])
def test_written_dropout_stands_where_the_level_drops(level: str) -> None:
    model = exported({"dropout": level}, {} if level == "none" else {"dropout_rate": 0.3}).build_model(5, 2)
    names = [type(layer).__name__ for layer in model.layers]
    hidden = ["Linear", "ReLU"]
    places = {
        "none": [hidden, hidden, hidden],
        "dropout": [[*hidden, "Dropout"]] * 3,
        "dropout_last1": [hidden, hidden, [*hidden, "Dropout"]],
        "dropout_last3": [[*hidden, "Dropout"]] * 3,
        "dropout_inputs": [["Dropout", *hidden], hidden, hidden],
        "alpha_dropout": [[*hidden, "AlphaDropout"]] * 3,
    }
    assert names == [name for layer in places[level] for name in layer] + ["Linear"]
    assert all(layer.p == 0.3 for layer in model.layers if "Dropout" in type(layer).__name__)


def test_inputs_are_scaled_by_the_training_items_and_targets_of_a_regression_too() -> None:
    x, _ = items()
    y = 7 * x[:, 0] + 100
    for level in torch_levels.SCALINGS:
        made = exported({"input_scaling": level, "optimizer": "adam"}, {"learning_rate": 0.02})
        model = made.build_model(5, 1)
        history = made.fit(model, x, y, x, y)
        assert history["validation_error"] == made.error_of(model, x, y)
        assert history["validation_error"] < 1.0
        assert model(x).mean().item() == pytest.approx(float(y.mean()), rel=0.2)


def test_early_stopping_keeps_the_best_look_and_stops_after_it() -> None:
    x, y = items()
    made = exported({"early_stopping": "patience"}, {"stop_patience": 1.0, "learning_rate": 3e-4})
    noise = torch.randint(0, 2, (40,), generator=torch.Generator().manual_seed(5))
    model = made.build_model(5, 2)
    history = made.fit(model, x, y, x, noise, total_steps=4000)
    assert history["looks"][-1][0] < 4000 or history["best_step"] == 4000
    best = min(history["looks"], key=lambda look: (look[2], look[1]))
    assert (history["best_step"], history["validation_error"]) == (best[0], best[2])
    assert made.error_of(model, x, noise) == best[2]


def test_a_cut_rate_smoothing_shrinking_and_numbers_reach_the_training() -> None:
    x, y = items()
    levels = {"schedule": "performance", "label_smoothing": "label_smoothing", "clipping": "shrink"}
    made = exported(levels, {"plateau_patience": 0.0, "plateau_factor": 0.5, "smoothing": 0.2})
    assert made.REGIMES["deep"].smoothing == 0.2
    history = made.fit(made.build_model(5, 2), x, y, x, y)
    assert len(history["looks"]) == 4


def test_every_line_says_which_verdict_chose_it() -> None:
    text = torch_file(
        table(
            recipes=(
                recipe(
                    levels={"initializer": "he_normal", "activation": "silu"},
                    chosen_by={"initializer": "row initializer@deep", "activation": "fixed"},
                ),
            )
        )
    )
    assert "# initializer = he_normal: row initializer@deep: confirmed, decided by data;" in text
    assert "# activation = silu: held fixed in the study, not compared" in text
    assert "nobody compared a recipe as a whole" in text


def test_what_the_external_check_said_of_a_recipe_is_said() -> None:
    said = (
        "on 4 task families never touched before the whole recommended recipe of deep loses to the textbook's"
    )
    for changes in ({"recipes": (replace(recipe(), compared=said),)}, {}):
        caveats = () if changes else (said,)  # an older file has it among the caveats alone
        for format in ("python", "optuna", "latex", "markdown"):
            text = " ".join(render(table(row(caveats=caveats), **changes), format).replace("%", " ").split())
            assert "loses to the textbook's" in text
            assert "nobody compared" not in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"setting": Setting(precision="bfloat16")},
            "precision bfloat16 of regime deep: the file trains in float32",
        ),
        ({"levels": {"augmentation": "flip"}}, "augmentation flip of regime deep: items are flat rows here"),
        (
            {"levels": {"warmup": "linear", "schedule": "one_cycle"}},
            "warmup linear of regime deep: torch's scheduler for one_cycle",
        ),
    ],
)
def test_what_cannot_be_written_is_named_in_the_first_lines(changes: dict[str, Any], message: str) -> None:
    defaults = table(recipes=(recipe(**changes),))
    note = left_out(defaults)[0]
    assert note.startswith(message)
    text = torch_file(defaults)
    assert note in " ".join(text.split('"""')[1].split())
    x, y = items()
    made = ran(text)
    assert made.fit(made.build_model(5, 2), x, y, x, y)["diverged_at"] is None


def test_a_combination_that_does_less_than_it_seems_is_said() -> None:
    levels, numbers = {"early_stopping": "patience"}, {"stop_patience": 9.0}
    (note,) = to_know(table(recipes=(recipe(levels=levels, numbers=numbers, setting=SMALL),)))
    assert "validation is looked at too rarely for training ever to stop early" in note


@pytest.mark.parametrize("network", ["own", "cnn", "residual cnn", "mlp | rnn"])
def test_a_network_that_is_not_written_is_left_to_the_user(network: str) -> None:
    """No sentence speaks of a perceptron; the rest of the recipe trains a module of one's own."""
    scope = replace(table().scope, network=network)
    defaults = table(scope=scope, recipes=(recipe(levels={"initializer": "he_normal", "optimizer": "adam"}),))
    text = torch_file(defaults)
    assert "build_model: the study's network" in text
    assert "def build_model" not in text
    assert "model_for" not in text
    made = ran(text)
    x = torch.randn(40, 1, 4, 4, generator=torch.Generator().manual_seed(1)) * 5 + 9
    labels = ["yes" if each else "no" for each in (x.mean(dim=(1, 2, 3)) > 9).tolist()]
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3), torch.nn.Flatten(), torch.nn.Linear(12, 2))
    history = made.fit(model, x, labels, x, labels, total_steps=300, learning_rate=0.01)
    told = made.predict(model, x)
    assert set(told) <= {"yes", "no"}
    wrong = sum(a != b for a, b in zip(told, labels, strict=True)) / 40
    assert (
        wrong == pytest.approx(history["validation_error"]) == pytest.approx(made.error_of(model, x, labels))
    )
    assert wrong < 0.2


def test_hostile_names_stay_names() -> None:
    evil = 'deep"""\nimport os\\'
    text = torch_file(
        table(row(regime=evil, caveats=('"""',)), table='x""" + 1/0 + """', recipes=(recipe(evil),))
    )
    made = ran(text)
    assert list(made.REGIMES) == [evil]
    assert not hasattr(made, "os")
    assert identifiers(["a-b", "a.b", "2", "A-B"]) == {
        "a-b": "a_b",
        "a.b": "a_b_",
        "2": "regime_2",
        "A-B": "a_b__",
    }


NAMES = (
    *(
        "build",
        "build_model",
        "fit",
        "predict",
        "class",
        "None",
        "torch",
        "nn",
        "REGIMES",
        "Regime",
        "deep-1",
    ),
    *(
        "deep 1",
        "DEEP_1",
        "start",
        "scaled",
        "default_regime",
        "math",
        "\U0001f600",
        "ü",
        "copy",
        "array",
        "x",
    ),
)


def test_no_name_of_a_regime_breaks_the_file() -> None:
    """Names of the file's own functions, keywords, and names that come to one identifier."""
    rows = [row(regime=name) for name in NAMES]
    made = ran(torch_file(table(*rows, recipes=tuple(recipe(n, setting=SMALL) for n in NAMES))))
    assert tuple(made.REGIMES) == NAMES
    x, y = items()
    for name in NAMES:
        model = made.build_model(5, 2, regime=name, seed=1)
        assert made.fit(model, x, y, x, y)["best_step"] > 0
        assert len(made.predict(model, x)) == 40
    assert len({id(entry.optimizer) for entry in made.REGIMES.values()}) == len(NAMES)


def test_the_file_trains_digits_in_both_regimes_with_nobody_elses_help(tmp_path: Path) -> None:
    levels = {"initializer": "he_normal", "optimizer": "adamw", "schedule": "one_cycle"}
    easy = Setting(
        depth=12, width=32, residual=True
    )  # as deep as the textbook's "if deep", and quick to train
    both = table(
        row(regime="shallow"),
        row(),
        recipes=(
            recipe("shallow", levels=levels, numbers={"learning_rate": 0.005}),
            recipe("deep", levels={**levels, "normalization": "layer_norm"}, setting=easy),
        ),
    )
    file, data = tmp_path / "recipe.py", tmp_path / "digits.npz"
    file.write_text(torch_file(both), encoding="utf-8")
    digits = TASKS["digits"]()
    handed_over(digits, digits.split("export", 0), data)
    found = trained_alone(file, data)
    assert list(found) == ["shallow", "deep"]
    for before, error, best_step in found.values():
        assert error < 0.3 < before  # ten classes: guessing is 0.9 wrong
        assert best_step > 0
