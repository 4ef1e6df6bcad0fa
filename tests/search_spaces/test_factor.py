"""Ranges, levels and factors refuse what cannot be meant."""

from __future__ import annotations

from typing import Any

import pytest

from search_spaces.factor import DEEP_FROM, Factor, Level, Range, Source, unknown

SOURCE = Source(document="001", claim="a sentence")


def span(**changes: Any) -> Range:
    return Range(
        **{"name": "n", "low": 0.01, "high": 100.0, "default": 1.0, "meaning": "a number", **changes}
    )


def level(name: str, rank: int) -> Level[int]:
    return Level(name=name, build=rank, enters="numbers", source=SOURCE, cost_rank=rank)


def factor(**changes: Any) -> Factor[int]:
    rows = {
        "name": "f",
        "meaning": "a choice",
        "levels": (level("a", 0), level("b", 1)),
        "framework_default": "a",
        "textbook_shallow": ("a",),
        "textbook_deep": ("b",),
    }
    return Factor(**{**rows, **changes})


SCALES: list[dict[str, Any]] = [
    {},
    {"log": True},
    {"low": 0.0, "high": 0.999, "default": 0.9, "log_of_complement": True},
]


@pytest.mark.parametrize("scale", SCALES, ids=["linear", "log", "log of complement"])
@pytest.mark.parametrize("unit", [0.0, 0.25, 0.5, 1.0])
def test_unit_is_the_inverse_of_at(scale: dict[str, Any], unit: float) -> None:
    one = span(**scale)
    assert one.unit(one.at(unit)) == pytest.approx(unit, abs=1e-5)


def test_the_log_of_a_complement_gives_each_nine_the_same_room() -> None:
    share = span(**SCALES[2])
    assert [share.at(unit) for unit in (0.0, 1 / 3, 2 / 3, 1.0)] == pytest.approx([0.0, 0.9, 0.99, 0.999])
    assert share.narrowed(0.9, 0.99).at(0.5) == pytest.approx(1 - 10**-1.5)


def test_drawn_values_have_six_digits_and_stay_inside() -> None:
    third = span(low=1 / 3, high=2 / 3, default=0.5)
    assert third.at(0.0) == 1 / 3
    assert third.at(1.0) == 2 / 3
    assert third.at(0.1234567) == float(f"{third.at(0.1234567):.6g}")


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"low": 100.0}, "must be below high"),
        ({"low": 0.0, "log": True}, "must start above 0"),
        ({"high": 1.0, "default": 0.5, "log_of_complement": True}, "must stay above 0"),
        ({"high": 0.9, "default": 0.5, "log": True, "log_of_complement": True}, "on one log scale"),
        ({"high": float("inf")}, "must be finite"),
        ({"default": float("nan")}, "must be finite"),
    ],
)
def test_a_range_that_cannot_be_searched_is_refused(changes: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        span(**changes)


def test_a_study_may_narrow_a_range_but_not_widen_it() -> None:
    narrow = span().narrowed(0.1, 10.0)
    assert (narrow.low, narrow.high, narrow.default, narrow.name) == (0.1, 10.0, 1.0, "n")
    for low, high in ((0.001, 10.0), (0.1, 1000.0), (10.0, 0.1), (1.0, 1.0)):
        with pytest.raises(ValueError, match=r"must lie within its limits|must rise"):
            span().narrowed(low, high)


def test_a_library_default_outside_the_limits_may_still_be_used() -> None:
    odd = span(default=0.0, log=True)
    assert odd.check(0.0) == 0.0
    with pytest.raises(ValueError, match="outside its limits"):
        odd.check(0.001)


@pytest.mark.parametrize(
    "changes",
    [
        {"levels": (level("a", 0), level("a", 1))},
        {"levels": (level("a", 0), level("b", 0))},
        {"framework_default": "c"},
        {"textbook_shallow": ("c",)},
        {"textbook_deep": ("a", "c")},
    ],
)
def test_a_factor_with_contradictory_rows_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be unique|unknown level of factor 'f'"):
        factor(**changes)


def test_deep_begins_where_the_textbook_means_it() -> None:
    assert factor().textbook(DEEP_FROM - 1) == ("a",)
    assert factor().textbook(DEEP_FROM) == ("b",)


def test_an_unknown_name_is_told_the_nearest_and_all_allowed() -> None:
    assert str(unknown("colour", "rad", ["red", "blue"])) == (
        "unknown colour 'rad'; did you mean 'red'? Allowed: blue, red"
    )
    assert str(unknown("colour", "xyz", ["red", "blue"])) == "unknown colour 'xyz'. Allowed: blue, red"
