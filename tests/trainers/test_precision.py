"""Sixteen bits: the forward pass in autocast, parameters in float32, one loss scale per member."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from search_spaces.config import Precision
from tests.trainers.packs import TINY, blobs, member, numbers_of
from trainers.loop.pack import train_pack
from trainers.loop.updates import Updates
from trainers.tensors.layout import EMPTY
from trainers.tensors.precision import FIRST_SCALE, GROWTH_INTERVAL, LossScale, autocast, element_type


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("normalization", ["none", "batch_norm", "layer_norm"])
def test_sixteen_bits_train_nearly_as_float32_does(precision: Precision, normalization: str) -> None:
    def loss(name: Precision) -> float:
        setting = replace(TINY, precision=name, steps=60)
        levels = {"normalization": normalization, "optimizer": "adam"}
        (done,) = train_pack(
            [member(levels=levels, numbers={"learning_rate": 0.01}, setting=setting)], blobs()
        )
        assert done.status == "finished"
        return done.validation_loss

    full, half = loss("float32"), loss(precision)
    assert half == pytest.approx(full, rel=0.1)
    assert half != full, "nothing was rounded: the forward pass did not run in 16 bits"


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_member_in_sixteen_bits_does_not_depend_on_its_companions(precision: Precision) -> None:
    setting = replace(TINY, precision=precision)
    members = [
        member(setting=setting, index=k, numbers={"learning_rate": rate})
        for k, rate in enumerate((0.01, 3.0, 0.1))
    ]
    straight = train_pack(members, blobs())
    turned = train_pack(members[::-1], blobs())[::-1]
    assert [numbers_of(e) for e in straight] == [numbers_of(e) for e in turned]


def test_only_sixteen_bits_are_autocast_and_nothing_is_kept_in_them() -> None:
    x = torch.ones(2, 2)
    expectations: dict[Precision, torch.dtype] = {
        "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16,
    }  # fmt: skip
    for precision, expected in expectations.items():
        with autocast(precision, torch.device("cpu")):
            assert (x @ x).dtype == expected
        assert element_type(precision) == torch.float32
    assert element_type("float64") == torch.float64


def test_the_loss_scale_follows_torchs_own_for_each_member() -> None:
    """Overflows at the steps where its first member's gradients are infinite, and growth in between."""
    scale = LossScale(2, torch.device("cpu"))
    overflows = (0, 1, 5, GROWTH_INTERVAL + 2)
    expected = torch.tensor([FIRST_SCALE, FIRST_SCALE])
    clean = [0, 0]
    for step in range(GROWTH_INTERVAL + 10):
        grads = torch.ones(2, 3) * scale.scale_K[:, None]
        grads[0, 1] = torch.inf if step in overflows else grads[0, 1]
        overflowed = scale.unscale(grads)
        assert overflowed.tolist() == [step in overflows, False]
        assert torch.equal(grads[1], torch.ones(3))
        scale.learn(overflowed)
        for k in range(2):
            if bool(overflowed[k]):
                expected[k], clean[k] = expected[k] * 0.5, 0
            else:
                clean[k] += 1
                if clean[k] == GROWTH_INTERVAL:
                    expected[k], clean[k] = expected[k] * 2, 0
        assert torch.equal(scale.scale_K, expected)


def test_a_member_whose_gradients_overflow_skips_its_step_state_included() -> None:
    configs = [member(levels={"optimizer": "adamw"}).config] * 2
    params = torch.ones(2, 16)
    updates = Updates(configs, EMPTY, params)
    no_cut = torch.ones(2)
    updates.step(
        0, params, torch.tensor([[torch.inf], [1.0]]).repeat(1, 16), no_cut, torch.tensor([True, False])
    )
    assert torch.equal(params[0], torch.ones(16))
    assert (params[1] < 1).all()
    updates.step(1, params, torch.ones(2, 16), no_cut)
    assert torch.isfinite(params).all(), "the overflow of the skipped step is in the optimizer's state"
