"""What happened in training is summed up by level, in words, and never judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from reports.evidence.study_record import StudyRecord
from reports.pages.study_page import build
from reports.verdicts.training_diagnostics import COLUMNS, inside
from tests.reports.planted import noisy_errors, planted_study
from trainers.evaluation import Evaluation

SIGNALS = {"he_normal": 1.0, "glorot_normal": 0.5, "torch_default": 1.5}


def study(**more: float) -> StudyRecord:
    """A study whose levels differ in how signals pass; every other member of a level overfits."""
    record = planted_study(
        {"deep": noisy_errors((0.5, 0.0, 0.0))}, diverged=frozenset({("deep", 0, 0, "torch_default", 0)})
    )

    def recorded(row: Evaluation) -> Evaluation:
        if row.status == "diverged":
            return replace(row, diagnostics={"init.signal_factor": 9.0, "loss.exploded_at": 3.0})
        numbers: Mapping[str, float] = {
            "init.signal_factor": SIGNALS.get(row.slot.level, 1.0),
            "init.gradient_factor": 1.0,
            "end.gap": 0.5 if row.slot.index % 2 else 0.1,
            "end.train_loss": 0.2,
            "trivial_loss": 1.0,
            "best.dead_units": 0.25,
            **more,
        }
        return replace(row, diagnostics=numbers)

    return replace(record, evaluations=tuple(recorded(row) for row in record.evaluations))


def test_levels_are_summed_up_over_their_tuned_confirm_members() -> None:
    (table,) = inside(study())
    rows = {row.level: row for row in table.levels}
    titles = [column.title for column in COLUMNS]
    assert {row.members for row in rows.values()} == {8 * 4 * 2}
    assert rows["glorot_normal"].values[titles.index("Signal per layer")] == "×0.5"
    assert rows["he_normal"].values[titles.index("Dead units")] == "25%"
    assert rows["he_normal"].values[titles.index("Calibration error")] == "–"
    assert rows["he_normal"].reading == "50% fits, 50% overfits"


def test_divergence_is_counted_with_its_cause() -> None:
    (table,) = inside(study())
    rows = {row.level: row.diverged for row in table.levels}
    assert rows["he_normal"] == "none"
    assert rows["torch_default"].startswith("1 (")


def test_a_loss_that_exploded_and_came_back_is_told_apart() -> None:
    (table,) = inside(study(**{"loss.exploded_at": 7.0}))
    rows = {row.level: row.diverged for row in table.levels}
    assert rows["he_normal"] == "64 exploded and came back"
    assert rows["torch_default"].endswith("63 exploded and came back")


def test_the_sentence_says_where_signals_fade_and_grow() -> None:
    (table,) = inside(study())
    assert table.sentence == (
        "Before the first step, the signal fades under glorot_normal and grows under torch_default; "
        "the gradient keeps its size under every level (median over members)."
    )


def test_the_page_shows_the_section_only_where_something_was_recorded() -> None:
    silent = planted_study({"deep": noisy_errors((0.5, 0.0, 0.0))})
    assert inside(silent) == ()
    assert "What happened in training" not in build(silent)[0]
    page, _ = build(study())
    assert "What happened in training" in page
    assert "×0.5" in page
    assert all(column.meaning in page for column in COLUMNS)


def test_diagnostics_move_no_answer() -> None:
    silent = planted_study(
        {"deep": noisy_errors((0.5, 0.0, 0.0))}, diverged=frozenset({("deep", 0, 0, "torch_default", 0)})
    )
    told, untold = build(study())[0], build(silent)[0]
    start, end = told.index("<h2>What happened in training"), told.index("<h2>Planned and run")
    without = told[:start].rpartition("<section>")[0] + "<section>" + told[end:]
    assert "".join(without.split()) == "".join(untold.split())
