"""The updates of a built pack, rehearsed on copies: schedules, clipping, decay, momentum and update rules.

Shape letters: K members, P flat parameters, T steps.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from search_spaces.clipping import CLIPPING
from search_spaces.config import Config
from search_spaces.optimizers import OPTIMIZER, Step
from search_spaces.schedules import SCHEDULE, Schedule
from search_spaces.schedules.warmups import WARMUP_START
from trainers.config_audit.reading import AuditedProperty, BuiltPack, sampled
from trainers.config_audit.regularizers import move, pull_readings
from trainers.loop.updates import Updates, schedule

PLAIN = ("sgd", "momentum", "nesterov")
"""Rules whose first step from zeros is the gradient times the rate, so that momentum can be read off."""

LARGE, SMALL = 1e4, 1e-3
"""Gradient norms that every clipping rule touches, and that none does."""

SPARING = ("none", "norm", "value", "shrink")
"""Clipping that leaves small gradients alone."""


APART = 0.05
"""Share of a gradient's norm by which it may differ from autograd's, where a network starts steep."""


def training_readings(built: BuiltPack) -> Iterator[AuditedProperty]:
    """Every measured property of the updates and of what ends a training."""
    configs = built.configs
    rates_TK = built.updates.schedules.rate_TK1.squeeze(-1).double()
    courses = [_course(config) for config in configs]
    yield AuditedProperty(
        key="steps", expected=[c.setting.steps for c in configs], measured=[len(rates_TK)] * len(configs)
    )
    if len(rates_TK) != configs[0].setting.steps:
        return
    yield from _rates(configs, courses, rates_TK)
    yield from _endings(built, courses)
    yield from _clipping(built, courses)
    yield from pull_readings(built, rates_TK)
    free = all(
        c.levels["weight_constraint"] != "max_norm" and c.levels["clipping"] in SPARING for c in configs
    )
    if free:
        yield from _plain(built, courses, rates_TK)
    together_KP = _pushed(built, built.updates.rehearsal(), list(range(len(configs))))
    if len({c.levels["optimizer"] for c in configs}) > 1:
        yield _rules(built, together_KP)
    yield _alone(built, together_KP)
    if built.gradients is not None:
        yield _gradients(built.gradients)


@torch.enable_grad()
def _gradients(both: Callable[[], tuple[Tensor, Tensor]]) -> AuditedProperty:
    """Distance of the manual backward pass from autograd, 0 where gradients are not finite."""
    made_KP, asked_KP = (rows.detach().double() for rows in both())
    size_K = asked_KP.norm(dim=1)
    apart_K = (made_KP - asked_KP).norm(dim=1) / size_K
    apart_K[~torch.isfinite(size_K) | (size_K == 0)] = 0.0
    measured = apart_K.tolist()
    return AuditedProperty(
        key="distance from autograd's gradient", expected=[0.0] * len(measured), measured=measured, atol=APART
    )


def _course(config: Config) -> Schedule:
    """The schedule that the config describes, its linear warm-up from a tenth included."""
    if config.levels["warmup"] not in ("none", "linear"):
        return schedule(config)
    own = {r.name: config.numbers[r.name] for r in SCHEDULE.level(config.levels["schedule"]).ranges}
    steps = config.setting.steps
    warmup = round(config.numbers.get("warmup_fraction", 0.0) * steps)
    course: Schedule = SCHEDULE.level(config.levels["schedule"]).build(steps - warmup, **own)
    if not warmup:
        return course
    line = np.linspace(WARMUP_START, 1.0, warmup, endpoint=False) * course.multiplier[0]
    momentum = course.momentum
    return Schedule(
        multiplier=np.concatenate([line, course.multiplier]),
        momentum=None if momentum is None else np.concatenate([np.full(warmup, momentum[0]), momentum]),
        patience=course.patience,
        factor=course.factor,
    )


def _rates(
    configs: Sequence[Config], courses: Sequence[Schedule], rates_TK: Tensor
) -> Iterator[AuditedProperty]:
    """First, largest, mean and last learning rate against each member's own schedule."""
    tables = [s.multiplier * c.numbers["learning_rate"] for s, c in zip(courses, configs, strict=True)]
    columns = rates_TK.T.cpu().numpy()
    ends: dict[str, Callable[[NDArray[np.float64]], float]] = {
        "first": lambda rates: float(rates[0]),
        "peak": lambda rates: float(rates.max()),
        "mean": lambda rates: float(rates.mean()),
        "last": lambda rates: float(rates[-1]),
    }
    for name, end in ends.items():
        expected, measured = ([end(rates) for rates in rows] for rows in (tables, columns))
        yield AuditedProperty(key=f"learning_rate.{name}", expected=expected, measured=measured)


def _endings(built: BuiltPack, courses: Sequence[Schedule]) -> Iterator[AuditedProperty]:
    """Validation steps without improvement until the learning rate is cut, and until training stops."""
    schedules, configs = built.updates.schedules, built.configs
    yield AuditedProperty(
        key="plateau_patience", expected=[s.patience for s in courses], measured=schedules.patience_K.tolist()
    )
    yield AuditedProperty(
        key="plateau_factor", expected=[s.factor for s in courses], measured=schedules.factor_K.tolist()
    )
    patient = [c.numbers.get("stop_patience") for c in configs]
    expected = [math.inf if looks is None else float(math.floor(looks)) for looks in patient]
    waited_K = torch.full_like(schedules.patience_K, math.inf)
    dry, worse_K = copy.deepcopy(built.patience), torch.zeros_like(waited_K, dtype=torch.bool)
    for count in range(max((int(looks) for looks in expected if looks < math.inf), default=0) + 2):
        waited_K[dry.update(worse_K) & torch.isinf(waited_K)] = count
    yield AuditedProperty(key="stop_patience", expected=expected, measured=waited_K.tolist())


def _clipping(built: BuiltPack, courses: Sequence[Schedule]) -> Iterator[AuditedProperty]:
    """The share of a very large gradient that reaches the update rule, and the momentum it is given."""
    configs, size = built.configs, built.params_KP.shape[1]
    names = [OPTIMIZER.level(c.levels["optimizer"]).build.momentum_number for c in configs]
    kept: list[float] = []
    momenta: list[float | None] = []

    def seen(params: Tensor, grads: Tensor, state: dict[str, Tensor], now: Step) -> None:
        """Rules come one after the other, in the order of their rows."""
        kept.extend((grads.mean(1) * math.sqrt(size) / LARGE).tolist())
        for row in range(len(params)):
            name = names[len(momenta)]
            number = torch.as_tensor(now.numbers.get(name, math.nan) if name else math.nan).flatten()
            momenta.append(float(number[row if len(number) > 1 else 0]) if name else None)

    zeros_KP, dry = torch.zeros_like(built.params_KP), built.updates.rehearsal(seen)
    move(dry, 0, zeros_KP, torch.full_like(zeros_KP, LARGE / math.sqrt(size)))
    yield AuditedProperty(
        key="clipping", expected=[_kept(c, size) for c in configs], measured=list(kept), rtol=5e-3
    )
    if not any(names):
        return
    for when, step in (("first", 0), ("middle", configs[0].setting.steps // 2)):
        if step:
            momenta.clear()
            move(dry, step, zeros_KP, torch.zeros_like(zeros_KP))
        three = zip(configs, courses, names, strict=True)
        expected = [None if name is None else _momentum(c, s, name, step) for c, s, name in three]
        yield AuditedProperty(key=f"momentum_number.{when}", expected=expected, measured=list(momenta))


def _momentum(config: Config, course: Schedule, name: str, step: int) -> float:
    """The configured momentum at that step, cycled or not."""
    return float(config.numbers[name] if course.momentum is None else course.momentum[step])


def _kept(config: Config, size: int) -> float:
    """Share of a gradient of norm `LARGE` with equal entries that the configured clipping leaves."""
    level, numbers = config.levels["clipping"], config.numbers
    if level == "norm":
        return numbers["clip_norm"] / LARGE
    if level == "value":
        return min(1.0, numbers["clip_value"] * math.sqrt(size) / LARGE)
    if level == "shrink":
        return numbers["shrink_factor"]
    clip = CLIPPING.level(level)
    if clip.build is None:
        return 1.0
    row = torch.full((1, size), LARGE / math.sqrt(size), dtype=torch.float64)
    kept = clip.build(row, **{r.name: numbers[r.name] for r in clip.ranges})
    return float(kept.mean() * math.sqrt(size) / LARGE)


def _plain(built: BuiltPack, courses: Sequence[Schedule], rates_TK: Tensor) -> Iterator[AuditedProperty]:
    """Momentum of the SGD family, from two rehearsed steps that begin at zero."""
    configs = built.configs
    rules = [config.levels["optimizer"] for config in configs]
    steps = len(rates_TK)
    step = min(steps // 2, max(steps - 2, 0))
    size = built.params_KP.shape[1]

    def moved(times: int) -> list[float]:
        """Mean change [K] in units of the gradient, of the last of so many steps with equal gradients."""
        dry, params_KP = built.updates.rehearsal(), torch.zeros_like(built.params_KP)
        for i in range(times):
            params_KP.zero_()  # there is nothing to decay at zero
            move(dry, step + i, params_KP, torch.full_like(params_KP, SMALL / math.sqrt(size)))
        change_K = -params_KP.mean(1).double() * math.sqrt(size) / SMALL
        measured: list[float] = (change_K / rates_TK[step + times - 1]).tolist()
        return measured

    expected: dict[str, list[float | None]] = {
        "momentum": [None] * len(rules),
        "gradient_share": [None] * len(rules),
    }
    measured: dict[str, list[float | None]] = {key: list(nobody) for key, nobody in expected.items()}
    for rule in sorted({*rules} & {*PLAIN}):
        ahead = {"nesterov": 0, "momentum": 1}.get(rule)
        if ahead is not None and step + ahead >= steps:
            ahead = None
        now = moved(1 + (ahead or 0))
        for k in (k for k, own in enumerate(rules) if own == rule):
            if ahead is None:
                expected["gradient_share"][k], measured["gradient_share"][k] = 1.0, now[k]
            else:
                expected["momentum"][k] = _momentum(configs[k], courses[k], "momentum", step + ahead)
                measured["momentum"][k] = now[k] - 1
    for key, atol in (("momentum", 2e-3), ("gradient_share", 1e-9)):
        if any(number is not None for number in expected[key]):
            yield AuditedProperty(key=key, expected=expected[key], measured=measured[key], atol=atol)


def _rules(built: BuiltPack, together_KP: Tensor) -> AuditedProperty:
    """The update rule that each member of a pack with several rules follows.

    Two rehearsed steps of the pack are compared with those of packs of one rule each.
    """
    expected = [config.levels["optimizer"] for config in built.configs]
    measured = list(expected)
    for rule in sorted(set(expected)):
        who = [k for k, own in enumerate(expected) if own == rule]
        configs, rows_RP = [built.configs[k] for k in who], built.params_KP[who]
        apart_RP = _pushed(built, Updates(configs, built.network.parameters, rows_RP), who)
        for k, same in zip(who, _agree(apart_RP, together_KP[who]), strict=True):
            measured[k] = rule if same else f"not {rule}"
    return AuditedProperty(key="optimizer", expected=expected, measured=measured)


def _pushed(built: BuiltPack, updates: Updates, who: list[int]) -> Tensor:
    """The change [R, P] of those members by two steps with random gradients, the first of them large."""
    rows_RP, draws = built.params_KP[who], torch.Generator().manual_seed(0)
    moved_RP, size = rows_RP.clone(), rows_RP.shape[1]
    for step, norm in enumerate((LARGE, 1.0)[: len(built.updates.schedules.rate_TK1)]):
        push = torch.randn(size, generator=draws).to(rows_RP) * norm / math.sqrt(size)
        move(updates, step, moved_RP, push.expand_as(rows_RP).clone())
    return moved_RP - rows_RP


def _agree(a_RP: Tensor, b_RP: Tensor) -> list[bool]:
    """Which members have changed alike."""
    apart_R, size_R = (torch.linalg.vector_norm(rows, dim=1) for rows in (a_RP - b_RP, a_RP))
    same: list[bool] = (apart_R <= 1e-3 * size_R + 1e-12).tolist()
    return same


def _alone(built: BuiltPack, together_KP: Tensor) -> AuditedProperty:
    """Whether two rehearsed steps change a member as they would alone, with no other member's numbers.

    A few members are compared; comparing all took 6 % of a training's time.
    """
    count = len(built.configs)
    same = [True] * count
    for k in sampled(count):
        own = Updates([built.configs[k]], built.network.parameters, built.params_KP[k : k + 1])
        (same[k],) = _agree(_pushed(built, own, [k]), together_KP[k : k + 1])
    return AuditedProperty(key="updates_as_alone", expected=[True] * count, measured=same)
