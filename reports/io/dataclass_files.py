"""Frozen dataclasses to JSON-ready data, and strictly back by pydantic: no unknown or missing keys."""

from __future__ import annotations

import json
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, field, fields, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_type_hints

from reports.io.control_characters import acting
from search_spaces.factor import unknown

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

Noun = TypeVar("Noun")

RULES: Mapping[str, str] = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a finite number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "dataclass_type": "a mapping",
}
"""pydantic's type of error -> what the value must be."""


def optional_field() -> Any:
    """A field that was added to a schema after files of it had been written: a file without it means None.

    Where it is None it is not written, so that an older file reads back, and hashes, as it is.
    """
    return field(default=None, metadata={"later": True})


def is_later(one: Field[Any]) -> bool:
    """Whether files of this schema may lack the field."""
    return bool(one.metadata.get("later"))


def to_dict(value: Any) -> Any:
    """`value` as dicts, lists and scalars, keys in field order (of mappings: sorted)."""
    if is_dataclass(value) and not isinstance(value, type):
        return {
            one.name: to_dict(getattr(value, one.name))
            for one in fields(value)
            if not (is_later(one) and getattr(value, one.name) is None)
        }
    if isinstance(value, Mapping):
        return {key: to_dict(value[key]) for key in sorted(value)}
    if isinstance(value, tuple | list):
        return [to_dict(item) for item in value]
    return value


def json_text(value: Any) -> str:
    """`value` as a JSON file, in the order of its fields; ValueError for a number that is not finite."""
    return json.dumps(to_dict(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def yaml_text(value: Any) -> str:
    """`value` as a YAML file, in the order of its fields."""
    import yaml

    return str(
        yaml.safe_dump(
            to_dict(value), sort_keys=False, allow_unicode=True, width=110, default_flow_style=None
        )
    )


def from_dict(kind: type[Noun], data: Any, where: str) -> Noun:
    """The inverse of `to_dict` for the dataclass `kind`.

    Args:
        kind: A dataclass whose fields are str, int, float, bool, None, Literal, tuples, string mappings
            or such dataclasses.
        data: Dicts, lists and scalars from outside.
        where: What to call it in messages.

    Raises:
        ValueError: With the place, the rule and the value.
    """
    from pydantic import ValidationError

    refuse_text(data, where)
    try:
        # pydantic's strict mode takes lists for tuples, and mappings for dataclasses, from JSON alone.
        value: Noun = adapter(kind).validate_json(json.dumps({where: data}))[where]  # type: ignore[arg-type]
    except ValidationError as error:
        raise _in_our_words(kind, error) from None
    if absent := next(_absent(to_dict(value), data, where), None):
        raise ValueError(absent)
    return value


@cache
def adapter(kind: type[Noun]) -> TypeAdapter[dict[str, Noun]]:
    """Reads {name of a file: its content}; without the mapping pydantic takes no rules for a dataclass."""
    from pydantic import ConfigDict, TypeAdapter

    noun: Any = kind
    _hints(noun)
    config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    return TypeAdapter(dict[str, kind], config=config)  # type: ignore[valid-type]


def refuse_text(data: Any, where: str, *, more: str = "") -> None:
    """ValueError for control characters, for the characters in `more`, and for what JSON does not have."""
    if isinstance(data, dict):
        for key, value in data.items():
            if not isinstance(key, str):
                raise ValueError(f"{where}: a key must be text, not {_shown(key)}")
            refuse_text(key, f"key of {where}", more=more)
            refuse_text(value, f"{where}.{key}", more=more)
    elif isinstance(data, list):
        for i, value in enumerate(data):
            refuse_text(value, f"{where}[{i}]", more=more)
    elif isinstance(data, str):
        code = acting(data) or next((f"U+{ord(char):04X}" for char in data if char in more), "")
        if code:
            raise ValueError(f"{where} must be text without control characters, not with {code}")
    elif not isinstance(data, bool | int | float | None):
        raise ValueError(f"{where} must be text or a number, not {_shown(data)}")


def _absent(written: Any, data: Any, where: str) -> Iterator[str]:
    """Keys that the value is written with and the data lack: a default of a dataclass fills nothing in."""
    if isinstance(written, dict):
        for key, value in written.items():
            if key in data:
                yield from _absent(value, data[key], f"{where}.{key}")
            else:
                yield f"{where} lacks the key '{key}'"
    elif isinstance(written, list):
        for i, (value, item) in enumerate(zip(written, data, strict=True)):
            yield from _absent(value, item, f"{where}[{i}]")


def _in_our_words(kind: type[Any], error: ValidationError) -> ValueError:
    """The first rule that the data break: an unknown key before the one that it may have been meant for."""
    errors = error.errors(include_url=False)
    first = next((one for one in errors if one["type"] == "unexpected_keyword_argument"), errors[0])
    root, *path = first["loc"]
    above, last = f"{root}{_place(path[:-1])}", path[-1] if path else ""
    where, context = f"{root}{_place(path)}", first.get("ctx", {})
    match first["type"]:
        case "unexpected_keyword_argument":
            return unknown(f"key of {above}", last, _keys(kind, path[:-1]))
        case "missing" if isinstance(last, str):
            return ValueError(f"{above} lacks the key '{last}'")
        case "missing":
            return ValueError(f"{above} must have more than {last} entries")
        case "too_long":
            return ValueError(f"{where} must have at most {context['max_length']} entries")
        case "literal_error":
            allowed = context["expected"].replace(" or ", ", ").replace("'", "").split(", ")
            return unknown(f"value of {where}", first["input"], allowed)
        case "value_error":
            return ValueError(f"{root}: {context['error']}")
    rule = RULES.get(first["type"], first["msg"].removeprefix("Input should be "))
    return ValueError(f"{where} must be {rule}, not {_shown(first['input'])}")


def _place(path: Sequence[int | str]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)


@cache
def _hints(kind: Any) -> Mapping[str, Any]:
    """Field -> type. Python evaluates the annotations, which reading a file must not: `adapter` is first."""
    hints = get_type_hints(kind)
    for hint in hints.values():
        for inner in (hint, *get_args(hint)):
            if isinstance(inner, type) and is_dataclass(inner):
                _hints(inner)
    return hints


def _keys(kind: Any, path: Sequence[int | str]) -> tuple[str, ...]:
    """The fields of the dataclass at `path` in a file of `kind`."""
    for step in path:
        kind = _hints(kind)[step] if isinstance(step, str) else get_args(kind)[0]
        kind = get_args(kind)[0] if isinstance(kind, types.UnionType) else kind
    return tuple(one.name for one in fields(kind))


def _shown(data: Any) -> str:
    text = repr(data)
    return text if len(text) <= 60 else text[:57] + "..."
