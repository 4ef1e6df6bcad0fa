"""The page of a search: complete, exploratory from top to bottom, deterministic, safe with hostile names."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path

import pytest

from reports.defaults.best_configuration import FORMATS, best, render
from reports.evidence.budget import TaskFacts
from reports.evidence.search_record import EXPLORATORY, Dimension, SearchRecord
from reports.pages.search_figures import best_tenth, ends
from reports.pages.search_page import build, write_search_report
from search_spaces.config import Config, Setting
from tests.browser import Browser
from tests.reports.test_study_page import HOSTILE, VERDICT_WORDS, Outline
from trainers.evaluation import CurvePoint, Evaluation, Slot, Status

SPACE = (
    Dimension(name="activation", values=("relu", "tanh")),
    Dimension(name="learning_rate", low=1e-4, high=1.0, log=True),
    Dimension(name="weight_decay", low=1e-6, high=1.0, log=True, where=("activation=tanh",)),
)


def trial(number: int, error: float, status: Status = "finished") -> Evaluation:
    """One trial whose error falls to `error`."""
    point = values(number)
    numbers = {name: float(value) for name, value in point.items() if name != "activation"}
    curve = tuple(
        CurvePoint(step=s, train_loss=1 / s, validation_loss=error, validation_metric=e, learning_rate=0.1)
        for s, e in ((10, 2 * error), (20, error))
    )
    return Evaluation(
        slot=Slot(
            study="seek", factor="", task="digits", regime="search", block=0, level="joint", phase="search",
            index=number,
        ),
        arm="tuned",
        config=Config(
            levels={"activation": str(point["activation"]), "optimizer": "adam"},
            numbers=numbers,
            setting=Setting(steps=20, evaluations=2),
        ),
        status=status,
        validation_metric=error,
        validation_loss=error,
        best_step=20,
        curve=curve[:1] if status == "pruned" else () if status == "diverged" else curve,
        steps=10 if status == "pruned" else 20,
    )  # fmt: skip


def values(number: int) -> dict[str, str | float]:
    """A point of the space; weight decay is open for tanh only."""
    rate = 10.0 ** (-4 + 4 * (number % 10) / 10)
    return {"activation": "relu", "learning_rate": rate} | (
        {"activation": "tanh", "weight_decay": 0.01} if number % 2 else {}
    )


@pytest.fixture
def record() -> SearchRecord:
    """Thirty trials: number 7 is the best, some were stopped and one diverged."""
    rows = []
    for number in range(30):
        status: Status = "pruned" if number % 5 == 4 else "diverged" if number == 11 else "finished"
        rows.append(
            trial(number, 0.02 if number == 7 else 0.9 if number == 11 else 0.05 + number / 100, status)
        )
    return SearchRecord(
        name="seek",
        title="A search of thirty trials",
        facts=TaskFacts(
            name="digits", family="digits", real=True, kind="classification", metric="error_rate", items=1797,
            features=64, n_test=449, licence="CC BY 4.0", source="sklearn", content_hash="0123456789abcdef",
        ),
        setting=vars(Setting(steps=20, evaluations=2)),
        fixed={"optimizer": "adam"},
        space=SPACE,
        sampler="tpe",
        pruner="successive_halving",
        generation=10,
        rungs=(1,),
        planned=30,
        evaluations=tuple(rows),
        points=tuple(values(number) for number in range(30)),
        importances=(("learning_rate", 0.7), ("activation", 0.3), ("weight_decay", 0.0)),
        protocol_hash="3f2c9a7716ab00d1",
        versions={"torch": "2.14.1"},
    )  # fmt: skip


def test_the_page_says_what_was_found_and_that_it_is_exploratory(record: SearchRecord) -> None:
    text = Outline(build(record)[0]).text
    assert "trial 7 of 30 0.02 " in text
    assert "30 30 23 6 1 0 540 600" in text  # planned, trained, finished, pruned, diverged, failed, updates
    assert f"{EXPLORATORY[0].upper()}{EXPLORATORY[1:]}" in text
    assert text.lower().count("exploratory") >= 4
    assert "activation=tanh" in text
    assert not VERDICT_WORDS.search(text)
    assert "interim" not in text


def test_every_figure_has_its_data_beside_the_page(record: SearchRecord, tmp_path: Path) -> None:
    page = write_search_report(record, tmp_path / "report")
    tables = {path.stem: list(csv.reader(path.open())) for path in page.parent.glob("*.csv")}
    assert set(tables) == {"best-curve", "history", "importance", "parallel", "slice-1", "slice-2", "slice-3"}
    assert len(tables["history"]) == 1 + 30
    assert [row[3] for row in tables["history"][1:]][7:] == ["0.02"] * 23
    assert len(tables["parallel"]) == 1 + 23  # finished trials only
    assert len(tables["slice-3"]) == 1 + 15  # where weight decay is open
    outline = Outline(page.read_text(encoding="utf-8"))
    assert {f"{name}.csv" for name in tables} <= set(outline.references)
    assert len(outline.ids) == len(set(outline.ids))
    assert not outline.tags & {"script", "link", "img", "iframe"}


def test_equal_searches_give_equal_bytes(record: SearchRecord) -> None:
    assert build(record) == build(replace(record))


def test_an_unfinished_search_is_marked_interim(record: SearchRecord) -> None:
    some = replace(record, evaluations=record.evaluations[:4], points=record.points[:4], importances=())
    text = Outline(build(some)[0]).text
    assert "interim" in text
    assert "4 of 30 trials are there" in text
    assert "Too few trials have finished for importances" in text


@pytest.mark.parametrize("count", [0, 1])
def test_a_search_without_a_finished_trial_has_a_page_and_no_best(record: SearchRecord, count: int) -> None:
    rows = tuple(trial(number, 0.9, "diverged") for number in range(count))
    none = replace(record, evaluations=rows, points=record.points[:count], importances=())
    assert "No trial has finished yet" in Outline(build(none)[0]).text
    with pytest.raises(ValueError, match=rf"'seek': no trial has finished yet \({count} of 30 trained"):
        best(none)


def test_an_error_of_zero_can_be_drawn(record: SearchRecord) -> None:
    perfect = replace(record, evaluations=(trial(0, 0.0), trial(1, 0.0)), points=record.points[:2])
    assert "trial 0 of 30 0 " in Outline(build(perfect)[0]).text
    low, high = ends(perfect)
    assert 0 < low < high


def test_the_best_tenth_are_the_best(record: SearchRecord) -> None:
    assert best_tenth(record) == {7, 0}


def test_names_from_outside_are_text(record: SearchRecord) -> None:
    hostile = replace(record, title=HOSTILE, facts=replace(record.facts, licence=HOSTILE, source=HOSTILE))
    html, _ = build(hostile)
    assert "<script>" not in html
    assert HOSTILE.split("$")[0] in Outline(html).text


@pytest.mark.parametrize("format", FORMATS)
def test_the_exported_configuration_is_complete_and_marked(record: SearchRecord, format: str) -> None:
    text = render(best(record), format)
    assert EXPLORATORY in text.lower()
    for words in ("activation", "tanh", "learning_rate", "weight_decay", "batch_size", "3f2c9a7716ab00d1"):
        assert words in text
    assert not VERDICT_WORDS.search(text)
    assert text == render(best(record), format)


def test_what_the_data_cut_is_said_on_the_page_and_in_every_export(record: SearchRecord) -> None:
    few = replace(record, facts=replace(record.facts, items=400, n_test=100))
    note = "train_size = 1000 means all training items: 240 on digits"
    assert f"{note}." in Outline(build(few)[0]).text
    diverged = replace(few, evaluations=(trial(0, 0.9, "diverged"),), points=few.points[:1], importances=())
    assert f"{note}." in Outline(build(diverged)[0]).text
    assert best(few).caveats == (note,)
    for format in FORMATS:
        assert note in render(best(few), format)
        assert "means all" not in render(best(record), format)
    assert "means all" not in Outline(build(record)[0]).text


def test_the_page_lists_as_the_setting_of_every_trial_what_was_not_searched(record: SearchRecord) -> None:
    """Once searched as a number, once chosen from values."""
    wide = (
        *SPACE,
        Dimension(name="width", low=4, high=16, whole=True),
        Dimension(name="depth", values=(1, 2)),
    )
    points = tuple({**point, "width": 32, "depth": 2} for point in record.points)
    html, _ = build(replace(record, space=wide, points=points))
    held = Outline(html).text.split("setting of every trial")[1]
    listed = held.split("licence")[0]
    assert "steps 20" in listed
    assert "width" not in listed
    assert "depth" not in listed
    assert "depth 2" in Outline(build(record)[0]).text.split("setting of every trial")[1]


def test_an_unknown_format_is_refused(record: SearchRecord) -> None:
    with pytest.raises(ValueError, match="Allowed: json, markdown, yaml"):
        render(best(record), "toml")


def test_a_browser_shows_every_panel(record: SearchRecord, tmp_path: Path, chromium: Browser) -> None:
    page = write_search_report(record, tmp_path / "report")
    chromium.open(page.as_uri())
    assert chromium.complaints() == []
    sizes = chromium.script(
        "return [...document.querySelectorAll('figure svg')].map(e => [e.clientWidth, e.clientHeight])"
    )
    assert len(sizes) == 7
    assert all(width > 200 and height > 100 for width, height in sizes)
    assert chromium.script("return document.documentElement.scrollWidth <= window.innerWidth")


def test_axis_labels_are_short_and_plain(record: SearchRecord) -> None:
    _, pictures = build(record)
    for picture in pictures:
        assert "mathdefault" not in picture.svg
        assert len(re.findall(r"<text", picture.svg)) < 60
