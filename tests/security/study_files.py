"""Attacks by study files and site files: they are data, and what they ask for has ceilings."""

from __future__ import annotations

import json
import os
import re
import time
import tracemalloc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from studies.load_study import parse
from studies.site import site_of
from studies.spec.yaml_reader import parse_yaml
from tests.blackbox.program import TINY, invoked
from tests.security.attack import Attack, marker, refused, refused_site, refused_study

SPEC = TINY.read_text(encoding="utf-8")
SEARCH = (TINY.parents[2] / "studies" / "specs" / "search.yaml").read_text(encoding="utf-8")


def with_line(line: str, *, instead_of: str = "") -> str:
    """The tiny study with one more line, or with another in place of one of its keys'."""
    kept = [one for one in SPEC.splitlines() if not instead_of or not one.startswith(instead_of)]
    return "\n".join([*kept, line, ""])


def runs_a_command(folder: Path) -> str:
    target = marker(folder)
    said = ""
    for tag in (
        f"!!python/object/apply:os.system ['touch {target}']",
        f"!!python/object/apply:subprocess.check_output [['touch', '{target}']]",
        f"!!python/object/new:os.system ['touch {target}']",
        "!!python/name:os.system",
        "!!python/module:antigravity",
        "!<tag:yaml.org,2002:python/object/apply:os.getcwd> []",
        "!!binary aGVsbG8=",
        "!include /etc/passwd",
    ):
        said = refused_study(folder, with_line(f"title: {tag}", instead_of="title"), "tag", "plain data")
    return said


def grows_by_aliases(folder: Path) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    return refused_study(folder, "\n".join([SPEC, *lines]), "aliases")


def nests_deep(folder: Path) -> str:
    for deep in ("[" * 100_000, "{a: " * 100_000, "- " * 100_000, "? " * 100_000):
        said = refused_study(folder, with_line(f"title: {deep}", instead_of="title"))
    return said


@contextmanager
def little_memory(most: int = 50_000_000) -> Iterator[None]:
    """Fails where more than so many bytes of Python objects are alive at a time."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < most, f"{peak} bytes"


def is_huge(folder: Path) -> str:
    file = folder / "study.yaml"
    with file.open("wb") as out:
        out.truncate(10_000_000_000)  # sparse: ten gigabytes of zeros that lie nowhere
    with little_memory():
        said = refused(invoked("plan", file, workspace=folder / "w"), "at most 1000000")
        site = folder / "site.yaml"
        os.link(file, site)
        refused_site(folder, "at most 1000000")
    return said


def holds_a_million_values(folder: Path) -> str:
    return refused_study(folder, with_line("fixed: [" + "[]," * 330_000 + "]"), "at most 10000")


def is_a_pipe_or_device(folder: Path) -> str:
    os.mkfifo(folder / "pipe")
    for file in (folder / "pipe", Path("/dev/zero"), folder):
        said = refused(invoked("plan", file, workspace=folder / "w"), "no such file")
        refused(invoked("run", file, workspace=folder / "w"), "no such file")
        refused(invoked("export", "tiny", "--previous", file, workspace=folder / "w"))
    (folder / "site.yaml").unlink(missing_ok=True)
    os.symlink("/dev/zero", folder / "site.yaml")
    assert not site_of(folder).ledger  # no file, so no site
    return said


def names_leave_their_folder(folder: Path) -> str:
    for name in (
        "../x", "/tmp/x", "..", ".", "a/b", "a\\b", "x\\0y", "x" * 65, "tiny\\n", "", "index.html", "~", "ä",
        "%2e%2e", "$HOME", "a b", "-", "\\u2025",
    ):  # fmt: skip
        if name == "-":
            continue  # an ordinary name
        said = refused_study(folder, with_line(f'study: "{name}"', instead_of="study"), "study")
    for words in (["report", "../../etc"], ["replay", "../x"], ["results", "/etc/passwd"], ["export", ".."]):
        refused(invoked(*words, workspace=folder / "workspace"))
    return said


def asks_for_a_billion_cells(folder: Path) -> str:
    budget = "{families: 1000, blocks: 1000, trials: 1, promoted: 1, promote_seeds: 1, confirm_seeds: 1}"
    with little_memory():
        started = time.process_time()
        said = refused_study(folder, with_line(f"budget: {budget}", instead_of="budget"), "at most 1000000")
        seconds = time.process_time() - started
        levels = {f"l{i}": {"learning_rate": 0.01 + 0.0005 * i} for i in range(100)}
        questions = [{"factor": f"q{i}", "levels": levels} for i in range(50)]
        few = "{families: 30, blocks: 1, trials: 1, promoted: 1, promote_seeds: 1, confirm_seeds: 1}"
        many = parse_yaml(f"budget: {few}", "budget") | {"questions": questions, "nuisance": []}
        _refused_data(many, "at most 100000")
    return f"{said} (after {seconds:.2f} s)"


def asks_for_endless_backgrounds(folder: Path) -> str:
    from search_spaces.catalog import FACTORS

    many = {name: list(factor.names) for name, factor in FACTORS.items() if name not in ("initializer",)}
    many = {name: many[name] for name in ("activation", "optimizer", "schedule", "normalization", "dropout")}
    regimes = {f"r{i}": {"depth": 1 + i} for i in range(40)}
    with little_memory():
        said = _refused_data({"background": many, "fixed": {}, "regimes": regimes}, "at most 20000")
        values = {name: list(range(20, 120)) for name in ("batch_size", "width", "steps", "train_size")}
        search = parse_yaml(SEARCH, "search.yaml") | {"space": values}
        _refused_data(search, "at most 20000", whole=True)
        _refused_data(search | {"space": {"width": list(range(1, 500))}}, "at most 100", whole=True)
    return said


def asks_for_huge_members(folder: Path) -> str:
    _refused_data(
        {"setting": {"width": 4096, "depth": 100, "steps": 80, "evaluations": 4}, "regimes": {"a": {}}}, "GB"
    )
    _refused_data({"nuisance": {"width": {"low": 1, "high": 4096}}, "regimes": {"a": {"depth": 99}}}, "GB")
    many = {
        "budget": {"families": 3, "blocks": 1000, "trials": 40},
        "setting": {"evaluations": 1000, "steps": 1000},
    }
    _refused_data(many | {"regimes": {"a": {}}}, "at most 100000000")
    return _refused_data({"regimes": {"a": {"width": 4096, "depth": 100}}}, "at most 4 GB")


def has_numbers_that_are_none(folder: Path) -> str:
    said = ""
    for number in (
        ".nan",
        ".inf",
        "-.inf",
        "1e999",
        "true",
        "-1",
        "0",
        "1.5",
        "'3'",
        "9" * 400,
        "[3]",
        "0x10",
        "1_000",
    ):
        for line, key in (
            (f"budget: {{families: {number}}}", "budget"),
            (f"budget: {{trials: {number}}}", "budget"),
            (f"setting: {{width: {number}}}", "setting"),
            (f"pack_size: {number}", "pack_size"),
            (f"alpha: {number}", "alpha"),
            (f"nuisance: {{learning_rate: {{low: {number}, high: {number}}}}}", "nuisance"),
        ):
            said = refused_study(folder, with_line(line, instead_of=key))
    refused_study(
        folder, with_line("nuisance: {learning_rate: {low: .nan, high: .inf}}", instead_of="nuisance")
    )
    return said


def wants_code_or_addresses(folder: Path) -> str:
    said = ""
    for key in ("tasks_from", "runtime_env", "_target_", "import", "include", "env", "plugins", "defaults"):
        said = refused_study(folder, with_line(f"{key}: os.system"), f"unknown key '{key}'")
        file = folder / "site.yaml"
        file.write_text(f"{key}: os.system\n", encoding="utf-8")
        refused_site(folder, f"unknown key '{key}'")
    for task in ("os.system", "http://example.org/x", "/etc/passwd", "file:///etc/passwd", "../wine"):
        refused_study(folder, with_line(f"tasks: ['{task}']", instead_of="tasks"), "task")
    for text in ("${HOME}", "$(touch x)", "{{ 7 * 7 }}", "%(HOME)s", "lambda: 0", "${oc.env:HOME}"):
        refused_study(folder, with_line(f"fixed: {{activation: '{text}'}}", instead_of="fixed"), text)
    titled = parse_yaml(with_line("title: ${HOME} {{ 7 * 7 }}", instead_of="title"), "mine")
    assert parse(titled).title == "${HOME} {{ 7 * 7 }}", "nothing is put in its place"
    return said


def says_a_key_twice(folder: Path) -> str:
    refused_study(
        folder, with_line("fixed: {activation: relu, activation: elu}", instead_of="fixed"), "twice"
    )
    refused_study(folder, with_line("<<: {study: other}"), "unknown key '<<'")
    return refused_study(folder, SPEC + "study: other\n", "'study' occurs twice")


def hides_control_characters(folder: Path) -> str:
    said = ""
    for code in ("\\e[2J", "\\u202e", "\\x07", "\\x9b31m", "\\ud800", "\\u2066", "\\x00"):
        said = refused_study(folder, with_line(f'title: "a{code}b"', instead_of="title"), "control character")
    refused_study(folder, SPEC.encode() + b"#\x1b[2J\n")
    refused_study(folder, b"\xff\xfe" + SPEC.encode("utf-16-le"), "UTF-8")
    return said


def _refused_data(changes: Mapping[str, Any], word: str, *, whole: bool = False) -> str:
    data = dict(changes) if whole else parse_yaml(SPEC, "tiny") | dict(changes)
    with pytest.raises(ValueError, match=re.escape(word)) as caught:
        parse(json.loads(json.dumps(data)), file="mine.yaml")
    return str(caught.value)


ATTACKS = tuple(
    Attack(name=name, points=points, try_it=try_it)
    for name, points, try_it in (
        ("YAML tags that run commands or make objects", (1, 2), runs_a_command),
        ("YAML aliases that grow to 10^10 values", (1, 4), grows_by_aliases),
        ("100,000 levels of nesting", (4,), nests_deep),
        ("a study file or site file of 10 GB", (4,), is_huge),
        ("a file of 1 MB with 330,000 values", (4,), holds_a_million_values),
        ("a pipe or /dev/zero in place of a file", (4,), is_a_pipe_or_device),
        ("study names that are paths", (6,), names_leave_their_folder),
        ("10^9 cells", (4, 5), asks_for_a_billion_cells),
        ("endless combinations of backgrounds or choices", (4,), asks_for_endless_backgrounds),
        ("members of many gigabytes, endless curves", (4,), asks_for_huge_members),
        ("NaN, infinity, negatives, true, 400 digits for numbers", (3,), has_numbers_that_are_none),
        ("keys, tasks, texts that name code, URLs, paths, variables", (2, 7), wants_code_or_addresses),
        ("a key twice, a merge key", (1,), says_a_key_twice),
        ("terminal codes and reversed text in a title", (15, 16), hides_control_characters),
    )
)
