"""Paired comparison of levels: clipped effects in margin units, and t-bounds on them.

Axes, in this order, after any leading axes (simulated studies; a real study has none):
T task, R block, L level; F task family, the unit of inference. An effect of (i, j) says how much
worse level i is than level j, so effects[i, j] == -effects[j, i].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy
from numpy.typing import NDArray

Array = NDArray[np.float64]
Unit = Literal["families", "splits"]
"""What the uncertainty is over: families of tasks, or the data splits of these very tasks."""

CLIP = 4.0
"""Margins at which a block effect is clipped: "it fails". Unbounded, one diverged run would weigh about
180 margins and no two levels could ever be proved tied."""

FEW_FAMILIES = 8
"""Below this many families nothing is said about tasks in general, only about the tasks at hand."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Every ordered pair of levels, over tasks, in margin units; all arrays [..., L, L]."""

    mean: Array
    """Mean over families of the clipped block effects."""
    error: Array
    """Standard error of the mean."""
    lower: Array
    """One-sided lower bound at alpha / (levels * looks)."""
    upper: Array
    """One-sided upper bound at alpha / (levels * looks)."""
    interval_low: Array
    """Two-sided 95 % interval, not corrected for the number of levels or looks."""
    interval_high: Array


def compare(
    errors: Array,
    delta: Array,
    family: NDArray[np.int64],
    *,
    alpha: float,
    looks: int = 1,
    over: Unit = "families",
    overlap: Array | None = None,
) -> Comparison:
    """Compares every pair of levels.

    Args:
        errors: [..., T, R, L] test errors, in each task's own unit; lower is better.
        delta: [T] or [..., T] margins in the same units.
        family: [T] the number of each task's family, 0..F-1.
        alpha: Error rate of one decision; each bound is at alpha / (L * looks).
        looks: How often the plan allows the data to be looked at.
        over: See `Unit`.
        overlap: [T] test items per training item; needed over "splits".

    Raises:
        ValueError: over "families" with one family only, or over "splits" without `overlap`.
    """
    effects = block_effects(errors, delta)
    freedom: Array | float
    if over == "families":
        mean, error, freedom = over_families(family_effects(effects.mean(axis=-3), family))
    elif overlap is None:
        raise ValueError("intervals over splits need the test items per training item of every task")
    else:
        mean, error, freedom = over_splits(effects, family, overlap)
    return bounded(mean, error, freedom, level=alpha / (errors.shape[-1] * looks))


def bounded(mean: Array, error: Array, freedom: Array | float, *, level: float) -> Comparison:
    """Bounds at one-sided `level` and the 95 % interval, from means and standard errors [..., L, L]."""
    bound = _half(error, freedom, 1 - level)
    interval = _half(error, freedom, 0.975)
    return Comparison(
        mean=mean,
        error=error,
        lower=mean - bound,
        upper=mean + bound,
        interval_low=mean - interval,
        interval_high=mean + interval,
    )


def block_effects(errors: Array, delta: Array, clip: float = CLIP) -> Array:
    """[..., T, R, L, L]: (errors[i] - errors[j]) / delta, clipped at +-`clip` margins."""
    raw = (errors[..., :, None] - errors[..., None, :]) / delta[..., None, None, None]
    clipped: Array = np.clip(raw, -clip, clip)
    return clipped


def family_effects(task_effects: Array, family: NDArray[np.int64]) -> Array:
    """[..., F, L, L]: variants of one generator averaged into one unit, from [..., T, L, L]."""
    numbers = range(int(family.max()) + 1)
    return np.stack([task_effects[..., family == f, :, :].mean(axis=-3) for f in numbers], axis=-3)


def over_families(effects: Array) -> tuple[Array, Array, float]:
    """Mean, standard error [..., L, L] and degrees of freedom of a paired t over families.

    Equal weights: with equal within-family variances this is the Hartung-Knapp-Sidik-Jonkman interval.
    """
    families = effects.shape[-3]
    if families < 2:
        raise ValueError("an interval over task families needs at least two of them")
    error = effects.std(axis=-3, ddof=1) / np.sqrt(families)
    return effects.mean(axis=-3), error, float(families - 1)


def over_splits(effects: Array, family: NDArray[np.int64], overlap: Array) -> tuple[Array, Array, Array]:
    """Mean, standard error and degrees of freedom [..., L, L] for these tasks, over data splits.

    Blocks of one task share items, so their plain variance is too small; Nadeau and Bengio (2003)
    replace 1/R by 1/R + test items / training items. Tasks are independent; degrees of freedom by
    Welch and Satterthwaite. Where a task has a fixed test set the correction is larger than needed.

    Args:
        effects: [..., T, R, L, L] block effects. With R = 1 nothing is known: the error is inf.
        family: [T] families weigh equally, and tasks equally within one.
        overlap: [T] test items per training item.
    """
    blocks = effects.shape[-3]
    counts = np.bincount(family)
    weight = 1.0 / (len(counts) * counts[family])
    mean = (weight[:, None, None] * effects.mean(axis=-3)).sum(axis=-3)
    if blocks < 2:
        return mean, np.full_like(mean, np.inf), np.ones_like(mean)
    spread = effects.var(axis=-3, ddof=1) * (1.0 / blocks + overlap)[:, None, None]
    parts = (weight**2)[:, None, None] * spread
    variance = parts.sum(axis=-3)
    squares = (parts**2).sum(axis=-3) / (blocks - 1)
    freedom = np.where(variance > 0, variance**2 / np.where(squares > 0, squares, 1.0), blocks - 1.0)
    return mean, np.sqrt(variance), freedom


def prediction_half_width(effects: Array, family: NDArray[np.int64]) -> Array:
    """Half-width [..., L, L] of the 95 % interval for the effect on a new family (method.md 2.6).

    t * sqrt(SE^2 + tau^2), tau^2 the variance between families that block noise does not explain.

    Args:
        effects: [..., T, R, L, L] block effects.
        family: [T] at least two families.
    """
    units = family_effects(effects.mean(axis=-3), family)
    families, blocks = units.shape[-3], effects.shape[-3]
    between = units.var(axis=-3, ddof=1)
    noise = np.zeros_like(between)
    if blocks > 1:
        counts = np.bincount(family)
        weight = 1.0 / (families * counts[family] ** 2)
        noise = (weight[:, None, None] * effects.var(axis=-3, ddof=1) / blocks).sum(axis=-3)
    tau_squared = np.maximum(between - noise, 0.0)
    return _half(np.sqrt(between / families + tau_squared), float(families - 1), 0.975)


def sign_flip_p(unit_effects: Array) -> float:
    """Two-sided p of the sign-flip test that family effects [F] are symmetric around 0.

    All 2^F patterns for F <= 16, else 20 000 seeded draws (which count the observed one in).
    """
    families = len(unit_effects)
    if families <= 16:
        bits = (np.arange(2**families)[:, None] >> np.arange(families)) & 1
        sums = np.abs((2.0 * bits - 1.0) @ unit_effects)
        extra = 0
    else:
        signs = np.random.Generator(np.random.Philox(0)).integers(2, size=(20_000, families)) * 2.0 - 1.0
        sums = np.abs(signs @ unit_effects)
        extra = 1
    # Patterns that equal the observed one up to rounding must count as at least as extreme.
    hits = int((sums >= abs(unit_effects.sum()) - 1e-9).sum())
    return (hits + extra) / (len(sums) + extra)


def _half(error: Array, freedom: Array | float, quantile: float) -> Array:
    half: Array = np.asarray(scipy.special.stdtrit(freedom, quantile)) * error
    return half
