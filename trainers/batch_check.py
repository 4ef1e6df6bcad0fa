"""The single-batch check: did the scaling of the inputs work? Looked at where the network gets them."""

from __future__ import annotations

from dataclasses import dataclass

from trainers.feed import Feed


@dataclass(frozen=True, kw_only=True)
class BatchCheck:
    """Statistics of one batch over all its items and features, after scaling.

    z-scored items have a mean near 0 and an SD near 1; items in [-1, 1] say so by their limits.
    """

    mean: float
    sd: float
    """Of n, not n - 1."""
    low: float
    high: float


def single_batch_check(feed: Feed) -> list[BatchCheck]:
    """The first training batch of every member, in their order (document 002)."""
    x_KBF, _ = feed.batch(0)
    return [
        BatchCheck(
            mean=float(x.mean()),
            sd=float(x.std(correction=0)),
            low=float(x.min()),
            high=float(x.max()),
        )
        for x in x_KBF
    ]
