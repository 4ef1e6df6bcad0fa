"""What a built pack's updates do: schedules, clipping, decay, constraints, momentum and rules, tried dry.

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


def training_readings(wiring: BuiltPack) -> Iterator[AuditedProperty]:
    """What can be read back of the updates, and of what ends a training."""
    configs = wiring.configs
    rates_TK = wiring.updates.pace.rate_TK1.squeeze(-1).double()
    courses = [_course(config) for config in configs]
    yield AuditedProperty(
        key="steps", asked=[c.setting.steps for c in configs], found=[len(rates_TK)] * len(configs)
    )
    if len(rates_TK) != configs[0].setting.steps:
        return
    yield from _rates(configs, courses, rates_TK)
    yield from _endings(wiring, courses)
    yield from _clipping(wiring, courses)
    yield from pull_readings(wiring, rates_TK)
    free = all(
        c.levels["weight_constraint"] != "max_norm" and c.levels["clipping"] in SPARING for c in configs
    )
    if free:
        yield from _plain(wiring, courses, rates_TK)
    together_KP = _pushed(wiring, wiring.updates.rehearsal(), list(range(len(configs))))
    if len({c.levels["optimizer"] for c in configs}) > 1:
        yield _rules(wiring, together_KP)
    yield _alone(wiring, together_KP)
    if wiring.gradients is not None:
        yield _gradients(wiring.gradients)


@torch.enable_grad()
def _gradients(both: Callable[[], tuple[Tensor, Tensor]]) -> AuditedProperty:
    """The written-out pass gives autograd's gradients; those that are not finite will end their member."""
    made_KP, asked_KP = (rows.detach().double() for rows in both())
    size_K = asked_KP.norm(dim=1)
    apart_K = (made_KP - asked_KP).norm(dim=1) / size_K
    apart_K[~torch.isfinite(size_K) | (size_K == 0)] = 0.0
    found = apart_K.tolist()
    return AuditedProperty(
        key="distance from autograd's gradient", asked=[0.0] * len(found), found=found, least=APART
    )


def _course(config: Config) -> Schedule:
    """The schedule that the config's level asks for, after its warm-up: a line up from a tenth."""
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
    """The table of rates against each member's schedule made anew: its ends, its peak and its mean."""
    tables = [s.multiplier * c.numbers["learning_rate"] for s, c in zip(courses, configs, strict=True)]
    columns = rates_TK.T.cpu().numpy()
    ends: dict[str, Callable[[NDArray[np.float64]], float]] = {
        "first": lambda rates: float(rates[0]),
        "peak": lambda rates: float(rates.max()),
        "mean": lambda rates: float(rates.mean()),
        "last": lambda rates: float(rates[-1]),
    }
    for name, end in ends.items():
        asked, found = ([end(rates) for rates in rows] for rows in (tables, columns))
        yield AuditedProperty(key=f"learning_rate.{name}", asked=asked, found=found)


def _endings(wiring: BuiltPack, courses: Sequence[Schedule]) -> Iterator[AuditedProperty]:
    """How many looks without improvement are waited for: until the rate is cut, and until training ends."""
    pace, configs = wiring.updates.pace, wiring.configs
    yield AuditedProperty(
        key="plateau_patience", asked=[s.patience for s in courses], found=pace.patience_K.tolist()
    )
    yield AuditedProperty(
        key="plateau_factor", asked=[s.factor for s in courses], found=pace.factor_K.tolist()
    )
    patient = [c.numbers.get("stop_patience") for c in configs]
    asked = [math.inf if looks is None else float(math.floor(looks)) for looks in patient]
    waited_K = torch.full_like(pace.patience_K, math.inf)
    dry, worse_K = copy.deepcopy(wiring.patience), torch.zeros_like(waited_K, dtype=torch.bool)
    for look in range(max((int(looks) for looks in asked if looks < math.inf), default=0) + 2):
        waited_K[dry.look(worse_K) & torch.isinf(waited_K)] = look
    yield AuditedProperty(key="stop_patience", asked=asked, found=waited_K.tolist())


def _clipping(wiring: BuiltPack, courses: Sequence[Schedule]) -> Iterator[AuditedProperty]:
    """What reaches the rule, whichever it is, of a very large gradient, and the momentum it is told."""
    configs, size = wiring.configs, wiring.params_KP.shape[1]
    names = [OPTIMIZER.level(c.levels["optimizer"]).build.momentum_number for c in configs]
    kept: list[float] = []
    told: list[float | None] = []

    def seen(params: Tensor, grads: Tensor, state: dict[str, Tensor], now: Step) -> None:
        """Rules come one after the other, in the order of their rows."""
        kept.extend((grads.mean(1) * math.sqrt(size) / LARGE).tolist())
        for row in range(len(params)):
            name = names[len(told)]
            number = torch.as_tensor(now.numbers.get(name, math.nan) if name else math.nan).flatten()
            told.append(float(number[row if len(number) > 1 else 0]) if name else None)

    zeros_KP, dry = torch.zeros_like(wiring.params_KP), wiring.updates.rehearsal(seen)
    move(dry, 0, zeros_KP, torch.full_like(zeros_KP, LARGE / math.sqrt(size)))
    yield AuditedProperty(
        key="clipping", asked=[_kept(c, size) for c in configs], found=list(kept), near=5e-3
    )
    if not any(names):
        return
    for when, step in (("first", 0), ("middle", configs[0].setting.steps // 2)):
        if step:
            told.clear()
            move(dry, step, zeros_KP, torch.zeros_like(zeros_KP))
        three = zip(configs, courses, names, strict=True)
        asked = [None if name is None else _momentum(c, s, name, step) for c, s, name in three]
        yield AuditedProperty(key=f"momentum_number.{when}", asked=asked, found=list(told))


def _momentum(config: Config, course: Schedule, name: str, step: int) -> float:
    """The momentum asked for at that step, cycled or not."""
    return float(config.numbers[name] if course.momentum is None else course.momentum[step])


def _kept(config: Config, size: int) -> float:
    """Share of a gradient of norm `LARGE` with equal entries that the asked clipping leaves."""
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


def _plain(wiring: BuiltPack, courses: Sequence[Schedule], rates_TK: Tensor) -> Iterator[AuditedProperty]:
    """What the SGD family makes of its momentum, from two dry steps that begin at zero."""
    configs = wiring.configs
    rules = [config.levels["optimizer"] for config in configs]
    steps = len(rates_TK)
    step = min(steps // 2, max(steps - 2, 0))
    size = wiring.params_KP.shape[1]

    def moved(times: int) -> list[float]:
        """Mean change [K] in units of the gradient, of the last of so many steps with equal gradients."""
        dry, params_KP = wiring.updates.rehearsal(), torch.zeros_like(wiring.params_KP)
        for i in range(times):
            params_KP.zero_()  # there is nothing to decay at zero
            move(dry, step + i, params_KP, torch.full_like(params_KP, SMALL / math.sqrt(size)))
        change_K = -params_KP.mean(1).double() * math.sqrt(size) / SMALL
        found: list[float] = (change_K / rates_TK[step + times - 1]).tolist()
        return found

    asked: dict[str, list[float | None]] = {
        "momentum": [None] * len(rules),
        "gradient_share": [None] * len(rules),
    }
    found: dict[str, list[float | None]] = {key: list(nobody) for key, nobody in asked.items()}
    for rule in sorted({*rules} & {*PLAIN}):
        ahead = {"nesterov": 0, "momentum": 1}.get(rule)
        if ahead is not None and step + ahead >= steps:
            ahead = None
        now = moved(1 + (ahead or 0))
        for k in (k for k, own in enumerate(rules) if own == rule):
            if ahead is None:
                asked["gradient_share"][k], found["gradient_share"][k] = 1.0, now[k]
            else:
                asked["momentum"][k] = _momentum(configs[k], courses[k], "momentum", step + ahead)
                found["momentum"][k] = now[k] - 1
    for key, least in (("momentum", 2e-3), ("gradient_share", 1e-9)):
        if any(number is not None for number in asked[key]):
            yield AuditedProperty(key=key, asked=asked[key], found=found[key], least=least)


def _rules(wiring: BuiltPack, together_KP: Tensor) -> AuditedProperty:
    """Whether every member of a pack with several rules follows the one that it asks for.

    What two dry steps of the pack have changed, against those of packs of one rule each.
    """
    asked = [config.levels["optimizer"] for config in wiring.configs]
    found = list(asked)
    for rule in sorted(set(asked)):
        who = [k for k, own in enumerate(asked) if own == rule]
        configs, rows_RP = [wiring.configs[k] for k in who], wiring.params_KP[who]
        apart_RP = _pushed(wiring, Updates(configs, wiring.network.parameters, rows_RP), who)
        for k, same in zip(who, _agree(apart_RP, together_KP[who]), strict=True):
            found[k] = rule if same else f"not {rule}"
    return AuditedProperty(key="optimizer", asked=asked, found=found)


def _pushed(wiring: BuiltPack, updates: Updates, who: list[int]) -> Tensor:
    """How far two steps with random gradients, one of them large, take those members [R, P]."""
    rows_RP, draws = wiring.params_KP[who], torch.Generator().manual_seed(0)
    moved_RP, size = rows_RP.clone(), rows_RP.shape[1]
    for step, norm in enumerate((LARGE, 1.0)[: len(wiring.updates.pace.rate_TK1)]):
        push = torch.randn(size, generator=draws).to(rows_RP) * norm / math.sqrt(size)
        move(updates, step, moved_RP, push.expand_as(rows_RP).clone())
    return moved_RP - rows_RP


def _agree(a_RP: Tensor, b_RP: Tensor) -> list[bool]:
    """Which members were moved alike."""
    apart_R, size_R = (torch.linalg.vector_norm(rows, dim=1) for rows in (a_RP - b_RP, a_RP))
    same: list[bool] = (apart_R <= 1e-3 * size_R + 1e-12).tolist()
    return same


def _alone(wiring: BuiltPack, together_KP: Tensor) -> AuditedProperty:
    """Whether two dry steps have moved a member as they would move it alone: it has nobody else's numbers.

    A few members stand for the pack; all together took 6 % of the time.
    """
    count = len(wiring.configs)
    same = [True] * count
    for k in sampled(count):
        own = Updates([wiring.configs[k]], wiring.network.parameters, wiring.params_KP[k : k + 1])
        (same[k],) = _agree(_pushed(wiring, own, [k]), together_KP[k : k + 1])
    return AuditedProperty(key="updates_as_alone", asked=[True] * count, found=same)
