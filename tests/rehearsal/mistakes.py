"""What a user may get wrong: one message, exit 2, and nothing on the cluster that was not there before."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.rehearsal.client import Client
from tests.rehearsal.scenes import Outcome, study_file
from tests.rehearsal.stage import Stage


def mistakes(stage: Stage, user: Client, file: Path) -> Iterator[Outcome]:
    """Each mistake in turn.

    Args:
        stage: with the cluster.
        user: who makes them.
        file: of a study that the ledger holds.
    """
    before = {job.id for job in stage.api.jobs()}
    ray, optuna = (_claiming(user.home / name, name) for name in ("ray", "optuna"))
    submit = ("submit", file)
    tried: tuple[tuple[str, tuple[str | Path, ...], dict[str, str], str], ...] = (
        ("a wrong token", submit, {"RAY_AUTH_TOKEN": "0" * 64}, "does not take this token"),
        ("another Ray here than there", submit, {"PYTHONPATH": str(ray)}, "the cluster has ray"),
        ("another Optuna here than there", submit, {"PYTHONPATH": str(optuna)}, "the cluster has optuna"),
        (
            "a Python there without the libraries",
            (*submit, "--python", "/usr/bin/python3"),
            {},
            "--python names",
        ),
        (
            "a study that was started with other values",
            ("submit", _changed(user, file)),
            {},
            "was started in",
        ),
        ("a task file that is not there", (*submit, "--tasks-from", "none.py"), {}, "no file none.py"),
        ("an unknown study", ("stop", "nowhere"), {}, file.stem),
    )
    for what, arguments, environment, word in tried:
        ran = user.run(*arguments, expect=None, environment=environment)
        lines = [line for line in ran.err.splitlines() if not line.endswith("...")]
        right = ran.code == 2 and not ran.out and len(lines) == 1 and word in lines[0]
        yield Outcome(what=what, found=f"{ran.code}: {' / '.join(lines)}", right=right)
    left = {job.id for job in stage.api.jobs()} - before
    yield Outcome(what="jobs that this left on the cluster", found=str(len(left)), right=not left)


def _changed(user: Client, file: Path) -> Path:
    """The same study with more steps, in another file."""
    other = study_file(user.home, "changed", file)
    text = re.sub(r"steps: (\d+)", r"steps: 1\1", other.read_text(encoding="utf-8"), count=1)
    other.write_text(text.replace("study: changed", f"study: {file.stem}"), encoding="utf-8")
    return other


def _claiming(folder: Path, library: str) -> Path:
    """A folder that says of a library, to whoever has it on its path, that a later version is installed."""
    place = folder / f"{library}-99.1.0.dist-info"
    place.mkdir(parents=True)
    text = f"Metadata-Version: 2.1\nName: {library}\nVersion: 99.1.0\n"
    (place / "METADATA").write_text(text, encoding="utf-8")
    return folder
