"""Classification by discrete rules: bits, and thresholds on single features."""

from __future__ import annotations

import numpy as np

from trainers.tasks.synthetic import DrawnItems, Floats, Integers, SyntheticTask, with_wrong_labels


def parity(rng: np.random.Generator, n: int) -> DrawnItems:
    """The parity of 3 of 12 bits."""
    bits = rng.integers(0, 2, size=(n, 12))
    y = bits[:, [1, 5, 8]].sum(axis=1) % 2
    return DrawnItems(
        x=bits.astype(float), y=with_wrong_labels(rng, y, share=0.05, classes=2), bayes_error=0.05
    )


def multiplexer(rng: np.random.Generator, n: int) -> DrawnItems:
    """Two address bits choose which of four data bits is the class; 6 more bits are irrelevant."""
    bits = rng.integers(0, 2, size=(n, 12))
    y = bits[np.arange(n), 2 + 2 * bits[:, 0] + bits[:, 1]]
    return DrawnItems(
        x=bits.astype(float), y=with_wrong_labels(rng, y, share=0.05, classes=2), bayes_error=0.05
    )


def automaton(rng: np.random.Generator, n: int) -> DrawnItems:
    """The middle of 15 cells after two steps of Wolfram's rule 110."""
    cells = rng.integers(0, 2, size=(n, 15))
    x = cells.astype(float)
    rule = np.array([(110 >> i) & 1 for i in range(8)])
    for _ in range(2):
        cells = rule[4 * cells[:, :-2] + 2 * cells[:, 1:-1] + cells[:, 2:]]
    y = cells[:, cells.shape[1] // 2]
    return DrawnItems(x=x, y=with_wrong_labels(rng, y, share=0.05, classes=2), bayes_error=0.05)


def tree(rng: np.random.Generator, n: int) -> DrawnItems:
    """The leaf's class of a random decision tree with 8 leaves on 6 uniform features, 3 classes."""
    x = rng.random((n, 6))
    y = _leaf_class(rng, x, np.arange(n), depth=3)
    return DrawnItems(x=x, y=with_wrong_labels(rng, y, share=0.03, classes=3), bayes_error=0.03)


def _leaf_class(
    rng: np.random.Generator, x: Floats, items: Integers, *, depth: int, leaf: int = 0
) -> Integers:
    """Classes [all items] of those `items` that reach this node, 0 elsewhere; sibling leaves differ."""
    y = np.zeros(len(x), dtype=np.int64)
    if depth == 0:
        y[items] = leaf % 3
        return y
    feature = int(rng.integers(x.shape[1]))
    cut = np.quantile(x[items, feature], rng.uniform(0.35, 0.65))
    left = x[items, feature] < cut
    for i, part in enumerate((items[left], items[~left])):
        y += _leaf_class(rng, x, part, depth=depth - 1, leaf=2 * leaf + i)
    return y


PROCEDURES: tuple[SyntheticTask, ...] = (
    SyntheticTask(
        name="parity",
        family="parity",
        role="race",
        kind="classification",
        draw=parity,
        source="sparse parity with 5 % wrong labels (Barak et al. 2022, arXiv 2207.08799)",
        units="counts",
    ),
    SyntheticTask(
        name="multiplexer",
        family="multiplexer",
        role="external",
        kind="classification",
        draw=multiplexer,
        source="Boolean 6-multiplexer (Wilson 1987) with 5 % wrong labels",
        units="counts",
    ),
    SyntheticTask(
        name="automaton",
        family="automaton",
        role="race",
        kind="classification",
        draw=automaton,
        source="elementary cellular automaton, rule 110 (Wolfram 1983), with 5 % wrong labels",
        units="counts",
    ),
    SyntheticTask(
        name="tree",
        family="decision_tree",
        role="race",
        kind="classification",
        draw=tree,
        source="random axis-parallel decision tree with 3 % wrong labels",
    ),
)
