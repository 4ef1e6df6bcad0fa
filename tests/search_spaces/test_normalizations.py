"""Norms against torch.nn, member by member. Shape letters: K members, B items, F features."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from search_spaces.normalizations import NORMALIZATION, Apply

K, B, F = 3, 6, 5
MOMENTA = (0.01, 0.1, 0.5)
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
"""Sums are taken in another order than torch's; single precision keeps about seven digits."""


def apply_of(name: str) -> Apply:
    found: Apply | None = NORMALIZATION.level(name).build.apply
    assert found is not None
    return found


def affine(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(0)
    return tuple(torch.randn(K, 1, F, dtype=dtype, generator=draws).requires_grad_() for _ in range(2))  # type: ignore[return-value]


def batches(count: int, dtype: torch.dtype) -> list[Tensor]:
    """Off-centre, so that running means move visibly."""
    draws = torch.Generator().manual_seed(1)
    return [3 + 2 * torch.randn(K, B, F, dtype=dtype, generator=draws) for _ in range(count)]


def twin(kind: type[nn.BatchNorm1d | nn.LayerNorm], gain: Tensor, shift: Tensor, **own: Any) -> Any:
    module = kind(F, dtype=gain.dtype, **own)
    with torch.no_grad():
        module.weight.copy_(gain.view(-1))
        module.bias.copy_(shift.view(-1))
    return module


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_batch_norm_equals_torchs_in_training_and_after_it(dtype: torch.dtype) -> None:
    gain, shift = affine(dtype)
    mean, var = torch.zeros(K, 1, F, dtype=dtype), torch.ones(K, 1, F, dtype=dtype)
    momentum = torch.tensor(MOMENTA, dtype=dtype).view(K, 1, 1)
    twins = [twin(nn.BatchNorm1d, gain[k], shift[k], momentum=MOMENTA[k]) for k in range(K)]
    near = partial(torch.testing.assert_close, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    for training in (True, True, True, False):
        (x,) = batches(1, dtype)
        x.requires_grad_()
        target = torch.randn_like(x)
        y = apply_of("batch_norm")(
            x, gain, shift, running_mean=mean, running_var=var, momentum=momentum, training=training
        )
        ours = torch.autograd.grad((y * target).sum(), (x, gain, shift))
        for k, module in enumerate(twins):
            alone = x[k].detach().requires_grad_()
            out = module.train(training)(alone)
            theirs = torch.autograd.grad((out * target[k]).sum(), (alone, module.weight, module.bias))
            near(y[k], out)
            for mine, other in zip(ours, theirs, strict=True):
                near(mine[k].view(other.shape), other)
            near(mean[k, 0], module.running_mean)
            near(var[k, 0], module.running_var)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_layer_norm_equals_torchs(dtype: torch.dtype, training: bool) -> None:
    gain, shift = affine(dtype)
    (x,) = batches(1, dtype)
    x.requires_grad_()
    target = torch.randn_like(x)
    y = apply_of("layer_norm")(
        x, gain, shift, running_mean=None, running_var=None, momentum=None, training=training
    )
    ours = torch.autograd.grad((y * target).sum(), (x, gain, shift))
    for k in range(K):
        module = twin(nn.LayerNorm, gain[k], shift[k]).train(training)
        alone = x[k].detach().requires_grad_()
        out = module(alone)
        theirs = torch.autograd.grad((out * target[k]).sum(), (alone, module.weight, module.bias))
        torch.testing.assert_close(y[k], out, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
        for mine, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(
                mine[k].view(other.shape), other, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype]
            )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_rms_norm_equals_torchs_with_the_papers_bias(dtype: torch.dtype, training: bool) -> None:
    gain, shift = affine(dtype)
    (x,) = batches(1, dtype)
    x.requires_grad_()
    target = torch.randn_like(x)
    y = apply_of("rms_norm")(
        x, gain, shift, running_mean=None, running_var=None, momentum=None, training=training
    )
    ours = torch.autograd.grad((y * target).sum(), (x, gain, shift))
    near = partial(torch.testing.assert_close, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    for k in range(K):
        module = nn.RMSNorm(F, dtype=dtype)
        with torch.no_grad():
            module.weight.copy_(gain[k, 0])
        alone, bias = x[k].detach().requires_grad_(), shift[k].detach().requires_grad_()
        out = module(alone) + bias
        theirs = torch.autograd.grad((out * target[k]).sum(), (alone, module.weight, bias))
        near(y[k], out)
        for mine, other in zip(ours, theirs, strict=True):
            near(mine[k].view(other.shape), other)


@pytest.mark.parametrize("training", [True, False])
def test_batch_norms_written_out_derivative_is_that_of_its_values(training: bool) -> None:
    """gradcheck compares with finite differences (its default tolerances, double precision)."""
    gain, shift = affine(torch.float64)
    (x,) = batches(1, torch.float64)

    def values(x: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
        mean, var = torch.zeros(K, 1, F).double(), torch.ones(K, 1, F).double()
        return apply_of("batch_norm")(
            x, gain, shift, running_mean=mean, running_var=var, momentum=0.1, training=training
        )

    assert torch.autograd.gradcheck(values, (x.requires_grad_(), gain, shift))


def test_batch_norm_only_reads_its_running_statistics_after_training() -> None:
    gain, shift = affine(torch.float64)
    (x,) = batches(1, torch.float64)
    mean, var = torch.zeros(K, 1, F).double(), torch.ones(K, 1, F).double()
    apply_of("batch_norm")(x, gain, shift, running_mean=mean, running_var=var, momentum=None, training=False)
    assert not mean.any()
    assert torch.equal(var, torch.ones_like(var))


@pytest.mark.parametrize("name", ["batch_norm", "layer_norm", "rms_norm"])
def test_a_member_turned_nan_harms_no_other(name: str) -> None:
    gain, shift = affine(torch.float32)
    (x,) = batches(1, torch.float32)
    sick = x.clone()
    sick[1] = float("nan")
    results = []
    for items in (x, sick):
        mean, var = torch.zeros(K, 1, F), torch.ones(K, 1, F)
        y = apply_of(name)(
            items, gain, shift, running_mean=mean, running_var=var, momentum=0.1, training=True
        )
        results.append((y, mean, var))
    for well, ill in zip(*results, strict=True):
        assert torch.equal(well[[0, 2]], ill[[0, 2]])
    assert results[1][0][1].isnan().all()


def test_batch_norm_refuses_a_batch_of_one() -> None:
    gain, shift = affine(torch.float32)
    mean, var = torch.zeros(K, 1, F), torch.ones(K, 1, F)
    with pytest.raises(ValueError, match="at least 2 items"):
        apply_of("batch_norm")(
            torch.zeros(K, 1, F), gain, shift, running_mean=mean, running_var=var, momentum=0.1, training=True
        )
