"""Odd surroundings: the work is done, or one sentence says why not; never a traceback, nor a wrong code."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from itertools import product
from pathlib import Path

import pytest

from tests.blackbox.program import PROGRAM, TINY, Ran, contents, environment, groundrules, invoked

StudyFile = Callable[..., Path]


def shell(line: str, *, cwd: Path, more: Mapping[str, str] | None = None, timeout: float = 240) -> Ran:
    """A line of the shell; `$G` is the program."""
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=cwd,
        env={**environment(), "G": str(PROGRAM), "STUDY": str(TINY), **(more or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="backslashreplace",
        timeout=timeout,
        check=False,
    )
    return Ran(code=done.returncode, out=done.stdout, err=done.stderr)


def one_sentence(ran: Ran, code: int, *words: str) -> None:
    """One line on standard error that holds all the words, and no traceback."""
    assert ran.code == code, ran.said
    lines = [line for line in ran.err.splitlines() if line.strip()]
    assert len(lines) == 1, ran.err
    assert "internal error" not in ran.said and "Traceback" not in ran.said, ran.said
    for word in words:
        assert word in lines[0]


@pytest.mark.parametrize(
    "closed", ["".join(c) for c in product(("", "<&- "), ("", ">&- "), ("", "2>&-")) if any(c)]
)
def test_closed_streams_change_nothing(closed: str, tmp_path: Path, copied: Path) -> None:
    command = f'"$G" export tiny --workspace "{copied}" --output out.yaml {closed}; echo "code $?" >code'
    shell(command, cwd=tmp_path)
    assert (tmp_path / "code").read_text() == "code 0\n"
    assert (tmp_path / "out.yaml").stat().st_size > 1000
    assert not list(copied.glob("*.log")), "nothing went wrong"


@pytest.mark.parametrize("engine", ["inline", "ray"])
def test_a_study_runs_without_any_stream(engine: str, tmp_path: Path, study_file: StudyFile) -> None:
    file = study_file(
        ("tasks: [wine, breast_cancer, digits, diabetes]", "tasks: [wine, breast_cancer, digits]")
    )
    ran = shell(f'"$G" run {file} --engine {engine} --workspace w <&- >&- 2>&-', cwd=tmp_path)
    assert ran.code == 0
    assert "complete" in groundrules("status", "tiny", workspace=tmp_path / "w", cwd=tmp_path).out
    with closing(sqlite3.connect(tmp_path / "w" / "ledger.sqlite")) as ledger:
        assert ledger.execute("PRAGMA integrity_check").fetchone() == ("ok",), "no file took a stream's place"


@pytest.mark.parametrize("command", ["plan $STUDY", "catalog", "--help", "export published"])
@pytest.mark.parametrize("buffered", ["", "1"])
def test_a_full_standard_output_is_one_sentence(command: str, buffered: str, tmp_path: Path) -> None:
    ran = shell(f'"$G" {command} >/dev/full', cwd=tmp_path, more={"PYTHONUNBUFFERED": buffered})
    one_sentence(ran, 1, "standard output", "No space left")


def test_a_reader_that_has_seen_enough_is_told_nothing(tmp_path: Path) -> None:
    ran = shell('"$G" catalog | head -1', cwd=tmp_path)
    assert (ran.code, ran.err) == (0, "")


def test_standard_error_that_is_full_stops_nothing(tmp_path: Path, study_file: StudyFile) -> None:
    ran = shell('"$G" run $STUDY --engine inline --workspace w 2>/dev/full', cwd=tmp_path)
    assert ran.code == 0 and "trained" in ran.out


NARROW = {
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "latin-1": {"PYTHONIOENCODING": "latin-1:strict"},
    "C": {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
}


@pytest.mark.parametrize("narrow", sorted(NARROW))
@pytest.mark.parametrize(
    "command",
    ["plan odd.yaml", "catalog --format markdown", "export published --format markdown", "plan ß.yaml"],
)
def test_what_cannot_be_encoded_is_escaped(
    command: str, narrow: str, tmp_path: Path, study_file: StudyFile
) -> None:
    study_file(("title: Does", "title: Größe – Αθήνα 大. Does"), name="odd.yaml")
    ran = shell(f'"$G" {command}', cwd=tmp_path, more=NARROW[narrow])
    if "ß.yaml" in command:
        one_sentence(ran, 2, "no such file")
        return
    assert ran.code == 0, ran.said
    assert ran.err == ""
    assert len(ran.out.splitlines()) > 5
    if command == "plan odd.yaml":
        assert r"\u5927" in ran.out


LONG = "x" * 300
UNSEEN = (
    *("200b", "200d", "2028", "2029", "00ad", "2060", "202e"),
    *("2066", "feff", "3164", "e0041", "e0100", "0085"),
)
"""Code points without ink or width, and some that turn the writing or end a line."""
READERS = (
    *("status tiny", "check tiny", "results tiny", "export tiny", "why initializer@deep", "list"),
    "logs tiny",
)
"""Commands that need nothing but the ledger."""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("plan", TINY, "--workspace", ""), ("--workspace", "empty")),
        (("plan", TINY, "--workspace", "  "), ("--workspace", "empty")),
        (("plan", TINY, "--workspace", "--engine"), ("--workspace", "looks like an option")),
        (("plan", TINY, "--workspace", LONG), ("--workspace", "300 bytes")),
        (("plan", TINY, "--workspace", "/".join(["ä" * 100] * 20)), ("--workspace", "path")),
        (("plan", TINY, "--workspace", "a\udcff"), ("--workspace", r"a\xff", "UTF-8")),
        (("plan", TINY, "--tasks-from", ""), ("--tasks-from", "empty")),
        (("plan", LONG), ("too long",)),
        (("export", "published", "--output", ""), ("--output", "empty")),
        (("export", "published", "--output", LONG), ("--output", "300 bytes")),
        (("export", "tiny", "--previous", ""), ("--previous", "empty")),
        (("init", ""), ("empty",)),
        (("run", TINY, "--device", "meta", "--engine", "inline"), ("device 'meta' cannot be used here",)),
        (("run", TINY, "--device", "hpu"), ("device 'hpu' cannot be used here",)),
        (("run", TINY, "--device", "mps", "--hours", "1"), ("device 'mps' cannot be used here",)),
        (("run", TINY, "--device", "privateuseone"), ("device 'privateuseone' cannot be used here",)),
        (("run", TINY, "--device", "cuda:77"), ("device 'cuda:77' cannot be used here",)),
    ],
)
def test_what_cannot_be_a_place_or_device_is_refused(
    words: tuple[str | Path, ...], said: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from studies.cli import invoke

    monkeypatch.chdir(tmp_path)
    code = invoke([str(word) for word in words])
    found = capsys.readouterr()
    one_sentence(Ran(code=code, out=found.out, err=found.err), 2, *said)
    assert not list(tmp_path.iterdir()), "nothing was written"


def test_an_empty_variable_for_the_workspace_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = {"GROUNDRULES_WORKSPACE": ""}
    one_sentence(shell('"$G" plan $STUDY', cwd=tmp_path, more=more), 2, "GROUNDRULES_WORKSPACE is empty")
    assert shell('"$G" plan $STUDY --workspace w', cwd=tmp_path, more=more).code == 0


@pytest.mark.parametrize(
    "name",
    ["published", "textbook", "framework", "Published", "mine.yaml", "a.JSON", "x.scope", "-rf", "--help"],
)
@pytest.mark.parametrize("command", ["plan", "run"])
def test_names_that_mean_something_else_are_refused(
    command: str, name: str, tmp_path: Path, study_file: StudyFile
) -> None:
    file = study_file(("study: tiny", f"study: {name}"))
    one_sentence(invoked(command, file, workspace=tmp_path / "w"), 2, "study", name)
    assert not (tmp_path / "w" / "ledger.sqlite").exists()


def test_a_ledger_that_holds_such_a_name_stays_readable(copied: Path) -> None:
    from studies.load_study import parse
    from studies.spec.yaml_reader import read_yaml

    spec = parse({**read_yaml(TINY, "tiny.yaml"), "study": "published"})
    assert spec.study == "published", "what is recorded is read without asking"


@pytest.mark.parametrize("code", UNSEEN)
def test_what_cannot_be_seen_is_refused_in_a_title(code: str, study_file: StudyFile, tmp_path: Path) -> None:
    file = study_file(("title: Does", f'title: "a\\U{int(code, 16):08x}b"\n#'))
    one_sentence(invoked("plan", file, workspace=tmp_path / "w"), 2, f"U+{int(code, 16):04X}")


def test_letters_of_any_script_are_fine(study_file: StudyFile, tmp_path: Path) -> None:
    file = study_file(("title: Does", "title: Größe Αθήνα 大小 한국 ñandú é ❤️ Does"))
    assert invoked("plan", file, workspace=tmp_path / "w").code == 0


@pytest.mark.parametrize("how", ["removed", "moved", "replaced"])
def test_a_workspace_that_goes_while_a_study_runs_is_noticed(
    how: str, tmp_path: Path, study_file: StudyFile, copied: Path
) -> None:
    workspace, file = tmp_path / "w", study_file(("study: tiny", "study: other"))
    with subprocess.Popen(
        [PROGRAM, "run", file, "--engine", "inline", "--workspace", workspace],
        cwd=tmp_path, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        while committed(workspace) < 2:
            assert process.poll() is None
            time.sleep(0.05)
        if how == "removed":
            shutil.rmtree(workspace)
        else:
            workspace.rename(tmp_path / "elsewhere")
        if how == "replaced":
            shutil.copytree(copied, workspace)
        before = contents(workspace) if workspace.exists() else {}
        out, err = process.communicate(timeout=120)
    last = err.strip().splitlines()[-1]
    assert process.returncode == 1, err
    assert "ledger" in last and ("deleted or moved" in last or "replaced" in last)
    assert "Traceback" not in err and "trained" not in out
    after = contents(workspace) if workspace.exists() else {}
    assert {name: data for name, data in after.items() if name in before or "ledger" in name} == before


def committed(workspace: Path) -> int:
    """Packs in a ledger that is being written."""
    file = workspace / "ledger.sqlite"
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as ledger:
            (count,) = ledger.execute("SELECT COUNT(*) FROM packs").fetchone()
            return int(count)
    except sqlite3.OperationalError:
        return 0


CAN_MOUNT = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not CAN_MOUNT, reason="this user may not mount a folder read-only")
@pytest.mark.parametrize("command", READERS)
def test_a_bare_copy_in_a_folder_that_cannot_be_written_is_read(
    command: str, tmp_path: Path, copied: Path
) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    with closing(sqlite3.connect(copied / "ledger.sqlite")) as ledger:
        ledger.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(copied / "ledger.sqlite", bare)
    read_only = f"mount --bind {bare} {bare} && mount -o remount,ro,bind {bare}"
    line = f"unshare -m bash -c '{read_only} && {PROGRAM} %s --workspace {bare}'"
    ran = shell(line % command, cwd=tmp_path)
    assert ran.code == 0 and ran.out, ran.said
    if command == "status tiny":
        one_sentence(shell(line % "report tiny", cwd=tmp_path), 2, "cannot write the report")
        one_sentence(shell(line % "run $STUDY --engine inline", cwd=tmp_path), 2, "cannot write the ledger")


@pytest.mark.skipif(not CAN_MOUNT, reason="this user may not mount a small disk")
def test_a_report_that_cannot_be_copied_is_there_all_the_same(tmp_path: Path, copied: Path) -> None:
    shutil.rmtree(copied / "reports")
    small = f"mount -t tmpfs -o size=16k none {copied / 'artifacts'}"
    ran = shell(f"unshare -m bash -c '{small} && {PROGRAM} report tiny --workspace {copied}'", cwd=tmp_path)
    assert ran.code == 0, ran.said
    assert "MLflow has no copy of this report" in ran.err and len(ran.err.splitlines()) == 1
    assert (copied / "reports" / "tiny" / "index.html").stat().st_size > 10_000


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("seconds", [0.0, 0.02, 0.05, 0.1, 0.2, 0.6, 1.5])
def test_an_early_interrupt_is_one_line(
    how: signal.Signals, code: int, seconds: float, tmp_path: Path
) -> None:
    with subprocess.Popen(
        [PROGRAM, "plan", "guidelines"],
        cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        while not hears(process.pid):  # before that Python itself is not there
            time.sleep(0.001)
        time.sleep(seconds)
        process.send_signal(how)
        _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert len(err.splitlines()) == 1 and err.startswith(("interrupted; ", "terminated; "))


SLOW = "import time\nprint('here', flush=True)\ntime.sleep(60)\n"


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("module", ["pkgutil", "typer"])
def test_an_interrupt_while_the_program_is_imported_is_one_line(
    how: signal.Signals, code: int, module: str, tmp_path: Path
) -> None:
    """Of a module that our first file imports (by runpy), and of one that the command line does."""
    (tmp_path / f"{module}.py").write_text(SLOW, encoding="utf-8")
    with subprocess.Popen(
        [PROGRAM, "plan", "guidelines"], cwd=tmp_path,
        env={**environment(), "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None and process.stdout.readline() == "here\n"
        process.send_signal(how)
        _, err = process.communicate(timeout=30)
    assert process.returncode == code, err
    assert len(err.splitlines()) == 1 and err.startswith(("interrupted; ", "terminated; "))


def hears(pid: int) -> bool:
    """Whether a program of ours, and no longer Python alone, has a handler for SIGTERM."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
    return False


def test_sigterm_ends_a_run_under_ray_with_one_line(tmp_path: Path) -> None:
    with subprocess.Popen(
        [PROGRAM, "run", TINY, "--workspace", tmp_path / "w"],
        cwd=tmp_path, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        while committed(tmp_path / "w") < 1:
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 143, err
    said = [line for line in err.splitlines() if " members, " not in line]
    assert said == ["terminated; what was finished is kept: resume with the same command"]


@pytest.mark.parametrize("engine", ["inline", "ray"])
def test_too_little_address_space_is_one_sentence(engine: str, tmp_path: Path) -> None:
    ran = shell(f'ulimit -v 1500000; "$G" run $STUDY --engine {engine} --workspace w', cwd=tmp_path)
    lines = [line for line in ran.err.splitlines() if line.strip()]
    assert ran.code in (1, 2) and len(lines) == 1, ran.said
    assert "memory" in lines[0] or "address space" in lines[0]


def test_the_last_line_can_be_copied_into_a_shell(tmp_path: Path) -> None:
    workspace = tmp_path / "a b'c $HOME;x"
    ran = groundrules("run", TINY, "--engine", "inline", workspace=workspace, cwd=tmp_path)
    command = ran.out.strip().splitlines()[-1].partition("groundrules ")[2]
    printed = shell(f"printf '%s\\n' {command}", cwd=tmp_path)
    assert printed.out.splitlines() == ["ui", "--workspace", str(workspace)]
    done, _, planned = (
        ran.err.strip().splitlines()[-1].split(",")[0].removesuffix(" members").partition(" of ")
    )
    assert done == planned, "verdicts stand below the last count"
