"""The schema of a defaults file as JSON Schema (draft 2020-12), which pydantic makes from the dataclasses.

`schemas/defaults-1.json` is this module's output, published for other programs; a test keeps them equal.
The version rule: a schema may get new keys that files may lack (`optional_field`), and old files of it stay
readable; a key that is renamed, removed, made necessary or given another meaning makes it the next schema.
`python -m reports.defaults.json_schema` prints it.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from reports.defaults.schema import SCHEMA, Defaults
from reports.io.dataclass_files import adapter


class _Written(GenerateJsonSchema):
    """Files hold every field but those that older files lack, whatever a dataclass would fill in."""

    def field_is_required(self, field: Any, total: bool) -> bool:
        return "default" not in field["schema"] or field["schema"]["default"] is not None

    def default_schema(self, schema: Any) -> dict[str, Any]:
        return self.generate_inner(schema["schema"])

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False  # it would repeat the field's name


def json_schema() -> dict[str, Any]:
    """The schema that a file of this version satisfies; values may break rules that no schema can say."""
    made = adapter(Defaults).json_schema(schema_generator=_Written)
    made["$defs"]["Defaults"]["properties"]["schema"] = {"const": SCHEMA}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"groundrules/defaults-{SCHEMA}.json",
        "title": "Recommended defaults with their evidence",
        **made["additionalProperties"],
        "$defs": made["$defs"],
    }


def text() -> str:
    """The schema as it is published."""
    return json.dumps(json_schema(), indent=2) + "\n"


if __name__ == "__main__":
    print(text(), end="")
