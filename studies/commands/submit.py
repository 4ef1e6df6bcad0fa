"""The commands that send a study to a cluster: submit and resume."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from studies.commands.options import (
    DEFAULT_WORKSPACE,
    ClusterUrl,
    Device,
    GpuFraction,
    Json,
    ProfileOption,
    Spec,
    Study,
    TasksFrom,
    Workspace,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from studies.cluster.service import Submission

Python = Annotated[
    str,
    typer.Option(
        "--python",
        metavar="PROGRAM",
        envvar="GROUNDRULES_CLUSTER_PYTHON",
        help="Python interpreter on the cluster's machines.",
    ),
]
DriverCpus = Annotated[
    float,
    typer.Option("--driver-cpus", min=0, help="CPUs reserved for the driver; 0: it runs on the head."),
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
        "--workers", min=1, max=1024, help="Packs at a time; more than fit make the autoscaler add nodes."
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
    """Run a study on a Ray cluster.

    Submitting the same study twice gives one study.
    """
    from studies.cluster.service import RunRequest
    from studies.operations.jobs import send_study

    wishes = RunRequest(
        python=python, workers=workers, device=device, gpu_fraction=gpu_fraction, driver_cpus=driver_cpus,
        workspace_there=workspace_there,
    )  # fmt: skip
    sent = send_study(
        spec,
        workspace=workspace,
        cluster=cluster,
        tasks_from=tasks_from,
        profile=profile.value if profile else None,
        wishes=wishes,
        say=_progress(as_json),
    )
    _report(*sent, as_json=as_json)


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
    """Submit a study again from what the ledger recorded.

    It may run on another cluster than before.
    """
    from studies.cluster.service import RunRequest
    from studies.operations.jobs import resend_study

    wishes = RunRequest(
        python=python, workers=workers, device=device, gpu_fraction=gpu_fraction, driver_cpus=driver_cpus,
        workspace_there=workspace_there,
    )  # fmt: skip
    sent = resend_study(
        study,
        workspace=workspace,
        cluster=cluster,
        tasks_from=tasks_from,
        wishes=wishes,
        say=_progress(as_json),
    )
    _report(*sent, as_json=as_json)


def _progress(as_json: bool) -> Callable[[str], None]:
    """Says what is being waited for, on the error stream."""
    return lambda words: None if as_json else print(words, file=sys.stderr, flush=True)


def _report(done: Submission, cluster: str, notes: Sequence[str], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({**asdict(done), "cluster": cluster, "notes": list(notes)}, indent=2))
        return
    for note in notes:
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
