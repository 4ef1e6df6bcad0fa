"""Dropout: what the trainer sets to zero at random in training, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from search_spaces.factor import Factor, Level, Range, Source


@dataclass(frozen=True, kw_only=True)
class Dropout:
    """What is dropped; what is left is scaled up so that its mean stays (inverted dropout).

    Outputs are never dropped. The trainer draws a mask for every item and step from the member's own
    stream; on the places of an image or the steps of a sequence an item has one mask for each hidden
    channel or unit.
    """

    hidden: int | Literal["all"] = 0
    """In how many hidden layers activations are dropped, counted from the output."""
    inputs: bool = False
    """Whether the values of an item are dropped, each on its own."""
    weights: bool = False
    """Whether weights of hidden layers are dropped, one mask for all items of a step."""
    saturates: bool = False
    """Dropped activations become SELU's limit far below zero, not 0, and mean and variance are kept."""

    def rates(self, rate: float, layers: int) -> list[float]:
        """The rate of each of `layers` hidden layers, first to last."""
        several = layers if self.hidden == "all" else min(self.hidden, layers)
        return [0.0] * (layers - several) + [rate] * several


GRID = 1 << 16
"""What is dropped depends on a drawn number, which is one of so many: smaller rates drop nothing."""

SELU_LIMIT = -1.7580993408473766
"""What SELU tends to far below zero: minus its scale times its alpha."""

DROPOUT_RATE = Range(
    name="dropout_rate",
    low=0.0,
    high=0.6,
    default=0.5,
    meaning="probability that a unit (or input, or weight) is dropped in one step",
)


def _level(
    name: str, build: Dropout, rank: int, document: str, claim: str, note: str, formula: str
) -> Level[Dropout]:
    return Level(
        name=name,
        build=build,
        enters="numbers",
        source=Source(document=document, claim=claim),
        cost_rank=rank,
        ranges=(DROPOUT_RATE,),
        note=note,
        formula=formula,
    )


DROPOUT: Factor[Dropout] = Factor(
    name="dropout",
    meaning="what is dropped at random in training",
    levels=(
        Level(
            name="none",
            build=Dropout(),
            enters="numbers",
            source=Source(document="001 003", claim="no dropout unless the network overfits"),
            cost_rank=0,
            formula="nothing is dropped",
        ),
        _level(
            "dropout",
            Dropout(hidden="all"),
            4,
            "001 003 004; Srivastava et al. 2014 (JMLR 15)",
            "dropout slows convergence by a lot but generalizes way better",
            "After hidden activations, not on inputs. The default rate is torch's 0.5; 000 says 0.1.",
            formula="hidden outputs: 0 with probability dropout_rate, else h / (1 - dropout_rate)",
        ),
        _level(
            "dropout_last1",
            Dropout(hidden=1),
            1,
            "001 004",
            "dropping units in the last hidden layer only is enough",
            "With one hidden layer the same as dropout.",
            formula="dropout of the last hidden layer only",
        ),
        _level(
            "dropout_last3",
            Dropout(hidden=3),
            2,
            "001 004",
            "dropping units in the last three hidden layers only is enough",
            "With up to three hidden layers the same as dropout.",
            formula="dropout of the last three hidden layers only",
        ),
        _level(
            "dropout_inputs",
            Dropout(inputs=True),
            3,
            "001 004; Srivastava et al. 2014 (JMLR 15)",
            "input units may be dropped, outputs never",
            "Inputs only, each value of an item on its own, after an input norm. The paper's rate is 0.2.",
            formula="inputs: 0 with probability dropout_rate, else x / (1 - dropout_rate)",
        ),
        _level(
            "alpha_dropout",
            Dropout(hidden="all", saturates=True),
            5,
            "001 004; Klambauer et al. 2017, arXiv:1706.02515; torch 2.14 AlphaDropout",
            "dropout that keeps the mean and variance of SELU's outputs",
            "After hidden activations, like dropout. The paper uses rates of 0.05 and 0.1.",
            formula="hidden outputs: -1.7581 with probability dropout_rate, then scaled and shifted",
        ),
        _level(
            "dropconnect",
            Dropout(weights=True),
            6,
            "000; Wan et al. 2013 (PMLR 28)",
            "dropping weights, not units, serves as well",
            "000 describes dropout so. Incoming weights of hidden layers, not their biases; one mask per "
            "step for all items of the batch, where the paper draws one per item; evaluated with the mean "
            "weights, where the paper samples.",
            formula="hidden layers' weights: 0 with probability dropout_rate, else w / (1 - dropout_rate)",
        ),
    ),
    framework_default="none",
    textbook_shallow=("none",),
    textbook_deep=("none",),
)
