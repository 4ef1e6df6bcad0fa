"""The read-out whose running statistics are those of all training items."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor

import trainers.loop.batch_norm_statistics
from tests.trainers.packs import TINY, blobs, member
from trainers.loop.batch_norm_statistics import recompute
from trainers.loop.pack import train_pack
from trainers.member import Member
from trainers.networks import network_for


def recomputed(one: Member, x: Tensor) -> dict[str, Tensor]:
    """The statistics of an untrained network over items x [1, I, F]."""
    network = network_for(one.config, blobs())
    params, buffers = (row.unsqueeze(0) for row in network.start(one.config, one.streams))
    numbers = {"norm_momentum": torch.full((1, 1, 1), 0.1, dtype=torch.float64)}
    recompute(network, params, buffers, lambda k: x, numbers, nullcontext)
    return network.buffers.views(buffers)


def items(count: int) -> Tensor:
    return torch.randn(1, count, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def first_sums(one: Member, x: Tensor) -> Tensor:
    """What the first layer's norm sees [I, U]."""
    network = network_for(one.config, blobs())
    views = network.parameters.views(network.start(one.config, one.streams)[0])
    return x[0] @ views["weight0"] + views["bias0"]


def test_moments_are_those_of_all_items_whatever_was_there_before() -> None:
    one, x = member(levels={"normalization": "batch_norm"}), items(50)
    found, z = recomputed(one, x), first_sums(one, x)
    torch.testing.assert_close(found["running_mean0"][0, 0], z.mean(0))
    torch.testing.assert_close(found["running_var0"][0, 0], z.var(0))


def test_a_large_set_goes_through_in_equal_parts_whose_moments_are_averaged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trainers.loop.batch_norm_statistics, "MOST", 20)
    one, x = member(levels={"normalization": "batch_norm"}), items(50)
    found = recomputed(one, x)
    parts = first_sums(one, x)[:48].view(3, 16, -1)
    torch.testing.assert_close(found["running_mean0"][0, 0], parts.mean((0, 1)))
    torch.testing.assert_close(found["running_var0"][0, 0], parts.var(1).mean(0))


def test_the_read_out_is_there_exactly_where_statistics_run() -> None:
    for norm, running in {"none": False, "layer_norm": False, "batch_norm": True}.items():
        (evaluation,) = train_pack([member(levels={"normalization": norm}, phase="confirm")], blobs())
        assert evaluation.test is not None
        assert ("recomputed" in evaluation.test) == running


def test_with_slow_averages_the_recomputed_read_out_differs() -> None:
    """After 20 steps at momentum 0.001 the running statistics are still nearly those of step 0."""
    one = member(
        levels={"normalization": "batch_norm", "optimizer": "adam"},
        numbers={"norm_momentum": 0.001, "learning_rate": 0.02},
        phase="confirm",
    )
    (evaluation,) = train_pack([one], blobs())
    assert evaluation.test is not None
    assert evaluation.test["recomputed"] != evaluation.test["best_validation"]


def test_other_read_outs_are_what_they_would_be_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    one = member(levels={"normalization": "batch_norm"}, phase="confirm")
    (before,) = train_pack([one], blobs())
    monkeypatch.setattr("trainers.loop.pack.recompute", lambda *arguments: None)
    (after,) = train_pack([one], blobs())
    assert before.test is not None and after.test is not None
    for name in ("best_validation", "last"):
        assert before.test[name] == after.test[name]
    assert after.test["recomputed"] == after.test["best_validation"]


def test_a_recurrent_layers_statistics_are_the_average_over_its_steps() -> None:
    """An identity layer without a past: the moments of every step are those of that step's sums."""
    setting = dataclasses.replace(TINY, network="rnn", depth=1)
    one = member(levels={"normalization": "batch_norm", "activation": "identity"}, setting=setting)
    task = dataclasses.replace(blobs(), shape=(5, 1))
    network = network_for(one.config, task)
    params, buffers = (row.unsqueeze(0) for row in network.start(one.config, one.streams))
    views = network.parameters.views(params)
    views["recurrent0"].zero_()
    x = items(50)
    recompute(network, params, buffers, lambda k: x, {}, nullcontext)
    sums = x[0].T[:, :, None] * views["weight0"][0] + views["bias0"][0]  # [steps, items, units]
    found = network.buffers.views(buffers)
    torch.testing.assert_close(found["running_mean0"][0, 0], sums.mean((0, 1)))
    torch.testing.assert_close(found["running_var0"][0, 0], sums.var(1).mean(0))
