"""Writes the tables that the installed MLflow makes in SQLite: `studies/tracking/tables/mlflow-VERSION.sql`.

    python -m infra.make_mlflow_tables

For every version of MLflow that `constraints.txt` pins; a test compares them with what MLflow makes.
"""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

import studies

KEPT = ("alembic_version", "workspaces")
"""Tables whose rows are part of it."""


def tables_made(folder: Path) -> str:
    """What MLflow makes in a new file in `folder`, as SQL."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    SqlAlchemyStore(f"sqlite:///{folder / 'made.db'}", folder.as_uri()).engine.dispose()
    with closing(sqlite3.connect(folder / "made.db")) as connection:
        found = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid")
        statements = [" ".join(sql.split()) for (sql,) in found]
        for line in connection.iterdump():
            if line.startswith(tuple(f'INSERT INTO "{table}"' for table in KEPT)):
                statements.append(line.replace('"', "").rstrip(";"))
    return "".join(f"{statement};\n" for statement in statements)


def main() -> None:
    """Writes the file."""
    place = Path(studies.__file__).parent / "mirroring" / "tables" / f"mlflow-{version('mlflow')}.sql"
    place.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        place.write_text(tables_made(Path(folder)), encoding="utf-8")
    print(f"wrote {place}")


if __name__ == "__main__":
    main()
