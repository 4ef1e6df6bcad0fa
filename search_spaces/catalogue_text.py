"""The catalogue as text: every factor, level, number and setting, from rows and the functions in them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import MISSING, fields, is_dataclass
from functools import partial
from typing import Any

import torch

from search_spaces.config import SETTING_LIMITS, SETTING_WORDS, Setting
from search_spaces.factor import Factor, Level, Range
from search_spaces.overrides import spelled

TORCH = (torch, torch.nn.functional)
"""Where a function of torch is looked up by name."""


TITLE = """# Catalogue

Every factor with its levels, and the training settings. Written by `groundrules catalog --format markdown`
from the rows in this package; do not edit.
"""


def catalogue(factors: Iterable[Factor[Any]]) -> str:
    """The whole document: all factors, then the settings."""
    return "\n".join([TITLE, markdown(factors), settings()])


def markdown(factors: Iterable[Factor[Any]]) -> str:
    """A section and a table for each factor; the framework's default level is bold."""
    lines: list[str] = []
    for factor in factors:
        shallow, deep = " or ".join(factor.textbook_shallow), " or ".join(factor.textbook_deep)
        book = f"{shallow} if shallow, {deep} if deep" if shallow or deep else "no row"
        lines += [
            f"## {factor.name}",
            "",
            f"{_cell(factor.meaning)}. Framework default: {factor.framework_default}. Textbook: {book}.",
            "",
            "| level | what it does | numbers: limits, default | claim (and where we differ) | source |",
            "|---|---|---|---|---|",
        ]
        for level in factor.levels:
            name = f"**{level.name}**" if level.name == factor.framework_default else level.name
            numbers = "; ".join(map(span_text, level.ranges)) or "–"
            claim = f"{level.source.claim} ({level.note})" if level.note else level.source.claim
            cells = (meaning(level), numbers, claim, level.source.document)
            lines.append(f"| {name} | {' | '.join(map(_cell, cells))} |")
        lines.append("")
    return "\n".join(lines)


def settings() -> str:
    """A table of the training settings, which may be asked, held or searched like a factor."""
    lines = ["## Settings", "", "| setting | values | default |", "|---|---|---|"]
    for field in fields(Setting):
        if field.name in SETTING_LIMITS:
            low, high = SETTING_LIMITS[field.name]
            values = f"{low} to {high}"
        else:
            values = ", ".join(SETTING_WORDS.get(field.name, ("true", "false")))
        lines.append(f"| {field.name} | {values} | {spelled(getattr(Setting(), field.name))} |")
    return "\n".join([*lines, ""])


def span_text(span: Range) -> str:
    """A number in a few words: 'clip_norm in [0.1, 10], log scale, default 1'."""
    scale = ", log scale" if span.log else ", log scale of 1 minus it" if span.log_of_complement else ""
    return f"{span.name} in [{span.low:g}, {span.high:g}]{scale}, default {span.default:g}"


def meaning(level: Level[Any]) -> str:
    """What a level does: its formula, with the name of torch's own function, or what its function says."""
    text = "; ".join(dict.fromkeys(_descriptions(level.build)))
    if not level.formula:
        return text or "nothing"
    return f"{level.formula}: {text}" if text.startswith("torch.") else level.formula


FASTER = ("fused", "statistics")
"""Fields that hold the same once more, in a faster form."""


def _descriptions(build: Any) -> list[str]:
    if build is None:
        return []
    if isinstance(build, partial):
        more = ", ".join(f"{name}={value!r}" for name, value in build.keywords.items())
        return [f"{text}({more})" for text in _descriptions(build.func)]
    if callable(build) and not is_dataclass(build):
        return _of_function(build)
    if not is_dataclass(build):
        return [str(build)]
    values = {field: getattr(build, field.name) for field in fields(build)}
    functions = [value for field, value in values.items() if callable(value) and field.name not in FASTER]
    parts = [text for value in functions for text in _descriptions(value)]
    for field, value in values.items():
        # Beside a formula only what departs from a default is worth a word.
        usual = value == field.default or (parts and field.default is MISSING)
        if isinstance(value, (str, bool, int, float)) and not usual:
            parts.append(f"{field.name.replace('_', ' ')} {spelled(value)}")
        elif isinstance(value, frozenset) and value and not usual:
            parts.append(f"{field.name.replace('_', ' ')}: {', '.join(sorted(map(str, value)))}")
    return parts


def _of_function(function: Callable[..., Any]) -> list[str]:
    name = getattr(function, "__name__", "")
    for module in TORCH:
        if getattr(module, name, None) is function:
            return [f"{module.__name__}.{name}"]
    outer = getattr(function, "__qualname__", name).split(".<locals>")[0]
    if outer == name or "lambda" in outer:
        return [_first(function)]
    held = inspect.getclosurevars(function).nonlocals
    if "f" in held:  # a function made fit for stacks is still that function
        return _descriptions(held["f"])
    maker = inspect.getmodule(function).__dict__[outer]
    parts = [text for value in held.values() for text in (_descriptions(value) if callable(value) else [])]
    values = [f"{key} {spelled(value)}" for key, value in held.items() if isinstance(value, (int, float))]
    return [": ".join([_first(maker).rstrip("."), "; ".join([*parts, *values])]) if held else _first(maker)]


def _first(function: Callable[..., Any]) -> str:
    """The first paragraph of a docstring, and the formula below it where one is set apart."""
    paragraphs = (inspect.getdoc(function) or "").split("\n\n")
    parts = [" ".join(paragraphs[0].split())]
    if len(paragraphs) > 1 and paragraphs[1].startswith(" "):
        parts += [" ".join(line.split()) for line in paragraphs[1].splitlines()]
    return " ".join(parts[:1]) + ("".join(f" `{line}`" for line in parts[1:]))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
