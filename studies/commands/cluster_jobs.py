"""The commands that look after studies on a cluster: list, status, logs, stop."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from studies.commands.options import DEFAULT_WORKSPACE, ClusterUrl, Json, Study, Workspace
from studies.commands.path_arguments import as_typed

if TYPE_CHECKING:
    from studies.cluster.ray_jobs import Job
    from studies.cluster.status import LedgerStatus


def listing(
    cluster: ClusterUrl = None, workspace: Workspace = DEFAULT_WORKSPACE, as_json: Json = False
) -> None:
    """List the studies of the ledger and their jobs.

    Exit code 2 if a study is damaged; the others are listed nevertheless.
    """
    from studies.ledger.row_codec import damaged_studies
    from studies.operations.jobs import list_studies

    listed = list_studies(workspace, cluster)
    rows = [one.to_dict() for one in listed.studies]
    if as_json:
        print(json.dumps({"studies": rows, "cluster": listed.cluster}, indent=2))
    else:
        _print_rows(rows)
        _note(listed.unasked)
    if listed.damage:
        raise damaged_studies(listed.damage)


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
    """Show the progress of a study.

    Read from the ledger and, if a cluster is named and can be reached, from its job.
    """
    from studies.operations.jobs import study_status

    detailed = study_status(workspace, study, cluster)
    row = detailed.to_dict()
    if as_json:
        print(json.dumps({**row, "cluster": detailed.cluster}, indent=2))
        return
    for line in _status_lines(row, detailed.status.progress, detailed.status.job):
        print(line)
    for line in detailed.lines:
        print(line)
    _note(detailed.unasked)


def logs(
    study: Study,
    cluster: ClusterUrl = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    follow: Annotated[
        bool, typer.Option("--follow", help="Keep printing until the study's job ends.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show the output of a study's latest run.

    Without a cluster: the packs of its runs on this machine, with the traceback of every failure.
    """
    from studies.operations.jobs import study_logs

    job, lines = study_logs(workspace, study, cluster=cluster, follow=follow)
    if as_json:
        print(json.dumps({"study": study, "job": job, "lines": list(lines)}, indent=2))
        return
    for line in lines:
        print(line, flush=True)


def stop(
    study: Study,
    cluster: ClusterUrl = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    as_json: Json = False,
) -> None:
    """Stop a study; finished work is kept, and resume continues it."""
    from studies.cluster.service import stop as stopped
    from studies.operations.jobs import cluster_api, newest_job

    api = cluster_api(workspace, cluster)
    job = newest_job(api, study, workspace)
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
