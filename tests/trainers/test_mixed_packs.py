"""Members with different activations and different update rules train together as each trains alone."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from search_spaces.activations import ACTIVATION
from search_spaces.config import Precision, Setting
from search_spaces.optimizers import OPTIMIZER
from tests.trainers.packs import TINY, blobs, member, numbers_of, pictures
from tests.trainers.test_pack import assert_close
from trainers.config_audit import check
from trainers.config_audit.reading import BuiltPack
from trainers.loop import manual_backward
from trainers.loop.pack import _Training, train_pack
from trainers.loop.structure import structure_key
from trainers.member import Member
from trainers.networks.perceptron import Perceptron
from trainers.tensors.groups import Group, groups, side_by_side

SETTING = replace(TINY, precision="float32", width=16, batch_size=16, depth=3)
SHARING = [level.name for level in ACTIVATION.levels if level.build.shares]
RULES = OPTIMIZER.names

COMPANY: list[Mapping[str, str]] = [
    {"dropout": "dropout", "clipping": "norm", "weight_decay": "l2", "schedule": "one_cycle"},
    {"weight_constraint": "max_norm", "warmup": "linear", "label_smoothing": "label_smoothing"},
    {"dropout": "alpha_dropout", "weight_decay": "l1", "decay_scope": "weights", "clipping": "value"},
    {"schedule": "performance", "early_stopping": "patience", "dropout": "dropout_inputs"},
    {"weight_decay": "decoupled", "decay_scope": "weights", "clipping": "shrink", "schedule": "one_cycle"},
]
"""What members have beside activation and rule; each asks for something that another does without."""


def pack_of(
    pairs: Sequence[tuple[str, str]],
    shared: Mapping[str, str] | None = None,
    *,
    setting: Setting = SETTING,
    first: int = 0,
) -> list[Member]:
    """A member for each (activation, rule), in an order that is not the pack's; `shared` levels for all."""
    found = []
    for k, (activation, rule) in enumerate(pairs):
        own = dict(COMPANY[k % len(COMPANY)])
        if rule in ("adamw", "muon", "muon_matched"):
            own.pop("weight_decay", None)
            own.pop("decay_scope", None)
        levels = {**own, **(shared or {}), "activation": activation, "optimizer": rule}
        one = member(
            levels=levels,
            numbers={"learning_rate": 0.002 * (k % 7 + 1)},
            setting=setting,
            index=first + k,
            block=k % 2,
            phase="confirm",
        )
        found.append(one)
    return found


THREE_BY_TWO = list(itertools.product(("tanh", "relu", "silu"), ("adam", "momentum")))


def test_runs_are_equal_neighbours() -> None:
    assert groups(["a", "a", "b", "a"]) == (
        Group(level="a", start=0, stop=2),
        Group(level="b", start=2, stop=3),
        Group(level="a", start=3, stop=4),
    )


def test_a_pack_of_one_activation_and_one_rule_keeps_its_order() -> None:
    assert side_by_side([m.config for m in pack_of([("relu", "adam")] * 5)]) == [0, 1, 2, 3, 4]


def test_equal_activations_come_together_and_within_them_equal_rules() -> None:
    configs = [m.config for m in pack_of(THREE_BY_TWO * 2)]
    order = side_by_side(configs)
    for count, factors in ((3, ("activation",)), (6, ("activation", "optimizer"))):
        assert len(groups(["+".join(configs[k].levels[f] for f in factors) for k in order])) == count


@pytest.mark.parametrize("rule", RULES)
def test_every_update_rule_trains_beside_others_as_alone(rule: str) -> None:
    pairs = [("relu", "nesterov"), ("tanh", rule), ("relu", rule), ("relu", "rmsprop"), ("tanh", "adamw")]
    setting = replace(SETTING, precision="float64")
    members = pack_of(pairs, setting=setting)
    for one, packed in zip(members, train_pack(members, blobs()), strict=True):
        assert_close(train_pack([one], blobs())[0], packed, 1e-9)


@pytest.mark.parametrize("rule", RULES)
def test_a_single_follower_of_a_rule_does_not_notice_its_companions(rule: str) -> None:
    """To the bit: in a pack of its own kind, and as the only one that follows its rule."""
    pairs = [("relu", rule)] * 5
    alike = pack_of(pairs)
    other = next(name for name in ("adam", "sgd") if name != rule)
    strangers = pack_of([("tanh", other)] * 4, first=50)
    among = train_pack([*strangers[:2], alike[2], *strangers[2:]], blobs())[2]
    assert numbers_of(among) == numbers_of(train_pack(alike, blobs())[2])


@pytest.mark.parametrize("norm", ["none", "batch_norm", "layer_norm", "rms_norm"])
@pytest.mark.parametrize("residual", [False, True])
def test_every_activation_that_shares_trains_beside_others_as_among_its_own(
    norm: str, residual: bool
) -> None:
    """To the bit, with all of them in one pack."""
    setting = replace(SETTING, residual=residual)
    pairs = [(name, RULES[k % len(RULES)]) for k, name in enumerate(SHARING)]
    mixed = pack_of(pairs, {"normalization": norm}, setting=setting)
    together = train_pack(mixed, blobs())
    for k, (one, packed) in enumerate(zip(mixed, together, strict=True)):
        alike = pack_of([pairs[k]] * 2, {"normalization": norm}, setting=setting, first=70)
        assert numbers_of(train_pack([one, *alike], blobs())[0]) == numbers_of(packed)
    assert len({packed.curve[-1].train_loss for packed in together}) == len(mixed), "all must differ"


def test_permuting_members_permutes_results_to_the_bit() -> None:
    members = pack_of(THREE_BY_TWO * 2, {"normalization": "batch_norm"})
    order = [7, 0, 11, 4, 2, 9, 1, 10, 3, 6, 8, 5]
    straight = train_pack(members, blobs())
    permuted = train_pack([members[i] for i in order], blobs())
    assert [e.slot for e in straight] == [m.slot for m in members]
    for place, i in enumerate(order):
        assert numbers_of(permuted[place]) == numbers_of(straight[i])


def test_who_diverges_changes_nobody_to_the_bit() -> None:
    members = pack_of(THREE_BY_TWO, {"early_stopping": "read_out_only", "clipping": "none"})
    top = OPTIMIZER.level("sgd").ranges[0].high
    bad = member(
        levels={"optimizer": "sgd", "initializer": "std_normal", "activation": "identity"},
        numbers={"learning_rate": top, "init_gain": 4.0},
        setting=SETTING,
        index=1,
        phase="confirm",
    )
    task = blobs("regression")
    members = [replace(m, config=replace(m.config, levels=plain(m))) for m in members]
    quiet = train_pack(members, task)
    loud = train_pack([*members[:3], bad, *members[3:]], task)
    assert loud[3].status == "diverged"
    for k, one in enumerate(quiet):
        assert numbers_of(loud[k if k < 3 else k + 1]) == numbers_of(one)


def plain(one: Member) -> dict[str, str]:
    """A member's levels without label smoothing, which a regression does not know."""
    return {**one.config.levels, "label_smoothing": "none"}


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("norm", ["none", "batch_norm"])
def test_runs_that_end_leave_the_others_to_the_bit(
    precision: Precision, norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All members of one activation, and then of one rule, end before the others."""
    setting = replace(SETTING, precision=precision, steps=60, evaluations=12)
    pairs = [*THREE_BY_TWO, ("elu", "adafactor"), ("leaky_relu", "radam"), ("relu", "sgd")] * 2
    pack = pack_of(pairs, {"normalization": norm, "early_stopping": "read_out_only"}, setting=setting)
    ends = {"silu": 5, "elu": 10}
    pack = [
        replace(m, rungs=((ends.get(a, 20 if rule == "adam" else 60), 0.0),))
        for m, (a, rule) in zip(pack, pairs, strict=True)
    ]
    together = train_pack(pack, blobs(items=400))
    assert {e.steps for e in together} >= {5, 10, 20}
    monkeypatch.setattr("trainers.loop.stack.WORTHWHILE", 0)
    assert [numbers_of(e) for e in train_pack(pack, blobs(items=400))] == [numbers_of(e) for e in together]


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("activation", SHARING)
def test_activations_that_share_keep_the_format_of_their_sums(activation: str, precision: str) -> None:
    """Else the tensor that holds several of them would be of the widest."""
    level = ACTIVATION.level(activation)
    x = torch.linspace(-3, 3, 64).view(2, 4, 8).to(getattr(torch, precision))
    numbers = {r.name: torch.full((2, 1, 1), r.default) for r in level.ranges}
    with torch.autocast("cpu", torch.bfloat16, enabled=precision != "float32"):
        assert level.build.apply(x, **numbers).dtype == x.dtype


def test_what_is_recorded_is_what_is_recorded_alone() -> None:
    setting = replace(SETTING, precision="float64")
    members = pack_of(THREE_BY_TWO, {"early_stopping": "read_out_only"}, setting=setting)
    for one, packed in zip(members, train_pack(members, blobs()), strict=True):
        (alone,) = train_pack([one], blobs())
        assert alone.diagnostics.keys() == packed.diagnostics.keys()
        for name, value in alone.diagnostics.items():
            assert packed.diagnostics[name] == pytest.approx(value, rel=1e-4, abs=1e-9), name


def test_a_mixed_pack_trains_without_autograd_and_has_its_gradients() -> None:
    pairs = [(name, "adam") for name in SHARING]
    training = _Training(pack_of(pairs), blobs(), torch.device("cpu"), "none")
    assert training.manual is not None
    x, y = training.feed.batch(0)
    made, wanted = training._both_gradients(x, y, training.noise.at(0))
    torch.testing.assert_close(made, wanted, rtol=1e-4, atol=1e-6)


# -- what is read back ---------------------------------------------------------------------------


def wired(pack: list[Member]) -> BuiltPack:
    training = _Training(pack, blobs(), torch.device("cpu"), "none")
    return training.built_pack(*training.feed.batch(0), training.noise.at(0))


def changed(pack: list[Member], k: int, factor: str, level: str) -> list[Member]:
    """The pack with another level in one member."""
    one = pack[k]
    same = {"learning_rate": one.config.numbers["learning_rate"]}
    other = member(
        levels={**one.config.levels, factor: level},
        numbers=same,
        setting=one.config.setting,
        index=one.slot.index,
        block=one.slot.block,
        phase="confirm",
    )
    return [*pack[:k], other, *pack[k + 1 :]]


def test_a_mixed_pack_reads_back_as_itself() -> None:
    pairs = [(name, RULES[k % len(RULES)]) for k, name in enumerate(SHARING)]
    for norm in ("none", "batch_norm"):
        check(wired(pack_of(pairs, {"normalization": norm})))


@pytest.mark.parametrize("k", range(12))
@pytest.mark.parametrize(
    ("key", "factor", "level"), [("activation", "activation", "gelu"), ("optimizer", "optimizer", "adamax")]
)
def test_one_member_that_got_another_level_is_noticed(key: str, factor: str, level: str, k: int) -> None:
    bare = dict.fromkeys(("clipping", "weight_decay", "weight_constraint", "dropout"), "none")
    asked = pack_of(THREE_BY_TWO * 2, {**bare, "decay_scope": "everything", "schedule": "constant"})
    have = changed(asked, k, factor, level)
    with pytest.raises(ValueError, match=rf"{key} was asked to be|momentum_number.first was asked to be"):
        check(dataclasses.replace(wired(have), members=asked))


@pytest.mark.parametrize("place", ["trainers.networks.block.groups", "trainers.loop.updates.groups"])
def test_slices_that_are_one_off_are_noticed(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules that have the same numbers, so that nothing else can tell."""
    pack = pack_of(sorted(itertools.product(("tanh", "relu", "silu"), ("adam", "radam"))) * 2)
    pack = [pack[k] for k in side_by_side([m.config for m in pack])]
    check(wired(pack))
    monkeypatch.setattr(place, lambda levels: groups([*levels[1:], levels[-1]]))
    with pytest.raises(ValueError, match=r"(activation|optimizer) was asked to be"):
        check(wired(pack))


def test_a_slice_that_the_written_out_pass_gets_wrong_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    pack = pack_of(sorted(THREE_BY_TWO * 2))

    made = manual_backward._layer

    def all_alike(network: Perceptron, *rest: Any) -> Any:
        return made(
            dataclasses.replace(network, block=dataclasses.replace(network.block, activation_groups=())),
            *rest,
        )

    monkeypatch.setattr(manual_backward, "_layer", all_alike)
    with pytest.raises(ValueError, match="distance from autograd's gradient was asked to be 0"):
        check(wired(pack))


# -- who may share a pack ------------------------------------------------------------------------


@pytest.mark.parametrize(("network", "depth"), [("mlp", 3), ("mlp", 20), ("cnn", 3), ("rnn", 3)])
def test_structure_leaves_out_rules_and_in_shallow_perceptrons_activations_that_share(
    network: str, depth: int
) -> None:
    task = pictures()
    setting = replace(SETTING, network=network, depth=depth)
    mixed = network == "mlp" and depth == 3

    def key(**levels: str) -> str:
        return structure_key(member(levels=levels, setting=setting).config, task)

    assert len({key(optimizer=rule) for rule in RULES}) == 1
    assert len({key(activation=name) for name in SHARING}) == (1 if mixed else len(SHARING))
    apart = [name for name in ACTIVATION.names if name not in SHARING]
    assert set(apart) == {"rrelu", "prelu", "swish_learned", "swiglu"}
    assert len({key(activation=name) for name in (*apart, "relu")}) == len(apart) + 1


@pytest.mark.parametrize("network", ["cnn", "rnn"])
def test_other_networks_mix_rules_as_well(network: str) -> None:
    setting = replace(SETTING, network=network, precision="float64", depth=2, width=8)
    pairs = [("tanh", "adam"), ("tanh", "sgd"), ("tanh", "adam"), ("tanh", "muon")]
    members = pack_of(pairs, {"normalization": "batch_norm"}, setting=setting)
    for one, packed in zip(members, train_pack(members, pictures()), strict=True):
        assert_close(train_pack([one], pictures())[0], packed, 1e-9)


def test_a_network_of_ones_own_keeps_rules_apart() -> None:
    def built(inputs: int, outputs: int, config: Any) -> torch.nn.Module:
        return torch.nn.Linear(inputs, outputs)

    task = replace(blobs(), network=built, honours=frozenset())
    one, other = (member(levels={"optimizer": rule}).config for rule in ("sgd", "adam"))
    assert structure_key(one, task) != structure_key(other, task)
