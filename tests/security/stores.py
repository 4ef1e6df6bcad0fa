"""Attacks by what lies in a workspace or is handed over: ledgers, tables, caches, links."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reports.claims.cards import FILE as CARDS
from reports.defaults.defaults_file import load
from reports.export.formats import render
from reports.pages.claim_pages import FIRST, LAST, refresh
from studies.ledger.ledger import FILE, Ledger
from studies.workspace_files import REPORTS
from tests.blackbox.program import TINY, invoked
from tests.reports.tables import row, table
from tests.security.attack import Attack, marker, refused, refused_site
from tests.studies.planted import agenda_of, planned, started, tiny, train_all
from trainers.tasks.bundled_tables import load as load_stored

READERS = ("report tiny", "results tiny", "export tiny", "claims", "replay 00", "why initializer@deep")


class Touches:
    """What a pickle can do to whoever loads it."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, ...]]:
        return os.system, (f"touch {self.target}",)


def planted(workspace: Path) -> Path:
    """A workspace whose ledger holds a complete small study that nobody had to train."""
    ledger, fixed = started(workspace, planned(tiny(controls=False)))
    with ledger:
        train_all(agenda_of(ledger, fixed))
    return workspace


def is_a_pickle(folder: Path) -> str:
    target = marker(folder)
    data = pickle.dumps(Touches(target))
    assert pickle.dumps(Touches(target)).startswith(b"\x80"), "a pickle indeed"
    workspace = folder / "workspace"
    workspace.mkdir()
    (workspace / FILE).write_bytes(data)
    said = ""
    for words in READERS:
        said = refused(invoked(*words.split(), workspace=workspace), FILE)
    refused(invoked("run", TINY, "--engine", "inline", workspace=workspace), FILE)
    (folder / "table.yaml").write_bytes(data)
    refused(invoked("diff", folder / "table.yaml", "textbook", workspace=workspace), "table.yaml")
    (folder / "study.yaml").write_bytes(data)
    refused(invoked("plan", folder / "study.yaml", workspace=workspace), "UTF-8")
    (folder / "site.yaml").write_bytes(data)
    refused_site(folder, "UTF-8")
    (folder / "chess.npz").write_bytes(data)
    (folder / "manifest.json").write_text('{"tables": {"chess": {"sha256": ""}}}', encoding="utf-8")
    with pytest.raises(ValueError, match="cannot be read"):
        load_stored("chess", folder)
    objects = np.array([Touches(target)], dtype=object)
    np.savez(folder / "chess.npz", x=objects, y=objects)
    with pytest.raises(ValueError, match="cannot be read"):
        load_stored("chess", folder)
    assert not target.exists()
    return said


def has_sql_of_its_own(folder: Path) -> str:
    planted(folder / "sound")
    said = ""
    for sql in (
        "CREATE TRIGGER t AFTER INSERT ON evaluations BEGIN DELETE FROM studies; END",
        "CREATE VIEW v AS SELECT * FROM studies",
        "ALTER TABLE margins RENAME TO m; CREATE VIEW margins AS SELECT * FROM m",
        "CREATE VIRTUAL TABLE f USING fts5(x)",
        "ALTER TABLE packs ADD COLUMN extra TEXT AS (upper(id)) VIRTUAL",
        "CREATE INDEX i ON studies (abs(started_ms))",
        "DROP TABLE attempts; CREATE TABLE attempts (study TEXT CHECK (study != 'x'))",
    ):
        workspace = Path(shutil.copytree(folder / "sound", folder / "spoilt"))
        with closing(sqlite3.connect(workspace / FILE)) as ledger:
            ledger.executescript(sql)
        before = list(_dumped(workspace))
        for words in (*READERS[:3], f"run {TINY} --engine inline"):
            said = refused(invoked(*words.split(), workspace=workspace), FILE)
        assert list(_dumped(workspace)) == before
        shutil.rmtree(workspace)
    return said


def _dumped(workspace: Path) -> list[str]:
    with closing(sqlite3.connect(workspace / FILE)) as ledger:
        return [line for line in ledger.iterdump() if "schema" not in line]


def holds_wrong_json(folder: Path) -> str:
    planted(folder / "sound")
    said = ""
    deep = "[" * 100_000
    for sql in (
        "UPDATE evaluations SET evaluation = '{}'",
        "UPDATE evaluations SET evaluation = 'null'",
        f"UPDATE evaluations SET evaluation = '{deep}'",
        "UPDATE evaluations SET evaluation = json_set(evaluation, '$.validation_metric', json('[1]'))",
        "UPDATE evaluations SET evaluation = json_set(evaluation, '$.config.setting.depth', 1e300)",
        "UPDATE evaluations SET evaluation = json_set(evaluation, '$.slot.phase', 'confirmed')",
        "UPDATE evaluations SET evaluation = json_remove(evaluation, '$.config.levels')",
        "UPDATE evaluations SET evaluation = x'00ff'",
        "UPDATE studies SET protocol = json_remove(protocol, '$.spec')",
        "UPDATE studies SET protocol = '[]'",
        "UPDATE studies SET protocol = 'not json'",
        "UPDATE studies SET terms = '{}'",
        "UPDATE plans SET plan = json_remove(plan, '$.tasks')",
        "UPDATE plans SET plan = '7'",
        "UPDATE margins SET margin = '{\"task\": 1}'",
        "UPDATE margins SET margin = json_set(margin, '$.delta', 'wide')",
    ):
        workspace = Path(shutil.copytree(folder / "sound", folder / "spoilt"))
        with closing(sqlite3.connect(workspace / FILE)) as ledger, ledger:
            assert ledger.execute(sql).rowcount, sql
        ran = invoked("report", "tiny", workspace=workspace)
        assert ran.code == 2, f"{sql}: {ran.said[-1500:]}"
        said = refused(ran)
        assert not (workspace / REPORTS).exists()
        shutil.rmtree(workspace)
    return said


def is_written_through(folder: Path) -> str:
    workspace = planted(folder / "workspace")
    victim = folder / "victim"
    victim.write_text("mine\n", encoding="utf-8")
    outside = folder / "outside"
    outside.mkdir()
    said = ""
    for place in (REPORTS, f"{REPORTS}/tiny"):
        (workspace / place).parent.mkdir(exist_ok=True)
        (workspace / place).symlink_to(outside)
        said = refused(invoked("report", "tiny", workspace=workspace), "symbolic link")
        (workspace / place).unlink()
    for name in ("index.html", "summary.json", "forest-initializer.csv"):
        assert invoked("report", "tiny", workspace=workspace).code == 0
        reports = workspace / REPORTS / "tiny"
        page = reports / name if (reports / name).exists() else sorted(reports.glob("*.csv"))[0]
        page.unlink()
        page.symlink_to(victim)
        said = refused(invoked("report", "tiny", workspace=workspace), "symbolic link")
        page.unlink()
    (workspace / REPORTS / "index.html").unlink()
    (workspace / REPORTS / "index.html").symlink_to(victim)
    refused(invoked("report", "tiny", workspace=workspace), "symbolic link")
    (workspace / "tiny.lock").unlink(missing_ok=True)
    (workspace / "tiny.lock").symlink_to(victim)
    with Ledger.open(workspace, create=True) as ledger, pytest.raises(Exception, match="symbolic link"):
        ledger.hold("tiny").__enter__()
    os.replace(workspace / FILE, folder / "elsewhere.sqlite")
    (workspace / FILE).symlink_to(folder / "elsewhere.sqlite")
    refused(invoked("report", "tiny", workspace=workspace), "symbolic link")
    assert victim.read_text(encoding="utf-8") == "mine\n"
    assert list(outside.iterdir()) == []
    return said


def points_elsewhere_from_a_card(folder: Path) -> str:
    reports = folder / "workspace" / REPORTS
    (reports / "tiny").mkdir(parents=True)
    outside = folder / "outside"
    outside.mkdir()
    text = f"before {FIRST} mine {LAST} after"
    (outside / "index.html").write_text(text, encoding="utf-8")
    hostile: tuple[Any, ...] = ([{"study": "../../outside"}], "[" * 100_000, [[]], {"a": 1}, None, 7)
    for said in hostile:
        cards = said if isinstance(said, str) else json.dumps(said)
        (reports / "tiny" / CARDS).write_text(cards, encoding="utf-8")
        refresh(reports)
    assert (outside / "index.html").read_text(encoding="utf-8") == text
    return "a card counts only in the folder of its own study"


def was_edited_by_hand(folder: Path) -> str:
    sound = table(row())
    file = folder / "table.yaml"
    text = render(sound, "yaml")
    changed = text.replace("recommended: he_normal", "recommended: zeros", 1)
    assert changed != text
    file.write_text(changed, encoding="utf-8")
    said = refused(invoked("diff", file, "textbook", workspace=folder), "was changed after it was written")
    for wrong in (
        text.replace("schema: 1", "schema: !!timestamp 'x'"),
        text.replace("schema: 1", "schema: !!binary 'x'"),
        text.replace("margins: 2.0", "margins: .nan"),
        text.replace("margins: 2.0", f"margins: 1{'0' * 400}"),
        text.replace("he_normal", '"\\e[2J"'),
        text + "x: &a [1]\n",
        "[" * 100_000,
        "{" * 100_000,
        '{"a": ' * 100_000,
        "\n".join(f"k{i}: 1" for i in range(60_000)),
        json.dumps({"a": 10**400}),
        json.dumps({f"k{i}": 1 for i in range(50_000)}).replace("k49999", "k1"),
        "? [a]\n: b\n",
        "schema: 2001-99-99\n",
        "!!python/object/apply:os.getcwd []\n",
    ):
        assert wrong != text
        file.write_text(wrong, encoding="utf-8")
        refused(invoked("diff", file, "textbook", workspace=folder), "table.yaml")
    assert load(text) == sound
    return said


def answers_for_another_slot(folder: Path) -> str:
    workspace = planted(folder / "workspace")
    with closing(sqlite3.connect(workspace / FILE)) as ledger, ledger:
        first, second = ledger.execute(
            "SELECT sequence, evaluation FROM evaluations WHERE phase = 'confirm' LIMIT 2"
        ).fetchall()
        ledger.execute("UPDATE evaluations SET evaluation = ? WHERE sequence = ?", (second[1], first[0]))
    return refused(invoked("report", "tiny", workspace=workspace))


ATTACKS = tuple(
    Attack(name=name, points=points, try_it=try_it)
    for name, points, try_it in (
        ("a pickle in place of ledger, table, study, site, cache", (8,), is_a_pickle),
        ("a ledger with triggers, views, computed columns", (8, 18), has_sql_of_its_own),
        ("a ledger with wrong JSON in it", (18,), holds_wrong_json),
        ("an evaluation moved to another slot", (18,), answers_for_another_slot),
        ("links where we write: pages, folders, lock, ledger", (6,), is_written_through),
        ("a card that names a folder elsewhere", (6,), points_elsewhere_from_a_card),
        ("a table edited against its hash, or made to break", (1, 18), was_edited_by_hand),
    )
)
