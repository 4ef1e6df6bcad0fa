"""Whole studies with a known answer, built from a table of errors instead of trained networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from reports.question import Question
from reports.record import Budget, Margin, StudyRecord, TaskFacts
from search_spaces.config import Config, Setting, digest
from trainers.evaluation import Arm, CurvePoint, Evaluation, Phase, Slot

BUDGET = Budget(
    profile="quick",
    blocks=4,
    trials=4,
    promoted=2,
    promote_seeds=1,
    confirm_seeds=2,
    looks=(8,),
)
LEVELS = ("torch_default", "glorot_normal", "he_normal")
SETTINGS = {"shallow": Setting(depth=2, width=32), "deep": Setting(depth=20, width=32)}
VERSIONS = {"torch": "2.14.1", "numpy": "2.4.6", "python": "3.11.9", "groundrules": "0.1.0", "device": "cpu"}
TRIVIAL = 0.6
BACKGROUND = {
    "initializer": "he_normal",
    "activation": "relu",
    "normalization": "none",
    "dropout": "none",
    "weight_decay": "optimizer_default",
    "optimizer": "adamw",
    "schedule": "constant",
    "clipping": "none",
}


def noisy_errors(
    means: Sequence[float],
    *,
    tasks: int = 8,
    blocks: int = 4,
    margin: float = 0.02,
    tau: float = 0.3,
    block_sd: float = 0.5,
    seed: int = 1,
) -> NDArray[np.float64]:
    """[T, R, L] errors around 0.2 whose levels differ by `means` margins; SDs in margins."""
    rng = np.random.default_rng(seed)
    shape = (tasks, blocks, len(means))
    shared = rng.normal(0, 0.02, (tasks, 1, 1)) + rng.normal(0, 0.005, (tasks, blocks, 1))
    own = tau * rng.normal(size=(tasks, 1, len(means))) + block_sd * rng.normal(size=shape)
    return np.asarray(0.2 + shared + margin * (np.asarray(means) + own))


def planted_study(
    errors: Mapping[str, NDArray[np.float64]],
    *,
    levels: Sequence[str] = LEVELS,
    textbook: Mapping[str, tuple[str, ...]] | None = None,
    cost: Mapping[str, int] | None = None,
    margin: float | Sequence[float] = 0.02,
    families: Sequence[str] | None = None,
    diverged: frozenset[tuple[str, int, int, str, int]] = frozenset(),
    budget: Budget = BUDGET,
    factor: str = "initializer",
    name: str = "planted",
    sampler: str = "sobol",
    tasks: Sequence[str] | None = None,
) -> StudyRecord:
    """A complete study whose tuned confirm seeds average to `errors`.

    Args:
        errors: Regime -> [T, R, L]; rows of the last axis in the order of `levels`.
        diverged: (regime, task number, block, level, seed) of tuned confirm members that diverged.
    """
    first = next(iter(errors.values()))
    tasks = tuple(tasks or (f"task_{t}" for t in range(first.shape[0])))
    families = tuple(families or tasks)
    # No more families are judged than the last planned look.
    looks = (*budget.looks[:-1], max(budget.looks[-1], len(set(families))))
    budget = replace(budget, blocks=first.shape[1], looks=looks)
    margins = np.broadcast_to(margin, len(tasks))
    rows: list[Evaluation] = []
    for regime, table in errors.items():
        for t, task in enumerate(tasks):
            for r in range(budget.blocks):
                for i, level in enumerate(levels):
                    lost = {s for s in range(9) if (regime, t, r, level, s) in diverged}
                    rows += _cell(
                        name, factor, regime, task, r, level, float(table[t, r, i]), budget, lost, position=i
                    )
    pilot = [
        evaluation(name, "", task, regime, 0, "reference", "pilot", seed, error=0.2)
        for regime in errors
        for task in tasks
        for seed in range(5)
    ]
    cells = len(errors) * len(tasks) * budget.blocks * len(levels)
    return StudyRecord(
        name=name,
        title=f"Which {factor}?",
        questions=(
            Question(
                factor=factor,
                levels=tuple(levels),
                regimes=tuple(errors),
                cost=cost or {level: rank for rank, level in enumerate(levels)},
                textbook=textbook if textbook is not None else dict.fromkeys(errors, ("he_normal",)),
            ),
        ),
        regimes={regime: _setting_plain(regime) for regime in errors},
        fixed={"activation": "relu", "optimizer": "adamw"},
        background={},
        nuisance={"learning_rate": (1e-4, 1.0)},
        tasks={factor: dict.fromkeys(errors, tasks)},
        facts={
            task: TaskFacts(
                name=task,
                family=families[t],
                real=t % 2 == 0,
                kind="classification",
                metric="error_rate",
                items=1000,
                features=10,
                n_test=250,
                licence="CC0",
                source="planted",
                content_hash=digest(task),
            )
            for t, task in enumerate(tasks)
        },
        margins=tuple(
            Margin(
                task=task,
                regime=regime,
                delta=float(margins[t]),
                floor="relative",
                best_error=0.2,
                best_recipe="reference",
                trivial_error=TRIVIAL,
                seed_sd=0.01,
                accepted=True,
            )
            for regime in errors
            for t, task in enumerate(tasks)
        ),
        budget=budget,
        sampler=sampler,
        planned={
            "pilot": len(pilot),
            "retune": cells * (1 + budget.trials),
            "promote": cells * budget.promoted * budget.promote_seeds,
            "confirm": cells * 2 * budget.confirm_seeds,
        },
        evaluations=tuple(pilot + rows),
        plan_hash="3f2c9a7716ab00d1",
        protocol_hash="77aa0b1cd2233445",
        revision=1,
        versions=VERSIONS,
        hardware="cpu",
    )


def evaluation(
    study: str,
    factor: str,
    task: str,
    regime: str,
    block: int,
    level: str,
    phase: Phase,
    index: int,
    *,
    error: float,
    learning_rate: float = 0.01,
    arm: Arm = "tuned",
    diverged: bool = False,
) -> Evaluation:
    """One member; its learning curve is as unique as its slot."""
    place = {"study": study, "factor": factor, "task": task, "regime": regime, "level": level}
    slot = Slot(**place, block=block, phase=phase, index=index)
    bits = np.random.default_rng(int(slot.id[:8], 16)).random(3)
    curve = tuple(
        CurvePoint(
            step=100 * (k + 1),
            train_loss=float(bit),
            validation_loss=1.0,
            validation_metric=0.5,
            learning_rate=0.1,
        )
        for k, bit in enumerate(bits)
    )
    return Evaluation(
        slot=slot,
        arm=arm,
        config=Config(
            levels=BACKGROUND | ({factor: level} if factor else {}),
            numbers={"learning_rate": learning_rate},
            setting=SETTINGS.get(regime, Setting()),
        ),
        status="diverged" if diverged else "finished",
        cause="non_finite_loss" if diverged else "",
        validation_metric=TRIVIAL if diverged else error,
        validation_loss=float("inf") if diverged else error,
        best_step=0 if diverged else 300,
        test=({"best_validation": error, "last": error} if phase == "confirm" and not diverged else None),
        curve=() if diverged else curve,
        steps=300,
        versions=VERSIONS,
    )


def _cell(
    study: str,
    factor: str,
    regime: str,
    task: str,
    block: int,
    level: str,
    error: float,
    budget: Budget,
    lost: set[int],
    position: int,
) -> list[Evaluation]:
    """The whole chain of one (task, block, level). Nothing in it hangs on the level's name."""
    where = (study, factor, task, regime, block, level)
    rows = []
    best_rate = 10 ** (-2.5 + 0.3 * position)
    for index in range(budget.trials + 1):
        rate = 1e-3 if index == 0 else 10 ** (-4 + 4 * ((index - 0.5 + 0.11 * block) / (budget.trials + 0.5)))
        miss = 0.01 * np.log10(rate / best_rate) ** 2
        rows.append(
            evaluation(
                *where, "retune", index,
                error=error + float(miss),
                learning_rate=float(f"{rate:.6g}"),
                arm="default" if index == 0 else "tuned",
                diverged=rate > 0.2,
            )
        )  # fmt: skip
    best = sorted((row for row in rows[1:]), key=lambda row: row.validation_metric)[: budget.promoted]
    for rank, row in enumerate(best):
        for seed in range(budget.promote_seeds):
            index = rank * budget.promote_seeds + seed
            rate = row.config.numbers["learning_rate"]
            rows.append(evaluation(*where, "promote", index, error=row.validation_metric, learning_rate=rate))
    rate = best[0].config.numbers["learning_rate"]
    swing = 0.004
    for seed in range(budget.confirm_seeds):
        offset = swing * (seed - (budget.confirm_seeds - 1) / 2)
        rows.append(
            evaluation(
                *where, "confirm", seed, error=error + offset, learning_rate=rate, diverged=seed in lost
            )
        )
    for seed in range(budget.confirm_seeds):
        index = budget.confirm_seeds + seed
        rows.append(
            evaluation(*where, "confirm", index, error=error + 0.03, learning_rate=1e-3, arm="default")
        )
    return rows


def _setting_plain(regime: str) -> dict[str, object]:
    setting = SETTINGS.get(regime, Setting())
    return {name: getattr(setting, name) for name in setting.__dataclass_fields__}
