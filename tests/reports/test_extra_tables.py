"""The textbook's two other tables: split by background, in stars, exploratory, silent on what was not run."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reports.evidence.arrays import gather
from reports.evidence.study_record import StudyRecord
from reports.pages.extra_tables import OtherTables, other_tables, other_tables_markdown
from reports.pages.initializer_by_activation import least_first, rows_of
from reports.pages.speed_and_quality import QUALITY, SPEED, stars
from reports.pages.study_page import write_report
from reports.pages.textbook_tables import PAIRINGS, STARS
from reports.statistics.compare import block_effects
from search_spaces.catalog import FACTORS
from search_spaces.overrides import Overrides
from tests.reports.planted import LEVELS, noisy_errors, planted_study

BESIDE = {task: ("relu", "tanh")[t % 2] for t, task in enumerate(f"task_{n}" for n in range(8))}
OPTIMIZERS = ("sgd", "adam", "radam")
VERDICT_WORDS = re.compile(r"confirmed|contradicted|insufficient|\btied\b|fallback", re.IGNORECASE)


def with_activations(study: StudyRecord, used: Mapping[str, str]) -> StudyRecord:
    """The same study whose tasks had these activations in the background."""
    rows = tuple(
        replace(
            row, config=replace(row.config, levels={**row.config.levels, "activation": used[row.slot.task]})
        )
        for row in study.evaluations
    )
    return replace(study, evaluations=rows)


def with_looks(study: StudyRecord, curves: Mapping[str, tuple[float, float, float]]) -> StudyRecord:
    """The same study whose confirmed trainings had these validation errors at their three looks."""
    rows = tuple(
        replace(
            row,
            curve=tuple(
                replace(point, validation_metric=value)
                for point, value in zip(row.curve, curves[row.slot.level], strict=True)
            ),
        )
        if row.slot.phase == "confirm"
        else row
        for row in study.evaluations
    )
    return replace(study, evaluations=rows)


def tables(study: StudyRecord) -> OtherTables:
    return other_tables(study, gather(study))


@pytest.fixture(scope="module")
def initializers() -> StudyRecord:
    """He is 2 margins better beside ReLU, Glorot 2 beside tanh."""
    errors = noisy_errors((2, 2, 0), seed=3)
    turned = noisy_errors((2, 0, 2), seed=3)
    errors[1::2] = turned[1::2]
    return with_activations(planted_study({"shallow": errors, "deep": errors}), BESIDE)


@pytest.fixture(scope="module")
def optimizers() -> StudyRecord:
    """Adam is first at the target, SGD needs twice its steps, RAdam never gets there but ends best."""
    study = planted_study(
        {"deep": noisy_errors((1.5, 3.5, 0), tau=0.05, block_sd=0.05)},
        levels=OPTIMIZERS,
        factor="optimizer",
        textbook={"deep": ("adam",)},
    )
    return with_looks(study, {"sgd": (0.5, 0.1, 0.1), "adam": (0.1, 0.1, 0.1), "radam": (0.5, 0.5, 0.5)})


def test_the_textbook_names_levels_that_exist() -> None:
    known = {factor: {level.name for level in FACTORS[factor].levels} for factor in FACTORS}
    assert set(PAIRINGS) <= known["activation"]
    assert {name for names in PAIRINGS.values() for name in names} <= known["initializer"]
    assert set(STARS) <= known["optimizer"]


def test_each_activation_has_its_own_tasks_and_its_own_best_initializer(initializers: StudyRecord) -> None:
    found = {pair.activation: pair for pair in tables(initializers).pairings}
    for activation, best in (("relu", "he_normal"), ("tanh", "glorot_normal")):
        assert [one.regime for one in found[activation].cells] == ["shallow", "deep"]
        for one in found[activation].cells:
            assert (one.least, one.families, one.over, one.paired) == (best, 4, "splits", False)
            assert one.margins < 0
    assert set(PAIRINGS) - {"relu", "tanh"} == {pair.activation for pair in tables(initializers).unpaired}


def test_the_difference_is_to_the_textbooks_pairing_wherever_another_has_less_error() -> None:
    errors = noisy_errors((0, 2, 2), seed=4)
    study = with_activations(planted_study({"deep": errors}), dict.fromkeys(BESIDE, "relu"))
    (relu,) = (pair for pair in tables(study).pairings if pair.cells)
    (one,) = relu.cells
    assert (one.least, one.against, one.paired) == ("torch_default", "he_normal", True)
    effects = block_effects(errors, np.full(8, 0.02))[..., 0, LEVELS.index("he_normal")]
    assert one.margins == pytest.approx(effects.mean())
    assert one.interval[0] < one.margins < one.interval[1]
    assert one.over == "families"


def test_a_pairing_that_was_not_compared_is_not_made_up() -> None:
    study = with_activations(planted_study({"deep": noisy_errors((0, 2, 2))}), dict.fromkeys(BESIDE, "selu"))
    (selu,) = (pair for pair in tables(study).pairings if pair.cells)
    assert selu.textbook == ("lecun_normal", "lecun_uniform")
    assert not selu.cells[0].paired


def test_an_activation_that_the_textbook_does_not_pair_is_shown_after_its_own() -> None:
    study = with_activations(
        planted_study({"deep": noisy_errors((0, 2, 2))}), dict.fromkeys(BESIDE, "softplus")
    )
    last = tables(study).pairings[-1]
    assert (last.activation, last.textbook, len(last.cells)) == ("softplus", (), 1)


def test_the_least_error_is_the_least_against_all_rivals_together() -> None:
    effects = np.array([[0.0, 4.0, -1.0], [-4.0, 0.0, -4.0], [1.0, 4.0, 0.0]])
    assert least_first(effects) == [1, 0, 2]


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0, "★★★"), (1.0, "★★"), (1.99, "★★"), (2.0, "★"), (9.0, "★")]
)
def test_stars_follow_the_stated_rule(value: float, shown: str) -> None:
    assert stars(value, QUALITY) == shown


def test_optimizers_get_stars_for_speed_and_for_quality_apart(optimizers: StudyRecord) -> None:
    found = {row.level: row for row in tables(optimizers).graded}
    measured = {level: found[level].results[0] for level in OPTIMIZERS}
    assert {level: one.quality for level, one in measured.items()} == {
        "sgd": "★★",
        "adam": "★",
        "radam": "★★★",
    }
    assert {level: one.speed for level, one in measured.items()} == {"sgd": "★", "adam": "★★★", "radam": "★"}
    assert measured["sgd"].ratio == pytest.approx((2.0, 2.0, 2.0))
    assert SPEED[1] == 2.0
    assert measured["adam"].ratio is None
    assert measured["radam"].reached == 0.0
    assert measured["radam"].best == "radam"
    assert found["radam"].textbook is None
    assert "momentum" in {row.level for row in tables(optimizers).ungraded}


def test_speed_without_a_target_is_not_measured(optimizers: StudyRecord) -> None:
    blind = replace(
        optimizers, evaluations=tuple(r for r in optimizers.evaluations if r.slot.phase != "pilot")
    )
    found = other_tables(blind, gather(optimizers)).graded
    assert {one.speed for row in found for one in row.results} == {"not measured"}
    assert {one.reached for row in found for one in row.results} == {None}


def test_a_study_without_such_rows_has_no_such_tables() -> None:
    study = planted_study(
        {"deep": noisy_errors((0, 2, 2))},
        levels=("none", "batch_norm", "layer_norm"),
        factor="normalization",
        textbook={"deep": ("batch_norm",)},
    )
    assert tables(study).sheets == ()
    assert other_tables_markdown(tables(study)) == ""


def test_a_row_of_combinations_that_bears_the_factors_name_is_not_split(initializers: StudyRecord) -> None:
    row = gather(initializers)[0]
    plain = {level: Overrides(levels={"initializer": level}) for level in LEVELS}
    mixed = plain | {"he_normal": Overrides(levels={"initializer": "glorot_normal", "activation": "tanh"})}
    stated, combined = (
        replace(row, question=replace(row.question, changes=changes)) for changes in (plain, mixed)
    )
    assert rows_of("initializer", [row, stated, combined]) == [row, stated]
    assert rows_of("optimizer", [row, stated]) == []


def test_the_page_shows_them_without_a_verdict_word_and_has_their_data_beside_it(
    initializers: StudyRecord, tmp_path: Path
) -> None:
    page = write_report(initializers, tmp_path).read_text(encoding="utf-8")
    section = page[page.index('id="other-tables"') :].partition("</section>")[0]
    assert "Exploratory" in section
    assert VERDICT_WORDS.findall(section) == []
    assert 'href="initializer-by-activation.csv"' in section
    head, *rows = csv.reader((tmp_path / "initializer-by-activation.csv").open(encoding="utf-8"))
    assert all(len(row) == len(head) for row in rows)
    assert ["relu", "deep"] in [row[:2] for row in rows]
    assert ["selu", "not covered"] in [row[:2] for row in rows]


def test_in_markdown_every_row_of_the_textbook_is_there(
    initializers: StudyRecord, optimizers: StudyRecord
) -> None:
    first, second = (other_tables_markdown(tables(study)) for study in (initializers, optimizers))
    for text in (first, second):
        assert "Exploratory" in text
        assert VERDICT_WORDS.findall(text) == []
    assert all(f"\n| {name} | " in first for name in PAIRINGS)
    assert "| selu | not covered | lecun_normal or lecun_uniform |" in first
    assert " to glorot_normal, the next | 4 |" in first
    assert "the data splits of these tasks alone" in first
    assert "| adam | deep | ★★★ | ★★★ | 1 | ★★ / ★★★ | ★ |" in second
    assert "| momentum | not covered | ★★ |" in second
    assert "In seconds: not measured" in second


def test_the_optimizers_data_has_a_cell_under_every_heading(optimizers: StudyRecord) -> None:
    sheet = tables(optimizers).graded_sheet
    assert {len(row) for row in sheet.rows} == {len(sheet.columns)}
