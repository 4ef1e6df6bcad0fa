"""Every `groundrules ...` in infra/ is a command of the program, with options that it has."""

from __future__ import annotations

import re
import shlex

import pytest
from typer.main import get_command

from studies.cli import app
from tests.infra.operators_files import INFRA, document, manifest, shell_blocks

OURS = re.compile(r"(?:run --rm client|(?:^|\s)groundrules) +([a-z]+\b[^|&;#\n]*)", re.MULTILINE)
"""A command in shell text, without what comes before and after it."""


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
    words = [word for word in shlex.split(line) if word not in ("$@",)]
    if ">" in words:
        words = words[: words.index(">")]
    group = get_command(app)
    name, command, rest = group.resolve_command(
        group.make_context("groundrules", ["--help"], resilient_parsing=True), words
    )  # type: ignore[attr-defined]
    assert command is not None
    assert command.make_context(name, list(rest))


def test_the_commands_of_the_service_are_all_shown() -> None:
    shown = {line.split()[0] for line in commands()}
    assert {"submit", "list", "status", "logs", "stop", "resume", "extend", "report", "export"} <= shown
