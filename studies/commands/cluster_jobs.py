"""The commands that look after studies on a cluster: list, status, logs, stop."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from studies.commands.options import DEFAULT_WORKSPACE, ClusterUrl, Json, Study, Workspace
from studies.commands.path_arguments import as_typed
from studies.ledger.contract import LedgerDamaged

if TYPE_CHECKING:
    from studies.cluster.ray_jobs import Job, JobApi
    from studies.cluster.status import LedgerStatus


def listing(
    cluster: ClusterUrl = None, workspace: Workspace = DEFAULT_WORKSPACE, as_json: Json = False
) -> None:
    """List the studies of the ledger and their jobs.

    Exit code 2 where one is damaged; the others are listed all the same.
    """
    from studies.cluster.service import newest_of
    from studies.ledger.row_codec import damaged_studies

    api, unasked = _asked_cluster(workspace, cluster)
    jobs = newest_of(api.jobs()) if api else {}
    standings, damage = _all_standings(workspace, none_is_fine=api is not None)
    names = dict.fromkeys((*standings, *damage, *jobs))
    rows = [_row(name, standings.get(name), jobs.get(name), damage.get(name, "")) for name in names]
    if as_json:
        print(json.dumps({"studies": rows, "cluster": api.name if api else None}, indent=2))
    else:
        _print_rows(rows)
        _note(unasked)
    if damage:
        raise damaged_studies(damage)


def _print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    width = max([len("study"), *(len(row["study"]) for row in rows)])
    print(f"{'study':{width}}  {'state':13}  {'members':>15}  {'by':12}  job")
    for row in rows:
        members = f"{row['finished']} of {row['planned']}" if row["planned"] else "-"
        print(
            f"{row['study']:{width}}  {row['state']:13}  {members:>15}  {row['user'] or '-':12}  "
            f"{row['job'] or '-'}"
        )


def status(
    study: Study,
    cluster: ClusterUrl = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    as_json: Json = False,
) -> None:
    """Say where a study stands.

    From the ledger, and from the cluster where one is named and answers.
    """
    from studies.cluster.service import newest_of

    api, unasked = _asked_cluster(workspace, cluster)
    jobs = newest_of(api.jobs()) if api else {}
    standing, job = _standing(workspace, study, none_is_fine=study in jobs), jobs.get(study)
    row = _row(study, standing, job)
    lines: list[str] = []
    if standing is not None:
        from studies.cluster.status_text import status_text
        from studies.commands.records import record_of

        try:
            lines, found = status_text(record_of(workspace, study))
        except ValueError as error:  # a scope, or no plan yet
            lines, found = [f"no verdicts: {error}"], {"verdicts": []}
        row |= {**asdict(standing), "complete": standing.complete, **found, "told": lines}
    if as_json:
        print(json.dumps({**row, "cluster": api.name if api else None}, indent=2))
        return
    for line in _status_lines(row, standing, job):
        print(line)
    for line in lines:
        print(line)
    _note(unasked)


def logs(
    study: Study,
    cluster: ClusterUrl = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the study's job is over.")] = False,
    as_json: Json = False,
) -> None:
    """Show what the newest attempt at a study has written.

    Where no cluster is named: what became of its packs here, with the traceback of every failure.
    """
    from studies.cluster.service import log_lines
    from studies.site import site_of

    if not (cluster or site_of(workspace).cluster):
        _local_logs(workspace, study, follow=follow, as_json=as_json)
        return
    api = _cluster(workspace, cluster)
    job = _job(api, study, workspace)
    lines = log_lines(api, job.id, follow=follow)
    if as_json:
        print(json.dumps({"study": study, "job": job.id, "lines": list(lines)}, indent=2))
        return
    for line in lines:
        print(line, flush=True)


def _local_logs(workspace: Path, study: str, *, follow: bool, as_json: bool) -> None:
    """`logs` of a study that was run here, from its ledger."""
    from studies.cluster.attempt_log import attempt_lines
    from studies.ledger.ledger import Ledger

    if follow:
        raise ValueError("--follow goes with a job on a cluster; a run here shows its own progress")
    with Ledger.open(workspace) as ledger:
        lines = list(attempt_lines(ledger.attempts(ledger.study(study).name)))
    if as_json:
        print(json.dumps({"study": study, "job": None, "lines": lines}, indent=2))
        return
    for line in lines:
        print(line)


def stop(
    study: Study,
    cluster: ClusterUrl = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    as_json: Json = False,
) -> None:
    """Stop a study; what is finished is kept, and `resume` goes on."""
    from studies.cluster.service import stop as stopped

    api = _cluster(workspace, cluster)
    job = _job(api, study, workspace)
    ran = not job.over
    if ran and not as_json:
        print(f"stopping {job.id} ...", file=sys.stderr)
    job = stopped(api, job)
    if as_json:
        print(json.dumps({"study": study, "job": job.id, "ran": ran, "status": job.status}, indent=2))
    elif ran:
        print(f"stopped {job.id}; {as_typed('resume', study, workspace=workspace)} goes on")
    else:
        print(f"{job.id} is over already ({job.status.lower()})")


def _cluster(workspace: Path, url: str | None) -> JobApi:
    from studies.cluster.connection import cluster_of
    from studies.site import site_of

    return cluster_of(site_of(workspace), url)


def _asked_cluster(workspace: Path, url: str | None) -> tuple[JobApi | None, str]:
    """The cluster, if one is named and answers; else None and why, for what the ledger alone can tell too."""
    from studies.site import site_of

    if not (url or site_of(workspace).cluster):
        return None, "no cluster is named, so nothing is known of jobs"
    try:
        return _cluster(workspace, url), ""
    except ValueError as error:
        return None, f"only the ledger was asked: {error}"


def _job(api: JobApi, study: str, workspace: Path) -> Job:
    from studies.cluster.service import newest

    known: list[str] = []
    with suppress(ValueError, LedgerDamaged):  # the ledger only helps to say what there is
        from studies.ledger.ledger import Ledger

        with Ledger.open(workspace) as ledger:
            known = [row.name for row in ledger.sound_studies()[0]]
    return newest(api, study, known)


def _standing(workspace: Path, study: str, *, none_is_fine: bool) -> LedgerStatus | None:
    """Where one study stands by the ledger.

    Args:
        workspace: whose site names the ledger.
        study: its name; ValueError naming those there are, unless `none_is_fine`.
        none_is_fine: a ledger that is not made yet, or without that study, is no mistake.
    """
    from studies.cluster.status import status_of
    from studies.ledger.ledger import Ledger

    now = time.time_ns() // 1_000_000
    found = Ledger.find(workspace) if none_is_fine else Ledger.open(workspace)
    if found is None:
        return None
    with found as ledger:
        row = ledger.find_study(study) if none_is_fine else ledger.study(study)
        return None if row is None else status_of(ledger, row, now_ms=now)


def _all_standings(workspace: Path, *, none_is_fine: bool) -> tuple[dict[str, LedgerStatus], dict[str, str]]:
    """Where every study of the ledger stands; and of those that are damaged, what is wrong with each."""
    from studies.cluster.status import status_of
    from studies.ledger.ledger import Ledger

    now = time.time_ns() // 1_000_000
    standings: dict[str, LedgerStatus] = {}
    found = Ledger.find(workspace) if none_is_fine else Ledger.open(workspace)
    if found is None:
        return {}, {}
    with found as ledger:
        rows, damage = ledger.sound_studies()
        for row in rows:
            try:
                standings[row.name] = status_of(ledger, row, now_ms=now)
            except (ValueError, LedgerDamaged) as error:  # what it extends may be damaged
                damage[row.name] = str(error)
    return standings, damage


def _row(study: str, standing: LedgerStatus | None, job: Job | None, damage: str = "") -> dict[str, Any]:
    """One study as `list` shows it; `damage` is what is wrong with it in the ledger."""
    from studies.cluster.remote_preflight import USER_TAG
    from studies.cluster.service import state_of

    return {
        "study": study,
        "state": "damaged" if damage else state_of(job, None if standing is None else standing.complete),
        "damage": damage or None,
        "finished": standing.finished if standing else 0,
        "planned": standing.planned if standing else 0,
        "job": job.id if job else None,
        "job_status": job.status if job else None,
        "user": job.metadata.get(USER_TAG) if job else None,
    }


def _status_lines(row: dict[str, Any], standing: LedgerStatus | None, job: Job | None) -> list[str]:
    from studies.cluster.status_text import MOST_GIVEN_UP
    from studies.execution.progress import duration
    from studies.ledger.rows import GIVEN_UP

    where = f" (job {job.id}, {job.status.lower()})" if job else ""
    lines = [f"{row['study']}: {row['state']}{where}"]
    if job is not None and job.status == "FAILED":
        said = [line for line in job.message.splitlines() if line.strip()]
        lines.append(f"  job: {said[-1].strip()[:300]}" if said else "  job: no reason given")
    if standing is None:
        return lines
    members = f"{standing.finished} of {standing.planned} members"
    cells = f"{standing.cells_done} of {standing.cells_planned} cells, " if standing.cells_planned else ""
    rate = f", {standing.rate:.1f} per second" if standing.rate else ""
    left = standing.seconds_left
    time_left = f", {duration(left)} left" if left is not None and not standing.complete else ""
    pruned = f", {standing.pruned} pruned" if standing.pruned else ""
    lines.append(f"  {cells}{members}{rate}{time_left}, {standing.diverged} diverged{pruned}")
    for kind, found in standing.failures.items():
        if kind != GIVEN_UP or not standing.given_up:
            lines.append(f"  {found.count} x {kind}, the last: {found.last}")
    lines += [f"  given up: {why}" for why in standing.given_up[:MOST_GIVEN_UP]]
    if len(standing.given_up) > MOST_GIVEN_UP:
        from reports.verdicts.sentences import counted

        lines.append(f"  given up: {counted(len(standing.given_up) - MOST_GIVEN_UP, 'more pack')}")
    return lines


def _note(unasked: str) -> None:
    if unasked:
        print(f"note: {unasked}", file=sys.stderr)
