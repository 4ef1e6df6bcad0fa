"""YAML files as plain data: no tags, no aliases, no key twice, and limits on size and depth.

Study files and site files come from people; nothing in them may run, and no small file may grow large.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from studies.mistakes import SpecError

MAX_BYTES = 1_000_000
MAX_NESTING = 20


def read_plain(file: Path, name: str) -> dict[str, Any]:
    """The mapping that a file holds.

    Args:
        file: where it lies.
        name: what errors call it.

    Raises:
        SpecError: not readable, longer than `MAX_BYTES`, or not plain YAML.
    """
    try:
        data = file.read_bytes()
        if len(data) > MAX_BYTES:
            raise SpecError(name, "", f"{len(data)} bytes; such a file has at most {MAX_BYTES}")
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SpecError(name, "", f"must be UTF-8 text ({error})") from None
    except OSError as error:
        raise SpecError(name, "", f"cannot be read ({error})") from None
    return parse_plain(text, name)


class _Loader(yaml.SafeLoader):
    """Scalars by YAML 1.2's core rules: `no` and `1:30` are text, `1e-3` is a number."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _starts in (
    ("null", r"(?:~|null|)", ["~", "n", ""]),
    ("bool", r"(?:true|false)", list("tf")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("float", r"(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))", list("-+.")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^{_pattern}$"), _starts)
_Loader.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value))
_Loader.add_constructor(
    "tag:yaml.org,2002:float", lambda _, node: float(re.sub(r"\.(?=[a-zA-Z])", "", node.value))
)


def parse_plain(text: str, file: str) -> dict[str, Any]:
    """The text as plain data; SpecError for anything that is not: aliases, duplicates, tags, depth."""
    try:
        depth = 0
        for event in yaml.parse(text, Loader=_Loader):
            line = _line(event.start_mark)
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise SpecError(file, line, "anchors and aliases are not allowed; write the value out")
            tag = getattr(event, "tag", None)
            if tag not in (None, "!"):
                raise SpecError(file, line, f"the tag {tag} is not allowed; study files are plain data")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_NESTING:
                raise SpecError(file, line, f"nested deeper than {MAX_NESTING}")
        loader = _Loader(text)
        root = loader.get_single_node()
        if not isinstance(root, yaml.MappingNode):
            raise SpecError(file, "", "must be a mapping of keys to values")
        _refuse_duplicates(root, file)
        data: dict[str, Any] = loader.construct_document(root)
        return data
    except yaml.YAMLError as error:
        line = _line(getattr(error, "problem_mark", None))
        raise SpecError(file, line, f"not valid YAML ({getattr(error, 'problem', None) or error})") from None
    except ValueError as error:
        if isinstance(error, SpecError):
            raise
        raise SpecError(file, "", f"not valid YAML ({error})") from None


class _Dumper(yaml.SafeDumper):
    """Quotes what our loader would not read as text, and writes everything out."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers


def plain_text(data: Mapping[str, Any]) -> str:
    """The text of plain data, as `parse_plain` reads it back."""
    return str(
        yaml.dump(
            dict(data),
            Dumper=_Dumper,
            sort_keys=False,
            allow_unicode=True,
            width=110,
            default_flow_style=None,
        )
    )


def _refuse_duplicates(node: yaml.Node, file: str) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            line = _line(key.start_mark)
            if not isinstance(key, yaml.ScalarNode):
                raise SpecError(file, line, "keys must be plain words")
            if key.value in seen:
                raise SpecError(file, line, f"the key '{key.value}' occurs twice")
            seen.add(key.value)
            _refuse_duplicates(value, file)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _refuse_duplicates(value, file)


def _line(mark: Any) -> str:
    return f"line {mark.line + 1}" if mark else ""
