"""How much of a study MLflow shows: the study file's key `tracking`."""

from __future__ import annotations

from typing import Literal

from trainers.evaluation import EVIDENCE_PHASES, LOOKED_INTO, Evaluation

Detail = Literal["curves", "members", "evidence", "cells"]
"""From most to least; each shows what the next one shows, and more.

'curves': every member with its curve. 'members': every member; curves of the evidence, and of the trials of
a search. 'evidence': the members verdicts are made of, with curves, and one summary of each cell. 'cells':
the summaries.
"""
SearchDetail = Literal["members", "cells"]
"""Of search studies, which have one curve per trial and no evidence."""

DETAILS: tuple[Detail, ...] = ("curves", "members", "evidence", "cells")


def shown(evaluation: Evaluation, detail: Detail) -> bool:
    """Whether the member is a run of its own."""
    if detail == "evidence":
        return evaluation.slot.phase in EVIDENCE_PHASES
    return detail != "cells"


def with_curve(evaluation: Evaluation, detail: Detail) -> bool:
    """Whether the member's run has its curve."""
    return detail == "curves" or evaluation.slot.phase in LOOKED_INTO


def contains(more: Detail, less: Detail) -> bool:
    """Whether everything that is shown at `less` is shown at `more`."""
    return DETAILS.index(more) <= DETAILS.index(less)
