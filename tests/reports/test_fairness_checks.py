"""No verdict where the comparison was unequal, incomplete, or not fresh."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from reports.evidence.arrays import from_rows
from reports.evidence.fairness_checks import EvidenceError, evidence_status
from reports.evidence.study_record import StudyRecord
from reports.pages.study_page import write_report
from reports.verdicts.verdict import verdicts
from search_spaces.config import Setting
from search_spaces.overrides import Overrides as Stated
from tests.reports.planted import BUDGET, noisy_errors, planted_study
from trainers.evaluation import Evaluation, Phase

Overrides = Callable[[Evaluation], Evaluation | None]


@pytest.fixture(scope="module")
def study() -> StudyRecord:
    return planted_study({"deep": noisy_errors([0, 1, 2])})


def changed(record: StudyRecord, change: Overrides) -> StudyRecord:
    """The study with every evaluation passed through `change`; None drops it, and nothing is replanned."""
    rows = tuple(new for row in record.evaluations if (new := change(row)) is not None)
    ran = Counter(row.slot.phase for row in rows)
    planned = {phase: min(count, ran[cast(Phase, phase)]) for phase, count in record.planned.items()}
    return replace(record, evaluations=rows, planned=planned)


def at(row: Evaluation, phase: str, index: int, level: str = "he_normal") -> bool:
    s = row.slot
    return (s.phase, s.index, s.level, s.task, s.block) == (phase, index, level, "task_2", 1)


def refusal(record: StudyRecord) -> str:
    with pytest.raises(EvidenceError) as caught:
        verdicts(record)
    assert evidence_status(record).kind == "refused"
    return str(caught.value)


def about(record: StudyRecord, changes: dict[str, Stated]) -> StudyRecord:
    """The study with its question understood as these changes."""
    return replace(record, questions=(replace(record.questions[0], changes=changes),))


def test_a_sound_study_may_speak(study: StudyRecord) -> None:
    assert evidence_status(study).kind == "evidence"


def test_a_missing_confirm_run_is_named(study: StudyRecord) -> None:
    message = refusal(changed(study, lambda row: None if at(row, "confirm", 1) else row))
    assert "missing cell: confirm 1" in message
    assert "task 'task_2', block 1, level 'he_normal'" in message


@pytest.mark.parametrize("phase", ["retune", "promote", "confirm"])
def test_a_member_that_could_not_be_trained_takes_the_verdict_of_its_row(
    study: StudyRecord, phase: Phase, tmp_path: Path
) -> None:
    def fail(row: Evaluation) -> Evaluation:
        if not at(row, phase, 0):
            return row
        return replace(row, status="failed", cause="crash: <b>it</b> broke", test=None, versions={})

    gap = changed(study, fail)
    assert evidence_status(gap).kind == "unjudged"
    assert f"{phase} 0 of he_normal on task_2, block 1 could not be trained" in evidence_status(gap).reason
    page = write_report(gap, tmp_path).read_text(encoding="utf-8")
    assert "No verdict: members of its rows could not be trained" in page
    assert "crash: &lt;b&gt;it&lt;/b&gt; broke" in page


def test_a_gap_in_one_row_leaves_the_others_their_verdicts(tmp_path: Path) -> None:
    two = planted_study({"shallow": noisy_errors([0, 1, 2]), "deep": noisy_errors([0, 1, 2])})

    def fail(row: Evaluation) -> Evaluation:
        first = row.slot.phase == "confirm" and row.slot.regime == "deep" and row.slot.index == 0
        return replace(row, status="failed", cause="memory: too large", test=None) if first else row

    gap = changed(two, fail)
    assert evidence_status(gap).kind == "evidence"
    assert {verdict.regime for verdict in verdicts(gap)} == {"shallow"}
    page = write_report(gap, tmp_path).read_text(encoding="utf-8")
    assert "initializer @ deep: no verdict, members of this row could not be trained" in page
    assert "memory: too large" in page


def test_a_level_with_fewer_trials_gets_no_verdict(study: StudyRecord) -> None:
    assert "unequal budgets" in refusal(changed(study, lambda row: None if at(row, "retune", 3) else row))


def test_a_level_with_more_trials_gets_no_verdict(study: StudyRecord) -> None:
    extra = [
        replace(row, slot=replace(row.slot, index=BUDGET.trials + 1))
        for row in study.evaluations
        if at(row, "retune", 3)
    ]
    assert "unequal budgets" in refusal(replace(study, evaluations=(*study.evaluations, *extra)))


def test_equal_but_unplanned_trials_get_no_verdict(study: StudyRecord) -> None:
    extra = [
        replace(row, slot=replace(row.slot, index=BUDGET.trials + 1))
        for row in study.evaluations
        if row.slot.phase == "retune" and row.slot.index == 3
    ]
    assert "never planned" in refusal(replace(study, evaluations=(*study.evaluations, *extra)))


def test_longer_training_of_one_level_is_an_unequal_budget(study: StudyRecord) -> None:
    def longer(row: Evaluation) -> Evaluation:
        if row.slot.level != "he_normal":
            return row
        return replace(row, config=replace(row.config, setting=Setting(depth=20, width=32, steps=900)))

    assert "unequal budgets" in refusal(changed(study, longer))


def test_another_optimizer_under_one_level_confounds(study: StudyRecord) -> None:
    def swap(row: Evaluation) -> Evaluation:
        if row.slot.level != "he_normal":
            return row
        return replace(row, config=replace(row.config, levels={**row.config.levels, "optimizer": "sgd"}))

    assert "confounded" in refusal(changed(study, swap))


def test_two_rows_in_one_slot_are_refused(study: StudyRecord) -> None:
    twin = next(row for row in study.evaluations if at(row, "confirm", 0))
    assert "one slot" in refusal(replace(study, evaluations=(*study.evaluations, twin)))


def test_a_row_of_another_study_is_refused(study: StudyRecord) -> None:
    def foreign(row: Evaluation) -> Evaluation:
        return replace(row, slot=replace(row.slot, study="other")) if at(row, "confirm", 0) else row

    assert "belongs to study 'other'" in refusal(changed(study, foreign))


def test_mixed_versions_are_refused(study: StudyRecord) -> None:
    def older(row: Evaluation) -> Evaluation:
        if not at(row, "confirm", 0):
            return row
        return replace(row, versions={**row.versions, "torch": "2.13.0"})

    assert "mixed versions: torch is 2.14.1 in some and 2.13.0 in others" in refusal(changed(study, older))


def test_a_seed_used_for_selection_may_not_confirm(study: StudyRecord) -> None:
    promoted = next(row for row in study.evaluations if at(row, "promote", 0))

    def reuse(row: Evaluation) -> Evaluation:
        if at(row, "confirm", 0):
            return replace(row, curve=promoted.curve, config=promoted.config)
        return row

    assert "reused seed" in refusal(changed(study, reuse))


def test_search_rows_cannot_be_passed_off_as_evidence(study: StudyRecord) -> None:
    rows = [row for row in study.evaluations if row.slot.phase in ("confirm", "promote")]
    with pytest.raises(EvidenceError, match="phase 'promote'"):
        from_rows(study, study.questions[0], "deep", rows)


def test_a_task_without_margin_is_refused(study: StudyRecord) -> None:
    assert "no accepted margin" in refusal(replace(study, margins=study.margins[1:]))


def test_an_unfinished_study_is_interim_and_gets_no_verdict(study: StudyRecord) -> None:
    unfinished = replace(study, evaluations=study.evaluations[:-40])
    assert evidence_status(unfinished).kind == "interim"
    assert "40 of" in evidence_status(unfinished).reason
    with pytest.raises(EvidenceError, match="interim"):
        verdicts(unfinished)


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_adaptive_samplers_get_no_verdict(sampler: str, study: StudyRecord) -> None:
    record = replace(study, sampler=sampler)
    assert evidence_status(record).kind == "exploratory"
    with pytest.raises(EvidenceError, match="exploratory"):
        verdicts(record)


SIZES = {"torch_default": 8, "glorot_normal": 16, "he_normal": 32}
"""Level of the planted study -> the batch size that it stands for below."""


def sized(record: StudyRecord, sizes: dict[str, int]) -> StudyRecord:
    """The planted study with every level's batch size, and no other difference between them."""

    def change(row: Evaluation) -> Evaluation:
        size = sizes.get(row.slot.level, 32)
        levels = {**row.config.levels, "initializer": "he_normal"}
        setting = replace(row.config.setting, batch_size=size)
        return replace(row, config=replace(row.config, levels=levels, setting=setting))

    return changed(record, change)


def test_levels_of_a_setting_may_differ_in_it_and_must_be_what_they_are_called(study: StudyRecord) -> None:
    asked = {level: Stated(setting={"batch_size": size}) for level, size in SIZES.items()}
    assert evidence_status(about(sized(study, SIZES), asked)).kind == "evidence"
    assert "another level" in refusal(about(sized(study, {**SIZES, "he_normal": 64}), asked))
    assert "settings" in refusal(sized(study, SIZES))


def test_a_setting_that_every_level_tunes_may_differ(study: StudyRecord) -> None:
    def change(row: Evaluation) -> Evaluation:
        size = 8 + row.slot.index
        return replace(row, config=replace(row.config, setting=replace(row.config.setting, batch_size=size)))

    tuned = changed(study, change)
    assert "settings" in refusal(tuned)
    assert (
        evidence_status(replace(tuned, nuisance={**study.nuisance, "batch_size": (8, 64)})).kind == "evidence"
    )


def without_tasks(record: StudyRecord, *regimes: str) -> StudyRecord:
    """The study as if the pilot had left every task of these regimes out."""
    gone = {
        regime: () if regime in regimes else tasks for regime, tasks in record.tasks["initializer"].items()
    }
    margins = tuple(
        replace(margin, accepted=False, reason="it did not train") if margin.regime in regimes else margin
        for margin in record.margins
    )
    kept = replace(record, tasks={"initializer": gone}, margins=margins)
    return changed(kept, lambda row: None if row.slot.regime in regimes else row)


def test_a_regime_without_tasks_has_no_row_and_the_others_keep_theirs(tmp_path: Path) -> None:
    both = planted_study({"shallow": noisy_errors([0, 1, 2]), "deep": noisy_errors([0, 1, 2])})
    record = without_tasks(both, "deep")
    assert [verdict.regime for verdict in verdicts(record)] == ["shallow"]
    page = write_report(record, tmp_path).read_text(encoding="utf-8")
    assert "initializer @ deep: no verdict, the pilot left every task out" in page
    assert "it did not train" in page


def test_a_study_without_any_task_says_why_there_is_no_verdict(study: StudyRecord, tmp_path: Path) -> None:
    first = study.evaluations[0]
    pilot = replace(first, slot=replace(first.slot, factor="", level="relu_nesterov", phase="pilot"))
    record = replace(without_tasks(study, "deep"), evaluations=(pilot,), planned={"pilot": 1})
    assert evidence_status(record).kind == "unjudged"
    with pytest.raises(EvidenceError, match=r"unjudged.*it did not train"):
        verdicts(record)
    assert "the pilot left every task out" in write_report(record, tmp_path).read_text(encoding="utf-8")
