"""Small pictures, drawn: what matters is how places lie to each other, not which place it is.

Shape letters: n items, H height, W width, C channels.
"""

from __future__ import annotations

import numpy as np

from trainers.tasks.synthetic import DrawnItems, Floats, SyntheticTask, with_wrong_labels

SIDE = 12
"""Height and width: small enough that a study of convolutional networks takes minutes."""


def dots(rng: np.random.Generator, n: int) -> DrawnItems:
    """How many bright dots there are, one to four, each of its own size and height, in noise."""
    y = rng.integers(0, 4, size=n)
    middle = rng.uniform(1.5, SIDE - 2.5, size=(2, n, 4))
    height = rng.uniform(1.5, 2.5, size=(n, 4)) * (np.arange(4) <= y[:, None])
    width = rng.uniform(0.6, 1.0, size=(n, 4))
    down, right = np.mgrid[:SIDE, :SIDE]
    square = (down - middle[0][..., None, None]) ** 2 + (right - middle[1][..., None, None]) ** 2
    bumps = height[..., None, None] * np.exp(-square / (2 * width[..., None, None] ** 2))
    x = bumps.sum(axis=1) + 0.3 * rng.standard_normal((n, SIDE, SIDE))
    return DrawnItems(x=x.reshape(n, -1), y=y, bayes_error=None)


def gratings(rng: np.random.Generator, n: int) -> DrawnItems:
    """Which of four directions the stripes have, of any width and phase, in noise."""
    y = rng.integers(0, 4, size=n)
    angle = (np.pi / 4) * y + rng.uniform(-0.2, 0.2, size=n)
    waves = rng.uniform(1.5, 4, size=n) * (2 * np.pi / SIDE)
    phase = rng.uniform(0, 2 * np.pi, size=n)
    down, right = np.mgrid[:SIDE, :SIDE]
    along = np.cos(angle)[:, None, None] * right + np.sin(angle)[:, None, None] * down
    x = np.sin(waves[:, None, None] * along + phase[:, None, None]) + 1.8 * rng.standard_normal(
        (n, SIDE, SIDE)
    )
    return DrawnItems(x=x.reshape(n, -1), y=y, bayes_error=None)


def percolation(rng: np.random.Generator, n: int) -> DrawnItems:
    """Whether open places lead from the top row to the bottom row; 59 % are open."""
    from scipy.ndimage import label  # here: half a second that other tasks need not wait

    opened = rng.random((n, SIDE, SIDE)) < 0.593
    y = np.zeros(n, dtype=np.int64)
    for i, picture in enumerate(opened):
        clusters, _ = label(picture)
        y[i] = bool(set(clusters[0][picture[0]]) & set(clusters[-1][picture[-1]]))
    x = opened.reshape(n, -1).astype(float)
    return DrawnItems(x=x, y=with_wrong_labels(rng, y, share=0.05, classes=2), bayes_error=0.05)


def outlines(rng: np.random.Generator, n: int) -> DrawnItems:
    """Whether an outline is a ring, a square, a triangle or a cross: any place, size and two colours."""
    y = rng.integers(0, 4, size=n)
    radius = rng.uniform(2.5, 4.5, size=n)
    middle = SIDE / 2 - 0.5 + rng.uniform(-1.5, 1.5, size=(2, n)) * (4.5 - radius) / 2
    down, right = np.mgrid[:SIDE, :SIDE]
    drawn = _line(y, radius, down - middle[0][:, None, None], right - middle[1][:, None, None])
    colours = rng.uniform(-1, 1, size=(2, n, 1, 1, 3))
    colours[1] += np.sign(colours[1] - colours[0]) * 0.5
    x = colours[0] + (colours[1] - colours[0]) * drawn[..., None]
    x += 0.35 * rng.standard_normal(x.shape)
    return DrawnItems(x=x.reshape(n, -1), y=y, bayes_error=None)


def _line(
    y: np.ndarray[tuple[int], np.dtype[np.int64]], radius: Floats, down: Floats, right: Floats
) -> Floats:
    """How much of each place the line covers, [n, H, W] in [0, 1]; its half-width is 0.8 places."""
    size = radius[:, None, None]
    square = np.maximum(abs(down), abs(right))
    triangle = np.maximum(down, (3**0.5 * abs(right) - down) / 2)
    cross = np.maximum(np.minimum(abs(down), abs(right)), square - size)
    away = (
        abs(np.hypot(down, right) - size),
        abs(square - 0.9 * size),
        abs(triangle - 0.6 * size),
        abs(cross),
    )
    distance = np.select([y[:, None, None] == c for c in range(4)], away)
    return np.asarray(np.clip(1.3 - distance, 0, 1))


PROCEDURES: tuple[SyntheticTask, ...] = (
    SyntheticTask(
        name="dots",
        family="dots",
        role="race",
        kind="classification",
        draw=dots,
        source="counting Gaussian dots in noise",
        units="own",
        shape=(SIDE, SIDE, 1),
        augmentations=frozenset({"flip", "rotation"}),
    ),
    SyntheticTask(
        name="gratings",
        family="gratings",
        role="external",
        kind="classification",
        draw=gratings,
        source="direction of a sine grating of unknown frequency and phase, noise SD 1.8",
        units="own",
        shape=(SIDE, SIDE, 1),
        augmentations=frozenset({"shift"}),
    ),
    SyntheticTask(
        name="outlines",
        family="outlines",
        role="external",
        kind="classification",
        draw=outlines,
        source="outlines of four figures in random colours, noise 0.35",
        units="own",
        shape=(SIDE, SIDE, 3),
        augmentations=frozenset({"shift", "flip", "rotation"}),
    ),
    SyntheticTask(
        name="percolation",
        family="percolation",
        role="race",
        kind="classification",
        draw=percolation,
        source="site percolation at its threshold (Stauffer and Aharony 1992) with 5 % wrong labels",
        units="counts",
        shape=(SIDE, SIDE, 1),
        augmentations=frozenset({"flip"}),
    ),
)
