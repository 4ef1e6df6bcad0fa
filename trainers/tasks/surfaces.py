"""Regression: a surface over continuous features, with noise of known size."""

from __future__ import annotations

import numpy as np

from trainers.tasks.synthetic import DrawnItems, SyntheticTask, with_noise

NOISE = 0.2
"""SD of the noise in SDs of the surface, unless the source says otherwise."""


def friedman1(rng: np.random.Generator, n: int) -> DrawnItems:
    """10 sin(pi x1 x2) + 20 (x3 - 1/2)^2 + 10 x4 + 5 x5 with unit noise; 5 more features are irrelevant."""
    x = rng.random((n, 10))
    surface = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]
    y = surface + rng.standard_normal(n)
    return DrawnItems(x=x, y=y, bayes_error=1 / float(y.std()))


def friedman2(rng: np.random.Generator, n: int) -> DrawnItems:
    """The impedance of a circuit: features from 1 to 1800, signal to noise 3 to 1."""
    x = rng.random((n, 4)) * [100, 520 * np.pi, 1, 10] + [0, 40 * np.pi, 0, 1]
    impedance = np.sqrt(x[:, 0] ** 2 + (x[:, 1] * x[:, 2] - 1 / (x[:, 1] * x[:, 3])) ** 2)
    y, bayes = with_noise(rng, impedance, share=1 / 3)
    return DrawnItems(x=x, y=y, bayes_error=bayes)


def waves(rng: np.random.Generator, n: int) -> DrawnItems:
    """A sum of three sines, each along a direction of its own, in 4 dimensions."""
    x = rng.uniform(-1, 1, size=(n, 4))
    direction = rng.standard_normal((3, 4))
    direction *= 3.5 / np.sqrt((direction**2).sum(axis=1, keepdims=True))
    phase = rng.uniform(0, 2 * np.pi, size=3)
    surface = np.sin((x[:, None, :] * direction).sum(axis=2) + phase).sum(axis=1)
    y, bayes = with_noise(rng, surface, share=NOISE)
    return DrawnItems(x=x, y=y, bayes_error=bayes)


def robot_arm(rng: np.random.Generator, n: int) -> DrawnItems:
    """How far from a point a planar arm of four unit links ends, given its four joint angles."""
    x = rng.uniform(-np.pi / 2, np.pi / 2, size=(n, 4))
    heading = np.cumsum(x, axis=1)
    end = np.stack([np.cos(heading).sum(axis=1), np.sin(heading).sum(axis=1)], axis=1)
    y, bayes = with_noise(rng, np.sqrt(((end - [1.0, 1.0]) ** 2).sum(axis=1)), share=NOISE)
    return DrawnItems(x=x, y=y, bayes_error=bayes)


def ridges(rng: np.random.Generator, n: int) -> DrawnItems:
    """The largest of 8 random planes in 6 dimensions: continuous, with kinks."""
    x = rng.standard_normal((n, 6))
    planes = (x[:, None, :] * rng.standard_normal((8, 6))).sum(axis=2)
    y, bayes = with_noise(rng, planes.max(axis=1), share=NOISE)
    return DrawnItems(x=x, y=y, bayes_error=bayes)


PROCEDURES: tuple[SyntheticTask, ...] = (
    SyntheticTask(
        name="friedman1",
        family="friedman",
        role="race",
        kind="regression",
        draw=friedman1,
        source="Friedman #1 (Friedman, Multivariate adaptive regression splines, 1991)",
    ),
    SyntheticTask(
        name="friedman2",
        family="friedman",
        role="race",
        kind="regression",
        draw=friedman2,
        source="Friedman #2 (Friedman, Multivariate adaptive regression splines, 1991)",
        units="own",
    ),
    SyntheticTask(
        name="waves",
        family="periodic",
        role="race",
        kind="regression",
        draw=waves,
        source="sum of three plane waves, noise 0.2 SD",
    ),
    SyntheticTask(
        name="robot_arm",
        family="robot_arm",
        role="race",
        kind="regression",
        draw=robot_arm,
        source="forward kinematics, after kin8nm (DELVE), noise 0.2 SD",
    ),
    SyntheticTask(
        name="ridges",
        family="piecewise_linear",
        role="race",
        kind="regression",
        draw=ridges,
        source="maximum of random planes (max-affine regression), noise 0.2 SD",
    ),
)
