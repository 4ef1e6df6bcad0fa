"""The study file of a study that the ledger holds: what a resume needs wherever the file has gone."""

from __future__ import annotations

import json

from studies.kinds import recorded_kind
from studies.ledger.ledger import StudyRow


def study_text(row: StudyRow) -> str:
    """A study file that means what was recorded, profile included; JSON, which is YAML.

    Raises:
        ValueError: the study is a scope, which has no file of its own.
    """
    study_file = recorded_kind(row).study_file
    if study_file is None:
        raise ValueError(
            f"'{row.name}' is a range scan: `groundrules scan-ranges` with the study's file takes it up again"
        )
    stated = {**study_file(row.protocol["spec"]), **row.terms.get("shown", {})}
    return json.dumps(stated, indent=1, ensure_ascii=False)
