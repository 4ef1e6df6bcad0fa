"""The processor settings under which a pack trains: its numbers must not depend on what runs beside it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from threadpoolctl import ThreadpoolController


@contextmanager
def single_threaded() -> Iterator[None]:
    """One thread and no denormal numbers, both of torch and of numpy's BLAS, until the block ends."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        with _thread_pools().limit(limits=1, user_api="blas"), warnings.catch_warnings():
            # Gradients accumulate into strided rows on purpose; a dense layout measured no faster.
            warnings.filterwarnings("ignore", message="grad and param do not obey")
            yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)


@cache
def _thread_pools() -> ThreadpoolController:
    """Made once: it inspects every library that is loaded."""
    return ThreadpoolController()
