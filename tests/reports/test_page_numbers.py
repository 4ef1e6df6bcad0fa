"""Every number in the tables and sentences of a built page against the second computation."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from reports.evidence.study_record import StudyRecord
from tests.reports import reference_numbers, reference_row
from tests.reports.built_pages import (
    LABELS,
    PAGES,
    REGIMES,
    Built,
    badge,
    built_page,
    interval_of,
    mean_of,
    points,
    ranged,
    short,
    signed,
)
from tests.reports.reference_row import Decision, Table, decided


@pytest.fixture(scope="module", params=PAGES)
def built(request: pytest.FixtureRequest) -> Built:
    return built_page(request.param)


def test_the_table_of_defaults(built: Built) -> None:
    heading = "Recommended defaults" if built.tables["deep"].general else "Answers on these tasks"
    rows = built.page.table(heading).rows
    assert len(rows) == len(REGIMES)
    for (_, regime, table, decision, pair), cells in zip(built.rows(), rows, strict=True):
        as_good = [level for level in decision.admissible if level != decision.recommended]
        effect = f"{ranged(decision.mean[pair], decision.interval[pair])} {table.levels[pair[0]]}"
        effect = effect.replace(" [", " margins [", 1)
        if table.general:
            _, mean, ends = reference_row.of_kind(table.both(*pair), *pair, real=True)
            effect += f"; measured data alone {ranged(mean, ends)}"
        real = len({f for f, measured in zip(table.family, table.real, strict=True) if measured})
        against = _contradicting(table, decision)
        assert cells == [
            f"initializer @ {regime}",
            " or ".join(table.textbook) or "–",
            decision.recommended + (f" as good: {', '.join(as_good)}" if as_good else ""),
            badge(decision.label) + (f" by {against}" if against else ""),
            decision.decided_by.replace("_", " "),
            effect,
            signed(points(table, pair)),
            f"{len(table.names)} families ({real} real), 3 blocks, 2 seeds",
        ]


def _contradicting(table: Table, decision: Decision) -> str:
    if decision.label != "contradicted":
        return ""
    named = [i for i, level in enumerate(table.levels) if level in table.textbook]
    others = [i for i in range(len(table.levels)) if i not in named]
    return table.levels[max(others, key=lambda b: min(decision.bounds[a, b][0] for a in named))]


def test_other_cost_orders(built: Built) -> None:
    rows = built.page.table("Would the table say otherwise").rows
    for (_, regime, table, decision, _), cells in zip(built.rows(), rows, strict=True):
        proved = decision.admissible or (decision.recommended,)
        least = reference_row.least_error(table, proved)
        expected = [f"initializer @ {regime}", decision.recommended, proved[-1], least, ", ".join(proved)]
        assert cells == expected


def test_sentences_quote_the_95_percent_interval(built: Built) -> None:
    for section, _, table, decision, pair in built.rows():
        quoted = ranged(decision.mean[pair], decision.interval[pair]).replace(" [", " margins [", 1)
        texts = [text for where, text in built.page.paragraphs if where == section]
        if decision.decided_by == "data" and decision.label in ("confirmed", "unlisted"):
            assert f"{table.levels[pair[0]]} has an error {quoted} higher" in texts[0]
        if decision.label == "insufficient" and decision.decided_by == "fallback":
            needed = reference_row.families_needed(table)
            assert (f"about {needed} families would settle the row" in texts[0]) == (needed is not None)


def test_the_regret_ladder(built: Built) -> None:
    for section, _, table, decision, _ in built.rows():
        found = built.page.table("How much can each level cost", section)
        for i, cells in enumerate(found.rows):
            uppers = {b: high for (a, b), (_, high) in decision.bounds.items() if a == i}
            rival = max(uppers, key=lambda b: uppers[b])
            assert cells[:6] == [
                table.levels[i],
                signed(uppers[rival]),
                "yes" if table.levels[i] in decision.admissible else "no",
                table.levels[rival],
                short(reference_row.raw(table.both(i, i), i)),
                f"{table.finished[i]:.0%}",
            ]
            assert built.page.bars[section][i] == pytest.approx(min(4.0, uppers[rival]), abs=6e-4)
        assert len(found.rows) == len(table.levels)


def test_every_pair_of_levels(built: Built) -> None:
    words = {"tied": "tied", "better": "worse", "worse": "better", "unresolved": "unresolved"}
    for section, _, table, decision, _ in built.rows():
        rows = [t.rows for t in built.page.tables if t.section == section and "One-sided bounds" in t.columns]
        expected = []
        for (a, b), mean in sorted(decision.mean.items()):
            (low, high), (lower, upper) = decision.interval[a, b], decision.bounds[a, b]
            expected.append(
                [
                    table.levels[a],
                    table.levels[b],
                    signed(mean),
                    f"{signed(low)} to {signed(high)}",
                    f"{signed(lower)}, {signed(upper)}",
                    signed(points(table, (a, b))),
                    words[_state(lower, upper)],
                ]
            )
        assert rows == [expected]


def _state(lower: float, upper: float) -> str:
    """Of the first level's rival; unlike a claim's, its words do not ask for more than a sign."""
    if lower > -1 and upper < 1:
        return "tied"
    return "better" if lower > 0 else "worse" if upper < 0 else "unresolved"


def test_every_other_analysis(built: Built) -> None:
    for section, _, table, decision, pair in built.rows():
        found = {row[0]: row[1:] for row in built.page.table("Would another analysis", section).rows}
        analyses = {
            "as judged": table,
            "margins half as wide": replace(table, delta=tuple(d / 2 for d in table.delta)),
            "margins twice as wide": replace(table, delta=tuple(d * 2 for d in table.delta)),
            "at the library’s defaults (k = 1)": replace(table, errors=table.untuned),
            "error after the last step, not at the best validation (no early stopping)": replace(
                table, errors=table.last
            ),
        }
        for what, other in analyses.items():
            said = decided(other)
            taken = said.recommended + (" (fallback)" if said.decided_by == "fallback" else "")
            if said.recommended != decision.recommended:
                taken += f", not {decision.recommended}"
            assert found.pop(what) == [
                ranged(said.mean[pair], said.interval[pair]), taken, LABELS[said.label]
            ], what  # fmt: skip
        if not table.general:
            assert found == {}
            continue
        both = table.both(*pair)
        values = sorted(both.effects(*pair))
        for word, real in (("measured", True), ("generated", False)):
            families, mean, ends = reference_row.of_kind(both, *pair, real=real)
            assert found.pop(f"{word} data alone, {families} families")[0] == ranged(mean, ends)
        quarter = len(values) // 4
        middle = float(np.mean(values[quarter : len(values) - quarter]))
        assert found.pop("median over families")[0] == signed(float(np.median(values)))
        assert found.pop("mean of the middle half of the families")[0] == signed(middle)
        bca = stats.bootstrap(
            (values,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(1)
        ).confidence_interval
        said_bca = found.pop("mean, bootstrapped over families (BCa)")[0].replace("−", "-")
        mean, low, high = (
            float(part) for part in said_bca.replace("[", "").replace("]", "").replace(",", "").split()
        )
        assert mean == pytest.approx(np.mean(values), abs=0.006)
        assert (low, high) == pytest.approx((bca.low, bca.high), abs=0.12 * (bca.high - bca.low))
        (rest,) = found
        above, within, below = _signed_rank(values)
        parts = [float(word.rstrip("%,")) / 100 for word in found[rest][0].split() if "%" in word]
        assert rest == "Bayesian signed-rank test with one margin as equivalence"
        assert parts == pytest.approx([above, within, below], abs=0.02)


def _signed_rank(values: Sequence[float]) -> tuple[float, float, float]:
    """Benavoli's test: families weighed by a Dirichlet, half a family at zero; where most pairs lie."""
    points = np.array([0.0, *values])
    means = (points[:, None] + points) / 2
    weights = np.random.default_rng(8).dirichlet([0.5, *np.ones(len(values))], 20_000)
    shares = np.array([
        np.einsum("di,ij,dj->d", weights, region.astype(float), weights)
        for region in (means > 1, np.abs(means) <= 1, means < -1)
    ])  # fmt: skip
    above, within, below = (float(np.mean(shares.argmax(axis=0) == k)) for k in range(3))
    return above, within, below


def test_what_leaving_out_and_new_families_would_say(built: Built) -> None:
    for section, _, table, decision, pair in built.rows():
        terms = built.page.terms.get(section, {})
        if not table.general:
            assert terms == {}
            continue
        kept, losses = reference_row.left_out(table, decision.recommended)
        assert terms["leaving out one family"] == (
            f"{kept} of {len(table.names)} times the same recommendation; loss on the family left out "
            f"{signed(float(np.mean(losses)))} margins on average (noise alone makes this positive)"
        )
        inside = sum(loss < 1 for loss in losses)
        low = float(stats.beta.ppf(0.05, inside, len(losses) - inside + 1))
        robust = inside / len(losses) >= 0.75 and low > 0.5
        said = terms["robust default" if robust else "default on average only"]
        assert f"on {inside / len(losses):.0%} of those left out (at least {low:.0%}" in said
        assert f"worst tenth {signed(float(np.quantile(losses, 0.9)))} margins" in said
        if not robust:
            (a, b), cost = reference_row.best_pair(table)
            names = f"{table.levels[a]} and {table.levels[b]}"
            assert f"trying both {names} would cost {signed(cost)} margins on average" in said
        both = table.both(*pair)
        share = np.mean(reference_row.improve_share(both, *pair))
        assert terms["chance of an improvement"].startswith(f"the rival loses {share:.0%} of blocks (")
        ends = reference_row.prediction(both, *pair)
        p = reference_row.sign_flip(both.effects(*pair))
        assert terms["sign-flip test, new family"] == (
            f"p = {short(p)}; a new family {signed(ends[0])} to {signed(ends[1])} margins"
        )


def test_the_numbers_to_type_in(built: Built) -> None:
    for section, regime, table, decision, _ in built.rows():
        expected = reference_numbers.numbers_of(built.record, regime, decision.recommended)
        rows = built.page.table(f"Numbers for {decision.recommended}", section).rows
        assert rows == [
            [
                number.name,
                number.optimizer,
                f"{number.value:.3g}",
                f"{number.low:.3g} to {number.high:.3g}",
                signed(number.loss_if_untuned),
                signed(number.left_out),
                str(number.families),
                str(number.cells),
            ]
            for number in expected
        ]
        note = next(text for where, text in built.page.paragraphs if where == section and "Typed in" in text)
        for number in expected:
            assert f"{signed(number.tunability)} margins of test error with {number.optimizer}" in note
        assert table.levels


def test_steps_to_the_target(built: Built) -> None:
    for section, regime, table, decision, _ in built.rows():
        rows = built.page.table("Which level gets there soonest", section).rows
        name = next(name for name in built.sheets if name.startswith("steps") and regime in name)
        steps, tasks = _steps(built.record, regime, table)
        sheet = built.sheets[name]
        base = table.levels.index(decision.recommended)
        fastest = np.min(steps, axis=2, keepdims=True)
        logs = np.log2(np.where(np.isfinite(steps), steps, 600.0)).mean(axis=3)
        alone = replace(tasks, errors=logs, delta=(1.0,) * len(logs))
        for i, cells in enumerate(rows):
            own = np.isfinite(steps[:, :, i])
            ordered = sorted(steps[:, :, i].ravel())
            middle = ordered[len(ordered) // 2]
            with np.errstate(invalid="ignore"):
                ratio = np.where(np.isfinite(steps), steps / fastest, np.inf)[:, :, i]
            places = np.linspace(1, 4, 61)
            shares = [float(np.mean(ratio <= place + 1e-12)) for place in places]
            area = float(np.trapezoid(shares, places) / 3)
            expected = [
                table.levels[i],
                f"{own.mean():.0%}",
                short(float(middle)) if math.isfinite(middle) else "never",
                f"{area:.2f}",
            ]
            assert cells[:4] == expected
            if i == base:
                assert cells[4:] == ["–", "–"]
            else:
                (low, high), mean = interval_of(alone, i, base), mean_of(alone, i, base)
                assert cells[4] == f"{2**mean:.2f} [{2**low:.2f}, {2**high:.2f}]"
                assert cells[5] == short(_log_rank(steps[:, :, i], steps[:, :, base]))
            drawn = [float(row[2]) for row in sheet[1:] if row[0] == table.levels[i]]
            assert drawn == pytest.approx(shares)


def _steps(record: StudyRecord, regime: str, table: Table) -> tuple[NDArray[np.float64], Table]:
    """[T, R, L, S] steps to the median pilot seed's error; inf where it was never reached."""
    shared = table.on([t for t in range(len(table.tasks)) if not np.isnan(table.errors[t]).any()])
    steps = np.full((len(shared.tasks), 3, len(table.levels), 2), np.inf)
    pilots = [row for row in record.evaluations if row.slot.phase == "pilot" and row.slot.regime == regime]
    for row in record.evaluations:
        s = row.slot
        if (s.regime, s.phase, row.arm) == (regime, "confirm", "tuned") and s.task in shared.tasks:
            goal = np.median([p.validation_metric for p in pilots if p.slot.task == s.task])
            there = [point.step for point in row.curve if point.validation_metric <= goal]
            place = shared.tasks.index(s.task), s.block, table.levels.index(s.level), s.index
            steps[place] = there[0] if there else np.inf
    return steps, shared


def _log_rank(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Two-sided p of the log-rank test, from its risk sets."""
    observed = expected = variance = 0.0
    for time in sorted({x for x in (*a.ravel(), *b.ravel()) if math.isfinite(x)}):
        n, m = int((a.ravel() >= time).sum()), int((b.ravel() >= time).sum())
        d, e = int((a.ravel() == time).sum()), int((b.ravel() == time).sum())
        observed += d
        expected += (d + e) * n / (n + m)
        if n + m > 1:
            variance += (d + e) * n / (n + m) * m / (n + m) * (n + m - d - e) / (n + m - 1)
    return float(2 * stats.norm.sf(abs(observed - expected) / math.sqrt(variance)))


def test_planned_and_run(built: Built) -> None:
    rows = built.record.evaluations
    expected = []
    for phase in ("pilot", "retune", "promote", "confirm"):
        there = [row for row in rows if row.slot.phase == phase]
        lost = sum(row.status == "diverged" for row in there)
        expected.append([phase, str(built.record.planned[phase]), str(len(there)), str(lost), "0", "0"])
    assert built.page.table("Planned and run").rows == expected
    spent = next(table for table in built.page.tables if "Planned steps" in table.columns)
    for cells in spent.rows:
        own = [
            row
            for row in rows
            if cells[0] == f"initializer @ {row.slot.regime}" and row.slot.level == cells[1]
        ]
        runs = Counter(row.slot.phase for row in own)
        lost = sum(row.status == "diverged" for row in own)
        counts = [runs["retune"], runs["promote"], runs["confirm"], 300 * len(own), lost]
        assert cells[2:] == [str(count) for count in counts]
    assert len(spent.rows) == 8


def test_margins_and_tasks(built: Built) -> None:
    margins = {(m.regime, m.task): m for m in built.record.margins}
    found = built.page.table("Tasks and margins", "margins").rows
    assert {(cells[0], cells[1]) for cells in found} == set(margins)
    for cells in found:
        margin = margins[cells[0], cells[1]]
        assert cells[2:] == [
            short(margin.delta), "relative", short(margin.best_error), "reference", short(margin.seed_sd),
            short(margin.trivial_error), "yes",
        ]  # fmt: skip
    tasks = next(table for table in built.page.tables if "Licence" in table.columns)
    for cells in tasks.rows:
        fact = built.record.facts[cells[0]]
        kind = "measured" if fact.real else "generated"
        numbers = [str(fact.items), str(fact.features), str(fact.n_test)]
        assert cells[1:7] == [fact.family, kind, "error rate", *numbers]
        assert cells[9] == fact.content_hash[:8]
