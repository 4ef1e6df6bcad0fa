"""Studies on a cluster and in the ledger: submitted, listed, followed, stopped, resumed."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studies.ledger.contract import LedgerDamaged

if TYPE_CHECKING:
    from studies.cluster.ray_jobs import Job, JobApi
    from studies.cluster.service import RunRequest, Submission
    from studies.cluster.status import LedgerStatus
    from studies.spec.sections import Profile


@dataclass(frozen=True, kw_only=True)
class StudyStatus:
    """Where one study stands, by the ledger and by the cluster."""

    study: str
    state: str
    """running, starting, complete, failed, stopped, never started, or damaged."""
    damage: str
    """What is wrong with it in the ledger; '' where nothing is."""
    progress: LedgerStatus | None
    """By the ledger; None where it does not have the study, or cannot read it."""
    job: Job | None
    """Its newest attempt on the cluster, where one was asked and has one."""
    user: str | None = None
    """Who submitted it."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data, as `groundrules list` shows it."""
        return {
            "study": self.study,
            "state": self.state,
            "damage": self.damage or None,
            "finished": self.progress.finished if self.progress else 0,
            "planned": self.progress.planned if self.progress else 0,
            "job": self.job.id if self.job else None,
            "job_status": self.job.status if self.job else None,
            "user": self.user,
        }


@dataclass(frozen=True, kw_only=True)
class StudyList:
    """The studies of a ledger and their jobs."""

    studies: tuple[StudyStatus, ...]
    cluster: str | None
    """Which was asked; None: none."""
    unasked: str
    """Why no cluster was asked; '' where one was."""
    damage: dict[str, str]
    """Study -> what is wrong with it in the ledger."""


@dataclass(frozen=True, kw_only=True)
class DetailedStatus:
    """Where a study stands, and what it has found so far."""

    status: StudyStatus
    cluster: str | None
    unasked: str
    lines: tuple[str, ...]
    """The verdicts so far, for a reader."""
    answers: dict[str, Any]
    """The same for a program."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data."""
        row = self.status.to_dict()
        if self.status.progress is not None:
            now = self.status.progress
            row |= {**asdict(now), "complete": now.complete, **self.answers, "told": list(self.lines)}
        return row


def list_studies(workspace: Path, cluster: str | None = None) -> StudyList:
    """Every study of the ledger and every job of the cluster, where one is named and answers."""
    from studies.cluster.service import newest_of

    api, unasked = asked_cluster(workspace, cluster)
    jobs = newest_of(api.jobs()) if api else {}
    standings, damage = _all_standings(workspace, none_is_fine=api is not None)
    names = dict.fromkeys((*standings, *damage, *jobs))
    return StudyList(
        studies=tuple(
            status_of(name, standings.get(name), jobs.get(name), damage.get(name, "")) for name in names
        ),
        cluster=api.name if api else None,
        unasked=unasked,
        damage=damage,
    )


def study_status(workspace: Path, study: str, cluster: str | None = None) -> DetailedStatus:
    """Where one study stands.

    Raises:
        ValueError: neither the ledger nor the cluster has it.
    """
    from studies.cluster.service import newest_of

    api, unasked = asked_cluster(workspace, cluster)
    jobs = newest_of(api.jobs()) if api else {}
    standing, job = ledger_standing(workspace, study, none_is_fine=study in jobs), jobs.get(study)
    lines: list[str] = []
    answers: dict[str, Any] = {}
    if standing is not None:
        from studies.cluster.status_text import status_text
        from studies.operations.records import record_of

        try:
            lines, answers = status_text(record_of(workspace, study))
        except ValueError as error:  # a scope, or no plan yet
            lines, answers = [f"no verdicts: {error}"], {"verdicts": []}
    return DetailedStatus(
        status=status_of(study, standing, job),
        cluster=api.name if api else None,
        unasked=unasked,
        lines=tuple(lines),
        answers=answers,
    )


def status_of(study: str, standing: LedgerStatus | None, job: Job | None, damage: str = "") -> StudyStatus:
    """One study; `damage` is what is wrong with it in the ledger."""
    from studies.cluster.remote_preflight import USER_TAG
    from studies.cluster.service import state_of

    return StudyStatus(
        study=study,
        state="damaged" if damage else state_of(job, None if standing is None else standing.complete),
        damage=damage,
        progress=standing,
        job=job,
        user=job.metadata.get(USER_TAG) if job else None,
    )


def cluster_api(workspace: Path, url: str | None) -> JobApi:
    """The cluster of the workspace's site, or the one that is named; ValueError where it does not answer."""
    from studies.cluster.connection import cluster_of
    from studies.site import site_of

    return cluster_of(site_of(workspace), url)


def asked_cluster(workspace: Path, url: str | None) -> tuple[JobApi | None, str]:
    """The cluster, if one is named and answers; else None and why, for what the ledger alone can tell too."""
    from studies.site import site_of

    if not (url or site_of(workspace).cluster):
        return None, "no cluster is named, so nothing is known of jobs"
    try:
        return cluster_api(workspace, url), ""
    except ValueError as error:
        return None, f"only the ledger was asked: {error}"


def newest_job(api: JobApi, study: str, workspace: Path) -> Job:
    """The newest attempt at a study; ValueError naming the studies there are."""
    from studies.cluster.service import newest

    known: list[str] = []
    with suppress(ValueError, LedgerDamaged):  # the ledger only helps to say what there is
        from studies.ledger.ledger import Ledger

        with Ledger.open(workspace) as ledger:
            known = [row.name for row in ledger.sound_studies()[0]]
    return newest(api, study, known)


def study_logs(
    workspace: Path, study: str, *, cluster: str | None = None, follow: bool = False
) -> tuple[str | None, Iterator[str]]:
    """The id of a study's newest job and the lines it has written.

    Where no cluster is named: None, and what became of its packs here, with the traceback of every failure.

    Args:
        workspace: of the study.
        study: its name.
        cluster: its address; None: the site's.
        follow: go on until the job is over.

    Raises:
        ValueError: no such study, or nothing that could be followed.
    """
    from studies.cluster.service import log_lines
    from studies.site import site_of

    if cluster or site_of(workspace).cluster:
        api = cluster_api(workspace, cluster)
        job = newest_job(api, study, workspace)
        return job.id, log_lines(api, job.id, follow=follow)
    from studies.cluster.attempt_log import attempt_lines
    from studies.ledger.ledger import Ledger

    if follow:
        raise ValueError("--follow goes with a job on a cluster; a run here shows its own progress")
    with Ledger.open(workspace) as ledger:
        return None, iter(list(attempt_lines(ledger.attempts(ledger.study(study).name))))


def send_study(
    path_or_name: str,
    *,
    workspace: Path,
    cluster: str | None = None,
    tasks_from: Path | None = None,
    profile: Profile | None = None,
    wishes: RunRequest,
    again: bool = False,
    say: Callable[[str], None],
) -> tuple[Submission, str, tuple[str, ...]]:
    """Checks a study here, then there, and submits it.

    Returns:
        What came of it, the cluster's name, and what a user should know of the study.

    Raises:
        ValueError: the study cannot be run, or not there; nothing of it is left there.
    """
    from studies.cluster.connection import cluster_of
    from studies.cluster.package_upload import parcel
    from studies.cluster.runnable import checked_study
    from studies.cluster.service import submit
    from studies.site import site_of
    from studies.spec.load import shipped

    site = site_of(workspace)
    study = checked_study(path_or_name, tasks_from=tasks_from, profile=profile)
    if not (site.ledger or wishes.workspace_there):
        raise ValueError(
            "no ledger that this machine and the cluster share: name a PostgreSQL database in "
            "GROUNDRULES_LEDGER or the site file (postgresql://user@host/database), or a workspace of the "
            "cluster's own with --workspace-there"
        )
    text = shipped().get(path_or_name, Path(path_or_name)).read_text(encoding="utf-8")
    sending = parcel(text, tasks_from, site)
    api = cluster_of(site, cluster)
    facts = study.fixed.plain()["facts"]
    done = submit(
        api,
        sending,
        study=study.spec.study,
        protocol_hash=study.fixed.hash,
        data={one["name"]: one["content_hash"] for one in facts},
        profile=profile or "",
        wishes=wishes,
        again=again,
        say=say,
    )
    return done, api.name, study.notes


def resend_study(
    study: str,
    *,
    workspace: Path,
    cluster: str | None = None,
    tasks_from: Path | None = None,
    wishes: RunRequest,
    say: Callable[[str], None],
) -> tuple[Submission, str, tuple[str, ...]]:
    """Submits a study again, as the ledger recorded it; else as `send_study`."""
    from reports.io.safe_paths import write
    from studies.cluster.recorded_spec import study_text
    from studies.ledger.ledger import Ledger

    with Ledger.open(workspace) as ledger:
        text = study_text(ledger.study(study))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{study}.yaml"
        write(file, text)
        return send_study(
            str(file),
            workspace=workspace,
            cluster=cluster,
            tasks_from=tasks_from,
            wishes=wishes,
            again=True,
            say=say,
        )


def ledger_standing(workspace: Path, study: str, *, none_is_fine: bool = False) -> LedgerStatus | None:
    """Where one study stands by the ledger.

    Args:
        workspace: whose site names the ledger.
        study: its name; ValueError naming those there are, unless `none_is_fine`.
        none_is_fine: a ledger that is not made yet, or without that study, is no mistake.
    """
    from studies.cluster.status import status_of
    from studies.ledger.ledger import Ledger

    now = time.time_ns() // 1_000_000
    there = Ledger.find(workspace) if none_is_fine else Ledger.open(workspace)
    if there is None:
        return None
    with there as ledger:
        row = ledger.find_study(study) if none_is_fine else ledger.study(study)
        return None if row is None else status_of(ledger, row, now_ms=now)


def _all_standings(workspace: Path, *, none_is_fine: bool) -> tuple[dict[str, LedgerStatus], dict[str, str]]:
    """Where every study of the ledger stands; and of those that are damaged, what is wrong with each."""
    from studies.cluster.status import status_of
    from studies.ledger.ledger import Ledger

    now = time.time_ns() // 1_000_000
    standings: dict[str, LedgerStatus] = {}
    there = Ledger.find(workspace) if none_is_fine else Ledger.open(workspace)
    if there is None:
        return {}, {}
    with there as ledger:
        rows, damage = ledger.sound_studies()
        for row in rows:
            try:
                standings[row.name] = status_of(ledger, row, now_ms=now)
            except (ValueError, LedgerDamaged) as error:  # what it extends may be damaged
                damage[row.name] = str(error)
    return standings, damage
