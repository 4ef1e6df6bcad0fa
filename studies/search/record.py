"""A search study as reports see it, put together from the ledger alone: no task is built, nothing trained."""

from __future__ import annotations

from reports.evidence.search_record import SearchRecord
from search_spaces.config import Setting
from search_spaces.overrides import spelled
from studies.ledger.ledger import Ledger, StudyRow
from studies.ledger.protocol_hash import as_recorded, untouched
from studies.ledger.rows import still_abandoned
from studies.search.generations import by_number, trial_result
from studies.search.optuna_study import importances
from studies.search.protocol import protocol_of
from studies.search.successive_halving import rung_looks


def is_search(row: StudyRow) -> bool:
    """Whether the ledger's study is a search study."""
    return bool(row.protocol["spec"].get("kind") == "search")


def search_record(ledger: Ledger, study: str) -> SearchRecord:
    """Everything the ledger knows of one search study.

    Raises:
        ValueError: an unknown study, or one that is no search study.
    """
    row = ledger.study(study)
    untouched(study, row.protocol, row.protocol_hash, "protocol")
    with as_recorded(study):
        return _record(ledger, row)


def _record(ledger: Ledger, row: StudyRow) -> SearchRecord:
    study = row.name
    if not is_search(row):
        raise ValueError(f"study '{study}' in {ledger.workspace} is a guideline study, not a search study")
    fixed = protocol_of(row.protocol)
    spec, space = fixed.study, fixed.study.joint
    evaluations = by_number(ledger.evaluations(study, layers=False))
    trials = [trial_result(fixed, evaluation) for evaluation in evaluations]
    looks = rung_looks(Setting(**space.held.setting).evaluations)
    held = {**space.held.levels, **{name: spelled(value) for name, value in space.held.numbers.items()}}
    return SearchRecord(
        name=row.name,
        title=row.title,
        facts=fixed.facts,
        setting=space.held.setting,
        fixed=held,
        space=space.dimensions,
        sampler=spec.sampler,
        pruner=spec.pruner,
        generation=spec.generation,
        rungs=looks if spec.pruner == "successive_halving" else (),
        planned=spec.trials,
        evaluations=evaluations,
        points=tuple(trial.point for trial in trials),
        importances=importances(space, trials),
        protocol_hash=row.protocol_hash,
        versions=row.terms["versions"],
        hardware=row.terms["hardware"],
        given_up=still_abandoned(ledger.attempts(study), ledger.filled(study)),
    )
