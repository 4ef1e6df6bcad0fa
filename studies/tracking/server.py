"""Writes runs to an MLflow server over http: three requests for a member, several at a time.

A server chooses the ids of its runs, and a request whose answer was lost may have been served. So each run
carries our id as a tag, runs that may be there are looked up before any is created, and no request is
repeated blindly. Times are the ledger's, which makes the same points the same rows.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit, urlunsplit

from studies.spec.tracking_detail import Detail
from studies.tracking.client import MlflowClientStore, quieten
from studies.tracking.experiment import HELD, SEQUENCE, SHOWN, Experiment, metric_of, status_of, tags_of
from studies.tracking.report_artifacts import location_of, replace_report, report_files
from studies.tracking.runs import RunRecord, study_run_id

if TYPE_CHECKING:
    from studies.execution.progress import StudyProgress
    from studies.ledger.ledger import StudyRow
    from studies.site import Site

log = logging.getLogger("groundrules.tracking")

ID = "groundrules.id"
"""The run's tag with the id that the ledger gives it,"""
AFTER = "groundrules.after"
"""and the one with the experiment's mark when it was created: what may be there without being marked."""
AGAIN = "groundrules.again"
"""The experiment's tag that says up to where members may be older than their mark: more detail was asked."""
DOUBLED = "groundrules.doubled"
"""The run's tag that says that it was deleted because another stands for it."""
WRITING = "groundrules.writing"
"""The experiment's tag that says whether a writer is at it, or died at it."""
AT_ONCE = 4
"""Requests in flight."""
POINTS = 900
"""In one request; MLflow takes 1,000 points, parameters and tags, and 100 parameters."""
PAGE = 1000
"""Runs in one answer to a search."""
WAITS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
"""MLflow's client repeats a request up to 7 times, also one that created a run and whose answer was lost."""
PROXY = "/api/2.0/mlflow-artifacts/artifacts"


def server_store(site: Site, row: StudyRow) -> ClientStore:
    """The store on a server; Refused where the experiment is somebody else's."""
    quieten()
    os.environ.update(WAITS)
    from mlflow.store.tracking.rest_store import RestStore

    asked = credentials(site)
    location = location_of(site, row.name) if site.artifacts else None
    there = _Server(credentials=asked, shares=bool(site.artifacts))
    return ClientStore(RestStore(lambda: asked), row, location, shared=True, server=there, at_once=AT_ONCE)


def client_store(store: Any, row: StudyRow, location: str, *, shared: bool) -> ClientStore:
    """The store in a database whose tables no test of ours has seen: MLflow's own code writes into it.

    Args:
        store: MLflow's SqlAlchemyStore of the database.
        row: the study.
        location: of its artifacts.
        shared: others write into this database too.
    """
    return ClientStore(store, row, location, shared=shared, server=None, at_once=1)


@dataclass(frozen=True, kw_only=True)
class _Server:
    """What a server needs beside its address."""

    credentials: Any
    shares: bool
    """Whether artifacts lie at an address that both sides reach."""


class ClientStore:
    """One study's experiment by MLflow's own calls, with writing that may be repeated."""

    batch = 100
    """Members between two marks: what a crash makes look up again."""

    def __init__(
        self,
        store: Any,
        row: StudyRow,
        location: str | None,
        *,
        shared: bool,
        server: _Server | None,
        at_once: int,
    ) -> None:
        """Looks for the experiment; Refused where it is somebody else's.

        Args:
            store: MLflow's RestStore or SqlAlchemyStore.
            row: the study.
            location: of the artifacts of a new experiment; None: the server decides.
            shared: others write there too.
            server: None for a database.
            at_once: requests in flight.
        """
        self._store = store
        self._server = server
        self._experiment = Experiment(MlflowClientStore(store), row, location=location, shared=shared)
        if server is None and self._experiment.location != location:
            log.warning(
                "MLflow looks for the artifacts of '%s' in %s: its tables are of a version that is not "
                "written directly, and its own calls do not move them", row.name, self._experiment.location,
            )  # fmt: skip
        self._name = row.name
        self._study = study_run_id(row.name)
        self._known: dict[str, str] = {}
        """Our id -> the server's."""
        self._held = 0
        """How many runs of ours are there, as far as this process knows."""
        self._counting = Lock()
        self._mark = 0
        self._doubt = False
        """An earlier writer died, perhaps with requests on their way."""
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix="mlflow-request")

    def sequence(self, detail: Detail) -> int:
        e = self._experiment
        restored = self._restore()
        self._mark = e.sequence(detail)
        if removed := not self._has(int(e.tags.get(HELD, 0))):
            self._mark = 0
        if removed or (e.tags.get(SHOWN, detail) != detail and not self._mark):  # all is gone through again
            e.tag(AGAIN, str(max(int(e.tags.get(name, 0)) for name in (SEQUENCE, AGAIN))))
            e.tag(SEQUENCE, "0")
        e.tag(SHOWN, detail)  # in this order: whatever comes between, no tag says too much
        self._doubt = e.tags.get(WRITING) == "yes"
        e.tag(WRITING, "yes")
        if restored or HELD not in e.tags or self._mark <= int(e.tags.get(AGAIN, 0)):
            self._look_up("")
            self._held = len(self._known)
        else:
            self._look_up("tags.`groundrules.kind` != 'member'")
            self._held = int(e.tags[HELD]) + self._look_up(f"tags.`{AFTER}` = '{self._mark}'")
        return self._mark

    def whole(self) -> bool:
        return self._has(self._held)

    def _has(self, runs: int) -> bool:
        """Whether there are at least so many runs of the study: one question, by the place of the last."""
        from mlflow.entities import ViewType
        from mlflow.utils.search_utils import SearchUtils

        if not runs:
            return True
        token = SearchUtils.create_page_token(runs - 1)
        place = token.decode() if isinstance(token, bytes) else token
        ours = f"tags.`groundrules.study` = '{self._name}'"
        order = ["start_time ASC"]
        return bool(
            self._store.search_runs([self._experiment.id], ours, ViewType.ACTIVE_ONLY, 1, order, place)
        )

    def _restore(self) -> bool:
        """Takes back that runs were deleted on MLflow's pages; whether there were any."""
        from mlflow.entities import ViewType

        deleted = [r for r in self._search("", ViewType.DELETED_ONLY) if DOUBLED not in r.data.tags]
        for run in deleted:
            self._store.restore_run(run.info.run_id)
        return bool(deleted)

    def ended(self) -> bool:
        return self._experiment.ended(self._known[self._study])

    def write(self, runs: Iterable[RunRecord], *, mark: tuple[int, Detail] | None = None) -> None:
        waiting = list(runs)
        while waiting:  # a run names the server's id of the one above it
            ready = [run for run in waiting if not run.parent or run.parent in self._known]
            assert ready, f"runs without the one above them: {[run.id for run in waiting]}"
            waiting = [run for run in waiting if run.parent and run.parent not in self._known]
            for _ in self._pool.map(self._write, ready):
                pass
        if mark is not None:
            self._experiment.tag(SEQUENCE, str(mark[0]))
            self._mark = mark[0]
            self._experiment.tag(HELD, str(self._held))

    def _write(self, run: RunRecord) -> None:
        from mlflow.entities import Metric, Param, RunStatus, RunTag

        there = self._known.get(run.id)
        if there is None:
            own = {ID: run.id, AFTER: str(self._mark)}
            tags = {**tags_of(run, self._known.get(run.parent, "")), **own}
            made = self._store.create_run(
                self._experiment.id,
                "groundrules",
                run.start_ms,
                [RunTag(key, value) for key, value in tags.items()],
                run.name,
            )
            there = self._known[run.id] = str(made.info.run_id)
            with self._counting:
                self._held += 1
        params = [Param(key, value) for key, value in run.params.items()]
        metrics = []
        for point in run.metrics:
            _, key, value, bad, ms, step = metric_of(there, point)
            metrics.append(Metric(key, float("nan") if bad else value, ms, step))
        for first in range(0, max(1, len(metrics)), POINTS):
            self._store.log_batch(there, metrics[first : first + POINTS], params if not first else [], [])
        if not run.running:
            self._store.update_run_info(there, RunStatus.from_string(status_of(run)), run.end_ms, None)

    def _look_up(self, which: str) -> int:
        """Notes which of our runs the server has, returns how many; of a double the emptier goes.

        A server that was slow may serve a creation after its asker has given up and asked again.
        """
        from mlflow.entities import RunTag

        found: dict[str, list[Any]] = {}
        for run in self._search(which):
            found.setdefault(_ours(run), []).append(run)
        for ours, same in found.items():
            same.sort(key=lambda run: (-len(run.data.params) - len(run.data.metrics), run.info.run_id))
            kept = self._known.setdefault(ours, str(same[0].info.run_id))
            for run in same:
                if run.info.run_id != kept:
                    self._store.set_tag(run.info.run_id, RunTag(DOUBLED, "yes"))
                    self._store.delete_run(run.info.run_id)
        return len(found)

    def _search(self, which: str, view: Any = None) -> Iterator[Any]:
        """Our runs; of `view` those that MLflow's word says, and without one the active ones."""
        from mlflow.entities import ViewType

        view = view or ViewType.ACTIVE_ONLY
        token: str | None = None
        while True:
            page = self._store.search_runs(
                [self._experiment.id], which, view, PAGE, ["start_time ASC"], token
            )
            yield from (run for run in page if _ours(run))
            token = page.token
            if not token:
                return

    def log_datasets(self, tasks: Sequence[Mapping[str, Any]]) -> None:
        self._experiment.log_datasets(self._known[self._study], tasks)

    def progress(self, standing: StudyProgress, *, last: bool, answer: str) -> None:
        self._experiment.progress(self._known[self._study], standing, last=last, answer=answer)

    def settle(self, *, failed: bool) -> None:
        """What came twice after all, by requests that were served late, is there once."""
        if failed or self._doubt:
            self._look_up("")
        self._experiment.tag(WRITING, "no")

    def put_report(self, folder: Path) -> None:
        if self._study not in self._known:
            self._look_up("tags.`groundrules.kind` = 'study'")
        if self._study not in self._known:
            raise OSError("the study has no run on the server yet")
        address = str(self._store.get_run(self._known[self._study]).info.artifact_uri)
        parts = urlsplit(address)
        if parts.scheme == "mlflow-artifacts":
            self._upload(folder, f"{parts.path.strip('/')}/report")
        elif parts.scheme in ("", "file") and self._server is not None and not self._server.shares:
            raise OSError(
                f"the server keeps artifacts in a folder of its own machine ({address}); start it with "
                "--serve-artifacts, or name a shared place with `artifacts` in the site file"
            )
        else:
            replace_report(folder, f"{address}/report")

    def _upload(self, folder: Path, place: str) -> None:
        """Through the server, which alone can reach its store; the front page last, then leftovers go."""
        from mlflow.utils.request_utils import augmented_raise_for_status
        from mlflow.utils.rest_utils import http_request

        assert self._server is not None
        held = set(self._listed(place))
        files = report_files(folder)
        for name, file in files.items():
            with file.open("rb") as content:
                url = f"{PROXY}/{quote(place)}/{quote(name)}"
                augmented_raise_for_status(http_request(self._server.credentials, url, "PUT", data=content))
        for name in sorted(held - set(files)):
            url = f"{PROXY}/{quote(place)}/{quote(name)}"
            augmented_raise_for_status(http_request(self._server.credentials, url, "DELETE"))

    def _listed(self, place: str, below: str = "") -> Iterator[str]:
        from mlflow.utils.request_utils import augmented_raise_for_status
        from mlflow.utils.rest_utils import http_request

        assert self._server is not None
        query = {"path": f"{place}/{below}".rstrip("/")}
        answer = http_request(self._server.credentials, PROXY, "GET", params=query)
        augmented_raise_for_status(answer)
        for file in answer.json().get("files", []):
            name = f"{below}/{file['path']}".lstrip("/")
            if file.get("is_dir"):
                yield from self._listed(place, name)
            else:
                yield name

    def close(self) -> None:
        """Waits for the requests in flight: one that is served after a lookup would be there twice."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def _ours(run: Any) -> str:
    """Our id of a run: its tag, or its very id where it was written without MLflow; '' for others."""
    own = run.info.run_id if "groundrules.kind" in run.data.tags else ""
    return str(run.data.tags.get(ID, own))


def credentials(site: Site) -> Any:
    """Who asks: the site's user and password (or token, without a user), else MLflow's own variables."""
    from mlflow.utils.credentials import get_default_host_creds

    found = get_default_host_creds(server_address(site))
    secret, user = site.secret("tracking_password_file"), urlsplit(site.tracking).username
    if secret and user:
        found.username, found.password, found.token = user, secret, None
    elif secret:
        found.username, found.password, found.token = None, None, secret
    return found


def server_address(site: Site) -> str:
    """The server's address without a user, as a browser takes it."""
    parts = urlsplit(site.tracking)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=host, path=parts.path.rstrip("/"), query="", fragment=""))


def experiment_pages(site: Site, studies: Sequence[str]) -> dict[str, str]:
    """Study -> address of its experiment's page; studies that are not there yet are left out.

    Raises:
        ValueError: the server does not answer.
    """
    quieten()
    os.environ.update(WAITS)
    from mlflow.exceptions import MlflowException
    from mlflow.store.tracking.rest_store import RestStore

    asked = credentials(site)
    store: Any = RestStore(lambda: asked)
    address = server_address(site)
    pages = {}
    try:
        for study in studies:
            found = store.get_experiment_by_name(study)
            if found is not None:
                pages[study] = f"{address}/#/experiments/{found.experiment_id}"
    except MlflowException as error:
        raise ValueError(f"MLflow at {address} does not answer ({str(error)[:200]})") from None
    return pages
