"""Studies on a user's own network: what `plan` refuses, what a ledger knows of it, what is exported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import studies.comparison.protocol
from studies.cli import invoke
from studies.comparison.cost_estimate import outline
from studies.comparison.protocol import comparison_protocol
from studies.comparison.record import protocol_of, study_record
from studies.ledger.ledger import Ledger
from studies.run import run
from studies.search.spec import parse as parse_search
from studies.spec.errors import SpecError
from studies.spec.load import parse
from studies.spec.resolved import ResolvedStudy
from tests.blackbox.program import groundrules
from trainers.evaluation import Evaluation
from trainers.tasks.task import Task
from trainers.tasks.user_tasks import task_book

FILE = '''
import numpy as np
import torch
from torch import nn
from trainers.tasks.task import Task

X = np.random.default_rng(7).normal(size=(300, 4))


class Body(nn.Module):
    """A convolution, and a scale that no initializer reaches."""

    def __init__(self, inputs, outputs, depth):
        super().__init__()
        self.first = nn.Conv1d(1, 6, 3, padding=1)
        self.more = nn.ModuleList(nn.Linear(6 * inputs, 6 * inputs) for _ in range(depth - 1))
        self.noise = nn.Dropout(0.1)
        self.last = nn.Linear(6 * inputs, outputs)
        self.scale = nn.Parameter(torch.ones(6 * inputs))

    def forward(self, x):
        x = torch.relu(self.first(x[:, None])).flatten(1) * self.scale
        for layer in self.more:
            x = torch.relu(layer(x))
        return self.last(self.noise(x))


def reading(inputs, outputs, config):
    return Body(inputs, outputs, config.setting.depth)


def deaf(inputs, outputs, config):
    return Body(inputs, outputs, 1)


def task(name, network, **more):
    return lambda: Task.from_arrays(X, X[:, 0] > 0, kind="classification", name=name, network=network, **more)


def wrong(inputs, outputs, config):
    return nn.Linear(inputs, outputs + 1)


def words():
    ids = np.random.default_rng(3).integers(0, 9, size=(300, 5))
    module = lambda i, o, c: nn.Sequential(nn.Embedding(9, 3), nn.Flatten(), nn.Linear(3 * i, o))
    return Task.from_arrays(ids, ids[:, 0] > 4, kind="classification", name="words", network=module)


TASKS = [
    task("reading", reading), task("deaf", deaf), task("wrong", wrong), words,
    task("said", reading, reads={"width"}),
]
'''

SMALL: dict[str, Any] = {
    "study": "mine",
    "title": "Mine",
    "questions": [{"factor": "optimizer", "levels": ["sgd", "adam"]}],
    "regimes": {"shallow": {"depth": 1}},
    "setting": {"width": 8, "steps": 60, "train_size": 150, "evaluations": 4, "batch_size": 16},
    "nuisance": ["learning_rate"],
    "tasks": ["reading"],
    "budget": {
        "families": 1, "blocks": 1, "trials": 1, "promoted": 1, "promote_seeds": 1, "confirm_seeds": 1,
    },
    "controls": False,
}  # fmt: skip
DEPTHS = {"shallow": {"depth": 1}, "deep": {"depth": 3}}


def small(**changes: Any) -> ResolvedStudy:
    return parse({**SMALL, **changes}, file="mine.yaml")


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    file = tmp_path / "my_tasks.py"
    file.write_text(FILE, encoding="utf-8")
    return file


def notes(spec: ResolvedStudy, tasks: Path) -> tuple[str, ...]:
    return outline(spec, tasks_from=tasks, measured=1e9).notes


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "regimes that it does not read": (
        {"tasks": ["deaf"], "regimes": DEPTHS},
        r"regimes: this network does not read depth: for shallow and deep task 'deaf' builds the same",
    ),
    "regimes that differ in more": (
        {"tasks": ["deaf"], "regimes": {"shallow": {"depth": 1}, "deep": {"depth": 3, "steps": 80}}},
        r"regimes: this network does not read depth",
    ),
    "levels that it does not read": (
        {"tasks": ["deaf"], "regimes": {"all": {}}, "questions": [{"factor": "depth", "levels": [1, 3]}]},
        r"questions\[0\].levels: this network does not read depth: for 1 and 3 task 'deaf'",
    ),
    "widths": (
        {"tasks": ["reading"], "questions": [{"factor": "width", "levels": [4, 8]}]},
        r"questions\[0\].levels: this network does not read width",
    ),
    "what it says it does not read": (
        {"tasks": ["said"], "regimes": {"all": {}}, "questions": [{"factor": "depth", "levels": [1, 3]}]},
        r"1 and 3 differ in depth, and the network of task 'said' declares that it reads width",
    ),
    "a wrong shape": (
        {"tasks": ["wrong"]},
        r"task 'wrong': its network maps 2 items to \(2, 3\); it must be \(2, 2\) \(.*my_tasks.py, line 4",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_network_does_not_read_or_give_is_refused_before_anything_is_trained(
    case: str, tasks: Path, workspace: Path
) -> None:
    changes, said = REFUSED[case]
    with pytest.raises(SpecError, match=said):
        notes(small(**changes), tasks)
    with pytest.raises(SpecError, match=said):
        run(small(**changes), workspace=workspace, tasks_from=tasks, engine="inline")
    assert not (workspace / "ledger.sqlite").exists()


def test_a_network_that_reads_depth_is_taken_and_what_initializers_miss_is_noted(tasks: Path) -> None:
    assert not [n for n in notes(small(regimes=DEPTHS), tasks) if "initializer" in n]
    asked = small(
        questions=[{"factor": "initializer", "levels": ["he_normal", "glorot_normal"]}], regimes=DEPTHS
    )
    assert "task reading: no initializer reaches scale of its network, which keep their own start" in notes(
        asked, tasks
    )
    held = small(fixed={"initializer": "he_normal"})
    assert any("no initializer reaches scale" in note for note in notes(held, tasks))


def test_tokens_are_shown_and_not_asked_about_scaling(tasks: Path) -> None:
    (note,) = (n for n in notes(small(tasks=["words"]), tasks) if "token" in n)
    assert note.startswith("task words: its network is given whole numbers as they are (token ids, int64")
    fixed = comparison_protocol(
        small(
            tasks=["words", "reading"], questions=[{"factor": "input_scaling", "levels": ["z_score", "raw"]}]
        ),
        task_book(tasks),
    )
    assert fixed.candidates("input_scaling") == ("reading",)


def test_the_command_ends_with_two_and_one_message(
    tasks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "mine.yaml"
    study.write_text(json.dumps({**SMALL, "tasks": ["wrong"]}), encoding="utf-8")
    for words in (
        ["plan", str(study)],
        ["run", str(study), "--engine", "inline", "--workspace", str(tmp_path / "w")],
    ):
        assert invoke([*words, "--tasks-from", str(tasks)]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert "its network maps 2 items to (2, 3)" in line and "It is given x: float32 [batch, 4]" in line


def test_a_search_over_depth_of_a_network_that_does_not_read_it_is_refused(tasks: Path) -> None:
    def searched(task: str) -> Any:
        return parse_search(
            {
                "study": "seek", "kind": "search", "tasks": [task], "trials": 6,
                "space": {"depth": [1, 2], "optimizer": ["sgd", "adam"]},
                "setting": {"width": 8, "steps": 20, "train_size": 100, "evaluations": 4, "batch_size": 16},
            },
            file="seek.yaml",
        )  # fmt: skip

    from studies.run import checked

    checked(searched("reading"), task_book(tasks))
    with pytest.raises(SpecError, match=r"space.depth: this network does not read depth"):
        checked(searched("deaf"), task_book(tasks))


# -- weights from outside the factory ----------------------------------------------------------


def test_weights_of_the_import_are_refused_and_seeded_ones_replayed_and_resumed_in_another_process(
    tasks: Path, tmp_path: Path
) -> None:
    study, workspace = tmp_path / "mine.yaml", tmp_path / "w"
    study.write_text(json.dumps({**SMALL, "tasks": ["kept"]}), encoding="utf-8")
    more = 'M = Body(4, 2, 1)\nTASKS.append(task("kept", lambda i, o, c: M))\n'
    here = ["--tasks-from", str(tasks), "--workspace", str(workspace)]

    tasks.write_text(FILE + more, encoding="utf-8")
    refused = groundrules("plan", str(study), *here, cwd=tmp_path, expect=2)
    assert "its weights are drawn when the file is imported; draw them inside" in refused.err
    assert len(refused.err.strip().splitlines()) == 1

    tasks.write_text(f"{FILE}torch.manual_seed(5)\n{more}", encoding="utf-8")
    groundrules("run", str(study), *here, "--engine", "inline", cwd=tmp_path)
    again = groundrules("run", str(study), *here, "--engine", "inline", "--json", cwd=tmp_path)
    assert json.loads(again.out)["trained"] == 0
    with Ledger.open(workspace) as ledger:
        name = ledger.evaluations("mine")[0].slot.id
    groundrules("replay", name, *here, cwd=tmp_path)


# -- an edited network -------------------------------------------------------------------------


def trained(workspace: Path, tasks: Path, **changes: Any) -> Any:
    return run(small(**changes), workspace=workspace, tasks_from=tasks, engine="inline")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("nn.Dropout(0.1)", "nn.Dropout(0.4)", "its source, its modules or shapes"),
        ("torch.relu(layer(x))", "torch.tanh(layer(x))", "its source"),
        ("6, 3, padding=1)", "6, 1)", "its source, its modules or shapes, what it gives"),
    ],
    ids=["rate", "function", "kernel"],
)
def test_an_edited_network_is_never_mixed_with_old_results(
    old: str, new: str, said: str, tasks: Path, workspace: Path
) -> None:
    trained(workspace, tasks)
    tasks.write_text(FILE.replace("def deaf", "# a comment\n\n\ndef deaf"), encoding="utf-8")
    assert trained(workspace, tasks).trained == 0
    assert FILE.count(old) == 1
    tasks.write_text(FILE.replace(old, new), encoding="utf-8")
    with pytest.raises(
        SpecError, match=rf"tasks: the network of task 'reading' changed since 'mine' .*\({said}"
    ):
        trained(workspace, tasks)
    trained(workspace, tasks, study="other")


def as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks are not recorded, as before they were."""
    monkeypatch.setattr(studies.comparison.protocol, "network_facts", lambda task, settings: None)
    monkeypatch.setattr(Task, "content_hash", property(lambda task: task.data_hash))


def test_a_study_from_before_networks_were_recorded_goes_on_with_a_note(
    tasks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        as_it_was(patch)
        before = trained(tmp_path / "old", tasks)
    trained(tmp_path / "new", tasks)
    again = trained(tmp_path / "old", tasks)
    assert (again.trained, again.plan_hash) == (0, before.plan_hash)
    assert any("began before networks were recorded" in note for note in again.notes)
    assert again.plan_hash != trained(tmp_path / "new", tasks).plan_hash

    def numbers(workspace: Path) -> list[Evaluation]:
        with Ledger.open(workspace) as ledger:
            record = study_record(ledger, "mine")
            assert record.facts["reading"].network is not None, "it has one, whether recorded or not"
            row = ledger.study("mine")
            assert protocol_of(row.protocol).hash == row.protocol_hash
            return list(record.evaluations)

    old, new = numbers(tmp_path / "old"), numbers(tmp_path / "new")
    assert [e.curve for e in old] == [e.curve for e in new]
    tasks.write_text(FILE.replace("X[:, 0] > 0", "X[:, 1] > 0"), encoding="utf-8")
    with pytest.raises(SpecError, match="content_hash"):
        trained(tmp_path / "old", tasks)


def test_what_is_exported_speaks_of_the_tasks_own_network(
    tasks: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [{"factor": "initializer", "levels": ["he_normal", "torch_default"]}]
    trained(workspace, tasks, questions=asked, setting={**SMALL["setting"], "steps": 200})
    where = ["--workspace", str(workspace)]
    assert invoke(["export", "mine", "--format", "json", *where]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["scope"]["network"] == "own"
    (row,) = said["rows"]
    assert "on task reading no initializer reaches scale, which keep their own start" in row["caveats"]
    assert invoke(["export", "mine", "--format", "markdown", *where]) == 0
    text = capsys.readouterr().out
    assert "Scope: the tasks' own networks, built at depth 1 and width 8" in text
    assert "perceptron" not in text
    assert invoke(["export", "mine", "--format", "python", *where]) == 0
    written = capsys.readouterr()
    assert "def build_model" not in written.out and "perceptron" not in written.out
    assert "`fit` trains a module of your own" in written.out
    assert "build_model: the study's network (own) is not written out here" in written.err
