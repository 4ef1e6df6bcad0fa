"""LaTeX, Markdown and Optuna: the same table in other people's formats."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch

from reports.defaults.defaults_file import load
from reports.defaults.reference_tables import reference
from reports.defaults.schema import Defaults, LevelEffect, Recipe
from reports.export.formats import FORMATS, render
from reports.export.latex import escaped
from search_spaces.catalog import FACTORS
from search_spaces.config import Setting
from studies.commands.options import ExportFormat
from tests.reports.tables import number, recipe, row, table

HOSTILE = r"50% of $x_1$ & \input{secret} #1 {a} ~ ^ < > | \\"


@pytest.fixture
def both() -> Defaults:
    shallow = row(
        regime="shallow",
        recommended="torch_default",
        verdict="tied",
        decided_by="cost_order",
        tied_with=("he_normal",),
    )
    activation = row(
        factor="activation", recommended="silu", verdict="contradicted", textbook=("relu",), effect=None
    )
    return table(shallow, row(), activation)


def test_the_tables_have_the_textbooks_layout(both: Defaults) -> None:
    markdown = render(both, "markdown")
    assert "| Hyperparameter | If shallow | If deep |" in markdown
    assert (
        "| initializer | **torch_default** or he_normal (he_normal or he_uniform: tied) "
        "| **he_normal** (he_normal or he_uniform: confirmed) |"
    ) in markdown
    assert "| activation |  | **silu** (relu: contradicted) |" in markdown
    latex = render(both, "latex")
    assert r"Hyperparameter & If shallow & If deep \\" in latex
    assert r"initializer & \textbf{torch\_default} or he\_normal & \textbf{he\_normal} \\" in latex
    assert r"activation & -- & \textbf{silu} \\" in latex


def structure(latex: str) -> None:
    """Fails unless braces and environments nest, and every line of the tabular has all its cells."""
    bare = re.sub(r"\\textbackslash|\\[\\&%$#_{}]", "", re.sub(r"(?m)^%.*$", "", latex))
    depth = 0
    for char in bare:
        depth += (char == "{") - (char == "}")
        assert depth >= 0
    assert depth == 0
    opened: list[str] = []
    for what, name in re.findall(r"\\(begin|end)\{(\w+)\}", latex):
        if what == "begin":
            opened.append(name)
        else:
            assert opened.pop() == name
    assert opened == []
    body = latex.split(r"\hline")[1:-1]
    lines = [line for part in body for line in part.splitlines() if line.endswith(r"\\")]
    cells = {len(re.findall(r"(?<!\\)&", line)) for line in lines}
    assert len(cells) == 1, cells
    assert not re.search(r"(?<!\\)[#$]|(?<!\\)_", bare)


def test_latex_is_well_formed_whatever_the_names(both: Defaults, tmp_path: Path) -> None:
    named = table(
        row(regime=HOSTILE, factor=HOSTILE, recommended=HOSTILE, textbook=(HOSTILE,), tied_with=("a&b",)),
        table=HOSTILE,
    )
    for file in (both, named):
        text = render(file, "latex")
        structure(text)
        if shutil.which("pdflatex") is not None:
            document = f"\\documentclass{{article}}\\begin{{document}}\n{text}\\end{{document}}\n"
            (tmp_path / "table.tex").write_text(document, encoding="utf-8")
            run = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "table.tex"]
            subprocess.run(run, cwd=tmp_path, check=True, capture_output=True)


def test_the_check_of_the_structure_can_fail(both: Defaults) -> None:
    text = render(both, "latex")
    for broken in (
        text.replace(r"\_", "_"),
        text.replace("\\end{tabular}\n", ""),
        text.replace(" & ", " ", 1),
    ):
        with pytest.raises(AssertionError):
            structure(broken.replace("Hyperparameter If", "Hyperparameter & & If"))


def test_escaping_leaves_no_command_and_no_line_break() -> None:
    said = escaped(HOSTILE + "\n\x00\\end{table}")
    assert "\n" not in said
    assert "\x00" not in said
    assert Counter(said)["{"] == Counter(said)["}"]
    assert r"\input" not in said
    assert r"\end" not in said


def ran(text: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "exported"}
    exec(compile(text, "exported.py", "exec"), names)
    return names


def searchable() -> Defaults:
    chosen = recipe(
        levels={"optimizer": "adamw", "weight_decay": "decoupled"},
        numbers={"learning_rate": 0.002, "weight_decay": 0.01},
        setting=Setting(batch_size=64),
        chosen_by={
            "learning_rate": "row initializer@deep",
            "batch_size": "row initializer@deep",
            "optimizer": "fixed",
        },
    )
    numbers = (
        number(),
        number(name="batch_size", value=64.0, range=(32.0, 128.0)),
        number(optimizer="nesterov", value=0.1, range=(0.05, 0.2)),
    )
    return table(numbers=numbers, recipes=(chosen,))


def test_an_optuna_study_takes_the_file_as_it_is() -> None:
    made = ran(render(searchable(), "optuna"))
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    made["enqueue"](study)
    made["enqueue"](study)
    seen: list[dict[str, Any]] = []

    def objective(trial: optuna.Trial) -> float:
        seen.append(made["suggest"](trial))
        return float(seen[-1]["learning_rate"])

    study.optimize(objective, n_trials=8)
    assert study.trials[0].params == {"learning_rate": 0.002, "batch_size": 64}
    assert study.trials[1].params != study.trials[0].params
    assert all(0.001 <= point["learning_rate"] <= 0.004 for point in seen)
    assert all(isinstance(point["batch_size"], int) and 32 <= point["batch_size"] <= 128 for point in seen)
    assert {point["optimizer"] for point in seen} == {"adamw"}
    assert {(point["weight_decay"], point["weight_decay_kind"]) for point in seen} == {(0.01, "decoupled")}
    assert study.trials[0].distributions == made["distributions"]()
    assert study.ask(made["distributions"]()).params.keys() == {"learning_rate", "batch_size"}


def test_a_recipe_without_tuned_numbers_is_still_a_study() -> None:
    made = ran(render(table(), "optuna"))
    study = optuna.create_study()
    made["enqueue"](study)
    study.optimize(lambda trial: made["suggest"](trial)["learning_rate"], n_trials=1)
    assert study.best_value == 1e-3


def test_an_unknown_regime_is_named_with_the_known_ones() -> None:
    made = ran(render(table(), "optuna"))
    with pytest.raises(ValueError, match="unknown regime 'wide'; known: deep"):
        made["recipe_of"]("wide")


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_offered_and_says_what_is_recommended(both: Defaults, name: str) -> None:
    text = render(both, name)
    assert name in [each.value for each in ExportFormat]
    assert text == render(both, name) and text.endswith("\n")
    for each in both.rows:
        assert each.recommended in text or escaped(each.recommended) in text
        assert each.regime in text
    if FORMATS[name].reads_back:
        assert load(text) == both
    else:
        with pytest.raises(ValueError, match="defaults file"):
            load(text)


@pytest.mark.parametrize("format", [name for name, row in FORMATS.items() if not row.reads_back])
def test_a_table_without_rows_is_no_table(format: str) -> None:
    empty = table(rows=(), recipes=())
    with pytest.raises(ValueError, match=f"has no rows to write as {format}"):
        render(empty, format)


LEVELS = (
    LevelEffect(level="glorot_normal", margins=2.0, interval=(1.5, 2.5), points=3.0, tasks=8),
    LevelEffect(level="zeros", margins=-0.25, interval=(-0.75, 0.125), points=-0.5, tasks=7),
    LevelEffect(level="constant", margins=4.0, interval=None, points=60.0, tasks=8),
)


def told() -> Defaults:
    """A row with every other level's effect, and a level of smaller mean error than the recommended one."""
    return table(
        row(
            effects=LEVELS,
            mean_error={"he_normal": 0.125, "glorot_normal": 0.155, "zeros": 0.12, "constant": 0.725},
            least_error="zeros",
            margin_points=(0.5, 2.25),
            caveats=("one hidden width",),
        )
    )


@pytest.mark.parametrize("format", FORMATS)
def test_every_export_has_every_level_against_the_recommended_one(format: str) -> None:
    text = " ".join(render(told(), format).replace("#", " ").replace("''", "'").split())
    for each in LEVELS:
        assert escaped(each.level) in text or each.level in text
        for value in (each.margins, *(each.interval or ())):
            assert f"{value:+.2f}" in text or str(value) in text, (each.level, value)
    assert "one hidden width" in text
    assert "positive is worse" in text
    assert "smallest difference in a task's test error worth acting on" in text


def test_the_least_mean_error_names_the_level_that_has_it() -> None:
    for format in ("python", "optuna"):
        text = " ".join(render(told(), format).split())
        assert "least mean test error: zeros (0.12); a margin is 0.5 to 2.2 points here" in text
    lines = render(told(), "markdown").splitlines()
    assert [line.split("|")[2].strip() for line in lines if line.endswith("the least |")] == ["zeros"]


def test_latex_with_effects_is_well_formed() -> None:
    text = render(told(), "latex")
    tables = text.split(r"\end{table}")
    assert len(tables) == 3
    for part in tables[:2]:
        structure(part + r"\end{table}")
    assert r"\item initializer@deep: one hidden width." in tables[2]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", ["textbook", "framework"])
def test_a_reference_is_exported_in_every_format_and_says_that_nothing_was_measured(
    name: str, format: str
) -> None:
    text = render(reference(name), format)
    flat = " ".join(text.split())
    assert "othing was measured" in flat or "othing of it was measured" in flat
    assert "0 task families" not in flat
    if FORMATS[format].reads_back:
        assert load(text) == reference(name)
    if format == "optuna":
        assert set(ran(text)["RECIPES"]) == {"shallow", "deep"}


@pytest.mark.parametrize("name", ["textbook", "framework"])
def test_a_reference_has_a_row_for_every_factor_and_runs_as_a_control(name: str) -> None:
    found = reference(name)
    assert {(r.factor, r.regime) for r in found.rows} == {
        (f, r) for f in FACTORS for r in ("shallow", "deep")
    }
    for each in found.rows:
        depth = found.recipe(each.regime).setting.depth
        wanted = FACTORS[each.factor].textbook(depth)[0] if name == "textbook" else None
        assert each.recommended == (wanted or FACTORS[each.factor].framework_default)
        assert found.recipe(each.regime).levels[each.factor] == each.recommended
    made = ran(render(found, "python"))
    x = torch.randn(1000, 3, generator=torch.Generator().manual_seed(1))
    y = (x[:, 0] > 0).long()
    model = made["build_model"](3, 2, seed=1)
    assert made["fit"](model, x, y, x, y)["validation_error"] < 0.5


def test_a_number_says_the_range_of_its_own_row_regime_and_optimizer() -> None:
    """Two regimes and two optimizers, each with a range of its own."""
    both = table(
        row(regime="shallow"),
        row(),
        numbers=(
            number(optimizer="adamw", range=(1e-5, 2e-5), value=1.5e-5),
            number(regime="shallow", optimizer="nesterov", value=0.3, range=(0.25, 0.35)),
            number(factor="activation", optimizer="nesterov", value=0.7, range=(0.65, 0.75)),
            number(optimizer="nesterov", value=0.1, range=(0.05, 0.2)),
        ),
        recipes=(searched_recipe("shallow", 0.3), searched_recipe("deep", 0.1)),
    )
    made = ran(render(both, "optuna"))
    spans = {r: made["RECIPES"][r]["ranges"]["learning_rate"] for r in ("shallow", "deep")}
    assert (spans["shallow"]["low"], spans["shallow"]["high"]) == (0.25, 0.35)
    assert (spans["deep"]["low"], spans["deep"]["high"]) == (0.05, 0.2)
    said = " ".join(render(both, "python").replace("#", " ").split())
    shallow, deep = said.split("Regime deep:")
    assert "0.3: tuned for the row initializer@shallow, mostly between 0.25 and 0.35" in shallow
    assert "0.1: tuned for the row initializer@deep, mostly between 0.05 and 0.2" in deep
    assert "1e-05" not in said


def searched_recipe(regime: str, rate: float) -> Recipe:
    return recipe(
        regime,
        levels={"optimizer": "nesterov"},
        numbers={"learning_rate": rate},
        chosen_by={"learning_rate": f"row initializer@{regime}"},
    )


def test_a_factor_and_a_number_of_one_name_have_a_reason_each() -> None:
    decayed = replace(
        recipe(
            levels={"optimizer": "adamw", "weight_decay": "decoupled"},
            numbers={"weight_decay": 0.03},
            chosen_by={"weight_decay": "fixed", "optimizer": "background"},
        ),
        numbers_chosen_by={"weight_decay": "row initializer@deep"},
    )
    tuned = number(name="weight_decay", value=0.03, range=(0.02, 0.04))
    new = table(numbers=(tuned,), recipes=(decayed,))
    # An older file has one entry for both, of which the number's stood last.
    old = replace(decayed, chosen_by={"weight_decay": "row initializer@deep"}, numbers_chosen_by=None)
    for defaults, of_factor in (
        (new, "held fixed in the study, not compared"),
        (table(numbers=(tuned,), recipes=(old,)), "the defaults file does not say who chose it"),
    ):
        text = " ".join(render(defaults, "python").replace("#", " ").split())
        assert f"weight_decay = decoupled: {of_factor}" in text
        assert "weight_decay = 0.03: tuned for the row initializer@deep, mostly between 0.02 and 0.04" in text
        why = ran(render(defaults, "optuna"))["WHY"]["deep"]
        assert why["weight_decay_kind"] == of_factor
        assert why["weight_decay"].startswith("tuned for the row initializer@deep, mostly between 0.02")


def test_names_of_any_script_reach_the_files_unchanged() -> None:
    name = "tief \U0001f600 \u200d\u00e9\"'\\"
    for format in ("python", "optuna"):
        made = ran(render(table(row(regime=name), recipes=(recipe(name),)), format))
        assert made["DEFAULT_REGIME"] == name
        assert list(made["REGIMES" if format == "python" else "RECIPES"]) == [name]
