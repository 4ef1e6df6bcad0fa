"""Where a table of defaults comes from: a file, a study of the workspace, or what ships with the package."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reports.defaults.diff import Reference
    from reports.defaults.schema import Defaults

PUBLISHED = "published"
"""What the defaults of the last published report are called; they ship inside the package."""
PUBLISHED_FILE = Path(str(resources.files("reports").joinpath("published", "defaults.yaml")))


def read_table(file: Path) -> Defaults:
    """A defaults file in YAML or JSON; ValueError naming the file for anything else."""
    from reports.defaults.defaults_file import LONGEST_FILE, load
    from reports.io.safe_paths import TooLongError, read_bounded

    try:
        text = read_bounded(file, 4 * LONGEST_FILE).decode("utf-8")
    except TooLongError:
        raise ValueError(f"{file}: longer than {LONGEST_FILE} characters") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: must be UTF-8 text ({error})") from None
    except OSError as error:
        raise ValueError(f"{file}: cannot be read ({error.strerror or error})") from None
    return load(text, str(file))


def published() -> Defaults:
    """The defaults that ship; ValueError where this version ships none."""
    if not PUBLISHED_FILE.is_file():
        raise ValueError("this version of groundrules ships no published defaults yet: name a file or study")
    return read_table(PUBLISHED_FILE)


def elsewhere(name: str, workspace: Path) -> Defaults | None:
    """What `export` may be asked for besides a study of the workspace; None for such a study.

    `published`, `textbook` and `framework` by name, and a defaults file unless a study is called like it.
    """
    from reports.defaults.diff import REFERENCES
    from reports.defaults.reference_tables import reference
    from studies.ledger.ledger import Ledger

    if name in REFERENCES:
        return reference(name)
    if name == PUBLISHED:
        return published()
    if not Path(name).is_file():
        return None
    if found := Ledger.find(workspace):
        with found as ledger:
            rows, damage = ledger.sound_studies()
            if name in {*(row.name for row in rows), *damage}:
                return None
    return read_table(Path(name))


def table_named(name: str, workspace: Path) -> Defaults | Reference:
    """What one side of a `diff` is called: textbook, framework, published, a file, or a study.

    Raises:
        ValueError: none of these, or a file or study that holds no table.
    """
    from reports.defaults.diff import REFERENCES

    if name in REFERENCES:
        return "textbook" if name == "textbook" else "framework"
    if name == PUBLISHED:
        return published()
    if Path(name).is_file():
        return read_table(Path(name))
    return _study(name, workspace)


def _study(name: str, workspace: Path) -> Defaults:
    from reports.defaults.defaults_file import defaults
    from reports.evidence.search_record import SearchRecord
    from reports.verdicts.verdict import verdicts
    from studies.commands.records import record_of
    from studies.ledger.ledger import Ledger

    studies: list[str] = []
    if found := Ledger.find(workspace):
        with found as ledger:
            rows, damage = ledger.sound_studies()
            studies = [*(row.name for row in rows), *damage]
    if name not in studies:
        known = ", ".join(["published", "textbook", "framework", *studies])
        raise ValueError(
            f"no file {name}, and no study of that name in {workspace}. Besides files there are: {known}"
        )
    record = record_of(workspace, name)
    if isinstance(record, SearchRecord):
        raise ValueError(f"study '{name}' is a search study: it carries no verdicts and has no defaults")
    return defaults(record, verdicts(record))
