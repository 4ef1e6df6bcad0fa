"""The examples in the docstrings of what users call run as shown."""

from __future__ import annotations

import doctest
from typing import Any

import pytest

from search_spaces.activations import Activation
from search_spaces.factor import Factor
from search_spaces.initializers import Initializer
from search_spaces.space import complete
from trainers.fetching import fetched
from trainers.loop.pack import train_pack
from trainers.task import Task

DOORS = (
    *(Activation, Factor, Initializer, complete, fetched, train_pack),
    *(Task, Task.from_arrays, Task.from_csv, Task.from_dataset),
)
"""What has an example."""


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__qualname__)
def test_its_example_runs_as_shown(door: Any) -> None:
    finder = doctest.DocTestFinder(recurse=False)
    module = __import__(door.__module__, fromlist=["_"])
    (example,) = finder.find(door, door.__qualname__, module=module, globs=vars(module).copy())
    assert example.examples, "no example"
    said: list[str] = []
    failed, _ = doctest.DocTestRunner().run(example, out=said.append)
    assert not failed, "".join(said)


def test_an_example_that_lies_is_noticed() -> None:
    example = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "planted", None, 0)
    assert doctest.DocTestRunner().run(example, out=lambda text: None).failed == 1
