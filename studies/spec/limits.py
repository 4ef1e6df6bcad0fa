"""What a study file may ask for at most: counted from its lists, before anything of it is laid out.

More than this is a mistake in the file, not a study; and a short file must not keep a machine busy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from reports.evidence.budget import ARMS
from search_spaces.config import SETTING_LIMITS, Setting
from search_spaces.networks import NETWORKS
from search_spaces.overrides import Overrides
from studies.spec import control_arms
from studies.spec.errors import SpecError
from studies.spec.study_spec import StudySpec

MAX_CELLS = 100_000
"""Searches; the largest study that ships has 1,920."""
MAX_MEMBERS = 1_000_000
MAX_LOOKS = 100_000_000
"""Points of training curves that the ledger keeps, about 50 bytes each."""
MAX_PLACES = 20_000
"""Levels x regimes x backgrounds that are checked one by one; the largest study that ships has 960."""
MAX_MEMBER_BYTES = 4_000_000_000
"""Hidden weights of one member with gradients and two moments, and what its hidden layers keep of a batch.
At its peak a training took 3.5 times as much, whatever the network: a step has copies of its own."""
COPIES, BYTES = 4, 4
"""Of every weight; of a number."""


def check_counts(spec: StudySpec) -> None:
    """SpecError where the study has more cells, members, curve points or places than a study has."""
    levels = sum(len(asked.changes) for asked in spec.understood)
    budget = spec.effective_budget
    cells = levels * len(spec.regimes) * spec.families
    for control in control_arms.controls(spec):
        cells += len(control.levels) * len(control.regimes) * min(spec.families, control_arms.FAMILIES)
    cells += len(ARMS) * len(spec.regimes) * spec.external
    cells *= budget.blocks
    members = cells * budget.runs_per_cell
    # Members first: their number is what a study costs.
    _refuse_above(spec.file, "budget", members, MAX_MEMBERS, "members")
    _refuse_above(spec.file, "budget", cells, MAX_CELLS, "cells (task x regime x block x level)")
    places = sum(levels * backgrounds(spec.backgrounds(regime)) for regime in spec.regimes)
    _refuse_above(spec.file, "background", places, MAX_PLACES, "combinations of level, regime and background")
    looks = max((spec.settings(regime).evaluations for regime in spec.regimes), default=1)
    for asked in spec.understood:
        for change in asked.changes.values():
            looks = max(looks, change.setting.get("evaluations", 1))
    _refuse_above(spec.file, "setting.evaluations", members * looks, MAX_LOOKS, "points of training curves")


def backgrounds(choices: Mapping[str, Sequence[object]]) -> int:
    """How many backgrounds hold every pair of levels (`studies.spec.design_points`), without making them."""
    others = [len(levels) - 1 for levels in choices.values()]
    return 1 + sum(others) + sum(a * b for a, b in combinations(others, 2))


def check_sizes(spec: StudySpec) -> None:
    """SpecError where one member of some level in some regime would need too much memory."""
    for regime in spec.regimes:
        usual = spec.settings(regime)
        searched = {
            name: int(min(span.high, SETTING_LIMITS[name][1]))
            for name, span in spec.nuisance.items()
            if span and _grows(name)
        }
        for i, asked in enumerate(spec.understood):
            for level, change in asked.changes.items():
                key = f"questions[{i}].levels" if any(map(_grows, change.setting)) else f"regimes.{regime}"
                size = member_bytes(usual, Overrides(setting={**searched, **change.setting}))
                check_size(spec.file, key, size, f"({level} in {regime})")


def check_size(file: str, key: str, size: int, place: str = "") -> None:
    """SpecError for a member of more than `MAX_MEMBER_BYTES`."""
    if size > MAX_MEMBER_BYTES:
        rule = f"depth, width and batch_size make a member of {size / 1e9:.1f} GB"
        raise SpecError(
            file, key, f"{rule}; one has at most {MAX_MEMBER_BYTES / 1e9:.0f} GB {place}".rstrip()
        )


def member_bytes(usual: Setting, change: Overrides) -> int:
    """About what one member's hidden layers need while they train; inputs and outputs are the task's."""
    setting = {**usual.plain(), **change.setting}
    depth, width, batch = (int(setting[name]) for name in ("depth", "width", "batch_size"))
    weights = NETWORKS[setting["network"]].hidden_weights(depth, width)
    return BYTES * (COPIES * weights + 2 * batch * width * depth)


def _grows(name: str) -> bool:
    return name in ("depth", "width", "batch_size")


def _refuse_above(file: str, key: str, count: int, most: int, what: str) -> None:
    if count > most:
        raise SpecError(file, key, f"{count} {what}; a study has at most {most}")
