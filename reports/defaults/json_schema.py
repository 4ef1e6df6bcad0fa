"""The schema of a defaults file as JSON Schema (draft 2020-12), made from the dataclasses that read it.

`schemas/defaults-1.json` is this module's output, published for other programs; a test keeps them equal.
The version rule: a schema may get new keys that files may lack (`plain.later`), and old files of it stay
readable; a key that is renamed, removed, made necessary or given another meaning makes it the next schema.
`python -m reports.defaults.json_schema` prints it.
"""

from __future__ import annotations

import json
import types
from dataclasses import fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from reports.defaults.schema import SCHEMA, Defaults
from reports.io.dataclass_files import is_later

WORDS = {str: "string", int: "integer", float: "number", bool: "boolean"}


def json_schema() -> dict[str, Any]:
    """The schema that a file of this version satisfies; values may break rules that no schema can say."""
    found = _object(Defaults)
    found["properties"]["schema"] = {"const": SCHEMA}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"groundrules/defaults-{SCHEMA}.json",
        "title": "Recommended defaults with their evidence",
        **found,
    }


def _object(kind: type[Any]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind)]
    return {
        "type": "object",
        "properties": {name: _schema(hints[name]) for name in names},
        "required": [one.name for one in fields(kind) if not is_later(one)],
        "additionalProperties": False,
    }


def _schema(hint: Any) -> dict[str, Any]:
    origin, inside = get_origin(hint), get_args(hint)
    if is_dataclass(hint):
        assert isinstance(hint, type)
        return _object(hint)
    if origin in (Union, types.UnionType):
        (kind,) = (kind for kind in inside if kind is not types.NoneType)
        return {"anyOf": [_schema(kind), {"type": "null"}]}
    if origin is Literal:
        return {"enum": list(inside)}
    if origin is tuple:
        if inside[-1] is Ellipsis:
            return {"type": "array", "items": _schema(inside[0])}
        return {"type": "array", "prefixItems": [_schema(kind) for kind in inside], "items": False,
                "minItems": len(inside)}  # fmt: skip
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(inside[1])}
    return {"type": WORDS[hint]}


def text() -> str:
    """The schema as it is published."""
    return json.dumps(json_schema(), indent=2) + "\n"


if __name__ == "__main__":
    print(text(), end="")
