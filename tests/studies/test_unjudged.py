"""A study without a task to judge on does not end like a success, and says why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from studies.cli import invoke

TASKS = """
import numpy as np
from trainers.tasks.task import Task


def task(name, share, shift):
    rng = np.random.default_rng(9)
    y = (rng.random(800) < share).astype(int)
    x = rng.normal(size=(800, 4))
    x[:, 0] += shift * y
    return Task.from_arrays(x, y, kind="classification", name=name)


TASKS = [lambda: task("one_in_ten", 0.1, 2), lambda: task("half", 0.5, 6)]
"""
STUDY = {
    "study": "imbalanced",
    "questions": [{"factor": "activation", "levels": ["relu", "tanh"]}],
    "regimes": {"shallow": {"depth": 1}},
    "setting": {"width": 8, "steps": 200, "train_size": 480, "evaluations": 4, "batch_size": 16},
    "nuisance": ["learning_rate"],
    "tasks": ["one_in_ten"],
    "budget": {
        "families": 1, "blocks": 1, "trials": 2, "promoted": 1, "promote_seeds": 1, "confirm_seeds": 1,
    },
    "controls": False,
}  # fmt: skip


def command(folder: Path, *tasks: str) -> list[str]:
    (folder / "tasks.py").write_text(TASKS)
    (folder / "study.yaml").write_text(yaml.safe_dump({**STUDY, "tasks": list(tasks)}))
    where = ["--workspace", str(folder / "w"), "--tasks-from", str(folder / "tasks.py"), "--engine", "inline"]
    return ["run", str(folder / "study.yaml"), *where]


def test_a_study_whose_only_task_is_left_out_ends_with_2_and_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):  # the same command again has nothing to train and no other answer
        assert invoke(command(tmp_path, "one_in_ten")) == 2
        out, err = capsys.readouterr()
        assert " % of its validation items, and by the error rate, the only measure here" in out
        assert "no verdicts (unjudged)" in out
        assert "error: imbalanced: no row has a task that can be judged, so that nothing was compared" in err
    assert invoke([*command(tmp_path, "one_in_ten"), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["verdicts"] == []
    page = (tmp_path / "w" / "reports" / "imbalanced" / "index.html").read_text()
    assert "the most frequent class makes up" in page


def test_one_task_that_can_be_judged_is_enough(tmp_path: Path) -> None:
    assert invoke(command(tmp_path, "one_in_ten", "half")) == 0


def test_a_search_judges_nothing_and_ends_well(tmp_path: Path) -> None:
    search = {"kind": "search", "study": "few", "tasks": ["wine"], "space": {"activation": ["relu", "tanh"]}}
    setting = {"depth": 1, "width": 8, "steps": 20, "evaluations": 4, "train_size": 12, "batch_size": 4}
    file = tmp_path / "search.yaml"
    file.write_text(yaml.safe_dump({**search, "setting": setting, "trials": 2, "generation": 2}))
    assert invoke(["run", str(file), "--workspace", str(tmp_path / "w"), "--engine", "inline"]) == 0
