"""Every `groundrules ...` in infra/ is a command of the program, with options that it has."""

from __future__ import annotations

import re
import shlex

import pytest
import yaml
from typer.main import get_group

from studies.cli import app
from studies.cluster.remote_preflight import ENVIRONMENT
from tests.infra.operators_files import INFRA, document, manifest, shell_blocks

OURS = re.compile(r"(?:run --rm client|(?:^|-- |&& )groundrules) +([a-z]+\b[^|&;#>\n]*)", re.MULTILINE)
"""A command in shell text, without what comes before and after it; not the namespace of that name."""


def lines(text: str) -> list[str]:
    """The commands of ours in shell text."""
    return [found.strip() for found in OURS.findall(re.sub(r"\\\n\s*", "", text))]


def commands() -> list[str]:
    """Every command of ours: in the README, in scripts, in entrypoints."""
    found = [line for block in shell_blocks() for line in lines(block)]
    for name in ("regenerate-defaults.sh",):
        code = "\n".join(
            line
            for line in (INFRA / name).read_text(encoding="utf-8").splitlines()
            if not line.startswith("#")
        )
        found += lines(code)
    for step in next(iter(document("defaults-diff.yaml")["jobs"].values()))["steps"]:
        found += lines(step.get("run", ""))
    found += lines(manifest("RayJob")["spec"]["entrypoint"])
    # What the schedule hands through the script to `groundrules run`.
    script, study, _, *rest = shlex.split(manifest("RayCronJob")["spec"]["jobTemplate"]["entrypoint"])
    assert script == "regenerate-defaults.sh"
    found.append(shlex.join(["run", study, *rest]))
    return sorted(set(found))


@pytest.mark.parametrize("line", commands())
def test_the_program_has_that_command_with_these_options(line: str) -> None:
    words = [word for word in shlex.split(line) if word not in ("$@", "${previous[@]}")]
    known = get_group(app).commands
    assert words[0] in known
    assert known[words[0]].make_context(words[0], words[1:]).command is known[words[0]]


def test_a_job_that_nobody_submitted_has_the_environment_of_one_that_was() -> None:
    once = yaml.safe_load(manifest("RayJob")["spec"]["runtimeEnvYAML"])["env_vars"]
    monthly = yaml.safe_load(manifest("RayCronJob")["spec"]["jobTemplate"]["runtimeEnvYAML"])["env_vars"]
    assert once == ENVIRONMENT
    assert monthly == {**ENVIRONMENT, "GROUNDRULES_WORKSPACE": "/work"}


def test_the_commands_of_the_service_are_all_shown() -> None:
    shown = {line.split()[0] for line in commands()}
    assert {"submit", "list", "status", "logs", "stop", "resume", "extend", "report", "export"} <= shown
