"""A pack that narrows as members end trains the others exactly as one that keeps everybody."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch

import trainers.loop.stack
import trainers.tensors.precision
from search_spaces.config import Precision
from tests.trainers.packs import TINY, blobs, member, numbers_of
from trainers.evaluation import Evaluation, Phase
from trainers.loop.pack import train_pack
from trainers.loop.stack import MIN_MEMBERS, Stack
from trainers.member import Member
from trainers.networks import network_for
from trainers.tensors.precision import LossScale

SETTING = replace(TINY, precision="float32", width=16, steps=60, evaluations=12)

RECIPES: list[Mapping[str, str]] = [
    {"optimizer": "adam", "dropout": "dropout", "schedule": "performance", "clipping": "norm"},
    {"optimizer": "muon", "normalization": "batch_norm", "weight_decay": "decoupled"},
    {"optimizer": "nesterov", "activation": "rrelu", "schedule": "one_cycle", "label_smoothing":
     "label_smoothing"},
    {"optimizer": "momentum", "dropout": "dropconnect", "weight_constraint": "max_norm"},
]  # fmt: skip


def members(
    levels: Mapping[str, str], *, phase: Phase = "retune", precision: Precision = "float32"
) -> list[Member]:
    """Nine members: every second one is pruned at one of the first looks, unless it is very good."""
    setting = replace(SETTING, precision=precision)
    cuts = levels.get("schedule") == "performance"
    found = []
    for k in range(9):
        waits = {"plateau_patience": float(k % 3), "plateau_factor": 0.3} if cuts else {}
        rate = (0.011 if cuts else 0.003) * (k + 1)
        one = member(
            levels={**levels, "early_stopping": "patience"},
            numbers={"learning_rate": rate, "stop_patience": 1.0 + k, **waits},
            setting=setting,
            index=k,
            phase=phase,
        )
        found.append(replace(one, rungs=((5 * (k + 1), 0.0),)) if k % 2 else one)
    return found


def trained(
    pack: list[Member], monkeypatch: pytest.MonkeyPatch, *, narrow: bool
) -> tuple[list[Evaluation], int]:
    """Evaluations, and the fewest members that one update was made for."""
    sizes = []
    whole = Stack.narrowed

    def narrowed(stack: Stack, kept_S: torch.Tensor) -> Stack:
        sizes.append(len(kept_S))
        return whole(stack, kept_S)

    with monkeypatch.context() as patch:
        patch.setattr(Stack, "narrowed", narrowed)
        if not narrow:
            patch.setattr(trainers.loop.stack, "WORTHWHILE", 0)
        return train_pack(pack, blobs(items=400)), min(sizes, default=len(pack))


@pytest.mark.parametrize("phase", ["retune", "confirm"])
@pytest.mark.parametrize("levels", RECIPES, ids=lambda levels: levels["optimizer"])
def test_nobodys_numbers_change_to_the_bit(
    levels: Mapping[str, str], phase: Phase, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = members(levels, phase=phase)
    together, all_of_them = trained(pack, monkeypatch, narrow=False)
    narrowed, fewest = trained(pack, monkeypatch, narrow=True)
    assert all_of_them == len(pack)
    assert fewest < len(pack), "nobody ended: there was nothing to narrow"
    assert {e.status for e in narrowed} >= {"pruned"}
    if levels.get("schedule") == "performance":
        late = [[p.learning_rate for p in e.curve if p.step > 30] for e in narrowed]
        assert sum(len(set(rates)) > 1 for rates in late) > 1, "no rate was cut after a narrowing"
    assert [numbers_of(e) for e in narrowed] == [numbers_of(e) for e in together]


def test_loss_scales_of_float16_go_with_their_members(monkeypatch: pytest.MonkeyPatch) -> None:
    """From a scale that overflows, and with one that grows soon, so that members differ in theirs."""
    monkeypatch.setattr(trainers.tensors.precision, "FIRST_SCALE", 2.0**24)
    monkeypatch.setattr(trainers.tensors.precision, "GROWTH_INTERVAL", 5)
    overflows: list[tuple[int, int]] = []
    unscale = LossScale.unscale

    def unscaling(scale: LossScale, grads_KP: torch.Tensor) -> torch.Tensor:
        overflowed_K = unscale(scale, grads_KP)
        overflows.append((len(overflowed_K), int(overflowed_K.sum())))
        return overflowed_K

    monkeypatch.setattr(LossScale, "unscale", unscaling)
    pack = members({"optimizer": "adam"}, precision="float16")
    together, _ = trained(pack, monkeypatch, narrow=False)
    overflows.clear()
    narrowed, fewest = trained(pack, monkeypatch, narrow=True)
    assert fewest < len(pack)
    assert any(0 < n < of == len(pack) for of, n in overflows), "nobody overflowed while another did not"
    assert any(n for of, n in overflows if of < len(pack)), "nothing overflowed after a narrowing"
    assert [numbers_of(e) for e in narrowed] == [numbers_of(e) for e in together]


def test_one_survivor_keeps_company() -> None:
    """A batched product of a single matrix takes another path, whose last bit may differ."""
    stack = train_stack(5)
    training_K = torch.tensor([False, False, False, True, False])
    kept_S = stack.leaving(training_K)
    assert kept_S is not None
    assert kept_S.tolist() == [0, 3]
    assert len(kept_S) == MIN_MEMBERS


def test_few_endings_are_not_worth_a_copy() -> None:
    training_K = torch.ones(17, dtype=torch.bool)
    training_K[4] = False
    assert train_stack(17).leaving(training_K) is None
    training_K[5] = training_K[6] = False
    kept_S = train_stack(17).leaving(training_K)
    assert kept_S is not None
    assert kept_S.tolist() == [0, 1, 2, 3, *range(7, 17)]


def train_stack(count: int) -> Stack:
    """A stack of so many members of a tiny network."""
    pack = [member(index=k) for k in range(count)]
    network = network_for(pack[0].config, blobs())
    starts = [network.start(m.config, m.streams) for m in pack]
    params, buffers = (torch.stack(rows) for rows in zip(*starts, strict=True))
    return Stack(
        network=network,
        configs=[m.config for m in pack],
        rows_S=torch.arange(count),
        params_SP=params,
        buffers_SP=buffers,
    )
