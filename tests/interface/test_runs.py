"""Studies and tasks as objects, dicts, names and files: the numbers and messages of the command line."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import groundrules as gr
from groundrules import Results, Task
from groundrules._inputs import as_workspace, with_tasks
from search_spaces.config import Config
from studies.cli import invoke
from studies.ledger.ledger import Ledger
from studies.load_study import load
from studies.run import checked
from tests.blackbox.program import environment
from trainers.tasks import TASKS
from trainers.tasks.user_tasks import task_book

OWN = """
import numpy as np
from groundrules import Task


def stripes() -> Task:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(300, 4))
    return Task.from_arrays(x, (x[:, 0] > 0).astype(int), kind="classification", name="stripes")


TASKS = [stripes]
"""


def stripes() -> Task:
    """The task of the file above."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(300, 4))
    return Task.from_arrays(x, (x[:, 0] > 0).astype(int), kind="classification", name="stripes")


def narrow(inputs: int, outputs: int, config: Config) -> torch.nn.Module:
    """A network of the user's."""
    width = config.setting.width
    return torch.nn.Sequential(
        torch.nn.Linear(inputs, width), torch.nn.ReLU(), torch.nn.Linear(width, outputs)
    )


@pytest.fixture(autouse=True)
def silent(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Nothing is printed unless asked."""
    yield
    said = capsys.readouterr()
    assert said.out == ""


def contents(workspace: Path, study: str) -> list[tuple[str, str]]:
    """Id and results of every evaluation."""
    with Ledger.open(workspace) as ledger:
        return [(e.id, repr((e.test, e.curve))) for e in ledger.evaluations(study)]


def test_a_dict_a_file_and_a_parsed_study_are_one_study(
    tiny: dict[str, Any], trained: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(tiny), encoding="utf-8")
    assert invoke(["run", str(file), "--engine", "inline", "--workspace", str(tmp_path / "w")]) == 0
    assert contents(tmp_path / "w", "tiny") == contents(trained.workspace, "tiny")
    page, theirs = (w / "reports" / "tiny" / "index.html" for w in (tmp_path / "w", trained.workspace))
    assert page.read_bytes() == theirs.read_bytes()
    capsys.readouterr()
    for given in (file, str(file), tiny, load(file)):
        assert checked(with_tasks(given, None)[0], TASKS)[0].hash == trained.record.protocol_hash
    again = gr.run(file, workspace=tmp_path / "w", engine="inline")
    assert again.summary is not None and again.summary.trained == 0
    exported = gr.export("tiny", "json", workspace=tmp_path / "w")
    assert invoke(["export", "tiny", "--format", "json", "--workspace", str(tmp_path / "w")]) == 0
    assert capsys.readouterr().out == exported == trained.export("json")


def test_tasks_may_be_names_objects_functions_and_files(tiny: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(OWN, encoding="utf-8")
    for given in (stripes, stripes(), file, str(file)):
        spec, source = with_tasks(tiny, ["wine", given])
        assert spec.tasks == ("wine", "stripes")
        assert (source == file) == isinstance(given, (str, Path))  # a file is left to the workers
        facts = checked(spec, task_book(source))[0].plain()["facts"]
        assert facts[1]["content_hash"] == stripes().content_hash
    assert with_tasks({**tiny, "tasks": ["stripes", "wine"]}, None, stripes)[0].tasks == ("stripes", "wine")
    assert with_tasks(tiny, None)[1] is None


def test_a_task_with_a_network_of_ones_own_is_trained_and_replayed(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    x = np.random.default_rng(3).normal(size=(200, 3))
    mine = Task.from_arrays(
        x, (x[:, 0] * x[:, 1] > 0).astype(int), kind="classification", name="mine", network=narrow
    )
    study = {
        **tiny,
        "study": "own",
        "questions": [{"factor": "optimizer", "levels": ["nesterov", "adam"]}],
        "regimes": {"all": {}},
    }
    results = gr.run(study, tasks=[mine, stripes], workspace=tmp_path, engine="inline", mlflow=False)
    assert results.complete
    table = results.evaluations()
    assert set(table["task"]) == {"mine", "stripes"}
    own = table[table["task"] == "mine"]["id"].iloc[0]
    assert gr.replay(own, workspace=tmp_path, tasks_from=[mine]).to_the_bit
    with pytest.raises(ValueError, match="unknown task 'mine'"):
        gr.replay(own, workspace=tmp_path)
    assert not (tmp_path / "mlflow.db").exists()


SCRIPT = """
import sys

import numpy as np
import torch

import groundrules as gr

SCALE = 2.0


class Scaled(torch.nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.linear = torch.nn.Linear(inputs, outputs)

    def forward(self, x):
        return self.linear(SCALE * x)


def scaled(inputs, outputs, config):
    return Scaled(inputs, outputs)


def own(name, network=None):
    x = np.random.default_rng(3).normal(size=(200, 3))
    y = (x[:, 0] > 0).astype(int)
    return gr.Task.from_arrays(x, y, kind="classification", name=name, network=network)


if __name__ == "__main__":
    study = eval(sys.argv[1]) | {
        "study": "own",
        "questions": [{"factor": "optimizer", "levels": ["nesterov", "adam"]}],
        "regimes": {"all": {}},
    }
    tasks = [own("scaled", scaled), lambda: own("plain")]
    results = [
        gr.run(study, tasks=tasks, workspace=engine, engine=engine, workers=2, mlflow=False)
        for engine in ("inline", "ray")
    ]
    assert all(one.complete and not one.summary.given_up for one in results), [one.notes for one in results]
    first, second = (one.evaluations() for one in results)
    assert set(first["task"]) == {"scaled", "plain"}
    assert first.equals(second)
    print(results[1].summary.trained, len(second))
"""


def test_tasks_and_networks_of_a_script_are_sent_to_workers_and_give_the_same_numbers(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "script.py", repr(tiny)], cwd=tmp_path, env=environment(), capture_output=True,
        text=True, check=False, timeout=240,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    trained, rows = ran.stdout.split()
    assert trained == rows and int(rows) > 50


def test_a_task_that_cannot_be_sent_says_so(tiny: dict[str, Any], tmp_path: Path) -> None:
    lock = threading.Lock()

    def locked(inputs: int, outputs: int, config: Config) -> torch.nn.Module:
        with lock:
            return narrow(inputs, outputs, config)

    x = np.random.default_rng(3).normal(size=(200, 3))
    mine = Task.from_arrays(x, (x[:, 0] > 0).astype(int), kind="classification", name="mine", network=locked)
    study = {**tiny, "questions": [{"factor": "optimizer", "levels": ["nesterov", "adam"]}]}
    with pytest.raises(
        ValueError, match=r"tasks mine cannot be sent to worker processes \(TypeError: .*inline"
    ):
        gr.run({**study, "regimes": {"all": {}}}, tasks=[mine, "wine"], workspace=tmp_path, workers=1)


@pytest.mark.parametrize(
    ("words", "call"),
    [
        (["plan", "nothing"], lambda w: gr.plan("nothing")),
        (["run", "nothing"], lambda w: gr.run("nothing", workspace=w, engine="inline")),
        (["report", "nothing"], lambda w: gr.write_report("nothing", workspace=w)),
        (["results", "nothing"], lambda w: gr.evaluations("nothing", workspace=w)),
        (["export", "nothing"], lambda w: gr.export("nothing", workspace=w)),
        (
            ["export", "tiny", "--previous", "gone.yaml"],
            lambda w: gr.export("tiny", previous="gone.yaml", workspace=w),
        ),
        (["diff", "nothing", "textbook"], lambda w: gr.diff("nothing", "textbook", workspace=w)),
        (["why", "relu@deep"], lambda w: gr.why("relu@deep", workspace=w)),
        (["why", "gone.yaml", "a@b"], lambda w: gr.why("a@b", file="gone.yaml")),
        (["replay", "ffffffff"], lambda w: gr.replay("ffffffff", workspace=w)),
        (["check", "nothing"], lambda w: gr.check("nothing", workspace=w)),
        (["extend", "tiny"], lambda w: gr.extend("tiny", workspace=w)),
        (["scope", "search"], lambda w: gr.scan_ranges("search", workspace=w)),
        (["status", "nothing"], lambda w: gr.status("nothing", workspace=w)),
        (["logs", "nothing"], lambda w: gr.logs("nothing", workspace=w)),
        (["logs", "tiny", "--follow"], lambda w: gr.logs("tiny", follow=True, workspace=w)),
        (["stop", "tiny"], lambda w: gr.stop("tiny", workspace=w)),
        (["submit", "quickstart"], lambda w: gr.submit("quickstart", workspace=w)),
        (["resume", "nothing"], lambda w: gr.resume("nothing", workspace=w)),
        (["simulate", "--only", "V99"], lambda w: gr.simulate("V99")),
        (["catalog", "nothing"], lambda w: gr.catalog("nothing")),
        (["download", "nothing"], lambda w: gr.download("nothing")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_a_mistake_is_a_value_error_with_the_message_of_the_command(
    words: list[str], call: Any, copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = [] if words[0] in ("plan", "simulate", "catalog", "download") else ["--workspace", str(copied)]
    assert invoke([*words, *there]) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the message is compared below
        call(copied)
    assert told == f"error: {' '.join(str(raised.value).splitlines())}"


def test_an_interrupt_passes_through_and_everything_is_kept(
    tiny: dict[str, Any], trained: Results, tmp_path: Path
) -> None:
    handler = signal.getsignal(signal.SIGINT)
    commits = []

    class Interrupting:
        def __call__(self, work: Any) -> None:
            commits.append(work.finished)
            if work.finished > 20:
                raise KeyboardInterrupt

    from studies.operations.running import train

    with pytest.raises(KeyboardInterrupt):
        train(with_tasks(tiny, None)[0], workspace=tmp_path, engine="inline", display=Interrupting())
    kept = contents(tmp_path, "tiny")
    assert 20 < len(kept) < len(contents(trained.workspace, "tiny"))
    resumed = gr.run(tiny, workspace=tmp_path, engine="inline")
    assert resumed.summary is not None and resumed.summary.trained == resumed.summary.planned - len(kept)
    assert contents(tmp_path, "tiny") == contents(trained.workspace, "tiny")
    assert signal.getsignal(signal.SIGINT) is handler


def test_it_runs_in_a_thread_of_a_notebook_too(tiny: dict[str, Any], tmp_path: Path) -> None:
    found: list[bool] = []
    thread = threading.Thread(
        target=lambda: found.append(gr.run(tiny, workspace=tmp_path, engine="inline", mlflow=False).complete)
    )
    thread.start()
    thread.join(timeout=120)
    assert found == [True]


def test_progress_is_shown_where_it_is_asked_for(
    tiny: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gr.run(tiny, workspace=tmp_path, engine="inline", progress=True, mlflow=False)
    assert "members" in capsys.readouterr().err


def test_results_hold_what_the_commands_write(trained: Results, tmp_path: Path) -> None:
    table = trained.evaluations(timings=True)
    assert trained.summary is not None and len(table) == trained.summary.planned
    assert {"seconds", "committed_ms", "pack"} <= set(table.columns)
    assert trained.report.is_file()
    names = {file.stem for file in trained.report.parent.glob("*.csv")}
    assert set(trained.figures) <= names
    figure = trained.figure(next(iter(trained.figures)))
    assert list(figure.data.columns) == list(figure.columns) and len(figure.data) == len(figure.rows)
    assert figure.svg.startswith('<svg xmlns="http://www.w3.org/2000/svg"') and "var(" not in figure.svg
    assert figure._repr_svg_() == figure.svg
    with pytest.raises(ValueError, match="figure of study 'tiny'"):
        trained.figure("nothing")
    with pytest.raises(ValueError, match="only a search study has a best trial"):
        trained.best  # noqa: B018
    trained.export("yaml", tmp_path / "defaults.yaml")
    assert gr.diff(str(tmp_path / "defaults.yaml"), trained.defaults).any is False
    assert (
        gr.why("activation@shallow", file=tmp_path / "defaults.yaml").row
        == trained.why("activation@shallow").row
    )


def test_a_missing_page_is_written_again(copied: Path) -> None:
    results = gr.load_results("tiny", workspace=copied)
    before = results.report.read_bytes()
    results.report.unlink()
    assert results.report.read_bytes() == before


def test_a_search_study_has_a_best_trial_and_no_verdicts(tmp_path: Path) -> None:
    study = {
        "kind": "search",
        "study": "look",
        "tasks": ["wine"],
        "setting": {"depth": 1, "width": 8, "steps": 20, "evaluations": 4, "batch_size": 16},
        "space": {"activation": ["relu", "tanh"], "learning_rate": None},
        "trials": 12,
        "pruner": "none",
    }
    assert gr.plan(study).to_dict()["trials"] == 12
    results = gr.run(study, workspace=tmp_path, engine="inline", mlflow=False)
    assert results.verdicts == ()
    assert results.best.validation == results.evaluations()["validation_metric"].min()
    assert results.figures
    assert "learning_rate" in results.export("yaml")
    with pytest.raises(ValueError, match="carries no verdicts"):
        results.defaults  # noqa: B018
    with pytest.raises(ValueError, match="has no profile"):
        gr.run(study, workspace=tmp_path, engine="inline", profile="full")


def test_the_workspace_is_where_the_command_would_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GROUNDRULES_WORKSPACE", raising=False)
    assert as_workspace(None) == Path("groundrules-workspace")
    monkeypatch.setenv("GROUNDRULES_WORKSPACE", "/elsewhere")
    assert (as_workspace(None), as_workspace("here")) == (Path("/elsewhere"), Path("here"))


def test_a_part_that_mlflow_lacks_is_a_warning(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from studies.tracking.tracker import Tracker

    monkeypatch.setattr(Tracker, "start", lambda self: setattr(self, "problem", "its disk is full"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gr.run(tiny, workspace=tmp_path, engine="inline")
    assert "MLflow lacks a part: its disk is full" in "".join(str(one.message) for one in caught)
