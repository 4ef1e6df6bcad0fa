"""How the biases of a linear map start, whatever its weights start as."""

from __future__ import annotations

from search_spaces.factor import Factor, Level, Source
from search_spaces.weight_draws import Draw, random_bias, zero_bias

BIAS: Factor[Draw | None] = Factor(
    name="bias",
    meaning="how biases start",
    levels=(
        Level(
            name="as_initializer",
            build=None,
            enters="weights",
            source=Source(
                document="torch 2.14 nn.Linear.reset_parameters; Keras Dense",
                claim="biases belong to the initializer: torch's default draws them, others are zero",
            ),
            cost_rank=0,
            formula="U(-r, r), r = sqrt(1 / fan_in), with initializer torch_default, else 0",
        ),
        Level(
            name="zeros",
            build=zero_bias,
            enters="weights",
            source=Source(document="001 003; Keras Dense", claim="biases can start at zero"),
            cost_rank=1,
            formula="0",
        ),
        Level(
            name="uniform",
            build=random_bias,
            enters="weights",
            source=Source(
                document="001; torch 2.14 nn.Linear.reset_parameters",
                claim="random biases have no benefit over zeros",
            ),
            cost_rank=2,
            note="U(-1/sqrt(fan_in), 1/sqrt(fan_in)), which torch_default has of its own.",
            formula="U(-r, r), r = sqrt(1 / fan_in)",
        ),
    ),
    framework_default="as_initializer",
    textbook_shallow=("zeros",),
    textbook_deep=("zeros",),
)
