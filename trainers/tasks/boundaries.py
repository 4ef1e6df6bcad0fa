"""Classification by shape: the classes are regions of a continuous space."""

from __future__ import annotations

import numpy as np

from trainers.tasks.synthetic import DrawnItems, SyntheticTask, by_quantile, rotation, with_wrong_labels


def teacher(rng: np.random.Generator, n: int) -> DrawnItems:
    """The largest output of a random tanh network 10-8-3, outputs equalized over the items."""
    x = rng.standard_normal((n, 10))
    hidden = np.tanh(x @ rng.standard_normal((10, 8)) / 10**0.5)
    outputs = hidden @ rng.standard_normal((8, 3))
    y = ((outputs - outputs.mean(axis=0)) / outputs.std(axis=0)).argmax(axis=1)
    return DrawnItems(x=x, y=with_wrong_labels(rng, y, share=0.03, classes=3), bayes_error=0.03)


def spirals(rng: np.random.Generator, n: int) -> DrawnItems:
    """Two interleaved arms of one turn with blurred edges, rotated into a 4-dimensional space."""
    y = rng.integers(0, 2, size=n)
    along = np.sqrt(rng.random(n))
    angle = 2 * np.pi * along + np.pi * y
    plane = 2 * along[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    x = np.concatenate([plane + 0.2 * rng.standard_normal((n, 2)), 0.3 * rng.standard_normal((n, 2))], axis=1)
    return DrawnItems(x=x @ rotation(rng, 4), y=y, bayes_error=None)


def shells(rng: np.random.Generator, n: int) -> DrawnItems:
    """Three equally frequent classes by the distance from the centre of a 5-dimensional Gaussian."""
    x = rng.standard_normal((n, 5))
    y = by_quantile((x**2).sum(axis=1), 3)
    return DrawnItems(x=x, y=with_wrong_labels(rng, y, share=0.02, classes=3), bayes_error=0.02)


def cells(rng: np.random.Generator, n: int) -> DrawnItems:
    """The class of the nearest of 12 prototypes (3 for each of 4 classes) in 4 dimensions."""
    prototypes = rng.standard_normal((12, 4)) * 1.2
    x = rng.standard_normal((n, 4)) * 1.2
    distance = ((x[:, None, :] - prototypes) ** 2).sum(axis=2)
    y = distance.argmin(axis=1) % 4
    return DrawnItems(x=x, y=with_wrong_labels(rng, y, share=0.03, classes=4), bayes_error=0.03)


def checkerboard(rng: np.random.Generator, n: int) -> DrawnItems:
    """The colour of a 3 x 3 board's square, seen with 1 irrelevant feature."""
    x = rng.uniform(-1.5, 1.5, size=(n, 3))
    y = np.floor(x[:, :2] + 1.5).sum(axis=1).astype(np.int64) % 2
    return DrawnItems(x=x, y=with_wrong_labels(rng, y, share=0.03, classes=2), bayes_error=0.03)


PROCEDURES: tuple[SyntheticTask, ...] = (
    SyntheticTask(
        name="teacher",
        family="teacher_student",
        role="race",
        kind="classification",
        draw=teacher,
        source="teacher-student setting (Gardner and Derrida 1989), random tanh teacher, 3 % wrong labels",
    ),
    SyntheticTask(
        name="spirals",
        family="spirals",
        role="external",
        kind="classification",
        draw=spirals,
        source="two spirals (Lang and Witbrock 1988), rotated into 4 dimensions",
    ),
    SyntheticTask(
        name="shells",
        family="shells",
        role="race",
        kind="classification",
        draw=shells,
        source="Gaussian quantiles (as scikit-learn's make_gaussian_quantiles), 2 % wrong labels",
    ),
    SyntheticTask(
        name="cells",
        family="nearest_prototype",
        role="race",
        kind="classification",
        draw=cells,
        source="Voronoi cells of random prototypes, 3 % wrong labels",
    ),
    SyntheticTask(
        name="checkerboard",
        family="checkerboard",
        role="external",
        kind="classification",
        draw=checkerboard,
        source="checkerboard with an irrelevant feature, 3 % wrong labels",
    ),
)
