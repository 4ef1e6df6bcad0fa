"""Every level of every factor, alone in a tiny training, on every kind of network, packed and single.

A new level is walked without an edit here. Where it does not apply, the network or the task must say so in an
error that names the level; and it must apply somewhere.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest

from search_spaces.catalog import FACTORS
from search_spaces.networks import NETWORKS
from tests.trainers.packs import TINY, blobs, member, pictures
from trainers.evaluation import Evaluation
from trainers.loop.pack import train_pack
from trainers.loop.structure import structure_key
from trainers.member import Member
from trainers.tasks.task import Task

SETTING = dataclasses.replace(TINY, width=4, steps=6, train_size=32, evaluations=2)
LEVELS = [(factor.name, level.name) for factor in FACTORS.values() for level in factor.levels]


@functools.cache
def task_for(network: str) -> Task:
    """Images for networks with several places, else sequences where items need a shape, else a table."""
    kind = NETWORKS[network]
    if not kind.shaped_items:
        return blobs()
    if kind.several_places:
        return pictures()
    draws = np.random.default_rng(7)
    y = np.arange(120) % 3
    x = draws.normal(size=(120, 5, 2)) + np.linspace(-1, 1, 5)[:, None] * y[:, None, None]
    return Task.from_arrays(x, y, kind="classification", name="blobs", augmentations={"shift"})


def members(network: str, factor: str, level: str) -> list[Member]:
    """The level in company of itself and, where they may share a pack, of the framework's default."""
    setting = dataclasses.replace(SETTING, network=network)
    first, second, third = (
        member(levels={factor: name}, setting=setting, index=k, phase="confirm")
        for k, name in enumerate((level, level, FACTORS[factor].framework_default))
    )
    task = task_for(network)
    same = structure_key(first.config, task) == structure_key(third.config, task)
    return [second, first, third] if same else [second, first]


def refusal(network: str, factor: str, level: str) -> str | None:
    """Why the level does not apply, or None where it does."""
    try:
        members(network, factor, level)
    except ValueError as error:
        return str(error)
    return None


@pytest.mark.parametrize("network", NETWORKS)
def test_what_does_not_apply_is_refused_by_name(network: str) -> None:
    for factor, level in LEVELS:
        why = refusal(network, factor, level)
        if why is None:
            continue
        assert f"{factor}={level}" in why, "a refusal names what it refuses"
        one = member(levels={factor: level}, setting=dataclasses.replace(SETTING, network=network))
        with pytest.raises(ValueError, match=f"{factor}={level}"):
            train_pack([one], task_for(network))


APPLICABLE = [
    (network, factor, level)
    for network in NETWORKS
    if network != "mlp"  # its walk, in more varied company, is test_pack's
    for factor, level in LEVELS
    if refusal(network, factor, level) is None
]


@pytest.mark.parametrize(("network", "factor", "level"), APPLICABLE)
def test_a_level_trains_alone_as_in_a_pack(network: str, factor: str, level: str) -> None:
    together = members(network, factor, level)
    packed = train_pack(together, task_for(network))
    assert {evaluation.status for evaluation in packed} == {"finished"}
    (alone,) = train_pack([together[1]], task_for(network))
    # 1e-9: float64 sums in another order, over six steps
    np.testing.assert_allclose(figures(alone), figures(packed[1]), rtol=1e-9)
    assert np.isfinite(figures(alone)).all()


def figures(evaluation: Evaluation) -> list[float]:
    """What was measured: every look, the best one and both read-outs of the test items."""
    assert evaluation.test is not None
    looks = [n for point in evaluation.curve for n in (point.train_loss, point.validation_loss)]
    return [*looks, evaluation.validation_metric, evaluation.validation_loss, *evaluation.test.values()]


@pytest.mark.parametrize(("factor", "level"), LEVELS)
def test_a_level_applies_to_some_network(factor: str, level: str) -> None:
    assert any(refusal(network, factor, level) is None for network in NETWORKS)


@pytest.mark.parametrize("network", NETWORKS)
def test_most_levels_apply_to_every_network(network: str) -> None:
    """Else the walk above could pass by refusing."""
    refused = [f"{f}={level}" for f, level in LEVELS if refusal(network, f, level) is not None]
    assert len(refused) <= len(LEVELS) // 20, f"{network} refuses {', '.join(refused)}"
