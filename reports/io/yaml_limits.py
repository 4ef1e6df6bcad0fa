"""Limits on a YAML file from outside, checked event by event before anything is built from it."""

from __future__ import annotations

from typing import Any

import yaml

from reports.io.control_characters import acting

MAX_NESTING = 20
MAX_TEXT = 5000
"""Characters of one name or value."""


class YamlLimitError(ValueError):
    """A file exceeds a limit or uses a feature of YAML that is not allowed."""

    def __init__(self, line: int, rule: str) -> None:
        super().__init__(f"line {line}: {rule}")
        self.line, self.rule = line, rule


def examine(text: str, loader: type[Any], *, most: int) -> None:
    """Checks a text event by event, without recursion and without storing anything.

    Args:
        text: YAML.
        loader: the class of PyYAML's that is to read it afterwards.
        most: names and values, lists and mappings, in all.

    Raises:
        YamlLimitError: nested too deep, too many or too long values, control characters, anchors and
            aliases (a short file of those expands to a huge one), tags (they construct objects).
        yaml.YAMLError: not YAML.
    """
    depth = count = 0
    for event in yaml.parse(text, Loader=loader):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise YamlLimitError(line, "anchors and aliases are not allowed; write the value out")
        if (tag := getattr(event, "tag", None)) not in (None, "!"):
            raise YamlLimitError(line, f"the tag {tag:.80} is not allowed; such files are plain data")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_NESTING:
            raise YamlLimitError(line, f"nested deeper than {MAX_NESTING}")
        count += isinstance(event, yaml.NodeEvent)
        if count > most:
            raise YamlLimitError(line, f"more than {most} names and values; such a file has at most {most}")
        if isinstance(event, yaml.ScalarEvent):
            if len(event.value) > MAX_TEXT:
                rule = f"a name or value of {len(event.value)} characters; one has at most {MAX_TEXT}"
                raise YamlLimitError(line, rule)
            if code := acting(event.value):
                raise YamlLimitError(line, f"the control character {code} is not allowed")
