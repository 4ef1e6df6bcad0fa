"""Frozen dataclasses to plain data and strictly back: nothing unknown, nothing missing, nothing converted."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import Field, field, fields, is_dataclass
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from reports.io.control_characters import acting
from search_spaces.factor import unknown

Noun = TypeVar("Noun")


def optional_field(default: Any = None) -> Any:
    """A field that a schema got after files of it had been written: it may be missing, and then is None.

    Where it is None it is not written, so that an older file reads back, and hashes, as it is.
    """
    return field(default=default, metadata={"later": True})


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
    if isinstance(value, tuple):
        return [to_dict(item) for item in value]
    return value


def from_dict(kind: type[Noun], data: Any, where: str) -> Noun:
    """The inverse of `to_dict` for the dataclass `kind`.

    Args:
        kind: A dataclass whose fields are str, int, float, bool, None, Literal, tuples, string mappings
            or such dataclasses.
        data: Plain data from outside.
        where: What to call it in messages.

    Raises:
        ValueError: With the place, the rule and the value.
    """
    if not isinstance(data, dict):
        raise ValueError(f"{where} must be a mapping, not {_shown(data)}")
    hints = _hints(kind)  # type: ignore[arg-type]
    for key in data:
        if key not in hints:
            raise unknown(f"key of {where}", key, hints)
    absent = {one.name for one in fields(kind) if is_later(one) and one.name not in data}  # type: ignore[arg-type]
    for key in hints:
        if key not in data and key not in absent:
            raise ValueError(f"{where} lacks the key '{key}'")
    return kind(
        **{
            key: None if key in absent else _read(hint, data[key], f"{where}.{key}")
            for key, hint in hints.items()
        }
    )


@cache
def _hints(kind: type[Any]) -> Mapping[str, Any]:
    return get_type_hints(kind)


def _read(hint: Any, data: Any, where: str) -> Any:
    origin, inside = get_origin(hint), get_args(hint)
    if is_dataclass(hint):
        return from_dict(hint, data, where)  # type: ignore[arg-type]
    if origin in (Union, types.UnionType):
        kind = next(kind for kind in inside if kind is not types.NoneType)
        return None if data is None else _read(kind, data, where)
    if origin is Literal:
        if not isinstance(data, str) or data not in inside:
            raise unknown(f"value of {where}", data, inside)
        return data
    if origin is tuple:
        return _read_tuple(inside, data, where)
    if origin is not None:
        if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
            raise ValueError(f"{where} must be a mapping, not {_shown(data)}")
        for key in data:
            _read(str, key, f"key of {where}")
        return {key: _read(inside[1], item, f"{where}.{key}") for key, item in data.items()}
    if hint is float and isinstance(data, int) and not isinstance(data, bool) and abs(data) < 2**63:
        data = float(data)
    if type(data) is not hint or (hint is float and not math.isfinite(data)):
        raise ValueError(f"{where} must be {_words(hint)}, not {_shown(data)}")
    if hint is str and (code := acting(data)):
        raise ValueError(f"{where} must be text without control characters, not with {code}")
    return data


def _read_tuple(inside: tuple[Any, ...], data: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(data, list):
        raise ValueError(f"{where} must be a list, not {_shown(data)}")
    if inside[-1] is Ellipsis:
        inside = inside[:1] * len(data)
    if len(data) != len(inside):
        raise ValueError(f"{where} must have {len(inside)} entries, not {len(data)}")
    pairs = enumerate(zip(inside, data, strict=True))
    return tuple(_read(hint, item, f"{where}[{i}]") for i, (hint, item) in pairs)


def _words(hint: Any) -> str:
    words = {str: "text", int: "a whole number", float: "a finite number", bool: "true or false"}
    return words.get(hint, str(hint))


def _shown(data: Any) -> str:
    text = repr(data)
    return text if len(text) <= 60 else text[:57] + "..."
