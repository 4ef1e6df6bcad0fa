"""Every number of a search page, of its CSV files and of the exported configuration against the record."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

from reports.defaults.best_configuration import best, render
from reports.evidence.search_record import SearchRecord
from reports.pages.index_page import summarized
from reports.pages.search_page import write_search_report
from tests.reports.pages import Page
from tests.reports.test_search_page import record as planted_search
from trainers.evaluation import Evaluation

BEST = 8


@dataclass(frozen=True, kw_only=True)
class Built:
    record: SearchRecord
    page: Page
    sheets: dict[str, list[list[str]]]


def misleading(row: Evaluation) -> Evaluation:
    """Trial 8 is the best: 7 has its error and more loss, 3 the least loss; 9 was stopped at less error."""
    metric, loss = {
        BEST: (0.02, 0.5), 7: (0.02, 0.6), 3: (0.3, 0.001), 9: (0.01, 0.01)
    }.get(row.slot.index, (row.validation_metric, 1 - row.validation_metric))  # fmt: skip
    curve = tuple(replace(point, validation_loss=loss + point.step) for point in row.curve)
    return replace(row, validation_metric=metric, validation_loss=loss, best_step=10, curve=curve)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    plain: SearchRecord = planted_search.__wrapped__()  # type: ignore[attr-defined]
    record = replace(plain, evaluations=tuple(map(misleading, plain.evaluations)), planned=32)
    folder = tmp_path_factory.mktemp("search")
    text = write_search_report(record, folder).read_text(encoding="utf-8")
    sheets = {path.stem: list(csv.reader(path.open())) for path in folder.glob("*.csv")}
    return Built(record=record, page=Page(text), sheets=sheets)


def the_best(record: SearchRecord) -> Evaluation:
    return record.evaluations[BEST]


def known_by(row: Evaluation) -> float:
    return row.curve[-1].validation_metric if row.status == "pruned" else row.validation_metric


def test_the_best_trial_is_the_finished_one_of_least_error(built: Built) -> None:
    record, row = built.record, the_best(built.record)
    assert record.best == row
    searched = next(table for table in built.page.tables if table.columns == ["Searched", "Value"])
    rate = row.config.numbers["learning_rate"]
    assert searched.rows == [["activation", "relu"], ["learning_rate", f"{rate:.4g}"]]
    assert searched.heading == f"validation error rate, trial {BEST} of 32"
    said = [text for _, text in built.page.paragraphs if text.startswith("Least at step")]
    assert len(said) == 1
    assert said[0].startswith("Least at step 10 of 20. The best of 23 finished trials")
    terms = built.page.terms[""]
    assert (terms["activation"], terms["optimizer"]) == ("relu", "adam")
    assert float(terms["learning_rate"]) == pytest.approx(rate, rel=1e-5)


def test_trials_and_updates_are_counted(built: Built) -> None:
    rows = built.record.evaluations
    count = {
        status: sum(row.status == status for row in rows) for status in ("finished", "pruned", "diverged")
    }
    made = sum(10 if row.status == "pruned" else 20 for row in rows)
    assert built.page.table("How the search went").rows == [
        [
            "32", "30", str(count["finished"]), str(count["pruned"]), str(count["diverged"]), "0", str(made),
            str(20 * 30),
        ]
    ]  # fmt: skip
    summary = summarized(built.record)
    assert (summary.finished, summary.planned, summary.standing) == (30, 32, "interim")
    assert summarized(replace(built.record, planned=30)).standing == "exploratory"


def test_the_data_of_history_and_of_the_best_curve(built: Built) -> None:
    least, expected = math.inf, []
    for row in built.record.evaluations:
        least = min(least, row.validation_metric) if row.status == "finished" else least
        expected.append((row.slot.index, row.status, known_by(row), least, row.steps))
    found = [
        (int(trial), status, float(error), float(so_far), int(steps))
        for trial, status, error, so_far, steps in built.sheets["history"][1:]
    ]
    assert found == expected
    curve = [tuple(map(float, row)) for row in built.sheets["best-curve"][1:]]
    assert curve == [
        (p.step, p.validation_metric, p.validation_loss, p.train_loss, p.learning_rate)
        for p in the_best(built.record).curve
    ]


def test_the_data_of_importances_lines_and_slices(built: Built) -> None:
    record = built.record
    shares = {name: float(share) for name, share in built.sheets["importance"][1:]}
    assert shares == dict(record.importances)
    head, *lines = built.sheets["parallel"]
    assert head == ["trial", "activation", "learning_rate", "weight_decay", "validation_metric"]
    finished = [row for row in record.evaluations if row.status == "finished"]
    assert [int(line[0]) for line in lines] == [row.slot.index for row in finished]
    for line, row in zip(lines, finished, strict=True):
        point = record.points[row.slot.index]
        assert line[1] == point["activation"]
        assert float(line[2]) == point["learning_rate"]
        assert line[3] == ("" if "weight_decay" not in point else str(point["weight_decay"]))
        assert float(line[4]) == row.validation_metric
    for number, name in enumerate(("activation", "learning_rate", "weight_decay"), start=1):
        _, *rows = built.sheets[f"slice-{number}"]
        there = [row for row in record.evaluations if name in record.points[row.slot.index]]
        assert [(int(row[0]), row[1]) for row in rows] == [(row.slot.index, row.status) for row in there]
        for shown, row in zip(rows, there, strict=True):
            assert shown[2] == str(record.points[row.slot.index][name])
            assert float(shown[3]) == known_by(row)


def test_the_space_is_listed(built: Built) -> None:
    assert built.page.table("The space").rows == [
        ["activation", "relu, tanh", "always"],
        ["learning_rate", "0.0001 to 1, log scale", "always"],
        ["weight_decay", "1e-06 to 1, log scale", "activation=tanh"],
    ]


def test_every_field_of_the_exported_configuration(built: Built, tmp_path: Path) -> None:
    record, row = built.record, the_best(built.record)
    found = best(record)
    assert (found.study, found.task, found.metric, found.trial) == ("seek", "digits", "error_rate", BEST)
    assert (found.validation, found.best_step) == (0.02, 10)
    assert found.trials == {"planned": 32, "finished": 23, "pruned": 6, "diverged": 1}
    assert (found.levels, found.numbers) == (dict(row.config.levels), dict(row.config.numbers))
    assert found.setting == vars(row.config.setting)
    assert (found.protocol, found.versions, found.hardware) == (
        "3f2c9a7716ab00d1",
        {"torch": "2.14.1"},
        "cpu",
    )
    for plain in (yaml.safe_load(render(found, "yaml")), json.loads(render(found, "json"))):
        assert plain["validation"] == 0.02
        assert plain["numbers"] == dict(row.config.numbers)
        assert plain["trials"]["finished"] == 23
    said = render(found, "markdown")
    assert f"Trial {BEST} on digits: validation error rate 0.02 at step 10." in said
    assert f"| learning_rate | {row.config.numbers['learning_rate']:g} |" in said.replace("e-0", "e-0")
