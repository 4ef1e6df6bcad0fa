"""Rows of the textbook's table that no factor answers alone: "early stopping; weight decay if needed".

A study that asks under such a row's name compares combinations. Which of them the textbook means is said
here, as a factor says it of its levels; like there it enters a row's label and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from search_spaces.catalog import FACTORS
from search_spaces.factor import Source
from search_spaces.overrides import Overrides


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """One row of the textbook's table over several factors."""

    name: str
    meaning: str
    source: Source
    allows: Mapping[str, tuple[str, ...]]
    """Factor -> the levels that the row speaks of."""

    def __post_init__(self) -> None:
        for factor, levels in self.allows.items():
            for level in levels:
                FACTORS[factor].level(level)

    def means(self, change: Overrides) -> bool:
        """Whether a combination states nothing but levels that the row speaks of."""
        stated = change.levels.items()
        return not change.setting and all(level in self.allows.get(factor, ()) for factor, level in stated)


BUNDLES: Mapping[str, Bundle] = {
    bundle.name: bundle
    for bundle in (
        Bundle(
            name="regularization",
            meaning="what keeps a network from overfitting",
            source=Source(document="001", claim="early stopping; weight decay if needed"),
            allows={
                "early_stopping": ("read_out_only", "patience"),
                "weight_decay": ("optimizer_default", "none", "decoupled", "l2"),
                "dropout": ("none",),
                "weight_constraint": ("none",),
                "label_smoothing": ("none",),
            },
        ),
    )
}
"""Name of the row -> what it says. Early stopping is, as everywhere here, to keep the best look at
validation, with or without a rule that ends the training."""
