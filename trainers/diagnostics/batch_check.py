"""The single-batch check: did the scaling of the inputs work? Looked at where the network gets them.

Shape letters: K members, B items, F features.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class BatchCheck:
    """Statistics of every member's batch over all its items and features, after scaling.

    z-scored items have a mean near 0 and an SD near 1; items in [-1, 1] say so by their limits.
    """

    mean_K: Tensor
    sd_K: Tensor
    """Of n, not n - 1."""
    low_K: Tensor
    high_K: Tensor


def single_batch_check(x_KBF: Tensor) -> BatchCheck:
    """What document 002 looks at in one batch before training, here the first."""
    rows = x_KBF.detach().flatten(1)
    return BatchCheck(
        mean_K=rows.mean(1), sd_K=rows.std(1, correction=0), low_K=rows.amin(1), high_K=rows.amax(1)
    )
