"""Products of stacks by either library: the same numbers, wherever a slice lies and whoever is beside it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from tests.trainers.packs import TINY, blobs, member
from trainers.loop.pack import train_pack
from trainers.loop.single_thread import single_threaded
from trainers.randomness import stream
from trainers.tensors import matmul
from trainers.tensors.matmul import product

SHAPES = ((1, 1, 1), (8, 3, 5), (64, 100, 10), (64, 64, 100), (13, 100, 100), (256, 33, 1), (32, 1, 32))
LIBRARIES = ("torch", "numpy")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with single_threaded():
        yield


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whatever processor this is."""
    monkeypatch.setattr(matmul, "on_amd", lambda: request.param == "numpy")
    return str(request.param)


def drawn(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.from_numpy(stream("products", *shape).standard_normal(shape)).to(dtype)


@pytest.mark.parametrize(("rows", "inner", "columns"), SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_product_is_the_sum_over_what_both_share(
    rows: int, inner: int, columns: int, dtype: torch.dtype, library: str
) -> None:
    a, b = drawn(4, rows, inner, dtype=dtype), drawn(4, inner, columns, dtype=dtype)
    expected = torch.einsum("smn,snp->smp", a.double(), b.double()).to(dtype)
    torch.testing.assert_close(product(a, b), expected)
    torch.testing.assert_close(product(a.mT.contiguous().mT, b.mT.contiguous().mT), expected)
    wide = torch.zeros(4, rows * columns + 7, dtype=dtype)
    place = wide[:, 3 : 3 + rows * columns].view(4, rows, columns)
    assert product(a, b, place) is place
    torch.testing.assert_close(place, expected)
    assert not wide[:, :3].any() and not wide[:, 3 + rows * columns :].any()


@pytest.mark.parametrize(("rows", "inner", "columns"), SHAPES)
def test_by_numpy_a_slice_is_the_same_to_the_bit_alone_beside_others_and_anywhere_in_memory(
    rows: int, inner: int, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matmul, "on_amd", lambda: True)
    a, b = drawn(9, rows, inner), drawn(9, inner, columns)
    together = product(a, b)
    for k in range(9):
        assert torch.equal(together[k], product(a[k : k + 1], b[k : k + 1])[0])
    moved = torch.empty(b.numel() + 1)[1:].view(b.shape).copy_(b)
    assert torch.equal(together, product(a, moved))


def test_both_libraries_train_the_same_member_but_for_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    ones = [member(levels={"activation": "tanh"}, setting=TINY, index=i) for i in range(3)]
    found = []
    for numpys in (False, True):
        monkeypatch.setattr(matmul, "on_amd", lambda numpys=numpys: numpys)
        found.append(train_pack(ones, blobs()))
    for by_torch, by_numpy in zip(*found, strict=True):
        assert by_numpy.curve[-1].train_loss == pytest.approx(by_torch.curve[-1].train_loss, rel=1e-4)


def test_what_numpy_knows_nothing_of_is_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matmul, "on_amd", lambda: True)
    a = drawn(2, 3, 4)
    assert matmul.by_numpy(a)
    assert not matmul.by_numpy(a.to(torch.bfloat16))
    with torch.autocast("cpu", torch.bfloat16):
        assert not matmul.by_numpy(a)
    assert not matmul.by_numpy(a.to("meta"))
