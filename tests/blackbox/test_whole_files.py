"""A full disk or kill -9 in the middle of a command leaves every file as it was, or as it should be."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from studies.tracking.runs import study_run_id
from tests.blackbox.program import TINY, Ran, contents, environment, groundrules, invoked
from tests.surroundings import do_without

OUTPUTS: dict[str, tuple[str, ...]] = {
    "results": ("results", "tiny"),
    "parquet": ("results", "tiny", "--format", "parquet"),
    **{
        kind: ("export", "tiny", "--format", kind) for kind in ("json", "yaml", "python", "markdown", "latex")
    },
}
LIMITED = "import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2);"
"""As on a full disk: no file of the process may be larger."""


def limited(most: int, *arguments: str | Path, workspace: Path) -> Ran:
    """The command in a process whose files may have `most` bytes."""
    code = f"{LIMITED} from studies.cli import main; main(sys.argv[2:])"
    command = [sys.executable, "-c", code, str(most), *map(str, arguments), "--workspace", str(workspace)]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment(), cwd=Path(__file__).parents[2], check=False
    )
    return Ran(code=done.returncode, out=done.stdout, err=done.stderr)


def ours(said: str) -> str:
    """The one line that says what went wrong."""
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in said and "internal error" not in said
    return line


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Ran]:
    """Runs a command with a file system of so many kilobytes mounted on a folder."""
    probe = ["unshare", "-rm", "sh", "-c", f"mount -t tmpfs none {tmp_path_factory.mktemp('probe')}"]
    if shutil.which("unshare") is None or subprocess.run(probe, capture_output=True, check=False).returncode:
        do_without("namespaces", "no file system can be mounted here")

    def run(folder: Path, kilobytes: int, prepare: str, *arguments: str | Path, workspace: Path) -> Ran:
        folder.mkdir(parents=True, exist_ok=True)
        script = f'mount -t tmpfs -o size={kilobytes}k none "$0" && cd "$0" && {prepare} && exec "$@"'
        prefix = ("unshare", "-rm", "sh", "-c", script, str(folder))
        return groundrules(*arguments, workspace=workspace, cwd=workspace, prefix=prefix, expect=None)

    return run


@pytest.mark.parametrize("kind", list(OUTPUTS))
def test_an_output_on_a_full_disk_leaves_the_old_one(
    copied: Path, tmp_path: Path, small_disk: Callable[..., Ran], kind: str
) -> None:
    """The disk has one page left, on which a cut file would find room."""
    disk = tmp_path / "disk"
    script = "{ printf %s old > release; dd if=/dev/zero of=filler bs=1k count=4 2>/dev/null; true; }"
    shown = f'printf "[%s]" "$(cat {disk}/release)"; ls -A {disk}'
    check = ("sh", "-c", f'"$@"; code=$?; {shown}; exit $code', "sh")
    command = [*OUTPUTS[kind], "--output", str(disk / "release")]
    disk.mkdir()
    mount = f'mount -t tmpfs -o size=8k none "$0" && cd "$0" && {script} && exec "$@"'
    ran = groundrules(
        *command, workspace=copied, cwd=copied, expect=1,
        prefix=("unshare", "-rm", "sh", "-c", mount, str(disk), *check),
    )  # fmt: skip
    assert "[old]" in ran.out
    assert set(ran.out.partition("[old]")[2].split()) == {"release", "filler"}
    assert "no room for" in ours(ran.err) and "release" in ours(ran.err)


def test_an_output_over_the_limit_of_the_process_leaves_the_old_one(copied: Path, tmp_path: Path) -> None:
    """The same where nothing can be mounted."""
    release = tmp_path / "release.csv"
    release.write_text("old", encoding="utf-8")
    release.chmod(0o640)
    ran = limited(40_000, "results", "tiny", "--output", release, workspace=copied)
    assert (ran.code, release.read_text(encoding="utf-8")) == (1, "old"), ran.said
    assert "no room for" in ours(ran.err)
    assert [path.name for path in tmp_path.iterdir() if "release" in path.name] == ["release.csv"]


def test_a_report_on_a_full_disk_leaves_the_old_one(copied: Path) -> None:
    before = contents(copied / "reports")
    ran = limited(40_000, "report", "tiny", workspace=copied)
    assert ran.code == 1, ran.said
    assert "no room for" in ours(ran.err)
    assert contents(copied / "reports") == before


@pytest.mark.parametrize("command", ["report", "run"])
@pytest.mark.parametrize("why", ["a full disk", "no folder can be made"])
def test_a_copy_that_cannot_be_made_is_a_warning_and_the_report_is_there(
    copied: Path, small_disk: Callable[..., Ran], command: str, why: str
) -> None:
    shutil.rmtree(copied / "reports")
    run = copied / "artifacts" / "tiny" / study_run_id("tiny")
    words = ("report", "tiny") if command == "report" else ("run", TINY, "--engine", "inline")
    if why == "a full disk":
        ran = small_disk(run, 40, "true", *words, workspace=copied)
    else:
        shutil.rmtree(run)
        run.write_text("in the way", encoding="utf-8")
        ran = groundrules(*words, workspace=copied, cwd=copied)
    assert ran.code == 0, ran.said
    (warning,) = [line for line in ran.err.splitlines() if "WARNING" in line]
    assert "MLflow has no copy of this report" in warning
    assert "</html>" in (copied / "reports" / "tiny" / "index.html").read_text(encoding="utf-8")


def referenced(page: Path) -> set[str]:
    """Files beside a page that it refers to."""
    found = re.findall(r'(?:href|src)="([^"#:]+)"', page.read_text(encoding="utf-8"))
    return {name for name in found if not name.startswith("data:")}


@pytest.mark.parametrize("seed", range(3))
def test_a_report_that_is_killed_leaves_whole_pages(copied: Path, seed: int) -> None:
    """At random moments from the first file that is written to the last, of a report that is made anew."""
    reports = copied / "reports"
    should = contents(reports)
    if seed % 2:
        shutil.rmtree(reports)
    code = "from studies.cli import main; import sys; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "report", "tiny", "--workspace", str(copied)]
    stamps = {path: path.stat().st_ino for path in reports.rglob("*")}
    process = subprocess.Popen(
        command, cwd=Path(__file__).parents[2], env=environment(), stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    until = time.monotonic() + 240
    while not any(stamps.get(path) != path.stat().st_ino for path in reports.glob("tiny/*.csv")):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.0005)
    time.sleep(random.Random(seed).uniform(0, 0.05))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)
    if seed % 2 == 0:  # else it may not be there again yet
        assert referenced(reports / "index.html")
    for page in reports.rglob("index.html"):
        assert page.read_bytes().rstrip().endswith(b"</html>"), f"{page} is cut"
        for name in referenced(page):
            assert (page.parent / name).exists(), f"{page} refers to {name}, which is missing"
    for name, content in contents(reports).items():
        assert content == should.get(name, content) or name.endswith(".groundrules-part"), f"{name} is cut"
    assert invoked("report", "tiny", workspace=copied).code == 0
    assert contents(reports) == should


def test_init_writes_whole_files_and_replaces_none(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "elsewhere").write_text("mine", encoding="utf-8")
    (tmp_path / "there" / "tasks.py").symlink_to(tmp_path / "nowhere")
    assert groundrules("init", tmp_path / "there", cwd=tmp_path, expect=2).code == 2
    assert not (tmp_path / "nowhere").exists()
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["tasks.py"]
    groundrules("init", tmp_path / "new", cwd=tmp_path)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["study.yaml", "tasks.py"]


@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
def test_standard_output_can_be_named_as_output(copied: Path, name: str) -> None:
    words = ("export", "tiny", "--format", "yaml")
    plain = groundrules(*words, workspace=copied, cwd=copied).out
    assert plain.startswith("schema: 1")
    assert groundrules(*words, "--output", name, workspace=copied, cwd=copied).out == plain
    assert not (copied / "-").exists()
    rows = groundrules("results", "tiny", workspace=copied, cwd=copied).out
    assert groundrules("results", "tiny", "--output", name, workspace=copied, cwd=copied).out == rows
