"""Files are written in one place of the code: a walk over the source finds who does it elsewhere."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_architecture import ROOT, modules

DOOR = "trainers/atomic_files.py"
ELSEWHERE = {
    "studies/cli.py": {"tempfile.mkstemp", "os.open"},  # a log of a name that nobody can guess; /dev/null
    "studies/process_setup.py": {"os.open"},  # the null device, in the place of a closed stream
    "studies/execution/scratch_folder.py": {  # the private folder of a run, which mkdtemp has just made
        "tempfile.mkdtemp", "shutil.rmtree", "os.open", "mkdir",
    },
    "studies/execution/local_cluster.py": {"os.open", "write_text"},  # files of that folder
    "studies/execution/watchdog.py": {"shutil.rmtree"},  # that folder, when its driver is gone
    "studies/execution/existing_cluster.py": {"tempfile.mkdtemp", "shutil.rmtree"},  # likewise
    "studies/execution/crash_traces.py": {"open"},  # a file of that folder, named by Ray's id of the trial
    "studies/execution/ray_workers.py": {"mkdir", "touch"},  # likewise
    "studies/ledger/sqlite.py": {"sqlite3.connect", "truncate"},  # after `refuse_database_links`; its lock
    "studies/ledger/free_space.py": {"sqlite3.connect"},  # likewise
    "studies/tracking/sqlite.py": {"sqlite3.connect"},  # likewise
    "studies/tracking/artifact_folder.py": {  # of an object store; a folder that is no link, to be removed
        "makedirs", "shutil.rmtree",
    },
    "studies/lifecycle/archive.py": {  # for rows on their way into the archive
        "tempfile.TemporaryFile", "truncate",
    },
    "studies/tracking/database.py": {"tempfile.TemporaryDirectory"},  # where MLflow makes its tables
    "studies/operations/jobs.py": {"tempfile.TemporaryDirectory"},  # for the file of a submission
    "studies/simulation/full_studies.py": {"tempfile.TemporaryDirectory"},  # for a simulated study
    "studies/tracking/report_artifacts.py": {"makedirs"},  # of an object store
    "trainers/tasks/download.py": {"shutil.copyfile"},  # into the file that `replacing` has made
    "reports/pages/figures.py": {"savefig"},  # into memory
    "studies/operations/results.py": {"write_table"},  # likewise
}  # fmt: skip
"""Module -> what it may do beside the door, and why."""

METHODS = frozenset(
    (
        *("write_text", "write_bytes", "mkdir", "makedirs", "touch", "rename", "symlink_to", "hardlink_to"),
        *("savefig", "to_csv", "to_parquet", "to_json", "to_pickle", "write_table", "savez", "savetxt"),
        *("savez_compressed", "extractall", "mknod", "mkfifo", "truncate", "unpack_archive"),
    )
)
"""Calls that write whatever they are called on."""
FUNCTIONS = frozenset(
    (
        *("os.replace", "os.rename", "os.link", "os.symlink", "os.mkdir", "os.makedirs", "os.truncate"),
        *(
            "shutil.copy",
            "shutil.copy2",
            "shutil.copyfile",
            "shutil.copytree",
            "shutil.move",
            "shutil.rmtree",
        ),
        *("tempfile.mkstemp", "tempfile.mkdtemp", "tempfile.NamedTemporaryFile", "tempfile.TemporaryFile"),
        *("tempfile.TemporaryDirectory", "sqlite3.connect", "np.save", "numpy.save", "torch.save"),
        *("logging.FileHandler", "FileHandler", "RotatingFileHandler", "ZipFile", "tarfile.open"),
    )
)
OPENING = frozenset(("O_WRONLY", "O_RDWR", "O_CREAT"))


def writes(tree: ast.AST) -> Iterator[str]:
    """Every call that may make or change a file, by the name it is called."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        last = name.rpartition(".")[2]
        if name in FUNCTIONS:
            yield name
        elif isinstance(node.func, ast.Attribute) and last in METHODS:
            yield last
        elif last == "open" and _to_write(node, name):
            yield name if name == "os.open" else "open"
        elif ast.unparse(node.func).endswith(".replace") and (len(node.args), node.keywords) == (1, []):
            yield "replace"  # of a path: of text it takes two arguments, of a dataclass names


def _to_write(call: ast.Call, name: str) -> bool:
    """Whether an `open` may write: by a mode that is not plainly one of reading, or by flags."""
    if name == "os.open":
        return any(flag in ast.unparse(call) for flag in OPENING)
    given = [keyword.value for keyword in call.keywords if keyword.arg == "mode"]
    given += call.args[1:2] if name in ("open", "io.open", "gzip.open", "codecs.open") else call.args[:1]
    texts = [value.value for value in given if isinstance(value, ast.Constant)]
    return any(isinstance(text, str) and len(text) <= 3 and set(text) & set("wax+") for text in texts)


def strays(root: Path) -> list[str]:
    """Every writing outside the door, as 'file: call'."""
    found = []
    for path in modules(root):
        file = path.relative_to(root).as_posix()
        if file == DOOR:
            continue
        calls = set(writes(ast.parse(path.read_text(encoding="utf-8"), filename=file)))
        found += [f"{file}: {call}" for call in sorted(calls - ELSEWHERE.get(file, set()))]
    return found


def test_files_are_written_through_the_one_door() -> None:
    assert strays(ROOT) == []


def test_what_is_excused_is_there_to_be_excused() -> None:
    for file, excused in ELSEWHERE.items():
        calls = set(writes(ast.parse((ROOT / file).read_text(encoding="utf-8"), filename=file)))
        assert excused <= calls, file


@pytest.mark.parametrize(
    "line",
    [
        "open(file, 'w')",
        "open(file, mode='ab')",
        "file.open('x')",
        "file.open('r+b')",
        "gzip.open(file, 'wt')",
        "os.open(file, os.O_WRONLY | os.O_CREAT)",
        "file.write_text('')",
        "(folder / 'a').write_bytes(b'')",
        "folder.mkdir()",
        "os.makedirs(folder)",
        "os.replace(a, b)",
        "a.replace(b)",
        "a.rename(b)",
        "shutil.copyfile(a, b)",
        "figure.savefig(file)",
        "parquet.write_table(table, file)",
        "frame.to_csv(file)",
        "sqlite3.connect(file)",
        "tempfile.mkdtemp()",
        "np.savez_compressed(file)",
        "torch.save(model, file)",
        "logging.FileHandler(file)",
        "archive.extractall(folder)",
    ],
)
def test_a_planted_writing_is_found(tmp_path: Path, line: str) -> None:
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "a.py").write_text(f"def f():\n    {line}\n", encoding="utf-8")
    (found,) = strays(tmp_path)
    assert found.startswith("reports/a.py: ")


@pytest.mark.parametrize(
    "line",
    ["open(file)", "file.open('rb')", "text.replace('a', 'b')", "replace(row, a=1)", "Ledger.open(place)"],
)
def test_what_only_reads_is_left_alone(tmp_path: Path, line: str) -> None:
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "a.py").write_text(f"{line}\n", encoding="utf-8")
    assert strays(tmp_path) == []
