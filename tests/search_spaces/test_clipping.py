"""Clipping against torch.nn.utils. Shape letters: K members, P flat gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from search_spaces.clipping import CLIPPING, Clip

K, P = 4, 30


def rule(name: str) -> Clip:
    found: Clip | None = CLIPPING.level(name).build
    assert found is not None
    return found


def gradients(dtype: torch.dtype = torch.float64) -> Tensor:
    """Norms of about 0.55, 5.5, 55 and 0."""
    scale = torch.tensor([0.1, 1.0, 10.0, 0.0], dtype=dtype).view(K, 1)
    return scale * torch.randn(K, P, dtype=dtype, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("threshold", [0.1, 1.0, 10.0])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-14), (torch.float32, 1e-6)], ids=str)
def test_each_member_is_clipped_as_torch_clips_it(
    threshold: float, dtype: torch.dtype, tolerance: float
) -> None:
    ours = rule("norm")(gradients(dtype), clip_norm=torch.full((K, 1), threshold, dtype=dtype))
    for k in range(K):
        leaf = torch.zeros(P, dtype=dtype, requires_grad=True)
        leaf.grad = gradients(dtype)[k].clone()
        torch.nn.utils.clip_grad_norm_([leaf], threshold)
        torch.testing.assert_close(ours[k], leaf.grad, rtol=tolerance, atol=0)


def test_members_keep_thresholds_of_their_own() -> None:
    thresholds = torch.tensor([0.1, 2.0, 3.0, 1.0], dtype=torch.float64).view(K, 1)
    clipped = rule("norm")(gradients(), clip_norm=thresholds)
    together = torch.linalg.vector_norm(clipped, dim=-1)
    torch.testing.assert_close(together[:3], thresholds[:3, 0], rtol=1e-5, atol=0)


def test_clipping_keeps_directions() -> None:
    before, after = gradients()[:3], rule("norm")(gradients(), clip_norm=0.3)[:3]
    cosine = torch.nn.functional.cosine_similarity(before, after)
    torch.testing.assert_close(cosine, torch.ones_like(cosine))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_each_member_is_clipped_by_value_as_torch_clips_it(dtype: torch.dtype) -> None:
    limits = (0.01, 0.5, 3.0, 1.0)
    ours = rule("value")(gradients(dtype), clip_value=torch.tensor(limits, dtype=dtype).view(K, 1))
    for k, limit in enumerate(limits):
        leaf = torch.zeros(P, dtype=dtype, requires_grad=True)
        leaf.grad = gradients(dtype)[k].clone()
        torch.nn.utils.clip_grad_value_([leaf], limit)
        assert torch.equal(ours[k], leaf.grad)


def test_gradients_shrink_by_the_factor_exactly_where_their_norm_exceeds_the_threshold() -> None:
    """Norms are about 0.55, 5.5, 55 and 0, so the first and the last member stay as they are."""
    before = gradients()
    thresholds = torch.tensor([1.0, 1.0, 10.0, 1.0], dtype=torch.float64).view(K, 1)
    factors = torch.tensor([0.1, 0.1, 0.01, 0.5], dtype=torch.float64).view(K, 1)
    after = rule("shrink")(before.clone(), clip_norm=thresholds, shrink_factor=factors)
    for k, factor in enumerate((1.0, 0.1, 0.01, 1.0)):
        assert torch.equal(after[k], before[k] * factor)


def test_a_norm_at_the_threshold_is_left_alone() -> None:
    grads = torch.tensor([3.0, 4.0], dtype=torch.float64)
    assert torch.equal(rule("shrink")(grads.clone(), clip_norm=5.0, shrink_factor=0.1), grads)


@pytest.mark.parametrize("name", [name for name in CLIPPING.names if name != "none"])
def test_infinite_numbers_change_no_bit_even_where_the_norm_overflows(name: str) -> None:
    """What the trainer gives to the members of a pack that do not have this rule."""
    grads = gradients(torch.float32)
    grads[1] = 1e30
    assert math.isinf(float(torch.linalg.vector_norm(grads[1])))
    infinite = {span.name: torch.full((K, 1), math.inf) for span in CLIPPING.level(name).ranges}
    assert torch.equal(rule(name)(grads.clone(), **infinite), grads)
