"""Studies on a Ray cluster, and where each one stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from groundrules._inputs import as_workspace

if TYPE_CHECKING:
    from studies.cluster.ray_jobs import Job
    from studies.cluster.service import Submission
    from studies.operations.jobs import DetailedStatus, StudyList
    from studies.spec.sections import Profile


def submit(
    study: str | Path,
    *,
    cluster: str | None = None,
    workspace: str | Path | None = None,
    tasks_from: str | Path | None = None,
    profile: Profile | None = None,
    workers: int | None = None,
    device: str = "cpu",
    gpu_fraction: float = 0.0,
    python: str = "python",
    driver_cpus: float = 0.0,
    workspace_there: str = "",
    say: Callable[[str], None] | None = None,
) -> Submission:
    """Sends a study to a Ray cluster; the same study twice is one study.

    Args:
        study: the path of a study file, or the name of a study that ships.
        cluster: the address of Ray's dashboard, http://HEAD:8265; None: the site's.
        workspace: whose site file names cluster and ledger; see `run`.
        tasks_from: a Python file with a list TASKS, which is sent along.
        profile: another budget than the study's own.
        workers: packs trained at the same time; more than fit make an autoscaler add nodes.
        device: torch device of the training.
        gpu_fraction: share of a GPU for each worker, 0 to 1.
        python: the interpreter on the cluster's machines.
        driver_cpus: CPUs reserved for the driver; 0: it runs on the head.
        workspace_there: the driver's workspace.
        say: called with a sentence for each thing that is waited for.

    Returns:
        `state`: submitted, running (it was already) or complete; `job`, the id of the Ray job.

    Raises:
        ValueError: the study cannot be run, here or there; nothing of it is left there.

    Examples:
        >>> gr.submit("quickstart", cluster="http://head:8265", workspace_there="/shared")  # doctest: +SKIP
    """
    from studies.cluster.service import RunRequest
    from studies.operations.jobs import send_study

    sent, _, _ = send_study(
        str(study),
        workspace=as_workspace(workspace),
        cluster=cluster,
        tasks_from=None if tasks_from is None else Path(tasks_from),
        profile=profile,
        wishes=RunRequest(
            python=python,
            workers=workers,
            device=device,
            gpu_fraction=gpu_fraction,
            driver_cpus=driver_cpus,
            workspace_there=workspace_there,
        ),
        say=say or _silent,
    )
    return sent


def resume(
    study: str,
    *,
    cluster: str | None = None,
    workspace: str | Path | None = None,
    tasks_from: str | Path | None = None,
    workers: int | None = None,
    device: str = "cpu",
    gpu_fraction: float = 0.0,
    python: str = "python",
    driver_cpus: float = 0.0,
    workspace_there: str = "",
    say: Callable[[str], None] | None = None,
) -> Submission:
    """Submits a study again as the ledger recorded it, also to another cluster.

    Args:
        study: its name in the ledger.
        cluster: see `submit`.
        workspace: see `submit`.
        tasks_from: see `submit`.
        workers: see `submit`.
        device: see `submit`.
        gpu_fraction: see `submit`.
        python: see `submit`.
        driver_cpus: see `submit`.
        workspace_there: see `submit`.
        say: see `submit`.

    Raises:
        ValueError: no such study, or as `submit`.

    Examples:
        >>> gr.resume("my-study")  # doctest: +SKIP
    """
    from studies.cluster.service import RunRequest
    from studies.operations.jobs import resend_study

    sent, _, _ = resend_study(
        study,
        workspace=as_workspace(workspace),
        cluster=cluster,
        tasks_from=None if tasks_from is None else Path(tasks_from),
        wishes=RunRequest(
            python=python,
            workers=workers,
            device=device,
            gpu_fraction=gpu_fraction,
            driver_cpus=driver_cpus,
            workspace_there=workspace_there,
        ),
        say=say or _silent,
    )
    return sent


def list_studies(*, workspace: str | Path | None = None, cluster: str | None = None) -> StudyList:
    """Every study of the ledger, and every job of the cluster where one is named and answers.

    Args:
        workspace: see `run`.
        cluster: the address of Ray's dashboard; None: the site's, if it names one.

    Returns:
        `studies`, one status each; `damage`, those that the ledger cannot read.

    Raises:
        ValueError: there is no ledger, and no cluster.

    Examples:
        >>> "tiny" in [one.study for one in gr.list_studies().studies]
        True
    """
    from studies.operations.jobs import list_studies

    return list_studies(as_workspace(workspace), cluster)


def status(study: str, *, workspace: str | Path | None = None, cluster: str | None = None) -> DetailedStatus:
    """Where one study stands, and what it has found so far.

    Args:
        study: its name.
        workspace: see `run`.
        cluster: the address of Ray's dashboard; None: the site's, if it names one.

    Raises:
        ValueError: neither the ledger nor the cluster has it.

    Examples:
        >>> gr.status("tiny").status.state
        'complete'
    """
    from studies.operations.jobs import study_status

    return study_status(as_workspace(workspace), study, cluster)


def logs(
    study: str,
    *,
    workspace: str | Path | None = None,
    cluster: str | None = None,
    follow: bool = False,
) -> Iterator[str]:
    """The lines that a study's newest job has written; of runs here, what became of every pack.

    Args:
        study: its name.
        workspace: see `run`.
        cluster: the address of Ray's dashboard; None: the site's, if it names one.
        follow: go on until the job is over.

    Raises:
        ValueError: no such study, or `follow` without a job.

    Examples:
        >>> "committed" in next(gr.logs("tiny"))
        True
    """
    from studies.operations.jobs import study_logs

    return study_logs(as_workspace(workspace), study, cluster=cluster, follow=follow)[1]


def stop(study: str, *, workspace: str | Path | None = None, cluster: str | None = None) -> Job:
    """Ends a study's job on the cluster and waits until it is over; what is finished is kept.

    Args:
        study: its name.
        workspace: see `run`.
        cluster: the address of Ray's dashboard; None: the site's.

    Raises:
        ValueError: no cluster, no job of that study, or one that does not end.

    Examples:
        >>> gr.stop("my-study")  # doctest: +SKIP
    """
    from studies.cluster.service import stop
    from studies.operations.jobs import cluster_api, newest_job

    folder = as_workspace(workspace)
    api = cluster_api(folder, cluster)
    return stop(api, newest_job(api, study, folder))


def _silent(words: str) -> None:
    """Nothing is printed unless asked for."""
