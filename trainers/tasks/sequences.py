"""Short signals: what matters is when something happens, not which feature it is."""

from __future__ import annotations

import numpy as np

from trainers.tasks.synthetic import DrawnItems, Floats, Integers, SyntheticTask, with_noise


def mnist1d(rng: np.random.Generator, n: int) -> DrawnItems:
    """Ten one-dimensional digits, stretched, scaled, moved, sheared and noised, at 40 places.

    The transformations of `mnist1d.transform` with its default numbers, except that digits are moved
    by at most 3 of 72 places instead of 47: perceptrons do not learn the original from 1000 items.
    All items are made at once from a generator of our own; the package makes one item at a time
    (3 s instead of 0.1 s) from numpy's global generator.
    """
    from mnist1d.data import get_dataset_args, get_templates  # here: it imports pyplot and requests

    numbers, templates = get_dataset_args(as_dict=True), get_templates()["x"]
    y = rng.integers(0, 10, size=n)
    x = transformed(
        templates[y],
        padding=rng.integers(numbers["padding"][0], numbers["padding"][1] + 1, size=n),
        scale=1 + numbers["scale_coeff"] * (rng.random(n) - 0.5),
        moved=rng.integers(1, 4, size=n),
        background=numbers["corr_noise_scale"] * rng.standard_normal((n, 72)),
        noise=numbers["iid_noise_scale"] * rng.standard_normal((n, 72)),
        shear=numbers["shear_scale"] * (rng.random(n) - 0.5),
        length=numbers["final_seq_length"],
    )
    return DrawnItems(x=x, y=y, bayes_error=None)


def transformed(
    templates: Floats,
    *,
    padding: Integers,
    scale: Floats,
    moved: Integers,
    background: Floats,
    noise: Floats,
    shear: Floats,
    length: int,
) -> Floats:
    """Signals [n, length] from templates [n, 12], as `mnist1d.transform.transform` makes them.

    Args:
        templates: signals of 12 places, [n, 12].
        padding: zeros appended before the signal is stretched to `full` places, [n].
        scale: factor of the height, [n].
        moved: places by which the signal is rotated to the right, [n], 1 to full - 1.
        background: noise that is smoothed (SD 2 places) and fills where the signal is 0, [n, full].
        noise: noise added everywhere, [n, full].
        shear: slope that is taken away over the whole length, [n].
        length: places of the result.
    """
    from scipy.ndimage import gaussian_filter1d  # here: half a second that other tasks need not wait

    n, full = background.shape
    places = np.linspace(0, 1, full)
    x = np.empty((n, full))
    for i in range(n):
        padded = np.concatenate([templates[i] + 1e-8, np.zeros(padding[i])])
        x[i] = np.interp(places, np.linspace(0, 1, len(padded)), padded)
    x *= scale[:, None]
    x = np.take_along_axis(x, (np.arange(full) - moved[:, None]) % full, axis=1)
    x = np.where(x != 0, x, gaussian_filter1d(background, 2, axis=1)) + noise
    x -= shear[:, None] * np.linspace(-0.5, 0.5, full)
    place = np.linspace(0, full - 1, length)
    before = np.minimum(place.astype(np.int64), full - 2)
    part: Floats = place - before
    shortened: Floats = (1 - part) * x[:, before] + part * x[:, before + 1]
    return shortened


def tones(rng: np.random.Generator, n: int) -> DrawnItems:
    """Which of four frequencies a noisy sine of any phase has, heard at 24 moments."""
    y = rng.integers(0, 4, size=n)
    frequency = np.array([1.0, 1.6, 2.2, 2.8])[y][:, None]
    phase = rng.uniform(0, 2 * np.pi, size=(n, 1))
    moment = np.linspace(0, 1, 24)
    x = np.sin(2 * np.pi * frequency * moment + phase) + 0.8 * rng.standard_normal((n, 24))
    return DrawnItems(x=x, y=y, bayes_error=None)


def forecast(rng: np.random.Generator, n: int) -> DrawnItems:
    """Where a damped oscillation of unknown frequency, phase and height goes on, from 16 noisy readings."""
    moment = np.linspace(0, 1, 16)
    frequency = rng.uniform(1, 2.5, size=(n, 1))
    phase = rng.uniform(0, 2 * np.pi, size=(n, 1))
    height = rng.uniform(0.5, 1.5, size=(n, 1))
    damping = rng.uniform(0, 1, size=(n, 1))

    def at(t: Floats) -> Floats:
        return np.asarray(height * np.exp(-damping * t) * np.sin(2 * np.pi * frequency * t + phase))

    y, _ = with_noise(rng, at(np.array([1.15]))[:, 0], share=0.1)
    return DrawnItems(x=at(moment) + 0.1 * rng.standard_normal((n, 16)), y=y, bayes_error=None)


def adding(rng: np.random.Generator, n: int) -> DrawnItems:
    """The sum of the two marked among 20 numbers: what was read early must be kept to the end."""
    values = rng.uniform(-1, 1, size=(n, 20))
    marked = rng.permuted(np.tile(np.arange(20) < 2, (n, 1)), axis=1)
    y, bayes = with_noise(rng, (values * marked).sum(axis=1), share=0.1)
    return DrawnItems(x=np.stack([values, marked], axis=-1).reshape(n, -1), y=y, bayes_error=bayes)


def motifs(rng: np.random.Generator, n: int) -> DrawnItems:
    """Which of five curves of 8 steps is hidden somewhere among 32 steps of two noisy readings."""
    curves = rng.standard_normal((5, 8, 2))
    curves /= np.sqrt((curves**2).mean(axis=(1, 2), keepdims=True))
    y = rng.integers(0, 5, size=n)
    first = rng.integers(4, 21, size=n)
    x = 0.7 * rng.standard_normal((n, 32, 2))
    x[np.arange(n)[:, None], first[:, None] + np.arange(8)] += curves[y]
    return DrawnItems(x=x.reshape(n, -1), y=y, bayes_error=None)


PROCEDURES: tuple[SyntheticTask, ...] = (
    SyntheticTask(
        name="mnist1d",
        family="mnist1d",
        role="race",
        kind="classification",
        draw=mnist1d,
        source="MNIST-1D (Greydanus and Kobak, arXiv 2011.14439), digits moved by at most 3 places",
        licence="Apache-2.0 (templates of the package mnist1d)",
        units="own",
        shape=(40, 1),
        augmentations=frozenset({"shift"}),
    ),
    SyntheticTask(
        name="tones",
        family="tones",
        role="external",
        kind="classification",
        draw=tones,
        source="frequency detection in white noise, phase unknown",
        units="own",
        shape=(24, 1),
        augmentations=frozenset({"shift"}),
    ),
    SyntheticTask(
        name="forecast",
        family="forecast",
        role="race",
        kind="regression",
        draw=forecast,
        source="damped oscillations, noise 0.1 in the readings and 0.1 SD in the target",
        units="own",
        shape=(16, 1),
    ),
    SyntheticTask(
        name="adding",
        family="adding",
        role="external",
        kind="regression",
        draw=adding,
        source="the adding problem (Hochreiter and Schmidhuber 1997) over 20 steps, noise 0.1 SD",
        units="own",
        shape=(20, 2),
    ),
    SyntheticTask(
        name="motifs",
        family="motifs",
        role="race",
        kind="classification",
        draw=motifs,
        source="five random curves hidden in white noise of SD 0.7",
        units="own",
        shape=(32, 2),
        augmentations=frozenset({"shift"}),
    ),
)
