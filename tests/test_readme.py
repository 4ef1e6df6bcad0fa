"""What the README shows works as shown, it stays short, and what it links to is there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.main import get_group

from reports.defaults.defaults_file import load as load_defaults
from studies.cli import app
from studies.load_study import load as load_any
from studies.search.spec import SearchSpec
from studies.spec.load import load
from tests.docs.pages import DOCS, blocks
from trainers.tasks import FAMILIES
from trainers.tasks.user_tasks import load_user_tasks

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
TEXT = README.read_text(encoding="utf-8")
WORDS = 900
"""A newcomer reads it in four minutes."""


def block(page: Path, language: str, holding: str) -> str:
    """The fenced block of that language with those words in it."""
    (one,) = [b for b in blocks(page) if b.language == language and holding in b.text]
    return one.text


def test_it_can_be_read_in_four_minutes() -> None:
    assert 600 < len(TEXT.split()) <= WORDS


def test_what_it_links_to_is_there() -> None:
    linked = re.findall(r"\]\(([^)]+)\)", TEXT)
    assert len(linked) > 15
    assert [path for path in linked if not (ROOT / path).is_file()] == []


def test_the_study_it_shows_is_a_study(tmp_path: Path) -> None:
    file = tmp_path / "my_study.yaml"
    file.write_text(block(README, "yaml", "study: my-activations"), encoding="utf-8")
    study = load(file)
    assert set(study.tasks) - set(FAMILIES) == {"churn"}, "every other task it names ships"


def test_the_task_file_it_shows_makes_that_task(tmp_path: Path) -> None:
    table = tmp_path / "churn.csv"
    lines = [f"{i % 7},{i * i % 11},{i % 2}" for i in range(60)]
    table.write_text("\n".join(["calls,days,left", *lines]), encoding="utf-8")
    file = tmp_path / "my_tasks.py"
    file.write_text(block(README, "python", "TASKS").replace("churn.csv", str(table)), encoding="utf-8")
    assert load_user_tasks(file)["churn"]().n_classes == 2


def test_its_commands_are_those_of_the_program() -> None:
    known = get_group(app).commands
    shown = [line for one in blocks(README) for line in one.commands]
    shown += re.findall(r"^    groundrules (.+)$", TEXT, re.MULTILINE)
    assert len(shown) >= 4
    for line in shown:
        name, *words = shlex.split(line)
        assert known[name].make_context(name, words).command is known[name]
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(re.findall(r"\bmake ([a-z-]+)", TEXT)) <= set(targets)


def test_what_it_says_of_the_guideline_table_is_what_was_published() -> None:
    file = ROOT / "reports/published/defaults.yaml"
    rows = load_defaults(file.read_text(encoding="utf-8"), str(file)).rows
    by_place = {(row.factor, row.regime): row for row in rows}
    settled = [row for row in rows if row.decided_by != "fallback"]
    assert f"Of its {len(rows)} rows {len(settled)} have a level proved" in " ".join(TEXT.split())
    assert by_place["activation", "deep"].verdict == "confirmed"
    assert by_place["activation", "deep"].recommended == "silu"
    assert by_place["optimizer", "shallow"].verdict == "tied"
    assert by_place["optimizer", "shallow"].recommended == "adam"


def test_the_questions_that_are_shown_can_be_asked(tmp_path: Path) -> None:
    file = tmp_path / "my_study.yaml"
    file.write_text(block(DOCS / "howto/questions.md", "yaml", "factor: recipe"), encoding="utf-8")
    assert [q.name for q in load(file).understood] == ["optimizer", "dropout_rate", "batch_size", "recipe"]


def test_the_search_that_is_shown_is_a_search(tmp_path: Path) -> None:
    file = tmp_path / "my_search.yaml"
    file.write_text(block(DOCS / "howto/search.md", "yaml", "kind: search"), encoding="utf-8")
    search = load_any(file)
    assert isinstance(search, SearchSpec)
    assert set(search.tasks) <= set(FAMILIES)


def test_the_site_that_is_shown_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from studies.site import KEYS, SECRETS, site_of

    for name in [*(f"GROUNDRULES_{key.upper()}" for key in KEYS), "GROUNDRULES_SITE", *SECRETS.values()]:
        monkeypatch.delenv(name, raising=False)
    text = block(DOCS / "howto/cluster.md", "yaml", "cluster:")
    (tmp_path / "site.yaml").write_text(text, encoding="utf-8")
    site = site_of(tmp_path)
    assert all(getattr(site, key) == value for key, value in yaml.safe_load(text).items())


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
