"""Every line of shell in infra/ is sound: scripts, blocks of the README, commands in YAML."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.infra.operators_files import INFRA, ROOT, document, manifest, shell_blocks
from tests.surroundings import installed_tool

SCRIPTS = sorted([*INFRA.rglob("*.sh"), *(ROOT / ".ci").iterdir()])


def shellcheck(text: str, *options: str) -> str:
    """What shellcheck says of a script; '' if nothing."""
    run = subprocess.run(
        [installed_tool("shellcheck"), "--shell", "bash", *options, "-"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode in (0, 1), run.stderr
    return run.stdout


def commands() -> dict[str, str]:
    """The commands that YAML files hand to a shell."""
    config = document("ray-cluster.yaml")
    kinds = [name for name in config if name.endswith("_commands")]
    found = {f"{kind} {i}": line for kind in kinds for i, line in enumerate(config[kind])}
    found["RayJob entrypoint"] = manifest("RayJob")["spec"]["entrypoint"]
    found["RayCronJob entrypoint"] = manifest("RayCronJob")["spec"]["jobTemplate"]["entrypoint"]
    (job,) = document("defaults-diff.yaml")["jobs"].values()
    found |= {f"workflow {step['name']}": step["run"] for step in job["steps"] if "run" in step}
    return found


@pytest.mark.parametrize("file", SCRIPTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_script_is_sound(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert shellcheck(text) == ""
    assert text.startswith("#!/usr/bin/env bash\n")
    assert "\nset -euo pipefail\n" in text
    assert file.stat().st_mode & 0o100 or file.parent.name == ".ci", "it is called by its name"


@pytest.mark.parametrize("text", shell_blocks(), ids=lambda text: text.splitlines()[0][:40])
def test_a_block_of_the_readme_is_sound(text: str) -> None:
    assert shellcheck(text) == ""


@pytest.mark.parametrize("name", sorted(commands()))
def test_a_command_in_yaml_is_sound(name: str) -> None:
    # SC2154: Ray sets RAY_HEAD_IP. SC2086: it is an address.
    assert shellcheck(commands()[name], "--exclude", "SC2154,SC2086") == ""


def test_a_planted_mistake_is_found() -> None:
    assert "SC2086" in shellcheck("file=$1\nrm $file\n")
