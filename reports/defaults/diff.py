"""What changed between two tables of defaults, and which verdict moved it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from reports.defaults.schema import Defaults, RecommendedLevel, TunedSetting
from reports.defaults.sentences import describe_pair, describe_verdict, judged
from search_spaces.catalog import FACTORS
from search_spaces.config import SETTING_LIMITS, SETTING_NAMES, Setting
from search_spaces.overrides import spelled
from search_spaces.space import open_ranges

Kind = Literal["within_ties", "within_range", "verdict", "evidence", "added", "removed"]

KINDS: Mapping[Kind, str] = {
    "within_ties": "moved within the tied set",
    "within_range": "moved within the range to search first",
    "verdict": "same recommendation, another verdict",
    "evidence": "the evidence changed",
    "added": "new",
    "removed": "gone",
}
"""Kind -> its text."""

Reference = Literal["textbook", "framework"]
REFERENCES: tuple[Reference, ...] = ("textbook", "framework")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One row or number that is not what it was."""

    what: str
    """A row (`initializer@deep`) or a number (`learning_rate@deep, optimizer adamw, row initializer`)."""
    before: str
    after: str
    kind: Kind
    because: str
    """The verdict behind it, in words."""


@dataclass(frozen=True, kw_only=True)
class Differences:
    """Everything that two tables do not have in common."""

    before: str
    after: str
    rows: tuple[Difference, ...]
    numbers: tuple[Difference, ...]
    compared: int
    """Rows that both sides speak of."""
    notes: tuple[str, ...]
    """What else differs: scope, plan, versions, settings; rows that a reference has nothing to say about."""

    @property
    def any(self) -> bool:
        """Whether a row or a number changed."""
        return bool(self.rows or self.numbers)


def differences(
    before: Defaults | Reference, after: Defaults | Reference, names: tuple[str, str]
) -> Differences:
    """What changed from `before` to `after`.

    Args:
        before: a table, or what it is compared to.
        after: likewise; at least one of the two is a table.
        names: what to call them.

    Raises:
        ValueError: two references, a table without rows, or tables that have no regime in common.
    """
    for table, name in zip((before, after), names, strict=True):
        if isinstance(table, Defaults) and not table.rows:
            raise ValueError(f"{name} has no rows: there is nothing to compare")
    if isinstance(before, Defaults) and isinstance(after, Defaults):
        shared, skipped = common_regimes(before, after, names)
        if not shared:
            raise ValueError(f"the tables have different regimes: {'; '.join(skipped)}")
        return _between(before, after, names, shared, skipped)
    if isinstance(before, Defaults):
        return _against(before, _reference(after), names, forwards=False)
    if isinstance(after, Defaults):
        return _against(after, _reference(before), names, forwards=True)
    raise ValueError(f"'{names[0]}' and '{names[1]}' are both references: one side must be a defaults file")


def same_regimes(before: Defaults, after: Defaults, names: tuple[str, str]) -> None:
    """ValueError unless both tables speak of the same regimes, of the same networks and depths."""
    _, skipped = common_regimes(before, after, names)
    if skipped:
        raise ValueError(f"the tables have different regimes: {'; '.join(skipped)}")


def common_regimes(
    before: Defaults, after: Defaults, names: tuple[str, str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The regimes that both tables have, of the same network and depth; and a sentence for every other."""
    shared, skipped = [], []
    settings = [{recipe.regime: recipe.setting for recipe in table.recipes} for table in (before, after)]
    for regime in dict.fromkeys((*settings[0], *settings[1])):
        having = [name for name, table in zip(names, settings, strict=True) if regime in table]
        if len(having) == 1:
            skipped.append(f"only {having[0]} has regime {regime}")
            continue
        ours, theirs = settings[0][regime], settings[1][regime]
        unequal = [
            f"{name} {getattr(ours, name)} in {names[0]} and {getattr(theirs, name)} in {names[1]}"
            for name in ("network", "depth")
            if getattr(ours, name) != getattr(theirs, name)
        ]
        if unequal:
            skipped.append(f"regime {regime} has {' and '.join(unequal)}")
        else:
            shared.append(regime)
    return tuple(shared), tuple(skipped)


def _between(
    before: Defaults, after: Defaults, names: tuple[str, str], shared: Sequence[str], skipped: Sequence[str]
) -> Differences:
    keys = dict.fromkeys(
        (row.factor, row.regime) for table in (before, after) for row in table.rows if row.regime in shared
    )
    pairs = [(before.row(*key), after.row(*key)) for key in keys]
    rows = [difference for old, new in pairs if (difference := _row(old, new)) is not None]
    return Differences(
        before=names[0],
        after=names[1],
        rows=tuple(rows),
        numbers=tuple(_numbers(before, after, shared)),
        compared=sum(old is not None and new is not None for old, new in pairs),
        notes=(*(f"not compared: {each}" for each in skipped), *_notes(before, after, shared)),
    )


def _row(old: RecommendedLevel | None, new: RecommendedLevel | None) -> Difference | None:
    if old is None or new is None:
        row = new or old
        assert row is not None
        return Difference(
            what=row.name,
            before=old.recommended if old else "-",
            after=new.recommended if new else "-",
            kind="removed" if old else "added",
            because=describe_verdict(row),
        )
    if old.recommended != new.recommended:
        # Both proved each other's level as good: the move is a matter of cost, not of evidence.
        tied = old.recommended in new.admissible and new.recommended in old.admissible
        return Difference(
            what=new.name,
            before=old.recommended,
            after=new.recommended,
            kind="within_ties" if tied else "evidence",
            # Of the pair that changed, each as its own table has it.
            because=(
                f"was {describe_verdict(old, new.recommended)}; is {describe_verdict(new, old.recommended)}"
            ),
        )
    if (old.verdict, old.decided_by) != (new.verdict, new.decided_by):
        return Difference(
            what=new.name,
            before=f"{old.recommended} ({old.verdict}, {old.decided_by})",
            after=f"{new.recommended} ({new.verdict}, {new.decided_by})",
            kind="verdict",
            because=f"was {describe_verdict(old)}; is {describe_verdict(new)}",
        )
    return None


def _numbers(before: Defaults, after: Defaults, shared: Sequence[str]) -> Iterator[Difference]:
    olds, news = ({_key(n): n for n in table.numbers if n.regime in shared} for table in (before, after))
    for key in dict.fromkeys((*olds, *news)):
        old, new = olds.get(key), news.get(key)
        if old is not None and new is not None and old.value == new.value:
            continue
        kind: Kind = "added" if old is None else "removed"
        if old is not None and new is not None:
            kind = "within_range" if _inside(old, new.value) and _inside(new, old.value) else "evidence"
        yield Difference(
            what=_called(new or old),
            before=f"{old.value:g}" if old else "-",
            after=f"{new.value:g}" if new else "-",
            kind=kind,
            because="; ".join(
                f"{when} searched best in {_span(n)} for {n.level}"
                for when, n in (("was", old), ("is", new))
                if n is not None
            ),
        )


def _key(number: TunedSetting) -> tuple[str, str, str, str]:
    return number.name, number.regime, number.factor, number.optimizer


def _called(number: TunedSetting | None) -> str:
    assert number is not None
    return f"{number.name}@{number.regime}, optimizer {number.optimizer}, row {number.factor}"


def _untuned(number: TunedSetting) -> str:
    """What the library's default costs: of this number alone, where the file says it."""
    if number.loss_if_untuned_margins is None:
        return f"{number.tunability_margins:+.2f} margins (all numbers of the level)"
    return f"{number.loss_if_untuned_margins:+.2f} margins"


def _inside(number: TunedSetting, value: float) -> bool:
    return number.range[0] <= value <= number.range[1]


def _span(number: TunedSetting) -> str:
    return f"[{number.range[0]:g}, {number.range[1]:g}]"


def _notes(before: Defaults, after: Defaults, shared: Sequence[str]) -> Iterator[str]:
    """What differs besides the recommendations."""
    if before.table != after.table:
        yield f"study {before.table} -> {after.table}"
    for part in ("scope", "plan"):
        old, new = vars(getattr(before, part)), vars(getattr(after, part))
        for name in old:
            # A key that came later is missing in older files, and no change.
            if old[name] != new[name] and None not in (old[name], new[name]):
                yield f"{part} {name} {old[name]} -> {new[name]}"
    for name in sorted({*before.versions, *after.versions}):
        was, now = before.versions.get(name, "-"), after.versions.get(name, "-")
        if was != now and name != "torch":  # torch's is part of the scope
            yield f"version of {name} {was} -> {now}"
    for recipe in (before.recipe(regime) for regime in shared):
        was_setting, setting = recipe.setting.plain(), after.recipe(recipe.regime).setting.plain()
        for name in SETTING_NAMES:
            if was_setting[name] != setting[name]:
                yield f"{recipe.regime}: {name} {was_setting[name]} -> {setting[name]}"


# Against the textbook, or against what a framework does unasked.


def _reference(name: Any) -> Reference:
    assert name in REFERENCES
    return "textbook" if name == "textbook" else "framework"


def _against(table: Defaults, reference: Reference, names: tuple[str, str], *, forwards: bool) -> Differences:
    """The table beside a reference; `forwards`: the reference is what it was before."""
    rows: list[Difference] = []
    notes: list[str] = []
    for row in table.rows:
        theirs = row.textbook if reference == "textbook" else _framework(table, row)
        if not theirs:
            notes.append(f"{row.name}: the {reference} has no such row")
        elif row.recommended not in theirs:
            sides = " or ".join(theirs), row.recommended
            rows.append(
                Difference(
                    what=row.name,
                    before=sides[0] if forwards else sides[1],
                    after=sides[1] if forwards else sides[0],
                    kind="within_ties" if set(theirs) & set(row.admissible) else "evidence",
                    because=_against_each(row, theirs),
                )
            )
    numbers = list(_against_library(table, forwards)) if reference == "framework" else []
    return Differences(
        before=names[0],
        after=names[1],
        rows=tuple(rows),
        numbers=tuple(numbers),
        compared=len(table.rows) - len(notes),
        notes=tuple(notes),
    )


def _against_each(row: RecommendedLevel, levels: Sequence[str]) -> str:
    """The verdict, and the effect of each of these levels against the recommended one, where it is known."""
    pairs = [describe_pair(row, pair) for level in levels if (pair := row.effect_of(level)) is not None]
    if not pairs:
        return describe_verdict(row)
    return "; ".join([judged(row), *pairs])


def _framework(table: Defaults, row: RecommendedLevel) -> tuple[str, ...]:
    """The level a PyTorch user gets without choosing; nothing for combinations of one's own."""
    if row.factor in FACTORS and row.recommended in FACTORS[row.factor].names:
        return (FACTORS[row.factor].framework_default,)
    spans = open_ranges(table.recipe(row.regime).levels)
    if row.factor in spans:
        return (spelled(spans[row.factor].default),)
    if row.factor in SETTING_NAMES:
        return (spelled(getattr(Setting(), row.factor)),)
    return ()


def _against_library(table: Defaults, forwards: bool) -> Iterator[Difference]:
    for number in table.numbers:
        levels = {**table.recipe(number.regime).levels, "optimizer": number.optimizer}
        if number.factor in FACTORS and number.level in FACTORS[number.factor].names:
            levels[number.factor] = number.level
        span = open_ranges(levels).get(number.name)
        default = span.default if span is not None else None
        if number.name in SETTING_LIMITS:
            default = float(getattr(Setting(), number.name))
        if default is None or default == number.value:
            continue
        sides = f"{default:g}", f"{number.value:g}"
        yield Difference(
            what=_called(number),
            before=sides[0] if forwards else sides[1],
            after=sides[1] if forwards else sides[0],
            kind="within_range" if _inside(number, default) else "evidence",
            because=(
                f"searched best in {_span(number)} for {number.level}; left untuned: {_untuned(number)}"
            ),
        )
