"""YAML files as plain data: no tags, no aliases, no key twice, and limits on size and depth.

Study files and site files come from people; nothing in them may run, and no small file may grow large.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from reports.io.safe_paths import TooLongError, read_bounded
from reports.io.yaml_limits import YamlLimitError, examine
from studies.spec.errors import SpecError

MAX_VALUES = 10_000
"""Names and values of one file; the longest that ships has a few hundred."""
MOST_DIGITS = 18
"""Of a whole number, so that it fits in 64 bits and in a float."""


def read_yaml(file: Path, name: str) -> dict[str, Any]:
    """The mapping that a file holds.

    Args:
        file: where it lies.
        name: what errors call it.

    Raises:
        SpecError: not readable, longer than `reports.io.safe_paths.LONGEST`, or not plain YAML.
    """
    try:
        text = read_bounded(file).decode("utf-8")
    except TooLongError as error:
        raise SpecError(name, "", str(error)) from None
    except UnicodeDecodeError as error:
        raise SpecError(name, "", f"must be UTF-8 text ({error})") from None
    except OSError as error:
        raise SpecError(name, "", f"cannot be read ({error})") from None
    return parse_yaml(text, name)


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


def _whole(_: Any, node: Any) -> int:
    if len(node.value) > MOST_DIGITS:
        raise ValueError(f"a whole number has at most {MOST_DIGITS} digits, not {len(node.value)}")
    return int(node.value)


_Loader.add_constructor("tag:yaml.org,2002:int", _whole)
_Loader.add_constructor(
    "tag:yaml.org,2002:float", lambda _, node: float(re.sub(r"\.(?=[a-zA-Z])", "", node.value))
)


def parse_yaml(text: str, file: str) -> dict[str, Any]:
    """The text as plain data; SpecError for anything that is not: aliases, duplicates, tags, depth."""
    try:
        examine(text, _Loader, most=MAX_VALUES)
        loader = _Loader(text)
        root = loader.get_single_node()
        if not isinstance(root, yaml.MappingNode):
            raise SpecError(file, "", "must be a mapping of keys to values")
        _refuse_duplicates(root, file)
        data: dict[str, Any] = loader.construct_document(root)
        return data
    except YamlLimitError as error:
        raise SpecError(file, f"line {error.line}", error.rule) from None
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
    """The text of plain data, as `parse_yaml` reads it back."""
    out = io.StringIO()
    writer = _Dumper(out, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None)
    writer.open()
    writer.represent(dict(data))
    writer.close()
    return out.getvalue()


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
