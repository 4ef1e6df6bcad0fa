"""What differs in the user's data differs in float32, or somebody is told; nobody else's bytes move."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from tests.trainers.packs import TINY, member
from trainers.loop.pack import train_pack
from trainers.tasks.task import Task

ITEMS = 400
RNG = np.random.default_rng(3)
MS = np.sort(RNG.uniform(0, 60_000, ITEMS))
NOISE = RNG.normal(size=(ITEMS, 2))
EARLY = (MS > 30_000).astype(int)


def of(column: Any, y: Any = EARLY, kind: Any = "classification", **rest: Any) -> Task:
    """A table whose first column is the one given."""
    columns = [column, *NOISE.T]
    x = np.column_stack(columns) if np.asarray(column).dtype.kind == "f" else np.stack(columns, axis=1)
    return Task.from_arrays(x, y, kind=kind, name="mine", **rest)


def different(values: Any) -> int:
    return len(np.unique(values))


OFFSETS: dict[str, Any] = {
    "milliseconds since 1970": 1.7e12 + MS,
    "seconds since 1970": 1.7e9 + MS / 1000,
    "around a million": 1e6 + NOISE[:, 0],
    "below zero": -4e8 + MS / 1000,
    "differences that only float64 has": 1 + 1e-9 * MS / 60_000,
    "two values one apart": np.where(EARLY == 1, 1e8 + 1, 1e8),
}


@pytest.mark.parametrize("name", OFFSETS)
def test_a_column_is_centred_where_its_offset_would_swallow_what_differs(name: str) -> None:
    column = OFFSETS[name]
    task = of(column)
    assert different(task.x[:, 0]) >= 0.99 * different(column)
    wanted = (column - column.mean()) / column.std()
    found = task.x[:, 0].astype(np.float64)
    found = (found - found.mean()) / found.std()
    assert np.abs(found - wanted).max() < 1e-5, "what z-scoring makes of it"
    before = different(column.astype(np.float32))
    (note,) = task.notes
    assert note.startswith("column 0 (")
    assert f"of {different(column)} different values {before} would have been left" in note
    assert np.array_equal(task.x[:, 1:], NOISE.astype(np.float32)), "the others stay"


def test_the_same_data_from_1970_and_from_zero_train_alike() -> None:
    def error(column: Any) -> float:
        x = np.column_stack([column, NOISE])
        task = Task.from_arrays(x, EARLY, kind="classification", name="blobs")
        (row,) = train_pack([member(index=0)], task)
        return row.validation_metric

    assert error(1.7e12 + MS) == pytest.approx(error(MS), abs=0.02)


def test_whole_numbers_beyond_float64_are_told_apart() -> None:
    ids = np.int64(1 << 60) + RNG.permutation(ITEMS)
    for x in (ids, ids.astype(np.uint64) + np.uint64(1 << 63)):
        task = Task.from_arrays(
            np.stack([x, x % np.asarray(7, x.dtype)], axis=1), EARLY, kind="classification", name="m"
        )
        assert different(task.x[:, 0]) == ITEMS
        assert "of 400 different values 1 would have been left" in task.notes[0]
    python = [[(1 << 70) + int(i), int(i) % 7] for i in ids]
    task = Task.from_arrays(python, EARLY, kind="classification", name="m")
    assert different(task.x[:, 0]) == ITEMS


def test_targets_are_centred_too_and_one_that_varies_is_not_called_constant(tmp_path: Path) -> None:
    x = NOISE[:, 0]
    for y in (1.7e9 + 60 * x, 1e8 + x, np.int64(1 << 60) + RNG.permutation(ITEMS)):
        task = Task.from_arrays(NOISE, y, kind="regression", name="mine")
        assert different(task.y) == ITEMS
        assert task.notes[0].startswith("y (")
    file = tmp_path / "offset.csv"
    file.write_text("a,b,y\n" + "".join(f"{a},{b},{1e8 + float(a)!r}\n" for a, b in NOISE))
    task = Task.from_csv(file, target="y", kind="regression")
    assert np.corrcoef(task.y, x)[0, 1] > 0.999


def test_a_csv_column_has_its_name_and_numbers_too_long_for_float64_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "ids.csv"
    rows = (f"{(1 << 62) + i},{1.7e12 + float(MS[i])!r},{'ab'[EARLY[i]]}\n" for i in RNG.permutation(ITEMS))
    file.write_text("account,time,y\n" + "".join(rows))
    task = Task.from_csv(file, target="y", kind="classification")
    assert different(task.x[:, 0]) == different(task.x[:, 1]) == ITEMS
    assert "column 'account' has 400 different values, 1 of them in float64" in task.notes[0]
    assert task.notes[1].startswith("column 'time' (")


def test_a_dataset_of_float64_items_is_centred_and_one_of_float32_is_told() -> None:
    x = torch.tensor(np.column_stack([1.7e12 + MS, NOISE]))
    task = Task.from_dataset(TensorDataset(x, torch.tensor(EARLY)), kind="classification", name="m")
    assert different(task.x[:, 0]) == ITEMS
    lost = Task.from_dataset(TensorDataset(x.float(), torch.tensor(EARLY)), kind="classification", name="m")
    assert "column 0 (steps of 131072 at 1.7e+12) came in float32, too coarse for it" in lost.notes[0]


def test_the_places_of_an_image_share_what_is_subtracted() -> None:
    images = NOISE[:, :1, None, None] + RNG.normal(size=(ITEMS, 4, 4, 2)) + np.array([0.0, 1e6])
    task = Task.from_arrays(images, EARLY, kind="classification", name="m")
    found = task.x.reshape(images.shape).astype(np.float64)
    assert np.array_equal(found[..., 0], images[..., 0].astype(np.float32))
    offset = images[..., 1] - found[..., 1]
    assert np.ptp(offset) < 1e-6
    assert offset.mean() == pytest.approx(1e6, abs=1)
    assert task.notes == (
        f"channel 1 ({images[..., 1].mean():.12g} was subtracted) was centred before it became float32",
    )


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "beyond float32": (
        lambda: 1e40 * NOISE[:, 0],
        "column 0 has values beyond 3.4e+38, which float32 does not",
    ),
    "denormals": (
        lambda: 1e-40 * NOISE[:, 0],
        "column 0 has 400 different values, 1 of them left in float32: they lie within 1.2e-38 of 0; ",
    ),
    "far below": (lambda: 1e-60 * NOISE[:, 0], "column 0 has 400 different values, 1 of them left"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_rescued_is_refused_with_its_column_and_counts(name: str) -> None:
    column, said = REFUSED[name]
    with pytest.raises(ValueError, match="task 'mine'") as refused:
        of(column())
    assert said in str(refused.value)
    with pytest.raises(ValueError, match="task 'mine': y has") as refused:
        Task.from_arrays(NOISE, column(), kind="regression", name="mine")
    assert said.removeprefix("column 0 ") in str(refused.value)


def test_what_neither_way_keeps_is_noted_with_its_counts() -> None:
    far = np.where(np.arange(ITEMS) % 2 == 0, 1e12, -1e12) + MS / 60_000
    (note,) = of(far).notes
    assert note == "column 0 has 400 different values, 2 of them left in float32, centred or not"


def test_wide_ranges_and_ordinary_columns_stay_what_they_are_to_the_bit() -> None:
    for column in (1e30 * NOISE[:, 0], 1e-30 * NOISE[:, 0], np.exp(20 * NOISE[:, 0]), MS, 100 + NOISE[:, 0]):
        task = of(column)
        assert np.array_equal(task.x[:, 0], column.astype(np.float32))
        assert not task.notes


def test_a_column_that_numbers_the_rows_is_noted_and_training_on_it_goes_on(tmp_path: Path) -> None:
    for start in (0, 1, 1000):
        task = of(np.arange(ITEMS, dtype=float) + start)
        assert task.notes == (
            "column 0 numbers the rows in order: leave it out unless that order means something",
        )
    assert not of(np.arange(ITEMS, dtype=float)[::-1] ** 2).notes
    file = tmp_path / "gaps.csv"
    for name, noted in (("id", True), ("Index", True), ("age", False)):
        file.write_text(
            f"{name},a,y\n" + "".join(f"{3 * i + i % 2},{NOISE[i, 0]},{i % 2}\n" for i in range(ITEMS))
        )
        task = Task.from_csv(file, target="y", kind="classification")
        assert any(f"column '{name}' numbers the rows" in note for note in task.notes) == noted


def test_a_steps_axis_is_no_row_number() -> None:
    x = np.repeat(np.arange(ITEMS, dtype=float)[:, None], 3, axis=1)[..., None]
    assert not Task.from_arrays(x, EARLY, kind="classification", name="m").notes


def test_notes_are_no_part_of_what_a_task_is() -> None:
    a, b = of(np.arange(ITEMS, dtype=float)), of(np.arange(ITEMS, dtype=float), shape=None)
    assert a.content_hash == b.content_hash
    assert TINY.train_size <= ITEMS
