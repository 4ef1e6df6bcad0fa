"""Looks at a study from where it is to run: sends the preflight, and says what is wrong there."""

from __future__ import annotations

import getpass
import json
import os
import platform
import time
import uuid
from collections.abc import Mapping
from importlib import metadata

from studies.cluster.connection import same_release
from studies.cluster.preflight import MARK, Findings
from studies.cluster.ray_jobs import Job, JobApi
from trainers.versions import versions

USER_TAG = "groundrules.user"
PREFLIGHT_SECONDS = 300.0
"""A cluster may have to wake a machine before it can answer."""
STOP_SECONDS = 90.0
"""Of these a driver has `RAY_JOB_STOP_WAIT_TIME_S` to leave by itself."""
POLL_SECONDS = 0.5
FORGET_SECONDS = 2.0
SKEW = ("ray", "torch", "optuna")
"""Libraries of which client and cluster must have the same release: points and numbers hang on them."""
ENVIRONMENT = {
    "RAY_JOB_STOP_SIGNAL": "SIGINT",
    "RAY_JOB_STOP_WAIT_TIME_S": "60",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
}
"""Of a job and its workers; no address and no secret is among it, for whoever has the token can read it."""


def remote_preflight(api: JobApi, *, entrypoint: str, working_dir: str, python: str, cpus: float) -> Findings:
    """Runs the preflight as a job, and takes its record away again.

    Args:
        api: the cluster.
        entrypoint: the preflight's shell command.
        working_dir: what was sent.
        python: the interpreter, for messages.
        cpus: reserved for it, as for the driver later.

    Raises:
        ValueError: it did not come to an end, or ended without an answer.
    """
    id = f"groundrules-preflight-{uuid.uuid4().hex[:12]}"
    api.submit(
        id,
        entrypoint=entrypoint,
        runtime_env={"working_dir": working_dir, "env_vars": ENVIRONMENT},
        metadata={USER_TAG: user()},
        cpus=cpus,
    )
    try:
        job = ended(api, id, PREFLIGHT_SECONDS)
        if job is None:
            raise ValueError(
                f"cluster {api.name} did not end its look at the study within {PREFLIGHT_SECONDS:.0f} s: "
                "has it a machine with room for the driver?"
            )
        log = api.logs(id)
    finally:
        _forget(api, id)
    answer = next((line for line in log.splitlines() if line.startswith(MARK)), None)
    if answer is None:
        said = [line for line in log.splitlines() if line.strip()] or [job.message or "nothing"]
        raise ValueError(
            f"cluster {api.name}: '{python}' cannot run groundrules there ({said[-1].strip()[:300]}); "
            "the dependencies must be in its image, and --python names the interpreter that has them"
        )
    return Findings(**json.loads(answer[len(MARK) :]))


def refuse_findings(
    found: Findings, *, protocol_hash: str, data: Mapping[str, str], cluster: str, python: str
) -> None:
    """ValueError with the first thing that is wrong there.

    Args:
        found: by the preflight.
        protocol_hash: of the study here.
        data: task -> hash of its content here.
        cluster: as messages call it.
        python: the interpreter that was asked for.
    """
    where = f"cluster {cluster}"
    if found.python.split(".")[:2] != platform.python_version().split(".")[:2]:
        raise ValueError(
            f"{where} has Python {found.python} ({found.executable}) and this client "
            f"{platform.python_version()}: both must be of one minor version; --python names another there"
        )
    if missing := [name for name, version in found.versions.items() if not version]:
        raise ValueError(
            f"{where}: '{python}' ({found.executable}) has no {', '.join(missing)}; the dependencies must be "
            "in its image, and --python names the interpreter that has them"
        )
    for name in SKEW:
        same_release(name, found.versions[name], metadata.version(name))
    for what in (found.study, found.ledger, found.tracking):
        if what:
            raise ValueError(f"{where}: {what}")
    ours = client_versions()["groundrules"]
    if found.package != ours:
        raise ValueError(
            f"{where} has groundrules {found.package} and this client {ours}: take it out of the image; the "
            "code comes with the study"
        )
    if others := [task for task, hashed in data.items() if found.data.get(task) != hashed]:
        raise ValueError(
            f"{where}: other data there of {', '.join(others)}: a task's path or address must lead to the "
            "same content everywhere"
        )
    if found.protocol != protocol_hash:
        raise ValueError(
            f"{where}: the study is another one there (protocol {found.protocol}, not {protocol_hash})"
        )
    for name, version in found.started.items():
        there = {**found.versions, "python": found.python, "groundrules": found.package}.get(name)
        if there is not None and there != version:
            raise ValueError(
                f"{where}: the study was started with {name} {version}, and would go on with {there}; numbers"
                " of both are no evidence together: use an image with that version, or rename the study"
            )


def client_versions() -> dict[str, str]:
    """What a job is told of the client that sent it."""
    return {**versions(), "ray": metadata.version("ray"), "optuna": metadata.version("optuna")}


def user() -> str:
    """Who sends a study, for those who look at the list of jobs."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may have no name for its user
        return f"uid {os.getuid()}"


def ended(api: JobApi, id: str, seconds: float) -> Job | None:
    """The job once it is over; None if that takes longer."""
    until = time.monotonic() + seconds
    while True:
        job = api.job(id)
        if job is None:
            raise ValueError(f"job {id} has gone from cluster {api.name}")
        if job.over:
            return job
        if time.monotonic() > until:
            return None
        time.sleep(POLL_SECONDS)


def _forget(api: JobApi, id: str) -> None:
    """Takes a job's record away, ending the job before if need be.

    Ray looks after a job once a second; where it finds the process gone and no record, it makes one anew.
    """
    job = api.job(id)
    if job is not None and not job.over:
        api.stop(id)
        if ended(api, id, STOP_SECONDS) is None:
            return
    for _ in range(2):
        time.sleep(FORGET_SECONDS)
        if api.job(id) is not None:
            api.delete(id)
