"""The recipe of one regime: all of its recommended levels at once, with a number for all that they open."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reports.defaults.schema import Recipe, RecommendedLevel, TunedSetting
from reports.evidence.question import Question
from reports.evidence.study_record import StudyRecord
from search_spaces.catalog import FACTORS
from search_spaces.config import SETTING_LIMITS, SETTING_NAMES, Setting
from search_spaces.overrides import Overrides
from search_spaces.space import complete, framework_levels, open_ranges


def recipes(
    record: StudyRecord, rows: Sequence[RecommendedLevel], numbers: Sequence[TunedSetting]
) -> tuple[Recipe, ...]:
    """One recipe for each regime that has a row.

    What is fixed is overruled by the background (its first levels, as on tasks at even places), that
    by the regime, and that by the rows in the order of the questions. A tuned number comes from the row
    whose level opens it, among those judged with the recipe's optimizer; else from the row with most cells;
    else it is the library's default.
    """
    return tuple(
        recipe(record, regime, [row for row in rows if row.regime == regime], numbers)
        for regime in record.regimes
        if any(row.regime == regime for row in rows)
    )


def recipe(
    record: StudyRecord, regime: str, rows: Sequence[RecommendedLevel], numbers: Sequence[TunedSetting]
) -> Recipe:
    """The recipe of one regime from its rows."""
    stated, chosen_by, of_numbers = _stated(record, regime, rows)
    levels = {**framework_levels(), **stated.levels}
    spans = open_ranges(levels)
    # Two rows together may open a number with other limits than the one that states it had.
    values = {n: v for n, v in stated.numbers.items() if n in spans and spans[n].low <= v <= spans[n].high}
    setting = dict(stated.setting)
    fitting = [n for n in numbers if n.regime == regime and n.optimizer == levels["optimizer"]]
    varied = {name for row in rows for _, name in _change(record, row).parts}
    for name in dict.fromkeys(n.name for n in fitting):
        tuned = _tuned([n for n in fitting if n.name == name])
        if name in values or name in varied:
            continue
        if name in spans:
            values[name] = min(max(tuned.value, spans[name].low), spans[name].high)
            of_numbers[name] = f"row {tuned.factor}@{regime}"
        elif name in SETTING_LIMITS:
            setting[name] = round(tuned.value)
            chosen_by[name] = f"row {tuned.factor}@{regime}"
    config = complete(levels, values, setting=Setting(**setting))
    of_numbers = {name: who for name, who in of_numbers.items() if name in values}
    # Of a name that is both a factor and a number, `chosen_by` speaks of the factor.
    chosen_by = of_numbers | chosen_by
    known = {*config.levels, *config.numbers, *SETTING_NAMES}
    return Recipe(
        regime=regime,
        levels=dict(config.levels),
        numbers=dict(config.numbers),
        setting=config.setting,
        chosen_by={name: chosen_by[name] for name in sorted(chosen_by) if name in known},
        numbers_chosen_by=dict(sorted(of_numbers.items())),
    )


def words_of(words: Mapping[str, Any]) -> Overrides:
    """A change from its words (`Change.words`), where a text may also say 'level number'."""
    levels: dict[str, str] = {}
    numbers: dict[str, float] = {}
    setting: dict[str, Any] = {}
    for name, stated in words.items():
        if name in SETTING_NAMES:
            setting[name] = stated
            continue
        for part in stated if isinstance(stated, list) else str(stated).split():
            if name in FACTORS and part in FACTORS[name].names:
                levels[name] = part
            else:
                numbers[name] = float(part)
    return Overrides(levels=levels, numbers=numbers, setting=setting)


def _stated(
    record: StudyRecord, regime: str, rows: Iterable[RecommendedLevel]
) -> tuple[Overrides, dict[str, str], dict[str, str]]:
    """Everything that is stated, later over earlier; who stated a factor or setting, and who a number."""
    first = {
        **next(iter(record.background.values()), {}),
        **next(iter(record.background_in.get(regime, {}).values()), {}),
    }
    parts: list[tuple[str, Overrides]] = [
        ("fixed", words_of(record.fixed)),
        ("background", Overrides(levels=first)),
        ("regime", words_of(record.regimes[regime])),
        *((f"row {row.name}", _change(record, row)) for row in rows),
    ]
    whole = Overrides()
    chosen_by: dict[str, str] = {}
    of_numbers: dict[str, str] = {}
    for who, change in parts:
        whole = change.over(whole)
        of_numbers |= {name: who for kind, name in change.parts if kind == "number"}
        # Every regime states its whole setting, whether or not it changes anything.
        chosen_by |= {
            name: who
            for kind, name in change.parts
            if kind == "factor" or (kind == "setting" and who != "regime")
        }
    return whole, chosen_by, of_numbers


def _change(record: StudyRecord, row: RecommendedLevel) -> Overrides:
    question: Question = next(q for q in record.questions if q.factor == row.factor)
    return question.change(row.recommended)


def _tuned(candidates: Sequence[TunedSetting]) -> TunedSetting:
    """The number of the row whose own level opens it, else of the row with most cells; ties to the first."""

    def fitness(number: TunedSetting) -> tuple[bool, int]:
        factor = FACTORS.get(number.factor)
        levels = () if factor is None else (each for each in factor.levels if each.name == number.level)
        return any(span.name == number.name for level in levels for span in level.ranges), number.cells

    return max(candidates, key=fitness)
