"""Studies: which questions to ask, the plan, the ledger, the engines, the command line.

What the commands do, for a notebook:

    import studies

    spec = studies.load("quickstart")             # or the path of a study file
    studies.run_study(spec)                       # the same call again resumes
    for verdict in studies.verdicts("quickstart"):
        print(verdict.factor, verdict.regime, verdict.label, verdict.recommended)

The functions import what they need when they are called: a ledger can be read without torch.
"""

from __future__ import annotations

import studies.process_setup  # noqa: F401 - first: from here on the program hears Ctrl-C

# isort: split
import runpy
from pathlib import Path
from typing import TYPE_CHECKING, Any

runpy.run_path(str(Path(__file__).parents[1] / "search_spaces" / "precedence.py"))["claim"](__name__)

if TYPE_CHECKING:
    from reports.defaults.schema import Defaults
    from reports.evidence.search_record import SearchRecord
    from reports.evidence.study_record import StudyRecord
    from reports.verdicts.model import Verdict
    from studies.commands.replay import Replay
    from studies.load_study import AnySpec
    from studies.run import RunSummary

__all__ = ["WORKSPACE", "defaults", "load", "read_record", "read_search", "replay", "run_study", "verdicts"]

WORKSPACE = Path("groundrules-workspace")
"""Where a study is kept if nothing else is said, below the current folder."""


def load(path_or_name: str | Path) -> AnySpec:
    """Reads a study file of either kind, or one that ships; see `studies.load_study.load`."""
    from studies.load_study import load

    return load(path_or_name)


def run_study(spec: AnySpec | str | Path, *, workspace: Path = WORKSPACE, **options: Any) -> RunSummary:
    """Runs or resumes a study; `options` are those of `studies.run.run`."""
    from studies.run import run

    return run(load(spec) if isinstance(spec, (str, Path)) else spec, workspace=workspace, **options)


def read_record(study: str, *, workspace: Path = WORKSPACE) -> StudyRecord:
    """Everything the ledger knows of a study, for `reports`; see `studies.comparison.record.study_record`."""
    from studies.comparison.record import study_record
    from studies.ledger.ledger import Ledger

    with Ledger.open(Path(workspace)) as ledger:
        return study_record(ledger, study)


def read_search(study: str, *, workspace: Path = WORKSPACE) -> SearchRecord:
    """Everything the ledger knows of a search study; `.best` is the best trial. Exploratory."""
    from studies.ledger.ledger import Ledger
    from studies.search.record import search_record

    with Ledger.open(Path(workspace)) as ledger:
        return search_record(ledger, study)


def verdicts(study: str, *, workspace: Path = WORKSPACE) -> tuple[Verdict, ...]:
    """The answers to the study's questions, one for each question and regime."""
    from reports.verdicts.verdict import verdicts as answers

    return answers(read_record(study, workspace=workspace))


def defaults(study: str, *, workspace: Path = WORKSPACE, previous: Defaults | None = None) -> Defaults:
    """What a study recommends, with its evidence; `reports.export.formats.render` writes it in any format."""
    from reports.defaults.defaults_file import defaults

    return defaults(read_record(study, workspace=workspace), verdicts(study, workspace=workspace), previous)


def replay(evaluation: str, *, workspace: Path = WORKSPACE, **options: Any) -> Replay:
    """Trains one evaluation again, alone, and compares; `options`: see `studies.commands.replay`."""
    from studies.commands.replay import replay

    return replay(Path(workspace), evaluation, **options)
