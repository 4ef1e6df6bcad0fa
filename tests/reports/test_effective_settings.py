"""A row says what ran under its labels: what the data cut, levels that trained alike, one never trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reports.evidence.budget import Margin
from reports.evidence.effective_settings import training_items, what_ran
from reports.evidence.question import Question
from reports.evidence.study_record import StudyRecord
from reports.pages.index_page import noted, write_index
from reports.pages.study_page import write_report
from reports.verdicts.headline import other_orders
from reports.verdicts.sentences import answer
from reports.verdicts.validity_scope import scope_of
from reports.verdicts.verdict import verdicts
from search_spaces.config import Setting
from tests.reports.planted import LEVELS, noisy_errors
from tests.reports.planted import planted_study as planted
from trainers.evaluation import Evaluation
from trainers.tasks.task import Task

TORCH, GLOROT, HE = LEVELS
ROW = ("initializer", "deep")


def planted_study(*args: Any, **rest: Any) -> StudyRecord:
    """A planted study whose tasks have more items than anybody asks for."""
    record = planted(*args, **rest)
    return replace(record, facts={name: replace(f, items=100_000) for name, f in record.facts.items()})


def with_rows(record: StudyRecord, change: Callable[[Evaluation], Evaluation]) -> StudyRecord:
    return replace(record, evaluations=tuple(map(change, record.evaluations)))


def twins(record: StudyRecord, of: str, like: str) -> StudyRecord:
    """The record in which one level has the results of another, slot by slot."""
    place = {
        (e.slot.task, e.slot.block, e.slot.phase, e.slot.index): e
        for e in record.evaluations
        if e.slot.level == like
    }

    def copied(row: Evaluation) -> Evaluation:
        if row.slot.level != of:
            return row
        s = row.slot
        return replace(place[s.task, s.block, s.phase, s.index], slot=s, arm=row.arm, config=row.config)

    return with_rows(record, copied)


def test_levels_with_equal_results_to_the_bit_are_named_and_no_others() -> None:
    plain = planted_study({"deep": noisy_errors([0, 0, 2])})
    assert what_ran(plain, *ROW) == ()
    record = twins(plain, GLOROT, TORCH)
    said = (
        f"{TORCH} and {GLOROT} have equal results to the last bit: they trained alike, nothing was compared"
    )
    assert what_ran(record, *ROW) == (said,)
    (verdict,) = verdicts(record)
    assert said in verdict.caveats


def test_one_result_that_differs_in_its_last_bit_is_enough() -> None:
    record = twins(planted_study({"deep": noisy_errors([0, 0, 2])}), GLOROT, TORCH)
    first = next(e for e in record.evaluations if e.slot.level == GLOROT and e.slot.phase == "retune")

    def nudged(row: Evaluation) -> Evaluation:
        if row is not first:
            return row
        return replace(row, validation_loss=float(np.nextafter(row.validation_loss, 9)))

    assert what_ran(with_rows(record, nudged), *ROW) == ()


def test_levels_that_all_diverged_are_not_said_to_train_alike() -> None:
    record = planted_study({"deep": noisy_errors([0, 0, 2])})

    def lost(row: Evaluation) -> Evaluation:
        if row.slot.level == HE:
            return row
        return replace(row, status="diverged", validation_metric=0.6, validation_loss=float("inf"), test=None)

    assert what_ran(with_rows(record, lost), *ROW) == ()


def equal(means: list[float]) -> StudyRecord:
    """Every task, block and level exactly at its mean: no noise, too few families to prove anything."""
    errors = 0.2 + 0.05 * np.tile(np.array(means), (2, 2, 1))
    return planted_study({"deep": errors}, textbook={"deep": (HE,)})


def test_equal_errors_have_no_least() -> None:
    (verdict,) = verdicts(equal([0, 0, 0]))
    assert verdict.least == LEVELS
    assert "the least error" not in answer(verdict)
    if verdict.decided_by == "fallback":
        assert "All levels had the same error" in answer(verdict)


def test_the_least_are_named_together_where_they_are_equal() -> None:
    (verdict,) = verdicts(replace_margin(equal([0, 0, 0.2]), 10.0))
    assert verdict.least == (TORCH, GLOROT)
    (order,) = other_orders([verdict])
    assert order.least_error == f"{TORCH} = {GLOROT}"


def replace_margin(record: StudyRecord, delta: float) -> StudyRecord:
    return replace(record, margins=tuple(replace(m, delta=delta) for m in record.margins))


def test_a_fallback_that_was_never_trained_is_called_so(tmp_path: Path) -> None:
    record = planted_study(
        {"deep": noisy_errors([0, 0.4, 0.4], tasks=4, block_sd=4)}, textbook={"deep": ("zeros",)}
    )
    (verdict,) = verdicts(record)
    assert (verdict.decided_by, verdict.recommended, verdict.trained) == ("fallback", "zeros", False)
    assert "The textbook's zeros is kept as a fallback, though it was never trained here" in answer(verdict)
    assert verdict.caveats[0] == "zeros was never trained here: it is the textbook's word, not this study's"
    write_report(record, tmp_path / "planted")
    noted(record, tmp_path / "planted")
    for page in (tmp_path / "planted" / "index.html", write_index(tmp_path)):
        text = page.read_text(encoding="utf-8")
        assert "fallback" in text
        assert "never trained here)" in text, page
    trained = planted_study(
        {"deep": noisy_errors([0, 0.4, 0.4], tasks=4, block_sd=4)}, textbook={"deep": (HE,)}
    )
    (verdict,) = verdicts(trained)
    assert verdict.trained
    assert "never trained" not in answer(verdict) + "".join(verdict.caveats)


def test_what_the_data_cut_stands_in_the_row_with_the_number_on_every_task() -> None:
    record = planted_study({"deep": noisy_errors([0, 0, 2], tasks=3)})
    sizes = dict(zip(record.facts, (178, 569, 100_000), strict=True))
    facts = {
        name: replace(record.facts[name], items=items, n_test=items // 4) for name, items in sizes.items()
    }
    record = replace(record, facts=facts)

    def large(row: Evaluation) -> Evaluation:
        setting = Setting(depth=2, width=32, train_size=300, batch_size=256 if row.slot.level == HE else 32)
        return replace(row, config=replace(row.config, setting=setting))

    assert what_ran(with_rows(record, large), *ROW) == (
        "train_size = 300 means all training items: 108 on task_0",
        "batch_size = 256 means all training items at once: 108 on task_0",
    )


@pytest.mark.parametrize(("items", "n_test"), [(178, None), (569, None), (200, 60), (40, None), (43, 5)])
def test_the_training_part_is_as_large_as_a_task_makes_it(items: int, n_test: int | None) -> None:
    x = np.random.default_rng(0).normal(size=(items, 2))
    task = Task.from_arrays(x, np.arange(items) % 2, kind="classification", name="t", n_test=n_test)
    split = task.split("s", 0)
    facts = planted_study({"deep": noisy_errors([0, 0, 0], tasks=1)}).facts["task_0"]
    assert training_items(replace(facts, items=items, n_test=len(split.test))) == len(split.train)


@pytest.mark.parametrize("items", [178, 200, 569, 1797])
def test_the_scope_counts_training_items_as_the_split_does(items: int) -> None:
    x = np.random.default_rng(0).normal(size=(items, 2))
    split = Task.from_arrays(x, np.arange(items) % 2, kind="classification", name="t").split("s", 0)
    record = planted_study({"deep": noisy_errors([0, 0, 0])})
    facts = {name: replace(fact, items=items, n_test=len(split.test)) for name, fact in record.facts.items()}
    large = {regime: {**setting, "train_size": 5000} for regime, setting in record.regimes.items()}
    scope = scope_of(replace(record, facts=facts, regimes=large))
    assert scope.n_train == str(len(split.train))


def refused(trivial: float, reason: str = "the best pilot recipe's error 0.07 exceeds half") -> Margin:
    return Margin(
        task="t", regime="r", delta=0.01, floor="relative", best_error=0.07, best_recipe="x",
        trivial_error=trivial, seed_sd=0.0, accepted=not reason, reason=reason,
    )  # fmt: skip


def test_a_task_mostly_of_one_class_is_told_why_it_cannot_be_judged() -> None:
    said = refused(0.1).explained
    assert said.startswith(
        "the best pilot recipe's error 0.07 exceeds half; the most frequent class makes up 90 % of its "
        "validation items"
    )
    assert "by the error rate" in said
    assert "makes up 80 % of its validation items" in refused(0.2).explained
    for margin in (refused(0.21), refused(0.3), refused(0.5), refused(1.0), refused(0.1, "")):
        assert margin.explained == margin.reason


def test_a_question_whose_levels_are_numbers_keeps_its_cuts() -> None:
    """A number that every level shares and that nobody tuned is told; one that was tuned is not."""
    record = planted_study({"deep": noisy_errors([0, 0, 2])})

    def warmed(row: Evaluation) -> Evaluation:
        return replace(
            row, config=replace(row.config, numbers={**row.config.numbers, "warmup_fraction": 0.001})
        )

    said = "warmup_fraction = 0.001 is 0 of 300 steps"
    assert what_ran(with_rows(record, warmed), *ROW) == (said,)
    tuned = replace(record, nuisance={**record.nuisance, "warmup_fraction": (0.0, 0.2)})
    assert what_ran(with_rows(tuned, warmed), *ROW) == ()
    assert isinstance(record.questions[0], Question)
