"""Every number of a built page, its CSV files and its forest plots against the second computation."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from reports.page import write_report
from reports.record import StudyRecord
from tests.reports import reference, reference_numbers, reference_row
from tests.reports.discriminating import discriminating
from tests.reports.pages import Figure, Page
from tests.reports.reference_row import Decision, Table, decided, table_of
from tests.reports.test_every_field import STUDIES

LABELS = {
    "confirmed": "confirmed",
    "tied": "tied",
    "contradicted": "contradicted",
    "insufficient": "insufficient evidence",
    "unlisted": "not in the textbook",
}
MARKS = {"confirmed": "✓", "tied": "=", "contradicted": "✗", "insufficient": "?", "unlisted": "+"}
REGIMES = ("shallow", "deep")


@dataclass(frozen=True, kw_only=True)
class Built:
    """A page, and what ought to stand on it."""

    record: StudyRecord
    page: Page
    sheets: dict[str, list[list[str]]]
    tables: dict[str, Table]
    decisions: dict[str, Decision]

    def rows(self) -> list[tuple[str, str, Table, Decision, tuple[int, int]]]:
        """(section, regime, table, decision, headline) of every row."""
        found = []
        for number, regime in enumerate(REGIMES, start=1):
            pair = reference_row.headline(self.tables[regime], self.decisions[regime])
            assert pair is not None
            found.append((f"row-{number}", regime, self.tables[regime], self.decisions[regime], pair))
        return found


@pytest.fixture(scope="module", params=["raced and loud", "few families, no such row"])
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    record = discriminating(**STUDIES[request.param])
    folder = tmp_path_factory.mktemp("page")
    text = write_report(record, folder).read_text(encoding="utf-8")
    tables = {regime: table_of(record, regime) for regime in REGIMES}
    return Built(
        record=record,
        page=Page(text),
        sheets={path.name: list(csv.reader(path.open())) for path in folder.glob("*.csv")},
        tables=tables,
        decisions={regime: decided(table) for regime, table in tables.items()},
    )


def signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}".replace("-", "−")


def ranged(value: float, ends: Sequence[float]) -> str:
    return f"{signed(value)} [{signed(ends[0])}, {signed(ends[1])}]"


def short(value: float) -> str:
    return f"{value:.4g}".replace("-", "−")


def badge(label: str) -> str:
    return f"{MARKS[label]} {LABELS[label]}"


def points(table: Table, pair: tuple[int, int]) -> float:
    both = table.both(*pair)
    return 100 * (reference_row.raw(both, pair[0]) - reference_row.raw(both, pair[1]))


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
        sums = {
            level: sum(mean for (a, _), mean in decision.mean.items() if table.levels[a] == level)
            for level in proved
        }
        least = min(proved, key=lambda level: sums[level])
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


def with_changes(table: Table, **changes: object) -> Table:
    return Table(**{**vars(table), **changes})  # type: ignore[arg-type]


def test_every_other_analysis(built: Built) -> None:
    for section, _, table, decision, pair in built.rows():
        found = {row[0]: row[1:] for row in built.page.table("Would another analysis", section).rows}
        analyses = {
            "as judged": table,
            "margins half as wide": with_changes(table, delta=tuple(d / 2 for d in table.delta)),
            "margins twice as wide": with_changes(table, delta=tuple(d * 2 for d in table.delta)),
            "at the library’s defaults (k = 1)": with_changes(table, errors=table.untuned),
            "error after the last step, not at the best validation (no early stopping)": with_changes(
                table, errors=_last(built.record, table)
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


def _last(record: StudyRecord, table: Table) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return table.last


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
        alone = with_changes(tasks, errors=logs, delta=(1.0,) * len(logs))
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
                (low, high), mean = _interval(alone, i, base), _mean(alone, i, base)
                assert cells[4] == f"{2**mean:.2f} [{2**low:.2f}, {2**high:.2f}]"
                assert cells[5] == short(_log_rank(steps[:, :, i], steps[:, :, base]))
            drawn = [float(row[2]) for row in sheet[1:] if row[0] == table.levels[i]]
            assert drawn == pytest.approx(shares)


def _steps(
    record: StudyRecord, regime: str, table: Table
) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.float64]], Table]:
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


def _mean(table: Table, a: int, b: int) -> float:
    return float(np.mean(table.effects(a, b)))


def _interval(table: Table, a: int, b: int) -> tuple[float, float]:
    if table.general:
        return reference.bounds(table.effects(a, b), 0.025)
    mean, error, freedom = reference.over_splits(table.errors, table.delta, table.family, table.overlap, a, b)
    half = reference.quantile(0.025, freedom) * error
    return mean - half, mean + half


def _log_rank(
    a: np.ndarray[tuple[int, ...], np.dtype[np.float64]], b: np.ndarray[tuple[int, ...], np.dtype[np.float64]]
) -> float:
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


def forests(built: Built) -> list[tuple[Figure, Table, Decision, tuple[int, int], bool]]:
    """Every forest plot with its row and pair, and whether it shows the headline."""
    found = []
    for section, _, table, decision, headline in built.rows():
        own = table.levels.index(decision.recommended)
        for figure in built.page.figures:
            if figure.section == section and figure.data.startswith("forest"):
                level = figure.title.split(" against ")[0]
                pair = table.levels.index(level), own
                assert figure.title == f"{level} against {decision.recommended}"
                found.append((figure, table, decision, pair, pair == headline))
    assert len(found) == 6
    return found


def test_forest_plots_show_blocks_families_mean_interval_and_new_family(built: Built) -> None:
    for figure, table, decision, pair, is_headline in forests(built):
        both, (low, high) = table.both(*pair), decision.interval[pair]
        units = both.effects(*pair)
        large = figure.dots("--s0")
        assert [figure.across(x) for x, _ in large] == pytest.approx(units, abs=1e-4)
        heights = [y for _, y in large]
        assert heights == sorted(heights)
        blocks = []
        for f, y in enumerate(heights):
            for t in [t for t, own in enumerate(both.family) if own == f]:
                gaps = (both.errors[t, :, pair[0]] - both.errors[t, :, pair[1]]) / both.delta[t]
                blocks += [(reference.clipped(float(gap)), y) for gap in gaps]
        small = [(figure.across(x), y) for x, y in figure.dots("--muted") if y in heights]
        assert np.array(small) == pytest.approx(np.array(blocks), abs=1e-4)
        mean = sum(units) / len(units) if table.general else decision.mean[pair]
        (diamond,) = figure.paths("fill: var(--accent)")
        xs = [figure.across(x) for x, _ in diamond]
        assert xs == pytest.approx([max(low, -5), mean, min(high, 5), mean], abs=1e-4)
        lines = figure.paths("stroke: var(--accent)")
        if is_headline and table.general:
            ends = reference_row.prediction(both, *pair)
            (line,) = lines
            assert [figure.across(x) for x, _ in line] == pytest.approx(
                [max(-5, ends[0]), min(5, ends[1])], abs=1e-4
            )
        else:
            assert lines == []
        words = f"by {decision.mean[pair]:+.2f} margins, 95 % interval {low:+.2f} to {high:+.2f}, over "
        assert words + f"{len(both.names)} task families" in figure.description
        assert f"{table.levels[pair[0]][:13]}" in figure.svg


def test_the_data_of_forest_plots(built: Built) -> None:
    for figure, table, _, pair, _ in forests(built):
        both = table.both(*pair)
        head, *rows = built.sheets[figure.data]
        assert head == ["task", "family", "block", "effect_in_margins"]
        expected = [
            (task, both.names[both.family[t]], str(r))
            for t, task in enumerate(both.tasks)
            for r in range(both.errors.shape[1])
        ]
        assert [tuple(row[:3]) for row in rows] == expected
        for row in rows:
            t, r = both.tasks.index(row[0]), int(row[2])
            gap = (both.errors[t, r, pair[0]] - both.errors[t, r, pair[1]]) / both.delta[t]
            assert float(row[3]) == pytest.approx(reference.clipped(float(gap)))


def test_the_data_of_paired_blocks(built: Built) -> None:
    for _, regime, table, _, _ in built.rows():
        name = next(name for name in built.sheets if name.startswith("blocks") and regime in name)
        _, *rows = built.sheets[name]
        assert len(rows) == int((~np.isnan(table.errors)).sum())
        for task, block, level, value in rows:
            t, r = table.tasks.index(task), int(block)
            middle = np.nanmean(table.errors[t, r])
            gap = (table.errors[t, r, table.levels.index(level)] - middle) / table.delta[t]
            assert float(value) == pytest.approx(reference.clipped(float(gap)))


def test_the_data_of_tuning_curves_and_rates(built: Built) -> None:
    for _, regime, table, _, _ in built.rows():
        retuned = [
            row for row in built.record.evaluations if (row.slot.regime, row.slot.phase) == (regime, "retune")
        ]
        best: dict[tuple[str, int], float] = {}
        for row in retuned:
            place = row.slot.task, row.slot.block
            best[place] = min(best.get(place, math.inf), row.validation_metric)
        delta = dict(zip(table.tasks, table.delta, strict=True))
        families = sorted({built.record.facts[task].family for task in table.tasks})
        curves = next(
            rows for name, rows in built.sheets.items() if name.startswith("tuning") and regime in name
        )
        for level in table.levels:
            own = [row for row in retuned if row.slot.level == level]
            regret = {
                row.slot: (row.validation_metric - best[row.slot.task, row.slot.block]) / delta[row.slot.task]
                for row in own
            }
            sheet = next(
                rows for name, rows in built.sheets.items()
                if name.startswith("rates") and regime in name and name.endswith(f"-{level}.csv")
            )  # fmt: skip
            shown = {(row[0], int(row[1]), int(row[2])): row[3:] for row in sheet[1:]}
            assert len(shown) == len(own)
            for row in own:
                rate, above, lost = shown[row.slot.task, row.slot.block, row.slot.index]
                assert float(rate) == row.config.numbers["learning_rate"]
                assert float(above) == pytest.approx(regret[row.slot])
                assert int(lost) == (row.status == "diverged")
            for k in range(7):
                units = []
                for family in families:
                    cells: dict[tuple[str, int], float] = {}
                    for slot, value in regret.items():
                        if built.record.facts[slot.task].family == family and (
                            slot.index == 0 if k == 0 else 0 < slot.index <= k
                        ):
                            where = slot.task, slot.block
                            cells[where] = min(cells.get(where, 8.0), value)
                    if cells:
                        units.append(float(np.mean(list(cells.values()))))
                (line,) = [row for row in curves[1:] if (row[0], row[1]) == (level, str(k))]
                assert float(line[2]) == pytest.approx(np.median(units))
                assert float(line[5]) == pytest.approx(np.mean(units))
                cut = int(stats.binom(len(units), 0.5).ppf(0.025))
                if cut:
                    ends = sorted(units)[cut - 1], sorted(units)[len(units) - cut]
                    assert (float(line[3]), float(line[4])) == pytest.approx(ends)
                else:
                    assert line[3:5] == ["", ""]


def test_the_data_of_effects_over_depth(built: Built) -> None:
    first, second = (built.tables[regime] for regime in REGIMES)
    sheets = {name: rows for name, rows in built.sheets.items() if name.startswith("depth")}
    assert len(sheets) == 3
    for name, (_, *rows) in sheets.items():
        level = next(level for level in first.levels if name.endswith(f"-{level}.csv"))
        pair = 0, first.levels.index(level)
        tables = [table.both(*pair) for table in (first, second)]
        common = [family for family in tables[0].names if family in tables[1].names]
        effects = [[table.effects(*pair)[table.names.index(family)] for family in common] for table in tables]
        means = [row for row in rows if row[1] == "mean"]
        for row, values in zip(means, effects, strict=True):
            low, high = reference.bounds(values, 0.025)
            assert list(map(float, row[2:])) == pytest.approx([np.mean(values), low, high])
        assert [row[0] for row in means] == ["2", "20"]
        rest = {(row[0], row[1]): float(row[2]) for row in rows if row[1] != "mean"}
        expected = {
            (depth, family): value
            for depth, values in zip(("2", "20"), effects, strict=True)
            for family, value in zip(common, values, strict=True)
        }
        assert rest == pytest.approx(expected)


def test_initializers_beside_activations(built: Built) -> None:
    _, *rows = built.sheets["initializer-by-activation.csv"]
    shown = {(row[0], row[1]): row for row in rows if row[1] != "not covered"}
    on_page = {cells[0]: cells for cells in built.page.table("Which initializer beside").rows}
    assert len(shown) == len(on_page) > 3
    for (activation, regime), row in shown.items():
        table = built.tables[regime]
        keep = [
            t
            for t, task in enumerate(table.tasks)
            if built.record.background[task]["activation"] == activation
            and not np.isnan(table.errors[t]).any()
        ]
        part = table.on(keep)
        count = len(part.levels)
        means = np.array([[_mean(part, a, b) if a != b else 0.0 for b in range(count)] for a in range(count)])
        order = np.argsort(means.sum(axis=1), kind="stable").tolist()
        named = [i for i in order if part.levels[i] in row[2].split()]
        paired = bool(named) and order[0] not in named
        against = named[0] if paired else order[1]
        ends = _interval(part, order[0], against)
        assert row[3:5] == [part.levels[order[0]], part.levels[against]]
        assert float(row[5]) == pytest.approx(means[order[0], against])
        assert (float(row[6]), float(row[7])) == pytest.approx(ends)
        assert row[8:] == ["families" if part.general else "splits", str(len(part.names))]
        gap = ranged(means[order[0], against], ends)
        whose = "the textbook’s" if paired else "the next"
        cells = on_page[f"{activation} @ {regime}"]
        assert cells[2] == f"{part.levels[order[0]]} of {', '.join(part.levels)}"
        assert cells[3] == f"{gap} to {part.levels[against]}, {whose}"


def test_the_files_beside_the_page_are_those_that_it_names(built: Built, tmp_path: Path) -> None:
    named = {figure.data for figure in built.page.figures}
    assert named < set(built.sheets)
    assert set(built.sheets) - named == {"initializer-by-activation.csv"}
