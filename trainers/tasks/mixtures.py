"""Classification by chance: the classes overlap, and the Bayes error follows from the rule."""

from __future__ import annotations

import itertools

import numpy as np

from trainers.tasks.synthetic import DrawnItems, Floats, SyntheticTask


def gaussians(rng: np.random.Generator, n: int) -> DrawnItems:
    """Four classes, each an equal mixture of three spherical Gaussians in 8 dimensions."""
    means = 1.7 * rng.standard_normal((12, 8))
    component = rng.integers(0, 12, size=n)
    x = means[component] + rng.standard_normal((n, 8))
    log_density = -0.5 * ((x[:, None, :] - means) ** 2).sum(axis=2)
    density = np.exp(log_density - log_density.max(axis=1, keepdims=True))
    return DrawnItems(x=x, y=component % 4, bayes_error=_overlap(density.reshape(n, 3, 4).sum(axis=1)))


def ringnorm(rng: np.random.Generator, n: int) -> DrawnItems:
    """A wide Gaussian around a narrow one in 20 dimensions (Breiman's ringnorm, as in R's mlbench)."""
    y = rng.integers(0, 2, size=n)
    centre = 1 / 20**0.5
    wide = 2 * rng.standard_normal((n, 20))
    narrow = centre * np.ones(20) + rng.standard_normal((n, 20))
    x = np.where(y[:, None] == 0, wide, narrow)
    log_odds = 0.5 * ((x - centre) ** 2).sum(axis=1) - (x**2).sum(axis=1) / 8 - 20 * np.log(2)
    return DrawnItems(x=x, y=y, bayes_error=float(np.mean(1 / (1 + np.exp(np.abs(log_odds))))))


def waveform(rng: np.random.Generator, n: int) -> DrawnItems:
    """Random mixtures of two of three triangular waves at 21 places, unit noise (Breiman 1984)."""
    place = np.arange(1, 22)
    waves = np.stack([np.maximum(6 - np.abs(place - peak), 0) for peak in (11, 7, 15)])
    first, second = np.array([0, 0, 1]), np.array([1, 2, 2])
    y = rng.integers(0, 3, size=n)
    share = rng.random((n, 1))
    x = share * waves[first[y]] + (1 - share) * waves[second[y]] + rng.standard_normal((n, 21))
    return DrawnItems(x=x, y=y, bayes_error=None)


def sparse_logistic(rng: np.random.Generator, n: int) -> DrawnItems:
    """A logistic model in 6 of 30 features."""
    x = rng.standard_normal((n, 30))
    weights = rng.choice([-1.0, 1.0], size=6) * rng.uniform(2, 5, size=6)
    p = 1 / (1 + np.exp(-(x[:, :6] * weights).sum(axis=1)))
    y = (rng.random(n) < p).astype(np.int64)
    return DrawnItems(x=x[:, rng.permutation(30)], y=y, bayes_error=float(np.minimum(p, 1 - p).mean()))


SEGMENTS = (
    "1110111",
    "0010010",
    "1011101",
    "1011011",
    "0111010",
    "1101011",
    "1101111",
    "1010010",
    "1111111",
    "1111011",
)
"""Which of a display's seven segments are lit for each digit."""


def led(rng: np.random.Generator, n: int) -> DrawnItems:
    """The digit on a display whose segments fail with probability 0.06, with 9 random bits."""
    fails = 0.06
    lit = np.array([[int(c) for c in row] for row in SEGMENTS])
    y = rng.integers(0, 10, size=n)
    shown = lit[y] ^ (rng.random((n, 7)) < fails)
    x = np.concatenate([shown, rng.integers(0, 2, size=(n, 9))], axis=1).astype(np.float64)
    patterns = np.array(list(itertools.product((0, 1), repeat=7)))
    wrong = (patterns[:, None, :] != lit).sum(axis=2)
    likelihood = fails**wrong * (1 - fails) ** (7 - wrong)
    return DrawnItems(x=x, y=y, bayes_error=float(1 - likelihood.max(axis=1).sum() / 10))


def topics(rng: np.random.Generator, n: int) -> DrawnItems:
    """Word counts of 40-word documents about one of five topics; 60 words, a few of them common."""
    common = 1 / np.arange(1, 61)
    odds = common * np.exp(0.6 * rng.standard_normal((5, 60)))
    chances = odds / odds.sum(axis=1, keepdims=True)
    y = rng.integers(0, 5, size=n)
    x = rng.multinomial(40, chances[y]).astype(np.float64)
    score = (x[:, None, :] * np.log(chances)).sum(axis=2)
    return DrawnItems(x=x, y=y, bayes_error=_overlap(np.exp(score - score.max(axis=1, keepdims=True))))


def _overlap(density: Floats) -> float:
    """Bayes error from unnormalized class densities [items, classes] of equally frequent classes."""
    return float(np.mean(1 - density.max(axis=1) / density.sum(axis=1)))


PROCEDURES: tuple[SyntheticTask, ...] = (
    SyntheticTask(
        name="gaussians",
        family="gaussian_mixture",
        role="race",
        kind="classification",
        draw=gaussians,
        source="Gaussian mixture, three in each class; Bayes error from the drawn items' posteriors",
    ),
    SyntheticTask(
        name="ringnorm",
        family="ringnorm",
        role="race",
        kind="classification",
        draw=ringnorm,
        source="ringnorm (Breiman, Bias, variance and arcing classifiers, 1996)",
    ),
    SyntheticTask(
        name="waveform",
        family="waveform",
        role="race",
        kind="classification",
        draw=waveform,
        source="waveform (Breiman et al., Classification and regression trees, 1984)",
    ),
    SyntheticTask(
        name="sparse_logistic",
        family="sparse_linear",
        role="race",
        kind="classification",
        draw=sparse_logistic,
        source="sparse logistic model, 6 of 30 features; Bayes error from the drawn items' posteriors",
    ),
    SyntheticTask(
        name="led",
        family="led",
        role="race",
        kind="classification",
        draw=led,
        source="LED display (Breiman et al., Classification and regression trees, 1984), 6 % failures",
        units="counts",
    ),
    SyntheticTask(
        name="topics",
        family="word_counts",
        role="race",
        kind="classification",
        draw=topics,
        source="multinomial documents, as naive Bayes assumes; Bayes error from the drawn items' posteriors",
        units="counts",
    ),
)
