"""Tries the wheel with both ends of the dependency ranges: `python -m tests.ranges [bottom] [top]`.

For each end: a fresh virtual environment, the wheel and the lowest or the newest version that pyproject.toml
allows of every direct dependency, then the quickstart and what a user does with its answer. torch and
torchvision (3 GB) are not installed again: the environment links to the ones of this interpreter, and so
nothing is learnt about their ranges. Takes 10 to 30 minutes and an index of packages; no part of the suite.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

from tests.ranges.wheel import ROOT, built, called

LINKED = ("torch", "torchvision")
HEAVY = re.compile(r"(torch|torchvision|triton|nvidia-.*|cuda-.*)")
"""Distributions that are linked, by name, as far as torch needs them; pip installs the rest."""
STEPS: tuple[tuple[str, ...], ...] = (
    ("plan", "{study}"),
    ("run", "{study}"),
    ("run", "{study}"),
    ("check", "{study}"),
    ("export", "{study}", "--format", "optuna", "--output", "{folder}/space.py"),
    ("export", "{study}", "--format", "python", "--output", "{folder}/net.py"),
    ("results", "{study}", "--format", "parquet", "--output", "{folder}/rows.parquet"),
    ("run", "search", "--engine", "inline"),
)
"""Commands of the program, in this order. The second run must find nothing to do."""
LAST: tuple[tuple[str, ...], ...] = (
    ("archive", "{study}", "--output", "{folder}/away.zip", "--delete", "--yes"),
    ("restore", "{folder}/away.zip"),
    ("check", "{study}"),
    ("compact", "{study}", "--yes"),
    ("delete", "{study}", "--yes"),
)
"""Commands after MLflow was asked what it shows."""
SHOWN = """
import sys
from mlflow.tracking import MlflowClient
client = MlflowClient("sqlite:///" + sys.argv[1] + "/mlflow.db")
(experiment,) = [e for e in client.search_experiments() if e.name == sys.argv[2]]
runs = client.search_runs([experiment.experiment_id], max_results=1000)
assert len(runs) > 100, len(runs)
print("MLflow shows", len(runs), "runs")
"""
"""That MLflow of this version shows what was written into its tables."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Tries the named ends; 0 where all passed, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("ends", nargs="*", metavar="END", help="bottom, top; default: both")
    parser.add_argument("--study", default="quickstart", help="a shipped study, or a study file")
    parser.add_argument("--folder", type=Path, help="where the environments go and stay; default: temporary")
    chosen = parser.parse_args(arguments)
    study = chosen.study if not Path(chosen.study).is_file() else str(Path(chosen.study).resolve())
    with tempfile.TemporaryDirectory(prefix="groundrules-ranges-") as temporary:
        folder = (chosen.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        wheel = built(folder)
        passed = [tried(end, wheel, folder / end, study) for end in chosen.ends or ["bottom", "top"]]
    return 0 if all(passed) else 1


def tried(end: str, wheel: Path, folder: Path, study: str) -> bool:
    """Whether the wheel works with one end of the ranges; prints what was installed and each step."""
    python = folder / "bin" / "python"
    called([sys.executable, "-m", "venv", str(folder)])
    (site,) = folder.glob("lib/python3*/site-packages")
    for file in heavy_files():
        if not os.path.lexists(site / file.name):
            (site / file.name).symlink_to(file)
    pins = [f"{name}=={lowest(python, asked)}" for name, asked in ranges().items()] if end == "bottom" else []
    print(f"{end}: {' '.join(pins) or 'the newest'}", flush=True)
    try:
        called(
            [str(python), "-m", "pip", "uninstall", "--quiet", "--yes", "groundrules"]
        )  # of an earlier try
        called([str(python), "-m", "pip", "install", "--quiet", f"{wheel}[scaleout]", *pins])
        versions = called([str(python), "-m", "pip", "freeze"]).splitlines()
        names = {re.sub(r"[-_.]+", "-", name).lower() for name in (*ranges(), *LINKED)}
        print(" ", *[v for v in versions if re.sub(r"[-_.]+", "-", v.partition("==")[0]).lower() in names])
        for step in commands(folder, study):
            began = time.monotonic()
            last = (called(step, cwd=folder).strip().splitlines() or [""])[-1]
            took = time.monotonic() - began
            print(f"  {' '.join(' '.join(step[1:]).split())[:70]:70} {took:6.0f} s  {last[:100]}", flush=True)
    except subprocess.CalledProcessError as error:
        print(
            f"  FAILED: {' '.join(error.cmd)[:300]}\n{error.stdout[-3000:]}{error.stderr[-6000:]}", flush=True
        )
        return False
    return True


def commands(folder: Path, study: str) -> Iterator[list[str]]:
    """Every step as a command of that environment's program; the exported file runs as well."""
    program, python = str(folder / "bin" / "groundrules"), str(folder / "bin" / "python")
    workspace, name = str(folder / "workspace"), Path(study).stem

    def typed(step: Sequence[str]) -> list[str]:
        named = study if step[0] in ("plan", "run") else name
        return [program, *(w.format(study=named, folder=folder) for w in step), "--workspace", workspace]

    yield from map(typed, STEPS)
    yield [python, "-c", "import net; print(sum(p.numel() for p in net.build_model(8, 3).parameters()))"]
    yield [python, "-c", SHOWN, workspace, name]
    yield from map(typed, LAST)


def ranges() -> Mapping[str, Requirement]:
    """Name -> range, of every direct dependency that is installed anew, the scaleout extra's too."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = map(Requirement, [*project["dependencies"], *project["optional-dependencies"]["scaleout"]])
    return {one.name: one for one in asked if one.name not in LINKED}


def lowest(python: Path, asked: Requirement) -> str:
    """The lowest version of a range that the index has."""
    listed = called([str(python), "-m", "pip", "index", "versions", asked.name])
    (line,) = [line for line in listed.splitlines() if line.startswith("Available versions:")]
    versions = [Version(word) for word in line.partition(":")[2].replace(" ", "").split(",")]
    return str(min(version for version in versions if version in asked.specifier))


def heavy_files() -> set[Path]:
    """The top-level folders and files of torch, and of what it needs and is heavy, where they are now."""
    found: dict[str, Distribution] = {}
    waiting = list(LINKED)
    while waiting:
        name = waiting.pop()
        if name in found or not HEAVY.fullmatch(name):
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:  # an extra, or for another system
            continue
        needed = [Requirement(text) for text in found[name].requires or []]
        waiting += [one.name for one in needed]
    return {
        Path(str(one.locate_file(file.parts[0]))).absolute()
        for one in found.values()
        for file in one.files or ()
        if file.parts[0] not in ("..", "__pycache__")
    }


if __name__ == "__main__":
    sys.exit(main())
