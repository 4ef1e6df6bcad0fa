"""Published image sets, read by torchvision from a folder that the user fills; nothing is fetched unasked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_spaces.factor import unknown
from trainers.atomic_files import fresh_folder, make_folder, own_folder, room_for, take_in
from trainers.tasks.roles import Role
from trainers.tasks.task import Task
from trainers.tasks.task_fields import Kind

UNREADABLE = (AssertionError, EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError)
"""What torchvision raises at files that are not what it expects."""
TRAIN_AND_TEST: tuple[Mapping[str, Any], Mapping[str, Any]] = ({"train": True}, {"train": False})
"""How most of torchvision's classes are asked for the two published parts."""


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """One row: an image set that a class of torchvision reads and can fetch."""

    name: str
    role: Role
    reader: str
    """The class of torchvision.datasets."""
    files: tuple[str, ...]
    """What the class reads, as paths in the data folder."""
    shape: tuple[int, int, int]
    """Height, width, channels."""
    augmentations: frozenset[str]
    source: str
    licence: str
    parts: tuple[Mapping[str, Any], Mapping[str, Any]] = TRAIN_AND_TEST
    channels_first: bool = False
    """Whether the class holds images as [items, channels, height, width]."""
    kind: Kind = "classification"

    @property
    def family(self) -> str:
        return self.name

    def task(self) -> Task:
        """The images as published, 0 to 255; the published test set comes last and is the fixed one.

        float32 throughout: cifar10 takes 0.7 GB and svhn 1.2 GB.

        Raises:
            ValueError: the files are not in the data folder, or are not what torchvision expects.
        """
        folder = data_folder()
        for file in self.files:
            if not (folder / file).is_file():
                raise ValueError(
                    f"task '{self.name}' is not downloaded unasked, and there is no file {folder / file}: "
                    f"`groundrules download {self.name}` fetches it, or GROUNDRULES_DATA names the folder "
                    "that has it"
                )
        try:
            (x, y), (test_x, test_y) = (self._part(folder, part) for part in self.parts)
        except UNREADABLE as error:
            raise ValueError(
                f"task '{self.name}': torchvision cannot read {folder / self.files[0]} and its companions "
                f"({type(error).__name__}: {_line(error)}); delete them and "
                f"`groundrules download {self.name}`"
            ) from error
        return Task.from_arrays(
            np.concatenate([x, test_x]),
            np.concatenate([y, test_y]),
            kind=self.kind,
            name=self.name,
            family=self.family,
            n_test=len(test_y),
            augmentations=self.augmentations,
            real=True,
            source=self.source,
            licence=self.licence,
        )

    def complete(self, folder: Path) -> bool:
        """Whether the files are in `folder` and torchvision reads them."""
        if not all((folder / file).is_file() for file in self.files):
            return False
        try:
            for part in self.parts:
                self._part(folder, part)
        except UNREADABLE:
            return False
        return True

    def fetch(self, folder: Path) -> None:
        """Downloads all files into `folder`; torchvision compares checksums."""
        for part in self.parts:
            self._reader()(str(folder), download=True, **part)

    def _part(self, folder: Path, part: Mapping[str, Any]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Images [items, height, width, channels] and labels of one published part."""
        read = self._reader()(str(folder), **part)
        labels = read.labels if hasattr(read, "labels") else read.targets
        images = np.asarray(read.data)
        if self.channels_first:
            images = images.transpose(0, 2, 3, 1)
        return images.reshape(-1, *self.shape), np.asarray(labels, dtype=np.int64)

    def _reader(self) -> Any:
        from torchvision import datasets  # here: a second or two that other tasks need not wait

        return getattr(datasets, self.reader)


def data_folder() -> Path:
    """Where image sets are looked for: GROUNDRULES_DATA, or groundrules/data in the user's cache."""
    folder = os.environ.get("GROUNDRULES_DATA")
    if folder:
        return Path(folder)
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "groundrules" / "data"


def image_set(name: str) -> ImageSet:
    """The row of that name; ValueError naming the nearest and all of them."""
    rows = {row.name: row for row in IMAGE_SETS}
    if name not in rows:
        raise unknown("image set", name, rows)
    return rows[name]


def download(name: str) -> Path:
    """Fetches an image set into the data folder, which is returned; one that is there and whole stays.

    Each file comes into its place whole: a download that is killed leaves none that looks complete.

    Raises:
        ValueError: no image set of that name, or it cannot be fetched or written.
    """
    row = image_set(name)
    folder = data_folder()
    try:
        make_folder(folder)
        if not row.complete(folder):
            with room_for(folder), fresh_folder(folder) as fresh:
                row.fetch(fresh)
                for file in row.files:
                    own_folder(folder, *Path(file).parts[:-1])
                    take_in(fresh / file, folder / file)
    except (OSError, RuntimeError) as error:
        raise ValueError(f"task '{name}' could not be fetched into {folder}: {_line(error)}") from error
    return folder


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _idx(folder: str) -> tuple[str, ...]:
    """The four files of MNIST and of those who took over its format."""
    kinds = ("images-idx3-ubyte", "labels-idx1-ubyte")
    return tuple(f"{folder}/raw/{part}-{kind}" for part in ("train", "t10k") for kind in kinds)


IMAGE_SETS: tuple[ImageSet, ...] = (
    ImageSet(
        name="mnist",
        role="race",
        reader="MNIST",
        files=_idx("MNIST"),
        shape=(28, 28, 1),
        augmentations=frozenset({"shift", "rotation"}),
        source="MNIST, handwritten digits (LeCun, Cortes and Burges 1998)",
        licence="CC BY-SA 3.0",
    ),
    ImageSet(
        name="fashion_mnist",
        role="race",
        reader="FashionMNIST",
        files=_idx("FashionMNIST"),
        shape=(28, 28, 1),
        augmentations=frozenset({"shift", "flip"}),
        source="Fashion-MNIST, pictures of clothes (Xiao, Rasul and Vollgraf 2017, arXiv 1708.07747)",
        licence="MIT",
    ),
    ImageSet(
        name="kmnist",
        role="external",
        reader="KMNIST",
        files=_idx("KMNIST"),
        shape=(28, 28, 1),
        augmentations=frozenset({"shift", "rotation"}),
        source="Kuzushiji-MNIST, cursive Japanese letters (Clanuwat et al. 2018, arXiv 1812.01718)",
        licence="CC BY-SA 4.0",
    ),
    ImageSet(
        name="cifar10",
        role="external",
        reader="CIFAR10",
        files=tuple(
            f"cifar-10-batches-py/{name}"
            for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta")
        ),
        shape=(32, 32, 3),
        augmentations=frozenset({"shift", "flip"}),
        source="CIFAR-10, small photographs (Krizhevsky 2009)",
        licence="none stated by the author",
    ),
    ImageSet(
        name="svhn",
        role="external",
        reader="SVHN",
        files=("train_32x32.mat", "test_32x32.mat"),
        shape=(32, 32, 3),
        augmentations=frozenset({"shift", "rotation"}),
        source="Street view house numbers, cropped digits (Netzer et al. 2011)",
        licence="for non-commercial use only",
        parts=({"split": "train"}, {"split": "test"}),
        channels_first=True,
    ),
)
