"""Progress says what is known: nothing about the time left before there is a rate."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import pytest

from studies.execution.progress import Display, ThroughputMeter, duration


@dataclass
class Counts:
    """As much of an agenda as progress reads."""

    finished: int = 0
    planned: int = 100
    diverged: int = 0
    pruned: int = 0
    failed_packs: list[object] = field(default_factory=list)
    deep: int = 0
    """How many of the finished members took ten times the work of the others; 20 of all planned do."""

    @property
    def work_done(self) -> float:
        return self.finished + 9 * self.deep

    @property
    def work_planned(self) -> float:
        return self.planned + 9 * 20


def standings(times: list[tuple[float, int]]) -> ThroughputMeter:
    clock = iter(time for time, _ in times)
    return ThroughputMeter(clock=lambda: next(clock))


def test_time_left_follows_from_the_members_of_the_last_minute() -> None:
    history = [(0.0, 0), (20.0, 10), (21.0, 20), (22.0, 30), (23.0, 40)]
    pace = standings(history)
    seen = [pace.at(Counts(finished=finished)) for _, finished in history]  # type: ignore[arg-type]
    assert [s.seconds_left for s in seen[:3]] == [None, None, None]
    assert seen[3].rate == pytest.approx(
        10
    )  # 20 members in the 2 s since the first commit, not since the start
    assert seen[4].seconds_left == pytest.approx(24)  # 60 members, 20 of them deep: work for 240
    assert "24 s left" in seen[4].sentence()


def test_time_left_counts_work_so_that_deep_members_first_do_not_frighten() -> None:
    history = [(0.0, 0), (20.0, 5), (30.0, 10), (40.0, 15)]
    pace = standings(history)
    for _, finished in history:
        standing = pace.at(Counts(finished=finished, deep=finished))  # type: ignore[arg-type]
    # 10 deep members in the last 20 s: 5 units of work a second; 5 deep ones and 80 others are left
    assert standing.seconds_left == pytest.approx((5 * 10 + 80) / 5)


def test_members_of_an_earlier_run_are_not_counted_as_speed() -> None:
    history = [(0.0, 90), (1.0, 90), (2.0, 91), (4.0, 92), (6.0, 93)]
    pace = standings(history)
    last = [pace.at(Counts(finished=finished)) for _, finished in history][-1]  # type: ignore[arg-type]
    assert last.rate == pytest.approx(0.5)


def test_a_study_with_given_up_packs_is_not_complete() -> None:
    @dataclass
    class Pack:
        members: tuple[int, ...] = (1, 2)

    standing = ThroughputMeter().at(Counts(finished=100, failed_packs=[Pack()]))  # type: ignore[arg-type]
    assert not standing.complete
    assert "2 given up" in standing.sentence()


def test_plain_lines_come_at_most_every_few_seconds() -> None:
    out = io.StringIO()
    with Display(out) as display:
        for finished in range(50):
            display(Counts(finished=finished))  # type: ignore[arg-type]
        assert out.getvalue() == "0 of 100 members, 0 diverged\n"
    assert [line.split(",")[0] for line in out.getvalue().splitlines()] == [
        "0 of 100 members",
        "49 of 100 members",
    ], "what follows stands below the last count"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (600, "10 min"), (7800, "2 h 10 min")]
)
def test_durations_are_as_precise_as_an_estimate_deserves(seconds: float, text: str) -> None:
    assert duration(seconds) == text
