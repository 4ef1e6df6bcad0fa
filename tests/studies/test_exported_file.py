"""The exported PyTorch file of a really trained study trains alone, and is held against the prediction."""

from __future__ import annotations

from pathlib import Path

import pytest

from reports.evidence.study_record import StudyRecord
from studies.comparison.record import study_record
from studies.ledger.ledger import Ledger
from studies.run import run
from studies.spec.load import parse
from tests.replications.exported_file import Prediction, compared, prediction

STUDY = {
    "study": "exported",
    "questions": [{"factor": "initializer", "levels": ["he_normal", "glorot_normal"]}],
    "regimes": {"shallow": {"depth": 2}, "deep": {"depth": 12, "normalization": "layer_norm"}},
    "setting": {"width": 32, "steps": 150, "evaluations": 5, "train_size": 800},
    "fixed": {"optimizer": "adamw", "schedule": "one_cycle"},
    # Four points are few: rates that train 12 layers in 150 steps.
    "nuisance": {"learning_rate": {"low": 2e-3, "high": 1e-2}},
    "tasks": ["digits"],
    "budget": {
        "families": 1,
        "blocks": 4,
        "trials": 4,
        "promoted": 1,
        "promote_seeds": 1,
        "confirm_seeds": 2,
    },
}


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> StudyRecord:
    workspace = tmp_path_factory.mktemp("exported") / "workspace"
    assert run(parse(STUDY), workspace=workspace, engine="inline").complete
    with Ledger.open(workspace) as ledger:
        return study_record(ledger, "exported")


def test_it_trains_in_every_regime_and_is_held_against_the_study(record: StudyRecord, tmp_path: Path) -> None:
    found = compared(record, "digits", tmp_path)
    assert set(found) == {"shallow", "deep"}
    for error, expected in found.values():
        assert expected.n == 8  # 4 blocks of 2 seeds
        assert expected.low <= expected.mean <= expected.high
        # Whether it lies in the interval is for a real study to say (`tests.replications.exported_file`).
        assert error < 0.6, "guessing among ten digits errs in 90 %"


def test_an_error_outside_is_told() -> None:
    expected = Prediction(low=0.02, high=0.05, mean=0.035, n=8)
    assert [expected.holds(error) for error in (0.01, 0.02, 0.05, 0.06)] == [False, True, True, False]


def test_a_task_that_was_not_judged_predicts_nothing(record: StudyRecord) -> None:
    with pytest.raises(ValueError, match="no confirm trainings on task 'absent'"):
        prediction(record, "absent", {"initializer": "he_normal"}, "deep")
