"""The scripts of infra/ that need no server do what they say: secrets, and a release of defaults."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from studies.site import Site
from tests.infra.operators_files import INFRA, ROOT

SECRETS = ("ledger_password", "postgres_password", "ray_token", "tracking_password")


def script(name: str, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs one to its end."""
    return subprocess.run(
        ["bash", str(INFRA / name), *words],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """A copy of infra/ in which prepare.sh has run."""
    folder = tmp_path / "infra"
    folder.mkdir()
    shutil.copy(INFRA / "prepare.sh", folder)
    subprocess.run(["bash", str(folder / "prepare.sh")], check=True, capture_output=True)
    return folder


def test_prepare_makes_secrets_that_their_owner_alone_can_read(prepared: Path) -> None:
    files = sorted((prepared / "secrets").iterdir())
    assert [file.name for file in files] == list(SECRETS)
    texts = [file.read_text(encoding="ascii") for file in files]
    assert all(len(text) == 64 and set(text) <= set("0123456789abcdef") for text in texts)
    assert len(set(texts)) == len(texts)
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert (prepared / ".env").read_text() == f"RUN_AS_UID={os.getuid()}\nRUN_AS_GID={os.getgid()}\n"
    site = Site(workspace=prepared, ledger_password_file=str(files[0]))
    assert site.secret("ledger_password_file") == texts[0]


def test_prepare_changes_nothing_the_second_time(prepared: Path) -> None:
    before = {file: file.read_bytes() for file in (prepared / "secrets").iterdir()}
    (prepared / ".env").write_text("RUN_AS_UID=1234\n")
    subprocess.run(["bash", str(prepared / "prepare.sh")], check=True, capture_output=True)
    assert {file: file.read_bytes() for file in (prepared / "secrets").iterdir()} == before
    assert (prepared / ".env").read_text() == "RUN_AS_UID=1234\n"


def test_check_secrets_lets_good_ones_pass(prepared: Path) -> None:
    run = script("check-secrets.sh", *(str(prepared / "secrets" / name) for name in SECRETS))
    assert (run.returncode, run.stderr) == (0, "")


@pytest.mark.parametrize(
    ("name", "content", "mode", "rule"),
    [("empty", "", 0o600, "missing, empty"), ("open", "secret", 0o640, "may be read by others")],
)
def test_check_secrets_refuses(tmp_path: Path, name: str, content: str, mode: int, rule: str) -> None:
    file = tmp_path / name
    file.write_text(content)
    file.chmod(mode)
    run = script("check-secrets.sh", str(file))
    assert run.returncode == 2
    assert rule in run.stderr
    assert "secret" not in run.stderr.replace("check-secrets", "").replace("secrets", "")


def test_check_secrets_refuses_a_missing_one(tmp_path: Path) -> None:
    run = script("check-secrets.sh", str(tmp_path / "nothing"))
    assert run.returncode == 2
    assert "prepare.sh" in run.stderr


@pytest.fixture
def program(tmp_path: Path) -> dict[str, str]:
    """An environment in which `groundrules` and `python` are this program and this interpreter."""
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, words in (("groundrules", "-m studies.cli"), ("python", "")):
        (commands / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        (commands / name).chmod(0o755)
    return {"PATH": f"{commands}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


def test_a_release_of_defaults_says_what_changed(tmp_path: Path, program: dict[str, str]) -> None:
    variables = {**program, "GROUNDRULES_WORKSPACE": str(tmp_path / "workspace"), "STAMP": "2026-11"}
    whole = (ROOT / "tests" / "blackbox" / "tiny.yaml").read_text(encoding="utf-8")
    study, releases = tmp_path / "tiny.yaml", tmp_path / "releases"
    shorter = whole.replace("  deep: {depth: 4}\n", "").replace("blocks: 2", "blocks: 1")
    study.write_text(shorter, encoding="utf-8")

    def release() -> subprocess.CompletedProcess[str]:
        return script("regenerate-defaults.sh", str(study), str(releases), "--engine", "inline", **variables)

    first = release()
    assert first.returncode == 0, first.stderr
    kept = {f"tiny-2026-11.{end}" for end in ("yaml", "defaults.yaml", "changes.md")}
    assert {file.name for file in releases.iterdir()} == kept | {"tiny.defaults.yaml"}
    newest = yaml.safe_load((releases / "tiny.defaults.yaml").read_text(encoding="utf-8"))
    assert {row["factor"] for row in newest["rows"]} == {"initializer"}
    changes = (releases / "tiny-2026-11.changes.md").read_text(encoding="utf-8")
    assert "textbook" in changes
    assert first.stdout.endswith(changes)

    again = release()
    assert again.returncode == 0
    assert "nothing to do" in again.stdout
    assert (releases / "tiny-2026-11.changes.md").read_text(encoding="utf-8") == changes


def test_a_release_of_no_study_is_refused(tmp_path: Path, program: dict[str, str]) -> None:
    run = script("regenerate-defaults.sh", "nothing-such", str(tmp_path), **program)
    assert run.returncode == 2
    assert "studies/specs/nothing-such.yaml" in run.stderr, "it looked among those that ship"
