"""A dataset that is another each time it is read is no task: items are read twice."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from trainers.tasks.task import Task

X = np.random.default_rng(2).normal(size=(300, 6)).astype(np.float32)


class Changed:
    """Items of which `change(x, i)` is what is read."""

    def __init__(
        self, change: Callable[[Any, int], Any], label: Callable[[int], Any] = lambda i: i % 2
    ) -> None:
        self.change, self.label = change, label

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, i: int) -> tuple[Any, Any]:
        return self.change(X[i].copy(), i), self.label(i)


def task(dataset: Any) -> Task:
    return Task.from_dataset(dataset, kind="classification", name="mine")


OWN = np.random.default_rng(0)
reads: list[int] = []


def counted(x: Any, i: int) -> Any:
    reads.append(i)
    return x + len(reads)


RANDOM: dict[str, Changed] = {
    "torch noise": Changed(lambda x, i: torch.from_numpy(x) + 0.1 * torch.randn(6)),
    "numpy's global generator": Changed(lambda x, i: x + np.random.normal(size=6)),  # noqa: NPY002
    "Python's": Changed(lambda x, i: x[::-1].copy() if random.random() < 0.5 else x),
    "one in ten": Changed(lambda x, i: x * 0 if random.random() < 0.1 else x),
    "a generator of its own": Changed(lambda x, i: x + OWN.normal()),
    "a count of reads": Changed(counted),
    "labels": Changed(lambda x, i: x, label=lambda i: random.randrange(2)),
    "only the last items": Changed(lambda x, i: x + random.random() * (i == 299)),
}


@pytest.mark.parametrize("name", RANDOM)
def test_a_dataset_that_changes_between_reads_is_refused_with_a_way_out(name: str) -> None:
    with pytest.raises(ValueError, match=r"task 'mine': item [0-9]+ of the dataset is another") as refused:
        task(RANDOM[name])
    assert "make the dataset deterministic" in str(refused.value)
    assert "augmentations={'shift', 'flip', 'rotation'}" in str(refused.value)


def test_a_deterministic_one_is_read_as_before_even_with_a_buffer_of_its_own() -> None:
    buffer = np.empty(6, np.float32)

    def into_buffer(x: Any, i: int) -> Any:
        buffer[:] = x
        return buffer

    def seeded(x: Any, i: int) -> Any:
        return x + np.random.default_rng(i).normal(size=6).astype(np.float32)

    plain = Task.from_arrays(X, np.arange(300) % 2, kind="classification", name="mine")
    assert task(Changed(into_buffer)).content_hash == plain.content_hash
    assert task(Changed(seeded)).n_inputs == 6
    not_a_number = Changed(lambda x, i: np.where(np.arange(6) == 0, np.nan, x))
    with pytest.raises(ValueError, match="x has NaN"):
        task(not_a_number)


def test_reading_twice_leaves_the_global_generators_where_one_pass_leaves_them() -> None:
    def draws(x: Any, i: int) -> Any:
        _ = random.random(), np.random.normal(), torch.rand(1)  # noqa: NPY002
        return x

    def following(read: Callable[[], Any]) -> tuple[float, float, float]:
        random.seed(1)
        np.random.seed(1)  # noqa: NPY002
        torch.manual_seed(1)
        read()
        return random.random(), np.random.normal(), float(torch.rand(1))  # noqa: NPY002

    dataset = Changed(draws)
    once = following(lambda: [dataset[i] for i in range(300)])
    assert following(lambda: task(dataset)) == once
