"""B7: member-epochs until a row has its verdict, raced with profile `full`, against a fixed design.

The fixed design trains the same 16 points of every level with 10 seeds on each of 24 tasks and judges once,
at the end. Ours searches 16 points per block, promotes, confirms, looks after 8, 16 and 24 tasks, drops
levels and stops. Both are drawn from the same planted bowls (`studies.simulation.planted_truth`) and judged
by the real analysis. All members train equally long, so that member-epochs are members times one constant.

Targets: at most a third of the fixed design's member-epochs where a winner is clear, at most 0.85 on ties,
at most 5 % false verdicts, and no less power. Shares come with 95 % Clopper-Pearson bounds. Ends with 1 if a
target is missed.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from reports.statistics.compare import Array
from studies.simulation.analysis import BLOCKS, LOOKS, SimulatedVerdicts, judged
from studies.simulation.planted_truth import Numbers, RateBowl, SearchBudget, chosen_of_fixed, searched
from studies.spec.sections import PROFILES

POINTS, SEEDS, TASKS = 16, 10, LOOKS[-1]
"""The fixed design."""

FULL = PROFILES["full"]
RUNS = BLOCKS * (1 + FULL["trials"] + FULL["promoted"] * FULL["promote_seeds"] + 2 * FULL["confirm_seeds"])
"""Ours, per level and task; the library default and its confirmation included."""

EFFORT = SearchBudget(
    trials=FULL["trials"],
    promoted=FULL["promoted"],
    promote_seeds=FULL["promote_seeds"],
    confirm_seeds=FULL["confirm_seeds"],
)
PART = 50
"""Studies simulated together: 50 take about 100 MB."""

CLEAR, TIES, FALSE = 1 / 3, 0.85, 0.05
"""The targets."""

CLEAR_LEAD = 2.5
"""Margins from which on a winner is called clear, as in V16 of `groundrules simulate`; below: only shown."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is true, and what a study may say about it."""

    name: str
    lead: float
    """Margins by which the costliest level is better than all others; 0: all are equal."""
    target: float | None
    """Share of the fixed design's member-epochs that is allowed; None: shown only, errors are judged."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """One way of answering, over S studies of one case."""

    members: NDArray[np.float64]
    """[S]."""
    right: NDArray[np.bool_]
    """[S] the level that should be recommended is."""
    false: NDArray[np.bool_]
    """[S] a level a margin or more worse is recommended, or levels that are equal are called unequal."""


def ours(bowl: RateBowl, lead: float, numbers: Numbers, studies: int) -> Found:
    """Searched, raced and judged as profile `full` does."""
    errors = searched(bowl, numbers, studies, TASKS, BLOCKS, EFFORT)
    answer = judged(errors, looks=LOOKS, textbook=(0,))
    return _found(answer, lead, len(bowl.truth), (answer.level_tasks * RUNS).astype(np.float64))


def fixed(bowl: RateBowl, lead: float, errors: Array, tasks: int) -> Found:
    """One look at so many tasks of the fixed design's errors [S, T, seeds, L]."""
    levels = len(bowl.truth)
    answer = judged(errors[:, :tasks], looks=(tasks,), textbook=(0,))
    return _found(answer, lead, levels, np.full(len(errors), float(levels * tasks * POINTS * SEEDS)))


def _found(answer: SimulatedVerdicts, lead: float, levels: int, members: NDArray[np.float64]) -> Found:
    best = levels - 1 if lead else 0
    named = answer.recommended >= 0
    false = named & (answer.recommended != best) if lead >= 1 else answer.claimed
    return Found(members=members, right=answer.recommended == best, false=np.asarray(false))


def _joined(parts: list[Found]) -> Found:
    return Found(
        members=np.concatenate([p.members for p in parts]),
        right=np.concatenate([p.right for p in parts]),
        false=np.concatenate([p.false for p in parts]),
    )


def share(hits: NDArray[np.bool_]) -> str:
    """'97.5 % [96.3, 98.4]', with Clopper-Pearson bounds."""
    bounds = stats.binomtest(int(hits.sum()), len(hits)).proportion_ci(0.95, method="exact")
    return f"{100 * hits.mean():5.1f} % [{100 * bounds.low:.1f}, {100 * bounds.high:.1f}]"


def above(hits: NDArray[np.bool_], bound: float) -> bool:
    """The share is above the bound even at its lower Clopper-Pearson end."""
    low = stats.binomtest(int(hits.sum()), len(hits)).proportion_ci(0.95, method="exact").low
    return bool(low > bound)


def measured(case: Case, bowl: RateBowl, studies: int, seed: int) -> tuple[Found, dict[int, Found]]:
    """Ours, and the fixed design with every number of tasks from 8 to 24."""
    numbers = np.random.Generator(np.random.Philox(key=[seed, round(100 * case.lead)]))
    levels = len(bowl.truth)
    bowl = replace(bowl, truth=(*(case.lead,) * (levels - 1), 0.0))
    mine: list[Found] = []
    theirs: dict[int, list[Found]] = {tasks: [] for tasks in range(8, TASKS + 1, 2)}
    for start in range(0, studies, PART):
        count = min(PART, studies - start)
        mine.append(ours(bowl, case.lead, numbers, count))
        errors = chosen_of_fixed(bowl, numbers, count, TASKS, points=POINTS, seeds=SEEDS)
        for tasks, parts in theirs.items():
            parts.append(fixed(bowl, case.lead, errors, tasks))
    return _joined(mine), {tasks: _joined(parts) for tasks, parts in theirs.items()}


def report(case: Case, mine: Found, theirs: dict[int, Found]) -> bool:
    """Prints one case; True if its targets are met."""
    whole = theirs[TASKS]
    ratios = mine.members / whole.members
    error = float(ratios.std(ddof=1) / np.sqrt(len(ratios)))
    ratio = float(ratios.mean())
    fine = not above(mine.false, FALSE)
    print(f"\n{case.name}")
    print(f"  false verdicts    raced {share(mine.false)}   fixed {share(whole.false)}   (at most 5 %)")
    print(f"  right answers     raced {share(mine.right)}   fixed {share(whole.right)}")
    allowed = "" if case.target is None else f"(at most {case.target:.2f})"
    low, high = ratio - 1.96 * error, ratio + 1.96 * error
    print(
        f"  members           raced {mine.members.mean():.0f}   fixed {whole.members[0]:.0f}   "
        f"ratio {ratio:.3f} [{low:.3f}, {high:.3f}]   {allowed}"
    )
    enough = [tasks for tasks, found in theirs.items() if found.right.mean() >= mine.right.mean()]
    if enough:
        least = mine.members.mean() / theirs[enough[0]].members[0]
        print(
            f"  told beforehand how many tasks it needs for that power ({enough[0]}), the fixed design would "
            f"leave a ratio of {least:.3f}"
        )
    else:
        print(f"  no fixed design of at most {TASKS} tasks has that power")
    if case.target is None:
        return fine
    # No less power: what 95 % intervals leave open is not held against it.
    weaker = _less(mine.right, whole.right)
    if weaker:
        print("  LESS POWER than the fixed design")
    return fine and ratio <= case.target and not weaker


def _less(here: NDArray[np.bool_], there: NDArray[np.bool_]) -> bool:
    """The first share is lower than the second, beyond chance at one-sided 2.5 % (Fisher's exact test)."""
    table = np.array([[s.sum(), (~s).sum()] for s in (here, there)], dtype=np.int64)
    return bool(stats.fisher_exact(table, alternative="less").pvalue < 0.025)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000, help="simulated studies of each case (1000)")
    parser.add_argument("--levels", type=int, default=6, help="levels compared (6)")
    parser.add_argument("--tau", type=float, default=0.25, help="SD between tasks, in margins (0.25)")
    parser.add_argument("--seed-sd", type=float, default=1.0, help="SD of one training, in margins (1)")
    parser.add_argument("--leads", type=float, nargs="+", default=[2.0, 2.5, 3.0], help="margins of a winner")
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    if asked.studies < 2 or asked.levels < 2 or min(asked.leads) < 1:
        parser.error("--studies and --levels must be at least 2, --leads at least 1")
    bowl = RateBowl(
        truth=(0.0,) * asked.levels,
        optimum=(0.0,) * asked.levels,
        seed_sd=(asked.seed_sd,) * asked.levels,
        tau=asked.tau,
    )
    print(
        f"{asked.levels} levels, tau {asked.tau:g} and seed SD {asked.seed_sd:g} margins, "
        f"n = {asked.studies} studies a case; per level and task {RUNS} members raced, {POINTS * SEEDS} fixed"
    )
    cases = [
        *(
            Case(
                name=f"the costliest is best, by {x:g} margins",
                lead=x,
                target=CLEAR if x >= CLEAR_LEAD else None,
            )
            for x in asked.leads
        ),
        Case(name="ties: all levels equal", lead=0.0, target=TIES),
        Case(name="least favourable: all but the costliest exactly 1 margin worse", lead=1.0, target=None),
    ]
    met = [report(case, *measured(case, bowl, asked.studies, asked.seed)) for case in cases]
    print(f"\n{sum(met)} of {len(met)} cases meet their targets")
    sys.exit(0 if all(met) else 1)


if __name__ == "__main__":
    main()
