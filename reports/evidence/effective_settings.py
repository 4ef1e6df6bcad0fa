"""What ran under a row's labels: settings that the data cut, and levels that trained alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from reports.evidence.budget import TaskFacts
from reports.evidence.search_record import SearchRecord
from reports.evidence.study_record import StudyRecord
from search_spaces.config import SETTING_NAMES
from trainers.effective_values import EffectiveValue, describe, effective_values
from trainers.evaluation import Evaluation

Results = Mapping[tuple[object, ...], tuple[object, ...]]
"""Slot, the level left out -> what was measured there."""


def what_ran(record: StudyRecord, factor: str, regime: str) -> tuple[str, ...]:
    """What a reader of a row's labels must know, in a fixed order."""
    question = next(q for q in record.questions if q.factor == factor)
    tasks = record.tasks[factor][regime]
    rows = sorted(
        (row for row in record.of(factor, regime) if row.slot.task in tasks),
        key=lambda row: (question.levels.index(row.slot.level), tasks.index(row.slot.task), row.slot.id),
    )
    alike = [
        f"{' and '.join(levels)} have equal results to the last bit: they trained alike, nothing was compared"
        for levels in trained_alike(rows)
    ]
    return (*alike, *cut(record, rows, tasks))


def trained_alike(rows: Iterable[Evaluation]) -> tuple[tuple[str, ...], ...]:
    """Levels all of whose results are equal to the bit, in groups; only where something finished."""
    results: dict[str, dict[tuple[object, ...], tuple[object, ...]]] = defaultdict(dict)
    for row in rows:
        s = row.slot
        test = None if row.test is None else tuple(sorted(row.test.items()))
        place = (s.task, s.block, s.phase, s.index, row.arm)
        results[s.level][place] = (
            row.status,
            row.validation_metric,
            row.validation_loss,
            row.best_step,
            test,
        )
    groups: list[list[str]] = []
    for level, result in results.items():
        same = next((group for group in groups if _same(results[group[0]], result)), None)
        if same is None:
            groups.append([level])
        else:
            same.append(level)
    return tuple(tuple(group) for group in groups if len(group) > 1)


def _same(a: Results, b: Results) -> bool:
    """Where both have results, which a race may keep from one of them."""
    both = a.keys() & b.keys()
    return all(a[place] == b[place] for place in both) and any(a[place][0] == "finished" for place in both)


def cut(record: StudyRecord, rows: Iterable[Evaluation], tasks: Iterable[str]) -> tuple[str, ...]:
    """Settings and numbers that are not what they say on some task; those that were tuned are left out."""
    cuts: dict[str, dict[EffectiveValue, None]] = {}
    known: dict[tuple[object, ...], tuple[EffectiveValue, ...]] = {}
    for row in rows:
        if row.slot.phase != "confirm":
            continue
        config, items = row.config, training_items(record.facts[row.slot.task])
        key = (id(config.setting), tuple(config.numbers.items()), items)
        if key not in known:
            known[key] = effective_values(config, items=items)
        cuts.setdefault(row.slot.task, {}).update(dict.fromkeys(known[key]))
    tuned = set(record.nuisance)
    return describe(
        {task: [one for one in cuts[task] if one.name not in tuned] for task in tasks if task in cuts}
    )


def cut_in_search(record: SearchRecord) -> tuple[str, ...]:
    """Settings of any trial of a search, and numbers of its best one, that are not what they say."""
    items = training_items(record.facts)
    cuts: dict[EffectiveValue, None] = {}
    for row in record.evaluations:
        of_trial = effective_values(row.config, items=items)
        cuts |= dict.fromkeys(one for one in of_trial if one.name in SETTING_NAMES)
    if record.best:
        cuts |= dict.fromkeys(effective_values(record.best.config, items=items))
    return describe({record.facts.name: cuts})


def training_items(facts: TaskFacts) -> int:
    """Items of one block's training part (`Task.split`)."""
    remaining = facts.items - facts.n_test
    return remaining - max(1, remaining // 5)
