"""1cycle schedules: up to the peak and down again, momentum the other way."""

from __future__ import annotations

import numpy as np

from search_spaces.schedules.schedule import Schedule, Table

RISE_SHARE = 0.3
"""Share of the steps in which a 1cycle's rate rises (pct_start)."""
START_DIVISOR = 25.0
"""A 1cycle starts at peak / 25 (div_factor)."""
END_DIVISOR = 1e4
"""A 1cycle ends at its start / 10000 (final_div_factor)."""
HIGH_MOMENTUM, LOW_MOMENTUM = 0.95, 0.85
"""A 1cycle's momentum at its lowest and its highest rate."""


def one_cycle(steps: int) -> Schedule:
    """Up to the peak and far below the start again, with momentum going the other way.

    torch's OneCycleLR as it comes: two phases with cosine annealing. The notes and the paper describe
    a linear rise and fall with a last drop (three_phase=True, anneal_strategy='linear').
    """
    t = np.arange(steps)
    top, last = RISE_SHARE * steps - 1, steps - 1
    rising = t <= top
    share = np.where(rising, t / top, (t - top) / (last - top))

    def between(start: float, peak: float, end: float) -> Table:
        rise = peak + (start - peak) / 2 * (1 + np.cos(np.pi * share))
        fall = end + (peak - end) / 2 * (1 + np.cos(np.pi * share))
        return np.where(rising, rise, fall)

    start = 1 / START_DIVISOR
    return Schedule(
        multiplier=between(start, 1.0, start / END_DIVISOR),
        momentum=between(HIGH_MOMENTUM, LOW_MOMENTUM, HIGH_MOMENTUM),
    )


LINEAR_RISE_SHARE = 0.45
"""Share of the steps of the linear 1cycle's rise, and of its fall; the last tenth is the drop."""


def one_cycle_linear(steps: int) -> Schedule:
    """Up to the peak and back in straight lines of equal length, then far below the start.

    torch's OneCycleLR(three_phase=True, anneal_strategy='linear', pct_start=0.45), the form that 001, 004
    and the paper describe; momentum goes the other way and stays high in the last phase.
    """
    t = np.arange(steps)
    top, back, last = LINEAR_RISE_SHARE * steps - 1, 2 * LINEAR_RISE_SHARE * steps - 2, steps - 1

    def through(start: float, peak: float, end: float) -> Table:
        rise = start + (peak - start) * t / top
        fall = peak + (start - peak) * (t - top) / (back - top)
        drop = start + (end - start) * (t - back) / (last - back)
        return np.where(t <= top, rise, np.where(t <= back, fall, drop))

    start = 1 / START_DIVISOR
    return Schedule(
        multiplier=through(start, 1.0, start / END_DIVISOR),
        momentum=through(HIGH_MOMENTUM, LOW_MOMENTUM, HIGH_MOMENTUM),
    )


def one_cycle_fixed_momentum(steps: int) -> Schedule:
    """As one_cycle, with the optimizer's own momentum throughout: torch's cycle_momentum=False."""
    return Schedule(multiplier=one_cycle(steps).multiplier)
