"""The runner of mutations, on a small tree; and that every fault of ours can be planted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.mutations.__main__ import main
from tests.mutations.faults import HERE, PACKAGES, Fault, missing_tests, planted, read
from tests.mutations.runner import ROOT, Outcome, run

MODULE = """
RATES = {"slow": 1.0, "fast": 2.0}

class Scale:
    def applied(self, value: float) -> float:
        if value < 0:
            return 0.0
        return value * RATES["fast"]

def scaled(value: float) -> float:
    return Scale().applied(value)
"""

TESTS = """
import subprocess
import sys
import pytest
from reports.scales import scaled

def test_scaled():
    assert scaled(2.0) == 4.0

@pytest.mark.parametrize("value", [-1.0, 1.0])
def test_of_two(value):
    assert scaled(value) in (0.0, 2.0)

def test_elsewhere(tmp_path):
    code = "from reports.scales import scaled; print(scaled(2.0))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "4.0\\n"

def test_that_fails():
    assert scaled(2.0) == 5.0

@pytest.mark.skip(reason="never")
def test_that_is_skipped():
    assert scaled(2.0) == 5.0
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A checkout with one module, its tests and the runner."""
    for package in PACKAGES:
        (tmp_path / package).mkdir()
    (tmp_path / "reports/scales.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_scales.py").write_text(TESTS, encoding="utf-8")
    shutil.copy(ROOT / "tests/surroundings.py", tmp_path / "tests")
    shutil.copytree(HERE, tmp_path / "tests/mutations", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def fault(
    name: str = "of-a-test",
    *,
    place: str = "Scale.applied",
    old: str = 'value * RATES["fast"]',
    new: str = 'value * RATES["slow"]',
    dies: str = "test_scaled",
) -> Fault:
    tests = tuple(f"tests/test_scales.py::{test}" for test in dies.split())
    return Fault(
        name=name, part="mine", place=place, in_file=place.endswith(".py"), old=old, new=new, dies=tests
    )


def test_every_fault_of_ours_can_be_planted_and_its_tests_are_there() -> None:
    faults = read()
    assert {one.name: missing_tests(one, ROOT) for one in faults if missing_tests(one, ROOT)} == {}
    for one in faults:
        edit = planted(one, ROOT)
        assert edit.text != (ROOT / edit.file).read_text(encoding="utf-8"), one.name


def test_what_changes_nothing_survives_and_what_a_test_sees_is_killed(tree: Path) -> None:
    """In this process, in one that a test starts, and only where every test that is named fails."""
    faults = {
        "seen": fault("seen"),
        "seen-elsewhere": fault("seen-elsewhere", dies="test_elsewhere"),
        "one-case-of-two": fault("one-case-of-two", old="return 0.0", new="return 1.0", dies="test_of_two"),
        "same": fault("same", old="value < 0", new="not value >= 0", dies="test_of_two"),
        "seen-by-one": fault("seen-by-one", old="< 0", new="< -2", dies="test_of_two test_scaled"),
        "in-a-table": fault("in-a-table", place="RATES", old='"fast": 2.0', new='"fast": 3.0'),
        "in-a-file": fault("in-a-file", place="scales.py", old='"fast": 2.0', new='"fast": 3.0'),
    }
    before = (tree / "reports/scales.py").read_bytes()
    outcomes = {one.fault.name: one for one in run(list(faults.values()), root=tree, heavy=("numpy",))}
    assert {name: one.state for name, one in outcomes.items()} == {
        "seen": "killed",
        "seen-elsewhere": "killed",
        "one-case-of-two": "killed",
        "same": "survived",
        "seen-by-one": "survived",
        "in-a-table": "killed",
        "in-a-file": "killed",
    }
    assert "test_scaled: assert 2.0 == 4.0" in outcomes["seen"].why
    assert outcomes["seen-by-one"].why == "tests/test_scales.py::test_scaled passes"
    assert (tree / "reports/scales.py").read_bytes() == before


def test_a_fault_whose_test_says_nothing_is_broken(tree: Path) -> None:
    wrong = [
        fault("fails-anyway", dies="test_that_fails"),
        fault("skipped", dies="test_that_is_skipped"),
        fault("nowhere", dies="test_that_is_not_there"),
        fault("not-loaded", place="scaled", old="def scaled(", new="def scalded("),
    ]
    outcomes = run(wrong, root=tree, heavy=())
    assert [one.state for one in outcomes] == ["broken"] * 4
    assert "without the fault too" in outcomes[0].why
    assert "skipped" in outcomes[1].why
    assert "there is no test tests/test_scales.py::test_that_is_not_there" in outcomes[2].why
    assert "nothing can be loaded" in outcomes[3].why


@pytest.mark.parametrize(
    ("place", "old", "new", "message"),
    [
        ("Scale.divided", "value", "0", "there is no function Scale.divided"),
        ("Scale.applied", "value +", "0", "occurs 0 times in Scale.applied"),
        ("Scale.applied", "value", "0", "occurs 3 times in Scale.applied"),
        ("Scale.applied", "return 0.0", "return (0.0", "does not compile"),
        ("weights.py", "value", "0", "there is no file weights.py"),
    ],
)
def test_what_cannot_be_planted_says_why(tree: Path, place: str, old: str, new: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        planted(fault(place=place, old=old, new=new), tree)


def test_a_text_of_several_lines_is_met_at_any_indentation(tree: Path) -> None:
    edit = planted(fault(old="if value < 0:\n    return 0.0", new="if value < 1:\n    return 1.0"), tree)
    assert "        if value < 1:\n            return 1.0\n" in edit.text


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{name: a, function: f, old: x, dies: t}", "new missing"),
        ("{name: a, function: f, old: x, new: y, dies: t, kills: t}", "kills unknown"),
        ("{name: a, function: f, file: g, old: x, new: y, dies: t}", "either function or file"),
        ("{name: A b, function: f, old: x, new: y, dies: t}", "kebab-case"),
        ("{name: a, function: f, old: x, new: x, dies: t}", "the same as new"),
        ("{name: a, function: f, old: x, new: y, dies: []}", "names no test"),
    ],
)
def test_an_entry_of_another_form_is_refused(tmp_path: Path, row: str, message: str) -> None:
    (tmp_path / "mine.yaml").write_text(f"- {row}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read(tmp_path)


def test_two_faults_of_one_name_are_refused(tmp_path: Path) -> None:
    for part in ("one", "two"):
        row = "- {name: a, function: f, old: x, new: y, dies: t}\n"
        (tmp_path / f"{part}.yaml").write_text(row, encoding="utf-8")
    with pytest.raises(ValueError, match="two faults have the name a"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("states", "code"), [(("killed", "killed"), 0), (("killed", "survived"), 1), (("broken", "killed"), 1)]
)
def test_the_command_ends_with_0_only_if_all_were_killed(
    states: tuple[str, str], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    faults = [fault("a"), fault("b")]
    outcomes = [
        Outcome(fault=one, state=state, why="because", seconds=1.0)  # type: ignore[arg-type]
        for one, state in zip(faults, states, strict=True)
    ]
    monkeypatch.setattr("tests.mutations.__main__.read", lambda: faults)
    monkeypatch.setattr("tests.mutations.__main__.run", lambda *_, **__: outcomes)
    assert main([]) == code
    table = capsys.readouterr().out
    assert [f"{state}: mine: {name}: because" in table for state, name in zip(states, "ab", strict=True)] == [
        state != "killed" for state in states
    ]
    assert main(["--json"]) == code
    assert [row["state"] for row in json.loads(capsys.readouterr().out)] == list(states)


def test_a_name_that_no_fault_has_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "nobodys-fault"]) == 2
    assert "there is no fault nobodys-fault" in capsys.readouterr().err
    assert main(["--part", "nobodys"]) == 2
    assert "there is no part nobodys; there are" in capsys.readouterr().err
