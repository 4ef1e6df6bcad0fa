"""The rehearsal with a tiny study: what `python -m tests.rehearsal` does with the quickstart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from tests.blackbox.program import TINY
from tests.postgres import missing_postgres
from tests.rehearsal.mistakes import mistakes
from tests.rehearsal.scenes import (
    Outcome,
    as_alone,
    at_once,
    nothing_foreign,
    refusals,
    stopped_and_resumed,
    study_file,
)
from tests.rehearsal.stage import Stage, stage
from tests.surroundings import do_without

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def at() -> Iterator[Stage]:
    """The stage, for all scenes; skipped with the reason where there is no PostgreSQL."""
    reason = missing_postgres()
    if reason is not None:
        do_without("postgresql", reason)
    with stage() as running:
        yield running


def hold(outcomes: Iterable[Outcome]) -> None:
    """All of them; the first that does not is named."""
    for outcome in outcomes:
        print(f"{outcome.what}: {outcome.found}")
        assert outcome.right, f"{outcome.what}: {outcome.found}"


def test_nobody_without_the_token_is_served(at: Stage) -> None:
    hold(refusals(at))


def test_two_users_at_once_one_of_whom_stops_and_resumes(at: Stage) -> None:
    ada, ben = at.user("ada", apart=False), at.user("ben", apart=False)
    # Long enough to be stopped on its way.
    files = (
        study_file(at.folder, "of_ada", TINY, ("steps: 80", "steps: 120")),
        study_file(at.folder, "of_ben"),
    )
    hold(at_once((ada, ben), files))
    hold(stopped_and_resumed(at, ada, files[0], stop_at=1))
    hold(nothing_foreign(at, (ada, ben), ("of_ada", "of_ben")))
    hold(as_alone(ada, at.alone("alone", apart=False), files[0]))
    hold(mistakes(at, ada, files[0], by_looking=False))
