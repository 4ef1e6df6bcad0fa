"""What decided the rows, and what the table would say if levels cost otherwise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from reports.verdicts.model import Verdict


@dataclass(frozen=True, kw_only=True)
class AlternativeOrder:
    """One row under other cost orders; where one level is proved, all say the same."""

    row: str
    cheapest: str
    """The rule: the cheapest level proved."""
    dearest: str
    """Under the reversed cost order."""
    least_error: str
    """The level of least mean test error, proved or not: no cost order at all. Several, with equals signs,
    where that is the same."""
    possible: tuple[str, ...]
    """Every level that some cost order puts there."""


def decided(verdicts: Sequence[Verdict]) -> str:
    """'1 of 2 rows was decided by data, 1 by cost order ..., 0 fell back ...'."""
    count = Counter(verdict.decided_by for verdict in verdicts)
    was = "was" if count["data"] == 1 else "were"
    return (
        f"{count['data']} of {len(verdicts)} rows {was} decided by data, {count['cost_order']} by cost order "
        f"among levels proved equally good, and {count['fallback']} fell back on the textbook, or on the "
        "cheapest level where it has no such row"
    )


def other_orders(verdicts: Sequence[Verdict]) -> tuple[AlternativeOrder, ...]:
    """The table under permuted cost orders: the levels proved are the same in each, their order is not.

    A row that fell back stays where it is: no order proves a level.
    """
    orders = []
    for verdict in verdicts:
        proved = verdict.admissible or (verdict.recommended,)
        orders.append(
            AlternativeOrder(
                row=f"{verdict.factor} @ {verdict.regime}",
                cheapest=verdict.recommended,
                dearest=proved[-1],
                least_error=" = ".join(
                    level if level in proved else f"{level} (not proved)" for level in verdict.least
                ),
                possible=proved,
            )
        )
    return tuple(orders)
