"""The ledger, on both databases: one transaction a pack, a slot counts once, a kill leaves whole packs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

from studies.ledger.contract import LedgerLost
from studies.ledger.ledger import Ledger
from studies.packing import Pack
from tests.postgres import Postgres
from tests.studies.planted import agenda_of, outcome, started, train_all
from trainers.evaluation import CurvePoint

ROOT = Path(__file__).parents[2]


Places = Callable[[str], Path]


@pytest.fixture(params=["sqlite", "postgresql"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Places:
    """Workspaces by their names: with a file of their own, or with a database of their own."""
    if request.param == "sqlite":
        return tmp_path.joinpath
    postgres: Postgres = request.getfixturevalue("postgres")

    def place(name: str) -> Path:
        (tmp_path / name).mkdir()
        (tmp_path / name / "site.yaml").write_text(f"ledger: {postgres.database()}\n", encoding="utf-8")
        return tmp_path / name

    return place


@pytest.fixture
def workspace(places: Places) -> Path:
    return places("workspace")


def first_packs(workspace: Path) -> tuple[Ledger, list[Pack]]:
    ledger, fixed = started(workspace)
    agenda = agenda_of(ledger, fixed)
    found = []
    while (pack := agenda.next_pack()) is not None:
        found.append(pack)
    return ledger, found


def test_a_committed_pack_reads_back_equal_through_another_connection(workspace: Path) -> None:
    ledger, (pack, *_) = first_packs(workspace)
    made = [outcome(m) for m in pack.members[:-1]] + [outcome(pack.members[-1], status="diverged")]
    assert ledger.commit("tiny", pack, made, seconds=10.0, worker="w") == len(made)
    with Ledger.open(workspace) as reader:
        assert sorted(e.id for e in reader.evaluations("tiny")) == sorted(e.id for e in made)
        rows = reader.committed_after("tiny", 0, 100)
        assert [row.evaluation for row in rows] == made
        assert {row.pack_id for row in rows} == {pack.id}
        assert sum(row.seconds for row in rows) == pytest.approx(10.0)
        assert reader.committed_after("tiny", rows[2].sequence, 1) == [rows[3]]
        assert reader.committed_after("other", 0, 100) == []
        assert reader.filled("tiny")[made[-1].id] == "diverged"


def test_a_slot_keeps_its_first_evaluation_and_the_second_is_logged(workspace: Path) -> None:
    ledger, (pack, *_) = first_packs(workspace)
    made = [outcome(m) for m in pack.members]
    ledger.commit("tiny", pack, made, seconds=1.0, worker="first")
    later = [replace(e, validation_metric=0.9) for e in made]
    assert ledger.commit("tiny", pack, later, seconds=1.0, worker="second") == 0
    assert sorted(ledger.evaluations("tiny"), key=attrgetter("id")) == sorted(made, key=attrgetter("id"))
    kinds = [(a.kind, a.worker) for a in ledger.attempts("tiny")]
    assert kinds.count(("duplicate", "second")) == len(made)


def test_evaluations_that_are_not_the_packs_members_are_refused(workspace: Path) -> None:
    ledger, (pack, other, *_) = first_packs(workspace)
    with pytest.raises(ValueError, match="not those of its members"):
        ledger.commit("tiny", pack, [outcome(m) for m in other.members], seconds=1.0, worker="w")
    with pytest.raises(ValueError, match="not those of its members"):
        ledger.commit("tiny", pack, [outcome(m) for m in pack.members[1:]], seconds=1.0, worker="w")
    assert ledger.evaluations("tiny") == ()


def test_evaluations_come_in_an_order_that_commits_do_not_decide(places: Places) -> None:
    forward, packs = first_packs(places("a"))
    backward, _ = first_packs(places("b"))
    for ledger, order in ((forward, packs), (backward, packs[::-1])):
        for pack in order:
            ledger.commit("tiny", pack, [outcome(m) for m in pack.members], seconds=1.0, worker="w")
    assert forward.evaluations("tiny") == backward.evaluations("tiny")


def test_an_error_inside_a_commit_leaves_nothing_of_the_pack(workspace: Path) -> None:
    ledger, (pack, *_) = first_packs(workspace)
    made = [outcome(m) for m in pack.members]
    unwritable: Any = {"x": object()}
    broken = [*made[:-1], replace(made[-1], diagnostics=unwritable)]
    with pytest.raises(TypeError):
        ledger.commit("tiny", pack, broken, seconds=1.0, worker="w")
    assert ledger.filled("tiny") == {}
    assert ledger.attempts("tiny") == []
    assert ledger.commit("tiny", pack, made, seconds=1.0, worker="w") == len(made)


KILLED = """
    import sys
    from pathlib import Path
    from tests.studies.planted import agenda_of, started, train
    ledger, fixed = started(Path(sys.argv[1]))
    agenda = agenda_of(ledger, fixed)
    while (pack := agenda.next_pack()) is not None:
        train(agenda, pack)
        print(pack.id, flush=True)
"""


def test_what_was_acknowledged_survives_kill_9_and_packs_are_whole(workspace: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(workspace)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert child.stdout is not None
    acknowledged = [child.stdout.readline().strip() for _ in range(6)]
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert all(acknowledged)
    with Ledger.open(workspace, create=True) as ledger:
        committed = {a.pack for a in ledger.attempts("tiny") if a.kind == "committed"}
        assert set(acknowledged) <= committed
        counts: dict[str, int] = {}
        for row in ledger.committed_after("tiny", 0, 10_000):
            counts[row.pack_id] = counts.get(row.pack_id, 0) + 1
        assert set(counts) == committed
    ledger, fixed = started(workspace)
    train_all(agenda_of(ledger, fixed))
    quiet, fixed = started(workspace.parent / "quiet")
    train_all(agenda_of(quiet, fixed))
    assert ledger.evaluations("tiny") == quiet.evaluations("tiny")


def test_a_reader_cannot_write(workspace: Path) -> None:
    _, (pack, *_) = first_packs(workspace)
    with Ledger.open(workspace) as reader, pytest.raises(LedgerLost, match=r"read-?only"):
        reader.attempt("tiny", pack, kind="error", cause="")


def test_a_second_holder_is_told_who_holds_and_the_right_ends_with_its_process(workspace: Path) -> None:
    ledger, _ = started(workspace)
    script = f"""
        from pathlib import Path
        from studies.ledger.ledger import Ledger
        ledger = Ledger.open(Path({str(workspace)!r}), create=True)
        with ledger.hold("tiny"):
            print("held", flush=True)
            input()
    """
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    with pytest.raises(ValueError, match=rf"in use by another run \(.*{child.pid}\b"), ledger.hold("tiny"):
        pass
    with ledger.hold("another_study"):
        pass
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert child.stdin is not None
    child.stdin.close()
    with ledger.hold("tiny"):
        pass


def test_an_unknown_study_is_named_with_its_nearest(workspace: Path) -> None:
    ledger, _ = started(workspace)
    with pytest.raises(ValueError, match="did you mean 'tiny'"):
        ledger.study("tinny")


def test_every_plan_ever_started_is_kept(workspace: Path) -> None:
    ledger, _ = started(workspace)
    for hashed in ("a", "b", "a"):
        ledger.start_plan("tiny", hashed, {"tasks": {}}, [])
    assert [(plan.revision, plan.hash) for plan in ledger.plans("tiny")] == [(1, "a"), (2, "b")]


def test_rows_come_without_what_is_recorded_along_the_way_where_it_is_not_wanted(workspace: Path) -> None:
    ledger, (pack, *_) = first_packs(workspace)
    inside = {"end.gap": 0.1, "init.activation_mean.layer01": float("nan")}
    points = tuple(
        CurvePoint(step=s, train_loss=0.1, validation_loss=0.2, validation_metric=0.3, learning_rate=1e-3)
        for s in (2, 4)
    )
    made = [replace(outcome(m), curve=points, diagnostics=inside) for m in pack.members]
    made[0] = replace(made[0], validation_loss=float("inf"), validation_metric=1 / 3)
    ledger.commit("tiny", pack, made, seconds=1.0, worker="w")
    light = ledger.chain("tiny", pack.factor, pack.task, pack.regime, curves=False)
    assert sorted(light, key=attrgetter("id")) == sorted(
        (replace(e, curve=(), diagnostics={}) for e in made), key=attrgetter("id")
    )
    assert {tuple(e.diagnostics) for e in ledger.evaluations("tiny", layers=False)} == {("end.gap",)}


def test_a_chain_can_be_read_up_to_a_commit(workspace: Path) -> None:
    ledger, packs = first_packs(workspace)
    for pack in packs:
        ledger.commit("tiny", pack, [outcome(m) for m in pack.members], seconds=1.0, worker="w")
    one = packs[0]
    rows = [
        row
        for row in ledger.committed_after("tiny", 0, 1000)
        if (row.evaluation.slot.task, row.evaluation.slot.regime) == (one.task, one.regime)
    ]
    until = rows[2].sequence
    assert list(ledger.committed_of("tiny", one.factor, one.task, one.regime, until=until)) == rows[:3]
