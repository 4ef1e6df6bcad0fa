"""The commands that send a study to a cluster: submit and resume."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from studies.commands.options import (
    DEFAULT_WORKSPACE,
    ClusterUrl,
    Device,
    GpuFraction,
    Json,
    Profile,
    ProfileOption,
    Spec,
    Study,
    TasksFrom,
    Workspace,
)

if TYPE_CHECKING:
    from studies.cluster.service import RunRequest, Submission
    from studies.spec.sections import Profile as ProfileName

Python = Annotated[
    str,
    typer.Option(
        "--python",
        metavar="PROGRAM",
        envvar="GROUNDRULES_CLUSTER_PYTHON",
        help="The interpreter on the cluster's machines.",
    ),
]
DriverCpus = Annotated[
    float,
    typer.Option("--driver-cpus", min=0, help="Reserved for the driver; 0: it runs on the head."),
]
WorkspaceThere = Annotated[
    str,
    typer.Option(
        "--workspace-there",
        metavar="DIR",
        help="The driver's workspace; default: GROUNDRULES_WORKSPACE there, or one in its user's home.",
    ),
]
SubmitWorkers = Annotated[
    int | None,
    typer.Option(
        "--workers", min=1, max=1024, help="Packs at a time; more than fit make an autoscaler add nodes."
    ),
]


def submit(
    spec: Spec,
    cluster: ClusterUrl = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    tasks_from: TasksFrom = None,
    profile: ProfileOption = None,
    workers: SubmitWorkers = None,
    device: Device = "cpu",
    gpu_fraction: GpuFraction = 0.0,
    python: Python = "python",
    driver_cpus: DriverCpus = 0.0,
    workspace_there: WorkspaceThere = "",
    as_json: Json = False,
) -> None:
    """Run a study on a Ray cluster; the same study twice is one study."""
    from studies.cluster.service import RunRequest

    wishes = RunRequest(
        python=python, workers=workers, device=device, gpu_fraction=gpu_fraction, driver_cpus=driver_cpus,
        workspace_there=workspace_there,
    )  # fmt: skip
    _send(spec, cluster, workspace, tasks_from, profile, wishes, as_json=as_json)


def resume(
    study: Study,
    cluster: ClusterUrl = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    tasks_from: TasksFrom = None,
    workers: SubmitWorkers = None,
    device: Device = "cpu",
    gpu_fraction: GpuFraction = 0.0,
    python: Python = "python",
    driver_cpus: DriverCpus = 0.0,
    workspace_there: WorkspaceThere = "",
    as_json: Json = False,
) -> None:
    """Submit a study again, as the ledger recorded it.

    Also to a cluster that has replaced its own.
    """
    import tempfile

    from reports.io.safe_paths import write
    from studies.cluster.recorded_spec import study_text
    from studies.cluster.service import RunRequest
    from studies.ledger.ledger import Ledger

    with Ledger.open(workspace) as ledger:
        text = study_text(ledger.study(study))
    wishes = RunRequest(
        python=python, workers=workers, device=device, gpu_fraction=gpu_fraction, driver_cpus=driver_cpus,
        workspace_there=workspace_there,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{study}.yaml"
        write(file, text)
        _send(str(file), cluster, workspace, tasks_from, None, wishes, again=True, as_json=as_json)


def _send(
    path_or_name: str,
    cluster: str | None,
    workspace: Path,
    tasks_from: Path | None,
    profile: Profile | None,
    wishes: RunRequest,
    *,
    again: bool = False,
    as_json: bool,
) -> None:
    """Checks a study here, then there, and submits it."""
    from studies.cluster.connection import cluster_of
    from studies.cluster.package_upload import parcel
    from studies.cluster.runnable import checked_study
    from studies.cluster.service import submit as sent
    from studies.site import site_of
    from studies.spec.load import shipped

    site = site_of(workspace)
    named: ProfileName | None = profile.value if profile else None
    study = checked_study(path_or_name, tasks_from=tasks_from, profile=named)
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
    done = sent(
        api,
        sending,
        study=study.spec.study,
        protocol_hash=study.fixed.hash,
        data={one["name"]: one["content_hash"] for one in facts},
        profile=named or "",
        wishes=wishes,
        again=again,
        say=lambda words: None if as_json else print(words, file=sys.stderr, flush=True),
    )
    if as_json:
        print(json.dumps({**asdict(done), "cluster": api.name, "notes": list(study.notes)}, indent=2))
        return
    for note in study.notes:
        print(f"note: {note}")
    print(_sent_words(done))


def _sent_words(done: Submission) -> str:
    if done.state == "complete":
        return f"{done.study} is complete, nothing was submitted; groundrules report {done.study} shows it"
    if done.state == "running":
        return f"{done.study} runs already as {done.job}; groundrules logs {done.study} --follow shows it"
    return (
        f"submitted {done.study} as {done.job} ({done.kilobytes} kB); "
        f"groundrules logs {done.study} --follow shows it, groundrules status {done.study} where it stands"
    )
