"""The written-out training pass gives the gradients and the running statistics that autograd gives."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from search_spaces.activations import ACTIVATION
from search_spaces.config import Setting
from search_spaces.dropout import DROPOUT
from search_spaces.elementwise import WITH_DERIVATIVE, WithDerivative
from search_spaces.normalizations import NORMALIZATION
from tests.trainers.packs import TINY, blobs, member
from trainers.config_audit import check
from trainers.loop.pack import _Training
from trainers.networks.network import ForwardPass

SETTING = dataclasses.replace(TINY, width=16, batch_size=16, depth=3)


def training(levels: Mapping[str, str], *, setting: Setting = SETTING, count: int = 3) -> _Training:
    pack = [member(levels=levels, setting=setting, index=k) for k in range(count)]
    return _Training(pack, blobs(), torch.device("cpu"), "none")


def passed(built: _Training, *, by_autograd: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Losses [S], gradients [S, P] and running statistics [S, P] of the first batch."""
    x, y = built.feed.batch(0)
    how = ForwardPass(training=True, numbers=built.stack.numbers, noise=built.noise.at(0))
    make = built._by_autograd if by_autograd else built._gradients
    losses = make(x, y, how)
    return losses, built.stack.grads_SP, built.stack.buffers_SP


def assert_same(levels: Mapping[str, str], **given: Any) -> None:
    one, other = training(levels, **given), training(levels, **given)
    assert one.manual is not None
    for made, wanted in zip(passed(one, by_autograd=False), passed(other, by_autograd=True), strict=True):
        torch.testing.assert_close(made, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("activation", ACTIVATION.names)
@pytest.mark.parametrize("norm", ["none", "batch_norm"])
def test_every_activation(activation: str, norm: str) -> None:
    assert_same({"activation": activation, "normalization": norm})


@pytest.mark.parametrize("activation", ["relu", "prelu"])
@pytest.mark.parametrize("norm", NORMALIZATION.names)
@pytest.mark.parametrize("residual", [False, True])
def test_every_norm_with_and_without_skips(activation: str, norm: str, residual: bool) -> None:
    setting = dataclasses.replace(SETTING, residual=residual)
    assert_same({"activation": activation, "normalization": norm}, setting=setting)


@pytest.mark.parametrize("dropout", DROPOUT.names)
@pytest.mark.parametrize("activation", ["relu", "silu"])
def test_every_dropout(dropout: str, activation: str) -> None:
    assert_same({"dropout": dropout, "activation": activation})


@pytest.mark.parametrize("activation", WITH_DERIVATIVE)
def test_elements_that_do_not_fill_a_register(activation: str) -> None:
    setting = dataclasses.replace(SETTING, width=7, batch_size=5)
    assert_same({"activation": activation}, setting=setting)


@pytest.mark.parametrize("levels", [{"input_scaling": "batch_norm"}, {"weight_constraint": "symmetric"}])
def test_what_it_does_not_know_is_left_to_autograd(levels: Mapping[str, str]) -> None:
    assert training(levels).manual is None


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_is_left_to_autograd(precision: Any) -> None:
    assert training({}, setting=dataclasses.replace(SETTING, precision=precision)).manual is None


def test_a_wrong_derivative_is_noticed_before_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    def built_pack() -> Any:
        built = training({"activation": "tanh"})
        return built.built_pack(*built.feed.batch(0), built.noise.at(0))

    check(built_pack())
    wrong = WithDerivative(apply=lambda x, place: torch.tanh(x, out=place), pull=lambda dy, x, y: dy)
    monkeypatch.setattr(
        "trainers.networks.block.Block.activation_built",
        dataclasses.replace(ACTIVATION.level("tanh").build, with_derivative=wrong),
    )
    with pytest.raises(ValueError, match="distance from autograd's gradient was asked to be 0"):
        check(built_pack())
