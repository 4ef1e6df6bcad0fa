"""Every shipped task is sound, declared, and the same in every process."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from mnist1d.data import get_dataset_args, get_templates
from mnist1d.transform import transform
from mnist1d.utils import ObjectView
from scipy.stats import multivariate_normal
from sklearn import datasets

from studies.spec.load import load
from trainers.tasks import (
    FAMILIES,
    ON_REQUEST,
    ROLES,
    ROWS,
    TASKS,
    mixtures,
    pictures,
    sequences,
    surfaces,
    synthetic,
)
from trainers.tasks.bundled_tables import STORED
from trainers.tasks.roles import Role
from trainers.tasks.synthetic import N_TEST, SyntheticTask
from trainers.tasks.tables import TABLES
from trainers.tasks.task import Task
from trainers.tools.task_report import RACED_FROM, inspect

ROOT = Path(__file__).parents[2]
PUBLISHED = {table.name for table in TABLES} | {table.name for table in STORED}
SHIPPED = [row for row in ROWS if row.name not in ON_REQUEST]
GENERATED = [row for row in ROWS if isinstance(row, SyntheticTask)]
CONTINUOUS = [row for row in GENERATED if row.units != "counts"]

SAY_ALL = """
import json
from trainers.tasks import ON_REQUEST, TASKS
said = {}
for name in sorted(set(TASKS) - ON_REQUEST):
    build = TASKS[name]
    task, split = build(), build().split("study", 3)
    said[name] = [task.content_hash, split.train.tolist(), split.validation.tolist(), split.test.tolist()]
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said_elsewhere() -> dict[str, list[Any]]:
    """Hashes and splits of all tasks, as a second process with another hash seed makes them."""
    environment = os.environ | {"PYTHONHASHSEED": "4711", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", SAY_ALL], env=environment, cwd="/", capture_output=True, text=True, check=True
    )
    said: dict[str, list[Any]] = ast.literal_eval(done.stdout)
    return said


@pytest.mark.parametrize("name", [row.name for row in SHIPPED])
def test_a_second_process_makes_the_same_items_and_splits(
    name: str, said_elsewhere: dict[str, list[Any]]
) -> None:
    task, split = TASKS[name](), TASKS[name]().split("study", 3)
    here = [task.content_hash, split.train.tolist(), split.validation.tolist(), split.test.tolist()]
    assert said_elsewhere[name] == here


@pytest.mark.parametrize("row", SHIPPED, ids=lambda row: str(row.name))
def test_a_task_passes_its_inspection_and_declares_what_it_is(row: Any) -> None:
    task = inspect(row.task).task
    assert (task.name, task.family, task.kind) == (row.name, FAMILIES[row.name], row.kind)
    assert task.licence
    assert task.source
    assert task.real == (row.name in PUBLISHED)
    assert np.isfinite(task.x).all()


@pytest.mark.parametrize("row", GENERATED, ids=lambda row: row.name)
def test_a_generated_task_never_trains_on_its_test_set(row: SyntheticTask) -> None:
    seen = inspect(row.task)
    task = seen.task
    assert seen.raced
    assert task.n_test == N_TEST >= 2000
    assert 1500 <= len(task.y) - N_TEST <= 3000
    for block in range(8):
        split = task.split("study", block)
        assert np.array_equal(split.test, np.arange(len(task.y) - N_TEST, len(task.y)))
        assert max(split.train.max(), split.validation.max()) < len(task.y) - N_TEST


@pytest.mark.parametrize("row", CONTINUOUS, ids=lambda row: row.name)
def test_no_test_item_is_a_training_item_where_features_are_continuous(row: SyntheticTask) -> None:
    task = row.task()
    rows = {item.tobytes() for item in task.x[:-N_TEST]}
    assert not any(item.tobytes() in rows for item in task.x[-N_TEST:])


def test_procedural_families_are_many_and_names_unique() -> None:
    assert len({row.family for row in GENERATED}) >= 8
    assert len(TASKS) == len(FAMILIES) == len(ROWS)
    assert max(Counter(FAMILIES.values()).values()) <= 3


def in_role(role: Role) -> set[str]:
    """The families of that role."""
    return {row.family for row in SHIPPED if row.role == role}


def test_every_task_has_one_of_the_roles_and_a_family_only_one() -> None:
    assert set(ROLES) == set(TASKS)
    assert set(ROLES.values()) == set(get_args(Role))
    assert len({(FAMILIES[name], role) for name, role in ROLES.items()}) == len(set(FAMILIES.values()))


def test_there_are_families_enough_to_race_and_to_check_the_verdicts_on() -> None:
    assert in_role("development") == {"wine", "breast_cancer", "diabetes"}
    assert len(in_role("race")) >= 24
    assert len(in_role("external")) >= 8
    assert len({row.family for row in SHIPPED}) >= 35
    assert len({FAMILIES[name] for name in PUBLISHED}) >= 14


@pytest.mark.parametrize("name", [r.name for r in SHIPPED if r.role != "development"])
def test_what_is_evidence_has_test_items_enough(name: str) -> None:
    assert len(TASKS[name]().split("study", 0).test) >= RACED_FROM


def test_the_readme_counts_them_rightly() -> None:
    text = (ROOT / "trainers/README.md").read_text(encoding="utf-8")
    published = {FAMILIES[name] for name in PUBLISHED}
    generated = {row.family for row in SHIPPED} - published
    assert f"**The tasks that ship** are {len(SHIPPED)} in {len(published | generated)} families" in text
    for kind, families in (("published tables", published), ("generated items", generated)):
        counts = [len(families & in_role(role)) for role in get_args(Role)]
        (row,) = [line for line in text.splitlines() if kind in line and line.startswith("|")]
        assert [int(number) for number in re.findall(r"(?<=\| )\d+", row)] == [len(families), *counts]


def shaped(axes: int) -> set[str]:
    """The families of shipped tasks whose items have a shape of that many axes."""
    return {row.family for row in SHIPPED if len(TASKS[row.name]().shape or ()) == axes}


def test_convolutional_and_recurrent_networks_find_families_enough_without_a_download() -> None:
    assert len(shaped(3)) >= 4
    assert len(shaped(2)) >= 4
    assert "digits" in shaped(3) and "penbased" in shaped(2), "measured ones among them"


def test_a_shape_changes_nothing_for_whoever_reads_flat_items() -> None:
    table, images = TASKS["digits"](), TASKS["digits_images"]()
    assert np.array_equal(table.x, images.x) and np.array_equal(table.y, images.y)
    assert (table.shape, images.shape) == (None, (8, 8, 1))
    assert table.content_hash != images.content_hash


def test_what_the_quickstart_has_seen_is_external_to_nothing() -> None:
    assert {ROLES[name] for name in load(ROOT / "studies/specs/quickstart.yaml").tasks} == {"race"}


def test_a_task_is_built_once_per_process() -> None:
    assert TASKS["spirals"]() is TASKS["spirals"]()


def test_features_come_in_units_of_their_own() -> None:
    sd = TASKS["teacher"]().x.std(axis=0)
    assert sd.max() / sd.min() > 10


def test_the_version_moves_the_items() -> None:
    row = next(row for row in GENERATED if row.name == "cells")
    other = SyntheticTask(
        **{f: getattr(row, f) for f in ("name", "family", "role", "kind", "draw", "source")}, version="x"
    )
    assert row.task().content_hash != other.task().content_hash


def test_wrong_labels_are_as_many_as_asked_and_of_any_other_class() -> None:
    true = np.arange(30_000) % 3
    seen = synthetic.with_wrong_labels(np.random.default_rng(0), true, share=0.1, classes=3)
    # SD of a share of 30,000 at 0.1 is 0.0017.
    assert abs((seen != true).mean() - 0.1) < 0.007
    assert set(((seen - true) % 3)[seen != true].tolist()) == {1, 2}


def test_declared_noise_is_the_error_of_the_surface_itself() -> None:
    rng = np.random.default_rng(0)
    surface = rng.standard_normal(50_000)
    y, bayes = synthetic.with_noise(rng, surface, share=0.5)
    error = np.sqrt(((y - surface) ** 2).mean()) / y.std()
    assert bayes == pytest.approx(error, rel=0.02)
    assert bayes == pytest.approx(0.5 / 1.25**0.5, rel=0.02)


def test_the_friedman_surface_is_the_published_one() -> None:
    drawn = surfaces.friedman1(np.random.default_rng(0), 20_000)
    x = drawn.x
    surface = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]
    assert (drawn.y - surface).std() == pytest.approx(1, rel=0.03)
    assert drawn.bayes_error == pytest.approx(1 / drawn.y.std())


def test_the_bayes_rule_of_the_ring_makes_the_declared_error() -> None:
    drawn = mixtures.ringnorm(np.random.default_rng(0), 40_000)
    wide = multivariate_normal(np.zeros(20), 4 * np.eye(20)).logpdf(drawn.x)
    narrow = multivariate_normal(np.full(20, 20**-0.5), np.eye(20)).logpdf(drawn.x)
    # SD of a share of 40,000 near 0.015 is 0.0006.
    assert ((narrow > wide) != (drawn.y == 1)).mean() == pytest.approx(drawn.bayes_error, abs=0.0025)


def test_the_bayes_rule_of_the_display_makes_the_declared_error() -> None:
    drawn = mixtures.led(np.random.default_rng(0), 40_000)
    lit = np.array([[int(c) for c in row] for row in mixtures.SEGMENTS])
    nearest = (drawn.x[:, None, :7] != lit).sum(axis=2).argmin(axis=1)
    # Fewest wrong segments is most likely; SD of a share of 40,000 near 0.15 is 0.0018.
    assert (nearest != drawn.y).mean() == pytest.approx(drawn.bayes_error, abs=0.008)


class Replayed:
    """Numpy's global draws, in the order in which `mnist1d.transform` asks for them."""

    def __init__(self, uniform: Iterator[float], moved: int, normal: Iterator[np.ndarray[Any, Any]]) -> None:
        self.uniform, self.moved, self.normal = uniform, moved, normal

    def rand(self) -> float:
        return next(self.uniform)

    def choice(self, places: int) -> int:
        assert self.moved < places
        return self.moved

    def randn(self, *shape: int) -> np.ndarray[Any, Any]:
        return next(self.normal).reshape(shape)


def test_our_digits_are_the_packages_digits_when_the_draws_are_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    args, full = get_dataset_args(as_dict=True), 72
    templates, times = get_templates()["x"], get_templates()["t"]
    u = rng.random((10, 3))
    moved = rng.integers(1, 48, size=10)
    background, noise = rng.standard_normal((2, 10, full))
    ours = sequences.transformed(
        templates,
        padding=36 + (u[:, 0] * 25).astype(np.int64),
        scale=1 + args["scale_coeff"] * (u[:, 1] - 0.5),
        moved=moved,
        background=args["corr_noise_scale"] * background,
        noise=args["iid_noise_scale"] * noise,
        shear=args["shear_scale"] * (u[:, 2] - 0.5),
        length=args["final_seq_length"],
    )
    for i in range(10):
        replayed = Replayed(iter(u[i]), int(moved[i]), iter((background[i], noise[i])))
        for name in ("rand", "choice", "randn"):
            monkeypatch.setattr(np.random, name, getattr(replayed, name))
        theirs, _ = transform(templates[i], times, ObjectView(args))
        np.testing.assert_allclose(ours[i], theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["digits", "wine", "breast_cancer", "diabetes"])
def test_tables_are_read_as_scikit_learn_reads_them(name: str) -> None:
    unscaled = {"scaled": False} if name == "diabetes" else {}
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True, **unscaled)
    expected = Task.from_arrays(x, y, kind=TASKS[name]().kind, name=name)
    assert np.array_equal(TASKS[name]().x, expected.x)
    assert np.array_equal(TASKS[name]().y, expected.y)


def test_measured_tables_are_unscaled() -> None:
    diabetes: Task = TASKS["diabetes"]()
    assert diabetes.x[:, 0].min() == 19  # years of age


def test_open_places_percolate_exactly_where_a_walk_finds_a_way_down() -> None:
    drawn = pictures.percolation(np.random.default_rng(5), 400)
    side = pictures.SIDE
    found = []
    for picture in drawn.x.reshape(-1, side, side) > 0:
        reached = {(0, column) for column in range(side) if picture[0, column]}
        edge = set(reached)
        while edge:
            around = {(r + dr, c + dc) for r, c in edge for dr, dc in ((1, 0), (-1, 0), (0, 1), (0, -1))}
            edge = {(r, c) for r, c in around if 0 <= r < side and 0 <= c < side and picture[r, c]} - reached
            reached |= edge
        found.append(any(row == side - 1 for row, _ in reached))
    # SD of a share of 400 at 0.05 is 0.011.
    assert (np.array(found) != drawn.y).mean() == pytest.approx(drawn.bayes_error, abs=0.04)


def test_the_sum_of_the_marked_numbers_is_the_target_but_for_the_noise() -> None:
    drawn = sequences.adding(np.random.default_rng(0), 20_000)
    values, marked = np.moveaxis(drawn.x.reshape(-1, 20, 2), -1, 0)
    assert set(marked.sum(axis=1)) == {2}
    error = np.sqrt((((values * marked).sum(axis=1) - drawn.y) ** 2).mean()) / drawn.y.std()
    assert error == pytest.approx(drawn.bayes_error, rel=0.03)
