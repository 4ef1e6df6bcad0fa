"""The pilot: reference recipes on block 0, and from them each task's margin or its replacement.

It reads training and validation data only, and nothing it trains becomes evidence.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from reports.evidence.budget import Margin
from search_spaces.config import Setting
from search_spaces.space import complete, framework_levels
from studies.spec.design_points import taken
from trainers.evaluation import Evaluation, Slot
from trainers.loop.feed import trivial_error
from trainers.member import Member
from trainers.tasks.task import Task

SEEDS = 5


@dataclass(frozen=True, kw_only=True)
class PilotRecipe:
    """A complete recipe that is known to train: it sets a task's margin, whatever the study asks.

    It runs in a regime's setting. Levels and numbers of a regime do not enter: a margin depends on the task
    and on what the network may see of it, not on a choice that is under study.
    """

    levels: Mapping[str, str]
    """What it states; every other factor sits at the framework's default."""
    learning_rate: float

    def plain(self) -> dict[str, Any]:
        return asdict(self)


def _recipe(
    initializer: str, activation: str, normalization: str, optimizer: str, learning_rate: float
) -> PilotRecipe:
    return PilotRecipe(
        levels={
            "initializer": initializer,
            "activation": activation,
            "normalization": normalization,
            "dropout": "none",
            "weight_decay": "optimizer_default",
            "optimizer": optimizer,
            "schedule": "one_cycle",
            "clipping": "none",
        },
        learning_rate=learning_rate,
    )


RECIPES: Mapping[str, PilotRecipe] = {
    "relu_batch_norm_adamw": _recipe("he_normal", "relu", "batch_norm", "adamw", 3e-3),
    "relu_layer_norm_adamw": _recipe("he_normal", "relu", "layer_norm", "adamw", 3e-3),
    "selu_adamw": _recipe("lecun_normal", "selu", "none", "adamw", 1e-3),
    "relu_nesterov": _recipe("he_normal", "relu", "none", "nesterov", 0.05),
}


@dataclass(frozen=True, kw_only=True)
class Acceptance:
    """The margin rule, and when a task is fit to be judged on (method.md 2.5)."""

    relative: float = 0.05
    """The margin is at least this share of the best recipe's error ..."""
    absolute: float = 0.005
    """... and for error rates at least half a percentage point ..."""
    resolution: float = 2.0
    """... and at least this many test items."""
    trained_share: float = 0.8
    """The best recipe must finish in this share of its seeds ..."""
    trivial_share: float = 0.5
    """... with at most this share of the trivial predictor's error."""


ACCEPTANCE = Acceptance()


def pilot_members(
    study: str, task: str, regime: str, setting: Setting, unhonoured: frozenset[str], *, root: str = ""
) -> list[Member]:
    """The recipes with 5 seeds each, on block 0.

    What the task's own network does not take from the config stays at the framework's default; a
    recipe that becomes equal to an earlier one by that is left out. `root`: as in `Member`.
    """
    members: list[Member] = []
    seen: set[str] = set()
    usual = framework_levels()
    for name, recipe in RECIPES.items():
        levels = taken(recipe.levels, unhonoured)
        config = complete(levels, {"learning_rate": recipe.learning_rate}, setting=setting, base=usual)
        if config.id in seen:
            continue
        seen.add(config.id)
        members += [
            Member(
                slot=Slot(
                    study=study, factor="", task=task, regime=regime, block=0, level=name, phase="pilot",
                    index=seed,
                ),
                config=config,
                seed_index=seed,
                root=root,
            )
            for seed in range(SEEDS)
        ]  # fmt: skip
    return members


def margin(task: Task, regime: str, evaluations: Sequence[Evaluation], *, root: str = "") -> Margin:
    """The practical-equivalence margin of one task in one regime.

    Args:
        task: the task that was piloted.
        regime: where.
        evaluations: all pilot members of this task and regime; a diverged one carries the trivial
            predictor's error.
        root: the study whose name keys the data splits; '': that of the slots.
    """
    slots = [e.slot for e in evaluations]
    if not slots or any(s.phase != "pilot" or (s.task, s.regime) != (task.name, regime) for s in slots):
        raise ValueError(f"the margin of {task.name} in {regime} needs its own pilot members, nothing else")
    recipes: dict[str, list[Evaluation]] = {name: [] for name in RECIPES}
    for evaluation in evaluations:
        recipes[evaluation.slot.level].append(evaluation)
    errors = {name: [e.validation_metric for e in rows] for name, rows in recipes.items() if rows}
    best = min(errors, key=lambda name: statistics.fmean(errors[name]))
    error = statistics.fmean(errors[best])
    study = root or slots[0].study
    trivial = trivial_error(task, study, 0)
    terms = {"relative": ACCEPTANCE.relative * error}
    if task.kind == "classification":
        n_test = len(task.split(study, 0).test)
        terms |= {"absolute": ACCEPTANCE.absolute, "resolution": ACCEPTANCE.resolution / n_test}
    floor = max(terms, key=terms.__getitem__)
    reason = _refusal(recipes[best], error, trivial)
    return Margin(
        task=task.name,
        regime=regime,
        delta=terms[floor],
        floor=floor,
        best_error=error,
        best_recipe=best,
        trivial_error=trivial,
        seed_sd=statistics.stdev(errors[best]) if len(errors[best]) > 1 else 0.0,
        accepted=not reason,
        reason=reason,
    )


def _refusal(best: Sequence[Evaluation], error: float, trivial: float) -> str:
    finished = sum(e.status == "finished" for e in best)
    if finished < ACCEPTANCE.trained_share * len(best):
        return f"the best pilot recipe trained in {finished} of {len(best)} seeds"
    if error > ACCEPTANCE.trivial_share * trivial:
        return (
            f"the best pilot recipe's error {error:.3g} exceeds half of the trivial predictor's {trivial:.3g}"
        )
    return ""
