"""A study says what disk and memory it needs, near enough to what it takes, and does not begin without."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from studies import resource_estimate
from studies.cli import invoke
from studies.free_resources import free_disk, free_memory
from studies.ledger.ledger import Ledger
from studies.resource_estimate import (
    EMPTY,
    IGNORE,
    ResourceNeeds,
    largest_pack,
    pack_bytes,
    refuse_what_does_not_fit,
    resource_needs,
)
from studies.site import Site
from tests.blackbox.program import TINY
from tests.studies.planted import BOOK, planned, tiny
from tests.studies.study_remains import SMALL, fill
from trainers.tasks.task import Task

GB = 1_000_000_000


def needs(**changes: Any) -> ResourceNeeds:
    usual = {
        "ledger": GB, "tracking": 2 * GB, "least_tracking": GB // 10, "pages": 0, "worker": GB, "workers": 4,
        "shared": GB, "disk_free": 9 * GB, "memory_free": 9 * GB,
    }  # fmt: skip
    return ResourceNeeds(**{**usual, **changes})


def test_what_fits_is_not_refused() -> None:
    refuse_what_does_not_fit(needs(), "a.yaml")
    refuse_what_does_not_fit(needs(disk_free=3 * GB, memory_free=5 * GB), "a.yaml")
    refuse_what_does_not_fit(needs(memory_free=0, workers=0), "a.yaml")  # they are on other machines


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"disk_free": 2 * GB},
            "a.yaml: the study needs about 3.0 GB of disk (ledger 1.0 GB, MLflow 2.0 GB), and 2.0 GB are "
            "free: `tracking: cells` needs 1.1 GB, name another --workspace, or free some",
        ),
        ({"disk_free": GB}, "and 1.0 GB are free: name another --workspace, or free some"),
        (
            {"memory_free": 3 * GB},
            "a.yaml: the study needs about 5.0 GB of memory (4 at a time, 1.0 GB each), and 3.0 GB are free: "
            "use --workers 2",
        ),
        ({"memory_free": GB}, "are free: use a smaller network, or a smaller pack_size"),
    ],
)
def test_the_refusal_says_what_is_needed_what_there_is_and_what_to_change(
    changes: dict[str, int], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="the study needs about") as error:
        refuse_what_does_not_fit(needs(**changes), "a.yaml")
    assert message in str(error.value)
    monkeypatch.setenv(IGNORE, "1")
    refuse_what_does_not_fit(needs(**changes), "a.yaml")


def test_a_refused_study_leaves_nothing_and_may_begin_with_other_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = tmp_path / "workspace"
    with monkeypatch.context() as full:
        full.setattr(resource_estimate, "free_disk", lambda folder: 1_000)
        words = ["run", str(TINY), "--engine", "inline", "--workspace", str(workspace)]
        assert invoke(words) == 2
    said = capsys.readouterr().err
    assert "the study needs about" in said
    assert "Traceback" not in said
    with Ledger.open(workspace) as ledger:
        assert ledger.studies() == []


def test_plan_says_it_and_counts_for_a_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for study in (str(TINY), "search"):
        assert invoke(["plan", study, "--json", "--workspace", str(tmp_path)]) == 0
        found = json.loads(capsys.readouterr().out)["resources"]
        parts = ("ledger_bytes", "tracking_bytes", "pages_bytes")
        assert found["disk_bytes"] == sum(found[part] for part in parts)
        assert found["fits"] is True
        assert found["memory_bytes"] > found["workers"] * found["worker_bytes"] > 0
    monkeypatch.setattr(resource_estimate, "free_memory", lambda: 0)
    assert invoke(["plan", str(TINY), "--json", "--workspace", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out)["resources"]["fits"] is False


def test_the_databases_grow_about_as_much_as_was_said(tmp_path: Path) -> None:
    fixed = planned(tiny(**SMALL))
    fill(tmp_path)
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as ledger:
        phases = dict(ledger.execute("SELECT phase, COUNT(*) FROM evaluations GROUP BY phase").fetchall())
    said = resource_needs(
        fixed, BOOK, site=Site(workspace=tmp_path), members=phases, detail="members", workers=1, shared=False
    )
    for file, bytes_ in (("ledger.sqlite", said.ledger), ("mlflow.db", said.tracking)):
        assert (tmp_path / file).stat().st_size <= bytes_ <= (tmp_path / file).stat().st_size + 3 * EMPTY


def test_less_detail_needs_less_and_what_is_elsewhere_nothing() -> None:
    site, sizes = Site(workspace=Path("/")), []
    for detail in ("curves", "members", "evidence", "cells"):
        found = resource_needs(
            planned(), BOOK, site=site, members={"retune": 900, "confirm": 90}, detail=detail, workers=2,
            shared=True,
        )  # fmt: skip
        sizes.append(found.tracking)
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 4
    elsewhere = replace(site, ledger="postgresql://x@y/z", tracking="http://y")
    found = resource_needs(
        planned(), BOOK, site=elsewhere, members={"retune": 9}, detail="members", workers=2, shared=True
    )
    assert (found.ledger, found.tracking) == (0, 0)


def test_a_task_is_built_once_however_many_levels_are_asked() -> None:
    """A user's function may read for a minute."""
    built: list[str] = []

    def counted(name: str) -> Task:
        built.append(name)
        return BOOK[name]()

    assert largest_pack(planned(), {name: partial(counted, name) for name in BOOK}, 64) > 0
    assert built
    assert len(built) == len(set(built))


@pytest.mark.parametrize(
    ("depth", "width", "batch", "members", "measured"),
    [(2, 512, 32, 50, 0.897e9), (2, 1000, 64, 20, 1.174e9), (4, 1000, 64, 20, 3.157e9)],
)
def test_a_pack_needs_what_was_measured(
    depth: int, width: int, batch: int, members: int, measured: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Peak less libraries of packs on `digits`, AdamW, one thread, torch 2.14.1 (n = 1 each)."""
    from search_spaces.config import Setting
    from search_spaces.space import complete
    from trainers.tasks.user_tasks import task_book

    setting = Setting(depth=depth, width=width, batch_size=batch, steps=6, evaluations=2, train_size=1000)
    monkeypatch.setattr(resource_estimate, "pack_limit", lambda config, task, size, speed: size)
    found = pack_bytes(
        complete({"optimizer": "adamw"}, setting=setting), task_book(None)["digits"](), members
    )
    assert measured <= found <= 1.33 * measured


def test_free_memory_is_what_the_tightest_limit_leaves(tmp_path: Path) -> None:
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (cgroups / "a" / "b").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable: 4000 kB\n")
    (proc / "self" / "cgroup").write_text("0::/a/b\n")
    assert free_memory(proc, cgroups) == 4_096_000
    (cgroups / "a" / "b" / "memory.max").write_text("max\n")
    (cgroups / "a" / "b" / "memory.current").write_text("5\n")
    assert free_memory(proc, cgroups) == 4_096_000
    (cgroups / "a" / "memory.max").write_text("3000000\n")
    (cgroups / "a" / "memory.current").write_text("2500000\n")
    assert free_memory(proc, cgroups) == 500_000
    (cgroups / "a" / "memory.stat").write_text("anon 7\ninactive_file 100000\n")
    assert free_memory(proc, cgroups) == 600_000
    (proc / "self" / "cgroup").write_text("4:cpu,memory:/gone\n0::/\n")
    (cgroups / "memory").mkdir()
    (cgroups / "memory" / "memory.limit_in_bytes").write_text("1000\n")
    (cgroups / "memory" / "memory.usage_in_bytes").write_text("2000\n")
    assert free_memory(proc, cgroups) == 0


def test_this_machine_has_some() -> None:
    assert free_memory() > 1_000_000
    assert free_disk(Path("/no/such/folder/at/all")) > 0
