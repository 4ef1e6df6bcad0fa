"""What the other pictures of a page draw is what their CSV files say, which the second computation holds."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from tests.reports.built_pages import PAGES, Built, built_page
from tests.reports.pages import Figure

Sheet = list[list[str]]


@pytest.fixture(scope="module", params=PAGES)
def built(request: pytest.FixtureRequest) -> Built:
    return built_page(request.param)


def pictures(built: Built, kind: str) -> Iterator[tuple[Figure, Sheet]]:
    """Figures of a kind with their data; there is at least one."""
    found = [figure for figure in built.page.figures if figure.data.startswith(f"{kind}-")]
    assert found
    for figure in found:
        yield figure, built.sheets[figure.data][1:]


def heights(figure: Figure, style: str) -> list[list[float]]:
    """Of the points of every line of a style, in the axis's units."""
    return [[figure.up(y) for _, y in line] for line in figure.paths(style)]


def levels_of(sheet: Sheet, column: int) -> list[str]:
    return list(dict.fromkeys(row[column] for row in sheet))


def test_blocks_in_pairs_show_each_block_and_the_mean_of_every_level(built: Built) -> None:
    for figure, sheet in pictures(built, "blocks"):
        values = [[float(row[3]) for row in sheet if row[2] == level] for level in levels_of(sheet, 2)]
        (line,) = heights(figure, "stroke: var(--s0); stroke-width: 2;")
        assert line == pytest.approx([np.mean(own) for own in values], abs=1e-4)
        places = [x for x, _ in figure.paths("stroke: var(--s0); stroke-width: 2;")[0]]
        dots = figure.dots("--muted")
        for x, own in zip(places, values, strict=True):
            drawn = sorted(figure.up(y) for at, y in dots if abs(at - x) < 0.01)
            # A tick of the axis stands below each level too.
            assert drawn[-len(own) :] == pytest.approx(sorted(own), abs=1e-4)


def test_effects_over_depth_show_means_and_their_intervals(built: Built) -> None:
    for figure, sheet in pictures(built, "depth"):
        means = [row for row in sheet if row[1] == "mean"]
        line = heights(figure, "stroke: var(--s0); stroke-width: 1.8; stroke-linecap")
        assert line == [pytest.approx([float(row[2]) for row in means], abs=1e-4)]
        bars = [bar for bar in heights(figure, "stroke: var(--s0); stroke-width: 1.8") if bar not in line]
        for bar, row in zip(bars, means, strict=True):
            # What lies beyond the axis is cut where it ends.
            assert sorted(np.clip(bar, -4.3, 4.3)) == pytest.approx(
                np.clip([float(row[3]), float(row[4])], -4.3, 4.3).tolist(), abs=1e-4
            )
        families = levels_of([row for row in sheet if row[1] != "mean"], 1)
        thin = heights(figure, "stroke: var(--muted); stroke-opacity: 0.6; stroke-width: 0.7")
        expected = [[float(row[2]) for row in sheet if row[1] == family] for family in families]
        assert np.array(thin) == pytest.approx(np.array(expected), abs=1e-4)


def test_tuning_curves_show_medians_and_the_default(built: Built) -> None:
    for figure, sheet in pictures(built, "tuning"):
        for number, level in enumerate(levels_of(sheet, 0)):
            medians = [float(row[2]) for row in sheet if row[0] == level]
            (line,) = heights(figure, f"stroke: var(--s{number}); stroke-width: 1.6")
            assert line == pytest.approx(medians[1:], abs=1e-3)
            dots = [figure.up(y) for x, y in figure.dots(f"--s{number}") if x > 0]
            assert dots == pytest.approx(medians, abs=1e-3)
            band = next(row for row in sheet if row[:2] == [level, "0"])[3:5]
            bars = heights(figure, f"stroke: var(--s{number}); stroke-opacity: 0.3")
            assert bars == ([] if band[0] == "" else [pytest.approx(list(map(float, band)), abs=1e-3)])


def test_learning_rates_show_every_search_point_and_every_divergence(built: Built) -> None:
    for figure, sheet in pictures(built, "rates"):
        colour = next(f"--s{k}" for k in range(8) if figure.dots(f"--s{k}"))
        tried = [row for row in sheet if row[5] == "0"]
        searched = sorted(min(8.0, float(row[4])) for row in tried if int(row[2]))
        assert sorted(figure.up(y) for _, y in figure.dots(colour)) == pytest.approx(searched, abs=1e-3)
        lost = len(sheet) - len(tried)
        assert figure.svg.count("stroke: var(--accent)") - 1 * bool(lost) == lost


def test_time_profiles_show_the_share_that_got_there(built: Built) -> None:
    for figure, sheet in pictures(built, "steps"):
        for number, level in enumerate(levels_of(sheet, 0)):
            shares = [float(row[2]) for row in sheet if row[0] == level]
            lines = [
                line
                for line in figure.paths(f"stroke: var(--s{number})")
                if len(line) > 2 or (len(set(shares)) == 1 and len(line) > 1)
            ]
            drawn = {round(figure.up(y), 3) for line in lines for _, y in line}
            assert drawn >= {round(share, 3) for share in shares}
