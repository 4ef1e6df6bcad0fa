"""What a finished member gives for held-out items: how sure it is, how often it is right, what is dead.

Shape letters: K members, V held-out items, C classes, F units.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as functional
from torch import Tensor

BINS = 15
"""Equal bins of confidence, as in Guo et al. 2017, arXiv:1706.04599."""


@dataclass
class HeldOutView:
    """A watch that keeps the outputs of all chunks, and the span of every hidden unit over the items."""

    units: bool = False
    """Keep the spans too."""
    outputs: list[Tensor] = field(default_factory=list)
    spans: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    """Hidden layer -> smallest and largest value [K, F] of each unit so far."""

    def __call__(self, name: str, z: Tensor) -> Tensor:
        """Takes note of `z`; for `Pass.watch`."""
        if name == "output":
            self.outputs.append(z.float())
        elif self.units and name.startswith("hidden"):
            places = tuple(range(1, z.ndim - 1))
            low, high = z.amin(places), z.amax(places)
            if name in self.spans:
                low = torch.minimum(low, self.spans[name][0])
                high = torch.maximum(high, self.spans[name][1])
            self.spans[name] = (low, high)
        return z

    def dead_units(self) -> Tensor | None:
        """Share [K] of the hidden units that gave one value only; None for a network that shows none."""
        if not self.spans:
            return None
        same = torch.cat([low == high for low, high in self.spans.values()], dim=1)
        return same.float().mean(1)

    def calibration(self, y_KV: Tensor) -> tuple[Tensor, Tensor] | None:
        """Negative log-likelihood and calibration error [K]; None for a network that shows no outputs."""
        if not self.outputs:
            return None
        return calibration(torch.cat(self.outputs, dim=1), y_KV)


def calibration(scores_KVC: Tensor, y_KV: Tensor) -> tuple[Tensor, Tensor]:
    """Mean negative log-likelihood [K] and expected calibration error [K] of class scores.

    The error is the mean over items of |accuracy - mean confidence| of their bin, for 15 equal bins of
    the largest probability: sum over bins of (share of items) * |accuracy - confidence|.
    """
    log_p = functional.log_softmax(scores_KVC.float(), dim=-1)
    nll_K = -log_p.gather(-1, y_KV[..., None]).squeeze(-1).mean(1)
    best, guess = log_p.max(-1)
    confidence = best.exp()
    surplus = confidence - (guess == y_KV).float()
    place = (confidence * BINS).ceil().clamp(1, BINS).nan_to_num(1.0).long() - 1
    sums = surplus.new_zeros(len(surplus), BINS).scatter_add_(1, place, surplus)
    return nll_K, sums.abs().sum(1) / y_KV.shape[1]


def trivial_loss(y_KV: Tensor, classes: int | None) -> Tensor:
    """Loss [K] of the predictor that ignores x: entropy of the classes' shares, or the variance."""
    if classes is None:
        return y_KV.float().var(1, correction=0)
    shares = functional.one_hot(y_KV, classes).float().mean(1)
    entropy: Tensor = torch.special.entr(shares).sum(1)
    return entropy
