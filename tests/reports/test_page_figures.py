"""Every CSV file and forest plot of a built page against the second computation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from tests.reports import reference, reference_row
from tests.reports.built_pages import PAGES, REGIMES, Built, built_page, interval_of, mean_of, ranged
from tests.reports.pages import Figure
from tests.reports.reference_row import Decision, Table


@pytest.fixture(scope="module", params=PAGES)
def built(request: pytest.FixtureRequest) -> Built:
    return built_page(request.param)


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
        means = np.array(
            [[mean_of(part, a, b) if a != b else 0.0 for b in range(count)] for a in range(count)]
        )
        order = np.argsort(means.sum(axis=1), kind="stable").tolist()
        named = [i for i in order if part.levels[i] in row[2].split()]
        paired = bool(named) and order[0] not in named
        against = named[0] if paired else order[1]
        ends = interval_of(part, order[0], against)
        assert row[3:5] == [part.levels[order[0]], part.levels[against]]
        assert float(row[5]) == pytest.approx(means[order[0], against])
        assert (float(row[6]), float(row[7])) == pytest.approx(ends)
        assert row[8:] == ["families" if part.general else "splits", str(len(part.names))]
        gap = ranged(means[order[0], against], ends)
        whose = "the textbook’s" if paired else "the next"
        cells = on_page[f"{activation} @ {regime}"]
        assert cells[2] == f"{part.levels[order[0]]} of {', '.join(part.levels)}"
        assert cells[3] == f"{gap} to {part.levels[against]}, {whose}"


def test_the_files_beside_the_page_are_those_that_it_names(built: Built) -> None:
    named = {figure.data for figure in built.page.figures}
    assert named < set(built.sheets)
    assert set(built.sheets) - named == {"initializer-by-activation.csv"}
