"""What turns a pack's gradients into its next parameters: clipping, decay, schedule, update rule.

Shape letters: K members, P flat parameters, T steps.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from search_spaces.clipping import CLIPPING
from search_spaces.config import Config
from search_spaces.factor import Level
from search_spaces.optimizers import OPTIMIZER, Step
from search_spaces.optimizers.rule import Apply, Fused, State
from search_spaces.parts import Part
from search_spaces.schedules import SCHEDULE, WARMUP, Schedule
from search_spaces.weight_constraints import WEIGHT_CONSTRAINT
from trainers.columns import Columns
from trainers.decay import Decay
from trainers.layout import Layout


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Per-member step sizes over time."""

    rate_TK1: Tensor
    """Learning rate after schedule, before performance scheduling."""
    momentum_TK1: Tensor | None
    """Where a schedule cycles momentum; in float64, as the numbers of a config are."""
    patience_K: Tensor
    factor_K: Tensor


class Updates:
    """Everything between the gradients of a pack and its next parameters, in torch's order."""

    def __init__(self, configs: Sequence[Config], layout: Layout, params_KP: Tensor):
        """`layout` says which segments of a row are weights, biases and norm parameters."""
        self._configs, self._layout = configs, layout
        self._columns = Columns(configs=configs, dtype=params_KP.dtype, device=params_KP.device)
        optimizer = OPTIMIZER.level(configs[0].levels["optimizer"])
        self._rule = optimizer.build
        self._keep({name: torch.zeros_like(params_KP) for name in self._rule.buffers})
        apart = {"learning_rate", "weight_decay"}
        own = [r for r in optimizer.ranges if r.name not in apart]
        self._numbers: Mapping[str, Tensor] = self._columns.numbers(own, trailing=1)
        self._own_numbers = [{r.name: c.numbers[r.name] for r in own} for c in configs]
        self.pace = self._pace()
        self._decay = Decay(configs, layout, self._columns)
        self._clips = self._clipping()
        self._constraints = self._constraining()

    def narrowed(self, kept: Tensor, params_KP: Tensor) -> Updates:
        """For the members `kept` alone, whose rows are now `params_KP`; what they have learned stays."""
        updates = Updates([self._configs[k] for k in kept.tolist()], self._layout, params_KP)
        updates._keep({name: rows[kept] for name, rows in self._state.items()})
        return updates

    def step(
        self,
        step: int,
        params_KP: Tensor,
        grads_KP: Tensor,
        scale_K: Tensor,
        skipped_K: Tensor | None = None,
    ) -> None:
        """The update of the 0-based step, in place on parameters and state; `grads_KP` is used up.

        Args:
            step: which one.
            params_KP: the members' rows.
            grads_KP: of the same shape.
            scale_K: what performance scheduling multiplies the learning rate by.
            skipped_K: members that this step leaves as they are.
        """
        rows = [params_KP, *self._state.values()]
        spared = [] if skipped_K is None else [row[skipped_K] for row in rows]
        self._move(step, params_KP, grads_KP, scale_K)
        for row, before in zip(rows, spared, strict=False):
            row[skipped_K] = before

    def rehearsal(self, apply: Apply | None = None) -> Updates:
        """These updates with a state of their own, to be tried dry; `apply` sees what the rule would see."""
        twin = copy.copy(self)
        twin._keep({name: tensor.clone() for name, tensor in self._state.items()})
        if apply is not None:
            twin._rule = dataclasses.replace(self._rule, apply=apply, fused=None, measure=None)
        return twin

    def _move(self, step: int, params_KP: Tensor, grads_KP: Tensor, scale_K: Tensor) -> None:
        rate_K1 = self.pace.rate_TK1[step] * scale_K[:, None]
        self._decay.add_penalty(params_KP, grads_KP)
        for clip in self._clips:
            grads_KP = clip(grads_KP)
        self._decay.add_coupled(params_KP, grads_KP)
        parts, measure = self._layout.segments, self._rule.measure
        sizes = None if measure is None else measure(params_KP, parts)
        self._decay.shrink(params_KP, rate_K1)
        momentum_K1 = None if self.pace.momentum_TK1 is None else self.pace.momentum_TK1[step]
        if self._rule.fused is not None and params_KP.device.type == "cpu":
            self._one_by_one(self._rule.fused, step + 1, params_KP, grads_KP, rate_K1, momentum_K1)
        else:
            numbers = self._numbers
            if momentum_K1 is not None and self._rule.momentum_number is not None:
                numbers = {**numbers, self._rule.momentum_number: momentum_K1}
            now = Step(number=step + 1, learning_rate=rate_K1, numbers=numbers, parts=parts, sizes=sizes)
            self._rule.apply(params_KP, grads_KP, self._state, now)
        for constrain in self._constraints:
            constrain(params_KP, parts)

    def _one_by_one(
        self,
        fused: Fused,
        number: int,
        params_KP: Tensor,
        grads_KP: Tensor,
        rate_K1: Tensor,
        momentum_K1: Tensor | None,
    ) -> None:
        """Each member's rows are read once and are still in the cache when they are written."""
        count, rates = torch.tensor(float(number)), rate_K1.flatten().tolist()
        own = self._own_numbers
        if momentum_K1 is not None and self._rule.momentum_number is not None:
            cycled = momentum_K1.flatten().tolist()
            own = [{**row, self._rule.momentum_number: now} for row, now in zip(own, cycled, strict=True)]
        members = zip(params_KP.unbind(), grads_KP.unbind(), self._state_rows, rates, own, strict=True)
        for params_P, grads_P, state, rate, numbers in members:
            fused(params_P, grads_P, state, count, rate, numbers)

    def _keep(self, state: State) -> None:
        """The rule's state [K, P], and each member's part of it."""
        self._state = state
        rows = zip(*(tensor.unbind() for tensor in state.values()), strict=True)
        self._state_rows = [dict(zip(state, row, strict=True)) for row in rows]

    def _pace(self) -> Pace:
        schedules = [schedule(c) for c in self._configs]
        peaks = np.array([c.numbers["learning_rate"] for c in self._configs])
        rates = np.stack([s.multiplier for s in schedules], axis=1) * peaks
        name = self._rule.momentum_number
        momentum = None
        if name is not None and any(s.momentum is not None for s in schedules):
            steps = len(rates)
            rows = [
                np.full(steps, c.numbers[name]) if s.momentum is None else s.momentum
                for c, s in zip(self._configs, schedules, strict=True)
            ]
            momentum = torch.from_numpy(np.stack(rows, axis=1)).to(self._columns.device).unsqueeze(-1)
        return Pace(
            rate_TK1=self._table(rates),
            momentum_TK1=momentum,
            patience_K=self._columns.of([s.patience for s in schedules], trailing=0),
            factor_K=self._columns.of([s.factor for s in schedules], trailing=0),
        )

    def _table(self, values_TK: NDArray[np.float64]) -> Tensor:
        return torch.from_numpy(values_TK).to(self._columns.device, self._columns.dtype).unsqueeze(-1)

    def _clipping(self) -> list[Callable[[Tensor], Tensor]]:
        """Every clipping rule somebody uses; members without it get an infinite threshold."""
        return [
            partial(level.build, **self._limits("clipping", level))
            for level in CLIPPING.levels
            if level.build is not None and self._used("clipping", level)
        ]

    def _constraining(self) -> list[Callable[[Tensor, Sequence[Part]], None]]:
        """Every constraint somebody's weights are under; for members without it an infinite limit."""
        return [
            partial(level.build.after_step, **self._limits("weight_constraint", level))
            for level in WEIGHT_CONSTRAINT.levels
            if level.build.after_step is not None and self._used("weight_constraint", level)
        ]

    def _used(self, factor: str, level: Level[Any]) -> bool:
        return any(c.levels[factor] == level.name for c in self._configs)

    def _limits(self, factor: str, level: Level[Any]) -> dict[str, Tensor]:
        """The level's numbers [K, 1], infinite for members with another level."""
        return {
            r.name: self._columns.of(
                [c.numbers[r.name] if c.levels[factor] == level.name else math.inf for c in self._configs],
                trailing=1,
            )
            for r in level.ranges
        }


def schedule(config: Config) -> Schedule:
    """The learning rate's course that a config describes, warm-up included."""
    course, warmup = (factor.level(config.levels[factor.name]) for factor in (SCHEDULE, WARMUP))
    own, before = ({r.name: config.numbers[r.name] for r in level.ranges} for level in (course, warmup))
    return warmup.build(config.setting.steps, partial(course.build, **own), **before)
