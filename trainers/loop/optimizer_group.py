"""One update rule of a pack: the rows that follow it, their numbers, and what it keeps of them between steps.

Shape letters: K members of the pack, R members that follow the rule, P flat parameters.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from search_spaces.config import Config
from search_spaces.optimizers import OPTIMIZER, Step
from search_spaces.optimizers.rule import Apply, Fused, State
from search_spaces.parts import TensorSpan
from trainers.tensors.groups import Group
from trainers.tensors.member_columns import MemberColumns


class OptimizerGroup:
    """Neighbours in a pack that follow one rule."""

    def __init__(self, group: Group, configs: Sequence[Config], params_KP: Tensor):
        """`group` says which of the pack's `configs` and `params_KP` they are."""
        self.level, self.rows = group.level, group.rows
        own_configs, rows_RP = configs[self.rows], params_KP[self.rows]
        optimizer = OPTIMIZER.level(group.level)
        self._rule = optimizer.build
        self._keep({name: torch.zeros_like(rows_RP) for name in self._rule.buffers})
        apart = {"learning_rate", "weight_decay"}
        own = [r for r in optimizer.ranges if r.name not in apart]
        columns = MemberColumns(configs=own_configs, dtype=rows_RP.dtype, device=rows_RP.device)
        self._numbers: Mapping[str, Tensor] = columns.numbers(own, trailing=1)
        self._own_numbers = [{r.name: c.numbers[r.name] for r in own} for c in own_configs]

    @property
    def state(self) -> State:
        """What the rule keeps between steps, name -> [R, P]."""
        return self._state

    def inherit(self, earlier: Sequence[OptimizerGroup], kept: Tensor) -> None:
        """What was kept of these members by the `earlier` rules of the pack, whose rows `kept` are left."""
        places = kept[self.rows]
        sources = [e for e in earlier if e.level == self.level]
        within = [places[(places >= e.rows.start) & (places < e.rows.stop)] - e.rows.start for e in sources]
        self._keep(
            {
                name: torch.cat([e.state[name][own] for e, own in zip(sources, within, strict=True)])
                for name in self._state
            }
        )

    def rehearsal(self, apply: Apply | None) -> OptimizerGroup:
        """The same with a state of its own; `apply` sees what the rule would see."""
        twin = copy.copy(self)
        twin._keep({name: tensor.clone() for name, tensor in self._state.items()})
        if apply is not None:
            twin._rule = dataclasses.replace(self._rule, apply=apply, fused=None, measure=None)
        return twin

    def measure(self, params_KP: Tensor, parts: Sequence[TensorSpan]) -> Tensor | None:
        """What the rule wants to know of the pack's parameters before they decay."""
        measure = self._rule.measure
        return None if measure is None else measure(params_KP[self.rows], parts)

    def step(
        self,
        number: int,
        params_KP: Tensor,
        grads_KP: Tensor,
        rate_K1: Tensor,
        momentum_K1: Tensor | None,
        parts: Sequence[TensorSpan],
        sizes: Tensor | None,
    ) -> None:
        """The rule's step on its rows of the pack's, in place.

        Args:
            number: of the step, counted from 1.
            params_KP: of the whole pack.
            grads_KP: of the whole pack; these rows are used up.
            rate_K1: learning rates.
            momentum_K1: where schedules cycle it.
            parts: the tensors in a row.
            sizes: what was `measured` before the step.
        """
        params_RP, grads_RP, rate_R1 = params_KP[self.rows], grads_KP[self.rows], rate_K1[self.rows]
        name = self._rule.momentum_number
        momentum_R1 = None if momentum_K1 is None or name is None else momentum_K1[self.rows]
        if self._rule.fused is not None and params_KP.device.type == "cpu":
            self._one_by_one(self._rule.fused, number, params_RP, grads_RP, rate_R1, momentum_R1)
            return
        numbers = self._numbers
        if momentum_R1 is not None and name is not None:
            numbers = {**numbers, name: momentum_R1}
        now = Step(number=number, learning_rate=rate_R1, numbers=numbers, parts=parts, sizes=sizes)
        self._rule.apply(params_RP, grads_RP, self._state, now)

    def _one_by_one(
        self,
        fused: Fused,
        number: int,
        params_RP: Tensor,
        grads_RP: Tensor,
        rate_R1: Tensor,
        momentum_R1: Tensor | None,
    ) -> None:
        """Each member's rows are read once and are still in the cache when they are written."""
        count, rates = torch.tensor(float(number)), rate_R1.flatten().tolist()
        own, name = self._own_numbers, self._rule.momentum_number
        if momentum_R1 is not None and name is not None:
            cycled = momentum_R1.flatten().tolist()
            own = [{**row, name: now} for row, now in zip(own, cycled, strict=True)]
        members = zip(params_RP.unbind(), grads_RP.unbind(), self._state_rows, rates, own, strict=True)
        for params_P, grads_P, state, rate, numbers in members:
            fused(params_P, grads_P, state, count, rate, numbers)

    def _keep(self, state: State) -> None:
        """The rule's state [R, P], and each member's part of it."""
        self._state = state
        rows = zip(*(tensor.unbind() for tensor in state.values()), strict=True)
        self._state_rows = [dict(zip(state, row, strict=True)) for row in rows]
