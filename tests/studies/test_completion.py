"""What the shell completes, what it is installed by, and which version answers."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from search_spaces.catalog import FACTORS
from studies.cli import installed_version, invoke
from studies.spec.load import shipped
from tests.blackbox.program import PROGRAM, environment
from trainers.tasks.images import IMAGE_SETS

Said = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with one study, which is not finished."""
    from studies.load_study import parse
    from studies.run import run

    folder = tmp_path_factory.mktemp("completion") / "workspace"
    spec = parse(
        {
            "study": "leaves",
            "questions": [{"factor": "activation", "levels": ["relu", "tanh"]}],
            "regimes": {"shallow": {"depth": 1}, "deep": {"depth": 3}},
            "setting": {"width": 4, "steps": 10, "train_size": 100, "evaluations": 2},
            "tasks": ["wine"],
            "budget": {"families": 1, "blocks": 1, "trials": 1, "promoted": 1},
        }
    )

    def enough(work: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(spec, workspace=folder, engine="inline", watch=enough)
    return folder


def completed(monkeypatch: pytest.MonkeyPatch, capsys: Said, line: str) -> list[str]:
    """The words that bash is offered for the last one of a line."""
    words = line.split(" ")
    monkeypatch.setenv("_GROUNDRULES_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    assert invoke([]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    return said.out.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("groundrules pl", ["plan"]),
        ("groundrules run qu", ["quickstart"]),
        ("groundrules plan act", [name for name in shipped() if name.startswith("act")]),
        ("groundrules run no-such", []),  # then the shell completes files
        ("groundrules report ", ["leaves"]),
        ("groundrules report o", []),
        ("groundrules export pub", ["published"]),
        ("groundrules diff leaves t", ["textbook"]),
        ("groundrules why activation@", ["activation@shallow", "activation@deep"]),
        ("groundrules why activation@deep --study ", ["leaves"]),
        ("groundrules catalog act", [name for name in FACTORS if name.startswith("act")]),
        ("groundrules download ", [row.name for row in IMAGE_SETS]),
        ("groundrules export leaves --format j", ["json"]),
        ("groundrules run quickstart --prof", ["--profile"]),
    ],
)
def test_a_word_is_completed(
    line: str, offered: list[str], workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    monkeypatch.setenv("GROUNDRULES_WORKSPACE", str(workspace))
    assert completed(monkeypatch, capsys, line) == offered


def test_study_files_here_and_in_folders_are_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").touch()
    (tmp_path / "mine.py").touch()
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "other.yml").touch()
    assert completed(monkeypatch, capsys, "groundrules run mi") == ["mine.yaml"]
    assert completed(monkeypatch, capsys, "groundrules run more/") == ["more/other.yml"]


def test_the_workspace_on_the_line_is_the_one_that_is_read(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    monkeypatch.chdir(tmp_path)
    assert completed(monkeypatch, capsys, "groundrules report ") == []
    assert completed(monkeypatch, capsys, f"groundrules report --workspace {workspace} ") == ["leaves"]
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_read_offers_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    (tmp_path / "ledger.sqlite").write_text("this is no database", encoding="utf-8")
    monkeypatch.setenv("GROUNDRULES_WORKSPACE", str(tmp_path))
    assert completed(monkeypatch, capsys, "groundrules report ") == []


def test_completing_a_study_needs_no_torch(workspace: Path) -> None:
    script = (
        "import sys\n"
        "from studies.commands.completion import studies, tables, rows, study_files\n"
        "class Context: params = {'workspace': sys.argv[1]}\n"
        "print(studies(Context, 'l'), tables(Context, 'p'), rows(Context, 'a'))\n"
        "print(study_files(Context, 'quick'))\n"
        "print(sorted({'torch', 'optuna', 'ray', 'mlflow'} & set(sys.modules)))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, str(workspace)], capture_output=True, text=True, check=True
    )
    assert ran.stdout.splitlines() == [
        "['leaves'] ['published'] ['activation@shallow', 'activation@deep']",
        "['quickstart']",
        "[]",
    ]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell_is_shown(shell: str, capsys: Said) -> None:
    assert invoke(["--show-completion", shell]) == 0
    said = capsys.readouterr().out
    assert "_GROUNDRULES_COMPLETE" in said
    if shell == "bash":
        checked = subprocess.run(["bash", "-n"], input=said, text=True, capture_output=True, check=False)
        assert checked.returncode == 0, checked.stderr


def test_bash_completes_with_what_is_installed(tmp_path: Path) -> None:
    bash = shutil.which("bash")
    assert bash, "bash is missing"
    home = {"HOME": str(tmp_path), "PATH": f"{PROGRAM.parent}:/usr/bin:/bin"}
    ran = subprocess.run(
        [bash, "-c", "groundrules --install-completion bash && cat ~/.bashrc"],
        env={**environment(), **home}, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    script = (
        "source ~/.bashrc; COMP_WORDS=(groundrules run quick); COMP_CWORD=2; "
        '_groundrules_completion groundrules; echo "${COMPREPLY[@]}"'
    )
    said = subprocess.run(
        [bash, "-c", script],
        env={**environment(), **home}, cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout == "quickstart\n"


def test_the_version_is_said_at_once(capsys: Said) -> None:
    assert invoke(["--version"]) == 0
    assert capsys.readouterr().out == f"groundrules {installed_version()}\n"
    script = (
        "import sys; from studies.cli import invoke; code = invoke(['--version'])\n"
        "heavy = {'torch', 'numpy', 'ray', 'mlflow', 'optuna', 'scipy'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
