"""Every field of what a row says, against a second computation, where nothing agrees by chance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from reports.defaults.defaults_file import defaults
from reports.evidence.arrays import Evidence, from_rows, gather
from reports.evidence.study_record import StudyRecord
from reports.verdicts.headline import other_orders
from reports.verdicts.hyperparameter_values import tuned_numbers
from reports.verdicts.model import Verdict
from reports.verdicts.robustness import Robustness, robustness
from reports.verdicts.verdict import Decision, verdicts
from search_spaces.overrides import Overrides
from tests.reports import reference, reference_numbers, reference_row
from tests.reports.discriminating import discriminating
from tests.reports.reference_row import Table, decided, table_of

STUDIES: Mapping[str, Mapping[str, Any]] = {
    "raced": {},
    "raced and loud": {"seed": 7, "noise": 1.4},
    "raced and open": {"seed": 10, "noise": 1.4},
    "one look": {"looks": (16,), "seed": 3, "textbook": "wrong"},
    "stopped early": {"seed": 4, "noise": 0.15, "textbook": "without this row"},
    "textbook dropped": {"seed": 4, "noise": 0.15, "textbook": "dropped"},
    "families fewer than looks": {"families": (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 10, 11), "seed": 5},
    "few families": {"families": (0, 1, 2, 3, 3, 4), "seed": 2, "noise": 0.3, "textbook": "wrong"},
    "few families, no such row": {
        "families": (0, 1, 2, 3, 3, 4),
        "seed": 2,
        "noise": 1.2,
        "textbook": "without this row",
    },
    "few families and three looks": {"families": (0, 1, 2, 3, 3, 4), "seed": 1, "noise": 0.9},
}
"""What it is called -> how it differs."""

Row = tuple[StudyRecord, Evidence, Verdict, Table]


@pytest.fixture(scope="module", params=[(name, regime) for name in STUDIES for regime in ("shallow", "deep")])
def row(request: pytest.FixtureRequest) -> Row:
    name, regime = request.param
    record = discriminating(**STUDIES[name])
    place = ("shallow", "deep").index(regime)
    return record, gather(record)[place], verdicts(record)[place], table_of(record, regime)


@pytest.fixture(scope="module")
def checks(row: Row) -> Robustness:
    record, evidence, verdict, _ = row
    return robustness(evidence, verdict, looks=record.budget.looks)


def test_the_studies_tell_things_apart() -> None:
    """Else a comparison below could not fail: labels, drops, looks, arms and read-outs all differ."""
    records = [discriminating(**how) for how in STUDIES.values()]
    tables = [table_of(record, regime) for record in records for regime in record.regimes]
    decisions = [decided(table) for table in tables]
    assert {decision.decided_by for decision in decisions} == {"data", "cost_order", "fallback"}
    labels = {"confirmed", "tied", "contradicted", "insufficient", "unlisted"}
    assert {decision.label for decision in decisions} == labels
    assert any(len(table.whole) < 4 for table in tables), "no level was dropped"
    assert {table.general for table in tables} == {True, False}
    assert any(share < 1 for table in tables for share in table.finished), "no run diverged"
    for table in tables:
        other = [np.nanmean(each, axis=(0, 1)) for each in (table.errors, table.untuned, table.last)]
        ranks = {tuple(np.argsort(means)) for means in other}
        assert len(ranks) == 3, "an arm or a read-out ranks as another does"


def test_the_verdict_of_every_row(row: Row) -> None:
    record, _, verdict, table = row
    expected = decided(table)
    assert verdict.textbook == table.textbook
    assert (verdict.recommended, verdict.decided_by) == (expected.recommended, expected.decided_by)
    assert (verdict.label, verdict.admissible) == (expected.label, expected.admissible)
    whole = {a: [m for (i, _), m in expected.mean.items() if i == a] for a in range(len(table.levels))}
    assert verdict.best == table.levels[min(whole, key=lambda a: sum(whole[a]))]
    assert verdict.families == len(table.names)
    assert verdict.real_families == len({f for f, real in zip(table.family, table.real, strict=True) if real})
    assert (verdict.tasks, verdict.evidence) == (table.tasks, table.ids)
    assert (verdict.blocks, verdict.seeds) == (record.budget.blocks, record.budget.confirm_seeds)
    needed = reference_row.families_needed(table) if expected.label == "insufficient" else None
    assert verdict.tasks_needed == needed
    assert verdict.caveats == tuple(reference_row.caveats(table))
    assert verdict.general == table.general
    assert verdict.fallback_reason == ""
    assert verdict.finished_share == pytest.approx(dict(zip(table.levels, table.finished, strict=True)))
    for a, level in enumerate(table.levels):
        alone = table.both(a, a)
        assert verdict.mean_error[level] == pytest.approx(reference_row.raw(alone, a))


def test_every_effect_of_the_verdict(row: Row) -> None:
    _, _, verdict, table = row
    expected = decided(table)
    assert len(verdict.effects) == len(table.levels) * (len(table.levels) - 1)
    for effect in verdict.effects:
        a, b = table.levels.index(effect.level), table.levels.index(effect.against)
        both = table.both(a, b)
        assert effect.margins == pytest.approx(expected.mean[a, b])
        assert effect.interval == pytest.approx(expected.interval[a, b])
        assert (effect.lower, effect.upper) == pytest.approx(expected.bounds[a, b])
        assert effect.tasks == len(both.names)
        assert effect.points == pytest.approx(100 * (reference_row.raw(both, a) - reference_row.raw(both, b)))


def test_what_is_quoted_of_the_verdict(row: Row) -> None:
    _, _, verdict, table = row
    expected = decided(table)
    pair = reference_row.headline(table, expected)
    assert pair is not None and verdict.headline is not None
    assert (verdict.headline.level, verdict.headline.against) == tuple(table.levels[i] for i in pair)
    own = table.levels.index(verdict.recommended)
    worst = max(expected.bounds[own, other][1] for other in range(len(table.levels)) if other != own)
    assert verdict.regret_bound == pytest.approx(worst)
    lost = verdict.contradiction
    assert (lost is None) == (verdict.label != "contradicted")
    if lost is not None:
        named = [i for i, level in enumerate(table.levels) if level in table.textbook]
        others = [i for i in range(len(table.levels)) if i not in named]
        rival = max(others, key=lambda b: min(expected.bounds[a, b][0] for a in named))
        strongest = min(named, key=lambda a: expected.mean[a, rival])
        assert (lost.level, lost.against) == (table.levels[strongest], table.levels[rival])


def test_how_the_row_raced(row: Row) -> None:
    record, _, verdict, table = row
    families, planned = len(set(_families(record))), len(table.looks)
    if planned < 2 or families < 8:
        assert verdict.course is None
        return
    looks = [*(look for look in table.looks if look < families), families]
    taken = looks[: looks.index(len(table.names)) + 1]
    raced = reference.race(table.errors, table.delta, table.family, taken, table.alpha, planned=planned)
    course = verdict.course
    assert course is not None
    assert (course.looks, course.families) == (tuple(looks), raced.stop)
    assert course.taken == looks.index(raced.stop) + 1
    assert course.dropped == {table.levels[i]: look for i, look in raced.dropped.items()}
    pairs = [(task, level) for task, levels in course.called.items() for level in levels]
    trained = {
        (table.tasks[t], table.levels[i])
        for t, i in np.argwhere(~np.isnan(table.errors).any(axis=1)).tolist()
    }
    assert set(pairs) == trained and len(pairs) == len(trained)
    whole = len(record.tasks["initializer"][verdict.regime]) * len(table.levels)
    assert course.saved == (whole - len(trained), whole)


def _families(record: StudyRecord) -> list[str]:
    return [fact.family for fact in record.facts.values()]


def the_same(decision: Decision, table: Table) -> None:
    """A decision, field by field."""
    expected = decided(table)
    assert (decision.recommended, decision.decided_by) == (expected.recommended, expected.decided_by)
    assert (decision.label, decision.admissible) == (expected.label, expected.admissible)
    for (a, b), mean in expected.mean.items():
        found = decision.comparison
        assert found.mean[a, b] == pytest.approx(mean)
        ends = (found.interval_low[a, b], found.interval_high[a, b])
        assert ends == pytest.approx(expected.interval[a, b])
        assert (found.lower[a, b], found.upper[a, b]) == pytest.approx(expected.bounds[a, b])


def test_other_margins_and_the_library_defaults(row: Row, checks: Robustness) -> None:
    *_, table = row
    for decision, scale in ((checks.half_margins, 0.5), (checks.double_margins, 2.0)):
        the_same(decision, replaced(table, delta=tuple(scale * delta for delta in table.delta)))
    the_same(checks.untuned, replaced(table, errors=table.untuned))


def replaced(table: Table, **changes: Any) -> Table:
    return Table(**{**vars(table), **changes})


def test_what_leaving_one_family_out_says(row: Row, checks: Robustness) -> None:
    _, _, verdict, table = row
    if not table.general:
        assert (checks.kept_without, checks.leave_one_task_out, checks.regret, checks.pair) == (None,) * 4
        return
    kept, losses = reference_row.left_out(table, verdict.recommended)
    assert checks.kept_without == kept
    assert checks.leave_one_task_out == pytest.approx(np.mean(losses))
    assert checks.regret is not None and checks.pair is not None
    inside = sum(loss < 1 for loss in losses)
    assert checks.regret.mean == pytest.approx(np.mean(losses))
    assert checks.regret.worst_tenth == pytest.approx(np.quantile(losses, 0.9))
    assert checks.regret.share == pytest.approx(inside / len(losses))
    low = float(stats.beta.ppf(0.05, inside, len(losses) - inside + 1)) if inside else 0.0
    assert checks.regret.share_low == pytest.approx(low)
    assert checks.regret.robust == (inside / len(losses) >= 0.75 and low > 0.5)
    (a, b), cost = reference_row.best_pair(table)
    assert checks.pair[0] == (table.levels[a], table.levels[b])
    assert checks.pair[1] == pytest.approx(cost)


def test_other_estimates_of_the_headline(row: Row, checks: Robustness) -> None:
    *_, table = row
    if not table.general:
        nothing = (checks.sign_flip, checks.median, checks.prediction, checks.estimates, checks.improve)
        assert (*nothing, checks.measured, checks.generated) == (None,) * 7
        return
    pair = reference_row.headline(table, decided(table))
    assert pair is not None and checks.estimates is not None and checks.improve is not None
    both = table.both(*pair)
    values = both.effects(*pair)
    assert checks.median == checks.estimates.median == pytest.approx(np.median(values))
    assert checks.estimates.mean == pytest.approx(np.mean(values))
    quarter = len(values) // 4
    assert checks.estimates.iqm == pytest.approx(np.mean(sorted(values)[quarter : len(values) - quarter]))
    assert checks.sign_flip == checks.estimates.sign_flip == pytest.approx(reference_row.sign_flip(values))
    low, high = reference_row.prediction(both, *pair)
    assert checks.prediction == pytest.approx((low, high))
    rng = np.random.default_rng(1)
    many = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="BCa", rng=rng).confidence_interval
    assert checks.estimates.bca == pytest.approx((many.low, many.high), abs=0.12 * (many.high - many.low))
    shares = reference_row.improve_share(both, *pair)
    assert checks.improve.share == pytest.approx(np.mean(shares))
    drawn = rng.choice(shares, (20_000, len(shares))).mean(axis=1)
    ends = np.quantile(drawn, [0.025, 0.975])
    assert (checks.improve.low, checks.improve.high) == pytest.approx(tuple(ends), abs=0.03)
    for part, real in ((checks.measured, True), (checks.generated, False)):
        families, mean, interval = reference_row.of_kind(both, *pair, real=real)
        assert part is not None
        assert part.families == families
        assert part.margins == pytest.approx(mean)
        assert part.interval == pytest.approx(interval)


def test_the_row_under_other_cost_orders(row: Row) -> None:
    _, _, verdict, table = row
    expected = decided(table)
    proved = expected.admissible or (expected.recommended,)
    (order,) = other_orders([verdict])
    assert (order.cheapest, order.dearest) == (expected.recommended, proved[-1])
    assert order.least_error == reference_row.least_error(table, proved)
    assert order.possible == proved


def short(value: float) -> float:
    """At the 4 significant digits of a file."""
    return float(f"{value:.4g}")


def test_every_field_of_an_exported_row(row: Row, checks: Robustness) -> None:
    record, _, verdict, table = row
    expected = decided(table)
    line = defaults(record, verdicts(record)).row("initializer", verdict.regime)
    assert line is not None and line.effect is not None
    assert (line.recommended, line.decided_by) == (expected.recommended, expected.decided_by)
    assert (line.verdict, line.textbook, line.tasks) == (expected.label, table.textbook, table.tasks)
    assert line.tied_with == tuple(level for level in expected.admissible if level != expected.recommended)
    assert line.evaluations == len(table.ids)
    pair = reference_row.headline(table, expected)
    assert pair is not None
    both = table.both(*pair)
    points = 100 * (reference_row.raw(both, pair[0]) - reference_row.raw(both, pair[1]))
    assert (line.effect.against, line.effect.tasks) == (table.levels[pair[0]], len(both.names))
    assert (line.effect.blocks, line.effect.seeds) == (record.budget.blocks, record.budget.confirm_seeds)
    assert line.effect.margins == pytest.approx(short(expected.mean[pair]))
    assert line.effect.interval == pytest.approx(tuple(map(short, expected.interval[pair])))
    assert line.effect.points == pytest.approx(short(points))
    own = table.levels.index(expected.recommended)
    worst = max(high for (a, _), (_, high) in expected.bounds.items() if a == own)
    assert line.regret_if_wrong.upper_bound_margins == pytest.approx(short(worst))
    if table.general:
        _, losses = reference_row.left_out(table, expected.recommended)
        assert line.regret_if_wrong.leave_one_task_out == pytest.approx(short(float(np.mean(losses))))
    else:
        assert line.regret_if_wrong.leave_one_task_out is None
    assert math.isfinite(line.effect.margins)


@pytest.mark.parametrize("name", ["raced", "few families and three looks"])
@pytest.mark.parametrize("regime", ["shallow", "deep"])
def test_every_field_of_every_number(name: str, regime: str) -> None:
    record = discriminating(**STUDIES[name])
    evidence = gather(record)[("shallow", "deep").index(regime)]
    level = decided(table_of(record, regime)).recommended
    found = tuned_numbers(record, evidence, level)
    expected = reference_numbers.numbers_of(record, regime, level)
    assert [(n.optimizer, n.name) for n in found] == [(n.optimizer, n.name) for n in expected]
    assert len(found) == 3, "two numbers of AdamW, one of Nesterov"
    exported = [n for n in defaults(record, verdicts(record)).numbers if n.regime == regime]
    for ours, theirs, line in zip(found, expected, exported, strict=True):
        for field in vars(theirs):
            mine, other = getattr(ours, field), getattr(theirs, field)
            assert mine == (other if isinstance(other, str) else pytest.approx(other, rel=6e-6)), field
        assert theirs.low < theirs.high
        assert (line.name, line.optimizer, line.level) == (theirs.name, theirs.optimizer, level)
        assert (line.factor, line.cells) == ("initializer", theirs.cells)
        assert line.value == pytest.approx(short(theirs.value))
        assert line.range == pytest.approx((short(theirs.low), short(theirs.high)))
        assert line.tunability_margins == pytest.approx(short(theirs.tunability))
        assert line.loss_if_untuned_margins == pytest.approx(short(theirs.loss_if_untuned))
        assert theirs.left_out is not None
        assert line.leave_one_task_out_margins == pytest.approx(short(theirs.left_out))


def test_levels_that_differ_in_training_items_get_the_widest_intervals_of_them() -> None:
    record = discriminating(**STUDIES["few families"])
    sizes = dict(zip(table_of(record, "deep").levels, (400, 100, 200, 300), strict=True))
    changes = {level: Overrides(setting={"train_size": size}) for level, size in sizes.items()}
    asked = replace(record.questions[0], changes=changes)
    rows = [row for row in record.evaluations if (row.slot.regime, row.slot.phase) == ("deep", "confirm")]
    found = from_rows(record, asked, "deep", rows)
    expected = [record.facts[task].n_test / 100 for task in found.tasks]
    assert found.overlap.tolist() == pytest.approx(expected)
