"""Measured tables, and digits as images, that come with scikit-learn: nothing is downloaded."""

from __future__ import annotations

import gzip
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainers.tasks.roles import Role
from trainers.tasks.task import Task
from trainers.tasks.task_fields import Kind


@dataclass(frozen=True, kw_only=True)
class ScikitTable:
    """One row: a table that scikit-learn ships."""

    name: str
    kind: Kind
    files: tuple[str, ...]
    """Where scikit-learn keeps it: one file with the targets in the last column, or inputs and targets."""
    role: Role
    source: str
    licence: str
    images_of: str | None = None
    """The table of which this row is the same items as images."""
    shape: tuple[int, int, int] | None = None
    augmentations: frozenset[str] = frozenset()

    def task(self) -> Task:
        """The table as its authors measured it; every block draws its own test part."""
        x, y = self._read()
        return Task.from_arrays(
            x,
            y,
            kind=self.kind,
            name=self.name,
            family=self.family,
            shape=self.shape,
            augmentations=self.augmentations,
            real=True,
            source=self.source,
            licence=self.licence,
        )

    @property
    def family(self) -> str:
        return self.images_of or self.name

    def _read(self) -> tuple[NDArray[np.float64], NDArray[np.float64] | NDArray[np.int64]]:
        """Inputs and targets, as the functions of `sklearn.datasets` give them (diabetes not scaled).

        Read from scikit-learn's files without importing it: that takes every worker seconds.
        """
        whole = np.hstack([_numbers(_folder() / file) for file in self.files])
        x, y = whole[:, :-1], whole[:, -1]
        return x, y.astype(np.int64) if self.kind == "classification" else y


def _folder() -> Path:
    """Where the installed scikit-learn keeps its tables."""
    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise ValueError(
            "scikit-learn is not installed; digits, wine, breast_cancer and diabetes are its files"
        )
    return Path(spec.origin).parent / "datasets" / "data"


def _numbers(file: Path) -> NDArray[np.float64]:
    """A table of numbers, packed without or plain with a line of names."""
    with gzip.open(file, "rt") if file.suffix == ".gz" else file.open(encoding="utf-8") as text:
        lines = text.read().splitlines()[file.suffix != ".gz" :]
    return np.array([[float(cell) for cell in line.replace(",", " ").split()] for line in lines])


TABLES: tuple[ScikitTable, ...] = (
    ScikitTable(
        name="digits",
        kind="classification",
        files=("digits.csv.gz",),
        role="race",
        source="Optical recognition of handwritten digits, test part (UCI 80, Alpaydin and Kaynak 1998)",
        licence="CC BY 4.0",
    ),
    ScikitTable(
        name="digits_images",
        images_of="digits",
        kind="classification",
        files=("digits.csv.gz",),
        role="race",
        source="the items of digits as images of 8 x 8 places (UCI 80, Alpaydin and Kaynak 1998)",
        licence="CC BY 4.0",
        shape=(8, 8, 1),
        augmentations=frozenset({"shift", "rotation"}),
    ),
    ScikitTable(
        name="wine",
        kind="classification",
        files=("wine_data.csv",),
        role="development",
        source="Wine recognition (UCI 109, Aeberhard and Forina 1992)",
        licence="CC BY 4.0",
    ),
    ScikitTable(
        name="breast_cancer",
        kind="classification",
        files=("breast_cancer.csv",),
        role="development",
        source="Breast cancer Wisconsin, diagnostic (UCI 17, Wolberg et al. 1995)",
        licence="CC BY 4.0",
    ),
    ScikitTable(
        name="diabetes",
        kind="regression",
        files=("diabetes_data_raw.csv.gz", "diabetes_target.csv.gz"),
        role="development",
        source="Diabetes progression (Efron et al., Least angle regression, 2004)",
        licence="no licence stated by the authors; distributed with scikit-learn (BSD-3-Clause)",
    ),
)
