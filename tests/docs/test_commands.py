"""What the pages tell a reader to type works as shown: files are written, commands run, in their order."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.main import get_group

from studies.cli import app
from tests.blackbox.program import environment
from tests.docs.pages import PAGES, ROOT, Block, blocks

EVERY_BLOCK = [(page, block) for page, path in PAGES.items() for block in blocks(path)]
RUN = [page for page in PAGES if any(b.language == "sh" and not b.reason for b in blocks(PAGES[page]))]


def test_the_pages_have_what_these_tests_are_about() -> None:
    assert {"tutorial.md", "howto/network.md", "howto/claims.md", "howto/export.md"} <= set(RUN)
    assert len([block for _, block in EVERY_BLOCK if block.language == "sh"]) > 15
    text = "".join(path.read_text(encoding="utf-8") for path in PAGES.values())
    assert len(EVERY_BLOCK) == len(re.findall(r"^```\w", text, re.MULTILINE)), "each fence is understood"


INLINE = """
groundrules() {
    case $1 in
    run | scope) command groundrules "$@" --engine inline ;;
    *) command groundrules "$@" ;;
    esac
}
"""
"""Packs are trained in the program's own process: Ray takes longer to start than these studies to train, and
is tested elsewhere."""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", RUN)
def test_every_command_of_the_page_runs_and_says_what_is_shown(page: str, tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    printed = ""
    for block in blocks(PAGES[page]):
        if block.file:
            (tmp_path / block.file).write_text(block.text, encoding="utf-8")
        if block.language == "sh" and not block.reason:
            ran = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", INLINE + block.text],
                cwd=tmp_path,
                env=environment(PATH=path),
                capture_output=True,
                text=True,
                timeout=800,
                check=False,
            )
            assert ran.returncode == 0, f"{block.text}\n{ran.stdout}\n{ran.stderr}"
            printed += ran.stdout
        if block.language == "text":
            # Numbers of an answer are those of one machine; the level and the word are not.
            assert block.text.splitlines()[0] in printed


@pytest.mark.parametrize(("page", "block"), [(p, b) for p, b in EVERY_BLOCK if b.reason])
def test_a_command_that_is_not_run_is_one_of_the_program(page: str, block: Block) -> None:
    known = get_group(app).commands
    for line in block.commands:
        name, *words = shlex.split(line)
        assert known[name].make_context(name, words).command is known[name]
    made = re.findall(r"^make ([a-z-]+)", block.text, re.MULTILINE)
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(made) <= set(targets)
    modules = re.findall(r"^python -m ([\w.]+)", block.text, re.MULTILINE)
    assert all((ROOT / f"{name.replace('.', '/')}.py").is_file() for name in modules)
    assert block.commands or made or modules, f"{page}: nothing here can be checked"


@pytest.mark.parametrize(("page", "block"), [(p, b) for p, b in EVERY_BLOCK if b.language != "sh"])
def test_code_and_data_that_are_shown_can_be_read(page: str, block: Block) -> None:
    match block.language:
        case "python":
            ast.parse(block.text)
        case "yaml":
            assert isinstance(yaml.safe_load(block.text), dict)
        case other:
            assert other == "text", f"{page}: {other}"
