"""One row of the table a second time, from a record's evaluations: loops, numpy and scipy.

Nothing that judges in `reports` is imported here, only the nouns of a record.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from reports.evidence.study_record import StudyRecord
from tests.reports import reference
from tests.reports.reference import Pairs

Pair = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Table:
    """What was confirmed of one row; levels are numbers in cost order."""

    levels: tuple[str, ...]
    textbook: tuple[str, ...]
    tasks: tuple[str, ...]
    family: tuple[int, ...]
    names: tuple[str, ...]
    """Of the families."""
    real: tuple[bool, ...]
    delta: tuple[float, ...]
    overlap: tuple[float, ...]
    errors: NDArray[np.float64]
    """[T, R, L] tuned; NaN where the level was not trained any more."""
    untuned: NDArray[np.float64]
    last: NDArray[np.float64]
    finished: tuple[float, ...]
    ids: tuple[str, ...]
    alpha: float
    looks: tuple[int, ...]
    """As planned."""

    @property
    def general(self) -> bool:
        return len(self.names) >= 8

    @property
    def whole(self) -> list[int]:
        """Levels that were trained on every task."""
        return [i for i in range(len(self.levels)) if not np.isnan(self.errors[..., i]).any()]

    def on(self, keep: Sequence[int]) -> Table:
        """Some of its tasks alone."""
        kept = sorted({self.family[t] for t in keep})
        return replace(
            self,
            tasks=tuple(self.tasks[t] for t in keep),
            family=tuple(kept.index(self.family[t]) for t in keep),
            names=tuple(self.names[f] for f in kept),
            real=tuple(self.real[t] for t in keep),
            delta=tuple(self.delta[t] for t in keep),
            overlap=tuple(self.overlap[t] for t in keep),
            errors=self.errors[list(keep)],
            untuned=self.untuned[list(keep)],
            last=self.last[list(keep)],
        )

    def both(self, a: int, b: int) -> Table:
        """The tasks on which both levels were trained."""
        there = ~np.isnan(self.errors[..., a] + self.errors[..., b]).any(axis=1)
        return self.on(np.flatnonzero(there).tolist())

    def effects(self, a: int, b: int) -> list[float]:
        """[F] how much worse a is than b in each family."""
        return reference.family_means(self.errors, self.delta, self.family, a, b)

    def regrets(self) -> NDArray[np.float64]:
        """[F, L] margins above the best level of each family, by clipped effects."""
        count = range(len(self.levels))
        worst = [
            np.nanmax([[0.0] * len(self.names), *(self.effects(a, b) for b in count if b != a)], axis=0)
            for a in count
        ]
        return np.array(worst).T


def table_of(record: StudyRecord, regime: str) -> Table:
    """The row of the record's first question in one regime."""
    (question, *_) = record.questions
    levels = sorted(question.levels, key=lambda level: question.cost[level])
    margins = {m.task: m for m in record.margins if m.regime == regime and m.accepted}
    rows = [
        row
        for row in record.evaluations
        if (row.slot.factor, row.slot.regime, row.slot.phase) == (question.factor, regime, "confirm")
    ]
    planned = record.tasks[question.factor][regime]
    tasks = [task for task in planned if any(row.slot.task == task for row in rows)]
    names = list(dict.fromkeys(record.facts[task].family for task in tasks))

    def errors(arm: str, read_out: str) -> NDArray[np.float64]:
        found: dict[tuple[int, int, int], list[float]] = {}
        for row in rows:
            if row.arm == arm:
                place = tasks.index(row.slot.task), row.slot.block, levels.index(row.slot.level)
                lost = row.test is None
                score = margins[row.slot.task].trivial_error if lost else (row.test or {})[read_out]
                found.setdefault(place, []).append(score)
        array = np.full((len(tasks), record.budget.blocks, len(levels)), np.nan)
        for place, values in found.items():
            assert len(values) == record.budget.confirm_seeds
            array[place] = sum(values) / len(values)
        return array

    tuned = [row for row in rows if row.arm == "tuned"]
    shares = []
    for level in levels:
        own = [row.status == "finished" for row in tuned if row.slot.level == level]
        shares.append(sum(own) / len(own))
    size = int(str(record.regimes[regime]["train_size"]))
    facts = [record.facts[task] for task in tasks]
    return Table(
        levels=tuple(levels),
        textbook=tuple(question.textbook[regime]),
        tasks=tuple(tasks),
        family=tuple(names.index(fact.family) for fact in facts),
        names=tuple(names),
        real=tuple(fact.real for fact in facts),
        delta=tuple(margins[task].delta for task in tasks),
        overlap=tuple(fact.n_test / min(size, (fact.items - fact.n_test) * 4 // 5) for fact in facts),
        errors=errors("tuned", "best_validation"),
        untuned=errors("default", "best_validation"),
        last=errors("tuned", "last"),
        finished=tuple(shares),
        ids=tuple(sorted(row.slot.id for row in tuned)),
        alpha=question.alpha,
        looks=tuple(record.budget.looks),
    )


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What method 2.7 and 2.10 say of a table."""

    recommended: str
    decided_by: str
    label: str
    admissible: tuple[str, ...]
    mean: Mapping[Pair, float]
    interval: Pairs
    """Two-sided 95 %."""
    bounds: Pairs


def decided(table: Table, *, race: bool = True) -> Decision:
    """With several planned looks the levels race over families; else there is one look at everything.

    Args:
        table: of one row.
        race: False: one look, corrected for all that were planned.
    """
    count = len(table.levels)
    everyone = list(itertools.permutations(range(count), 2))
    level = table.alpha / (count * len(table.looks))
    if race and table.general and len(table.looks) > 1:
        families = len(table.names)
        looks = [*(look for look in table.looks if look < families), families]
        raced = reference.race(
            table.errors, table.delta, table.family, looks, table.alpha, planned=len(table.looks)
        )
        alive, good, bounds, at = raced.alive, raced.good, raced.pairs, raced.at
    else:
        alive, at = table.whole, dict.fromkeys(everyone, len(table.names))
        bounds = {pair: _ends(table, *pair, level) for pair in everyone}
        good = [a for a in alive if all(bounds[a, b][1] < 1 for b in alive if b != a)]
    seen = {look: table.on([t for t, f in enumerate(table.family) if f < look]) for look in set(at.values())}
    proved = tuple(table.levels[i] for i in good)
    book = [level for level in table.levels if level in table.textbook]
    kept = [*book, *table.textbook, *table.levels][0]  # the textbook's, else the cheapest
    named = {table.levels.index(level) for level in book}
    return Decision(
        recommended=proved[0] if proved else kept,
        decided_by=("fallback", "data")[len(proved)] if len(proved) < 2 else "cost_order",
        label=_label(table, good, bounds, named),
        admissible=proved,
        mean={pair: _mean(seen[at[pair]], *pair) for pair in everyone if pair in at},
        interval={pair: _ends(seen[at[pair]], *pair, 0.025) for pair in everyone if pair in at},
        bounds=bounds,
    )


def _label(table: Table, good: Sequence[int], bounds: Pairs, named: set[int]) -> str:
    if not table.textbook:
        return "unlisted" if good else "insufficient"
    return reference.label(good, bounds, len(table.levels), named)


def _mean(table: Table, a: int, b: int) -> float:
    values = table.effects(a, b)
    return sum(values) / len(values)


def _ends(table: Table, a: int, b: int, level: float) -> tuple[float, float]:
    """One-sided bounds over families, or with few of them over the splits of these tasks."""
    if table.general:
        return reference.bounds(table.effects(a, b), level)
    parts = reference.over_splits(table.errors, table.delta, table.family, table.overlap, a, b)
    mean, error, freedom = parts
    half = float(stats.t.isf(level, freedom)) * error
    return mean - half, mean + half


def raw(table: Table, a: int) -> float:
    """The unclipped error of a level: blocks to tasks, tasks to families, families to one."""
    by_family = [
        np.mean([table.errors[t, :, a].mean() for t, own in enumerate(table.family) if own == f])
        for f in range(len(table.names))
    ]
    return float(np.mean(by_family))


def least_error(table: Table, proved: Sequence[str]) -> str:
    """The level of least mean error among those trained on the most tasks, as the page names it."""
    trained = [int(np.isfinite(table.errors[..., a]).all(axis=1).sum()) for a in range(len(table.levels))]
    among = [a for a, tasks in enumerate(trained) if tasks == max(trained)]
    name = table.levels[min(among, key=lambda a: raw(table, a))]
    return name if name in proved else f"{name} (not proved)"


def headline(table: Table, decision: Decision) -> Pair | None:
    """(rival, recommended): the textbook's strongest level, or where that was taken the strongest other."""
    if decision.recommended not in table.levels:
        return None
    own = table.levels.index(decision.recommended)
    rivals = [i for i in range(len(table.levels)) if i != own]
    taken = decision.recommended in table.textbook
    wanted = [i for i in rivals if (table.levels[i] in table.textbook) != taken] or rivals
    return min(wanted, key=lambda i: decision.mean[i, own]), own


def left_out(table: Table, recommended: str) -> tuple[int, list[float]]:
    """How often the rule says the same without one family, and what its choice loses there."""
    regrets, kept, losses = table.regrets(), 0, []
    for f in range(len(table.names)):
        rest = table.on([t for t, own in enumerate(table.family) if own != f])
        chosen = _without_few(rest)
        kept += chosen == recommended
        if chosen in table.levels and table.levels.index(chosen) in table.whole:
            losses.append(float(regrets[f, table.levels.index(chosen)]))
    return kept, losses


def _without_few(table: Table) -> str:
    """The rule over families however few there are, with one look."""
    count = len(table.levels)
    level = table.alpha / (count * len(table.looks))
    alive = table.whole
    for a in alive:
        if all(reference.bounds(table.effects(a, b), level)[1] < 1 for b in alive if b != a):
            return table.levels[a]
    return [*(name for name in table.levels if name in table.textbook), *table.textbook, *table.levels][0]


def prediction(table: Table, a: int, b: int) -> tuple[float, float]:
    """95 % interval for a new family: t * sqrt(SE^2 + tau^2), tau^2 without what blocks explain."""
    values, blocks = table.effects(a, b), table.errors.shape[1]
    noise = 0.0
    for t, own in enumerate(table.family):
        effects = np.clip((table.errors[t, :, a] - table.errors[t, :, b]) / table.delta[t], -4, 4)
        noise += float(np.var(effects, ddof=1)) / blocks / table.family.count(own) ** 2 / len(values)
    between = float(np.var(values, ddof=1))
    spread = between / len(values) + max(0.0, between - noise)
    half = float(stats.t.isf(0.025, len(values) - 1)) * math.sqrt(spread)
    mean = sum(values) / len(values)
    return mean - half, mean + half


def of_kind(table: Table, a: int, b: int, *, real: bool) -> tuple[int, float, tuple[float, float]]:
    """Families of measured (or generated) data, the effect on them, and its 95 % interval."""
    having = {own for own, measured in zip(table.family, table.real, strict=True) if measured}
    values = [value for f, value in enumerate(table.effects(a, b)) if (f in having) == real]
    return len(values), sum(values) / len(values), reference.bounds(values, 0.025)


def improve_share(table: Table, a: int, b: int) -> list[float]:
    """[F] share of blocks in which a is worse than b; equal ones count half."""
    shares: dict[int, list[float]] = {}
    for t, own in enumerate(table.family):
        gaps = table.errors[t, :, a] - table.errors[t, :, b]
        shares.setdefault(own, []).append(float(np.mean((gaps > 0) + 0.5 * (gaps == 0))))
    return [float(np.mean(values)) for _, values in sorted(shares.items())]


def sign_flip(values: Sequence[float]) -> float:
    """Two-sided: of all patterns of signs, the share whose sum is at least as far from 0."""
    patterns = np.array(list(itertools.product((-1, 1), repeat=len(values))))
    sums = np.abs(patterns @ np.array(values))
    return float(np.mean(sums >= abs(sum(values)) - 1e-9))


def best_pair(table: Table) -> tuple[Pair, float]:
    """The two levels of which the better one costs least on average."""
    left, regrets = table.whole, _regrets_of(table, table.whole)
    costs = {
        (a, b): float(np.minimum(regrets[:, left.index(a)], regrets[:, left.index(b)]).mean())
        for a, b in itertools.combinations(left, 2)
    }
    best = min(costs, key=lambda pair: costs[pair])
    return best, costs[best]


def _regrets_of(table: Table, left: Sequence[int]) -> NDArray[np.float64]:
    columns = [
        np.max([[0.0] * len(table.names), *(table.effects(a, b) for b in left if b != a)], axis=0)
        for a in left
    ]
    return np.array(columns).T


def caveats(table: Table) -> list[str]:
    """What a reader must know first; these studies have all levels of the textbook, and measured data."""
    notes = []
    if not table.general:
        notes.append(
            f"{len(table.names)} task families (fewer than 8): holds on these tasks "
            f"({', '.join(table.tasks)}) only; intervals are over their data splits"
        )
    lost = [(level, 1 - share) for level, share in zip(table.levels, table.finished, strict=True)]
    if any(share for _, share in lost):
        named = ", ".join(f"{level} {share:.0%}" for level, share in lost if share)
        notes.append(f"diverged runs, scored like the trivial predictor: {named}")
    return notes


def families_needed(table: Table) -> int | None:
    """The first number of families with which 4 of 5 resampled studies get a label.

    Families are drawn from those observed, their deviations widened by sqrt(F / (F - 1)).
    """
    left, count = table.whole, len(table.names)
    observed = np.zeros((count, len(left), len(left)))
    for i, j in itertools.permutations(range(len(left)), 2):
        observed[:, i, j] = table.effects(left[i], left[j])
    centre = observed.mean(axis=0)
    wide = centre + (observed - centre) * math.sqrt(count / (count - 1))
    drawn = np.random.Generator(np.random.Philox(21)).integers(count, size=(300, 200))
    named = {k for k, i in enumerate(left) if table.levels[i] in table.textbook}
    families = max(8, count + 1)
    while True:
        level = table.alpha / (len(table.levels) * len(table.looks))
        settled = 0
        for draw in drawn[:, :families]:
            mean, spread = wide[draw].mean(axis=0), wide[draw].std(axis=0, ddof=1)
            half = reference.quantile(level, families - 1) * spread / math.sqrt(families)
            pairs = {
                (i, j): (float((mean - half)[i, j]), float((mean + half)[i, j]))
                for i, j in itertools.permutations(range(len(left)), 2)
            }
            good = [
                i for i in range(len(left)) if all(pairs[i, j][1] < 1 for j in range(len(left)) if j != i)
            ]
            dropped = len(left) < len(table.levels)
            unlisted = not table.textbook or (dropped and not named)
            label = reference.label(good, pairs, len(left), named)
            settled += bool(good) if unlisted else label != "insufficient"
        if settled >= 0.8 * 300:
            return families
        if families == 200:
            return None
        families = min(200, families + max(1, families // 10))
