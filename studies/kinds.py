"""The kinds of study, a row each: everything by which plan, run, status and the cluster tell them apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from search_spaces.factor import unknown
from studies.comparison.extension import refuse_unlike
from studies.comparison.meaningless_levels import examine
from studies.comparison.protocol import ComparisonProtocol, comparison_protocol
from studies.comparison.record import study_file_of
from studies.comparison.recorded_decisions import recorded_work
from studies.comparison.workload import ComparisonWorkload
from studies.execution.planned_work import PlannedWork
from studies.execution.scheduler import Workload
from studies.ledger.ledger import Ledger, StudyRow
from studies.range_scan.protocol import (
    KIND,
    RangeScanProtocol,
    RangeScanSpec,
    recorded_range_scan,
    refuse_range_scan,
    scope_protocol,
)
from studies.range_scan.workload import RangeScanWorkload, range_scan_work
from studies.search.protocol import SearchProtocol, search_protocol
from studies.search.protocol import examine as examine_search
from studies.search.spec import SearchSpec
from studies.search.spec import parse as parse_search
from studies.search.workload import SearchWorkload, search_work
from studies.spec.load import parse as parse_comparison
from studies.spec.load import with_profile
from studies.spec.resolved import ResolvedStudy
from studies.spec.sections import Profile
from trainers.tasks.task import TaskBook

AnySpec = ResolvedStudy | SearchSpec
"""What a study file says, of any kind that has files."""
AnyProtocol = ComparisonProtocol | SearchProtocol | RangeScanProtocol
"""What is fixed of a study of any kind before its first member."""

Spec = TypeVar("Spec")
Fixed = TypeVar("Fixed")


@dataclass(frozen=True, kw_only=True)
class StudyKind(Generic[Spec, Fixed]):
    """One kind of study."""

    name: str
    """As in its file, and in the protocol that a ledger keeps."""
    parse: Callable[..., Spec] | None
    """(data, file=) -> the checked file; None: it is made from another study's."""
    with_profile: Callable[[Spec, Profile], Spec]
    """The same study at another budget; ValueError where its budget has no profiles."""
    protocol: Callable[[Spec, TaskBook], Fixed]
    """Builds the tasks once, for their facts; SpecError where one cannot be built."""
    examine: Callable[[Fixed, TaskBook], tuple[str, ...]]
    """Notes on what means less than it seems; SpecError for a combination that cannot mean anything."""
    admit: Callable[[Fixed, Ledger], None]
    """SpecError where other studies of the ledger rule this one out."""
    parent: Callable[[Fixed], str]
    """The study whose recorded speed sizes its packs too; '' for one of its own."""
    workload: Callable[..., Workload]
    """(protocol, ledger, book, flops_per_second=) -> which members come next."""
    recorded_work: Callable[[Ledger, StudyRow], PlannedWork]
    """How much there is to train, by the ledger alone: no task is built."""
    study_file: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None
    """A study file that means what was recorded; None: it has none."""


def _admit_comparison(protocol: ComparisonProtocol, ledger: Ledger) -> None:
    refuse_range_scan(protocol.study, ledger)
    refuse_unlike(protocol, ledger)


def _search_has_no_profile(spec: SearchSpec, profile: Profile) -> SearchSpec:
    rule = f"a search study has no profile; its budget is trials = {spec.trials}"
    raise ValueError(f"{spec.file}: {rule}")


def _recorded_search(ledger: Ledger, row: StudyRow) -> PlannedWork:
    return search_work(str(row.protocol["facts"][0]["name"]), int(row.protocol["spec"]["trials"]))


COMPARISON = StudyKind(
    name="guideline",
    parse=parse_comparison,
    with_profile=with_profile,
    protocol=comparison_protocol,
    examine=examine,
    admit=_admit_comparison,
    parent=lambda protocol: protocol.study.extends.study if protocol.study.extends else "",
    workload=ComparisonWorkload,
    recorded_work=recorded_work,
    study_file=study_file_of,
)

SEARCH = StudyKind(
    name="search",
    parse=parse_search,
    with_profile=_search_has_no_profile,
    protocol=search_protocol,
    examine=lambda protocol, book: examine_search(protocol, book[protocol.study.task]()),
    admit=lambda protocol, ledger: None,
    parent=lambda protocol: "",
    workload=SearchWorkload,
    recorded_work=_recorded_search,
    study_file=dict,
)

RANGE_SCAN = StudyKind(
    name=KIND,
    parse=None,
    with_profile=lambda spec, profile: replace(spec, wide=with_profile(spec.wide, profile)),
    protocol=scope_protocol,
    examine=lambda protocol, book: examine(protocol.fixed, book),
    admit=lambda protocol, ledger: None,
    parent=lambda protocol: "",
    workload=RangeScanWorkload,
    recorded_work=lambda ledger, row: range_scan_work(recorded_range_scan(row)),
    study_file=None,
)

KINDS: Mapping[str, StudyKind[Any, Any]] = {kind.name: kind for kind in (COMPARISON, SEARCH, RANGE_SCAN)}


def kind_of(spec: AnySpec | RangeScanSpec) -> StudyKind[Any, Any]:
    """The kind of a study that is to be run."""
    return KINDS[spec.kind]


def recorded_kind(row: StudyRow) -> StudyKind[Any, Any]:
    """The kind of a study in a ledger; ValueError for one that this version does not know."""
    name = row.protocol["spec"].get("kind", COMPARISON.name)
    if name not in KINDS:
        raise unknown("kind of study", name, KINDS)
    return KINDS[name]
