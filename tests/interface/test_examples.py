"""Every example in a docstring of the interface runs, in one folder, one after the other."""

from __future__ import annotations

import doctest
import inspect
from pathlib import Path
from typing import Any

import pytest

import groundrules as gr

FIRST = ("plan", "run")
"""The others look at what `run` has trained."""
NOT_RUN = {"resume", "stop", "submit", "ui"}
"""They need a cluster, or never end."""


def examples() -> list[doctest.Example]:
    """In the order in which they run."""
    names = [*FIRST, *(name for name in gr.__all__ if name not in FIRST)]
    found: list[doctest.Example] = []
    for name in names:
        owner = getattr(gr, name)
        if name in ("StudyLike", "TaskLike", "Task"):
            continue
        members = vars(owner).values() if inspect.isclass(owner) else ()
        texts = [inspect.getdoc(getattr(one, "func", one)) for one in (owner, *members)]
        parsed = [doctest.DocTestParser().get_examples(text, name) for text in texts if text]
        found += [example for group in parsed for example in group]
    return found


def test_the_examples_run_as_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    test = doctest.DocTest(examples(), {"gr": gr, "TINY": tiny}, "groundrules", None, None, None)
    said: list[str] = []
    result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=said.append)
    assert result.failed == 0, "".join(said)
    assert result.attempted > 25


def test_only_what_needs_a_cluster_or_never_ends_is_not_run() -> None:
    skipped = {
        name
        for name in gr.__all__
        if (text := inspect.getdoc(getattr(gr, name)))
        and (parsed := doctest.DocTestParser().get_examples(text, name))
        and all(example.options.get(doctest.SKIP) for example in parsed)
    }
    assert skipped == NOT_RUN
