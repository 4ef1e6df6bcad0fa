"""The door to Optuna: points known up front, shared by levels, and rebuilt by asking again."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import qmc

from search_spaces.factor import Range
from studies.samplers import Search, design

RATE = Range(name="learning_rate", low=1e-4, high=1.0, default=1e-3, log=True, meaning="")
GAIN = Range(name="init_gain", low=0.25, high=4.0, default=1.0, log=True, meaning="")
DECAY = Range(name="weight_decay", low=1e-5, high=1.0, default=0.0, log=True, meaning="")
COLUMNS = ("init_gain", "learning_rate", "weight_decay")


def search(*ranges: Range, sampler: str = "sobol", block: int = 0, trials: int = 8) -> Search:
    return Search(
        study="s",
        task="t",
        block=block,
        ranges={span.name: span for span in ranges},
        columns=COLUMNS,
        trials=trials,
        sampler=sampler,
    )


MOMENTUM = Range(name="momentum", low=0.0, high=0.999, default=0.9, log_of_complement=True, meaning="near 1")
SAMPLERS = ("sobol", "random", "tpe", "gp")


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_trial_0_is_the_library_default_and_the_rest_lies_in_the_ranges(sampler: str) -> None:
    first, *rest = search(RATE, GAIN, sampler=sampler).ask(9)
    assert first == {"learning_rate": 1e-3, "init_gain": 1.0}
    for numbers in rest:
        assert RATE.low <= numbers["learning_rate"] <= RATE.high
        assert GAIN.low <= numbers["init_gain"] <= GAIN.high
        assert all(float(f"{value:.6g}") == value for value in numbers.values())
    assert len({numbers["learning_rate"] for numbers in rest}) == 8


@pytest.mark.parametrize("sampler", ["random", "tpe", "gp"])
def test_shares_near_one_are_searched_by_the_logarithm_of_the_rest(sampler: str) -> None:
    """A third of the points lies above 0.99; uniformly drawn a hundredth would."""
    one = search(MOMENTUM, sampler=sampler, trials=80)
    found = []
    for number in range(40):
        (numbers,) = one.ask(1)
        one.tell(number, 0.5)
        found.append(numbers["momentum"])
    assert found[0] == MOMENTUM.default
    assert all(MOMENTUM.low <= value <= MOMENTUM.high for value in found)
    assert sum(value > 0.99 for value in found) > 4


def test_the_design_places_a_share_near_one_by_its_column() -> None:
    one = Search(
        study="s",
        task="t",
        block=0,
        ranges={"momentum": MOMENTUM},
        columns=("momentum",),
        trials=8,
        sampler="sobol",
    )
    units = design(study="s", task="t", block=0, points=8, columns=1)[:, 0]
    asked = [numbers["momentum"] for numbers in one.ask(9)]
    assert asked == [0.9, *(MOMENTUM.at(float(unit)) for unit in units)]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_asking_again_and_telling_the_same_gives_the_same_points(sampler: str) -> None:
    def told() -> list[dict[str, float]]:
        one = search(RATE, GAIN, sampler=sampler, trials=12)
        found: list[dict[str, float]] = []
        for size in (5, 4, 4):
            part = one.ask(size)
            for i, numbers in enumerate(part):
                one.tell(len(found) + i, abs(np.log10(numbers["learning_rate"]) + 2))
            found += part
        return found

    assert told() == told()


def test_a_shared_number_takes_the_same_values_whatever_else_a_level_opens() -> None:
    alone, with_others = search(RATE).ask(9), search(DECAY, RATE, GAIN).ask(9)
    assert [p["learning_rate"] for p in alone] == [p["learning_rate"] for p in with_others]


def test_a_shared_number_takes_the_same_places_in_ranges_of_other_limits() -> None:
    narrow = RATE.narrowed(1e-3, 1e-1)
    pairs = zip(search(RATE).ask(9)[1:], search(narrow).ask(9)[1:], strict=True)
    for wide, small in pairs:
        place = RATE.unit(wide["learning_rate"])
        assert narrow.unit(small["learning_rate"]) == pytest.approx(place, abs=1e-5)  # 6 digits are kept


def test_the_design_is_the_scrambled_sobol_sequence_and_its_prefixes_agree() -> None:
    eight = design(study="s", task="t", block=0, points=8, columns=3)
    five = design(study="s", task="t", block=0, points=5, columns=3)
    assert np.array_equal(eight[:5], five)
    for column in eight.T:  # a (0, 3, 1)-net: one point in every eighth
        assert sorted((column * 8).astype(int)) == list(range(8))
    uniform = np.random.default_rng(0).random((100, 8, 3))
    assert qmc.discrepancy(eight) < np.median([qmc.discrepancy(points) for points in uniform])


def test_blocks_tasks_and_studies_have_designs_of_their_own() -> None:
    places = [("s", "t", 0), ("s", "t", 1), ("s", "u", 0), ("r", "t", 0)]
    designs = {design(study=s, task=t, block=b, points=4, columns=2).tobytes() for s, t, b in places}
    assert len(designs) == len(places)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_default_outside_the_ranges_is_tried_all_the_same(sampler: str) -> None:
    one = search(RATE, DECAY, sampler=sampler)
    first, *rest = one.ask(5)
    assert first == {"learning_rate": 1e-3, "weight_decay": 0.0}
    one.tell(0, 0.3)
    for number, numbers in enumerate(rest, start=1):
        assert DECAY.low <= numbers["weight_decay"] <= DECAY.high
        one.tell(number, 0.2)
    assert len(one.ask(4)) == 4


def test_a_level_without_numbers_is_still_tried_as_often() -> None:
    assert search().ask(9) == [{}] * 9


def test_tpe_learns_from_what_it_is_told() -> None:
    one = search(RATE, sampler="tpe", trials=64)
    asked: list[float] = []
    for size in [5] + [4] * 15:
        for numbers in one.ask(size):
            asked.append(numbers["learning_rate"])
        for number in range(len(asked) - size, len(asked)):
            one.tell(number, abs(np.log10(asked[number]) + 2))
    distance = [abs(np.log10(rate) + 2) for rate in asked]
    assert np.median(distance[-16:]) < np.median(distance[1:17])


def test_an_unknown_sampler_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown sampler 'grid'"):
        search(RATE, sampler="grid")
