"""Stopping by patience: who stops, when, and that both read-outs are still there."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tests.trainers.packs import TINY, blobs, member, numbers_of
from trainers.evaluation import Evaluation
from trainers.loop.pack import train_pack
from trainers.loop.validation_log import Patience
from trainers.member import Member

LOOKS, EVERY = 20, 5
SETTING = dataclasses.replace(TINY, steps=LOOKS * EVERY, evaluations=LOOKS)
RATE = {"learning_rate": 0.3}
"""High enough that validation soon stops improving."""


def patient(looks: float, index: int = 0) -> Member:
    return member(
        levels={"early_stopping": "patience"},
        numbers={**RATE, "stop_patience": looks},
        setting=SETTING,
        index=index,
        phase="confirm",
    )


def endless(index: int = 0, steps: int = SETTING.steps) -> Member:
    setting = dataclasses.replace(SETTING, steps=steps, evaluations=steps // EVERY)
    return member(numbers=RATE, setting=setting, index=index, phase="confirm")


def stop_of(evaluation: Evaluation, patience: int) -> int:
    """The step at which a member of that patience must stop, read off a whole curve."""
    best, bad = (float("inf"), float("inf")), 0
    for point in evaluation.curve:
        found = (point.validation_metric, point.validation_loss)
        best, bad = (found, 0) if found < best else (best, bad + 1)
        if bad > patience:
            return point.step
    return SETTING.steps


@pytest.mark.parametrize("patience", [1, 3])
def test_a_member_stops_at_the_first_look_beyond_its_patience(patience: int) -> None:
    (whole,) = train_pack([endless()], blobs())
    (stopped,) = train_pack([patient(patience + 0.9)], blobs())
    expected = stop_of(whole, patience)
    assert expected < SETTING.steps, "it must stop early for this to say anything"
    assert (stopped.status, stopped.steps) == ("finished", expected)
    assert stopped.curve == whole.curve[: expected // EVERY]
    assert (
        stopped.best_step == min((p.validation_metric, p.validation_loss, p.step) for p in stopped.curve)[2]
    )


def test_both_read_outs_are_those_of_a_training_of_that_length() -> None:
    (stopped,) = train_pack([patient(2)], blobs())
    (short,) = train_pack([endless(steps=stopped.steps)], blobs())
    assert stopped.steps < SETTING.steps
    assert stopped.test == short.test
    assert stopped.validation_metric == short.validation_metric


def test_members_stop_one_by_one_and_those_without_patience_train_to_the_end() -> None:
    members = [patient(1, 0), patient(4, 0), endless(2), patient(1, 3)]
    together = train_pack(members, blobs())
    for one, packed in zip(members, together, strict=True):
        (alone,) = train_pack([one], blobs())
        assert (alone.steps, alone.best_step) == (packed.steps, packed.best_step)
        assert alone.test == pytest.approx(packed.test)
    assert together[0].steps < together[1].steps <= together[2].steps == SETTING.steps


def test_a_pack_in_which_everybody_has_stopped_trains_no_further() -> None:
    seen: list[float] = []
    (one,) = train_pack([patient(1)], blobs(), on_progress=seen.append)
    assert seen[-1] == pytest.approx(one.steps / SETTING.steps)
    assert numbers_of(one)["steps"] < SETTING.steps


def test_patience_starts_anew_at_every_improvement() -> None:
    rule = Patience(torch.tensor([1.0, float("inf")]))
    looks = [True, False, True, False, False, False]
    stops = [rule.update(torch.tensor([better, better])).tolist() for better in looks]
    assert stops == [[False, False]] * 4 + [[True, False]] * 2
