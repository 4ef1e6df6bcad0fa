"""A file of the wrong shape: what pydantic found, in our words."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ValidationError

from search_spaces.factor import unknown
from studies.spec.errors import SpecError

HASH = r"^[0-9a-f]{20}$"
"""The pattern of a hash as the ledger has it."""


def first_error(
    error: ValidationError, file: str, whole: type[BaseModel], parts: Mapping[str, type[BaseModel]]
) -> SpecError:
    """The first thing that pydantic found wrong, in our words.

    Args:
        error: what it raised.
        file: the study file, for the message.
        whole: the model of the file.
        parts: key -> the model of what stands there.
    """
    first = error.errors(include_url=False)[0]
    place = [part for part in first["loc"] if part != "[key]"]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")
    if first["type"] == "extra_forbidden":
        model = whole if len(place) == 1 else parts[str(place[0])]
        return SpecError(file, key, str(unknown("key", place[-1], model.model_fields)))
    if first["type"] == "missing":
        return SpecError(file, key, "this key is missing")
    if first["type"] in ("model_type", "dict_type", "model_attributes_type"):
        return SpecError(file, key, f"must be a mapping of keys, not {_short(first['input'])}")
    limits = first.get("ctx", {})
    rule = {
        "string_pattern_mismatch": {
            HASH: "a hash as the ledger has it: 20 hexadecimal digits",
        }.get(limits.get("pattern", ""), "1 to 64 of the characters A-Z a-z 0-9 . _ -"),
        "string_type": "text",
        "int_type": "a whole number",
        "float_type": "a number",
        "finite_number": "a finite number",
        "tuple_type": "a list",
        "too_short": f"a list of at least {limits.get('min_length')}",
        "too_long": f"a list of at most {limits.get('max_length')}",
        "literal_error": f"one of {limits.get('expected')}",
    }.get(first["type"], first["msg"].removeprefix("Input should be "))
    return SpecError(file, key, f"{_short(first['input'])} must be {rule}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
