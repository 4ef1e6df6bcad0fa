"""What the README shows works as shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from studies.cli import invoke
from studies.load_study import load as load_any
from studies.search.spec import SearchSpec
from studies.spec.load import load
from trainers.tasks import FAMILIES
from trainers.tasks.user_tasks import load_user_tasks

TEXT = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def block(language: str, holding: str) -> str:
    """The fenced block of that language with those words in it."""
    (found,) = [text for text in re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL) if holding in text]
    return str(found)


def test_the_study_it_shows_is_a_study(tmp_path: Path) -> None:
    file = tmp_path / "my_study.yaml"
    file.write_text(block("yaml", "study: my-activations"), encoding="utf-8")
    study = load(file)
    assert set(study.tasks) - set(FAMILIES) == {"churn"}, "every other task it names ships"


def test_the_questions_it_shows_can_be_asked(tmp_path: Path) -> None:
    file = tmp_path / "my_study.yaml"
    asked = yaml.safe_load(block("yaml", "factor: recipe"))
    shown = yaml.safe_load(block("yaml", "study: my-activations"))
    kept = {key: shown[key] for key in ("study", "regimes", "setting", "tasks", "budget")}
    text = yaml.safe_dump({**kept, **asked, "fixed": {"dropout": "dropout"}, "nuisance": ["learning_rate"]})
    file.write_text(text, encoding="utf-8")
    assert [q.name for q in load(file).understood] == ["optimizer", "dropout_rate", "batch_size", "recipe"]


def test_the_search_it_shows_is_a_search(tmp_path: Path) -> None:
    file = tmp_path / "my_search.yaml"
    file.write_text(block("yaml", "kind: search"), encoding="utf-8")
    search = load_any(file)
    assert isinstance(search, SearchSpec)
    assert set(search.tasks) <= set(FAMILIES)


def test_the_task_file_it_shows_makes_that_task(tmp_path: Path) -> None:
    table = tmp_path / "churn.csv"
    lines = [f"{i % 7},{i * i % 11},{i % 2}" for i in range(60)]
    table.write_text("\n".join(["calls,days,left", *lines]), encoding="utf-8")
    file = tmp_path / "my_tasks.py"
    file.write_text(block("python", "TASKS").replace("churn.csv", str(table)), encoding="utf-8")
    assert load_user_tasks(file)["churn"]().n_classes == 2


def test_the_commands_it_lists_are_those_of_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    listed = set(re.findall(r"^    groundrules (\w+) ", TEXT, re.MULTILINE))
    assert invoke(["--help"]) == 0
    known = set(re.findall(r"^\s+(\w+)  ", capsys.readouterr().out.split("Commands:")[1], re.MULTILINE))
    assert listed == known


def test_the_readme_of_the_tests_names_files_and_folders_that_exist() -> None:
    tests = Path(__file__).parent
    text = (tests / "README.md").read_text(encoding="utf-8")
    folders = [path for path in re.findall(r"\]\(([^)]+)\)", text) if not path.startswith("http")]
    assert len(folders) > 8
    assert [path for path in folders if not (tests / path).exists()] == []
    named = set(re.findall(r"\btest_\w+\*?\w*", text))
    assert len(named) > 50
    assert [name for name in sorted(named) if not list(tests.rglob(f"{name.removesuffix('.py')}.py"))] == []
    commands = set(re.findall(r"python -m (tests\.\w+)", text))
    assert [
        name for name in commands if not (tests.parent / name.replace(".", "/") / "__main__.py").is_file()
    ] == []
