"""Choices that cannot mean anything together, and those that mean less than they seem to.

Each row is a rule over one complete config; what also depends on a task (an image network on a table) is
refused by the network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from search_spaces.catalog import FACTORS
from search_spaces.config import Config
from search_spaces.networks import NETWORKS, NetworkKind
from search_spaces.overrides import Value, spelled
from search_spaces.schedules import warms_up
from search_spaces.space import decay_kind
from search_spaces.weight_draws import zero_bias

MOMENTUM_CYCLES = frozenset(("one_cycle", "one_cycle_linear"))
"""Schedules that cycle the optimizer's momentum where it has one."""


KEEP_THE_MOMENT = frozenset(("selu", "identity"))
"""Activations that hand on the second moment of N(0, 1) as it is: they ask for a gain of 1."""

BATCH_NORMS = frozenset(("batch_norm", "batch_norm_no_bias"))
"""Norms of a layer's sums by each unit's own mean."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Two keys whose values do not go together."""

    keys: tuple[str, str]
    """A factor, number or setting each."""
    meaning: str
    """What is wrong with it, or what to know."""
    holds: Callable[[Config], bool]
    """Whether the config is such a case."""
    same: frozenset[str] = frozenset()
    """Values of the first key that come to the same there: to ask between them is refused."""

    def says(self, config: Config) -> str:
        """The two keys with their values, and what they mean together."""
        one, other = (f"{key} = {spelled(stated(config, key))}" for key in self.keys)
        return f"{one} with {other}: {self.meaning}"


def refusal(config: Config) -> str | None:
    """The first rule that the config breaks, with both keys; None where there is none."""
    return next((rule.says(config) for rule in REFUSED if rule.holds(config)), None)


def notes(config: Config) -> tuple[str, ...]:
    """What to know of the config: allowed, but less than it seems."""
    return tuple(rule.says(config) for rule in NOTED if rule.holds(config))


def indistinct(asked: str, configs: Mapping[str, Config]) -> str | None:
    """Why two levels of a question come to the same; None where all differ.

    Args:
        asked: the factor, number or setting that the question is about.
        configs: level -> its config, on one background.
    """
    for rule in (*NOTED, *EQUAL):
        among = sorted(rule.same & set(configs)) if rule.keys[0] == asked else []
        if len(among) > 1 and any(rule.holds(configs[level]) for level in among):
            example = next(configs[level] for level in among if rule.holds(configs[level]))
            return f"{' and '.join(among)} come to the same: {rule.says(example)}"
    return None


def stated(config: Config, key: str) -> Value:
    """The value of a factor, a number or a setting (in this order); ValueError for none of them."""
    if key in config.levels:
        return config.levels[key]
    if key in config.numbers:
        return config.numbers[key]
    if key in vars(config.setting):
        value: Value = getattr(config.setting, key)
        return value
    raise ValueError(f"'{key}' is no factor, open number or setting of this config")


def _starts_at_zero(config: Config) -> bool:
    """Whether the initializer's own biases do."""
    return FACTORS["initializer"].level(config.levels["initializer"]).build.bias is zero_bias


def _no_momentum(config: Config) -> bool:
    return FACTORS["optimizer"].level(config.levels["optimizer"]).build.momentum_number is None


def _kind(config: Config) -> NetworkKind:
    return NETWORKS[config.setting.network]


def _symmetric(config: Config) -> bool:
    return config.levels["weight_constraint"] == "symmetric"


def _number(config: Config, name: str) -> float:
    """The number's value; 0 where it is not open."""
    return config.numbers.get(name, 0.0)


REFUSED: tuple[Rule, ...] = (
    Rule(
        keys=("warmup_share", "steps"),
        meaning="the warm-up is longer than the training",
        holds=lambda c: _number(c, "warmup_share") > 1,
    ),
    Rule(
        keys=("warmup_fraction", "steps"),
        meaning="the warm-up is longer than the training",
        holds=lambda c: _number(c, "warmup_fraction") > 1,
    ),
    Rule(
        keys=("warmup_share", "cooldown_share"),
        meaning="warm-up and final fall together are longer than the training",
        holds=lambda c: (
            "cooldown_share" in c.numbers and _number(c, "warmup_share") + _number(c, "cooldown_share") > 1
        ),
    ),
    Rule(
        keys=("weight_constraint", "depth"),
        meaning="one hidden layer has no square matrix to be symmetric",
        holds=lambda c: _symmetric(c) and c.setting.depth < (_kind(c).square_from_depth or 0),
    ),
    Rule(
        keys=("weight_constraint", "funnel"),
        meaning="layers of different widths have no square matrix to be symmetric",
        holds=lambda c: _symmetric(c) and _kind(c).can_funnel and c.setting.funnel,
    ),
    Rule(
        keys=("weight_constraint", "network"),
        meaning="kernels are no square matrices, and only those are made symmetric",
        holds=lambda c: _symmetric(c) and _kind(c).square_from_depth is None,
    ),
    Rule(
        keys=("weight_constraint", "activation"),
        meaning="the two maps of a gated layer side by side are no square matrix",
        holds=lambda c: (
            _symmetric(c) and _kind(c).square_from_depth is not None and c.levels["activation"] == "swiglu"
        ),
    ),
    Rule(
        keys=("funnel", "network"),
        meaning="only the widths of a perceptron shrink",
        holds=lambda c: c.setting.funnel and not _kind(c).can_funnel,
    ),
    Rule(
        keys=("warmup", "schedule"),
        meaning="the schedule has a warm-up of its own",
        holds=lambda c: c.levels["warmup"] != "none" and warms_up(c.levels["schedule"]),
    ),
)
"""Combinations that `plan` refuses."""

NOTED: tuple[Rule, ...] = (
    Rule(
        keys=("schedule", "optimizer"),
        meaning="the schedule cycles the learning rate only, because the optimizer has no momentum",
        holds=lambda c: c.levels["schedule"] in MOMENTUM_CYCLES and _no_momentum(c),
        same=frozenset(("one_cycle", "one_cycle_fixed_momentum")),
    ),
    Rule(
        keys=("optimizer", "weight_decay"),
        meaning="AdamW with an L2 penalty is Adam with an L2 penalty",
        holds=lambda c: c.levels["optimizer"] == "adamw" and decay_kind(c.levels) == "coupled",
        same=frozenset(("adam", "adamw")),
    ),
    Rule(
        keys=("plateau_patience", "evaluations"),
        meaning="validation is looked at too rarely for the rate ever to be cut",
        holds=lambda c: (
            "plateau_patience" in c.numbers
            and int(_number(c, "plateau_patience")) + 2 > c.setting.evaluations
        ),
    ),
    Rule(
        keys=("stop_patience", "evaluations"),
        meaning="validation is looked at too rarely for training ever to stop early",
        holds=lambda c: (
            "stop_patience" in c.numbers and int(_number(c, "stop_patience")) + 2 > c.setting.evaluations
        ),
    ),
    Rule(
        keys=("decay_scope", "weight_decay"),
        meaning="nothing decays, so it does not matter what would",
        holds=lambda c: c.levels["decay_scope"] == "weights" and decay_kind(c.levels) == "none",
        same=frozenset(("everything", "weights")),
    ),
    Rule(
        keys=("normalization", "network"),
        meaning="a layer without places has its features for a whole item",
        holds=lambda c: c.levels["normalization"] == "layer_norm_all" and not _kind(c).several_places,
        same=frozenset(("layer_norm", "layer_norm_all")),
    ),
    Rule(
        keys=("dropout", "depth"),
        meaning="the last three hidden layers are all of them",
        holds=lambda c: c.levels["dropout"] == "dropout_last3" and c.setting.depth <= 3,
        same=frozenset(("dropout", "dropout_last3")),
    ),
    Rule(
        keys=("dropout", "activation"),
        meaning="alpha dropout keeps the mean and variance of SELU's outputs, not of others",
        holds=lambda c: c.levels["dropout"] == "alpha_dropout" and c.levels["activation"] != "selu",
    ),
    Rule(
        keys=("dropout", "normalization"),
        meaning="the norm sets anew the mean and variance that alpha dropout keeps",
        holds=lambda c: c.levels["dropout"] == "alpha_dropout" and c.levels["normalization"] != "none",
    ),
    Rule(
        keys=("bias", "initializer"),
        meaning="torch's default draws the same biases of its own",
        holds=lambda c: c.levels["bias"] == "uniform" and c.levels["initializer"] == "torch_default",
        same=frozenset(("as_initializer", "uniform")),
    ),
    Rule(
        keys=("bias", "normalization"),
        meaning="the norm takes a hidden layer's bias away again, or the layer has none",
        holds=lambda c: c.levels["bias"] != "as_initializer" and c.levels["normalization"] in BATCH_NORMS,
    ),
    Rule(
        keys=("residual", "depth"),
        meaning="one hidden layer has a sum with its input only where both have one width",
        holds=lambda c: c.setting.residual and c.setting.depth == 1,
    ),
)
"""Combinations that are allowed and noted."""

EQUAL: tuple[Rule, ...] = (
    Rule(
        keys=("bias", "initializer"),
        meaning="its biases start at zero as it is",
        holds=lambda c: c.levels["bias"] == "zeros" and _starts_at_zero(c),
        same=frozenset(("as_initializer", "zeros")),
    ),
    Rule(
        keys=("dropout", "depth"),
        meaning="the last hidden layer is the only one",
        holds=lambda c: c.levels["dropout"] == "dropout_last1" and c.setting.depth == 1,
        same=frozenset(("dropout", "dropout_last1", "dropout_last3")),
    ),
    Rule(
        keys=("optimizer", "weight_decay"),
        meaning="AdamW is Adam once both decay alike",
        holds=lambda c: c.levels["optimizer"] == "adamw" and c.levels["weight_decay"] != "optimizer_default",
        same=frozenset(("adam", "adamw")),
    ),
    Rule(
        keys=("weight_decay", "optimizer"),
        meaning="the optimizer brings no decay of its own",
        holds=lambda c: c.levels["weight_decay"] == "optimizer_default" and decay_kind(c.levels) == "none",
        same=frozenset(("none", "optimizer_default")),
    ),
    Rule(
        keys=("weight_decay", "optimizer"),
        meaning="that is the decay it brings",
        holds=lambda c: c.levels["weight_decay"] == "decoupled" and c.levels["optimizer"] == "adamw",
        same=frozenset(("decoupled", "optimizer_default")),
    ),
    *(
        Rule(
            keys=("initializer", "activation"),
            meaning="it asks for a gain of 1",
            holds=lambda c: (
                c.levels["initializer"].startswith("activation_gain_")
                and c.levels["activation"] in KEEP_THE_MOMENT
            ),
            same=frozenset((f"activation_gain_{form}", f"lecun_{form}")),
        )
        for form in ("normal", "uniform")
    ),
)
"""Nothing wrong and nothing to note, but two levels that differ elsewhere are one here."""
