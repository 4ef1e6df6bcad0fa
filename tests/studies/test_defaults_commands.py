"""export, diff, why, replay, init and the index: every answer, and one clear error for every bad input."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from reports.defaults.defaults_file import load
from reports.export.formats import render
from studies.cli import invoke
from studies.ledger.ledger import Ledger
from studies.operations import defaults_sources, replay
from studies.run import run
from studies.spec.load import parse
from tests.browser import Browser
from tests.reports.tables import row, table
from tests.studies.planted import TINY
from tests.studies.searches import seek
from trainers.evaluation import Evaluation

Said = pytest.CaptureFixture[str]

STUDY: dict[str, Any] = {
    **TINY,
    "tasks": ["wine", "breast_cancer"],
    "setting": {"width": 8, "steps": 40, "batch_size": 16, "train_size": 64, "evaluations": 2},
    "budget": {
        "families": 2,
        "blocks": 2,
        "trials": 2,
        "promoted": 1,
        "promote_seeds": 1,
        "confirm_seeds": 2,
    },
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a really trained study, and a search beside it; nobody writes to it."""
    workspace = tmp_path_factory.mktemp("finished") / "workspace"
    assert run(parse(STUDY), workspace=workspace, engine="inline").complete
    assert run(seek(tasks=["wine"], trials=18), workspace=workspace, engine="inline").complete
    for study in ("tiny", "seek"):
        assert invoke(["report", study, "--workspace", str(workspace)]) == 0
    return workspace


@pytest.fixture(scope="module")
def file(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its defaults."""
    found = tmp_path_factory.mktemp("exports") / "defaults.yaml"
    assert invoke(["export", "tiny", "--workspace", str(finished), "--output", str(found)]) == 0
    return found


def evaluations(workspace: Path, study: str = "tiny") -> tuple[Evaluation, ...]:
    with Ledger.open(workspace) as ledger:
        return ledger.evaluations(study)


def mistaken(words: Sequence[str | Path], capsys: Said) -> str:
    """The one line that a mistake is answered with."""
    capsys.readouterr()
    assert invoke([str(word) for word in words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    return said.err


@pytest.mark.parametrize("format", ["yaml", "json", "markdown", "latex", "python", "optuna"])
def test_a_study_is_exported_in_every_format(finished: Path, capsys: Said, format: str) -> None:
    assert invoke(["export", "tiny", "--workspace", str(finished), "--format", format]) == 0
    text = capsys.readouterr().out
    assert "initializer" in text
    if format in ("yaml", "json"):
        assert render(load(text), format) == text
    if format in ("python", "optuna"):
        compile(text, "exported.py", "exec")


def test_a_search_exports_its_best_configuration_only(finished: Path, capsys: Said) -> None:
    said = mistaken(["export", "seek", "--format", "python", "--workspace", finished], capsys)
    assert "Allowed: json, markdown, yaml" in said


def test_a_file_does_not_differ_from_its_study(finished: Path, file: Path, capsys: Said) -> None:
    assert invoke(["diff", str(file), "tiny", "--workspace", str(finished)]) == 0
    assert "Nothing changed: 2 rows compared." in capsys.readouterr().out


def test_a_difference_is_exit_1_and_told_in_each_format(tmp_path: Path, capsys: Said) -> None:
    old, new = tmp_path / "old.yaml", tmp_path / "new.json"
    tied = {"verdict": "tied", "decided_by": "cost_order"}
    old.write_text(render(table(row(tied_with=("he_uniform",), **tied)), "yaml"), encoding="utf-8")
    other = row(recommended="he_uniform", tied_with=("he_normal",), **tied)
    new.write_text(render(table(other), "json"), encoding="utf-8")
    words = ["diff", str(old), str(new)]
    assert invoke(words) == 1
    assert "moved within the tied set" in capsys.readouterr().out
    assert invoke([*words, "--format", "json"]) == 1
    assert json.loads(capsys.readouterr().out)["rows"][0]["kind"] == "within_ties"
    assert invoke([*words, "--format", "markdown", "--output", str(tmp_path / "said.md")]) == 1
    assert (tmp_path / "said.md").read_text(encoding="utf-8").startswith("### Defaults")
    # The textbook names he_uniform beside he_normal; the framework's default is another initializer.
    for reference, code in (("textbook", 0), ("framework", 1)):
        assert invoke(["diff", str(new), reference]) == code
        assert invoke(["diff", reference, str(new)]) == code


def test_every_mistake_about_tables_is_one_clear_line(
    finished: Path, file: Path, tmp_path: Path, capsys: Said
) -> None:
    text = file.read_text(encoding="utf-8")
    bad = {
        "schema.yaml": text.replace("schema: 1\n", "schema: 9\n"),
        "cut.yaml": text[: len(text) // 2],
        "edited.yaml": text.replace("recommended: ", "recommended: not_", 1),
        "other.yaml": render(table(row(regime="wide")), "yaml"),
        "binary.yaml": None,
    }
    for name, content in bad.items():
        path = tmp_path / name
        path.write_bytes(b"\xff\xfe\x00") if content is None else path.write_text(content, encoding="utf-8")
    rules = {
        "schema.yaml": "schema 9 is not known here",
        "cut.yaml": "cut.yaml",
        "edited.yaml": "was changed after it was written",
        "other.yaml": "different regimes",
        "binary.yaml": "must be UTF-8 text",
        "absent.yaml": "no file",
    }
    for name, rule in rules.items():
        said = mistaken(["diff", file, tmp_path / name, "--workspace", finished], capsys)
        assert rule in said
        assert name in said
        said = mistaken(["export", "tiny", "--previous", tmp_path / name, "--workspace", finished], capsys)
        assert name in said or rule in said
    assert "both references" in mistaken(["diff", "textbook", "framework"], capsys)
    assert "search study" in mistaken(["diff", "seek", "textbook", "--workspace", finished], capsys)


def test_what_is_published_ships_or_says_that_it_does_not(capsys: Said) -> None:
    if defaults_sources.PUBLISHED_FILE.is_file():
        assert invoke(["export", "published", "--format", "python"]) == 0
        assert invoke(["diff", "published", "published"]) == 0
        assert "--previous" in mistaken(["export", "published", "--previous", "a.yaml"], capsys)
        return
    for words in (["export", "published"], ["diff", "published", "textbook"], ["why", "published", "a@b"]):
        assert "ships no published defaults yet" in mistaken(words, capsys)


def test_what_ships_is_exported_compared_and_explained(
    finished: Path, file: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defaults_sources, "PUBLISHED_FILE", file)
    assert invoke(["export", "published", "--format", "python"]) == 0
    compile(capsys.readouterr().out, "exported.py", "exec")
    assert invoke(["diff", "published", str(file)]) == 0
    capsys.readouterr()
    assert invoke(["export", "tiny", "--previous", "published", "--workspace", str(finished)]) == 0
    assert capsys.readouterr().out == file.read_text(encoding="utf-8")
    assert invoke(["why", "published", "initializer@deep"]) == 0
    assert "confirm evaluations of published" in capsys.readouterr().out


def test_why_shows_a_rows_evidence_from_the_workspace(finished: Path, capsys: Said) -> None:
    words = ["why", "initializer@deep", "--workspace", str(finished)]
    assert invoke(words) == 0
    text = capsys.readouterr().out
    for said in ("initializer@deep: ", "decided by", "tasks: wine", "evidence: ", "groundrules replay ID"):
        assert said in text
    assert invoke([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    confirmed = {
        e.id: e.slot.level
        for e in evaluations(finished)
        if (e.slot.phase, e.slot.regime, e.arm) == ("confirm", "deep", "tuned")
    }
    listed = {id: level for level, known in told["levels"].items() for id in known["evaluations"]}
    assert listed == confirmed
    assert told["row"]["evaluations"] == len(confirmed)


def test_why_shows_a_rows_evidence_from_a_file_alone(file: Path, tmp_path: Path, capsys: Said) -> None:
    assert invoke(["why", str(file), "initializer@shallow", "--workspace", str(tmp_path / "none")]) == 0
    text = capsys.readouterr().out
    assert "initializer@shallow: " in text
    assert "the evaluations are in the workspace" in text


def test_mistakes_about_rows_are_one_clear_line(finished: Path, file: Path, capsys: Said) -> None:
    place = ["--workspace", str(finished)]
    assert "called factor@regime" in mistaken(["why", "initializer", *place], capsys)
    assert "did you mean 'initializer@deep'" in mistaken(["why", "initialiser@deep", *place], capsys)
    assert "did you mean 'initializer@deep'" in mistaken(["why", file, "initializer@dep"], capsys)
    assert "unknown study" in mistaken(["why", "initializer@deep", "--study", "tinny", *place], capsys)
    assert "cannot be read" in mistaken(["why", "absent.yaml", "initializer@deep"], capsys)
    assert "not 3 words" in mistaken(["why", "a", "b", "c", *place], capsys)
    assert "--study goes with" in mistaken(["why", file, "initializer@deep", "--study", "tiny"], capsys)


def test_a_row_that_two_studies_answer_needs_the_study(finished: Path, tmp_path: Path, capsys: Said) -> None:
    from tests.studies.planted import agenda_of, planned, started, tiny, train_all

    workspace = tmp_path / "workspace"
    for name in ("one", "two"):
        ledger, fixed = started(workspace, planned(tiny(study=name)))
        with ledger:
            train_all(agenda_of(ledger, fixed))
    said = mistaken(["why", "initializer@deep", "--workspace", workspace], capsys)
    assert "--study one or two" in said
    assert invoke(["why", "initializer@deep", "--study", "two", "--workspace", str(workspace)]) == 0
    assert "study two" in capsys.readouterr().out


def test_every_kind_of_evaluation_is_trained_again_to_the_same_end(finished: Path, capsys: Said) -> None:
    everything = [*evaluations(finished), *evaluations(finished, "seek")]
    kinds: dict[tuple[str, ...], Evaluation] = {}
    for e in everything:
        kinds.setdefault((e.slot.study, e.slot.phase, e.arm, e.status), e)
    kinds |= {("last", *key[1:]): e for e in everything for key in [(e.slot.study, e.slot.phase, e.arm)]}
    assert {phase for _, phase, *_ in kinds} == {"pilot", "retune", "promote", "confirm", "search"}
    assert {"pruned"} <= {e.status for e in kinds.values()}
    for e in kinds.values():
        found = replay.replay(finished, e.id)
        assert found.same, (e.slot, found.lines())
        assert found.now.curve[0].train_loss == pytest.approx(e.curve[0].train_loss, rel=1e-4)
    assert invoke(["replay", everything[0].id[:12], "--workspace", str(finished)]) == 0
    text = capsys.readouterr().out
    assert "learning_rate" in text
    assert "the same" in text.splitlines()[-1]
    assert invoke(["replay", everything[0].id, "--workspace", str(finished), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["same"] is True


def test_a_replay_that_comes_out_differently_says_so(
    finished: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = next(e for e in evaluations(finished) if e.slot.phase == "confirm")
    real = replay.member_again

    def other(*arguments: Any) -> Any:
        from dataclasses import replace

        return replace(real(*arguments), salt="another stream", seed_index=77)

    monkeypatch.setattr(replay, "member_again", other)
    monkeypatch.setattr(replay, "SHARE_OF_MARGIN", 0.0)
    assert invoke(["replay", chosen.id, "--workspace", str(finished)]) == 1
    assert "NOT the same" in capsys.readouterr().out


def test_mistakes_about_evaluations_are_one_clear_line(
    finished: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = ["--workspace", str(finished)]
    assert "no evaluation's id" in mistaken(["replay", "xyz", *place], capsys)
    assert "no evaluation's id" in mistaken(["replay", "abc", *place], capsys)
    assert "has an id that begins with" in mistaken(["replay", "f" * 20, *place], capsys)
    assert "no ledger here" in mistaken(["replay", "f" * 20, "--workspace", "/nowhere"], capsys)
    one = evaluations(finished)[0].id
    assert "device 'cuda:9'" in mistaken(["replay", one, "--device", "cuda:9", *place], capsys)
    monkeypatch.setattr(replay, "SHORTEST", 1)
    assert "begin with" in mistaken(["replay", one[0], *place], capsys)
    from trainers.tasks import TASKS

    monkeypatch.setattr(replay, "task_book", lambda _: {**TASKS, "wine": TASKS["digits"]})
    wine = next(e for e in evaluations(finished) if e.slot.task == "wine")
    assert "has other data than study 'tiny'" in mistaken(["replay", wine.id, *place], capsys)
    monkeypatch.setattr(replay, "task_book", lambda _: {"digits": TASKS["digits"]})
    assert "--tasks-from FILE.py" in mistaken(["replay", wine.id, *place], capsys)


def test_init_writes_a_study_that_plan_accepts_and_overwrites_nothing(tmp_path: Path, capsys: Said) -> None:
    folder = tmp_path / "mine"
    assert invoke(["init", str(folder)]) == 0
    said = capsys.readouterr().out
    study, tasks = folder / "study.yaml", folder / "tasks.py"
    assert f"groundrules plan {study} --tasks-from {tasks}" in said
    words = ["plan", str(study), "--tasks-from", str(tasks), "--workspace", str(tmp_path / "w"), "--json"]
    assert invoke(words) == 0
    told = json.loads(capsys.readouterr().out)
    assert "my_table" in told["tasks"]["activation"]["shallow"]
    assert all(len(names) >= 8 for names in told["tasks"]["activation"].values())
    tasks.write_text("# mine", encoding="utf-8")
    study.unlink()
    assert "exist already; nothing was written" in mistaken(["init", folder], capsys)
    assert not study.exists()
    assert tasks.read_text(encoding="utf-8") == "# mine"
    assert "cannot write into" in mistaken(["init", tasks / "below"], capsys)


def test_the_index_lists_every_study_and_every_page_leads_to_it(finished: Path, capsys: Said) -> None:
    page = finished / "reports" / "index.html"
    text = page.read_text(encoding="utf-8")
    assert text.index('href="seek/index.html"') < text.index('href="tiny/index.html"')
    assert 'href="tiny/defaults.yaml"' in text
    assert "initializer@deep" in text
    for study in ("tiny", "seek"):
        assert 'href="../index.html"' in (page.parent / study / "index.html").read_text(encoding="utf-8")
    assert invoke(["report", "tiny", "--workspace", str(finished)]) == 0
    assert page.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("width", [1400, 400])
def test_a_browser_shows_the_index_without_a_complaint(
    finished: Path, chromium: Browser, width: int, tmp_path: Path
) -> None:
    chromium.resize(width, 900)
    page = finished / "reports" / "index.html"
    chromium.open(page.as_uri())
    seen = chromium.wait_for("Studies of this workspace")
    assert "initializer@deep" in seen
    assert chromium.complaints() == []
    assert chromium.script("return document.documentElement.scrollWidth <= window.innerWidth")
    assert chromium.script("return performance.getEntriesByType('resource').length") == 0
    chromium.screenshot(tmp_path / f"index-{width}.png")
    chromium.click("//a[contains(@href, 'tiny/index.html')]")
    chromium.wait_for("All studies of this workspace")
    chromium.click("//a[@href='../index.html']")
    chromium.wait_for("Studies of this workspace")


def test_the_workflow_that_projects_copy_is_a_workflow() -> None:
    file = Path(__file__).parents[2] / "infra" / "defaults-diff.yaml"
    text = file.read_text(encoding="utf-8")
    flow = yaml.safe_load(text)
    assert flow[True] == {"pull_request": {"paths": ["defaults.yaml"]}}  # YAML 1.1 reads `on` as true
    (job,) = flow["jobs"].values()
    assert flow["permissions"] == {"contents": "read", "pull-requests": "write"}
    assert all(("uses" in step) != ("run" in step) for step in job["steps"])
    (compare,) = [step["run"] for step in job["steps"] if "groundrules diff" in step.get("run", "")]
    assert "--format markdown" in compare
