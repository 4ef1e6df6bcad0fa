"""The pack contracts: a member's result is its own, whoever trains beside it."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from search_spaces.catalog import FACTORS
from search_spaces.config import Setting
from tests.trainers.packs import TINY, blobs, member, numbers_of, suited
from trainers.evaluation import PHASES, Evaluation
from trainers.loop.pack import train_pack
from trainers.loop.structure import structure_key
from trainers.member import Member

EVERY_LEVEL = [(factor.name, level.name) for factor in FACTORS.values() for level in factor.levels]


def company(levels: dict[str, str], setting: Setting = TINY, count: int = 5) -> list[Member]:
    """Members of one structure that differ in everything a pack lets them differ in."""
    starts = ("he_normal", "glorot_uniform", "torch_default", "lecun_normal", "orthogonal")
    schedules = ("constant", "one_cycle", "cosine", "performance", "exponential")
    members = []
    for k in range(count):
        own = {"initializer": starts[k % 5], "schedule": schedules[k % 5], **levels}
        own.setdefault("dropout", "dropout" if k % 2 else "none")
        own.setdefault("clipping", "norm" if k % 3 == 0 else "none")
        numbers = {"learning_rate": 0.002 * (k + 1)}
        members.append(
            member(levels=own, numbers=numbers, setting=setting, index=k, block=k % 2, phase="confirm")
        )
    return members


def assert_close(a: Evaluation, b: Evaluation, tolerance: float) -> None:
    """Losses, curves and test read-outs agree relative to their size."""
    assert a.status == b.status and a.best_step == b.best_step
    first = [[p.train_loss, p.validation_loss, p.learning_rate] for p in a.curve]
    second = [[p.train_loss, p.validation_loss, p.learning_rate] for p in b.curve]
    np.testing.assert_allclose(first, second, rtol=tolerance)
    assert a.test is not None and b.test is not None
    assert a.test.keys() == b.test.keys()
    for name in a.test:
        assert a.test[name] == pytest.approx(b.test[name], rel=tolerance)


@pytest.mark.parametrize(("factor", "level"), EVERY_LEVEL)
def test_every_level_trains_in_a_pack_as_it_trains_alone(factor: str, level: str) -> None:
    task = suited(factor)
    members = company({"optimizer": "adam", factor: level})
    together = train_pack(members, task)
    for one, packed in zip(members, together, strict=True):
        assert_close(train_pack([one], task)[0], packed, 1e-9)


def test_members_with_different_clipping_rules_train_in_a_pack_as_they_train_alone() -> None:
    """Rules are applied one after the other; each must leave the members of the others alone."""
    tight = {"clip_norm": 0.2, "clip_value": 0.02, "shrink_factor": 0.3}
    members = [
        member(
            levels={"clipping": level.name, "optimizer": "momentum"},
            numbers={"learning_rate": 0.05, **{r.name: tight[r.name] for r in level.ranges}},
            index=0,
            phase="confirm",
        )
        for level in FACTORS["clipping"].levels
    ]
    together = train_pack(members, blobs())
    for one, packed in zip(members, together, strict=True):
        assert_close(train_pack([one], blobs())[0], packed, 1e-9)
    assert len({packed.curve[-1].train_loss for packed in together}) == len(members), "every rule must bite"


@pytest.mark.parametrize("kind", ["classification", "regression"])
@pytest.mark.parametrize("residual", [False, True])
def test_a_hundred_steps_of_a_deep_network_agree_within_a_millionth(kind: str, residual: bool) -> None:
    task = blobs(kind)
    setting = dataclasses.replace(TINY, depth=6, steps=100, residual=residual)
    members = company({"optimizer": "adamw", "normalization": "batch_norm"}, setting)
    together = train_pack(members, task)
    for one, packed in zip(members, together, strict=True):
        assert_close(train_pack([one], task)[0], packed, 1e-6)


def test_permuting_members_permutes_results_to_the_bit() -> None:
    setting = dataclasses.replace(TINY, precision="float32", width=19, depth=3)
    members = company({"optimizer": "nesterov"}, setting)
    order = [3, 0, 4, 2, 1]
    straight = train_pack(members, blobs())
    permuted = train_pack([members[i] for i in order], blobs())
    for place, i in enumerate(order):
        assert numbers_of(permuted[place]) == numbers_of(straight[i])


MIXED: list[dict[str, str]] = [
    {"weight_decay": "l2", "decay_scope": "weights", "weight_constraint": "max_norm"},
    {"weight_decay": "l1", "label_smoothing": "label_smoothing", "early_stopping": "patience"},
    {"weight_decay": "decoupled", "decay_scope": "weights", "warmup": "linear"},
    {"weight_decay": "decoupled", "clipping": "shrink", "schedule": "cosine_restarts"},
    {"weight_decay": "l2", "clipping": "value", "warmup": "linear", "schedule": "one_cycle"},
]
"""Each asks for something that another does without."""


@pytest.mark.parametrize("optimizer", FACTORS["optimizer"].names)
def test_members_that_share_little_permute_to_the_bit_and_do_without_each_other(optimizer: str) -> None:
    setting = dataclasses.replace(TINY, precision="float32", width=19, depth=3)
    members = [
        member(levels={"optimizer": optimizer, **own}, setting=setting, index=k, phase="confirm")
        for k, own in enumerate(MIXED)
    ]
    plain = [
        member(levels={"optimizer": optimizer}, setting=setting, index=50 + k, phase="confirm")
        for k in range(4)
    ]
    order = [3, 0, 4, 2, 1]
    straight, permuted = (train_pack(m, blobs()) for m in (members, [members[i] for i in order]))
    for place, i in enumerate(order):
        assert numbers_of(permuted[place]) == numbers_of(straight[i])
    for k, one in enumerate(members):
        among_others = train_pack([*plain[:k], one, *plain[k:]], blobs())[k]
        assert numbers_of(among_others) == numbers_of(straight[k])


def test_a_result_does_not_depend_on_its_companions_to_the_bit() -> None:
    setting = dataclasses.replace(TINY, precision="float32", width=19, depth=3)
    members = company({"optimizer": "adam"}, setting)
    others = [
        member(levels={"optimizer": "adam"}, setting=setting, index=90 + k, phase="confirm") for k in range(4)
    ]
    first = train_pack(members, blobs())[2]
    second = train_pack([*others[:2], members[2], *others[2:]], blobs())[2]
    assert numbers_of(first) == numbers_of(second)


def test_one_member_turned_nan_changes_nobody_to_the_bit() -> None:
    setting = dataclasses.replace(TINY, precision="float32")
    members = company({"optimizer": "sgd", "clipping": "none"}, setting)
    bad = member(
        levels={"optimizer": "sgd", "initializer": "std_normal"},
        numbers={"learning_rate": FACTORS["optimizer"].level("sgd").ranges[0].high, "init_gain": 4.0},
        setting=dataclasses.replace(setting),
        index=1,
        phase="confirm",
    )
    task = blobs("regression")
    quiet = train_pack(members, task)
    loud = train_pack([members[0], bad, *members[2:]], task)
    assert loud[1].status == "diverged"
    assert loud[1].cause in ("non_finite_loss", "non_finite_validation")
    assert 0 < loud[1].steps < setting.steps
    assert loud[1].test == {"best_validation": math.inf, "last": math.inf}
    for k in (0, 2, 3, 4):
        assert numbers_of(loud[k]) == numbers_of(quiet[k])


def test_a_pack_in_which_everybody_diverges_ends_early_and_scores_the_trivial_error() -> None:
    top = FACTORS["optimizer"].level("sgd").ranges[0].high
    levels = {"initializer": "std_normal", "optimizer": "sgd"}
    numbers = {"learning_rate": top, "init_gain": 4.0}
    setting = dataclasses.replace(TINY, precision="float32", depth=6, steps=40)
    doomed = [member(levels=levels, numbers=numbers, setting=setting, index=k) for k in range(3)]
    task = blobs("regression")
    for evaluation in train_pack(doomed, task):
        assert evaluation.status == "diverged"
        assert evaluation.validation_metric == pytest.approx(1.0, abs=0.3)
        assert evaluation.best_step == 0 and evaluation.steps < 40


def test_levels_that_mean_nothing_here_are_refused_with_what_can_be_asked() -> None:
    with pytest.raises(ValueError, match=r"label_smoothing=label_smoothing needs classes.*kind=regression"):
        train_pack([member(levels={"label_smoothing": "label_smoothing"})], blobs("regression"))
    shallow = dataclasses.replace(TINY, depth=1)
    with pytest.raises(ValueError, match=r"optimizer=muon needs a matrix .* optimizer=adamw"):
        train_pack([member(levels={"optimizer": "muon"}, setting=shallow)], blobs())


def test_only_confirm_members_read_test_items() -> None:
    for phase in PHASES:
        (evaluation,) = train_pack([member(phase=phase)], blobs())
        assert (evaluation.test is not None) == (phase in ("confirm", "external"))


def test_members_of_two_structures_cannot_share_a_pack() -> None:
    wide = member(setting=dataclasses.replace(TINY, width=9))
    with pytest.raises(ValueError, match="one structure"):
        train_pack([member(), wide], blobs())


def test_the_best_validation_read_out_is_the_parameters_of_that_step() -> None:
    setting = dataclasses.replace(TINY, steps=60, evaluations=6)
    numbers = {"learning_rate": 0.3}
    (long,) = train_pack([member(numbers=numbers, setting=setting, phase="confirm")], blobs())
    stop = long.best_step
    assert stop in (10, 20, 30, 40, 50, 60)
    short = dataclasses.replace(setting, steps=stop, evaluations=stop // 10)
    (again,) = train_pack([member(numbers=numbers, setting=short, phase="confirm")], blobs())
    assert long.test is not None and again.test is not None
    assert again.test["last"] == pytest.approx(long.test["best_validation"], rel=1e-9)
    assert again.curve[-1].validation_loss == pytest.approx(long.validation_loss, rel=1e-9)


def test_performance_scheduling_cuts_the_rate_as_torch_does() -> None:
    setting = dataclasses.replace(TINY, steps=60, evaluations=30)
    levels = {"schedule": "performance", "optimizer": "adam"}
    numbers = {"learning_rate": 0.1, "plateau_patience": 1.0, "plateau_factor": 0.5}
    (evaluation,) = train_pack([member(levels=levels, numbers=numbers, setting=setting)], blobs())
    probe = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(probe, factor=0.5, patience=1, threshold=1e-4)
    rates = []
    for point in evaluation.curve:
        rates.append(probe.param_groups[0]["lr"])
        scheduler.step(point.validation_loss)
    assert [point.learning_rate for point in evaluation.curve] == pytest.approx(rates)
    assert rates[-1] < rates[0], "the rate must have been cut for this comparison to say anything"


def test_structure_tells_apart_what_cannot_be_stacked_and_nothing_else() -> None:
    task = blobs()
    base = structure_key(member().config, task)
    for change in ({"activation": "prelu"}, {"activation": "rrelu"}, {"normalization": "layer_norm"}):
        assert structure_key(member(levels=change).config, task) != base
    alike = {"initializer": "he_normal", "schedule": "cosine", "dropout": "dropout", "clipping": "norm"}
    alike |= {"activation": "tanh", "optimizer": "adam"}
    for factor, level in alike.items():
        assert structure_key(member(levels={factor: level}).config, task) == base
