"""Kernels move the last digits: who trained what is recorded, and a mixture is told wherever results are."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from reports.defaults.best_configuration import best, render
from reports.evidence.processors import mixture
from studies.cli import invoke
from studies.execution.scheduler import Scheduler
from studies.run import run
from studies.search.record import search_record
from studies.spec.load import parse
from tests.blackbox.program import groundrules
from tests.studies import searches
from tests.studies.planted import agenda_of, outcome, started, train_all
from tests.studies.test_defaults_commands import STUDY
from trainers.evaluation import Evaluation
from trainers.member import Member
from trainers.processor import processor

OLD = {"ATEN_CPU_CAPABILITY": "default", "OPENBLAS_CORETYPE": "Prescott"}
"""How a processor without AVX is played."""
SSE = "Katmai"
"""What OpenBLAS calls the kernels that it has for Prescott."""


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose study was begun here, and ended by Ray's workers on a processor without AVX."""
    folder = tmp_path_factory.mktemp("mixed")
    (folder / "study.yaml").write_text(yaml.safe_dump(STUDY, sort_keys=False), encoding="utf-8")

    def leave(agenda: Scheduler) -> None:
        if agenda.finished > agenda.planned // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(parse(STUDY), workspace=folder / "ws", engine="inline", watch=leave)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in OLD.items():
            patch.setenv(name, value)
        groundrules("run", "study.yaml", "--workers", "1", workspace=folder / "ws", cwd=folder)
    return folder / "ws"


def test_what_trained_a_member_is_recorded_where_it_was_trained(
    mixed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["results", "tiny", "--workspace", str(mixed)]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    kinds = Counter(
        (row["processor.vectors"], row["processor.blas"], row["processor.products"]) for row in rows
    )
    here = processor(torch.device("cpu"))
    ours, old = (here["vectors"], here["blas"], here["products"]), ("DEFAULT", SSE, here["products"])
    assert set(kinds) == {ours, old}
    assert 0 < kinds[old] < len(rows)


def test_a_mixture_is_told_by_page_export_and_check(mixed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "members were trained by different processor kernels ("
    assert invoke(["report", "tiny", "--workspace", str(mixed)]) == 0
    assert words[1:] in (mixed / "reports" / "tiny" / "index.html").read_text(encoding="utf-8")
    for kind in ("yaml", "json", "markdown"):
        capsys.readouterr()
        assert invoke(["export", "tiny", "--format", kind, "--workspace", str(mixed)]) == 0
        assert words in " ".join(capsys.readouterr().out.split())
    assert invoke(["check", "tiny", "--workspace", str(mixed)]) == 0
    told = capsys.readouterr().out
    assert f"note: {words}" in told and f"by DEFAULT, {SSE}" in told
    assert invoke(["check", "tiny", "--json", "--workspace", str(mixed)]) == 0
    assert len(json.loads(capsys.readouterr().out)["processors"]) == 2


@pytest.mark.parametrize("first", [{}, {"vectors": "AVX2", "blas": "Haswell", "products": "torch"}])
def test_one_kind_of_processor_is_no_news_whether_recorded_or_not(
    workspace: Path, first: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Evaluations of earlier versions have no record of it."""

    def make(member: Member) -> Evaluation:
        return replace(outcome(member), processor=first)

    ledger, fixed = started(workspace)
    train_all(agenda_of(ledger, fixed), make=make)
    assert invoke(["report", "tiny", "--workspace", str(workspace)]) == 0
    page = (workspace / "reports" / "tiny" / "index.html").read_text(encoding="utf-8")
    assert invoke(["check", "tiny", "--workspace", str(workspace)]) == 0
    told = capsys.readouterr().out
    assert "processor kernels" not in page + told
    assert invoke(["results", "tiny", "--workspace", str(workspace)]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {row["processor.blas"] for row in rows} == {first.get("blas", "not recorded")}
    some = list(ledger.evaluations("tiny"))
    other = replace(some[0], processor={"vectors": "AVX512"})
    assert "1 of " in mixture([other, *some[1:]])
    assert not mixture([replace(other, status="failed"), *some[1:]])  # nobody trained it
    assert [e.id for e in some] == [replace(e, processor={}).id for e in some]


def test_a_search_tells_it_too(workspace: Path) -> None:
    ledger, fixed = searches.started(workspace)
    searches.train_all(searches.agenda_of(ledger, fixed))
    record = search_record(ledger, "seek")
    assert best(record).caveats is None and "caveats" not in render(best(record), "yaml")
    rows = (replace(record.evaluations[0], processor={"vectors": "AVX512"}), *record.evaluations[1:])
    for kind in ("yaml", "json", "markdown"):
        assert "different processor kernels" in " ".join(
            render(best(replace(record, evaluations=rows)), kind).split()
        )
