"""The pages of a study on an MLflow server, in the order in which a reader goes through them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from tests.browser import Browser

LINE = "//*[name()='path' and contains(@class, 'js-line') and string-length(@d) > 20]"
"""A curve that has been drawn."""
CHILDREN = 10
"""Of a run that MLflow names before one asks for more."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """One page and what must be on it."""

    name: str
    address: str
    shows: Callable[[Browser], object]
    """Returns once everything is there; AssertionError if it never is."""


def study_pages(server: str, study: str, *, words: str) -> Iterator[Page]:
    """The list of studies, the study, a cell of it, a member of that, the member's curves, and the report.

    Args:
        server: its address.
        study: which has a report.
        words: to be read in the report.
    """
    client = MlflowClient(server)
    experiment = client.get_experiment_by_name(study)
    assert experiment is not None, f"no experiment '{study}'"
    home = f"{server}/#/experiments/{experiment.experiment_id}/runs"

    def one(which: str) -> Run:
        found = client.search_runs([experiment.experiment_id], which, max_results=1)
        assert found, which
        return found[0]

    top = one("tags.`groundrules.kind` = 'study'")
    member = one("tags.`groundrules.evidence` = 'true' AND tags.`groundrules.fit` LIKE '%'")
    cell = client.get_run(member.data.tags["mlflow.parentRunId"])
    assert cell.data.tags["mlflow.parentRunId"] == top.info.run_id

    def texts(*said: str) -> Callable[[Browser], object]:
        return lambda tab: [tab.wait_for(one) for one in said]

    def report(tab: Browser) -> None:
        tab.enter_frame("//iframe[contains(@class, 'mlflow-html-iframe')]")
        tab.wait_for(words)
        tab.leave_frame()

    def page(name: str, below: str, shows: Callable[[Browser], object]) -> Page:
        return Page(name=name, address=f"{home}{below}", shows=shows)

    study_, cell_, member_ = (f"/{run.info.run_id}" for run in (top, cell, member))
    yield Page(name="list of studies", address=f"{server}/#/experiments", shows=texts("Time created", study))
    yield page("study with its cells", study_, texts("Child runs", *_below(client, top)[:1]))
    first = _below(client, cell)[:CHILDREN]
    yield page("cell with its members", cell_, texts("Child runs", _name(top), *first))
    yield page("member below its cell", member_, texts("Parent run", _name(cell)))
    yield page("curves of the member", f"{member_}/model-metrics", lambda tab: tab.find(LINE))
    yield page("report", f"{study_}/artifacts/report/index.html", report)


def seconds_to_show(tab: Browser, page: Page) -> float:
    """From asking for a page to its showing all that it must."""
    began = time.perf_counter()
    tab.open(page.address)
    page.shows(tab)
    return time.perf_counter() - began


def _name(run: Run) -> str:
    return str(run.data.tags["mlflow.runName"])


def _below(client: MlflowClient, above: Run) -> list[str]:
    which = f"tags.`mlflow.parentRunId` = '{above.info.run_id}'"
    found: Any = client.search_runs([above.info.experiment_id], which, max_results=100)
    return [_name(run) for run in found]
