"""The validation table holds in small, and breaking the rule on purpose makes it fail."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from reports.evidence import arrays as evidence
from reports.evidence import fairness_checks
from reports.evidence.test_errors import scores
from reports.statistics import decision, racing
from reports.statistics.compare import Array, Comparison, compare
from studies.cli import invoke
from studies.simulation import full_studies
from studies.simulation.planted_truth import RateBowl, SearchBudget, searched
from studies.simulation.scenarios import ROWS, Check
from studies.simulation.table import MeasuredScenario, simulate, text
from trainers.evaluation import Evaluation

Table = dict[tuple[str, str], MeasuredScenario]


def measured(*rows: str, studies: int = 1000) -> Table:
    return {(one.row, one.check.name): one for one in simulate(rows, studies=studies)}


def failing(table: Table) -> list[tuple[str, str]]:
    return [place for place, one in table.items() if one.answer == "FAILS"]


def test_the_table_has_every_row_of_the_method() -> None:
    assert {row.name.rstrip("c") for row in ROWS} == {f"V{i}" for i in range(1, 17)}


def test_the_rule_keeps_its_promises_on_simulated_studies() -> None:
    arrays = [row.name for row in ROWS if row.most is None]
    table = measured(*arrays, studies=400)
    assert not failing(table)


def test_the_guards_keep_theirs_on_whole_studies() -> None:
    table = measured("V8", "V9", "V15", studies=1)
    assert table and all(one.holds for one in table.values())


def test_without_the_correction_for_levels_and_looks_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(one.holds for one in measured("V3").values())

    def uncorrected(errors: np.ndarray, *place: Any, alpha: float, looks: int, **rest: Any) -> Comparison:
        return compare(errors, *place, alpha=alpha * errors.shape[-1] * looks, looks=looks, **rest)

    monkeypatch.setattr(racing, "compare", uncorrected)
    assert ("V3", "a level a margin worse recommended, 12 tasks") in failing(measured("V3"))


def test_dropping_what_is_merely_significantly_worse_loses_the_best_level(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not a row of the table: the reason for the margin in the race's drop rule."""
    rng = np.random.default_rng(1)
    errors = np.array([0.5, 0.5, 0.0]) + rng.normal(size=(300, 24, 4, 3))

    def lost() -> float:
        raced = racing.race(errors, np.ones(24), np.arange(24), looks=(8, 16, 24), alpha=0.05)
        return float((~raced.surviving).any(axis=-1).mean())

    kept = lost()

    def shifted(*place: Any, **rest: Any) -> Comparison:
        found = compare(*place, **rest)
        return Comparison(**{**vars(found), "lower": found.lower + 1.0})

    monkeypatch.setattr(racing, "compare", shifted)
    assert kept < 0.01 < lost()


def test_a_tie_for_want_of_proof_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """'Not significantly worse' in the place of 'proved within a margin'."""

    def not_worse(upper: np.ndarray, surviving: np.ndarray | None = None) -> np.ndarray:
        return np.ones(upper.shape[:-1], dtype=bool) if surviving is None else surviving

    monkeypatch.setattr(racing, "admissible", not_worse)
    monkeypatch.setattr(decision, "admissible", not_worse)
    assert failing(measured("V3", "V10", studies=200))


def test_letting_search_rows_in_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def anything(rows: Iterable[object]) -> None:
        assert rows

    def of_any_phase(rows: Iterable[Evaluation], **asked: Any) -> tuple[Array, Array]:
        return scores([replace(row, slot=replace(row.slot, phase="confirm")) for row in rows], **asked)

    monkeypatch.setattr(evidence, "only_evidence", anything)
    monkeypatch.setattr(evidence, "scores", of_any_phase)
    assert ("V15", "search rows as evidence: refused") in failing(measured("V15", studies=1))


@pytest.mark.parametrize(
    ("guard", "row", "name"),
    [
        ("_test_read_once", "V15", "test leak: refused"),
        ("_fresh_seeds", "V15", "reused seed: refused"),
        ("_one_design", "V9", "TPE rows called a design refused"),
    ],
)
def test_without_a_guard_its_row_fails(
    guard: str, row: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asleep(*_: object) -> None:
        """Lets everything pass."""

    monkeypatch.setattr(fairness_checks, guard, asleep)
    assert failing(measured(row, studies=1)) == [(row, name)]


def test_a_look_beyond_the_plan_is_guarded_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    def asleep(*_: object) -> None:
        """Lets everything pass."""

    monkeypatch.setattr(fairness_checks, "_called_for", asleep)
    assert not failing(measured("V15", studies=1))


def test_bounds_are_clopper_and_pearsons() -> None:
    for hits, out_of in ((0, 20), (3, 200), (200, 200), (17, 41)):
        one = MeasuredScenario(
            row="V1", plant="", check=Check(name="x", accept="shown"), hits=hits, out_of=out_of
        )
        exact = stats.binomtest(hits, out_of).proportion_ci(0.95, method="exact")
        assert (one.low, one.high) == pytest.approx((exact.low, exact.high), abs=1e-12)


@pytest.mark.parametrize(
    ("hits", "accept", "bound", "answer"),
    [
        (1, "at most", 0.05, "open"),
        (0, "at most", 0.05, "holds"),
        (20, "at most", 0.05, "FAILS"),
        (99, "at least", 0.9, "holds"),
        (92, "at least", 0.9, "open"),
        (50, "at least", 0.9, "FAILS"),
        (99, "always", 1.0, "FAILS"),
    ],
)
def test_a_bound_decides_and_too_few_studies_leave_it_open(
    hits: int, accept: Any, bound: float, answer: str
) -> None:
    check = Check(name="x", accept=accept, bound=bound)
    assert MeasuredScenario(row="V1", plant="", check=check, hits=hits, out_of=100).answer == answer


def test_one_row_alone_is_measured_as_among_all_and_by_any_number_of_processes() -> None:
    alone, among = measured("V4", studies=300), measured("V3", "V4", studies=300)
    assert {place: one.hits for place, one in alone.items()}.items() <= {
        place: one.hits for place, one in among.items()
    }.items()
    assert simulate(["V4"], studies=300, workers=2) == tuple(alone.values())


def test_the_simulated_search_chooses_as_a_chain_does() -> None:
    """Without noise the best of the designed points is confirmed, so its regret is the design's."""
    bowl = RateBowl(truth=(0.0,), optimum=(0.0,), seed_sd=(0.0,), tau=0.0, optimum_sd=0.0)
    found = searched(bowl, np.random.default_rng(1), 50, 4, 2, SearchBudget(trials=16))
    nearest = 2 * bowl.half_range / 16
    assert found.max() <= bowl.curvature * nearest**2
    assert found.min() >= 0
    few = searched(bowl, np.random.default_rng(1), 50, 4, 2, SearchBudget(trials=4))
    assert few.mean() > found.mean()


def test_whole_studies_are_complete_and_judged() -> None:
    record = full_studies.whole_study("sound")
    assert not full_studies.refused(record)
    assert len(record.evaluations) == sum(record.planned.values())


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = invoke(["simulate", *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_the_command_prints_the_table_and_its_exit_code_says_whether_it_holds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out, _ = run(["--only", "V5", "--studies", "100", "--workers", "1"], capsys)
    assert code == 0
    assert "V5" in out and "at least 90%" in out and "holds" in out
    code, out, _ = run(["--only", "V4", "--studies", "5", "--workers", "1"], capsys)
    assert code == 1 and "open: more studies needed" in out
    code, out, _ = run(["--only", "V2", "--studies", "400", "--workers", "1", "--json"], capsys)
    assert {one["row"] for one in json.loads(out)} == {"V2"}
    code, _, err = run(["--only", "V99"], capsys)
    assert code == 2 and "V99" in err and "V16" in err


def test_the_table_reads_row_by_row() -> None:
    lines = text(simulate(["V4", "V5"], studies=50)).splitlines()
    assert lines[0].startswith("V4  a pair exactly 1 margin apart")
    assert sum(line.startswith("V") for line in lines) == 2
