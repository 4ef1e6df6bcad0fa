"""A study over each factor and each setting ships, in ten lines, and runs to its report."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from reports import validity_status
from reports.pages.study_page import write_report
from reports.verdicts.verdict import verdicts
from search_spaces.catalog import FACTORS
from search_spaces.config import SETTING_NAMES
from studies.cli import invoke
from studies.comparison.meaningless_levels import examine
from studies.comparison.protocol import protocol
from studies.comparison.record import study_record
from studies.ledger.ledger import Ledger
from studies.run import run
from studies.spec.load import load, parse, shipped
from trainers.tasks import ROLES
from trainers.tasks.user_tasks import task_book

BOOK = task_book(None)
OF_SEVERAL = ["guidelines", "crossover"]
OF_ONE_FACTOR = [name for name in shipped() if name not in ("quickstart", "search", *OF_SEVERAL)]
UNASKED = {"evaluations"}
"""How often we look, which is no way to train."""


def test_every_factor_and_every_setting_has_a_study_of_its_own_name() -> None:
    wanted = {*FACTORS, *SETTING_NAMES} - UNASKED
    assert wanted - set(shipped()) == set()
    for name in wanted:
        assert name in {question.factor for question in load(name).asked}


LEAST = {
    "width": [8, 16],
    "depth": [1, 2],
    "steps": [40, 60],
    "train_size": [200, 300],
    "batch_size": [16, 32],
}
"""Setting -> values that train in no time."""


@pytest.mark.parametrize("name", OF_ONE_FACTOR)
def test_it_takes_ten_lines(name: str) -> None:
    lines = shipped()[name].read_text(encoding="utf-8").splitlines()
    asked = lines[: lines.index("claims:")] if "claims:" in lines else lines  # what texts say comes last
    said = [line for line in asked if line.strip() and not line.lstrip().startswith("#")]
    assert len(said) <= 10
    assert max(map(len, lines)) <= 110


@pytest.mark.parametrize("name", [*OF_ONE_FACTOR, *OF_SEVERAL])
def test_it_uses_no_task_that_is_kept_for_the_end(name: str) -> None:
    assert {ROLES[task] for task in load(name).tasks} == {"race"}


@pytest.mark.parametrize("name", [*OF_ONE_FACTOR, *OF_SEVERAL])
def test_its_combinations_mean_something_on_all_of_its_tasks(name: str) -> None:
    examine(protocol(load(name), BOOK), BOOK)


def test_it_is_planned_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["plan", "dropout_rate"]) == 0
    said = capsys.readouterr().out
    assert "dropout_rate in little: digits, " in said


@pytest.mark.parametrize("name", OF_ONE_FACTOR)
def test_it_runs_to_its_report(name: str, workspace: Path) -> None:
    """All levels, one task, one regime, a few steps of a narrow network: the way, not the answer."""
    data = yaml.safe_load(shipped()[name].read_text(encoding="utf-8"))
    regime, change = next(iter(load(name).spec.regimes.items()))
    small = {"width": 32, "depth": 4, "steps": 60, "evaluations": 15, "train_size": 300, "batch_size": 32}
    question = load(name).understood[0]
    spec = parse(
        {
            **data,
            "questions": [{"factor": question.name, "levels": LEAST.get(name, question.said())}],
            "regimes": {regime: {key: value for key, value in change.items() if key not in small}},
            "setting": {**data["setting"], **small},
            "claims": [claim for claim in data.get("claims", ()) if claim["regimes"] == [regime]],
            "tasks": data["tasks"][:1],
            "budget": {"families": 1, "blocks": 1, "trials": 1, "promoted": 1, "confirm_seeds": 1},
        },
        file=f"{name}.yaml",
    )
    summary = run(spec, workspace=workspace, engine="inline")
    assert summary.complete
    with Ledger.open(workspace) as ledger:
        record = study_record(ledger, spec.study)
    now = validity_status(record)
    assert now.kind == "evidence", now.reason
    (verdict,) = verdicts(record)
    assert verdict.factor == name
    assert write_report(record, workspace / "page").is_file()
