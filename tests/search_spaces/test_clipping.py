"""Clipping against torch.nn.utils. Shape letters: K members, P flat gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from search_spaces.clipping import CLIPPING, Clip

K, P = 4, 30


def norm() -> Clip:
    found: Clip | None = CLIPPING.level("norm").build
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
    ours = norm()(gradients(dtype), clip_norm=torch.full((K, 1), threshold, dtype=dtype))
    for k in range(K):
        leaf = torch.zeros(P, dtype=dtype, requires_grad=True)
        leaf.grad = gradients(dtype)[k].clone()
        torch.nn.utils.clip_grad_norm_([leaf], threshold)
        torch.testing.assert_close(ours[k], leaf.grad, rtol=tolerance, atol=0)


def test_members_keep_thresholds_of_their_own() -> None:
    thresholds = torch.tensor([0.1, 2.0, 3.0, 1.0], dtype=torch.float64).view(K, 1)
    clipped = norm()(gradients(), clip_norm=thresholds)
    together = torch.linalg.vector_norm(clipped, dim=-1)
    torch.testing.assert_close(together[:3], thresholds[:3, 0], rtol=1e-5, atol=0)


def test_an_infinite_threshold_changes_no_bit_even_where_the_norm_overflows() -> None:
    """So that a member without clipping may share a pack with members that clip."""
    grads = gradients(torch.float32)
    grads[1] = 1e30
    assert math.isinf(float(torch.linalg.vector_norm(grads[1])))
    clipped = norm()(grads.clone(), clip_norm=torch.full((K, 1), math.inf))
    assert torch.equal(clipped, grads)


def test_clipping_keeps_directions() -> None:
    before, after = gradients()[:3], norm()(gradients(), clip_norm=0.3)[:3]
    cosine = torch.nn.functional.cosine_similarity(before, after)
    torch.testing.assert_close(cosine, torch.ones_like(cosine))
