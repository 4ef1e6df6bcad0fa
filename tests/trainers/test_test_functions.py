"""The catalogue's rules on surfaces of two parameters, against torch and against algebra."""

from __future__ import annotations

import pytest
import torch

from search_spaces.space import textbook_levels
from trainers.tools.test_functions import STARTS, SURFACES, Surface, descend, extrema, iterated, rates, ravine


@pytest.mark.parametrize("surface", SURFACES.values(), ids=list(SURFACES))
@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_a_descent_is_what_torch_does(surface: Surface, optimizer: str) -> None:
    found = descend(surface, {"optimizer": optimizer}, [0.01], steps=20)
    point = found.path_TK2[0].clone().requires_grad_()
    # One optimizer for all starts: the rules work number by number.
    step = {
        "momentum": torch.optim.SGD([point], lr=0.01, momentum=0.9),
        "adam": torch.optim.Adam([point], lr=0.01),
    }[optimizer]
    for _ in range(20):
        step.zero_grad()
        surface.loss(point[:, 0], point[:, 1]).sum().backward()  # type: ignore[no-untyped-call,unused-ignore]
        step.step()
    torch.testing.assert_close(found.path_TK2[-1], point.detach(), rtol=1e-9, atol=1e-12)
    assert len(found.path_TK2[0]) == STARTS


def test_every_recipe_starts_at_the_same_points() -> None:
    surface = SURFACES["quadratic"]
    one, other = (descend(surface, {"optimizer": name}, [0.01, 0.1], steps=1) for name in ("sgd", "adam"))
    assert torch.equal(one.path_TK2[0], other.path_TK2[0])
    assert torch.equal(one.path_TK2[0, :STARTS], one.path_TK2[0, STARTS:]), "and so does every rate"


def test_a_bowl_is_left_by_too_large_a_rate_and_reached_by_a_fitting_one() -> None:
    """Gradient descent on w^2 * c / 2 shrinks w by |1 - rate * c| a step: 0.04 fits c = 20, 0.11 does not."""
    found = descend(SURFACES["quadratic"], {"optimizer": "sgd"}, [0.04, 0.11], steps=300)
    assert found.reached_K[:STARTS].all()
    assert not found.reached_K[STARTS:].any()
    assert found.rates_that_reach == 1


def test_a_schedule_changes_the_path() -> None:
    surface = SURFACES["ravine"]
    constant = descend(surface, {"optimizer": "sgd"}, [1.0])
    decayed = descend(surface, {"optimizer": "sgd", "schedule": textbook_levels(2)["schedule"]}, [1.0])
    cosine = descend(surface, {"optimizer": "sgd", "schedule": "cosine"}, [1.0])
    assert torch.equal(constant.loss_TK, decayed.loss_TK), "performance scheduling has no validation here"
    assert not torch.equal(constant.loss_TK[-1], cosine.loss_TK[-1])


def test_one_start_moves_straight_where_the_bowl_is_round() -> None:
    round_bowl = Surface(
        name="round", source="", loss=lambda a, b: a**2 + b**2, low=(-1, -1), high=(1, 1), reached=1e-3
    )
    found = descend(round_bowl, {"optimizer": "sgd"}, [0.1], steps=20)
    torch.testing.assert_close(found.straightness_K, torch.ones(STARTS, dtype=torch.float64))


def test_composing_a_hill_makes_mountains() -> None:
    x = torch.tensor([0.25, 0.5], dtype=torch.float64)
    torch.testing.assert_close(iterated(x, 1), torch.tensor([0.65625, 0.875], dtype=torch.float64))
    assert [extrema(times) for times in (1, 2, 3)] == [1, 3, 7]


def test_the_ravine_is_that_of_the_source() -> None:
    at = torch.zeros(1, dtype=torch.float64)
    assert float(ravine(at, at)) == 0.5
    assert float(ravine(at, at - 50)) == pytest.approx(0, abs=1e-12)


def test_rates_span_the_optimizers_own_range() -> None:
    found = rates("adam", 3)
    assert found[0] < found[1] < found[2]
    assert found[1] == pytest.approx((found[0] * found[2]) ** 0.5, rel=1e-5)


def test_a_rule_for_matrices_is_refused_where_there_is_none() -> None:
    with pytest.raises(ValueError, match="muon"):
        descend(SURFACES["ravine"], {"optimizer": "muon"}, [0.01])
