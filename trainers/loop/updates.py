"""From a pack's gradients to its next parameters: clipping, decay, schedule, update rule, constraint.

Shape letters: K members, P flat parameters, T steps.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
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
from search_spaces.optimizers import OPTIMIZER
from search_spaces.optimizers.rule import Apply
from search_spaces.parts import TensorSpan
from search_spaces.schedules import SCHEDULE, WARMUP, Schedule
from search_spaces.weight_constraints import WEIGHT_CONSTRAINT
from trainers.loop.decay import Decay
from trainers.loop.optimizer_group import OptimizerGroup
from trainers.tensors.groups import groups
from trainers.tensors.layout import Layout
from trainers.tensors.member_columns import MemberColumns


@dataclass(frozen=True, kw_only=True)
class StepSchedule:
    """Per-member step sizes over time."""

    rate_TK1: Tensor
    """Learning rate after schedule, before performance scheduling."""
    momentum_TK1: Tensor | None
    """Where a schedule cycles momentum; in float64, as the numbers of a config are. NaN for members whose
    update rule has none."""
    patience_K: Tensor
    factor_K: Tensor


class Updates:
    """Everything between the gradients of a pack and its next parameters, in torch's order."""

    def __init__(self, configs: Sequence[Config], layout: Layout, params_KP: Tensor):
        """`layout` says which segments of a row are weights, biases and norm parameters."""
        self._configs, self._layout = configs, layout
        self._columns = MemberColumns(configs=configs, dtype=params_KP.dtype, device=params_KP.device)
        self.groups = [
            OptimizerGroup(group, configs, params_KP)
            for group in groups([c.levels["optimizer"] for c in configs])
        ]
        """Neighbours that follow one update rule; all other steps are one for the whole pack."""
        self.schedules = self._schedules()
        self._decay = Decay(configs, layout, self._columns)
        self._clips = self._clipping()
        self._constraints = self._constraining()

    def narrowed(self, kept: Tensor, params_KP: Tensor) -> Updates:
        """For the members `kept` alone, whose rows are now `params_KP`; what they have learned stays."""
        updates = Updates([self._configs[k] for k in kept.tolist()], self._layout, params_KP)
        for group in updates.groups:
            group.inherit(self.groups, kept)
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
        spared = []
        if skipped_K is not None:
            kept = [(rows, skipped_K[r.rows]) for r in self.groups for rows in r.state.values()]
            spared = [(rows, which, rows[which]) for rows, which in [(params_KP, skipped_K), *kept]]
        self._update(step, params_KP, grads_KP, scale_K)
        for rows, which, before in spared:
            rows[which] = before

    def rehearsal(self, apply: Apply | None = None) -> Updates:
        """These updates with a state of their own, to be tried dry.

        Where `apply` is given, it sees what each of the rules would see, those of the first rows first.
        """
        twin = copy.copy(self)
        twin.groups = [group.rehearsal(apply) for group in self.groups]
        return twin

    def _update(self, step: int, params_KP: Tensor, grads_KP: Tensor, scale_K: Tensor) -> None:
        rate_K1 = self.schedules.rate_TK1[step] * scale_K[:, None]
        self._decay.add_penalty(params_KP, grads_KP)
        for clip in self._clips:
            grads_KP = clip(grads_KP)
        self._decay.add_coupled(params_KP, grads_KP)
        parts = self._layout.segments
        sizes = [group.measure(params_KP, parts) for group in self.groups]
        self._decay.shrink(params_KP, rate_K1)
        momentum_K1 = None if self.schedules.momentum_TK1 is None else self.schedules.momentum_TK1[step]
        for group, size in zip(self.groups, sizes, strict=True):
            group.step(step + 1, params_KP, grads_KP, rate_K1, momentum_K1, parts, size)
        for constrain in self._constraints:
            constrain(params_KP, parts)

    def _schedules(self) -> StepSchedule:
        schedules = [schedule(c) for c in self._configs]
        peaks = np.array([c.numbers["learning_rate"] for c in self._configs])
        rates = np.stack([s.multiplier for s in schedules], axis=1) * peaks
        names = [OPTIMIZER.level(c.levels["optimizer"]).build.momentum_number for c in self._configs]
        momentum = None
        if any(n is not None and s.momentum is not None for n, s in zip(names, schedules, strict=True)):
            rows = [_momentum(*one, len(rates)) for one in zip(self._configs, names, schedules, strict=True)]
            momentum = torch.from_numpy(np.stack(rows, axis=1)).to(self._columns.device).unsqueeze(-1)
        return StepSchedule(
            rate_TK1=self._table(rates),
            momentum_TK1=momentum,
            patience_K=self._columns.of([s.patience for s in schedules], trailing=0),
            factor_K=self._columns.of([s.factor for s in schedules], trailing=0),
        )

    def _table(self, values_TK: NDArray[np.float64]) -> Tensor:
        return torch.from_numpy(values_TK).to(self._columns.device, self._columns.dtype).unsqueeze(-1)

    def _clipping(self) -> list[Callable[[Tensor], Tensor]]:
        """The clipping rules that members use; a member without one has an infinite threshold."""
        return [
            partial(level.build, **self._limits("clipping", level))
            for level in CLIPPING.levels
            if level.build is not None and self._used("clipping", level)
        ]

    def _constraining(self) -> list[Callable[[Tensor, Sequence[TensorSpan]], None]]:
        """The weight constraints that members use; a member without one has an infinite limit."""
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


def _momentum(config: Config, name: str | None, course: Schedule, steps: int) -> NDArray[np.float64]:
    """The number `name` of one member's rule at every step, cycled or not; NaN where it has none."""
    if name is not None and course.momentum is not None:
        return course.momentum
    return np.full(steps, math.nan if name is None else config.numbers[name])
