"""Early stopping: when a training ends."""

from __future__ import annotations

from dataclasses import dataclass

from search_spaces.factor import Factor, Level, Range, Source


@dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    """Whether a training may end before its last step."""

    stops: bool


STOP_PATIENCE = Range(
    name="stop_patience",
    low=1.0,
    high=10.0,
    default=5.0,
    meaning="looks at validation without improvement that are tolerated, rounded down; the next one stops",
)

EARLY_STOPPING: Factor[EarlyStopping] = Factor(
    name="early_stopping",
    meaning="whether a training ends when validation stops improving",
    levels=(
        Level(
            name="read_out_only",
            build=EarlyStopping(stops=False),
            enters="numbers",
            source=Source(
                document="001 003; torch 2.14 (which has none)", claim="keep the best parameters seen so far"
            ),
            cost_rank=0,
            note="Trains to the end. The best validation look is read out beside the last step, here as "
            "everywhere.",
            formula="all steps are trained",
        ),
        Level(
            name="patience",
            build=EarlyStopping(stops=True),
            enters="numbers",
            source=Source(
                document="003; Prechelt 1998; Keras EarlyStopping",
                claim="stop when the validation error comes back up, and use the best parameters",
            ),
            cost_rank=1,
            ranges=(STOP_PATIENCE,),
            note="An improvement is a smaller validation metric, or an equal one with a smaller loss. "
            "Patience counts looks, of which a training has a fixed number. Keras' default patience is 0.",
            formula="training ends at the first look that is more than stop_patience looks after the best",
        ),
    ),
    framework_default="read_out_only",
    textbook_shallow=("read_out_only", "patience"),
    textbook_deep=("read_out_only", "patience"),
)
