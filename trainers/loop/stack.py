"""The tensors of those members of a pack that still train; it narrows as others end.

Shape letters: K members of the pack, S members of the stack, P flat parameters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from search_spaces.activations import ACTIVATION
from search_spaces.config import Config
from search_spaces.normalizations import NORMALIZATION
from trainers.networks import Network, network_of_rows
from trainers.tensors.member_columns import MemberColumns

MIN_MEMBERS = 2
"""Members a stack is never narrowed below: a batched product of one matrix may differ in its last bit."""

WORTHWHILE = 8
"""A stack is narrowed when one in so many of its members has ended: it copies all that is left."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Stack:
    """Members that go through the network together, one row each."""

    network: Network
    configs: Sequence[Config]
    rows_S: Tensor
    """Their places in the pack, ascending."""
    params_SP: Tensor
    buffers_SP: Tensor

    @cached_property
    def grads_SP(self) -> Tensor:
        return torch.zeros_like(self.params_SP)

    @cached_property
    def gradients(self) -> dict[str, Tensor]:
        """Where each parameter's gradient lies in `grads_SP`."""
        return self.network.parameters.views(self.grads_SP)

    @cached_property
    def _gaps(self) -> Tensor:
        return torch.tensor(self.network.parameters.gaps, dtype=torch.long, device=self.grads_SP.device)

    def clear_gaps(self) -> None:
        """Zero where `grads_SP` has no gradient: update rules use it up, and read all of it."""
        if len(self._gaps):
            self.grads_SP.index_fill_(1, self._gaps, 0.0)

    @cached_property
    def leaves(self) -> dict[str, Tensor]:
        """Parameters whose gradients accumulate in `grads_SP`."""
        return self.network.parameters.leaves(self.params_SP, self.grads_SP)

    @cached_property
    def parameters(self) -> dict[str, Tensor]:
        """The same without gradients."""
        return self.network.parameters.views(self.params_SP)

    @cached_property
    def buffers(self) -> dict[str, Tensor]:
        return self.network.buffers.views(self.buffers_SP)

    @cached_property
    def numbers(self) -> dict[str, Tensor]:
        """Numbers of activations and norms, [S, 1, 1] each; NaN for members without such a number."""
        norms = NORMALIZATION.level(self.configs[0].levels["normalization"]).ranges
        activations = {c.levels["activation"] for c in self.configs}
        ranges = [r for name in activations for r in ACTIVATION.level(name).ranges]
        columns = MemberColumns(
            configs=self.configs, dtype=self.params_SP.dtype, device=self.params_SP.device
        )
        return {
            name: columns.of([c.numbers.get(name, math.nan) for c in self.configs], trailing=2)
            for name in sorted({r.name for r in (*ranges, *norms)})
        }

    def holding(self, params_SP: Tensor, buffers_SP: Tensor) -> Stack:
        """The same members with copies of other parameters and buffers."""
        return Stack(
            network=self.network,
            configs=self.configs,
            rows_S=self.rows_S,
            params_SP=params_SP.clone(),
            buffers_SP=buffers_SP.clone(),
        )

    def leaving(self, training_K: Tensor) -> Tensor | None:
        """Which rows [new S] to narrow to when only `training_K` go on; None: not worth it."""
        goes_on_S = training_K[self.rows_S]
        ended = int((~goes_on_S).sum())
        if len(self.rows_S) <= MIN_MEMBERS or ended * WORTHWHILE < len(self.rows_S):
            return None
        # One that has ended keeps the last one company.
        spare_S = (~goes_on_S).cumsum(0) <= max(0, MIN_MEMBERS - (len(self.rows_S) - ended))
        return torch.nonzero(goes_on_S | spare_S).squeeze(1)

    def narrowed(self, kept_S: Tensor) -> Stack:
        """Only the rows `kept_S`."""
        rows = kept_S.tolist()
        return Stack(
            network=network_of_rows(self.network, rows),
            configs=[self.configs[k] for k in rows],
            rows_S=self.rows_S[kept_S],
            params_SP=self.params_SP[kept_S],
            buffers_SP=self.buffers_SP[kept_S],
        )

    def spread(self, values_S: Tensor, count: int, fill: float) -> Tensor:
        """Values [S, ...] at their places among `count` members [K, ...], the others `fill`."""
        if len(values_S) == count:
            return values_S
        values_K = values_S.new_full((count, *values_S.shape[1:]), fill)
        values_K[self.rows_S] = values_S
        return values_K
