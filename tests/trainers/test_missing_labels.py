"""What stands for a missing class is no class, unless somebody says that one is called that."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from trainers.tasks.task import Task

ITEMS = 200
X = np.random.default_rng(5).normal(size=(ITEMS, 3))
LABELS = ["yes" if value > 0 else "no" for value in X[:, 0]]
LOST = [i for i in range(ITEMS) if i % 5 == 2]


def with_holes(hole: Any, labels: Any = LABELS) -> list[Any]:
    return [hole if i in LOST else label for i, label in enumerate(labels)]


def classified(y: Any, **rest: Any) -> Task:
    return Task.from_arrays(X, y, kind="classification", name="mine", **rest)


WORDS = (
    "nan",
    "NaN",
    "-nan",
    "NA",
    "N/A",
    "#N/A",
    "<NA>",
    "null",
    "NULL",
    "None",
    "NaT",
    "?",
    "",
    "  ",
    "\\N",
)
VALUES = (None, float("nan"), np.nan, np.float32("nan"), pd.NA, pd.NaT, np.datetime64("NaT"), Decimal("NaN"))


@pytest.mark.parametrize("hole", [*WORDS, *VALUES], ids=repr)
def test_a_missing_class_is_refused_however_it_is_written_and_passed(hole: Any, tmp_path: Path) -> None:
    said = "the class of item 2 (and of 39 more) is missing"
    given = with_holes(hole)
    for y in (given, tuple(given), [[label] for label in given], np.array(given, dtype=object)):
        with pytest.raises(ValueError, match="task 'mine'") as refused:
            classified(y)
        assert said in str(refused.value)
        assert "classes=[...]" in str(refused.value)
    if isinstance(hole, str):
        with pytest.raises(ValueError, match="task 'mine'") as refused:
            classified(np.array(given))
        assert said in str(refused.value)

    class Items:
        def __len__(self) -> int:
            return ITEMS

        def __getitem__(self, i: int) -> tuple[Any, Any]:
            return X[i], given[i]

    with pytest.raises(ValueError, match="task 'mine'") as refused:
        Task.from_dataset(Items(), kind="classification", name="mine")
    assert said in str(refused.value)


@pytest.mark.parametrize("word", [word for word in WORDS if word.strip()])
def test_a_missing_class_in_a_file_is_refused_with_its_line(word: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("a,y\n" + "".join(f"{X[i, 0]},{y}\n" for i, y in enumerate(with_holes(word))))
    with pytest.raises(ValueError, match="task 'mine'") as refused:
        Task.from_csv(file, target="y", kind="classification")
    assert f"line 4, column 'y': the class is missing ({word})" in str(refused.value)
    task = Task.from_csv(file, target="y", kind="classification", classes=[word, "yes", "no"])
    assert task.n_classes == 3


@pytest.mark.parametrize(
    "y",
    [
        pd.Series(with_holes(None)),
        pd.Series(with_holes(None), dtype="string"),
        pd.Series(with_holes(None), dtype="category"),
        pd.Series(with_holes(None, range(ITEMS)), dtype="Int64"),
        np.ma.masked_array(LABELS, mask=[i in LOST for i in range(ITEMS)]),
        np.array(with_holes("NaT", ["2020-01-01"] * ITEMS), dtype="datetime64[D]"),
        np.array(with_holes(b"nan", [b"a"] * ITEMS)),
    ],
    ids=["object", "string", "category", "Int64", "masked", "times", "bytes"],
)
def test_missing_classes_of_frames_and_of_other_arrays_are_refused(y: Any) -> None:
    with pytest.raises(ValueError, match=r"item 2 .*is missing|masked in item 2"):
        classified(y)


def test_who_means_a_class_of_that_name_says_so() -> None:
    named = [*("none", "mild", "severe")] * 66 + ["none"] * 2
    with pytest.raises(ValueError, match=r"item 0 \(and of 67 more\) is missing \('none'\)"):
        classified(named)
    task = classified(named, classes=["severe", "none", "mild"])
    assert task.y[:3].tolist() == [1, 0, 2], "in sorted order, as without"
    with pytest.raises(
        ValueError, match=r"item 2 has the class 'severe', which is not one of classes = none, mild"
    ):
        classified(named, classes=["none", "mild"])
    with pytest.raises(ValueError, match="must be a list of all labels"):
        classified(named, classes="none")
    with pytest.raises(ValueError, match=r"item 2 \(and of 39 more\) is missing \(None\)"):
        classified(with_holes(None), classes=["yes", "no"])
    with pytest.raises(ValueError, match="classes are named, but kind is 'regression'"):
        Task.from_arrays(X, X[:, 0], kind="regression", name="mine", classes=["a"])


def test_ordinary_labels_are_left_alone() -> None:
    for y in (LABELS, np.array(LABELS), [1, 0] * 100, [True, False] * 100, ["nano", "nat"[::-1]] * 100):
        assert classified(y).n_classes == 2


@pytest.mark.parametrize("hole", [None, pd.NA, float("nan"), "NA", "?"], ids=repr)
def test_a_missing_input_is_refused_with_its_place(hole: Any) -> None:
    x = [list(row) for row in X.tolist()]
    x[7][1] = hole
    with pytest.raises(ValueError, match="task 'mine'") as refused:
        Task.from_arrays(x, LABELS, kind="classification", name="mine")
    said = "x has a missing value" if hole is None or hole is pd.NA else "x "
    assert said in str(refused.value)
    if hole is None:
        assert "x has a missing value (None) in item 7, column 1" in str(refused.value)
    masked = np.ma.masked_where(np.arange(X.size).reshape(X.shape) == 4, X)
    with pytest.raises(ValueError, match="x has masked values"):
        Task.from_arrays(masked, LABELS, kind="classification", name="mine")
