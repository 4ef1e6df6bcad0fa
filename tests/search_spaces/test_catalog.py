"""The conformance walk: every level of every factor is what its row says.

Nothing here names a level, so a new level is checked without an edit; a new factor needs an entry in
EXERCISES. Shape letters: K members, B items, F features, P flat parameters.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from search_spaces.activations import Activation
from search_spaces.augmentation import Augmentation
from search_spaces.catalog import FACTORS
from search_spaces.clipping import Clip
from search_spaces.factor import Factor, Level, Range
from search_spaces.initializers import Initializer
from search_spaces.input_scaling import InputScaling
from search_spaces.normalizations import Normalization
from search_spaces.optimizers import UpdateRule
from search_spaces.regularizers import Dropout, WeightDecay
from search_spaces.schedules import Schedule

K, B, F, P, STEPS = 3, 5, 8, 17, 12

DTYPES = (torch.float32, torch.float64)
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}
"""Relative. A stack and a single member may take different code paths (vector or scalar instructions)
and differ in the last bits; a level that mixes its members up differs in the first digits."""

Numbers = Mapping[str, float]
Made = tuple[Tensor, ...]

EVERY_LEVEL = [
    pytest.param(factor, level, id=f"{factor.name}={level.name}")
    for factor in FACTORS.values()
    for level in factor.levels
]
EVERY_RANGE = [
    pytest.param(level, span, id=f"{factor.name}={level.name}:{span.name}")
    for factor in FACTORS.values()
    for level in factor.levels
    for span in level.ranges
]


def inputs(*shape: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    """Standard normal numbers of a stack, or of its members one by one: [K, *shape]."""
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((K, *shape))).to(dtype)


def shared(numbers: list[Numbers], trailing: int, dtype: torch.dtype) -> dict[str, Any]:
    """Members' numbers as [K, 1, ...] columns; those of a single member as plain floats."""
    if len(numbers) == 1:
        return dict(numbers[0])
    return {
        name: torch.tensor([own[name] for own in numbers], dtype=dtype).view(-1, *(1,) * trailing)
        for name in numbers[0]
    }


def pick(x: Tensor, members: list[int]) -> Tensor:
    """The stack of these members, or without a member axis where it is only one."""
    return x[members[0]].clone() if len(members) == 1 else x[members].clone()


# How a level of each factor is put to work: (build, members, their numbers, precision) -> what comes
# out, gradients included, with a member axis unless it is one member alone.


def initialize(build: Initializer, members: list[int], numbers: list[Numbers], dtype: torch.dtype) -> Made:
    """Members draw from streams of their own; numbers of this factor are the trainer's business."""
    weights, biases = [], []
    for k in members:
        draws = np.random.default_rng(k)
        weights.append(torch.from_numpy(build.weight(F, P, draws)).to(dtype))
        biases.append(torch.from_numpy(build.bias(F, P, draws)).to(dtype))
    made = torch.stack(weights), torch.stack(biases)
    assert made[0].shape[1:] == (F, P), "weights are [fan_in, fan_out]"
    assert made[1].shape[1:] == (P,)
    return tuple(m[0] for m in made) if len(members) == 1 else made


def activate(build: Activation, members: list[int], numbers: list[Numbers], dtype: torch.dtype) -> Made:
    x = pick(inputs(B, F, dtype=dtype), members).requires_grad_()
    y = build(x, **shared(numbers, 2, dtype))
    assert y.shape == x.shape
    (dx,) = torch.autograd.grad(y.square().sum(), x)
    return y.detach(), dx


def normalize(build: Normalization, members: list[int], numbers: list[Numbers], dtype: torch.dtype) -> Made:
    x = pick(inputs(B, F, dtype=dtype), members).requires_grad_()
    if build.apply is None:
        return (x.detach(),)
    gain, shift, target = (pick(inputs(n, F, dtype=dtype, seed=n + 7), members) for n in (1, 1, B))
    leaves = (x, gain.requires_grad_(), shift.requires_grad_()) if build.affine else (x,)
    mean, var = (torch.zeros_like(gain), torch.ones_like(gain)) if build.running else (None, None)
    own = shared(numbers, 2, dtype)
    made: list[Tensor] = []
    for training in (True, False):
        y = build.apply(
            x,
            gain if build.affine else None,
            shift if build.affine else None,
            running_mean=mean,
            running_var=var,
            momentum=own.get("norm_momentum"),
            training=training,
        )
        assert y.shape == x.shape
        made += [y.detach(), *torch.autograd.grad((y * target).sum(), leaves)]
    return (*made, *(s for s in (mean, var) if s is not None))


def update(build: UpdateRule, members: list[int], numbers: list[Numbers], dtype: torch.dtype) -> Made:
    params = pick(inputs(P, dtype=dtype), members)
    state = {name: torch.zeros_like(params) for name in build.buffers}
    own = shared(numbers, 1, dtype)
    rate = own["learning_rate"]
    for step in (1, 2, 3):
        grads = pick(inputs(P, dtype=dtype, seed=step), members)
        build.apply(params, grads, state, step=step, learning_rate=rate, numbers=own)
    assert build.momentum_number is None or build.momentum_number in own
    return params, *state.values()


def pace(
    build: Callable[..., Schedule], members: list[int], numbers: list[Numbers], dtype: torch.dtype
) -> Made:
    schedules = [build(STEPS, **own) for own in numbers]
    for s in schedules:
        assert s.multiplier.shape == (STEPS,)
        assert ((s.multiplier > 0) & (s.multiplier <= 1)).all(), "relative to the peak"
        assert s.momentum is None or ((s.momentum >= 0) & (s.momentum < 1)).all()
        assert s.patience >= 0 and 0 < s.factor <= 1
    tables = torch.tensor(np.stack([s.multiplier for s in schedules]), dtype=dtype)
    cuts = torch.tensor([[min(s.patience, 1e6), s.factor] for s in schedules], dtype=dtype)
    return (tables[0], cuts[0]) if len(members) == 1 else (tables, cuts)


def clip(build: Clip | None, members: list[int], numbers: list[Numbers], dtype: torch.dtype) -> Made:
    grads = pick(inputs(P, dtype=dtype), members)
    return (grads if build is None else build(grads, **shared(numbers, 1, dtype)),)


def decay(build: WeightDecay, members: list[int], numbers: list[Numbers], dtype: torch.dtype) -> Made:
    """A strength is opened exactly where the level decays by a rule of its own."""
    assert build.kind in ("optimizer", "none", "decoupled", "coupled")
    assert ("weight_decay" in numbers[0]) == (build.kind in ("decoupled", "coupled"))
    strength = torch.tensor([own.get("weight_decay", 0.0) for own in numbers], dtype=dtype)
    return (strength[0] if len(members) == 1 else strength,)


def drop(build: Dropout, members: list[int], numbers: list[Numbers], dtype: torch.dtype) -> Made:
    """A rate is opened exactly where units are dropped."""
    assert ("dropout_rate" in numbers[0]) == build.active
    kept = torch.tensor([1 / (1 - own.get("dropout_rate", 0.0)) for own in numbers], dtype=dtype)
    return (kept[0] if len(members) == 1 else kept,)


def scale(build: InputScaling, members: list[int], numbers: list[Numbers], dtype: torch.dtype) -> Made:
    """Every member is scaled by its own items; a constant feature must not divide by 0."""
    made = []
    for k in members:
        x = 3 * inputs(B, F, dtype=torch.float64)[k].numpy() + 1
        x[:, 0] = k + 2
        centre, unit = build.fit(x)
        assert centre.shape == unit.shape == (F,)
        made.append(torch.from_numpy((x - centre) / unit).to(dtype))
    return (made[0] if len(members) == 1 else torch.stack(made),)


def augment(build: Augmentation, members: list[int], numbers: list[Numbers], dtype: torch.dtype) -> Made:
    """An angle is opened by a level that turns and does nothing else; what is done is the trainer's."""
    possible = frozenset({"shift", "flip", "rotation"})
    assert build.on(possible) <= possible
    assert ("rotation_degrees" in numbers[0]) == (build.transformations == {"rotation"})
    angle = torch.tensor([own.get("rotation_degrees", 0.0) for own in numbers], dtype=dtype)
    return (angle[0] if len(members) == 1 else angle,)


EXERCISES: dict[str, tuple[str, Callable[..., Made]]] = {
    "initializer": ("weights", initialize),
    "activation": ("structure", activate),
    "normalization": ("structure", normalize),
    "input_scaling": ("numbers", scale),
    "augmentation": ("numbers", augment),
    "dropout": ("numbers", drop),
    "weight_decay": ("numbers", decay),
    "optimizer": ("structure", update),
    "schedule": ("numbers", pace),
    "clipping": ("numbers", clip),
}
"""Factor -> (how its levels enter training, how one is put to work)."""


def spread(level: Level[Any]) -> list[Numbers]:
    """Numbers for K members, all different, from inside each range."""
    return [{r.name: r.at((k + 1) / (K + 1)) for r in level.ranges} for k in range(K)]


def test_every_factor_has_an_exercise() -> None:
    assert list(EXERCISES) == list(FACTORS)


@pytest.mark.parametrize(("factor", "level"), EVERY_LEVEL)
def test_a_level_says_where_it_comes_from(factor: Factor[Any], level: Level[Any]) -> None:
    assert level.source.document
    assert level.source.claim
    assert level.name == level.name.lower().replace(" ", "_")


@pytest.mark.parametrize("factor", FACTORS.values(), ids=list(FACTORS))
def test_cost_ranks_are_unique_and_the_frameworks_default_is_the_cheapest(factor: Factor[Any]) -> None:
    ranks = {level.name: level.cost_rank for level in factor.levels}
    assert sorted(ranks.values()) == list(range(len(ranks)))
    assert ranks[factor.framework_default] == 0


@pytest.mark.parametrize("factor", FACTORS.values(), ids=list(FACTORS))
def test_more_numbers_to_tune_never_cost_less(factor: Factor[Any]) -> None:
    others = [level for level in factor.levels if level.name != factor.framework_default]
    by_rank = sorted(others, key=lambda level: level.cost_rank)
    opened = [len(level.ranges) for level in by_rank]
    assert opened == sorted(opened)


@pytest.mark.parametrize(("level", "span"), EVERY_RANGE)
def test_a_range_explains_itself_and_contains_its_default(level: Level[Any], span: Range) -> None:
    assert span.meaning
    assert span.low <= span.default <= span.high
    assert span.at(span.unit(span.default)) == pytest.approx(span.default)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("factor", "level"), EVERY_LEVEL)
def test_a_level_runs_forward_and_backward_all_over_its_ranges(
    factor: Factor[Any], level: Level[Any], dtype: torch.dtype
) -> None:
    _, exercise = EXERCISES[factor.name]
    corners = ([span.low, span.default, span.high] for span in level.ranges)
    for values in itertools.product(*corners):
        numbers = dict(zip((span.name for span in level.ranges), values, strict=True))
        for made in exercise(level.build, [0], [numbers], dtype):
            assert made.dtype == dtype
            assert torch.isfinite(made).all(), f"not finite at {numbers}"


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("factor", "level"), EVERY_LEVEL)
def test_a_member_alone_equals_its_slice_of_a_stack(
    factor: Factor[Any], level: Level[Any], dtype: torch.dtype
) -> None:
    _, exercise = EXERCISES[factor.name]
    numbers = spread(level)
    stacked = exercise(level.build, list(range(K)), numbers, dtype)
    for k in range(K):
        alone = exercise(level.build, [k], [numbers[k]], dtype)
        assert len(alone) == len(stacked)
        for one, many in zip(alone, stacked, strict=True):
            torch.testing.assert_close(one, many[k], rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("factor", "level"), EVERY_LEVEL)
def test_permuting_members_permutes_what_comes_out_to_the_bit(
    factor: Factor[Any], level: Level[Any], dtype: torch.dtype
) -> None:
    """At sizes that fill no vector register, where torch treats the last elements differently."""
    _, exercise = EXERCISES[factor.name]
    numbers, order = spread(level), [2, 0, 1]
    straight = exercise(level.build, list(range(K)), numbers, dtype)
    permuted = exercise(level.build, order, [numbers[k] for k in order], dtype)
    for before, after in zip(straight, permuted, strict=True):
        assert torch.equal(before[order], after)


@pytest.mark.parametrize(("factor", "level"), EVERY_LEVEL)
def test_members_with_other_numbers_come_out_differently(factor: Factor[Any], level: Level[Any]) -> None:
    """A number that changes nothing would be searched in vain."""
    _, exercise = EXERCISES[factor.name]
    base = spread(level)[0]
    for span in level.ranges:
        if span.name in HANDLED_BY_THE_TRAINER.get(factor.name, ()):
            continue
        moved = {**base, span.name: span.at(0.9)}
        before = exercise(level.build, [0], [base], torch.float64)
        after = exercise(level.build, [0], [moved], torch.float64)
        assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True)), span.name


HANDLED_BY_THE_TRAINER = {
    "initializer": ("init_gain",),
    "augmentation": ("rotation_degrees",),
    "optimizer": ("weight_decay",),
}
"""Numbers that the functions of this package never see."""


@pytest.mark.parametrize(("factor", "level"), EVERY_LEVEL)
def test_a_level_enters_training_the_way_its_factor_does(factor: Factor[Any], level: Level[Any]) -> None:
    enters, _ = EXERCISES[factor.name]
    adds_a_layer = isinstance(level.build, InputScaling) and level.build.first_layer_norm
    assert level.enters == ("structure" if adds_a_layer else enters)


@pytest.mark.parametrize("factor", FACTORS.values(), ids=list(FACTORS))
def test_no_two_levels_of_a_factor_are_the_same_thing(factor: Factor[Any]) -> None:
    """Different outputs or different numbers to tune (AdamW is Adam's rule with a decay)."""
    _, exercise = EXERCISES[factor.name]
    seen: dict[str, tuple[str, ...]] = {}
    for level in factor.levels:
        made = exercise(level.build, [0], spread(level)[:1], torch.float64)
        words = (*(str(m.tolist()) for m in made), repr([r.name for r in level.ranges]))
        if isinstance(level.build, WeightDecay | Dropout | Augmentation):
            words = (*words, repr(level.build))
        if isinstance(level.build, InputScaling):
            words = (*words, repr(level.build.first_layer_norm))
        assert words not in seen.values(), f"{level.name} equals one of {list(seen)}"
        seen[level.name] = words


def test_only_weight_decay_is_opened_by_two_factors() -> None:
    owners: dict[str, set[str]] = {}
    for factor in FACTORS.values():
        for level in factor.levels:
            for span in level.ranges:
                owners.setdefault(span.name, set()).add(factor.name)
    assert [name for name, by in owners.items() if len(by) > 1] == ["weight_decay"]
