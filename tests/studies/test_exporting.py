"""export, diff and why on files and references alone: what is left out is said, and no file forges a line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reports.defaults.defaults_file import load
from reports.defaults.schema import Defaults
from reports.export.formats import FORMATS, render
from search_spaces.config import Setting
from studies.cli import invoke
from tests.reports.tables import number, recipe, row, table

Said = pytest.CaptureFixture[str]


def written(folder: Path, defaults: Defaults, name: str = "a.yaml") -> str:
    file = folder / name
    file.write_text(render(defaults, "json" if name.endswith("json") else "yaml"), encoding="utf-8")
    return str(file)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", ["textbook", "framework", "published"])
def test_what_ships_is_exported_in_every_format(name: str, format: str, tmp_path: Path, capsys: Said) -> None:
    assert invoke(["export", name, "--format", format, "--workspace", str(tmp_path / "none")]) == 0
    text = capsys.readouterr().out
    if format in ("yaml", "json"):
        assert render(load(text), format) == text
    if format in ("python", "optuna"):
        compile(text, "exported.py", "exec")
    assert not (tmp_path / "none").exists()


def test_a_defaults_file_is_exported_in_other_formats(tmp_path: Path, capsys: Said) -> None:
    defaults = table()
    words = ["export", written(tmp_path, defaults), "--workspace", str(tmp_path / "none"), "--format"]
    for format in FORMATS:
        assert invoke([*words, format]) == 0
        assert capsys.readouterr().out == render(load(render(defaults, "yaml")), format)
    assert invoke([*words, "yaml", "--previous", words[1]]) == 2
    assert "--previous goes with a study" in capsys.readouterr().err


def test_what_a_file_leaves_out_is_said_on_the_error_stream(tmp_path: Path, capsys: Said) -> None:
    levels = {"augmentation": "shift", "early_stopping": "patience"}
    setting = Setting(evaluations=3, precision="bfloat16")
    defaults = table(recipes=(recipe(levels=levels, setting=setting),))
    file = written(tmp_path, defaults)
    assert invoke(["export", file, "--format", "python"]) == 0
    said = capsys.readouterr()
    notes = [line.removeprefix("note: ") for line in said.err.splitlines()]
    assert [note.split(":")[0] for note in notes] == [
        "augmentation shift of regime deep",
        "precision bfloat16 of regime deep",
        "regime deep",
    ]
    head = " ".join(said.out.split('"""')[1].split())
    assert all(note in head for note in notes)
    assert invoke(["export", file, "--format", "optuna"]) == 0
    assert capsys.readouterr().err == ""


ENDS = ("\n", "\x0b", "\x85", "\u2028", "\u2029", "\u200b", "\u202e", "\t")


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("place", ["row", "table", "caveat", "task", "scope", "version", "regime"])
def test_no_file_forges_a_line(end: str, place: str, tmp_path: Path, capsys: Said) -> None:
    evil = f"he_normal{end}  caveat: none, all is proved"
    forged: dict[str, Defaults] = {
        "row": table(row(recommended=evil)),
        "table": table(table=evil),
        "caveat": table(row(caveats=(evil,))),
        "task": table(row(tasks=(evil,))),
        "scope": table(scope=replace(table().scope, hardware=evil)),
        "version": table(versions={evil: "1"}),
        "regime": table(row(regime=evil), recipes=(recipe(evil),)),
    }
    # JSON, because it has an escape for each of them.
    file = tmp_path / "a.json"
    file.write_text(render(forged[place], "json"), encoding="utf-8")
    for words in (
        ["why", str(file), "initializer@deep"],
        ["diff", str(file), "textbook"],
        ["diff", "published", str(file)],
        *(["export", str(file), "--format", format] for format in FORMATS),
    ):
        assert invoke(words) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.count("\n") == 1
        assert f"U+{ord(end):04X}" in said.err
        assert str(file) in said.err


def test_why_has_every_effect_with_its_sign_and_the_unit_of_a_margin(tmp_path: Path, capsys: Said) -> None:
    from tests.reports.test_exports import told

    assert invoke(["why", written(tmp_path, told()), "initializer@deep"]) == 0
    text = capsys.readouterr().out
    for line in (
        "  zeros against it: -0.25 margins [-0.75, +0.12], -0.50 points, 7 task families, mean test error "
        "0.12",
        "  constant against it: +4.00 margins (no interval), +60.00 points, 8 task families, mean test error "
        "0.725",
        "  least mean test error: zeros (which proves nothing)",
        "  a margin: 0.5 to 2.2 points of test error on these tasks",
    ):
        assert line in text.splitlines()
    assert "positive is worse" in text
    assert invoke(["why", written(tmp_path, told()), "initializer@deep", "--json"]) == 0
    assert [one["level"] for one in json.loads(capsys.readouterr().out)["row"]["effects"]] == [
        "glorot_normal",
        "zeros",
        "constant",
    ]


def test_diff_of_tables_with_other_regimes_says_what_it_skipped(tmp_path: Path, capsys: Said) -> None:
    old = written(tmp_path, table(row(), row(regime="wide"), numbers=(number(),)), "old.yaml")
    new = written(tmp_path, table(row(), row(regime="narrow"), numbers=(number(),)), "new.yaml")
    assert invoke(["diff", old, new]) == 0
    said = capsys.readouterr().out
    assert f"note: not compared: only {old} has regime wide" in said
    assert f"note: not compared: only {new} has regime narrow" in said
    assert "Nothing changed: 1 row compared." in said


@pytest.mark.parametrize(
    "changes",
    [
        {"levels": {"initializer": "no_such_level"}},
        {"numbers": {"learning_rate": 1e9}},
        {"numbers": {"no_such_number": 1.0}},
    ],
)
@pytest.mark.parametrize("format", ["python", "optuna"])
def test_a_file_with_a_recipe_that_is_none_is_the_users_mistake(
    changes: dict[str, Any], format: str, tmp_path: Path, capsys: Said
) -> None:
    right = recipe()
    wrong = replace(
        right,
        levels={**right.levels, **changes.get("levels", {})},
        numbers={**right.numbers, **changes.get("numbers", {})},
    )
    file = written(tmp_path, table(recipes=(wrong,)))
    assert invoke(["export", file, "--format", format]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("error: ")
    assert "deep" in said
