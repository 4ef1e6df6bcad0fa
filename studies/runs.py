"""What a tracking store is told about a study: its runs as plain rows, computed from the ledger.

Everything here is a pure function of committed evaluations: ids, names, times and values are equal
whenever they are computed again, so writing them twice changes nothing.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from reports.search_record import EXPLORATORY
from search_spaces.config import digest
from studies.ledger import Committed, StudyRow
from studies.pilot import SEEDS
from trainers.diagnostics.names import fit, profiles, summaries
from trainers.evaluation import EVIDENCE_PHASES, Evaluation

Detail = Literal["members_with_curves", "members", "cells"]
"""How much is mirrored: every member with its curve; every member, curves where they matter; cells only."""

DETAILS: tuple[Detail, ...] = ("members_with_curves", "members", "cells")
CURVE_PHASES = ("promote", "search", *EVIDENCE_PHASES)
"""Members whose curves are mirrored at detail 'members': the winners of each cell's search, the trials of
search studies, and the evidence."""

INTERIM = "interim, not evidence"


@dataclass(frozen=True, kw_only=True)
class Point:
    """One value of one metric."""

    key: str
    value: float
    ms: int
    """Wall clock, milliseconds since 1970."""
    step: int = 0


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run as it will be shown."""

    id: str
    """32 hexadecimal digits, a hash of what the run stands for."""
    name: str
    parent: str = ""
    """The id of the run above; '' for the study run."""
    running: bool = False
    killed: bool = False
    """Stopped before its end."""
    start_ms: int
    end_ms: int | None = None
    tags: Mapping[str, str]
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: tuple[Point, ...] = ()


def study_run_id(study: str) -> str:
    """The id of the study's run."""
    return digest({"study": study}, size=16)


def cell_run_id(evaluation: Evaluation) -> str:
    """The id of the run of the evaluation's cell."""
    return digest({"study": evaluation.slot.study, "cell": list(evaluation.slot.cell)}, size=16)


def study_run(row: StudyRow) -> Run:
    """The run above all cells; its progress and end are written as they happen."""
    spec = row.protocol["spec"]
    if spec.get("kind") == "search":
        return _search_run(row)
    params = {name: _brief(spec[name]) for name in ("questions", "fixed", "background", "nuisance", "tasks")}
    params |= {f"budget.{name}": _brief(value) for name, value in spec["budget"].items()}
    for regime, setting in spec["regimes"].items():
        params |= {f"{regime}.{name}": _brief(value) for name, value in setting.items()}
    return Run(
        id=study_run_id(row.name),
        name=row.name,
        running=True,
        start_ms=row.started_ms,
        tags={
            **_tags(row.name, "study"),
            "groundrules.title": row.title,
            "groundrules.protocol_hash": row.protocol_hash,
            "groundrules.profile": str(spec["budget"]["profile"]),
            "groundrules.hardware": str(row.terms.get("hardware", "")),
            "groundrules.evidence": "false",
            "mlflow.note.content": INTERIM,
        },
        params={**params, "sampler": str(spec["sampler"]), "alpha": str(spec["alpha"])},
    )


def _search_run(row: StudyRow) -> Run:
    """The run above the one cell of a search study."""
    spec = row.protocol["spec"]
    names = ("tasks", "trials", "sampler", "pruner", "generation")
    params = {f"space.{name}": _brief(said) for name, said in spec["space"].items()}
    params |= {name: _brief(spec[name]) for name in names}
    params |= {f"fixed.{name}": _brief(value) for name, value in spec["fixed"].items()}
    params |= {f"setting.{name}": _brief(value) for name, value in spec["setting"].items()}
    return Run(
        id=study_run_id(row.name),
        name=row.name,
        running=True,
        start_ms=row.started_ms,
        tags={
            **_tags(row.name, "study"),
            "groundrules.title": row.title,
            "groundrules.protocol_hash": row.protocol_hash,
            "groundrules.hardware": str(row.terms.get("hardware", "")),
            "groundrules.evidence": "false",
            "groundrules.exploratory": EXPLORATORY,
            "mlflow.note.content": EXPLORATORY,
        },
        params=params,
    )


def sizes(row: StudyRow) -> dict[str, int]:
    """Phase -> members of one cell, for the phases that end a cell."""
    spec = row.protocol["spec"]
    if spec.get("kind") == "search":
        return {"search": spec["trials"]}
    return {"pilot": SEEDS, "confirm": 2 * spec["budget"]["confirm_seeds"]}


def member_run(committed: Committed, *, curve: bool) -> Run:
    """The run of one trained member; with `curve` also its steps and, if it is judged, its layers."""
    e, s = committed.evaluation, committed.evaluation.slot
    end = committed.committed_ms
    start = end - round(1000 * committed.seconds)
    setting = {name: str(value) for name, value in asdict(e.config.setting).items()}
    numbers = {name: f"{value:g}" for name, value in e.config.numbers.items()}
    values = {"validation/metric": e.validation_metric, "validation/loss": e.validation_loss}
    values |= {"best_step": e.best_step, "steps": e.steps}
    values |= {f"test/{readout}": value for readout, value in (e.test or {}).items()}
    values |= {f"diagnostics/{name}": value for name, value in summaries(e.diagnostics).items()}
    values["seconds_per_step"] = committed.seconds / max(1, e.steps)
    metrics = [Point(key=key, value=value, ms=end) for key, value in values.items()]
    for look in e.curve if curve else ():
        at = start + (end - start) * look.step // max(1, e.config.setting.steps)
        for name, value in vars(look).items():
            if name != "step":
                metrics.append(Point(key=f"curve/{name}", value=value, ms=at, step=look.step))
    # A member of 20 layers has 240 such points, 8 ms to write: only those that verdicts are made of.
    judged = s.phase in EVIDENCE_PHASES and e.arm == "tuned"
    for name, layers in profiles(e.diagnostics).items() if curve and judged else ():
        metrics += [Point(key=f"layers/{name}", value=value, ms=end, step=layer) for layer, value in layers]
    return Run(
        id=digest({"study": s.study, "evaluation": e.id}, size=16),
        name=f"{s.level} {s.phase} {s.index}",
        parent=cell_run_id(e),
        killed=e.status == "pruned",
        start_ms=start,
        end_ms=end,
        tags={
            **_cell_tags(e),
            "groundrules.kind": "member",
            "groundrules.evaluation": e.id,
            "groundrules.phase": s.phase,
            "groundrules.index": str(s.index),
            "groundrules.arm": e.arm,
            "groundrules.status": e.status,
            "groundrules.cause": e.cause[:500],
            "groundrules.fit": fit(e.diagnostics),
            "groundrules.evidence": "true" if s.phase in EVIDENCE_PHASES else "false",
            "groundrules.pack": committed.pack_id,
        },
        params={**e.config.levels, **numbers, **setting},
        metrics=tuple(metrics),
    )


@dataclass(kw_only=True)
class Cell:
    """What is known of one cell so far."""

    first: Committed
    members: dict[tuple[str, int], Evaluation] = field(default_factory=dict)
    """(phase, index) -> evaluation, without curves and diagnostics."""
    start_ms: int = 0
    end_ms: int = 0

    def add(self, committed: Committed) -> None:
        """One more member."""
        slot = committed.evaluation.slot
        start = committed.committed_ms - round(1000 * committed.seconds)
        self.start_ms = min(self.start_ms or start, start)
        self.end_ms = max(self.end_ms, committed.committed_ms)
        self.members[slot.phase, slot.index] = replace(committed.evaluation, curve=(), diagnostics={})

    def complete(self, sizes: Mapping[str, int]) -> bool:
        """Whether every member of its last phase has come in."""
        slot = self.first.evaluation.slot
        last = slot.phase if slot.phase in ("pilot", "search") else "confirm"
        return sum(phase == last for phase, _ in self.members) == sizes[last]

    def run(self) -> Run:
        """The run of the complete cell: what its search found and what its confirmation said."""
        e, s = self.first.evaluation, self.first.evaluation.slot
        values: dict[str, float] = {"members": len(self.members)}
        values["diverged"] = sum(m.status == "diverged" for m in self.members.values())
        if s.phase == "search":
            values["pruned"] = sum(m.status == "pruned" for m in self.members.values())
        for name, found in self._means().items():
            values[name] = found
        shared = {k: str(v) for k, v in asdict(e.config.setting).items()}
        return Run(
            id=cell_run_id(e),
            name=f"{s.task} {s.regime} block {s.block} {s.level}",
            parent=study_run_id(s.study),
            start_ms=self.start_ms,
            end_ms=self.end_ms,
            tags={**_cell_tags(e), "groundrules.kind": "cell", "groundrules.evidence": "false"},
            params={**({s.factor or "recipe": s.level} if s.phase != "search" else {}), **shared},
            metrics=tuple(Point(key=k, value=v, ms=self.end_ms) for k, v in values.items()),
        )

    def opened(self) -> Run:
        """The run of a cell that is still at work: where and since when, no results."""
        done = self.run()
        return Run(**{**vars(done), "running": True, "end_ms": None, "metrics": ()})

    def _means(self) -> dict[str, float]:
        found: dict[str, list[float]] = {}
        for (phase, index), e in self.members.items():
            if phase == "retune" and index == 0:
                found["validation/library_default"] = [e.validation_metric]
            elif phase == "search":
                if e.status == "finished":
                    found.setdefault("validation/retune", []).append(e.validation_metric)
            elif phase in ("retune", "pilot"):
                found.setdefault(f"validation/{phase}", []).append(e.validation_metric)
            elif phase in EVIDENCE_PHASES and e.test:
                found.setdefault(f"test/{e.arm}", []).append(e.test["best_validation"])
        best = found.pop("validation/retune", None)
        means = {name: statistics.fmean(sorted(values)) for name, values in sorted(found.items())}
        return {**means, "validation/best_tuned": min(best)} if best else means


def _tags(study: str, kind: str) -> dict[str, str]:
    return {"groundrules.study": study, "groundrules.kind": kind}


def _cell_tags(e: Evaluation) -> dict[str, str]:
    s = e.slot
    return {
        "groundrules.study": s.study,
        "groundrules.cell": cell_run_id(e),
        "groundrules.factor": s.factor,
        "groundrules.level": s.level,
        "groundrules.task": s.task,
        "groundrules.regime": s.regime,
        "groundrules.block": str(s.block),
    }


def _brief(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 2000 else f"{text[:1997]}..."
