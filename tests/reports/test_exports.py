"""LaTeX, Markdown and Optuna: the same table in other people's formats."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest

from reports.defaults import render
from reports.exporting.latex import escaped
from reports.recommended import Defaults
from search_spaces.config import Setting
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


@pytest.mark.parametrize("format", ["markdown", "latex", "python", "optuna"])
def test_a_table_without_rows_is_no_table(format: str) -> None:
    empty = table(rows=(), recipes=())
    with pytest.raises(ValueError, match=f"has no rows to write as {format}"):
        render(empty, format)
