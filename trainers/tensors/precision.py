"""Number formats: full precision, or torch's autocast with scaled losses for float16.

Shape letters: K members, P flat parameters.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from search_spaces.config import Precision

FIRST_SCALE, LEAST_SCALE = 2.0**16, 1.0
GROWTH, BACKOFF, GROWTH_INTERVAL = 2.0, 0.5, 2000
"""As torch.amp.GradScaler, whose scale is doubled after so many steps without an overflow."""


def element_type(precision: Precision) -> torch.dtype:
    """What parameters, gradients and optimizer state are kept in."""
    return torch.float64 if precision == "float64" else torch.float32


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Forward passes run in it: torch's autocast for the 16-bit formats, nothing for the others."""
    if precision in ("bfloat16", "float16"):
        return torch.autocast(device.type, dtype=getattr(torch, precision))
    return nullcontext()


class LossScale:
    """Keeps float16 gradients from vanishing: losses are multiplied, gradients divided again.

    Each member has a scale of its own, with the rule of torch.amp.GradScaler: a member whose gradients
    are not finite skips the step and halves its scale.
    """

    def __init__(self, count: int, device: torch.device):
        self.scale_K = torch.full((count,), FIRST_SCALE, device=device)
        self._clean_K = torch.zeros(count, device=device)

    def unscale(self, grads_KP: Tensor) -> Tensor:
        """Divides the gradients in place; which members [K] overflowed."""
        grads_KP.div_(self.scale_K[:, None])
        return ~torch.isfinite(grads_KP).all(dim=1)

    def narrowed(self, kept: Tensor) -> LossScale:
        """For the members `kept` alone."""
        scale = LossScale(len(kept), self.scale_K.device)
        scale.scale_K, scale._clean_K = self.scale_K[kept], self._clean_K[kept]
        return scale

    def learn(self, overflowed_K: Tensor) -> None:
        """Adapts the scales to what this step showed."""
        self._clean_K = torch.where(overflowed_K, 0.0, self._clean_K + 1)
        grown_K = self._clean_K >= GROWTH_INTERVAL
        self._clean_K = torch.where(grown_K, 0.0, self._clean_K)
        factor_K = torch.where(overflowed_K, BACKOFF, torch.where(grown_K, GROWTH, 1.0))
        self.scale_K = (self.scale_K * factor_K).clamp_min(LEAST_SCALE)
