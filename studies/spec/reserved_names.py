"""Names that commands already mean something by: a study that is called so could not be asked for."""

from __future__ import annotations

import re

from studies.spec.errors import SpecError

TABLES = ("published", "textbook", "framework")
"""What `diff` and `export` take besides studies and files."""
LIKE_A_FILE = re.compile(r"\.(ya?ml|json|py|md|tex|csv|parquet|html?|txt|log|lock|sqlite|db)$", re.IGNORECASE)
SCOPE = ".scope"
"""Ends the name under which the scope of a study is kept."""


def refuse_reserved(file: str, study: str) -> None:
    """SpecError for a new study whose name means something else; ledgers that hold one stay readable."""
    if study.lower() in TABLES:
        rule = f"is reserved: diff and export mean a table that ships by it; reserved are {', '.join(TABLES)}"
    elif LIKE_A_FILE.search(study):
        rule = "ends like the name of a file, which commands would look for; leave the ending out"
    elif study.endswith(SCOPE):
        rule = f"ends with {SCOPE}, under which the scope of a study is kept"
    elif study.startswith("-"):
        rule = "begins with -, so commands would take it for an option"
    else:
        return
    raise SpecError(file, "study", f"'{study}' {rule}")
