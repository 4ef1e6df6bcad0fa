"""Whole studies with the real trainer in this process, a few seconds each."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import studies
from studies.comparison.cost_estimate import outline
from studies.comparison.record import protocol_of, study_record
from studies.execution.scheduler import Scheduler
from studies.ledger.ledger import Ledger
from studies.resume_checks import differences
from studies.run import RunSummary, run
from studies.spec.errors import SpecError
from studies.spec.load import parse
from studies.spec.resolved import ResolvedStudy
from tests.postgres import Postgres
from trainers.evaluation import EVIDENCE_PHASES
from trainers.tasks import TASKS

SMALL = {
    "study": "small",
    "title": "A few seconds",
    "questions": [{"factor": "initializer", "levels": ["he_normal", "torch_default"]}],
    "regimes": {"shallow": {"depth": 1}, "deep": {"depth": 2}},
    "setting": {"width": 8, "steps": 30, "batch_size": 16, "train_size": 100, "evaluations": 3},
    "fixed": {"schedule": "one_cycle"},
    "background": {"optimizer": ["nesterov", "adamw"]},
    "nuisance": ["learning_rate"],
    "tasks": ["wine", "breast_cancer", "digits"],
    "budget": {"families": 1, "blocks": 2, "trials": 2, "promoted": 1, "confirm_seeds": 1},
}


def small(**changes: Any) -> ResolvedStudy:
    return parse({**SMALL, **changes}, file="small.yaml")


def inline(spec: ResolvedStudy, workspace: Path, **options: Any) -> RunSummary:
    return run(spec, workspace=workspace, engine="inline", **options)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with the small study, complete."""
    workspace = tmp_path_factory.mktemp("finished")
    summary = inline(small(), workspace)
    assert summary.complete, summary
    return workspace


def test_a_complete_study_trains_nothing_when_run_again(finished: Path) -> None:
    with Ledger.open(finished) as ledger:
        before = (ledger.evaluations("small"), ledger.attempts("small"), ledger.plans("small"))
    again = inline(small(), finished)
    assert (again.trained, again.complete) == (0, True)
    with Ledger.open(finished) as ledger:
        assert (ledger.evaluations("small"), ledger.attempts("small"), ledger.plans("small")) == before


def test_its_record_says_what_was_planned_and_done(finished: Path) -> None:
    record = studies.read_record("small", workspace=finished)
    spec = small()
    assert (record.name, record.title, record.sampler) == ("small", "A few seconds", "sobol")
    assert record.questions == spec.asked
    assert record.budget == spec.effective_budget
    assert list(record.regimes) == list(spec.regimes)
    assert record.fixed == spec.held
    counted = Counter(e.slot.phase for e in record.evaluations)
    assert dict(counted) == dict(record.planned)
    assert [task for tasks in record.tasks["initializer"].values() for task in tasks]
    assert {m.task for m in record.margins} <= set(record.facts)
    assert record.background["wine"] == {"initializer": "torch_default", "optimizer": "nesterov"}
    low, high = record.nuisance["learning_rate"]
    rates = [e.config.numbers["learning_rate"] for e in record.evaluations if e.slot.phase == "confirm"]
    assert all(low <= rate <= high for rate in rates)
    assert (record.revision, record.abandoned_plans) == (1, ())
    for e in record.evaluations:
        assert (e.test is not None) is (e.slot.phase in EVIDENCE_PHASES)


def test_the_ledger_alone_gives_the_protocol_back(finished: Path) -> None:
    with Ledger.open(finished) as ledger:
        row = ledger.study("small")
        assert protocol_of(row.protocol).hash == row.protocol_hash
        with pytest.raises(ValueError, match="did you mean 'small'"):
            study_record(ledger, "smal")


def test_another_run_elsewhere_gives_the_same_study_to_the_bit(finished: Path, workspace: Path) -> None:
    inline(small(), workspace)
    with Ledger.open(finished) as one, Ledger.open(workspace) as two:
        assert one.evaluations("small") == two.evaluations("small")
        assert one.plans("small") == two.plans("small")


def test_a_run_on_postgresql_gives_the_same_study_to_the_bit(
    finished: Path, workspace: Path, postgres: Postgres
) -> None:
    workspace.mkdir()
    (workspace / "site.yaml").write_text(f"ledger: {postgres.database()}\n", encoding="utf-8")
    assert inline(small(), workspace).complete
    assert inline(small(), workspace).trained == 0
    assert [path.name for path in workspace.iterdir()] == ["site.yaml"]
    with Ledger.open(finished) as one, Ledger.open(workspace) as two:
        assert one.evaluations("small") == two.evaluations("small")
        assert one.plans("small") == two.plans("small")
        assert one.margins("small") == two.margins("small")
        assert study_record(one, "small").evaluations == study_record(two, "small").evaluations
        assert two.check("small").faults == ()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"setting": {**SMALL["setting"], "steps": 31}}, "setting.steps (30 -> 31)"),  # type: ignore[dict-item]
        ({"regimes": {"shallow": {"depth": 1}, "deep": {"depth": 3}}}, "regimes.deep.depth (2 -> 3)"),
        ({"budget": {**SMALL["budget"], "trials": 3}}, "budget.trials (2 -> 3)"),  # type: ignore[dict-item]
        ({"tasks": ["breast_cancer", "wine", "digits"]}, "tasks"),
        ({"alpha": 0.1}, "alpha (0.05 -> 0.1)"),
    ],
)
def test_a_changed_study_is_refused_with_what_changed(
    finished: Path, changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(SpecError) as caught:
        inline(small(**changes), finished)
    message = str(caught.value)
    assert named in message
    assert "rename the study or use another workspace" in message
    assert message.startswith("small.yaml: study: 'small'")


def test_only_what_changed_is_named() -> None:
    plain = {"spec": {**small().resolved()}, "facts": [{"content_hash": "a"}]}
    other = {"spec": {**small(alpha=0.1).resolved()}, "facts": [{"content_hash": "b"}]}
    assert differences(plain, plain) == []
    changed = [text.split(" (")[0] for text in differences(plain, other)]
    assert sorted(changed) == ["alpha", "facts[0].content_hash", "questions[0].alpha"]


def test_an_interrupt_leaves_a_study_that_resumes_to_the_same_end(finished: Path, workspace: Path) -> None:
    def interrupt(agenda: Scheduler) -> None:
        if agenda.finished >= 50:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        inline(small(), workspace, watch=interrupt)
    with Ledger.open(workspace) as ledger:
        assert 0 < len(ledger.filled("small")) < 100
    summary = inline(small(), workspace)
    assert summary.complete
    assert 0 < summary.trained < summary.finished
    with Ledger.open(finished) as one, Ledger.open(workspace) as two:
        assert one.evaluations("small") == two.evaluations("small")


def test_an_interrupt_in_the_middle_of_a_training_is_passed_on(workspace: Path) -> None:
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(0.3, lambda: signal.pthread_kill(main, signal.SIGINT))
    armed: list[Scheduler] = []

    def arm(agenda: Scheduler) -> None:
        if not armed:
            armed.append(agenda)
            timer.start()

    with pytest.raises(KeyboardInterrupt):
        inline(small(setting={**SMALL["setting"], "steps": 20_000}), workspace, watch=arm)  # type: ignore[dict-item]
    with Ledger.open(workspace, create=True) as ledger, ledger.hold("small"):
        whole = {row.pack_id for row in ledger.committed_after("small", 0, 1000)}
        assert {a.pack for a in ledger.attempts("small")} == whole


def test_tracking_is_started_and_stopped_whatever_happens(workspace: Path) -> None:
    class Log:
        def __init__(self) -> None:
            self.calls: list[str] = []

        def start(self) -> None:
            with Ledger.open(workspace) as ledger:
                assert ledger.find_study("small")
            self.calls.append("start")

        def stop(self) -> None:
            self.calls.append("stop")

    def interrupt(agenda: Scheduler) -> None:
        raise KeyboardInterrupt

    log = Log()
    with pytest.raises(KeyboardInterrupt):
        inline(small(), workspace, watch=interrupt, tracking=log)
    assert log.calls == ["start", "stop"]


MINE = """
import numpy as np
import torch
from trainers.tasks.task import Task

class Fragile(torch.nn.Module):
    def __init__(self, inputs, outputs, config):
        super().__init__()
        self.wide = config.setting.depth > 1
        self.linear = torch.nn.Linear(inputs, outputs, bias=self.wide)
        self.passes = 0
    def forward(self, x):
        self.passes += self.training
        if self.wide and self.passes > 25:  # later than anything that is tried before the run
            raise RuntimeError("the shapes of my layers differ")
        return self.linear(x)

def mine():
    x = np.random.default_rng(0).standard_normal((120, 3))
    return Task.from_arrays(x, x[:, 0] > 0, kind="classification", name="mine", network=Fragile)

TASKS = [mine]
"""


def test_a_users_network_that_raises_fails_its_packs_and_the_rest_is_trained(
    workspace: Path, tmp_path: Path
) -> None:
    file = tmp_path / "my_tasks.py"
    file.write_text(MINE, encoding="utf-8")
    questions = [{"factor": "optimizer", "levels": ["nesterov", "adamw"]}]
    spec = small(questions=questions, background={}, tasks=["mine"])
    summary = inline(spec, workspace, tasks_from=file)
    assert not summary.complete
    assert {pack.regime for pack in summary.failed} == {"deep"}
    with Ledger.open(workspace) as ledger:
        failed = [a for a in ledger.attempts("small") if a.kind == "error"]
        tries = Counter(a.pack for a in failed)
        assert {tries[pack.id] for pack in summary.failed} == {3}  # before it is looked for whose fault it is
        assert all("the shapes of my layers differ" in a.cause for a in failed)
        regimes = Counter(e.slot.regime for e in ledger.evaluations("small"))
        assert set(regimes) == {"shallow"}
        with pytest.raises(ValueError, match="no plan yet"):
            study_record(ledger, "small")


def test_the_outline_counts_what_a_run_does(finished: Path) -> None:
    found = outline(small(), tasks_from=None)
    with Ledger.open(finished) as ledger:
        record = study_record(ledger, "small")
        rows = ledger.committed_after("small", 0, 10_000)
    replaced = any(not m.accepted for m in record.margins)
    assert not replaced, "choose tasks for this test that the pilot accepts"
    assert dict(found.members) == dict(record.planned)
    packs = {phase: {r.pack_id for r in rows if r.evaluation.slot.phase == phase} for phase in found.packs}
    assert {phase: len(ids) for phase, ids in packs.items()} == dict(found.packs)
    assert found.seconds > 0
    assert found.protocol_hash == record.protocol_hash
    assert found.cells == 2 * 2 * 2  # regimes, blocks, levels on one task


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"engine": "rey"}, "did you mean 'ray'"),
        ({"workers": 0}, "workers = 0"),
        ({"gpu_fraction": 2.0}, "gpu_fraction"),
        ({"device": "cuda:7"}, "cuda:7"),
        ({"device": "toaster"}, "toaster"),
    ],
)
def test_a_place_that_does_not_exist_is_refused_before_anything_is_written(
    workspace: Path, options: dict[str, Any], word: str
) -> None:
    with pytest.raises(ValueError, match=word):
        run(small(), workspace=workspace, **options)
    assert not workspace.exists()


def test_an_unknown_task_is_refused_before_anything_is_written(workspace: Path) -> None:
    with pytest.raises(SpecError, match="did you mean 'wine'"):
        inline(small(tasks=["whine"]), workspace)
    assert not workspace.exists()


def test_quickstart_plans_at_least_eight_families_of_real_size() -> None:
    spec = studies.load("quickstart")
    sizes = {name: len(TASKS[name]().split(spec.study, 0).test) for name in spec.tasks}
    assert {name: n for name, n in sizes.items() if n < 300} == {}, "too small to be raced"
