"""What is fuzzed: each target makes an input from chance and reads it as the program would."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import yaml

from reports.defaults.defaults_file import load as load_defaults
from reports.defaults.diff import differences
from reports.defaults.schema import Defaults, content_hash
from reports.export.diff_text import diff_text
from reports.export.formats import render
from reports.io.dataclass_files import from_dict, to_dict
from search_spaces.config import digest
from studies.ledger.ledger import FILE, Ledger
from studies.load_study import parse
from studies.operations.records import record_of
from studies.operations.results import as_csv, rows
from studies.site import SCHEMES, site_of
from studies.spec.load import shipped
from studies.spec.yaml_reader import parse_yaml
from tests.blackbox.program import TINY
from tests.reports.tables import number, row, table
from tests.security.mutations import as_json, changed_bytes, changed_data
from tests.studies.planted import agenda_of, planned, started, tiny, train_all

SEEDS = ("quickstart", "search", "crossover", "dropout_rate", "precision", "weight_decay")
"""Shipped studies that say most of what can be said."""
CLAIMED = {
    "claims": [
        {
            "id": "I5",
            "quote": "He suits ReLU.",
            "source": "a book",
            "type": "better",
            "levels": ["he_normal", "glorot_normal"],
            "regimes": ["shallow"],
            "scope": {"depth": {"low": 1}},
        }
    ],
    "controls": {"kinds": ["a_a", "placebo"], "regimes": ["deep"]},
    "background_in": {"deep": {"optimizer": ["adam", "sgd"]}},
    "budget": {"profile": "full", "families": 10, "looks": [8], "external": 1, "blocks": 2, "trials": 3},
}
SITE = {
    "cluster": "http://head:8265",
    "ledger": "postgresql://me@db:5432/evidence",
    "tracking": "https://mlflow:5000/x",
    "artifacts": "s3://bucket/path",
    "ledger_password_file": "secret",
}


@dataclass(frozen=True, kw_only=True)
class Target:
    """One reader. `make` draws an input; `read` reads it and returns nothing, or raises ValueError."""

    name: str
    share: float
    """Of all inputs; targets that are slow get fewer."""
    make: Callable[[Random, Path], Any]
    read: Callable[[Any, Path], object]
    may_read: bool = False
    """It may read other files: a site names those of its secrets."""


def targets() -> tuple[Target, ...]:
    """All of them, with what they start from."""
    data = [parse_yaml(shipped()[name].read_text(encoding="utf-8"), name) for name in SEEDS]
    data.append(parse_yaml(TINY.read_text(encoding="utf-8"), "tiny"))
    data.append({**data[-1], **CLAIMED})
    texts = [_yaml(one).encode() for one in data]
    defaults = to_dict(table(row(), row(factor="activation", regime="deep"), numbers=(number(),)))
    sound = load_defaults(json.dumps(defaults))

    def changed_study(chance: Random, _: Path) -> Any:
        return changed_data(chance.choice(data), chance, data)

    def study_text(chance: Random, _: Path) -> bytes:
        return changed_bytes(chance.choice(texts), chance)

    def site_text(chance: Random, _: Path) -> bytes:
        if chance.random() < 0.5:
            return changed_bytes(_yaml(SITE).encode(), chance)
        key = chance.choice(list(SITE))
        scheme = chance.choice([*SCHEMES.get(key, ("s3",)), "file", "", "javascript"])
        word = changed_bytes(SITE[key].partition("://")[2].encode(), chance)
        return f"{key}: {json.dumps(f'{scheme}://' + word.decode(errors='replace'))}\n".encode()

    def defaults_text(chance: Random, _: Path) -> str:
        kind = chance.random()
        if kind < 0.15:
            return changed_bytes(_yaml(defaults).encode(), chance).decode(errors="replace")
        if kind < 0.3:
            return changed_bytes(json.dumps(defaults).encode(), chance).decode(errors="replace")
        return as_json(_rehashed(changed_data(defaults, chance, [defaults])))

    def read_defaults(text: str, _: Path) -> None:
        found = load_defaults(text, "table.json")
        for kind in ("yaml", "markdown", "latex"):
            render(found, kind)
        diff_text(differences(found, "textbook", ("a", "b")))
        diff_text(differences(sound, found, ("a", "b")), "markdown")

    return (
        Target(name="study file, bytes", share=0.3, make=study_text, read=_read_study),
        Target(name="study file, structure", share=0.44, make=changed_study, read=_read_data),
        Target(name="site file", share=0.12, make=site_text, read=_read_site, may_read=True),
        Target(name="table of defaults", share=0.1, make=defaults_text, read=read_defaults),
        Target(name="ledger", share=0.04, make=_Ledgers().make, read=_read_ledger),
    )


def _yaml(data: Any) -> str:
    return str(yaml.safe_dump(data, sort_keys=False, default_flow_style=None))


def _read_study(text: bytes, _: Path) -> None:
    parse(parse_yaml(text.decode("utf-8"), "study.yaml"), file="study.yaml")


def _read_data(data: Any, _: Path) -> None:
    if not isinstance(data, dict):
        raise ValueError("a study file is a mapping")
    parse(data, file="study.yaml").resolved()


def _read_site(text: bytes, folder: Path) -> None:
    (folder / "site.yaml").write_bytes(text)
    site = site_of(folder)
    assert site.ledger_address.count("\\n") == 0 or site.tracking_address is not None


def _rehashed(data: Any) -> Any:
    """With the hash of its own content, where it is near enough to a table to have one."""
    try:
        made = from_dict(Defaults, data, "x")
        return {**data, "hash": content_hash(made)}
    except (ValueError, TypeError, AttributeError):
        return data


class _Ledgers:
    """Makes damaged ledgers out of a sound one."""

    def __init__(self) -> None:
        self._sound = b""

    def make(self, chance: Random, folder: Path) -> bytes:
        if not self._sound:
            self._sound = _sound_ledger(folder)
        kind = chance.random()
        if kind < 0.35:
            return _flipped(self._sound, chance)
        return _edited(self._sound, chance, folder)


def _sound_ledger(folder: Path) -> bytes:
    small = {"families": 1, "blocks": 1, "trials": 1, "promoted": 1, "promote_seeds": 1, "confirm_seeds": 1}
    spec = tiny(controls=False, budget=small, regimes={"shallow": {"depth": 1}}, tasks=["stripes"])
    ledger, fixed = started(folder / "sound", planned(spec))
    with ledger:
        train_all(agenda_of(ledger, fixed))
    with closing(sqlite3.connect(folder / "sound" / FILE)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.execute("PRAGMA journal_mode=DELETE")
        db.execute("VACUUM")
    return (folder / "sound" / FILE).read_bytes()


def _flipped(sound: bytes, chance: Random) -> bytes:
    out = bytearray(sound)
    match chance.randrange(4):
        case 0:
            del out[chance.randrange(len(out)) :]
        case 1:
            page = 4096
            a, b = (page * chance.randrange(len(out) // page) for _ in range(2))
            out[a : a + page], out[b : b + page] = out[b : b + page], out[a : a + page]
        case _:
            for _ in range(chance.choice((1, 1, 2, 5, 50))):
                # Half of them in the header and the schema, where there is most to break.
                place = chance.randrange(len(out) if chance.random() < 0.5 else 4096)
                out[place] ^= 1 << chance.randrange(8)
    return bytes(out)


COLUMNS = (
    ("studies", "protocol", "protocol_hash"),
    ("studies", "terms", ""),
    ("plans", "plan", "hash"),
    ("margins", "margin", ""),
    ("evaluations", "evaluation", ""),
    ("evaluations", "evaluation", "slot"),
)
SQL = (
    "UPDATE studies SET name = 'other'",
    "UPDATE studies SET title = x'00ff'",
    "UPDATE evaluations SET study = 'x'",
    "UPDATE evaluations SET phase = 'search'",
    "DELETE FROM plans",
    "DELETE FROM margins",
    "DELETE FROM packs",
    "DELETE FROM evaluations WHERE number = 0",
    "UPDATE packs SET members = 0",
    "UPDATE packs SET seconds = 'x'",
    "UPDATE schema_version SET version = 'x'",
    "DELETE FROM schema_version",
    "UPDATE plans SET revision = -1",
    "UPDATE evaluations SET status = 'failed'",
    "UPDATE evaluations SET block = 10000000000",
    "DROP TABLE packs",
    "UPDATE attempts SET cause = x'ff', seconds = 'x'",
    "ALTER TABLE plans DROP COLUMN started_ms",
    "CREATE VIEW w AS SELECT 1",
    "UPDATE studies SET started_ms = 'x'",
    "UPDATE evaluations SET factor = NULL",
)


def _edited(sound: bytes, chance: Random, folder: Path) -> bytes:
    """With JSON changed inside rows, the hashes beside it made right half of the time; or with other SQL."""
    with closing(sqlite3.connect(":memory:")) as db:
        db.deserialize(sound)
        try:
            if chance.random() < 0.2:
                db.execute(chance.choice(SQL))
            else:
                _change_row(db, chance)
            if chance.random() < 0.7:  # as whoever makes the seal right, or as an earlier version's ledger
                db.execute("DROP TABLE seals")
                db.execute("UPDATE schema_version SET version = 1")
                if chance.random() < 0.5:
                    db.execute("DROP TABLE hashes")
            db.commit()
        except (sqlite3.Error, UnicodeError):  # this change cannot be made; as it was
            db.rollback()
        return bytes(db.serialize())


def _change_row(db: sqlite3.Connection, chance: Random) -> None:
    where, column, hashed = chance.choice(COLUMNS)
    place, text = chance.choice(db.execute(f"SELECT rowid, {column} FROM {where}").fetchall())
    if chance.random() < 0.2:
        said: Any = changed_bytes(text.encode(), chance)
        said = said.decode(errors="replace") if chance.random() < 0.8 else said
    else:
        data = changed_data(json.loads(text), chance, [json.loads(text)])
        said = json.dumps(data, separators=(",", ":"))
        if hashed and chance.random() < 0.7:
            part = data.get("slot", data) if isinstance(data, dict) and hashed == "slot" else data
            try:
                right = digest(part)
            except (ValueError, TypeError):
                right = "0"
            db.execute(f"UPDATE {where} SET {hashed} = ? WHERE rowid = ?", (right, place))
    db.execute(f"UPDATE {where} SET {column} = ? WHERE rowid = ?", (said, place))


def _read_ledger(data: bytes, folder: Path) -> None:
    (folder / FILE).write_bytes(data)
    with Ledger.open(folder) as ledger:
        names = [study.name for study in ledger.studies()]
        for name in names:
            ledger.plans(name)
            ledger.margins(name)
            ledger.attempts(name)
            ledger.filled(name)
            ledger.chain_counts(name)
            ledger.core_seconds(name, blocks=2)
            ledger.frozen(name)
            ledger.committed_after(name, 0, 5)
            as_csv(rows(ledger, name, timings=True))
    for name in names:
        record_of(folder, name)
