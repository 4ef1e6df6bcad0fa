"""Folders and files as the command line takes them: a word that can name one, or a sentence why it cannot."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path

import typer

DEFAULT_WORKSPACE = Path("groundrules-workspace")
LONGEST_NAME = 255
"""Bytes of one name, on every file system in common use."""
LONGEST_PATH = 3800
"""Bytes of a whole path: Linux takes 4095, and reports and artifacts lie some folders deeper."""
WORKSPACE_VARIABLE = "GROUNDRULES_WORKSPACE"


def place(word: str | Path) -> Path:
    """A path as it was typed; typer.BadParameter where it is none.

    An empty word is what a shell variable that was not set leaves behind, and would mean the current folder.
    """
    text = str(word)
    if not text.strip():
        raise typer.BadParameter("it is empty (a shell variable that was not set?); name a file or folder")
    if text.startswith("-"):
        rule = f"'{text[:40]}' looks like an option (a shell variable that was not set?); say ./{text[:40]}"
        raise typer.BadParameter(rule)
    try:
        raw = text.encode("utf-8")
    except UnicodeEncodeError:
        shown = os.fsencode(text).decode("utf-8", "backslashreplace")
        rule = f"'{shown}' holds bytes that are not UTF-8; rename it, or go through a link with another name"
        raise typer.BadParameter(rule) from None
    for name in text.split("/"):
        if len(name.encode()) > LONGEST_NAME:
            rule = f"'{name[:40]}...' has {len(name.encode())} bytes; a name has at most {LONGEST_NAME}"
            raise typer.BadParameter(rule)
    if len(os.fsencode(os.path.abspath(text))) > LONGEST_PATH:
        raise typer.BadParameter(f"the path has {len(raw)} bytes; it may have {LONGEST_PATH}")
    return Path(text)


def output_place(word: str | Path) -> Path:
    """As `place`; '-' is the standard output."""
    return Path("-") if str(word) == "-" else place(word)


def workspace_place(default: Path) -> Callable[[str | Path], Path]:
    """As `place`, where an environment variable names a folder too.

    Args:
        default: what is taken where nothing is said.
    """

    def parse(word: str | Path) -> Path:
        if word == default and os.environ.get(WORKSPACE_VARIABLE) == "":
            raise typer.BadParameter(f"{WORKSPACE_VARIABLE} is empty; name a folder, or unset it")
        return place(word)

    return parse


def as_typed(*words: str | Path, workspace: Path | None = None) -> str:
    """A command to be copied into a shell, whatever is in its words.

    Args:
        words: behind the program's name.
        workspace: added unless it is the one that is meant where nothing is said.
    """
    there = [] if workspace is None or workspace == DEFAULT_WORKSPACE else ["--workspace", str(workspace)]
    return shlex.join(["groundrules", *map(str, words), *there])
