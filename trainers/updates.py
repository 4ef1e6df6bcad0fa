"""What turns a pack's gradients into its next parameters: clipping, decay, schedule, update rule.

Shape letters: K members, P flat parameters, T steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from search_spaces.clipping import CLIPPING
from search_spaces.config import Config
from search_spaces.optimizers import OPTIMIZER
from search_spaces.schedules import SCHEDULE, Schedule
from search_spaces.space import decay_kind
from trainers.columns import Columns
from trainers.layout import Layout


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Per-member step sizes over time."""

    rate_TK1: Tensor
    """Learning rate after schedule, before performance scheduling."""
    momentum_TK1: Tensor | None
    """Where a schedule cycles momentum."""
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
        self._state = {name: torch.zeros_like(params_KP) for name in self._rule.buffers}
        apart = {"learning_rate", "weight_decay"}
        own = [r for r in optimizer.ranges if r.name not in apart]
        self._numbers: Mapping[str, Tensor] = self._columns.numbers(own, trailing=1)
        self.pace = self._pace()
        self._coupled_K1 = self._decay("coupled")
        self._decoupled_K1 = self._decay("decoupled")
        self._clips = self._clipping()

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

    def _move(self, step: int, params_KP: Tensor, grads_KP: Tensor, scale_K: Tensor) -> None:
        rate_K1 = self.pace.rate_TK1[step] * scale_K[:, None]
        for clip in self._clips:
            grads_KP = clip(grads_KP)
        if self._coupled_K1 is not None:
            grads_KP = grads_KP.addcmul_(params_KP, self._coupled_K1)
        if self._decoupled_K1 is not None:
            params_KP.mul_(1 - rate_K1 * self._decoupled_K1)
        numbers = self._numbers
        if self.pace.momentum_TK1 is not None and self._rule.momentum_number is not None:
            numbers = {**numbers, self._rule.momentum_number: self.pace.momentum_TK1[step]}
        self._rule.apply(
            params_KP, grads_KP, self._state, step=step + 1, learning_rate=rate_K1, numbers=numbers
        )

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
            momentum = self._table(np.stack(rows, axis=1))
        return Pace(
            rate_TK1=self._table(rates),
            momentum_TK1=momentum,
            patience_K=self._columns.of([s.patience for s in schedules], trailing=0),
            factor_K=self._columns.of([s.factor for s in schedules], trailing=0),
        )

    def _table(self, values_TK: NDArray[np.float64]) -> Tensor:
        return torch.from_numpy(values_TK).to(self._columns.device, self._columns.dtype).unsqueeze(-1)

    def _decay(self, kind: str) -> Tensor | None:
        """Decay strengths [K, 1] of that kind; None where nobody has it."""
        strengths = [
            c.numbers["weight_decay"] if decay_kind(c.levels) == kind else 0.0 for c in self._configs
        ]
        return self._columns.of(strengths, trailing=1) if any(strengths) else None

    def _clipping(self) -> list[Callable[[Tensor], Tensor]]:
        """Every clipping rule somebody uses; members without it get an infinite threshold."""
        rules: list[Callable[[Tensor], Tensor]] = []
        for level in CLIPPING.levels:
            uses = [c.levels["clipping"] == level.name for c in self._configs]
            if level.build is None or not any(uses):
                continue
            numbers = {
                r.name: self._columns.of(
                    [c.numbers[r.name] if u else math.inf for c, u in zip(self._configs, uses, strict=True)],
                    trailing=1,
                )
                for r in level.ranges
            }
            rules.append(partial(level.build, **numbers))
        return rules


def schedule(config: Config) -> Schedule:
    """The learning rate's course that a config describes."""
    level = SCHEDULE.level(config.levels["schedule"])
    return level.build(config.setting.steps, **{r.name: config.numbers[r.name] for r in level.ranges})
