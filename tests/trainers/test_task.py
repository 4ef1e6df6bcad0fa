"""A task refuses data that cannot be learned from, in words that say what to change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from trainers.tasks.task import Task
from trainers.tools.task_report import inspect

RNG = np.random.default_rng(0)
X = RNG.standard_normal((200, 3))
CLASSES = np.arange(200) % 4
TARGETS = X.sum(axis=1)


def classified(**changed: Any) -> Task:
    given: dict[str, Any] = {"x": X, "y": CLASSES, "kind": "classification", "name": "mine"}
    return Task.from_arrays(**given | changed)


def test_splits_are_disjoint_complete_and_a_function_of_study_task_and_block() -> None:
    task = classified()
    split = task.split("s", 0)
    parts = np.concatenate([split.train, split.validation, split.test])
    assert sorted(parts) == list(range(200))
    assert (len(split.train), len(split.validation), len(split.test)) == (120, 30, 50)
    assert np.array_equal(split.train, classified().split("s", 0).train)
    for other in (task.split("s", 1), task.split("t", 0), classified(name="other").split("s", 0)):
        assert not np.array_equal(split.test, other.test)


def test_a_fixed_test_set_is_the_last_items_in_every_block() -> None:
    task = classified(n_test=60)
    for block in range(4):
        split = task.split("s", block)
        assert np.array_equal(split.test, np.arange(140, 200))
        assert sorted(np.concatenate([split.train, split.validation])) == list(range(140))


def test_labels_of_any_sortable_kind_become_class_numbers_in_sorted_order() -> None:
    words = np.array(["pear", "apple", "fig", "plum"])[CLASSES]
    assert classified(y=words).y[:4].tolist() == [2, 0, 1, 3]
    assert classified(y=CLASSES == 0).y[:4].tolist() == [1, 0, 0, 0]
    assert classified(y=CLASSES * 10.0).n_classes == 4
    assert classified(y=CLASSES[:, None]).y.shape == (200,)


def test_images_are_flattened_and_the_users_arrays_are_copied() -> None:
    images = X.astype(np.float32).reshape(100, 2, 3)
    task = classified(x=images, y=CLASSES[:100])
    images[:] = np.nan
    assert task.n_inputs == 6
    assert np.isfinite(task.x).all()


def test_items_of_two_or_three_axes_keep_their_shape_and_lie_row_major() -> None:
    images = RNG.standard_normal((200, 4, 3, 2)).astype(np.float32)
    task = classified(x=images)
    assert task.shape == (4, 3, 2) and task.is_image
    assert np.array_equal(task.x.reshape(-1, 4, 3, 2), images)
    sequences = classified(x=images[..., 0])
    assert sequences.shape == (4, 3) and not sequences.is_image
    assert classified().shape is None
    assert classified(x=images[..., None]).shape is None, "five axes are neither"


def test_a_shape_can_be_said_in_words() -> None:
    flat = RNG.standard_normal((200, 12))
    assert classified(x=flat, shape=(3, 4, 1)).shape == (3, 4, 1)
    assert classified(x=flat.reshape(200, 3, 4), shape=[3, 4, 1]).shape == (3, 4, 1)
    assert classified(x=flat.reshape(200, 3, 4), shape=None).shape is None


def test_the_content_hash_sees_a_shape_and_is_what_it_was_without_one() -> None:
    table = classified()
    shaped = [
        classified(shape=(3, 1)),
        classified(shape=(1, 3)),
        classified(shape=(3, 1), augmentations=["shift"]),
    ]
    assert len({task.content_hash for task in (table, *shaped)}) == 4
    assert table.content_hash == "f7cea67e3730eedb5af2", "studies in ledgers know their tasks by it"


def test_the_content_hash_sees_items_items_labels_splitting_and_version() -> None:
    task = classified()
    assert task.content_hash == classified().content_hash
    moved = X.copy()
    moved[7, 1] += 1e-3
    relabelled = CLASSES.copy()
    relabelled[0] = 1
    changed = [classified(x=moved), classified(y=relabelled), classified(n_test=50), classified(version="2")]
    assert len({task.content_hash, *(t.content_hash for t in changed)}) == 5


BAD_SHAPES: dict[str, tuple[dict[str, Any], str]] = {
    "another number of features": ({"shape": (2, 2)}, "shape = (2, 2) must be (height, width, channels)"),
    "one axis": ({"shape": (3,)}, "whose product is its 3 features"),
    "four axes": ({"shape": (1, 1, 3, 1)}, "(steps, channels)"),
    "no whole numbers": ({"shape": (1.5, 2)}, "whole numbers"),
    "not a tuple": ({"shape": "3x1"}, "shape = '3x1'"),
    "unknown augmentation": ({"augmentations": {"crop"}}, "names among flip, rotation, shift"),
    "augmentations given as text": ({"augmentations": "flip"}, "must be a frozenset"),
    "a table that is shifted": ({"augmentations": {"shift"}}, "tables by none"),
    "a sequence that is flipped": ({"augmentations": ["flip"], "shape": (3, 1)}, "sequences by shift"),
}


@pytest.mark.parametrize("case", BAD_SHAPES)
def test_a_shape_that_does_not_fit_is_refused(case: str) -> None:
    changed, said = BAD_SHAPES[case]
    with pytest.raises(ValueError, match="task 'mine'") as refused:
        classified(**changed)
    assert said in str(refused.value)


BAD_ARRAYS: dict[str, tuple[dict[str, Any], str]] = {
    "NaN in x": ({"x": np.where(np.arange(600).reshape(200, 3) == 31, np.nan, X)}, "first in item 10"),
    "beyond float32": ({"x": X * 1e300}, "column 0 has values beyond 3.4e+38, which float32 does not hold"),
    "text in x": ({"x": np.full((200, 3), "red")}, "x must be real numbers"),
    "complex x": ({"x": X * 1j}, "not a real number"),
    "ragged x": ({"x": [[1.0], [1.0, 2.0]] * 100}, "x must be real numbers"),
    "x is one number": ({"x": 3.0}, "0 rows of x"),
    "x has no features": ({"x": np.empty((200, 0))}, "0 rows of x"),
    "x never differs": ({"x": np.ones((200, 3))}, "no feature that differs"),
    "lengths differ": ({"y": CLASSES[:-1]}, "200 rows of x but y of shape (199,)"),
    "y is one-hot": ({"y": np.eye(4)[CLASSES]}, "one value for each item"),
    "NaN label": (
        {"y": np.where(CLASSES == 0, np.nan, CLASSES)},
        "the class of item 0 (and of 49 more) is missing (nan)",
    ),
    "infinite label": ({"y": np.where(CLASSES == 0, np.inf, CLASSES)}, "y has infinite labels"),
    "labels of two kinds": ({"y": np.array([1, "a"] * 100, dtype=object)}, "to be sorted"),
    "text and numbers in a list": ({"y": [1, "a"] * 100}, "of one kind, not text and numbers"),
    "one class": ({"y": np.zeros(200)}, "one class only"),
    "rare class": ({"y": np.where(np.arange(200) < 3, 1, 0)}, "class number 1 has 3 items"),
    "a class only in the test set": (
        {"y": np.arange(200) // 150, "n_test": 50},
        "class number 1 has 0 items",
    ),
    "targets given as classes": ({"y": TARGETS}, "is this regression?"),
    "constant target": ({"y": np.ones(200), "kind": "regression"}, "y is constant"),
    "infinite target": (
        {"y": np.where(TARGETS > 0, np.inf, TARGETS), "kind": "regression"},
        "y has NaN or infinite values",
    ),
    "text target": ({"y": ["high"] * 200, "kind": "regression"}, "y must be real numbers"),
    "too few": ({"x": X[:39], "y": CLASSES[:39]}, "39 items; at least 40"),
    "no items": ({"x": [], "y": []}, "0 items; at least 40"),
    "unknown kind": ({"kind": "ranking"}, "classification or regression, not 'ranking'"),
    "n_test too large": ({"n_test": 190}, "must leave at least 20 of 200"),
    "n_test not whole": ({"n_test": 0.25}, "must be a whole number"),
    "n_test true": ({"n_test": True}, "must be a whole number"),
    "name with a slash": ({"name": "../mine"}, "its name '../mine' must match"),
    "name too long": ({"name": "m" * 65}, "must match"),
    "empty name": ({"name": ""}, "must match"),
    "name with a newline": ({"name": "mine\n"}, "must match"),
    "name not text": ({"name": 7}, "its name 7 must match"),
    "family not text": ({"family": None}, "its family None must match"),
    "misspelt field": ({"licens": "MIT"}, "did you mean 'licence'?"),
    "Bayes error in points": ({"bayes_error": 5.0}, "bayes_error = 5.0 must be in [0, 1)"),
    "Bayes error NaN": ({"bayes_error": float("nan")}, "bayes_error = nan"),
    "network not a function": ({"network": 3}, "network must be a function"),
    "honours without a network": ({"honours": ["dropout"]}, "network is None"),
    "honours of a factor outside": (
        {"honours": {"schedule"}, "network": torch.nn.Linear},
        "among activation",
    ),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_what_cannot_be_a_task_is_refused_in_one_message_that_names_it(case: str) -> None:
    changed, said = BAD_ARRAYS[case]
    with pytest.raises(ValueError, match=r".") as refused:
        classified(**changed)
    assert said in str(refused.value)


def test_a_task_built_by_hand_is_held_to_the_same() -> None:
    task = classified()
    for changed, said in [
        ({"x": X}, "Task.from_arrays converts them"),
        ({"y": CLASSES.astype(np.int32)}, "y int64, not float32 and int32"),
        ({"y": CLASSES + 1}, "class numbers 0..C-1"),
        ({"y": CLASSES * 2}, "class numbers 0..C-1"),
        ({"honours": {"dropout"}, "network": torch.nn.Linear}, "frozenset"),
    ]:
        with pytest.raises(ValueError, match=r".") as refused:
            replace(task, **changed)  # type: ignore[arg-type]
        assert said in str(refused.value)


def csv_file(folder: Path, text: str | bytes) -> Path:
    file = folder / "flowers.csv"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def test_a_csv_file_becomes_a_task(tmp_path: Path) -> None:
    lines = ["width,kind,height", *(f"{i},{'ab'[i % 2]},{i / 2}" for i in range(50)), "", ""]
    file = csv_file(tmp_path, b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    task = Task.from_csv(file, target="kind", kind="classification", licence="CC0-1.0")
    assert (task.name, task.n_inputs, task.n_classes, task.licence) == ("flowers", 2, 2, "CC0-1.0")
    assert task.x[3].tolist() == [3.0, 1.5]
    assert task.y[:3].tolist() == [0, 1, 0]
    regression = Task.from_csv(csv_file(tmp_path, "a,b\n" + "1,2\n3,4\n" * 30), target="b", kind="regression")
    assert regression.y[:2].tolist() == [2.0, 4.0]


BAD_FILES: dict[str, tuple[str | bytes, str]] = {
    "ragged, seen before cells are parsed": ("a,b,y\n1,2,0\n1,1\nx,2,0\n", "line 3: 2 cells"),
    "longer line": ("a,y\n1,0\n1,1,1\n", "line 3: 3 cells, but the first line names 2"),
    "text": ("a,y\n1,0\n\nred,1\n", "line 4, column 'a': 'red' is not a finite number"),
    "missing cell": ("a,y\n,0\n", "line 2, column 'a': '' is not"),
    "NaN": ("a,y\nnan,0\n", "column 'a': 'nan' is not a finite number"),
    "missing class": ("a,y\n1,\n", "column 'y': the class is missing"),
    "missing class in words": ("a,y\n1,yes\n2,NA\n", "line 3, column 'y': the class is missing (NA)"),
    "nameless column": (",a,y\n0,1,0\n", "column 1 has no name; if it is a row number, leave it out"),
    "two nameless columns": ("a,,y,\n0,1,0,3\n", "column 2 has no name"),
    "named by pandas": ("a,Unnamed: 1,y\n0,1,0\n", "column 2 ('Unnamed: 1') has no name"),
    "no such column": ("a;y\n1;0\n", "has no column 'y'; its first line names 'a;y'"),
    "no features": ("y\n1\n", "at least one feature"),
    "column named twice": ("a,a,y\n1,2,0\n", "names a column twice: 'a'"),
    "empty": ("", "it is empty"),
    "header only": ("a,y\n", "0 items"),
    "not UTF-8": ("a,y\n1,é\n".encode("latin-1"), "not UTF-8"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_csv_file_is_refused_with_its_line(case: str, tmp_path: Path) -> None:
    text, said = BAD_FILES[case]
    with pytest.raises(ValueError, match="task 'flowers'") as refused:
        Task.from_csv(csv_file(tmp_path, text), target="y", kind="classification")
    assert said in str(refused.value)


def test_a_csv_file_that_is_missing_or_a_folder_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(ValueError, match=f"no file {path}"):
            Task.from_csv(path, target="y", kind="regression", name="mine")


class Items(Dataset[Any]):
    """A dataset of whatever items it is given."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> Any:
        return self.items[i]


class Stream(IterableDataset[Any]):
    """A dataset without a length."""

    def __iter__(self) -> Iterator[Any]:
        return iter([(X[0], 1)] * 50)


def test_a_torch_dataset_becomes_the_task_of_its_arrays() -> None:
    x = torch.tensor(X, dtype=torch.float32, requires_grad=True)
    task = Task.from_dataset(TensorDataset(x, torch.tensor(CLASSES)), kind="classification", name="mine")
    assert task.content_hash == classified().content_hash


def test_torch_images_of_a_dataset_become_channels_last() -> None:
    images = torch.tensor(RNG.standard_normal((50, 3, 4, 5)), dtype=torch.float32)
    labels = [0, 1] * 25
    task = Task.from_dataset(Items(list(zip(images, labels, strict=True))), kind="classification", name="m")
    assert task.shape == (4, 5, 3)
    assert np.array_equal(task.x[7].reshape(4, 5, 3), images[7].permute(1, 2, 0).numpy())
    arrays = [(image.permute(1, 2, 0).numpy(), label) for image, label in zip(images, labels, strict=True)]
    same = Task.from_dataset(Items(arrays), kind="classification", name="m")
    assert same.content_hash == task.content_hash, "an array is channels last already"


def test_pil_images_and_sequences_of_a_dataset_keep_their_shape() -> None:
    grey = RNG.integers(0, 256, size=(50, 4, 6)).astype(np.uint8)
    pictures = Items([(Image.fromarray(image), i % 2) for i, image in enumerate(grey)])
    task = Task.from_dataset(pictures, kind="classification", name="m")
    assert task.shape == (4, 6, 1)
    assert np.array_equal(task.x[3].reshape(4, 6), grey[3])
    steps = Items([(torch.tensor(image), i % 2) for i, image in enumerate(grey)])
    assert Task.from_dataset(steps, kind="classification", name="m").shape == (4, 6)


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        (Stream(), "has no length"),
        (Items([X[0]] * 50), "item 0 of the dataset is ndarray, not a pair"),
        (Items([(X[0], 1), (X[0, :2], 0)] * 25), "item 1 of the dataset: x has shape (2,), item 0 has (3,)"),
        (Items([(X[0], [0, 1])] * 50), "y must be one value"),
        (Items([("red", 0)] * 50), "x must be numbers"),
        (Items([]), "0 items"),
    ],
)
def test_a_dataset_that_is_no_table_of_pairs_is_refused(dataset: Dataset[Any], said: str) -> None:
    with pytest.raises(ValueError, match="task 'mine'") as refused:
        Task.from_dataset(dataset, kind="classification", name="mine")
    assert said in str(refused.value)


def test_an_inspection_says_what_a_task_holds() -> None:
    seen = inspect(classified)
    assert (seen.train, seen.validation, seen.test, seen.raced) == (120, 30, 50, False)
    assert 0.5 < seen.trivial_error < 1


def test_an_inspection_refuses_a_task_that_differs_between_builds() -> None:
    draws = iter(range(2))
    with pytest.raises(ValueError, match="two builds differ"):
        inspect(lambda: classified(x=X + next(draws)))
