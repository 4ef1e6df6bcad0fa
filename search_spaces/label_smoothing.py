"""Label smoothing: what the training loss takes for the truth."""

from __future__ import annotations

from dataclasses import dataclass

from search_spaces.factor import Factor, Level, Range, Source


@dataclass(frozen=True, kw_only=True)
class LabelSmoothing:
    """Whether a share of a training item's label goes to all classes alike."""

    active: bool


SMOOTHING = Range(
    name="smoothing",
    low=0.0,
    high=0.3,
    default=0.1,
    meaning="share of a training item's label that is spread over all classes",
)

LABEL_SMOOTHING: Factor[LabelSmoothing] = Factor(
    name="label_smoothing",
    meaning="whether the training loss asks for certainty",
    levels=(
        Level(
            name="none",
            build=LabelSmoothing(active=False),
            enters="numbers",
            source=Source(document="torch 2.14 CrossEntropyLoss", claim="label_smoothing is 0 by default"),
            cost_rank=0,
            formula="cross-entropy",
        ),
        Level(
            name="label_smoothing",
            build=LabelSmoothing(active=True),
            enters="numbers",
            source=Source(
                document="Szegedy et al. 2016, arXiv:1512.00567; torch 2.14 CrossEntropyLoss",
                claim="a network that is not asked for certainty generalizes better",
            ),
            cost_rank=1,
            ranges=(SMOOTHING,),
            note="Not in the seed documents; 0.1 is the paper's. In training only: validation and test "
            "losses are not smoothed. Classification only.",
            formula="(1 - smoothing) * cross-entropy + smoothing * mean over classes of -log(probability)",
        ),
    ),
    framework_default="none",
    textbook_shallow=("none",),
    textbook_deep=("none",),
)
