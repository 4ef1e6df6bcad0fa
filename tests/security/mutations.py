"""Inputs that are almost right: bytes that changed, and plain data of which a part is something else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from typing import Any

TOKENS: tuple[bytes, ...] = tuple(
    text.encode()
    for text in (
        *(
            "!!python/object/apply:os.system ['id']",
            "!!python/name:os.system",
            "!!binary x",
            "!!timestamp 1",
            "!x",
        ),
        *(
            "&a [*a]",
            "&a",
            "*a",
            "<<: *a",
            "<<: {a: 1}",
            "[[[[[[[[",
            "{{{{",
            "- - - -",
            "? ? ?",
            ": : :",
            "- ",
            ": ",
        ),
        *(
            ".nan",
            "-.inf",
            "1e999",
            "-0",
            "0x1f",
            "0o7",
            "1:30",
            "9" * 40,
            "9" * 5000,
            "1e-400",
            "null",
            "~",
            "true",
        ),
        *(
            "'",
            '"',
            '"\\e[2J"',
            '"\\ud800"',
            '"\\U0010ffff"',
            '"\\x00"',
            "|\n  x",
            ">-\n  x",
            "|9",
            "\t",
            "\r",
            "\x00",
        ),
        *(
            "\ufeff",
            "\u202e",
            "\x1b[2J",
            "\u2028",
            "ä",
            "😀",
            "%YAML 9.9\n---\n",
            "---\n",
            "...\n",
            "#",
            "\n\n",
            " " * 40,
        ),
        *(
            "../",
            "/etc/passwd",
            "${HOME}",
            "{{ 7*7 }}",
            "study",
            "questions",
            "levels",
            "regimes",
            "nuisance",
            "tasks",
        ),
        *("{low: 1, high: 2}", "[]", "{}", "x" * 6000, "a: " * 30, "[" * 200, "{a: " * 100),
    )
)
"""What is pasted in: tags, aliases, odd numbers, escapes, words of the format."""

VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        2,
        3,
        10**6,
        10**12,
        10**17,
        10**30,
        10**400,
        -(10**18),
        0.5,
        1e-300,
        1e308,
        -1e308,
    ),
    *(
        float("nan"),
        float("inf"),
        float("-inf"),
        "",
        " ",
        "x",
        "..",
        "../x",
        "a" * 70,
        "a" * 3000,
        "\x1b[2J",
        "\ud800",
    ),
    *(
        "relu",
        "he_normal",
        "adamw",
        "one_cycle",
        "none",
        "all",
        "learning_rate",
        "weight_decay",
        "depth",
        "width",
    ),
    *(
        "deep",
        "shallow",
        "initializer",
        "activation",
        "optimizer",
        "tpe",
        "search",
        "guideline",
        "full",
        "0",
        "1e3",
    ),
    *(
        [],
        {},
        [[]],
        [{}],
        {"": ""},
        {"low": 1, "high": 2},
        {"low": "a"},
        [1, 2, 3],
        ["a", "a"],
        ["none", 0.1],
    ),
    *(
        {"levels": ["relu", "tanh"]},
        {"depth": 3},
        {"depth": 10**9},
        {"learning_rate": 0.1},
        [None],
        {"a": {"a": {}}},
    ),
)


def changed_bytes(data: bytes, chance: Random) -> bytes:
    """The bytes after one to six changes."""
    out = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        place = chance.randint(0, len(out))
        end = min(len(out), place + int(chance.expovariate(0.05)))
        match chance.randrange(8):
            case 0 if out:
                out[place % len(out)] ^= 1 << chance.randrange(8)
            case 1:
                out[place:place] = chance.randbytes(chance.randint(1, 4))
            case 2:
                del out[place:end]
            case 3:
                out[place:place] = out[place:end]
            case 4:
                other = chance.randint(0, len(out))
                out[place:end], out[other:other] = b"", out[place:end]
            case 5:
                del out[place:]
            case _:
                out[place:place] = chance.choice(TOKENS)
    return bytes(out)


def changed_data(data: Any, chance: Random, others: Sequence[Any] = ()) -> Any:
    """Plain data after a few changes; `others` lend parts of themselves."""
    out = copied(data)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        out = _changed(out, chance, others)
    return out


def copied(data: Any) -> Any:
    """The same lists and mappings, made anew."""
    if isinstance(data, dict):
        return {key: copied(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [copied(value) for value in data]
    return data


def _changed(data: Any, chance: Random, others: Sequence[Any]) -> Any:
    if not isinstance(data, (dict, list)) or not data or chance.random() < 0.2:
        return _other(data, chance, others)
    if isinstance(data, list):
        place = chance.randrange(len(data))
        match chance.randrange(6):
            case 0:
                del data[place]
            case 1:
                data.insert(place, copied(chance.choice(data)))
            case 2 if len(data) < 200:
                data *= chance.choice((2, 3, 50))
            case _:
                data[place] = _changed(data[place], chance, others)
        return data
    key = chance.choice(list(data))
    match chance.randrange(7):
        case 0:
            del data[key]
        case 1:
            data[_name(chance, others)] = data.pop(key)
        case 2:
            data[_name(chance, others)] = copied(data[key])
        case _:
            data[key] = _changed(data[key], chance, others)
    return data


def _other(data: Any, chance: Random, others: Sequence[Any]) -> Any:
    match chance.randrange(6):
        case 0 if others:
            return copied(_part(chance.choice(others), chance))
        case 1:
            return [data]
        case 2:
            return {_name(chance, others): data}
        case 3 if isinstance(data, (int, float)) and not isinstance(data, bool):
            return data * chance.choice((0, -1, 2, 10, 1000)) if abs(data) < 1e100 else 0
        case 4 if isinstance(data, str):
            place = chance.randint(0, len(data))
            return data[:place] + chance.choice(("", "x", ".", "/", "é", "_")) + data[place + 1 :]
    return copied(chance.choice(VALUES))


def _name(chance: Random, others: Sequence[Any]) -> str:
    """A key: one that stands somewhere, or any word."""
    part = _part(chance.choice(others), chance) if others else None
    if isinstance(part, dict) and part:
        return str(chance.choice(list(part)))
    return chance.choice([value for value in VALUES if isinstance(value, str)])


def _part(data: Any, chance: Random) -> Any:
    while isinstance(data, (dict, list)) and data and chance.random() < 0.7:
        data = chance.choice(list(data.values()) if isinstance(data, dict) else data)
    return data


def as_json(data: Any) -> str:
    """As text; what JSON cannot hold is spelled as Python's own writer does."""
    return json.dumps(data)
