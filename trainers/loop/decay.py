"""Decay of a pack's parameters toward zero: L1, coupled and decoupled, and of which parameters.

Shape letters: K members, P flat parameters.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from search_spaces.config import Config
from search_spaces.parts import is_weight, place
from search_spaces.regularizers import DECAY_SCOPE, DecayKind
from search_spaces.space import decay_kind
from trainers.tensors.layout import Layout
from trainers.tensors.member_columns import MemberColumns

NUMBER: dict[DecayKind, str] = {
    "l1": "l1_strength",
    "coupled": "weight_decay",
    "decoupled": "weight_decay",
}
"""Where each kind's strength is found."""


class Decay:
    """The decay of each member; kinds that no member has cost nothing."""

    def __init__(self, configs: Sequence[Config], layout: Layout, columns: MemberColumns):
        self._configs, self._columns = configs, columns
        self._strength = {kind: self._strengths(kind) for kind in NUMBER}
        self._scope_KP = self._scope(layout)

    def add_penalty(self, params_KP: Tensor, grads_KP: Tensor) -> None:
        """The gradient of an L1 penalty in the loss: before clipping."""
        strength_K1 = self._strength["l1"]
        if strength_K1 is not None:
            grads_KP.addcmul_(self._in_scope(params_KP.sign()), strength_K1)

    def add_coupled(self, params_KP: Tensor, grads_KP: Tensor) -> None:
        """torch's weight_decay of all optimizers but AdamW: after clipping."""
        strength_K1 = self._strength["coupled"]
        if strength_K1 is not None:
            grads_KP.addcmul_(self._in_scope(params_KP), strength_K1)

    def shrink(self, params_KP: Tensor, rate_K1: Tensor) -> None:
        """Decoupled decay: AdamW's, before its step."""
        strength_K1 = self._strength["decoupled"]
        if strength_K1 is not None:
            remaining = 1 - rate_K1 * strength_K1
            params_KP.mul_(
                remaining if self._scope_KP is None else torch.where(self._scope_KP > 0, remaining, 1.0)
            )

    def _in_scope(self, pull_KP: Tensor) -> Tensor:
        return pull_KP if self._scope_KP is None else pull_KP * self._scope_KP

    def _strengths(self, kind: DecayKind) -> Tensor | None:
        """Strengths [K, 1] of that kind; None: no member has it."""
        strengths = [c.numbers[NUMBER[kind]] if decay_kind(c.levels) == kind else 0.0 for c in self._configs]
        return self._columns.of(strengths, trailing=1) if any(strengths) else None

    def _scope(self, layout: Layout) -> Tensor | None:
        """1 where a member's parameter decays and 0 where not; None where all do."""
        spares = [DECAY_SCOPE.level(c.levels["decay_scope"]).build.weights_only for c in self._configs]
        if not any(spares) or not any(s is not None for s in self._strength.values()):
            return None
        weights_P = torch.zeros(layout.size, dtype=self._columns.dtype, device=self._columns.device)
        for part in layout.segments:
            if is_weight(part):
                place(weights_P, part).fill_(1)
        spares_K1 = self._columns.of([float(s) for s in spares], trailing=1)
        return torch.where(spares_K1 > 0, weights_P, 1.0)
