"""Ray's job API over HTTP, as its OpenAPI file describes it: a time-out on every call, and no library.

Ray's own client waits without end for a cluster that does not answer, and lets RAY_ADDRESS overrule the
address that it is given.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from studies.site import shown

SECONDS = 10.0
"""A call that takes longer has failed."""
UPLOAD_SECONDS = 120.0
MOST_BYTES = 64_000_000
"""Of an answer: the log of a job is the longest."""
OVER = frozenset(("STOPPED", "SUCCEEDED", "FAILED"))


class Unreachable(ValueError):
    """Nothing that speaks Ray's job API answers at the address."""


class TokenRefused(ValueError):
    """The cluster does not take the token."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One job as the cluster lists it."""

    id: str
    status: str
    """PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED."""
    message: str = ""
    start_ms: int = 0
    """When it was submitted, milliseconds since 1970 by the clock of the cluster."""
    end_ms: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        return self.status in OVER


class JobApi:
    """One cluster, spoken to with its token."""

    def __init__(self, address: str, token: str) -> None:
        self._address = address.rstrip("/")
        self._token = token
        self.name = shown(self._address)
        """As messages call it."""

    def version(self) -> str:
        """The cluster's version of Ray.

        Raises:
            Unreachable, TokenRefused: one sentence each.
        """
        return str(self._asked("GET", "/api/version").get("ray_version", ""))

    def is_open(self) -> bool:
        """Whether the cluster answers who has no token: then anybody can run code on it."""
        try:
            self._asked("GET", "/api/version", token="")
        except TokenRefused:
            return False
        return True

    def jobs(self) -> list[Job]:
        """All jobs that were submitted, oldest first."""
        listed = self._asked("GET", "/api/jobs/")
        jobs = [_job(one) for one in listed if one.get("submission_id")]
        return sorted(jobs, key=lambda job: job.start_ms)

    def job(self, id: str) -> Job | None:
        """One job; None where the cluster has none of that id."""
        found = self._asked("GET", f"/api/jobs/{quote(id)}", missing=None)
        return None if found is None else _job(found)

    def submit(
        self,
        id: str,
        *,
        entrypoint: str,
        runtime_env: Mapping[str, Any],
        metadata: Mapping[str, str],
        cpus: float = 0.0,
    ) -> bool:
        """Starts a job; False where one of that id is there already, which is left alone.

        Args:
            id: unique on the cluster.
            entrypoint: a shell command.
            runtime_env: its files and environment; whoever has the token can read them.
            metadata: kept beside the job.
            cpus: reserved for the entrypoint itself; 0: none, and it runs on the head.
        """
        body = {
            "submission_id": id,
            "entrypoint": entrypoint,
            "runtime_env": dict(runtime_env),
            "metadata": dict(metadata),
            **({"entrypoint_num_cpus": cpus} if cpus else {}),
        }
        try:
            self._asked("POST", "/api/jobs/", json.dumps(body).encode(), seconds=60)
        except _Failed as error:
            if "already exists" in error.text and self.job(id) is not None:
                return False
            raise
        return True

    def stop(self, id: str) -> None:
        """Asks the job to end, and does not wait for it."""
        self._asked("POST", f"/api/jobs/{quote(id)}/stop", b"")

    def delete(self, id: str) -> None:
        """Forgets a job that is over."""
        self._asked("DELETE", f"/api/jobs/{quote(id)}")

    def logs(self, id: str) -> str:
        """Everything that the job has written so far."""
        return str(self._asked("GET", f"/api/jobs/{quote(id)}/logs").get("logs") or "")

    def upload(self, name: str, content: bytes) -> None:
        """Hands a package to the cluster, unless it has it; `gcs://NAME` is then what a job names."""
        path = f"/api/packages/gcs/{quote(name)}"
        if self._asked("GET", path, missing=None) is None:  # asking also keeps it from being removed
            self._asked("PUT", path, content, seconds=UPLOAD_SECONDS)

    def _asked(
        self,
        method: str,
        path: str,
        content: bytes | None = None,
        *,
        token: str | None = None,
        seconds: float | None = None,
        **missing: None,
    ) -> Any:
        """The answer as data; with `missing=None`, None where there is no such thing."""
        request = urllib.request.Request(f"{self._address}{path}", data=content, method=method)
        request.add_header("Content-Type", "application/json")
        if held := self._token if token is None else token:
            request.add_header("Authorization", f"Bearer {held}")
        try:
            with _OPENER.open(request, timeout=seconds or SECONDS) as answer:
                text = answer.read(MOST_BYTES).decode("utf-8", errors="replace")
        except urllib.error.HTTPError as error:
            with error:
                text = error.read(20_000).decode("utf-8", errors="replace")
            if error.code == 404 and missing:
                return None
            if error.code in (401, 403):
                raise TokenRefused(_refusal(self.name, error.code, bool(held))) from None
            raise _Failed(self.name, f"{method} {path}", error.code, text) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise Unreachable(f"cluster {self.name} cannot be reached ({reason})") from None
        try:
            return json.loads(text) if text.strip() else {}
        except ValueError:
            raise Unreachable(
                f"what answers at {self.name} is not Ray's dashboard; its address is like http://HEAD:8265"
            ) from None


class _Failed(ValueError):
    """The cluster answered, and said no."""

    def __init__(self, name: str, what: str, code: int, text: str) -> None:
        lines = [line for line in text.splitlines() if line.strip()] or ["no reason given"]
        super().__init__(f"cluster {name} refused {what} ({code}): {lines[-1].strip()[:300]}")
        self.text = text


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the token to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect())


def _refusal(name: str, code: int, had_token: bool) -> str:
    if not had_token:
        return f"cluster {name} wants a token, and none is given"
    return (
        f"cluster {name} does not take this token ({code}); give the one its nodes were started with in "
        "RAY_AUTH_TOKEN, or its file in RAY_AUTH_TOKEN_PATH or the site's cluster_token_file"
    )


def _job(plain: Mapping[str, Any]) -> Job:
    return Job(
        id=str(plain["submission_id"]),
        status=str(plain["status"]),
        message=str(plain.get("message") or ""),
        start_ms=int(plain.get("start_time") or 0),
        end_ms=plain.get("end_time") or None,
        metadata={str(key): str(value) for key, value in (plain.get("metadata") or {}).items()},
    )
