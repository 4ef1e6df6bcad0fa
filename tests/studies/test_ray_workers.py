"""Ray trains what this process would: the same numbers, also after workers died."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from studies.comparison.protocol import comparison_protocol
from studies.comparison.workload import ComparisonWorkload
from studies.execution.failure_causes import cause_of
from studies.execution.local_cluster import Cluster
from studies.execution.pack_payload import member_from_dict, member_to_dict
from studies.execution.ray_workers import run_ray
from studies.execution.scheduler import Scheduler
from studies.execution.timeouts import least_seconds
from studies.ledger.ledger import Ledger
from studies.run import run
from studies.spec.load import parse
from studies.spec.resolved import ResolvedStudy
from tests.studies.planted import TINY, agenda_of, started, train_all
from trainers.tasks.user_tasks import task_book

TASKS = '''
    """Tasks of a user whose networks misbehave on demand."""
    import os, signal
    from pathlib import Path

    import numpy as np
    import torch
    from trainers.tasks.task import Task

    def stripes():
        x = np.random.default_rng(0).normal(size=(120, 3))
        return Task.from_arrays(x, x[:, 0] > 0, kind="classification", name="stripes")

    def {name}_network(inputs, outputs, config):
        {misdeed}
        return torch.nn.Linear(inputs, outputs)

    def {name}():
        x = np.random.default_rng({seed}).normal(size=(120, 3))
        return Task.from_arrays(x, x[:, 1] > 0, kind="classification", name="{name}", network={name}_network)

    TASKS = [stripes, {name}]
'''


def user_file(folder: Path, name: str, misdeed: str = "pass", seed: str = "1") -> Path:
    """A task file with one good task and one that does `misdeed` whenever its network is built."""
    file = folder / "my_tasks.py"
    text = textwrap.dedent(TASKS).format(name=name, misdeed=misdeed, seed=seed, folder=folder)
    file.write_text(text, encoding="utf-8")
    return file


BUDGET = {
    "families": 2, "blocks": 1, "trials": 1, "promoted": 1, "promote_seeds": 1, "confirm_seeds": 1
}  # fmt: skip


def small(*tasks: str, **changes: Any) -> ResolvedStudy:
    """A study of one regime on the given tasks."""
    return parse(small_plain(*tasks, **changes), file="small.yaml")


def small_plain(*tasks: str, **changes: Any) -> dict[str, Any]:
    """As its study file says it."""
    own = {"questions": [{"factor": "optimizer", "levels": ["sgd", "adam"]}], "background": {}}
    spec = {**TINY, **own, "regimes": {"shallow": {"depth": 1}}, "tasks": list(tasks), "budget": BUDGET}
    return {**spec, **changes}


def open_study(workspace: Path, spec: ResolvedStudy, tasks_from: Path) -> tuple[Ledger, Scheduler]:
    """A started study with the user's tasks."""
    book = task_book(tasks_from)
    ledger, fixed = started(workspace, comparison_protocol(spec, book))
    return ledger, Scheduler(ComparisonWorkload(fixed, ledger, book, flops_per_second=2e9), ledger, book)


def test_ray_finds_what_one_process_finds_after_a_worker_was_killed(tmp_path: Path) -> None:
    # Killed once while it builds the task's network in a worker, not in this process.
    misdeed = (
        f"flag = Path({str(tmp_path / 'killed')!r})\n"
        f"    if os.getpid() != {os.getpid()} and not flag.exists():\n"
        "        flag.touch(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    file = user_file(tmp_path, "specks", misdeed)
    spec = small("stripes", "specks")
    with open_study(tmp_path / "alone", spec, file)[0] as alone:
        run(spec, workspace=tmp_path / "alone", tasks_from=file, engine="inline")
        expected = alone.evaluations(spec.study)

    ledger, agenda = open_study(tmp_path / "ray", spec, file)
    token_modes = set()

    def look() -> None:
        token_modes.add(stat.S_IMODE(Path(os.environ["RAY_AUTH_TOKEN_PATH"]).stat().st_mode))

    before = dict(os.environ)
    with ledger:
        run_ray(agenda, tasks_from=file, workers=2, on_tick=look)
        assert ledger.evaluations(spec.study) == expected
        kinds = [attempt.kind for attempt in ledger.attempts(spec.study)]
        (cause,) = [attempt.cause for attempt in ledger.attempts(spec.study) if attempt.kind == "preempted"]
    assert agenda.done and not agenda.failed_packs
    assert set(kinds) == {"committed", "preempted"}
    assert "ended from outside" in cause
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert token_modes == {0o600}
    assert dict(os.environ) == before, "the environment is left as it was found"


def test_a_segmentation_fault_is_traced_to_its_member_and_the_study_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Every crash costs a new worker, which takes seconds: no second attempts here.
    monkeypatch.setattr("studies.execution.retries.ATTEMPTS", 1)
    monkeypatch.setattr("studies.execution.retries.ALONE", 1)
    longer = {**TINY["setting"], "steps": 300}  # or the pilot finds that nothing is learned there
    spec = small("stripes", "specks", budget={**BUDGET, "trials": 2}, setting=longer)
    run(spec, workspace=tmp_path / "alone", tasks_from=user_file(tmp_path, "specks"), engine="inline")
    with Ledger.open(tmp_path / "alone") as alone:
        quiet = {e.id: e for e in alone.evaluations(spec.study)}
    there = [e for e in quiet.values() if e.slot.task == "specks" and e.slot.level == "sgd"]
    chosen = {e.config.numbers.get("learning_rate") for e in there if e.slot.phase != "retune"}
    victim = next(e for e in there if e.config.numbers["learning_rate"] not in chosen)
    crash = (
        f"if os.getpid() != {os.getpid()} and config.numbers['learning_rate'] == "
        f"{victim.config.numbers['learning_rate']!r}: os.kill(os.getpid(), signal.SIGSEGV)"
    )
    file = user_file(tmp_path, "specks", crash)
    ledger, agenda = open_study(tmp_path / "ws", spec, file)
    with ledger:
        run_ray(agenda, tasks_from=file, workers=2)
        found = {e.id: e for e in ledger.evaluations(spec.study)}
        causes = {attempt.cause for attempt in ledger.attempts(spec.study) if attempt.kind == "crash"}
    assert agenda.finished == agenda.planned and not agenda.failed_packs
    assert [e.id for e in found.values() if e.status == "failed"] == [victim.id]
    assert all("Fatal Python error: Segmentation fault (File" in cause for cause in causes), causes
    near = [e.slot.cell == victim.slot.cell and e.slot.phase == "retune" for e in quiet.values()]
    others = [e for e, packed in zip(quiet.values(), near, strict=True) if not packed]
    assert all(found[e.id] == e for e in others), "who was not in its pack is what it would have been"


def test_a_worker_that_hangs_is_ended_and_its_pack_trained_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDRULES_LEASE_SECONDS", "8")
    misdeed = (
        f"flag = Path({str(tmp_path / 'stopped')!r})\n"
        f"    if os.getpid() != {os.getpid()} and not flag.exists():\n"
        "        flag.write_text(str(os.getpid())); os.kill(os.getpid(), signal.SIGSTOP)"
    )
    file = user_file(tmp_path, "specks", misdeed)
    ledger, agenda = open_study(tmp_path / "ws", small("stripes", "specks"), file)
    with ledger:
        run_ray(agenda, tasks_from=file, workers=2)
        kinds = [attempt.kind for attempt in ledger.attempts(agenda.study)]
    assert agenda.finished == agenda.planned
    assert (kinds.count("timeout"), kinds.count("duplicate")) == (1, 0)
    assert not Path(f"/proc/{(tmp_path / 'stopped').read_text()}").exists(), "the worker that hung is gone"


def test_a_process_that_a_fault_of_the_device_has_spoiled_trains_nothing_more(tmp_path: Path) -> None:
    # From the first fault on every call fails, but only in that process.
    misdeed = (
        f"spoiled = Path({str(tmp_path / 'spoiled')!r})\n"
        "    me = str(os.getpid())\n"
        f"    if me != '{os.getpid()}' and not spoiled.exists(): spoiled.write_text(me)\n"
        "    if spoiled.exists() and spoiled.read_text() == me:\n"
        "        raise RuntimeError('CUDA error: device-side assert triggered (made up)')"
    )
    file = user_file(tmp_path, "specks", misdeed)
    ledger, agenda = open_study(tmp_path / "ray", small("stripes", "specks"), file)
    with ledger:
        run_ray(agenda, tasks_from=file, workers=1)
        failed = [attempt.kind for attempt in ledger.attempts("tiny") if attempt.kind != "committed"]
    assert agenda.done and not agenda.failed_packs
    assert failed == ["error"]


class Busy(Cluster):
    """On this machine Ray's processes do not come up in their time."""

    def open(self) -> None:
        """Says what Ray says then."""
        raise RuntimeError("Timed out waiting for file /r/session/gcs_server_port")


def test_a_study_goes_on_where_ray_did_not_start_in_its_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = user_file(tmp_path, "specks")
    with Busy(1).start() as busy:
        done = run(small("stripes"), workspace=tmp_path / "ray", tasks_from=file, cluster=busy)
    assert done.complete
    assert "too busy" in caplog.text
    assert "goes on with a fresh cluster" in caplog.text


def test_a_lease_that_is_no_time_is_refused(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROUNDRULES_LEASE_SECONDS", "soon")
    with pytest.raises(ValueError, match="GROUNDRULES_LEASE_SECONDS = soon must be a number of seconds"):
        least_seconds()


def test_an_exception_costs_only_its_own_packs_and_leaves_its_cause(tmp_path: Path) -> None:
    misdeed = f"if os.getpid() != {os.getpid()}: raise RuntimeError('the specks\\n are gone')"
    file = user_file(tmp_path, "specks", misdeed)
    ledger, agenda = open_study(tmp_path / "ws", small("stripes", "specks"), file)
    with ledger:
        run_ray(agenda, tasks_from=file, workers=2)
        assert {pack.task for pack in agenda.failed_packs} == {"specks"}
        assert {e.slot.task for e in ledger.evaluations(agenda.study)} == {"stripes"}
        causes = {attempt.cause for attempt in ledger.attempts(agenda.study) if attempt.kind == "error"}
    assert agenda.done
    (cause,) = causes
    assert re.search(r"RuntimeError: the specks are gone \(\S*my_tasks.py, line \d+\)", cause)


def test_a_task_that_is_not_the_same_everywhere_is_refused(tmp_path: Path) -> None:
    file = user_file(tmp_path, "specks", seed="None")
    ledger, agenda = open_study(tmp_path / "ws", small("specks"), file)
    with (
        ledger,
        pytest.raises(ValueError, match="task 'specks' has other data or another network in a worker"),
    ):
        run_ray(agenda, tasks_from=file, workers=1)


def test_a_complete_study_does_not_load_ray(tmp_path: Path) -> None:
    file = user_file(tmp_path, "specks")
    workspace = tmp_path / "ws"
    run(small("stripes", "specks"), workspace=workspace, tasks_from=file, engine="inline")
    script = (
        "import sys; from pathlib import Path\n"
        "from studies.run import run; from tests.studies.test_ray_workers import small\n"
        "for name in [name for name in sys.modules if name.split('.')[0] == 'ray']: del sys.modules[name]\n"
        "workspace, file = map(Path, sys.argv[1:])\n"
        "summary = run(small('stripes', 'specks'), workspace=workspace, tasks_from=file, engine='ray')\n"
        "assert summary.complete and summary.trained == 0, summary\n"
        "assert 'ray' not in sys.modules, 'ray was loaded'"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(workspace), str(file)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("wish", "message"),
    [({"workers": 0}, "workers = 0"), ({"workers": 1, "gpu_fraction": 1.5}, "gpu_fraction = 1.5")],
)
def test_impossible_wishes_are_refused(workspace: Path, wish: dict[str, Any], message: str) -> None:
    ledger, fixed = started(workspace)
    with ledger, pytest.raises(ValueError, match=message):
        run_ray(agenda_of(ledger, fixed), **wish)


def test_a_member_survives_the_way_to_a_worker(workspace: Path) -> None:
    ledger, fixed = started(workspace)
    with ledger:
        members = [member for pack in train_all(agenda_of(ledger, fixed)) for member in pack.members]
    assert [member_from_dict(json.loads(json.dumps(member_to_dict(member)))) for member in members] == members


def test_a_cause_is_one_line_with_its_place() -> None:
    try:
        raise KeyError("a\nb")
    except KeyError as error:
        cause = cause_of(error)
    assert "\n" not in cause
    assert cause.startswith("KeyError: ")
    assert "test_ray_workers.py, line" in cause
