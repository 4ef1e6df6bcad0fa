"""From partial choices to complete points: what is open, what is refused."""

from __future__ import annotations

import pytest

from search_spaces.catalog import FACTORS
from search_spaces.config import Config, Setting
from search_spaces.regularizers import DECOUPLED_DECAY, L2_DECAY
from search_spaces.space import complete, decay_kind, framework_levels, open_ranges, openers, textbook_levels


def test_nothing_chosen_is_what_a_torch_user_gets() -> None:
    config = complete({})
    assert config.levels == framework_levels()
    assert config.numbers == {"init_gain": 1.0, "learning_rate": 1e-3}
    assert config.setting == Setting()


def test_framework_and_textbook_levels_cover_every_factor() -> None:
    for levels in (framework_levels(), textbook_levels(2), textbook_levels(16)):
        assert list(levels) == list(FACTORS)
        assert set(complete(levels).numbers) == set(open_ranges(levels))


def test_the_textbook_changes_its_mind_with_depth() -> None:
    shallow, deep = textbook_levels(3), textbook_levels(8)
    assert (shallow["activation"], shallow["normalization"]) == ("relu", "none")
    assert (deep["activation"], deep["normalization"]) == ("silu", "batch_norm")


def test_levels_open_their_own_numbers_and_no_others() -> None:
    levels = {**framework_levels(), "optimizer": "adam", "schedule": "performance", "clipping": "norm"}
    assert set(open_ranges(levels)) == {
        "init_gain",
        "learning_rate",
        "beta1",
        "beta2",
        "eps",
        "plateau_patience",
        "plateau_factor",
        "clip_norm",
    }


DECAYS = [
    # optimizer, weight_decay, kind, range
    ("sgd", "optimizer_default", "none", None),
    ("adam", "optimizer_default", "none", None),
    ("adamw", "optimizer_default", "decoupled", DECOUPLED_DECAY),
    ("adamw", "none", "none", None),
    ("adamw", "l2", "coupled", L2_DECAY),
    ("sgd", "l2", "coupled", L2_DECAY),
    ("adam", "decoupled", "decoupled", DECOUPLED_DECAY),
]


@pytest.mark.parametrize(("optimizer", "decay", "kind", "span"), DECAYS)
def test_the_weight_decay_factor_decides_over_the_optimizers_own(
    optimizer: str, decay: str, kind: str, span: object
) -> None:
    levels = {**framework_levels(), "optimizer": optimizer, "weight_decay": decay}
    assert decay_kind(levels) == kind
    assert open_ranges(levels).get("weight_decay") == span


@pytest.mark.parametrize("optimizer", FACTORS["optimizer"].names)
@pytest.mark.parametrize("decay", FACTORS["weight_decay"].names)
def test_a_strength_is_open_exactly_where_something_decays(optimizer: str, decay: str) -> None:
    levels = {**framework_levels(), "optimizer": optimizer, "weight_decay": decay}
    kind, spans = decay_kind(levels), open_ranges(levels)
    assert ("weight_decay" in spans) == (kind in ("decoupled", "coupled"))
    assert ("l1_strength" in spans) == (kind == "l1")


def test_every_pair_of_levels_completes_to_a_point_that_survives_a_round_trip() -> None:
    names = [(factor.name, level) for factor in FACTORS.values() for level in factor.names]
    for one, level in names:
        for other, second in names:
            if one != other:
                config = complete({one: level, other: second})
                assert Config.from_plain(config.plain()) == config


def test_what_is_given_wins_over_base_and_base_over_the_framework() -> None:
    config = complete(
        {"optimizer": "adam"},
        {"learning_rate": 0.01},
        Setting(depth=5),
        base={"optimizer": "sgd", "activation": "tanh"},
    )
    assert config.levels == {**framework_levels(), "optimizer": "adam", "activation": "tanh"}
    assert config.numbers["learning_rate"] == 0.01
    assert config.numbers["beta1"] == 0.9
    assert config.setting.depth == 5


MISTAKES = [
    ({"optimiser": "adam"}, {}, "unknown factor 'optimiser'; did you mean 'optimizer'?"),
    ({"optimizer": "adamv"}, {}, "did you mean 'adam"),
    ({}, {"learningrate": 0.1}, "unknown number 'learningrate'; did you mean 'learning_rate'?"),
    ({}, {"momentum": 0.9}, "'momentum' is not open for these levels: it needs optimizer=momentum or "),
    ({}, {"weight_decay": 0.1}, "it needs weight_decay=decoupled or weight_decay=l2 or optimizer=muon"),
    ({}, {"learning_rate": 1e6}, r"learning_rate = 1000000.0 is outside its limits \[0.0003, 3\]"),
    ({}, {"learning_rate": float("nan")}, "learning_rate = nan is outside"),
    ({}, {"learning_rate": "fast"}, "learning_rate must be a number, not 'fast'"),
    ({}, {"learning_rate": True}, "learning_rate must be a number, not True"),
]


@pytest.mark.parametrize(("levels", "numbers", "message"), MISTAKES)
def test_a_mistake_is_one_message_that_says_what_is_allowed(
    levels: dict[str, str], numbers: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        complete(levels, numbers)


def test_a_mistake_in_base_is_found_too() -> None:
    with pytest.raises(ValueError, match="unknown factor 'activations'"):
        complete({}, base={"activations": "relu"})


def test_a_level_that_is_not_a_name_is_refused_and_not_a_crash() -> None:
    with pytest.raises(ValueError, match="unknown level of factor 'activation'"):
        complete({"activation": None})  # type: ignore[dict-item]


def test_openers_name_the_levels_behind_a_number() -> None:
    assert openers("elu_alpha") == ("activation=elu",)
    assert openers("momentum") == tuple(
        f"optimizer={name}" for name in ("momentum", "nesterov", "muon", "muon_matched")
    )
    assert openers("nonsense") == ()
