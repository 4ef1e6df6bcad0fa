"""What a study would find on a cluster: run there as a job of its own, before the study is.

    python -m studies.cluster.preflight shipped/study.yaml --workspace DIR
        [--tasks-from FILE.py] [--profile NAME]

Prints one line for `studies.cluster.service`: versions, and what is wrong with the study, its data, the
ledger or tracking as seen from there. It trains nothing and writes no study.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from studies.cluster.runnable import CheckedStudy
    from studies.spec.sections import Profile

MARK = "groundrules-preflight "
"""Begins the line that counts; a task file may print what it likes."""
SECONDS = 10.0
LIBRARIES = ("torch", "numpy", "ray", "optuna", "mlflow")


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What was found there; '' means that nothing is wrong."""

    python: str
    executable: str
    versions: dict[str, str]
    """Library -> version; '' where it is not installed."""
    protocol: str = ""
    """The hash of the study's protocol as it would be there."""
    package: str = ""
    """Version of our own package."""
    data: dict[str, str] = field(default_factory=dict)
    """Task -> hash of its content."""
    study: str = ""
    """Why the study cannot be run there."""
    ledger: str = ""
    """Why the ledger cannot be used from there."""
    tracking: str = ""
    """The same of the tracking store."""
    started: dict[str, str] = field(default_factory=dict)
    """Library -> version with which the ledger's study of that name was started; {} where it was not."""
    complete: bool = False
    """The ledger holds all of it."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Looks, and prints what it found."""
    reader = argparse.ArgumentParser(prog="studies.cluster.preflight")
    reader.add_argument("study")
    reader.add_argument("--workspace", type=Path, required=True)
    reader.add_argument("--tasks-from", type=Path)
    reader.add_argument("--profile")
    said = reader.parse_args(arguments)
    os.environ.setdefault("GROUNDRULES_LEDGER_WAIT", "5")  # somebody waits for the answer
    found = Findings(
        python=platform.python_version(),
        executable=sys.executable,
        versions={name: _version(name) for name in LIBRARIES},
    )
    if all(found.versions[name] for name in ("torch", "numpy", "ray", "optuna")):
        found = _looked(found, said.study, said.workspace, said.tasks_from, said.profile)
    print(f"\n{MARK}{json.dumps(asdict(found))}", flush=True)
    os._exit(0)  # no thread of a task file keeps it


def _looked(
    found: Findings, study: str, workspace: Path, tasks_from: Path | None, profile: Profile | None
) -> Findings:
    """The study there, and the ledger and tracking store as they are seen from there."""
    from studies.cluster.runnable import checked_study
    from trainers.versions import versions

    more: dict[str, Any] = {"package": versions()["groundrules"]}
    read: list[CheckedStudy] = []

    def look_at_study() -> None:
        read.append(checked_study(study, tasks_from=tasks_from, profile=profile))
        fixed = read[0].fixed
        more["protocol"] = fixed.hash
        more["data"] = {facts["name"]: facts["content_hash"] for facts in fixed.plain()["facts"]}

    more["study"] = _problem(look_at_study)
    more["ledger"] = _problem(lambda: more.update(_held(workspace, read[0] if read else None)))
    more["tracking"] = _problem(lambda: _tracking(workspace))
    return replace(found, **more)


def _held(workspace: Path, study: CheckedStudy | None) -> dict[str, Any]:
    """What the ledger says of the study; SpecError where it was started with other values."""
    from studies.cluster.status import status_of
    from studies.ledger.ledger import Ledger
    from studies.resume_checks import refuse_changed

    with Ledger.open(workspace, create=True) as ledger:
        row = None if study is None else ledger.find_study(study.spec.study)
        if row is None or study is None:
            return {}
        refuse_changed(row, study.fixed, ledger.workspace)
        return {
            "started": {name: str(version) for name, version in row.terms["versions"].items()},
            "complete": status_of(ledger, row, now_ms=time.time_ns() // 1_000_000).complete,
        }


def _problem(look: Callable[[], None]) -> str:
    """What went wrong, in one line; '' if nothing did."""
    try:
        look()
    except ValueError as error:
        return _line(str(error))
    except Exception as error:  # noqa: BLE001 - a database's driver and a user's file may raise anything
        return _line(f"{type(error).__name__}: {error}")
    return ""


def _tracking(workspace: Path) -> None:
    """ValueError where the tracking store cannot be reached."""
    from studies.site import site_of
    from studies.tracking.database import refuse_unready
    from studies.tracking.server import server_address

    site = site_of(workspace)
    if not site.tracking:
        return
    if not site.tracking.startswith("http"):
        refuse_unready(site.tracking_address, empty_is_fine=True)
        return
    address = server_address(site)
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=SECONDS):
            return
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):  # it is there; who may write shows when it is written to
            return
        raise ValueError(f"MLflow at {address} answers {error.code}") from None
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise ValueError(f"MLflow at {address} cannot be reached ({reason})") from None


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _line(text: str) -> str:
    return " ".join(text.split())[:600]


if __name__ == "__main__":
    main()
