"""Measured tables, and digits as images, that come with scikit-learn: nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trainers.task import Kind, Task
from trainers.tasks.roles import Role


@dataclass(frozen=True, kw_only=True)
class Table:
    """One row: a table that scikit-learn ships."""

    name: str
    kind: Kind
    loader: str
    """The function of sklearn.datasets that reads it."""
    role: Role
    source: str
    licence: str
    images_of: str | None = None
    """The table of which this row is the same items as images."""
    shape: tuple[int, int, int] | None = None
    augmentations: frozenset[str] = frozenset()

    def task(self) -> Task:
        """The table as its authors measured it; every block draws its own test part."""
        from sklearn import datasets  # here: half a second that other tasks need not wait

        read: Callable[..., tuple[Any, Any]] = getattr(datasets, self.loader)
        # scikit-learn scales diabetes by the mean and SD of all items, test items included.
        unscaled = {"scaled": False} if self.loader == "load_diabetes" else {}
        x, y = read(return_X_y=True, **unscaled)
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


TABLES: tuple[Table, ...] = (
    Table(
        name="digits",
        kind="classification",
        loader="load_digits",
        role="race",
        source="Optical recognition of handwritten digits, test part (UCI 80, Alpaydin and Kaynak 1998)",
        licence="CC BY 4.0",
    ),
    Table(
        name="digits_images",
        images_of="digits",
        kind="classification",
        loader="load_digits",
        role="race",
        source="the items of digits as images of 8 x 8 places (UCI 80, Alpaydin and Kaynak 1998)",
        licence="CC BY 4.0",
        shape=(8, 8, 1),
        augmentations=frozenset({"shift", "rotation"}),
    ),
    Table(
        name="wine",
        kind="classification",
        loader="load_wine",
        role="development",
        source="Wine recognition (UCI 109, Aeberhard and Forina 1992)",
        licence="CC BY 4.0",
    ),
    Table(
        name="breast_cancer",
        kind="classification",
        loader="load_breast_cancer",
        role="development",
        source="Breast cancer Wisconsin, diagnostic (UCI 17, Wolberg et al. 1995)",
        licence="CC BY 4.0",
    ),
    Table(
        name="diabetes",
        kind="regression",
        loader="load_diabetes",
        role="development",
        source="Diabetes progression (Efron et al., Least angle regression, 2004)",
        licence="no licence stated by the authors; distributed with scikit-learn (BSD-3-Clause)",
    ),
)
