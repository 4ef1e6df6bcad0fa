"""What a user of image sets meets on the command line; no file of theirs is here."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from studies.cli import invoke

TINY = Path(__file__).parents[1] / "blackbox/tiny.yaml"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GROUNDRULES_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_study_on_a_set_that_is_not_there_ends_with_one_line_that_says_what_to_do(
    command: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = yaml.safe_load(TINY.read_text(encoding="utf-8"))
    data["tasks"] = [*data["tasks"], "cifar10"]
    spec = tmp_path / "images.yaml"
    spec.write_text(yaml.safe_dump(data), encoding="utf-8")
    assert invoke([command, str(spec), "--workspace", str(tmp_path / "ws")]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {spec}: tasks: task 'cifar10'") and said.count("\n") == 1
    assert str(folder / "cifar-10-batches-py" / "data_batch_1") in said
    assert "groundrules download cifar10" in said


def test_names_are_right_before_anything_is_fetched(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["download", "kmnist", "cifar"]) == 2
    assert "unknown image set 'cifar'; did you mean 'cifar10'?" in capsys.readouterr().err
    assert not folder.exists()


def test_an_augmentation_that_a_task_does_not_declare_is_refused_by_the_plan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = yaml.safe_load(TINY.read_text(encoding="utf-8"))
    data.setdefault("fixed", {})["augmentation"] = "flip"
    spec = tmp_path / "flips.yaml"
    spec.write_text(yaml.safe_dump(data), encoding="utf-8")
    assert invoke(["plan", str(spec), "--workspace", str(tmp_path / "ws")]) == 2
    assert "augmentation=flip" in capsys.readouterr().err
