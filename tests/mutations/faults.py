"""Planted faults: read from YAML, located by function and text, and written into a copy of the code.

A fault names no module, because files move: it names a function (or a class, or a table at the top of a
module) and a text that occurs once in it. Templates and other data are named by the end of their path.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import jinja2
import yaml

HERE = Path(__file__).parent
PACKAGES = ("search_spaces", "trainers", "reports", "studies")
"""Where faults are planted."""

KEYS = {"name", "function", "file", "old", "new", "dies"}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault, and the tests that must fail with it."""

    name: str
    """Unique, in kebab-case."""

    part: str
    """The file it stands in, without its ending."""

    place: str
    """Qualified name of a function, class or table; where `in_file`, the end of a file's path."""

    in_file: bool
    """`place` is a file."""

    old: str
    """Occurs once in the place."""

    new: str
    """What stands there instead."""

    dies: tuple[str, ...]
    """Tests as pytest names them; in each of them something must fail."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", self.name):
            raise ValueError(f"{self.part}.yaml: {self.name!r} is not in kebab-case")
        if not self.dies:
            raise ValueError(f"{self.part}.yaml: {self.name}: dies names no test")
        if not self.old or self.old == self.new:
            raise ValueError(f"{self.part}.yaml: {self.name}: old is empty or the same as new")


@dataclass(frozen=True, kw_only=True)
class Edit:
    """A file as it is with the fault."""

    file: str
    """Below the root of the tree."""

    text: str


def read(folder: Path = HERE) -> list[Fault]:
    """Every fault of the folder's YAML files, file by file.

    Raises:
        ValueError: an entry has another form, or two have one name.
    """
    faults = [_fault(row, path) for path in sorted(folder.glob("*.yaml")) for row in _rows(path)]
    names = [fault.name for fault in faults]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two faults have the name {', '.join(twice)}")
    return faults


def _rows(path: Path) -> list[object]:
    rows = yaml.safe_load(path.read_text(encoding="utf-8")) or []
    if not isinstance(rows, list):
        raise ValueError(f"{path.name} is not a list of faults")
    return rows


def _fault(row: object, path: Path) -> Fault:
    if not isinstance(row, dict):
        raise ValueError(f"{path.name}: {row!r} is no fault")
    name = row.get("name")
    if missing := {"name", "old", "new", "dies"} - set(row):
        raise ValueError(f"{path.name}: {name}: {', '.join(sorted(missing))} missing")
    if unknown := set(row) - KEYS:
        raise ValueError(f"{path.name}: {name}: {', '.join(sorted(unknown))} unknown")
    if ("function" in row) == ("file" in row):
        raise ValueError(f"{path.name}: {name}: either function or file")
    dies = row["dies"]
    return Fault(
        name=str(name),
        part=path.stem,
        place=str(row.get("function") or row["file"]),
        in_file="file" in row,
        old=str(row["old"]),
        new=str(row["new"]),
        dies=tuple(map(str, dies)) if isinstance(dies, list) else (str(dies),),
    )


def planted(fault: Fault, root: Path) -> Edit:
    """The file that changes when the fault is planted in the tree at `root`; nothing is written.

    Raises:
        ValueError: its place is not there or not the only one, or the file no longer compiles.
    """
    places = list(_files(fault.place, root) if fault.in_file else _functions(fault.place, root))
    if not places:
        raise ValueError(f"there is no {'file' if fault.in_file else 'function'} {fault.place}")
    changes = [
        (path, text[:start] + changed + text[end:])
        for path, text, start, end in places
        for changed in _changed(text[start:end], fault)
    ]
    if len(changes) != 1:
        files = ", ".join(path.relative_to(root).as_posix() for path, *_ in places)
        raise ValueError(f"its text occurs {len(changes)} times in {fault.place} ({files}), not once")
    ((path, text),) = changes
    _compile(path, text)
    return Edit(file=path.relative_to(root).as_posix(), text=text)


def _changed(source: str, fault: Fault) -> list[str]:
    """The source once for each occurrence of `old`, replaced there.

    YAML takes the indentation off a text of several lines, so that its later lines may stand any number of
    spaces further right; `new` is moved by as many.
    """
    changed: dict[str, None] = {}
    for count in range(41) if "\n" in fault.old else (0,):
        old, new = (re.sub(r"\n(?=[^\n])", "\n" + " " * count, text) for text in (fault.old, fault.new))
        for match in re.finditer(re.escape(old), source):
            changed[source[: match.start()] + new + source[match.end() :]] = None
    return list(changed)


Place = tuple[Path, str, int, int]
"""A file, its text, and where in it the place begins and ends."""


def _files(name: str, root: Path) -> Iterator[Place]:
    wanted = Path(name).parts
    for package in PACKAGES:
        for path in sorted((root / package).rglob(wanted[-1])):
            if path.parts[-len(wanted) :] == wanted:
                text = path.read_text(encoding="utf-8")
                yield path, text, 0, len(text)


def _functions(name: str, root: Path) -> Iterator[Place]:
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            if name.split(".")[-1] in text:
                for first, last in _definitions(text).get(name, ()):
                    lines = text.splitlines(keepends=True)
                    start = sum(map(len, lines[: first - 1]))
                    yield path, text, start, start + sum(map(len, lines[first - 1 : last]))


@lru_cache(maxsize=512)
def _definitions(text: str) -> dict[str, list[tuple[int, int]]]:
    """Qualified name -> first and last lines of what a module defines by that name."""
    lines: dict[str, list[tuple[int, int]]] = {}
    for name, node in _named(ast.parse(text).body, ""):
        decorators = getattr(node, "decorator_list", [])
        first = min([node.lineno, *(one.lineno for one in decorators)])
        lines.setdefault(name, []).append((first, node.end_lineno or node.lineno))
    return lines


def _named(body: Sequence[ast.stmt], prefix: str) -> Iterator[tuple[str, ast.stmt]]:
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield prefix + node.name, node
            yield from _named(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, ast.Assign):
            yield from ((prefix + one.id, node) for one in node.targets if isinstance(one, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield prefix + node.target.id, node
        else:  # what stands below an `if` or a `with` belongs to whom the statement belongs to
            for inner in (getattr(node, "body", []), getattr(node, "orelse", [])):
                yield from _named(inner, prefix)


def _compile(path: Path, text: str) -> None:
    """Raises ValueError if the file can no longer be read as what its ending says."""
    try:
        if path.suffix == ".py":
            compile(text, str(path), "exec")
        elif path.suffix == ".yaml":
            yaml.safe_load(text)
        elif "templates" in path.parts and path.suffix in (".html", ".j2", ".jinja"):
            jinja2.Environment(autoescape=True).parse(text)
    except (SyntaxError, yaml.YAMLError, jinja2.TemplateSyntaxError) as error:
        raise ValueError(f"with it {path.name} does not compile: {' '.join(str(error).split())}") from error


def missing_tests(fault: Fault, root: Path) -> list[str]:
    """Those of the tests it names that are not in the tree."""
    return [test for test in fault.dies if not _is_there(test, root)]


def _is_there(test: str, root: Path) -> bool:
    file, *names = test.split("[")[0].split("::")
    path = root / file
    if not path.is_file():
        return False
    return not names or ".".join(names) in _definitions(path.read_text(encoding="utf-8"))
