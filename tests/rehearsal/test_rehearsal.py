"""The rehearsal with a tiny study: what `python -m tests.rehearsal` does with the quickstart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.postgres import missing_postgres
from tests.rehearsal.client import Client
from tests.rehearsal.mistakes import mistakes
from tests.rehearsal.scenes import Outcome, as_alone, one_study, refusals, study_file, two_users
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


@pytest.fixture(scope="module")
def ada(at: Stage) -> Client:
    """The first user."""
    return at.user("ada")


@pytest.fixture(scope="module")
def whole(at: Stage) -> Path:
    """A tiny study."""
    return study_file(at.folder, "whole")


def hold(outcomes: Iterable[Outcome]) -> None:
    """All of them; the first that does not is named."""
    for outcome in outcomes:
        print(f"{outcome.what}: {outcome.found}")
        assert outcome.right, f"{outcome.what}: {outcome.found}"


def test_nobody_without_the_token_is_served(at: Stage) -> None:
    hold(refusals(at))


def test_a_study_is_submitted_once_stopped_resumed_and_ends_as_a_local_run(
    at: Stage, ada: Client, whole: Path
) -> None:
    hold(one_study(at, ada, whole, "whole", stop_at=20))
    hold(as_alone(ada, at.alone("alone"), whole, "whole"))


def test_two_users_at_once_see_nothing_of_each_other(at: Stage, ada: Client) -> None:
    files = study_file(at.folder, "of_ada"), study_file(at.folder, "of_ben")
    hold(two_users(at, (ada, at.user("ben")), files))


def test_mistakes_are_one_message_and_leave_nothing_behind(at: Stage, ada: Client, whole: Path) -> None:
    hold(mistakes(at, ada, whole))
