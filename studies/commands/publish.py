"""Puts a finished study's defaults and table where the package ships them from.

    python -m studies.commands.publish guidelines crossover --workspace WORKSPACE

The first study becomes `defaults.yaml`, which is what `published` means to export, diff and why; every study
gets its table in Markdown, and the folder's README its n, versions and hardware, all from the ledger.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reports.defaults.schema import Defaults
from reports.evidence.study_record import StudyRecord
from reports.io.safe_paths import save
from reports.verdicts.sentences import counted
from studies.ledger.ledger import Attempt

MARK = "<!-- below: written by studies.commands.publish -->"
"""What stands above it in the folder's README is ours, what stands below belongs to this module."""


@dataclass(frozen=True, kw_only=True)
class Publication:
    """One study as it is published."""

    file: str
    """Of its defaults; its table lies beside it under the study's name."""
    record: StudyRecord
    table: Defaults
    pack_seconds: float
    """Training time of all packs, added up over workers."""
    elapsed_seconds: float
    """From the study's start to its last commit, pauses included."""

    def facts(self) -> list[tuple[str, str]]:
        """What the README says of it."""
        record, table = self.record, self.table
        budget, rows = record.budget, table.rows
        settled = sum(row.decided_by != "fallback" for row in rows)
        by_data = sum(row.decided_by == "data" for row in rows)
        diverged = sum(row.status == "diverged" for row in record.evaluations)
        return [
            ("scope", table.scope.sentence()),
            (
                "n",
                f"{self._families()} a row, {counted(budget.blocks, 'block')}, "
                f"{counted(budget.confirm_seeds, 'seed')}; {len(record.evaluations)} trainings, "
                f"{diverged} diverged",
            ),
            ("rows", f"{settled} of {len(rows)} settled, {by_data} of them by data alone"),
            (
                "plan",
                f"{table.plan.hash}, revision {table.plan.revision}, profile {table.plan.profile}, "
                f"protocol {table.plan.protocol}",
            ),
            ("versions", ", ".join(f"{name} {version}" for name, version in table.versions.items())),
            ("hardware", record.hardware),
            (
                "time",
                f"{self.elapsed_seconds / 60:.0f} min from start to last commit, "
                f"{self.pack_seconds / 60:.0f} min of training added up over workers",
            ),
            ("files", f"[{self.file}]({self.file}), [{record.name}.md]({record.name}.md)"),
        ]

    def _families(self) -> str:
        """How many families the rows were judged on: '8 task families', or '6 to 8 task families'."""
        record = self.record
        counts = [
            len({record.facts[task].family for task in tasks})
            for by_regime in record.tasks.values()
            for tasks in by_regime.values()
        ]
        low, high = min(counts), max(counts)
        most = counted(high, "task family")
        return most if low == high else f"{low} to {most}"


def publish(workspace: Path, studies: Sequence[str], folder: Path, *, machine: str = "") -> list[Path]:
    """Writes the files of finished studies, once all are made; each is replaced whole, the README last.

    Args:
        workspace: whose ledger holds them.
        studies: their names, the one that `published` means first.
        folder: where to; its README has the mark.
        machine: the hardware in more words than the ledger has, such as '2 cores of an AMD EPYC'.

    Returns:
        The files.

    Raises:
        ValueError: a study that carries no verdicts, or a folder whose README has no mark.
    """
    from reports.export.formats import render

    readme = folder / "README.md"
    words = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    if MARK not in words:
        raise ValueError(f"{readme} has no line '{MARK}', below which to say what is published")
    found = [
        _publication(workspace, name, folder / ("defaults.yaml" if place == 0 else f"{name}.yaml"))
        for place, name in enumerate(studies)
    ]
    texts = {}
    for one in found:
        texts[folder / one.file] = render(one.table, "yaml")
        texts[folder / f"{one.record.name}.md"] = render(one.table, "markdown") + _others(one.record)
    parts = [words.partition(MARK)[0] + MARK]
    for one in found:
        parts.append(f"## {one.record.name}: {one.record.title or 'untitled'}")
        facts = one.facts()
        if machine:
            facts = [(what, f"{said} ({machine})" if what == "hardware" else said) for what, said in facts]
        parts.append("\n".join(["| | |", "|---|---|", *(f"| {what} | {said} |" for what, said in facts)]))
    texts[readme] = "\n\n".join(parts) + "\n"
    for file, text in texts.items():
        save(file, text)
    return list(texts)


def _publication(workspace: Path, study: str, file: Path) -> Publication:
    from reports.defaults.defaults_file import defaults
    from reports.evidence.search_record import SearchRecord
    from reports.verdicts.verdict import verdicts
    from studies.commands.defaults_sources import read_table
    from studies.commands.records import record_of
    from studies.ledger.ledger import Ledger

    record = record_of(workspace, study)
    if isinstance(record, SearchRecord):
        raise ValueError(f"study '{study}' is a search study: it carries no verdicts and is not published")
    old = read_table(file) if file.is_file() else None
    with Ledger.open(workspace) as ledger:
        started, attempts = ledger.study(study).started_ms, ledger.attempts(study)
    done = [attempt for attempt in attempts if attempt.kind == "committed"]
    return Publication(
        file=file.name,
        record=record,
        table=defaults(record, verdicts(record), old if old and old.table == study else None),
        pack_seconds=sum(attempt.seconds for attempt in done),
        elapsed_seconds=_last(done, started) - started / 1000,
    )


def _others(record: StudyRecord) -> str:
    """The textbook's two other tables, where the study has rows for them."""
    from reports.evidence.validity import answering
    from reports.pages.extra_tables import other_tables, other_tables_markdown

    found = other_tables_markdown(other_tables(record, answering(record)))
    return f"\n{found}" if found else ""


def _last(done: Sequence[Attempt], started_ms: int) -> float:
    return max((attempt.at_ms for attempt in done), default=started_ms) / 1000


def main(words: Sequence[str] | None = None) -> int:
    """The command; 2 and one line for a mistake."""
    from studies.commands.defaults_sources import PUBLISHED_FILE
    from studies.commands.options import DEFAULT_WORKSPACE

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "studies", nargs="+", metavar="STUDY", help="the first becomes what `published` means"
    )
    parser.add_argument("--workspace", type=Path, default=DEFAULT_WORKSPACE)
    parser.add_argument(
        "--folder", type=Path, default=PUBLISHED_FILE.parent, help="default: the package's own"
    )
    parser.add_argument("--machine", default="", help="the hardware in more words than the ledger has")
    asked = parser.parse_args(words)
    try:
        files = publish(asked.workspace, asked.studies, asked.folder, machine=asked.machine)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for file in files:
        print(file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
