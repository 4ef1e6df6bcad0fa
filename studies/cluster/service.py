"""Studies on a Ray cluster: sent there, looked after, stopped and taken up again.

A study is one Ray job that runs `groundrules run` inside the cluster. Its id is made of the study's name, the
hash of its protocol and the number of the attempt, so that nobody can start the same attempt twice; the last
word on who may write a study has the ledger's lock, which the driver holds.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from reports.io.control_characters import harmless
from search_spaces.factor import unknown
from studies.cluster.package_upload import SITE, STUDY, StudyArchive
from studies.cluster.ray_jobs import Job, JobApi
from studies.cluster.remote_preflight import (
    ENVIRONMENT,
    STOP_SECONDS,
    USER_TAG,
    client_versions,
    ended,
    refuse_findings,
    remote_preflight,
    user,
)

STUDY_TAG, HASH_TAG = "groundrules.study", "groundrules.protocol"
ATTEMPT_TAG, CLIENT_TAG = "groundrules.attempt", "groundrules.client"
FOLLOW_SECONDS = 1.0
LONGEST_LINE = 2000
WORKSPACE_THERE = "${GROUNDRULES_WORKSPACE:-$HOME/groundrules-workspace}"
"""Of the driver, as the shell of its machine understands it: pages and locks, if the ledger is a database."""


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """How a study is to be run there."""

    python: str = "python"
    """The interpreter on the cluster's machines: a name that their PATH knows, or its full path."""
    workers: int | None = None
    device: str = "cpu"
    gpu_fraction: float = 0.0
    driver_cpus: float = 0.0
    """CPUs reserved for the driver; 0: it runs on the head, and takes none of the workers'."""
    workspace_there: str = ""
    """The driver's workspace; '': what the cluster's environment says, or one in its user's home."""


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What came of a wish to have a study run."""

    study: str
    protocol_hash: str
    state: str
    """submitted, running (it was already) or complete (there is nothing to do)."""
    job: str
    """'' where none was needed."""
    attempt: int
    kilobytes: int
    """That were sent, or would have been."""


def submit(
    api: JobApi,
    parcel: StudyArchive,
    *,
    study: str,
    protocol_hash: str,
    data: Mapping[str, str],
    profile: str = "",
    wishes: RunRequest,
    again: bool = False,
    say: Callable[[str], None],
) -> Submission:
    """Sends a study, unless it runs there or is complete; looks first whether it can run there.

    Args:
        api: the cluster.
        parcel: what is sent.
        study: its name,
        protocol_hash: and what it fixes.
        data: task -> hash of its content here.
        profile: where another budget than the file's is wanted.
        wishes: how it is to be run.
        again: also when the ledger holds all of it: MLflow or the pages may lack something.
        say: told what is being waited for.

    Raises:
        ValueError: what is wrong on the cluster; nothing of the study is left there.
    """
    done = Submission(
        study=study, protocol_hash=protocol_hash, state="", job="", attempt=0,
        kilobytes=len(parcel.content) // 1000,
    )  # fmt: skip
    if live := _live(api, study, protocol_hash):
        return _already(done, live)
    api.upload(parcel.name, parcel.content)
    command = _command(parcel, profile)
    say("looking whether the study can run there ...")
    found = remote_preflight(
        api,
        entrypoint=command("studies.cluster.preflight", wishes),
        working_dir=parcel.address,
        python=wishes.python,
        cpus=wishes.driver_cpus,
    )
    refuse_findings(found, protocol_hash=protocol_hash, data=data, cluster=api.name, python=wishes.python)
    if found.complete and not again:
        return replace(done, state="complete")
    options = ["--cluster auto", f"--device {shlex.quote(wishes.device)}"]
    options += [f"--workers {wishes.workers}"] if wishes.workers else []
    options += [f"--gpu-fraction {wishes.gpu_fraction:g}"] if wishes.gpu_fraction else []
    while True:
        attempt = 1 + max((_attempt(job) for job in jobs_of(api, study)), default=0)
        id = f"groundrules-{study}-{protocol_hash[:10]}-{attempt}"
        accepted = api.submit(
            id,
            entrypoint=f"{command('studies.cli run', wishes)} {' '.join(options)}",
            runtime_env={"working_dir": parcel.address, "env_vars": ENVIRONMENT},
            metadata={
                STUDY_TAG: study,
                HASH_TAG: protocol_hash,
                ATTEMPT_TAG: str(attempt),
                USER_TAG: user(),
                CLIENT_TAG: json.dumps(client_versions()),
            },
            cpus=wishes.driver_cpus,
        )
        if accepted:
            return replace(done, state="submitted", job=id, attempt=attempt)
        if live := _live(api, study, protocol_hash):  # somebody else was faster
            return _already(done, live)


def jobs_of(api: JobApi, study: str) -> list[Job]:
    """The attempts at one study that the cluster remembers, oldest first."""
    return [job for job in api.jobs() if job.metadata.get(STUDY_TAG) == study]


def newest_of(jobs: Sequence[Job]) -> dict[str, Job]:
    """Study -> its newest attempt."""
    return {job.metadata[STUDY_TAG]: job for job in jobs if STUDY_TAG in job.metadata}


def newest(api: JobApi, study: str, known: Sequence[str]) -> Job:
    """The newest attempt at a study; ValueError naming the studies there are.

    Args:
        api: the cluster.
        study: its name.
        known: studies of the ledger.
    """
    by_study = newest_of(api.jobs())
    if study in by_study:
        return by_study[study]
    if study in known:
        raise ValueError(
            f"study '{study}' has no job on cluster {api.name}; `groundrules resume` submits one"
        )
    raise unknown(f"study on cluster {api.name}", study, sorted({*known, *by_study}))


def stop(api: JobApi, job: Job) -> Job:
    """Ends a job as Ctrl-C would, and waits until it is over; one that is over is left as it is.

    Raises:
        ValueError: it is not over after `STOP_SECONDS`.
    """
    if job.over:
        return job
    api.stop(job.id)
    over = ended(api, job.id, STOP_SECONDS)
    if over is None:
        raise ValueError(f"job {job.id} was asked to stop {STOP_SECONDS:.0f} s ago and still runs; ask again")
    return over


def log_lines(api: JobApi, id: str, *, follow: bool) -> Iterator[str]:
    """The lines that a job has written; with `follow` also those to come, until it is over."""
    seen = 0
    while True:
        job = api.job(id) if follow else None
        whole = api.logs(id)
        over = job is None or job.over
        lines = whole[seen:].splitlines(keepends=True)
        for line in lines:
            if line.endswith("\n") or over:
                seen += len(line)
                yield harmless(line.rstrip("\r\n"), LONGEST_LINE)
        if over:
            return
        time.sleep(FOLLOW_SECONDS)


def _command(parcel: StudyArchive, profile: str) -> Callable[[str, RunRequest], str]:
    """The shell command of a module on what was sent."""

    def command(module: str, wishes: RunRequest) -> str:
        there = shlex.quote(wishes.workspace_there) if wishes.workspace_there else f'"{WORKSPACE_THERE}"'
        words = [
            # What the cluster's own environment says of its site goes first.
            f'export GROUNDRULES_SITE="${{GROUNDRULES_SITE:-$PWD/{SITE}}}";',
            f"exec {shlex.quote(wishes.python)} -m {module}",
            f"{STUDY} --workspace {there}",
            *([f"--tasks-from {shlex.quote(parcel.tasks)}"] if parcel.tasks else []),
            *([f"--profile {profile}"] if profile else []),
        ]
        return " ".join(words)

    return command


def _live(api: JobApi, study: str, protocol_hash: str) -> Job | None:
    """The job that runs this study now; ValueError where another study of its name runs."""
    job = next((job for job in reversed(jobs_of(api, study)) if not job.over), None)
    if job is not None and job.metadata.get(HASH_TAG) != protocol_hash:
        raise ValueError(
            f"another study '{study}' runs on cluster {api.name} (job {job.id}, of "
            f"{job.metadata.get(USER_TAG, 'unknown')}); rename yours"
        )
    return job


def _already(done: Submission, job: Job) -> Submission:
    return replace(done, state="running", job=job.id, attempt=_attempt(job))


def _attempt(job: Job) -> int:
    said = job.metadata.get(ATTEMPT_TAG, "")
    return int(said) if said.isdecimal() else 0


def state_of(job: Job | None, complete: bool | None) -> str:
    """What a study is doing, in a word: running, starting, complete, failed, stopped, or never started.

    Args:
        job: its newest, where the cluster was asked and has one.
        complete: what the ledger says; None where it does not have the study.
    """
    if job is not None and not job.over:
        return "running" if job.status == "RUNNING" else "starting"
    if complete:
        return "complete"
    if job is not None and job.status == "FAILED":
        return "failed"
    return "never started" if complete is None else "stopped"
