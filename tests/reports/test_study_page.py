"""One self-contained page per study: complete, well-formed, deterministic, safe with hostile names."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from reports.evidence.arrays import gather
from reports.evidence.study_record import StudyRecord
from reports.pages.extra_tables import TableData
from reports.pages.figures import FigurePanel, forest
from reports.pages.study_page import build, write_report
from reports.verdicts.verdict import judge
from tests.reports.planted import noisy_errors, planted_study

VERDICT_WORDS = re.compile(r"confirmed|contradicted|insufficient|\btied\b|fallback", re.IGNORECASE)
HOSTILE = '<script>alert("x")</script> $x_{ & \' `'
Built = tuple[str, tuple[FigurePanel | TableData, ...]]
VOID = {"meta", "br", "use", "path", "link", "img"}


class Outline(HTMLParser):
    """Checks that tags nest, and collects references, ids and the text outside of styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.ids: list[str] = []
        self.tags: set[str] = set()
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            assert not name.startswith("on"), (tag, name)
            if name in ("href", "src", "xlink:href", "srcset", "action", "data"):
                self.references.append(value or "")
            if name == "id":
                self.ids.append(value or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open, tag
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def study() -> StudyRecord:
    lost = frozenset({("deep", 3, 1, "torch_default", 0)})
    errors = {"shallow": noisy_errors([0, 0, 0], tau=0.1), "deep": noisy_errors([2, 2, 0])}
    return planted_study(errors, diverged=lost)


@pytest.fixture(scope="module")
def built(study: StudyRecord) -> Built:
    return build(study)


@pytest.fixture(scope="module")
def outline(built: Built) -> Outline:
    return Outline(built[0])


def test_the_scope_stands_in_the_first_lines(outline: Outline) -> None:
    start = outline.text[: outline.text.index("evidence")]
    for words in ("2 or 20 hidden layers of width 32", "600 training items", "8 task families", "cpu"):
        assert words in start


def test_every_regime_is_answered_in_a_sentence_with_its_n(outline: Outline) -> None:
    assert "Use torch_default. It makes no practical difference which of" in outline.text
    assert "Use he_normal. The textbook's choice (he_normal) is confirmed." in outline.text
    assert "8 task families (4 real) × 4 blocks × 2 seeds" in outline.text


def test_the_page_accounts_for_every_run_and_names_its_plan(outline: Outline) -> None:
    assert "confirm 768 768 1 0 0" in outline.text
    assert "3f2c9a7716ab00d1 , revision 1" in outline.text
    assert "groundrules 0.1.0" in outline.text
    assert "Weak points" in outline.text


def test_the_headline_says_what_decided_and_that_rows_were_judged_alone(outline: Outline) -> None:
    assert "1 of 2 rows was decided by data, 1 by cost order" in outline.text
    assert "Plan revision 1. The rows were judged one at a time" in outline.text
    assert (
        "for multilayer perceptrons of 2 or 20 hidden layers, 300 updates, on 8 task families" in outline.text
    )


def test_each_section_of_a_row_is_a_question(outline: Outline) -> None:
    for asked in (
        "Would the table say otherwise if levels cost otherwise?",
        "By how much, and do the task families agree?",
        "Do single blocks agree?",
        "How much can each level cost at most?",
        "Would another analysis say otherwise?",
        "Which level gets there soonest?",
        "From which depth on?",
        "Was anything left out?",
        "Did every level get the same budget?",
    ):
        assert asked in outline.text


def test_no_speed_is_claimed_in_seconds(outline: Outline) -> None:
    assert "In seconds: not measured" in outline.text
    assert not re.search(r"\bfaster\b|\bslower\b", outline.text)


def test_nothing_is_fetched_from_anywhere(built: Built, outline: Outline) -> None:
    html, pictures = built
    files = {f"{picture.name}.csv" for picture in pictures}
    for reference in outline.references:
        assert reference.startswith("#") or reference in {*files, "../index.html"}, reference
    assert files <= set(outline.references)
    assert not outline.tags & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    assert "http" not in html.replace("http-equiv", "")
    assert re.findall(r"url\((?!#)", html) == []


def test_ids_are_unique_and_every_inner_link_has_its_target(outline: Outline) -> None:
    assert len(outline.ids) == len(set(outline.ids))
    targets = {reference[1:] for reference in outline.references if reference.startswith("#")}
    assert targets <= set(outline.ids)


def test_every_figure_has_its_data_beside_the_page(study: StudyRecord, tmp_path: Path) -> None:
    page = write_report(study, tmp_path / "report")
    tables = {path.name: list(csv.reader(path.open())) for path in page.parent.glob("*.csv")}
    forest = tables["forest-2-1-initializer-deep-torch_default.csv"]
    assert forest[0] == ["task", "family", "block", "effect_in_margins"]
    assert len(forest) == 1 + 8 * 4
    assert sum(name.startswith("tuning") for name in tables) == 2
    assert sum(name.startswith("rates") for name in tables) == 6
    searched = [row for row in study.evaluations if row.slot.phase == "retune"]
    crosses = [
        row for name, rows in tables.items() if name.startswith("rates") for row in rows if row[-1] == "1"
    ]
    assert len(crosses) == sum(row.status == "diverged" for row in searched) > 0


def test_rebuilding_gives_the_same_bytes_in_another_process_with_another_hash_seed(
    study: StudyRecord, tmp_path: Path
) -> None:
    write_report(study, tmp_path / "here")
    program = (
        "from pathlib import Path; from reports.pages.study_page import write_report\n"
        "from tests.reports.planted import noisy_errors, planted_study\n"
        "errors = {'shallow': noisy_errors([0, 0, 0], tau=0.1), 'deep': noisy_errors([2, 2, 0])}\n"
        "lost = frozenset({('deep', 3, 1, 'torch_default', 0)})\n"
        f"write_report(planted_study(errors, diverged=lost), Path({str(tmp_path / 'there')!r}))\n"
    )
    root = Path(__file__).parents[2]
    environment = {
        "PYTHONHASHSEED": "12345",
        "PYTHONPATH": str(root),
        "TZ": "Asia/Tokyo",
        "HOME": str(tmp_path),
    }
    subprocess.run([sys.executable, "-c", program], check=True, cwd=root, env=environment, timeout=120)
    here = {path.name: path.read_bytes() for path in (tmp_path / "here").iterdir()}
    there = {path.name: path.read_bytes() for path in (tmp_path / "there").iterdir()}
    assert here == there


def test_the_order_of_evaluations_and_of_dictionaries_leaves_the_page_alone(
    study: StudyRecord, built: Built
) -> None:
    turned = replace(
        study,
        evaluations=study.evaluations[::-1],
        margins=study.margins[::-1],
        fixed=dict(sorted(study.fixed.items(), reverse=True)),
        versions=dict(sorted(study.versions.items(), reverse=True)),
        facts=dict(sorted(study.facts.items(), reverse=True)),
        regimes=dict(sorted(study.regimes.items())),
    )
    assert build(turned) == built


def test_hostile_names_are_shown_and_never_run(tmp_path: Path) -> None:
    tasks = [f"{HOSTILE} {t}" for t in range(8)]
    record = planted_study({"deep": noisy_errors([2, 2, 0])}, tasks=tasks)
    record = replace(record, title=HOSTILE, hardware=HOSTILE, versions={**record.versions, "torch": HOSTILE})
    html, _ = build(record)
    outline = Outline(html)
    assert "script" not in outline.tags
    assert HOSTILE in outline.text
    assert "<script" not in html


def test_a_regime_named_like_a_path_writes_only_into_the_folder(tmp_path: Path) -> None:
    record = planted_study({"../../deep": noisy_errors([2, 2, 0])})
    write_report(record, tmp_path / "a" / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]
    assert all(path.is_file() for path in (tmp_path / "a" / "b").iterdir())


def test_a_name_that_looks_like_a_formula_stays_text_in_the_csv(tmp_path: Path) -> None:
    tasks = ["=1+1", *(f"t{t}" for t in range(7))]
    record = planted_study({"deep": noisy_errors([2, 2, 0])}, tasks=tasks)
    write_report(record, tmp_path)
    rows = list(csv.reader((tmp_path / "forest-1-1-initializer-deep-torch_default.csv").open()))
    assert rows[1][0] == "'=1+1"


def test_a_mean_whose_interval_has_no_width_is_still_marked() -> None:
    record = planted_study({"deep": noisy_errors([9, 9, 0])})  # every family at the clip
    (evidence,) = gather(record)
    effect = next(e for e in judge(record, evidence).effects if e.against == "he_normal")
    assert effect.interval == (4.0, 4.0)
    assert re.search(r"<use[^>]*var\(--accent\)", forest("f", evidence, effect).svg)


def test_insufficient_evidence_says_how_many_families_it_would_take() -> None:
    record = planted_study({"deep": noisy_errors([0, 0, 0], tau=1.0, block_sd=1.5, seed=5)})
    text = Outline(build(record)[0]).text
    assert re.search(r"about \d+ families would settle the row", text)
    assert "(fallback, not proved)" in text


def test_an_unfinished_study_has_a_page_without_verdict_words(study: StudyRecord) -> None:
    text = Outline(build(replace(study, evaluations=study.evaluations[:-100]))[0]).text
    assert "Interim, not evidence." in text
    assert VERDICT_WORDS.findall(text) == []


def test_an_adaptively_sampled_study_is_exploratory_and_judges_nothing(study: StudyRecord) -> None:
    text = Outline(build(replace(study, sampler="tpe"))[0]).text
    assert "Exploratory, not evidence." in text
    assert "best so far" in text
    assert VERDICT_WORDS.findall(text) == []


def test_an_unequal_comparison_has_a_page_that_says_why_there_is_no_verdict(study: StudyRecord) -> None:
    older = replace(study.evaluations[-1], versions={**study.versions, "torch": "2.13.0"})
    text = Outline(build(replace(study, evaluations=(*study.evaluations[:-1], older)))[0]).text
    assert "No verdict: the comparison is not sound. evaluations of mixed versions" in text
    assert VERDICT_WORDS.findall(text) == []


def test_fewer_than_eight_families_are_answers_on_these_tasks_and_no_defaults() -> None:
    text = Outline(build(planted_study({"deep": noisy_errors([3, 3, 0], tasks=2)}))[0]).text
    assert "Answers on these tasks, beside the textbook's" in text
    assert "On these tasks: use he_normal." in text
    assert "Recommended default" not in text
    assert "a new family" not in text


def test_replaced_tasks_are_listed_with_their_reason(study: StudyRecord) -> None:
    gone = replace(study.margins[0], task="xor", accepted=False, reason="trained in 2 of 5 seeds")
    text = Outline(build(replace(study, margins=(*study.margins, gone)))[0]).text
    assert "Replaced in shallow: xor . trained in 2 of 5 seeds" in text


def test_a_plan_that_was_abandoned_is_told(study: StudyRecord) -> None:
    text = Outline(build(replace(study, revision=2, abandoned_plans=("aa11",)))[0]).text
    assert "revision 2" in text
    assert "aa11" in text
