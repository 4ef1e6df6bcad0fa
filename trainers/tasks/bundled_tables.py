"""Classic published tables, kept beside this file as compressed arrays: nothing is downloaded.

`infra/make_tables.py` made the arrays and `data/manifest.json`, which says where each came from.
"""

from __future__ import annotations

import functools
import hashlib
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainers.tasks.roles import Role
from trainers.tasks.task import Task
from trainers.tasks.task_fields import Kind

DATA = Path(__file__).parent / "data"
"""The folder of the arrays."""
AGAIN = "its data were damaged, install groundrules again"
"""What is left to say of a table that is not what it was."""


@dataclass(frozen=True, kw_only=True)
class StoredTable:
    """One row: a table of which `data/<name>.npz` holds x [items, features] and y [items]."""

    name: str
    family: str
    role: Role
    items: int
    """Rows kept. Where the source has more, they are evenly spaced in its file."""
    source: str
    licence: str
    kind: Kind = "classification"
    shape: tuple[int, ...] | None = None
    """An item's shape, channels last, where features are steps or places."""

    def task(self) -> Task:
        """The table as published, categorical columns one-hot; every block draws its own test part."""
        x, y = load(self.name)
        return Task.from_arrays(
            x,
            y,
            kind=self.kind,
            name=self.name,
            family=self.family,
            shape=self.shape,
            real=True,
            source=self.source,
            licence=self.licence,
        )


def load(name: str, folder: Path = DATA) -> tuple[NDArray[Any], NDArray[Any]]:
    """The arrays x and y of a stored table.

    Raises:
        ValueError: the file is missing or unreadable, or its arrays are not those that the manifest names.
    """
    file = folder / f"{name}.npz"
    try:
        expected = manifest(folder)[name]["sha256"]
        with np.load(file, allow_pickle=False) as arrays:
            x, y = arrays["x"], arrays["y"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"task '{name}': {file} cannot be read ({error}); {AGAIN}") from error
    actual = checksum(x, y)
    if actual != expected:
        raise ValueError(
            f"task '{name}': the arrays in {file} have sha256 {actual}, the manifest says {expected}; {AGAIN}"
        )
    return x, y


def checksum(x: NDArray[Any], y: NDArray[Any]) -> str:
    """SHA-256 of types, shapes and values; how the arrays are compressed is no part of it."""
    parts = hashlib.sha256()
    for array in (x, y):
        parts.update(f"{array.dtype.str}{array.shape}".encode())
        parts.update(np.ascontiguousarray(array).data)
    return parts.hexdigest()


@functools.cache
def manifest(folder: Path = DATA) -> Mapping[str, Any]:
    """Name -> what `infra/make_tables.py` recorded of that table."""
    tables: Mapping[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["tables"]
    return tables


UCI = "CC BY 4.0"
"""What the UCI repository says of these data sets."""

STORED: tuple[StoredTable, ...] = (
    StoredTable(
        name="chess",
        family="chess",
        role="race",
        items=3196,
        source="Chess, king and rook versus king and pawn (UCI 22, Shapiro 1983, doi 10.24432/C5DK5C)",
        licence=UCI,
    ),
    StoredTable(
        name="letter",
        family="letter",
        role="external",
        items=8000,
        source="Letter recognition (UCI 59, Slate 1991, doi 10.24432/C5ZP40), 8000 of 20000 rows",
        licence=UCI,
    ),
    StoredTable(
        name="magic",
        family="magic",
        role="race",
        items=8000,
        source="MAGIC gamma telescope, showers simulated by physicists (UCI 159, Bock 2004, "
        "doi 10.24432/C52C8B), 8000 of 19020 rows",
        licence=UCI,
    ),
    StoredTable(
        name="mushroom",
        family="mushroom",
        role="external",
        items=5644,
        source="Mushroom, descriptions from a field guide (UCI 73, 1981, doi 10.24432/C5959T), the 5644 of "
        "8124 rows without missing cells",
        licence=UCI,
    ),
    StoredTable(
        name="optdigits",
        family="digits",
        role="race",
        items=5620,
        source="Optical recognition of handwritten digits (UCI 80, Alpaydin and Kaynak 1998, "
        "doi 10.24432/C50P49); `digits` is its test part",
        licence=UCI,
    ),
    StoredTable(
        name="penbased",
        family="penbased",
        role="race",
        items=10992,
        shape=(8, 2),  # eight places of the pen, each right and up
        source="Pen-based recognition of handwritten digits (UCI 81, Alpaydin and Alimoglu 1996, "
        "doi 10.24432/C5MG6K)",
        licence=UCI,
    ),
    StoredTable(
        name="phoneme",
        family="phoneme",
        role="external",
        items=5404,
        source="Phoneme, nasal or oral vowels (Van Cappel, Thomson-Sintra; ELENA project 1993, from KEEL)",
        licence="not stated",
    ),
    StoredTable(
        name="satimage",
        family="satimage",
        role="race",
        items=6435,
        source="Statlog, Landsat satellite (UCI 146, Srinivasan 1993, doi 10.24432/C55887)",
        licence=UCI,
    ),
    StoredTable(
        name="segment",
        family="segment",
        role="external",
        items=2310,
        source="Image segmentation (UCI 50, Vision Group of the University of Massachusetts 1990, "
        "doi 10.24432/C5GP4N)",
        licence="not stated",
    ),
    StoredTable(
        name="spambase",
        family="spambase",
        role="race",
        items=4597,
        source="Spambase (UCI 94, Hopkins, Reeber, Forman and Suermondt 1999, doi 10.24432/C53G6X), KEEL's "
        "4597 of 4601 rows",
        licence=UCI,
    ),
    StoredTable(
        name="splice",
        family="splice",
        role="external",
        items=3190,
        source="Molecular biology, splice-junction gene sequences (UCI 69, 1991, doi 10.24432/C5M888)",
        licence=UCI,
    ),
    StoredTable(
        name="texture",
        family="texture",
        role="race",
        items=5500,
        source="Texture, moments of Brodatz photographs (Guerin-Dugue and Aviles-Cruz 1993; ELENA project, "
        "from KEEL)",
        licence="not stated",
    ),
)
