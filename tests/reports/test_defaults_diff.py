"""What changed between two tables: moved within ties, or moved by evidence; and what a release keeps."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from reports.defaults.defaults_file import defaults, kept
from reports.defaults.diff import Differences, differences
from reports.defaults.schema import Defaults, LevelEffect, sealed
from reports.export.diff_text import diff_text
from reports.verdicts.verdict import verdicts
from search_spaces.config import Setting
from tests.reports.planted import noisy_errors, planted_study
from tests.reports.tables import number, recipe, row, table

TIED = {"verdict": "tied", "decided_by": "cost_order"}
NAMES = ("a.yaml", "b.yaml")


def between(old: Any, new: Any) -> Differences:
    return differences(old, new, NAMES)


def test_equal_tables_have_no_differences() -> None:
    found = between(table(), table())
    assert not found.any
    assert found.compared == 1
    assert diff_text(found).splitlines() == ["a.yaml -> b.yaml", "Nothing changed: 1 row compared."]


def test_a_move_between_levels_that_both_tables_prove_as_good_is_within_the_tied_set() -> None:
    old = table(row(recommended="he_normal", tied_with=("he_uniform",), **TIED))
    new = table(row(recommended="he_uniform", tied_with=("he_normal",), **TIED))
    (moved,) = between(old, new).rows
    assert (moved.what, moved.before, moved.after) == ("initializer@deep", "he_normal", "he_uniform")
    assert moved.kind == "within_ties"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"tied_with": ("he_uniform",), **TIED}, {"recommended": "he_uniform"}),
        ({}, {"recommended": "he_uniform", "tied_with": ("he_normal",), **TIED}),
        ({}, {"recommended": "glorot_normal", "verdict": "contradicted"}),
        (
            {"tied_with": ("he_uniform",), "decided_by": "fallback"},
            {"recommended": "he_uniform", "tied_with": ("he_normal",), **TIED},
        ),
    ],
)
def test_any_other_move_is_one_of_the_evidence(old: dict[str, Any], new: dict[str, Any]) -> None:
    (moved,) = between(table(row(**old)), table(row(**new))).rows
    assert moved.kind == "evidence"
    assert ": +2.00 margins [+1.50, +2.50] (8 task families)" in moved.because


def test_the_same_level_under_another_verdict_is_a_change() -> None:
    (changed,) = between(table(row()), table(row(verdict="insufficient", decided_by="fallback"))).rows
    assert changed.kind == "verdict"
    assert changed.after == "he_normal (insufficient, fallback)"


def test_rows_come_and_go() -> None:
    extra = row(factor="activation", recommended="silu", textbook=("silu",))
    (new,) = between(table(row()), table(row(), extra)).rows
    (gone,) = between(table(row(), extra), table(row())).rows
    assert (new.what, new.kind, new.before) == ("activation@deep", "added", "-")
    assert (gone.what, gone.kind, gone.after) == ("activation@deep", "removed", "-")


@pytest.mark.parametrize(
    ("new", "kind"),
    [
        (number(value=0.003), "within_range"),
        (number(value=0.01, range=(0.005, 0.02)), "evidence"),
        (number(value=0.003, range=(0.0029, 0.0031)), "evidence"),
    ],
)
def test_a_number_moves_within_its_range_or_beyond(new: Any, kind: str) -> None:
    found = between(table(numbers=(number(),)), table(numbers=(new,)))
    (moved,) = found.numbers
    assert (moved.what, moved.kind) == ("learning_rate@deep, optimizer adamw, row initializer", kind)
    assert found.any


def test_what_else_differs_is_a_note_and_no_change() -> None:
    old = table()
    scope = replace(old.scope, torch="2.15.0", families=12)
    found = between(old, table(scope=scope, recipes=(recipe(setting=Setting(width=128)),)))
    assert not found.any
    assert found.notes == ("scope families 8 -> 12", "scope torch 2.14.1 -> 2.15.0", "deep: width 64 -> 128")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            table(row(regime="wide")),
            "different regimes: only a.yaml has regime deep; only b.yaml has regime wide",
        ),
        (
            table(recipes=(recipe(setting=Setting(depth=30)),)),
            "different regimes: regime deep has depth 2 in a.yaml and 30 in b.yaml",
        ),
        (
            table(recipes=(recipe(setting=Setting(network="rnn")),)),
            "regime deep has network mlp in a.yaml and rnn in b.yaml",
        ),
    ],
)
def test_tables_of_different_regimes_are_never_compared(other: Defaults, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        between(table(), other)


def test_a_table_without_rows_is_not_called_unchanged() -> None:
    empty = sealed(replace(table(), rows=(), recipes=()))
    for other in ("textbook", "framework", empty, table()):
        with pytest.raises(ValueError, match=r"a\.yaml has no rows"):
            between(empty, other)


def test_two_references_are_refused() -> None:
    with pytest.raises(ValueError, match="both references"):
        between("textbook", "framework")


def test_the_textbook_is_a_set_and_may_lack_a_row() -> None:
    file = table(
        row(recommended="he_uniform"),
        row(factor="activation", recommended="relu", textbook=("silu",), tied_with=("silu",), **TIED),
        row(factor="schedule", recommended="linear", textbook=("one_cycle",), verdict="contradicted"),
        row(factor="width", recommended="64", textbook=(), verdict="unlisted"),
    )
    found = between("textbook", file)
    assert [(d.what, d.before, d.after, d.kind) for d in found.rows] == [
        ("activation@deep", "silu", "relu", "within_ties"),
        ("schedule@deep", "one_cycle", "linear", "evidence"),
    ]
    assert found.notes == ("width@deep: the textbook has no such row",)
    assert found.compared == 3
    assert [(d.before, d.after) for d in between(file, "textbook").rows] == [
        ("relu", "silu"),
        ("linear", "one_cycle"),
    ]


def test_the_framework_has_levels_settings_and_numbers() -> None:
    file = table(
        row(recommended="torch_default"),
        row(factor="activation", recommended="silu"),
        row(factor="width", recommended="128"),
        row(factor="learning_rate", recommended="0.01"),
        row(factor="my bundle", recommended="both"),
        numbers=(number(), number(value=0.001), number(name="batch_size", value=64.0, range=(16.0, 64.0)))[
            1:
        ],
    )
    found = between("framework", file)
    assert [(d.what, d.before, d.after) for d in found.rows] == [
        ("activation@deep", "relu", "silu"),
        ("width@deep", "64", "128"),
        ("learning_rate@deep", "0.001", "0.01"),
    ]
    assert found.notes == ("my bundle@deep: the framework has no such row",)
    assert [(d.before, d.after, d.kind) for d in found.numbers] == [("32", "64", "within_range")]


def test_markdown_and_json_say_the_same(tmp_path: Any) -> None:
    old = table(row(recommended="a|b", tied_with=("<script>",), **TIED))
    new = table(row(recommended="<script>", tied_with=("a|b",), **TIED))
    text = diff_text(between(old, new), "markdown")
    assert text.startswith("### Defaults: a.yaml → b.yaml\n")
    (line,) = [line for line in text.splitlines() if line.startswith("| initializer@deep")]
    assert line.replace("\\|", "").count("|") == 6
    assert "<script>" not in text.replace("\\<script\\>", "")
    data = json.loads(diff_text(between(old, new), "json"))
    assert data["changed"] is True
    assert data["rows"][0]["kind"] == "within_ties"
    with pytest.raises(ValueError, match="unknown format of differences 'yaml'"):
        diff_text(between(old, new), "yaml")


@pytest.mark.parametrize(
    ("old", "new", "level"),
    [
        (None, row(), "he_normal"),
        (row(recommended="he_uniform"), row(tied_with=("he_uniform",), **TIED), "he_uniform"),
        (row(recommended="he_uniform"), row(), "he_normal"),
        (row(recommended="he_uniform"), row(decided_by="fallback"), "he_uniform"),
        (row(), row(), "he_normal"),
    ],
)
def test_a_release_keeps_the_old_level_while_it_is_admissible(old: Any, new: Any, level: str) -> None:
    assert kept(old, new) == level


def test_an_export_with_a_previous_table_moves_only_for_evidence() -> None:
    errors = {"shallow": noisy_errors([0, 0, 0], tau=0.1), "deep": noisy_errors([2, 2, 0])}
    study = planted_study(errors)
    alone = defaults(study, verdicts(study))
    assert [r.recommended for r in alone.rows] == ["torch_default", "he_normal"]
    old = replace(
        alone, rows=tuple(replace(r, recommended="glorot_normal", tied_with=()) for r in alone.rows)
    )
    new = defaults(study, verdicts(study), previous=old)
    shallow, deep = new.rows
    assert (shallow.recommended, shallow.decided_by) == ("glorot_normal", "cost_order")
    assert set(shallow.tied_with) == {"torch_default", "he_normal"}
    assert "kept from the last release" in shallow.caveats[-1]
    assert shallow.effect is not None
    assert new.recipe("shallow").levels["initializer"] == "glorot_normal"
    assert deep == alone.rows[1]
    (moved,) = between(alone, new).rows
    assert moved.kind == "within_ties"
    with pytest.raises(ValueError, match="different regimes"):
        defaults(study, verdicts(study), previous=table(row(regime="wide")))


def test_an_unproved_row_falls_back_on_the_last_release() -> None:
    study = planted_study({"deep": noisy_errors([0, 0, 0], tau=3.0)})
    old = table(row(recommended="glorot_normal"), recipes=(recipe(setting=Setting(depth=20)),))
    (deep,) = defaults(study, verdicts(study), previous=old).rows
    assert (deep.recommended, deep.decided_by) == ("glorot_normal", "fallback")
    assert "no level is proved" in deep.caveats[-1]


def with_effects(recommended: str, others: dict[str, float], **more: Any) -> Any:
    return row(
        recommended=recommended,
        effects=tuple(
            LevelEffect(level=name, margins=m, interval=(m - 0.5, m + 0.5), points=3 * m, tasks=8)
            for name, m in others.items()
        ),
        **more,
    )


def test_a_move_quotes_the_pair_that_changed_in_both_tables() -> None:
    """Not the rows' headlines, which compare with glorot_normal."""
    old = with_effects("he_normal", {"lecun_normal": -0.75, "glorot_normal": 2.0})
    new = with_effects("lecun_normal", {"he_normal": 1.25, "glorot_normal": 2.5})
    (moved,) = between(table(old), table(new)).rows
    assert moved.because == (
        "was confirmed, decided by data; lecun_normal against he_normal: -0.75 margins [-1.25, -0.25] "
        "(8 task families); is confirmed, decided by data; he_normal against lecun_normal: +1.25 margins "
        "[+0.75, +1.75] (8 task families)"
    )


def test_a_reference_is_quoted_level_by_level() -> None:
    new = with_effects("lecun_normal", {"he_normal": 1.25, "he_uniform": 0.5, "glorot_normal": 2.5})
    (moved,) = between("textbook", table(new)).rows
    assert "he_normal against lecun_normal: +1.25 margins [+0.75, +1.75]" in moved.because
    assert "he_uniform against lecun_normal: +0.50 margins [+0.00, +1.00]" in moved.because
    assert "glorot_normal" not in moved.because
    said = diff_text(differences("textbook", table(new), ("textbook", "b.yaml")))
    assert "the evidence says otherwise" in said
    assert "the evidence changed" not in said
    assert "positive: A is worse" in said


def test_only_the_regimes_that_both_have_are_compared_and_the_others_named() -> None:
    deeper = recipe("deep", setting=Setting(depth=30))
    old = table(
        row(regime="shallow"),
        row(),
        row(regime="wide"),
        numbers=(number(), number(regime="shallow", value=0.5, range=(0.4, 0.6)), number(regime="wide")),
    )
    new = table(
        row(regime="shallow", recommended="he_uniform"),
        row(recommended="he_uniform"),
        row(regime="narrow"),
        recipes=(recipe("shallow"), deeper, recipe("narrow")),
    )
    found = between(old, new)
    assert [d.what for d in found.rows] == ["initializer@shallow"]
    assert [d.what.split("@")[1].split(",")[0] for d in found.numbers] == ["shallow"]
    assert found.compared == 1
    assert found.notes[:3] == (
        "not compared: regime deep has depth 2 in a.yaml and 30 in b.yaml",
        "not compared: only a.yaml has regime wide",
        "not compared: only b.yaml has regime narrow",
    )
