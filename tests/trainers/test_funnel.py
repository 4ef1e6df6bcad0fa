"""Funnel-shaped perceptrons: widths shrink by equal ratios toward the outputs."""

from __future__ import annotations

from dataclasses import replace

from tests.trainers.packs import TINY, blobs, member
from trainers.loop.pack import train_pack
from trainers.networks import network_for
from trainers.networks.perceptron import funnel


def test_a_funnel_goes_from_the_width_to_twice_the_outputs() -> None:
    assert funnel(64, 4, 4) == (64, 32, 16, 8)
    assert funnel(64, 1, 4) == (64,)
    assert funnel(4, 3, 10) == (4, 4, 4), "a network narrower than its outputs does not widen"


def test_a_funnel_trains_with_dropout_on_every_width() -> None:
    setting = replace(TINY, depth=3, width=16, funnel=True)
    one = member(setting=setting, levels={"dropout": "dropout", "normalization": "batch_norm"})
    assert network_for(one.config, blobs()).parameters.segments[0].shape == (5, 16)
    (done,) = train_pack([one], blobs())
    assert done.status == "finished"
