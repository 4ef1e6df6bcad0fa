"""The study file of a study that the ledger holds: what a resume needs wherever the file has gone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from studies.comparison.record import study_file_of
from studies.ledger.ledger import StudyRow
from studies.range_scan.protocol import is_scope


def study_text(row: StudyRow) -> str:
    """A study file that means what was recorded, profile included; JSON, which is YAML.

    Raises:
        ValueError: the study is a scope, which has no file of its own.
    """
    if is_scope(row):
        raise ValueError(
            f"'{row.name}' is a range scan: `groundrules scan-ranges` with the study's file takes it up again"
        )
    resolved: Mapping[str, Any] = row.protocol["spec"]
    said = dict(resolved) if resolved.get("kind") == "search" else study_file_of(resolved)
    return json.dumps({**said, **row.terms.get("shown", {})}, indent=1, ensure_ascii=False)
