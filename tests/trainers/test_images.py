"""Image sets are read by torchvision's own classes from files in their published formats.

The files are small ones that the tests write; only the table of checksums is replaced by theirs.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import pickle
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.surroundings import do_without
from trainers.tasks import ON_REQUEST, TASKS
from trainers.tasks.images import IMAGE_SETS, ImageSet, data_folder, download

TRAIN, TEST = 120, 40
SETS = {row.name: row for row in IMAGE_SETS}
Bytes = NDArray[np.uint8]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder that the environment names."""
    monkeypatch.setenv("GROUNDRULES_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def datasets() -> Any:
    """torchvision's readers."""
    if importlib.util.find_spec("torchvision") is None:
        do_without("torchvision", "torchvision is not installed")
    return importlib.import_module("torchvision.datasets")


def drawn(row: ImageSet, items: int, seed: int) -> tuple[Bytes, Bytes]:
    """Random images [items, height, width, channels] and the labels 0 to 9 by turns."""
    images = np.random.default_rng(seed).integers(0, 256, size=(items, *row.shape)).astype(np.uint8)
    return images, (np.arange(items) % 10).astype(np.uint8)


def idx(values: Bytes) -> bytes:
    """The format of MNIST: type and number of axes, their lengths, the bytes."""
    header = b"\0\0\x08" + bytes([values.ndim])
    return header + b"".join(length.to_bytes(4, "big") for length in values.shape) + values.tobytes()


def md5(file: Path) -> str:
    return hashlib.md5(file.read_bytes()).hexdigest()


def write_idx(row: ImageSet, folder: Path, datasets: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for part, (images, labels) in enumerate((drawn(row, TRAIN, 0), drawn(row, TEST, 1))):
        for name, values in zip(row.files[2 * part :], (images[..., 0], labels), strict=False):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(idx(values))


def write_cifar(row: ImageSet, folder: Path, datasets: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five batches and the test batch, images as rows of red, green and blue planes."""
    images, labels = drawn(row, TRAIN, 0)
    parts = [*zip(np.split(images, 5), np.split(labels, 5), strict=True), drawn(row, TEST, 1)]
    held: list[dict[str, Any]] = [
        {"data": x.transpose(0, 3, 1, 2).reshape(len(x), -1), "labels": y.tolist()} for x, y in parts
    ]
    held.append({"label_names": list("abcdefghij")})
    for name, content in zip(row.files, held, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    sums = [[Path(name).name, md5(folder / name)] for name in row.files]
    monkeypatch.setattr(datasets.CIFAR10, "train_list", sums[:5])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", sums[5:6])
    monkeypatch.setitem(datasets.CIFAR10.meta, "md5", sums[6][1])


def write_svhn(row: ImageSet, folder: Path, datasets: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images are the last axis of the file's array, and the digit 0 has the label 10."""
    from scipy.io import savemat

    folder.mkdir(parents=True)
    table = dict(datasets.SVHN.split_list)
    for part, name, seed in (("train", row.files[0], 0), ("test", row.files[1], 1)):
        images, labels = drawn(row, TRAIN if part == "train" else TEST, seed)
        column = np.where(labels == 0, 10, labels)[:, None].astype(np.uint8)
        savemat(folder / name, {"X": images.transpose(1, 2, 3, 0), "y": column})
        table[part] = [table[part][0], name, md5(folder / name)]
    monkeypatch.setattr(datasets.SVHN, "split_list", table)


WRITERS: dict[str, Callable[..., None]] = {
    **dict.fromkeys(("MNIST", "FashionMNIST", "KMNIST"), write_idx),
    "CIFAR10": write_cifar,
    "SVHN": write_svhn,
}
"""By reader."""


def write(row: ImageSet, folder: Path, datasets: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    WRITERS[row.reader](row, folder, datasets, monkeypatch)


@pytest.mark.parametrize("row", IMAGE_SETS, ids=lambda row: row.name)
def test_an_image_set_is_what_its_files_hold_with_the_published_test_set_last(
    row: ImageSet, folder: Path, datasets: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(row, folder, datasets, monkeypatch)
    task = row.task()
    assert (task.name, task.family, task.shape) == (row.name, row.family, row.shape)
    assert task.real and task.licence and task.source
    images, labels = (
        np.concatenate(both) for both in zip(drawn(row, TRAIN, 0), drawn(row, TEST, 1), strict=True)
    )
    assert np.array_equal(task.x.reshape(-1, *row.shape), images)
    assert np.array_equal(task.y, labels)
    for block in range(3):
        assert np.array_equal(task.split("study", block).test, np.arange(TRAIN, TRAIN + TEST))


@pytest.mark.parametrize("row", IMAGE_SETS, ids=lambda row: row.name)
def test_without_its_files_a_set_says_what_was_looked_for_and_how_to_get_it(
    row: ImageSet, folder: Path
) -> None:
    with pytest.raises(ValueError, match=f"task '{row.name}' is not downloaded unasked") as refused:
        TASKS[row.name]()
    said = str(refused.value)
    assert str(folder / row.files[0]) in said
    assert f"groundrules download {row.name}" in said
    assert "GROUNDRULES_DATA" in said
    assert not folder.exists(), "looking makes nothing"


@pytest.mark.parametrize("name", ["cifar10", "mnist"])
def test_a_damaged_file_is_refused_with_what_to_do(
    name: str, folder: Path, datasets: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = SETS[name]
    write(row, folder, datasets, monkeypatch)
    file = folder / row.files[0]
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(ValueError, match=f"task '{name}': torchvision cannot read .*download {name}"):
        row.task()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address under which this machine serves it."""
    place = tmp_path / "served"
    place.mkdir()
    quiet = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *args: None})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(quiet, directory=str(place))) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield place, f"http://127.0.0.1:{serving.server_port}/"
        serving.shutdown()


def test_a_download_leaves_the_files_that_the_task_reads(
    folder: Path,
    datasets: Any,
    server: tuple[Path, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row, (place, address) = SETS["kmnist"], server
    write(row, tmp_path / "written", datasets, monkeypatch)
    resources = []
    for name in row.files:
        packed = place / f"{Path(name).name}.gz"
        packed.write_bytes(gzip.compress((tmp_path / "written" / name).read_bytes()))
        resources.append((packed.name, md5(packed)))
    monkeypatch.setattr(datasets.KMNIST, "mirrors", [address])
    monkeypatch.setattr(datasets.KMNIST, "resources", resources)
    assert download("kmnist") == folder
    assert len(row.task().y) == TRAIN + TEST
    monkeypatch.setattr(datasets.KMNIST, "mirrors", [])
    assert download("kmnist") == folder, "what is there is not fetched again"


def test_a_download_that_ends_half_way_leaves_no_file_that_looks_whole(
    folder: Path,
    datasets: Any,
    server: tuple[Path, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row, (place, address) = SETS["kmnist"], server
    write(row, tmp_path / "written", datasets, monkeypatch)
    resources = []
    for name in row.files:
        packed = place / f"{Path(name).name}.gz"
        packed.write_bytes(gzip.compress((tmp_path / "written" / name).read_bytes()))
        resources.append((packed.name, md5(packed)))
    monkeypatch.setattr(datasets.KMNIST, "mirrors", [address])
    monkeypatch.setattr(datasets.KMNIST, "resources", [*resources[:3], (resources[3][0], "0" * 32)])
    with pytest.raises(ValueError, match="could not be fetched"):
        download("kmnist")
    assert [path for path in folder.rglob("*") if path.is_file()] == []

    monkeypatch.setattr(datasets.KMNIST, "resources", resources)
    download("kmnist")
    first = folder / row.files[0]
    whole = first.read_bytes()
    first.write_bytes(whole[: len(whole) // 2])
    download("kmnist")
    assert first.read_bytes() == whole, "a file that an earlier version left cut is fetched again"
    (linked := folder / row.files[1]).unlink()
    linked.symlink_to(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="is a symbolic link"):
        download("kmnist")
    assert not (tmp_path / "nowhere").exists()


def test_a_download_that_fails_is_one_sentence(
    folder: Path, datasets: Any, server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.KMNIST, "mirrors", [server[1]])
    with pytest.raises(ValueError, match="task 'kmnist' could not be fetched into") as refused:
        download("kmnist")
    assert "\n" not in str(refused.value)


def test_an_unknown_set_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ValueError, match="unknown image set 'fashionmnist'; did you mean 'fashion_mnist'"):
        download("fashionmnist")


def test_the_data_folder_is_the_environments_or_in_the_users_cache(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert data_folder() == folder
    monkeypatch.delenv("GROUNDRULES_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert data_folder() == tmp_path / "groundrules" / "data"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert data_folder() == tmp_path / "home" / ".cache" / "groundrules" / "data"


def test_tasks_on_request_are_the_image_sets() -> None:
    assert set(SETS) == ON_REQUEST
    assert set(TASKS) > ON_REQUEST
