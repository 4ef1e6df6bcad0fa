"""Everything of one study in a workspace, held while it is archived, compacted or deleted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from reports.pages.claim_pages import refresh
from reports.pages.index_page import write_index
from search_spaces.factor import unknown
from studies.comparison.extension import EXTENSIONS
from studies.ledger import whole_study
from studies.ledger.free_space import size_of, vacuum
from studies.ledger.ledger import FILE, Ledger
from studies.ledger.rows import StudyRow
from studies.ledger.seal import STUDY
from studies.site import site_of
from studies.tracking.artifact_folder import ArtifactFolder
from studies.tracking.database import DATABASE
from studies.tracking.experiment import owner
from studies.tracking.report_artifacts import location_of, report_address
from studies.workspace_files import REPORTS, refuse_links


@dataclass(frozen=True, kw_only=True)
class Freed:
    """What a command gave back."""

    study: str
    bytes: Mapping[str, int]
    """Part -> bytes of it that are free now: 'ledger', 'tracking', 'artifacts', 'reports'."""
    notes: tuple[str, ...] = ()
    """What was left, and why."""

    @property
    def total(self) -> int:
        """Bytes of all parts."""
        return sum(self.bytes.values())


@dataclass(frozen=True, kw_only=True)
class StudyPlaces:
    """Where one study lies."""

    workspace: Path
    study: str
    ledger: Ledger

    @property
    def artifacts(self) -> ArtifactFolder:
        """What MLflow shows beside its runs."""
        return ArtifactFolder(location_of(site_of(self.workspace), self.study))

    @property
    def report_copy(self) -> ArtifactFolder:
        """The copy of its pages among them."""
        return ArtifactFolder(report_address(location_of(site_of(self.workspace), self.study), self.study))

    @property
    def report(self) -> ArtifactFolder:
        """The study's pages."""
        return ArtifactFolder((self.workspace.resolve() / REPORTS / self.study).as_uri())

    def remove_report(self) -> int:
        """Removes the study's pages, and what the pages of the workspace say of it; bytes that were freed."""
        freed = self.report.remove()
        above = self.workspace.absolute() / REPORTS
        if above.is_dir():
            refresh(above)
            write_index(above)
        return freed

    @property
    def extension_file(self) -> Path:
        """The study file that `groundrules extend` wrote, where it did."""
        return self.workspace / EXTENSIONS / f"{self.study}.yaml"

    @property
    def owner(self) -> str:
        """Whose experiment in a shared store is this study's; '' where the study's row cannot be read."""
        rows = whole_study.stored_rows(self.ledger.database, "studies", self.study, list)
        if not rows:
            return ""
        row = dict(zip(STUDY, rows[0], strict=True))
        return owner(StudyRow(**row | {"protocol": {}, "terms": {}}))


@contextmanager
def held(workspace: Path, study: str) -> Iterator[StudyPlaces]:
    """The study, which nobody else can run meanwhile.

    Raises:
        ValueError: no ledger, no such study, or a run of it is under way (names the process).
        LinkInTheWay: something of it is a symbolic link.
    """
    with Ledger.open(workspace) as ledger:  # to read only: it makes no ledger where there is none
        if not whole_study.holds(ledger.database, study):
            names = [str(row[0]) for row in ledger.database.read("SELECT name FROM studies", (), list)]
            raise unknown(f"study in {workspace}", study, names)
    refuse_links(workspace, study)
    with Ledger.open(workspace, create=True) as ledger, ledger.hold(study):
        yield StudyPlaces(workspace=Path(workspace), study=study, ledger=ledger)


def refuse_extended(places: StudyPlaces) -> None:
    """ValueError while other studies extend this one: what it trained is a part of their evidence."""
    children = whole_study.extended_by(places.ledger.database, places.study)
    if children:
        names = ", ".join(f"'{name}'" for name in children)
        raise ValueError(
            f"study '{places.study}' is extended by {names}, whose evidence rests on it: delete "
            f"{'that' if len(children) == 1 else 'those'} first, or keep it"
        )


def database_sizes(workspace: Path) -> dict[str, int]:
    """'ledger' and 'tracking' -> bytes of the workspace's own database, 0 where that is elsewhere."""
    return {"ledger": size_of(workspace / FILE), "tracking": size_of(workspace / DATABASE)}


def shrink(workspace: Path) -> tuple[str, ...]:
    """Shrinks the workspace's databases to what is in them; returns what could not be shrunk, and why."""
    site = site_of(workspace)
    notes = [vacuum(workspace / FILE), vacuum(workspace / DATABASE)]
    if site.ledger or site.tracking.startswith("postgresql"):
        notes.append("PostgreSQL uses the room of removed rows again; it does not give it back by itself")
    return tuple(note for note in notes if note)
