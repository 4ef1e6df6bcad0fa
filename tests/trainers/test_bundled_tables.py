"""A stored table is what its manifest says, and what its source was, or it is not given out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from infra import make_tables
from trainers.tasks import TASKS
from trainers.tasks.bundled_tables import DATA, STORED, StoredTable, checksum, load, manifest


@pytest.mark.parametrize("table", STORED, ids=lambda table: table.name)
def test_a_table_is_what_its_manifest_says(table: StoredTable) -> None:
    x, y = load(table.name)
    entry = manifest()[table.name]
    assert (entry["source"], entry["licence"], entry["rows"]) == (table.source, table.licence, table.items)
    assert (entry["rows"], entry["features"], entry["dtype"]) == (*x.shape, x.dtype.name)
    assert np.array_equal(np.unique(y), np.arange(len(entry["classes"])))
    assert len(x) >= 1500
    assert np.array_equal(TASKS[table.name]().x, x), "float32 holds every value"


def test_the_folder_holds_the_tables_and_little_else() -> None:
    assert {file.name for file in DATA.iterdir()} == {"manifest.json", *(f"{t.name}.npz" for t in STORED)}
    assert set(manifest()) == {table.name for table in STORED}
    assert sum(file.stat().st_size for file in DATA.iterdir()) < 4_000_000


def test_scikit_learns_digits_are_among_the_stored_ones() -> None:
    whole, part = TASKS["optdigits"](), TASKS["digits"]()
    items = {(*x.tolist(), y) for x, y in zip(whole.x, whole.y.tolist(), strict=True)}
    assert all((*x.tolist(), y) in items for x, y in zip(part.x, part.y.tolist(), strict=True))
    assert whole.family == part.family


def test_every_place_of_a_gene_sequence_has_one_letter() -> None:
    x, _ = load("splice")
    assert np.array_equal(x.sum(axis=1), np.full(len(x), 60))


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A folder with one table and the manifest."""
    for name in ("chess.npz", "manifest.json"):
        shutil.copy(DATA / name, tmp_path)
    return tmp_path


def test_how_a_table_is_compressed_does_not_matter(copied: Path) -> None:
    x, y = load("chess")
    np.savez(copied / "chess.npz", x=x, y=y)
    assert np.array_equal(load("chess", copied)[0], x)


def one_cell(folder: Path) -> None:
    x, y = load("chess")
    x[5, 3] ^= 1
    np.savez_compressed(folder / "chess.npz", x=x, y=y)


def other_type(folder: Path) -> None:
    x, y = load("chess")
    np.savez_compressed(folder / "chess.npz", x=x.astype(np.int8), y=y)


def cut(folder: Path) -> None:
    file = folder / "chess.npz"
    file.write_bytes(file.read_bytes()[:5000])


def overwritten(folder: Path) -> None:
    file = folder / "chess.npz"
    file.write_bytes(file.read_bytes()[:3000] + bytes(500) + file.read_bytes()[3500:])


def gone(folder: Path) -> None:
    (folder / "chess.npz").unlink()


def without_y(folder: Path) -> None:
    np.savez(folder / "chess.npz", x=load("chess")[0])


def not_listed(folder: Path) -> None:
    (folder / "manifest.json").write_text(json.dumps({"tables": {}}), encoding="utf-8")


@pytest.mark.parametrize("damage", [one_cell, other_type, cut, overwritten, gone, without_y, not_listed])
def test_damaged_data_are_refused_in_one_message(damage: Callable[[Path], None], copied: Path) -> None:
    damage(copied)
    with pytest.raises(ValueError, match=r"task 'chess': .*chess\.npz .*install groundrules again"):
        load("chess", copied)


RAW = """@relation planted
@data
1, red, up, same, 2.0, ten, 10
2, blue, down, same, 3.0, ten, 9
3, green, up, same, 4.0, two, 10
4, red, up, same, 5.0, ten, 9
"""


def planted(items: int) -> StoredTable:
    return StoredTable(name="planted", family="planted", role="race", items=items, source="ours", licence="0")


def test_the_script_encodes_words_numbers_classes_and_leaves_out_evenly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make_tables, "DATA", tmp_path)
    file = tmp_path / "planted.dat"
    file.write_text(RAW, encoding="utf-8")
    entry = make_tables.make(planted(4), file)
    with np.load(tmp_path / "planted.npz") as arrays:
        x, y = arrays["x"], arrays["y"]
    # The number, blue, green, red, up, (nothing of the constant), the number, two.
    assert x.tolist() == [
        [1, 0, 0, 1, 1, 2, 0],
        [2, 1, 0, 0, 0, 3, 0],
        [3, 0, 1, 0, 1, 4, 1],
        [4, 0, 0, 1, 1, 5, 0],
    ]
    assert y.tolist() == [1, 0, 1, 0], "9 comes before 10"
    assert (x.dtype, y.dtype, entry["classes"]) == (np.uint8, np.uint8, ["9", "10"])
    assert entry["sha256"] == checksum(x, y)
    assert make_tables.make(planted(2), file)["rows_of_source"] == 4
    with np.load(tmp_path / "planted.npz") as arrays:
        assert arrays["x"][:, 0].tolist() == [1, 3]


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([0, 255], "uint8"),
        ([-1, 127], "int8"),
        ([0, 256], "uint16"),
        ([-1, 128], "int16"),
        ([0.5], "float32"),
    ],
)
def test_arrays_get_the_smallest_type_that_holds_them(values: list[float], dtype: str) -> None:
    stored = make_tables.smallest(np.array(values, dtype=np.float64))
    assert stored.dtype == dtype
    assert stored.tolist() == values
