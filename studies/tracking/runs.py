"""What a tracking store is told about a study: its runs as plain rows, computed from the ledger.

Everything here is a pure function of committed evaluations: ids, names, times and values are equal
whenever they are computed again, so writing them twice changes nothing.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Any

from reports.evidence.budget import EXTERNAL
from reports.evidence.search_record import EXPLORATORY
from search_spaces.config import Setting, digest
from studies.comparison.pilot import SEEDS
from studies.ledger.ledger import CommittedEvaluation, StudyRow
from trainers.diagnostics.names import fit, profiles, summaries
from trainers.evaluation import EVIDENCE_PHASES, CurvePoint, Evaluation

CURVES = tuple(f"curve/{name}" for name in CurvePoint.__dataclass_fields__ if name != "step")
INTERIM = "interim, not evidence"


@dataclass(frozen=True, kw_only=True)
class MetricPoint:
    """One value of one metric."""

    key: str
    value: float
    ms: int
    """Wall clock, milliseconds since 1970."""
    step: int = 0


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run as it will be shown."""

    id: str
    """32 hexadecimal digits, a hash of what the run stands for."""
    name: str
    parent: str = ""
    """The id of the run above; '' for the study run."""
    running: bool = False
    killed: bool = False
    """Stopped before its end."""
    opens: bool = False
    """Shown as running before its end comes, and closed then."""
    start_ms: int
    end_ms: int | None = None
    tags: Mapping[str, str]
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: tuple[MetricPoint, ...] = ()


def study_run_id(study: str) -> str:
    """The id of the study's run."""
    return digest({"study": study}, size=16)


def cell_run_id(evaluation: Evaluation) -> str:
    """The id of the run of the evaluation's cell."""
    return digest({"study": evaluation.slot.study, "cell": list(evaluation.slot.cell)}, size=16)


def study_run(row: StudyRow) -> RunRecord:
    """The run above all cells; its progress and end are written as they happen."""
    spec = row.protocol["spec"]
    if spec.get("kind") == "search":
        return _search_run(row)
    said = ("questions", "fixed", "background", "background_in", "nuisance", "tasks")
    params = {name: _brief(spec[name]) for name in said if name in spec}
    params |= {f"budget.{name}": _brief(value) for name, value in spec["budget"].items()}
    for regime, setting in spec["regimes"].items():
        params |= {f"{regime}.{name}": _brief(value) for name, value in setting.items()}
    return RunRecord(
        id=study_run_id(row.name),
        name=row.name,
        running=True,
        opens=True,
        start_ms=row.started_ms,
        tags={
            **_tags(row.name, "study"),
            "groundrules.title": row.title,
            "groundrules.protocol_hash": row.protocol_hash,
            "groundrules.profile": str(spec["budget"]["profile"]),
            "groundrules.hardware": str(row.terms.get("hardware", "")),
            "groundrules.evidence": "false",
            **({"groundrules.extends": spec["extends"]["study"]} if "extends" in spec else {}),
            "mlflow.note.content": INTERIM,
        },
        params={**params, "sampler": str(spec["sampler"]), "alpha": str(spec["alpha"])},
    )


def _search_run(row: StudyRow) -> RunRecord:
    """The run above the one cell of a search study."""
    spec = row.protocol["spec"]
    names = ("tasks", "trials", "sampler", "pruner", "generation")
    params = {f"space.{name}": _brief(said) for name, said in spec["space"].items()}
    params |= {name: _brief(spec[name]) for name in names}
    params |= {f"fixed.{name}": _brief(value) for name, value in spec["fixed"].items()}
    params |= {f"setting.{name}": _brief(value) for name, value in spec["setting"].items()}
    return RunRecord(
        id=study_run_id(row.name),
        name=row.name,
        running=True,
        opens=True,
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
    ends = 2 * spec["budget"]["confirm_seeds"]
    return {"pilot": SEEDS, "confirm": ends, "external": ends}


def member_run(committed: CommittedEvaluation, *, curve: bool) -> RunRecord:
    """The run of one trained member; with `curve` also its steps and, if it is judged, its layers."""
    e, s = committed.evaluation, committed.evaluation.slot
    end = committed.committed_ms
    start = end - round(1000 * committed.seconds)
    numbers = {name: f"{value:g}" for name, value in e.config.numbers.items()}
    values = {"validation/metric": e.validation_metric, "validation/loss": e.validation_loss}
    values |= {"best_step": e.best_step, "steps": e.steps}
    values |= {f"test/{readout}": value for readout, value in (e.test or {}).items()}
    values |= {f"diagnostics/{name}": value for name, value in summaries(e.diagnostics).items()}
    values["seconds_per_step"] = committed.seconds / max(1, e.steps)
    metrics = [MetricPoint(key=key, value=value, ms=end) for key, value in values.items()]
    for look in e.curve if curve else ():
        at = start + (end - start) * look.step // max(1, e.config.setting.steps)
        for name, value in zip(CURVES, look.values[1:], strict=True):
            metrics.append(MetricPoint(key=name, value=value, ms=at, step=look.step))
    # A member of 20 layers has 240 such points, 8 ms to write: only those that verdicts are made of.
    judged = s.phase in EVIDENCE_PHASES and e.arm == "tuned"
    for name, layers in profiles(e.diagnostics).items() if curve and judged else ():
        metrics += [
            MetricPoint(key=f"layers/{name}", value=value, ms=end, step=layer) for layer, value in layers
        ]
    return RunRecord(
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
        params={**e.config.levels, **numbers, **_setting(e.config.setting)},
        metrics=tuple(metrics),
    )


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a cell remembers of a member."""

    phase: str
    index: int
    arm: str
    status: str
    validation: float
    test: float | None


@dataclass(kw_only=True)
class CellSummary:
    """What is known of one cell so far."""

    any_member: Evaluation
    """The first that came in, without curve and diagnostics: its slot and its setting are the cell's."""
    members: list[_Seen] = field(default_factory=list)
    start_ms: int = 0
    end_ms: int = 0
    shown: bool = False
    """Its run has been opened by this process."""

    @staticmethod
    def of(committed: CommittedEvaluation) -> CellSummary:
        """The cell of a member, nothing in it yet."""
        return CellSummary(any_member=replace(committed.evaluation, curve=(), diagnostics={}))

    def add(self, committed: CommittedEvaluation) -> None:
        """One more member."""
        e = committed.evaluation
        start = committed.committed_ms - round(1000 * committed.seconds)
        self.start_ms = min(self.start_ms or start, start)
        self.end_ms = max(self.end_ms, committed.committed_ms)
        test = e.test["best_validation"] if e.test else None
        self.members.append(_Seen(e.slot.phase, e.slot.index, e.arm, e.status, e.validation_metric, test))

    def complete(self, sizes: Mapping[str, int]) -> bool:
        """Whether every member of its last phase has come in."""
        slot = self.any_member.slot
        last = "external" if slot.factor == EXTERNAL else "confirm"
        last = slot.phase if slot.phase in ("pilot", "search") else last
        return len(self.members) >= sizes[last] and sum(m.phase == last for m in self.members) == sizes[last]

    def run(self) -> RunRecord:
        """The run of the complete cell: what its search found and what its confirmation said."""
        e, s = self.any_member, self.any_member.slot
        values: dict[str, float] = {"members": len(self.members)}
        values["diverged"] = sum(m.status == "diverged" for m in self.members)
        if s.phase == "search":
            values["pruned"] = sum(m.status == "pruned" for m in self.members)
        for name, found in self._means().items():
            values[name] = found
        asked = {s.factor or "recipe": s.level} if s.phase != "search" else {}
        return RunRecord(
            id=cell_run_id(e),
            name=f"{s.task} {s.regime} block {s.block} {s.level}",
            parent=study_run_id(s.study),
            opens=True,
            start_ms=self.start_ms,
            end_ms=self.end_ms,
            tags={**_cell_tags(e), "groundrules.kind": "cell", "groundrules.evidence": "false"},
            params={**asked, **_setting(e.config.setting)},
            metrics=tuple(MetricPoint(key=k, value=v, ms=self.end_ms) for k, v in values.items()),
        )

    def opened(self) -> RunRecord:
        """The run of a cell that is still at work: where and since when, no results."""
        done = self.run()
        return RunRecord(**{**vars(done), "running": True, "end_ms": None, "metrics": ()})

    def _means(self) -> dict[str, float]:
        found: dict[str, list[float]] = {}
        for m in self.members:
            if m.phase == "retune" and m.index == 0:
                found["validation/library_default"] = [m.validation]
            elif m.phase == "search":
                if m.status == "finished":
                    found.setdefault("validation/retune", []).append(m.validation)
            elif m.phase in ("retune", "pilot"):
                found.setdefault(f"validation/{m.phase}", []).append(m.validation)
            elif m.phase in EVIDENCE_PHASES and m.test is not None:
                found.setdefault(f"test/{m.arm}", []).append(m.test)
        best = found.pop("validation/retune", None)
        means = {name: statistics.fmean(sorted(values)) for name, values in sorted(found.items())}
        return {**means, "validation/best_tuned": min(best)} if best else means


@lru_cache(maxsize=256)
def _setting(setting: Setting) -> Mapping[str, str]:
    """The setting as parameters; a study has few of them."""
    return {name: str(value) for name, value in asdict(setting).items()}


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
