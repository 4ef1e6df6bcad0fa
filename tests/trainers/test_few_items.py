"""Every training size that the catalogue allows trains: 8 items are the fewest."""

from __future__ import annotations

import dataclasses

import pytest

from search_spaces.config import SETTING_LIMITS
from search_spaces.input_scaling import INPUT_SCALING
from tests.trainers.packs import TINY, blobs, member, pictures
from trainers.loop.pack import train_pack
from trainers.tasks.task import Task

FEWEST = SETTING_LIMITS["train_size"][0]


@pytest.mark.parametrize("items", range(FEWEST, 18))
@pytest.mark.parametrize("batch", [2, 4, 64])
def test_a_pack_trains_on_as_few_items_as_a_setting_may_ask_for(items: int, batch: int) -> None:
    setting = dataclasses.replace(TINY, train_size=items, batch_size=batch, steps=6, precision="float32")
    for kind in ("classification", "regression"):
        rows = train_pack([member(setting=setting, phase="confirm")], blobs(kind), diagnostics="ends")
        assert [row.status for row in rows] == ["finished"]


@pytest.mark.parametrize("scaling", [level.name for level in INPUT_SCALING.levels])
@pytest.mark.parametrize("task", [blobs(), pictures()], ids=["table", "images"])
def test_however_their_inputs_are_scaled(scaling: str, task: Task) -> None:
    setting = dataclasses.replace(TINY, train_size=FEWEST, batch_size=4, steps=6)
    (row,) = train_pack([member(levels={"input_scaling": scaling}, setting=setting)], task)
    assert row.status == "finished"
