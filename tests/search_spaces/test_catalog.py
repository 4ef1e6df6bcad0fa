"""The conformance walk: every level of every factor is what its row says.

Nothing here names a level, so a new level is checked without an edit; a new factor needs an entry in
EXERCISES, or in ORDERS. Shape letters: K members, B items, F features, P flat parameters.
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
from search_spaces.catalog import FACTORS
from search_spaces.clipping import Clip
from search_spaces.factor import Factor, Level
from search_spaces.initializers import Initializer
from search_spaces.input_scaling import InputScaling
from search_spaces.normalizations import Normalization
from search_spaces.optimizers import Step, UpdateRule
from search_spaces.parts import place
from search_spaces.schedules import SCHEDULE, Schedule
from search_spaces.schedules.warmups import Warmup
from search_spaces.weight_constraints import WeightConstraint
from search_spaces.weight_draws import Draw
from trainers.tensors.layout import Layout

K, B, F, P, STEPS = 3, 5, 8, 17, 12

DTYPES = (torch.float32, torch.float64)
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}
"""Relative. A stack and a single member may take different code paths (vector or scalar instructions)
and differ in the last bits; a level that mixes its members up differs in the first digits."""

Numbers = Mapping[str, float]
Made = tuple[Tensor, ...]

EVERY_LEVEL = [(factor, level) for factor in FACTORS.values() for level in factor.levels]


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


def start_bias(build: Draw | None, members: list[int], numbers: list[Numbers], dtype: torch.dtype) -> Made:
    """None leaves the biases to the initializer."""
    if build is None:
        return ()
    drawn = [torch.from_numpy(build(F, P, np.random.default_rng(k))).to(dtype) for k in members]
    assert drawn[0].shape == (P,)
    return (drawn[0] if len(members) == 1 else torch.stack(drawn),)


def activate(build: Activation, members: list[int], numbers: list[Numbers], dtype: torch.dtype) -> Made:
    """In training and in evaluation; what is learned differs between members."""
    x = pick(inputs(B, F, dtype=dtype), members).requires_grad_()
    moves = pick(inputs(1, 1, dtype=dtype, seed=3), members)
    learned = {name: (start + 0.1 * moves).requires_grad_() for name, start in build.learned.items()}
    noise = torch.special.ndtr(pick(inputs(B, F, dtype=dtype, seed=4), members))
    made: list[Tensor] = []
    for given in ({"noise": noise}, {"noise": None}) if build.noisy else ({},):
        y = build.apply(x, **shared(numbers, 2, dtype), **learned, **given)
        assert y.shape == (*x.shape[:-1], F // 2 if build.gated else F)
        made += [y.detach(), *torch.autograd.grad(y.square().sum(), (x, *learned.values()))]
    return tuple(made)


def normalize(build: Normalization, members: list[int], numbers: list[Numbers], dtype: torch.dtype) -> Made:
    """On rows as the level wants them: where and over what they are taken is the trainer's business."""
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


PARTS = Layout.of(
    {
        "weight0": ((5, 3), "weight"),
        "bias0": ((1, 3), "bias"),
        "weight1": ((3, 7), "weight"),
        "gain1": ((1, 7), "norm"),
        "weight2": ((7, 3), "weight"),
        "filters": ((3, 2, 2, 2), "own"),
        "weight3": ((3, 2), "weight"),
    }
).segments
ROW = PARTS[-1].start + PARTS[-1].size + 1
"""Elements of a row of PARTS; odd, so that rows fill no vector register."""


def update(build: UpdateRule, members: list[int], numbers: list[Numbers], dtype: torch.dtype) -> Made:
    """Eight steps; one tensor is tiny and the last gradients are large, so that floors and limits bite."""
    params = pick(inputs(ROW, dtype=dtype), members)
    place(params, PARTS[1]).mul_(1e-6)
    state = {name: torch.zeros_like(params) for name in build.buffers}
    own = shared(numbers, 1, dtype)
    for number in range(1, 9):
        grads = pick(inputs(ROW, dtype=dtype, seed=number), members) * (100 if number == 8 else 1)
        sizes = None if build.measure is None else build.measure(params, PARTS)
        step = Step(number=number, learning_rate=own["learning_rate"], numbers=own, parts=PARTS, sizes=sizes)
        build.apply(params, grads, state, step)
    assert build.momentum_number is None or build.momentum_number in own
    return params, *state.values()


def schedules(
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
    # -1 stands for the optimizer's own momentum
    momenta = [np.full(STEPS, -1.0) if s.momentum is None else s.momentum for s in schedules]
    made = tables, cuts, torch.tensor(np.stack(momenta), dtype=dtype)
    return tuple(m[0] for m in made) if len(members) == 1 else made


def clip(build: Clip | None, members: list[int], numbers: list[Numbers], dtype: torch.dtype) -> Made:
    grads = pick(inputs(P, dtype=dtype), members)
    return (grads if build is None else build(grads, **shared(numbers, 1, dtype)),)


def constrain(
    build: WeightConstraint, members: list[int], numbers: list[Numbers], dtype: torch.dtype
) -> Made:
    params = pick(inputs(ROW, dtype=dtype), members)
    if build.after_step is not None:
        build.after_step(params, PARTS, **shared(numbers, 1, dtype))
    return (params,)


def warm(build: Warmup, members: list[int], numbers: list[Numbers], dtype: torch.dtype) -> Made:
    """Before a schedule that cycles momentum."""
    after = SCHEDULE.level("one_cycle").build
    return schedules(lambda steps, **own: build(steps, after, **own), members, numbers, dtype)


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


EXERCISES: dict[str, Callable[..., Made]] = {
    "initializer": initialize,
    "bias": start_bias,
    "activation": activate,
    "normalization": normalize,
    "input_scaling": scale,
    "weight_constraint": constrain,
    "optimizer": update,
    "schedule": schedules,
    "warmup": warm,
    "clipping": clip,
}
"""Factor -> how a level of it is put to work."""

ORDERS = ("augmentation", "dropout", "weight_decay", "decay_scope", "label_smoothing", "early_stopping")
"""Factors whose levels are orders to the trainer and compute nothing here: what comes of an order is tested
where it is carried out (tests/trainers: every level in a pack, against torch, with its wire cut)."""

ENTERS = {
    "initializer": "weights",
    "bias": "weights",
    "activation": "structure",
    "normalization": "structure",
    "optimizer": "structure",
}
"""Factor -> how its levels enter training, where not by numbers."""

ENTERS_OTHERWISE = {"weight_constraint=symmetric": "structure", "input_scaling=batch_norm": "structure"}
"""Levels that change the forward pass in a factor whose other levels do not."""

EXERCISED = [
    pytest.param(factor, level, id=f"{factor.name}={level.name}")
    for factor in FACTORS.values()
    for level in factor.levels
    if factor.name in EXERCISES
]


def spread(level: Level[Any]) -> list[Numbers]:
    """Numbers for K members, all different, from inside each range."""
    return [{r.name: r.at((k + 1) / (K + 1)) for r in level.ranges} for k in range(K)]


def test_every_factor_is_exercised_here_or_is_an_order_to_the_trainer() -> None:
    assert sorted([*EXERCISES, *ORDERS]) == sorted(FACTORS)


def test_every_level_says_where_it_comes_from() -> None:
    for factor, level in EVERY_LEVEL:
        where = f"{factor.name}={level.name}"
        assert level.source.document, where
        assert level.source.claim, where
        assert level.name == level.name.lower().replace(" ", "_")


def test_a_number_is_opened_exactly_where_an_order_uses_it() -> None:
    uses: dict[str, Callable[[Any], dict[str, bool]]] = {
        "augmentation": lambda build: {"rotation_degrees": build.transformations == {"rotation"}},
        "dropout": lambda build: {"dropout_rate": bool(build.hidden or build.inputs or build.weights)},
        "weight_decay": lambda build: {
            "weight_decay": build.kind in ("decoupled", "coupled"),
            "l1_strength": build.kind == "l1",
        },
        "decay_scope": lambda build: {},
        "label_smoothing": lambda build: {"smoothing": build.active},
        "early_stopping": lambda build: {"stop_patience": build.stops},
    }
    assert sorted(uses) == sorted(ORDERS)
    for factor, level in EVERY_LEVEL:
        if factor.name in uses:
            opened = [name for name, used in uses[factor.name](level.build).items() if used]
            assert [span.name for span in level.ranges] == opened, f"{factor.name}={level.name}"


@pytest.mark.parametrize("factor", FACTORS.values(), ids=list(FACTORS))
def test_cost_ranks_are_unique_and_the_frameworks_default_is_the_cheapest(factor: Factor[Any]) -> None:
    ranks = {level.name: level.cost_rank for level in factor.levels}
    assert len(set(ranks.values())) == len(ranks)
    assert min(ranks, key=ranks.__getitem__) == factor.framework_default


@pytest.mark.parametrize("factor", FACTORS.values(), ids=list(FACTORS))
def test_more_numbers_to_tune_never_cost_less(factor: Factor[Any]) -> None:
    others = [level for level in factor.levels if level.name != factor.framework_default]
    by_rank = sorted(others, key=lambda level: level.cost_rank)
    opened = [len(level.ranges) for level in by_rank]
    assert opened == sorted(opened)


def test_every_range_explains_itself_and_contains_its_default() -> None:
    for factor, level in EVERY_LEVEL:
        for span in level.ranges:
            where = f"{factor.name}={level.name}: {span.name}"
            assert span.meaning, where
            assert span.low <= span.default <= span.high, where
            assert span.at(span.unit(span.default)) == pytest.approx(span.default), where


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("factor", "level"), EXERCISED)
def test_a_level_runs_forward_and_backward_all_over_its_ranges(
    factor: Factor[Any], level: Level[Any], dtype: torch.dtype
) -> None:
    exercise = EXERCISES[factor.name]
    corners = ([span.low, span.default, span.high] for span in level.ranges)
    for values in itertools.product(*corners):
        numbers = dict(zip((span.name for span in level.ranges), values, strict=True))
        for made in exercise(level.build, [0], [numbers], dtype):
            assert made.dtype == dtype
            assert torch.isfinite(made).all(), f"not finite at {numbers}"


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("factor", "level"), EXERCISED)
def test_a_member_alone_equals_its_slice_of_a_stack(
    factor: Factor[Any], level: Level[Any], dtype: torch.dtype
) -> None:
    exercise = EXERCISES[factor.name]
    numbers = spread(level)
    stacked = exercise(level.build, list(range(K)), numbers, dtype)
    for k in range(K):
        alone = exercise(level.build, [k], [numbers[k]], dtype)
        assert len(alone) == len(stacked)
        for one, many in zip(alone, stacked, strict=True):
            torch.testing.assert_close(one, many[k], rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("factor", "level"), EXERCISED)
def test_permuting_members_permutes_what_comes_out_to_the_bit(
    factor: Factor[Any], level: Level[Any], dtype: torch.dtype
) -> None:
    """At sizes that fill no vector register, where torch treats the last elements differently."""
    exercise = EXERCISES[factor.name]
    numbers, order = spread(level), [2, 0, 1]
    straight = exercise(level.build, list(range(K)), numbers, dtype)
    permuted = exercise(level.build, order, [numbers[k] for k in order], dtype)
    for before, after in zip(straight, permuted, strict=True):
        assert torch.equal(before[order], after)


def test_members_with_other_numbers_come_out_differently() -> None:
    """A number that changes nothing would be searched in vain."""
    for factor, level in EVERY_LEVEL:
        if factor.name in ORDERS:
            continue
        exercise = EXERCISES[factor.name]
        base = spread(level)[0]
        for span in level.ranges:
            if span.name in HANDLED_BY_THE_TRAINER.get(factor.name, ()):
                continue
            moved = {**base, span.name: span.at(0.9)}
            before = exercise(level.build, [0], [base], torch.float64)
            after = exercise(level.build, [0], [moved], torch.float64)
            differ = any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
            assert differ, f"{factor.name}={level.name}: {span.name}"


HANDLED_BY_THE_TRAINER = {"initializer": ("init_gain",), "optimizer": ("weight_decay",)}
"""Numbers that the functions of this package never see."""


def test_every_level_enters_training_the_way_its_factor_does() -> None:
    for factor, level in EVERY_LEVEL:
        where = f"{factor.name}={level.name}"
        assert level.enters == ENTERS_OTHERWISE.get(where, ENTERS.get(factor.name, "numbers")), where


@pytest.mark.parametrize("factor", FACTORS.values(), ids=list(FACTORS))
def test_no_two_levels_of_a_factor_are_the_same_thing(factor: Factor[Any]) -> None:
    """Different outputs, numbers to tune (AdamW is Adam's rule with a decay) or orders to the trainer."""
    exercise = EXERCISES.get(factor.name)
    seen: dict[str, tuple[str, ...]] = {}
    for level in factor.levels:
        made = () if exercise is None else exercise(level.build, [0], spread(level)[:1], torch.float64)
        words = (*(str(m.tolist()) for m in made), repr([r.name for r in level.ranges]))
        if factor.name in ORDERS or isinstance(level.build, WeightConstraint | Normalization):
            words = (*words, repr(level.build))
        if isinstance(level.build, InputScaling):
            words = (*words, repr(level.build.first_layer_norm))
        if isinstance(level.build, Initializer):
            words = (*words, repr((level.build.batch_power, level.build.follows_activation)))
        assert words not in seen.values(), f"{level.name} equals one of {list(seen)}"
        seen[level.name] = words


def test_only_weight_decay_is_opened_by_two_factors() -> None:
    owners: dict[str, set[str]] = {}
    for factor in FACTORS.values():
        for level in factor.levels:
            for span in level.ranges:
                owners.setdefault(span.name, set()).add(factor.name)
    assert [name for name, by in owners.items() if len(by) > 1] == ["weight_decay"]
