"""A polite kill (SIGTERM) ends a command as Ctrl-C does: cleanly, and to be resumed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from studies import process_setup


@contextmanager
def interrupted_by_sigterm(*, also_sigint: bool = False) -> Iterator[None]:
    """Within it, SIGTERM raises KeyboardInterrupt; in other threads than the main one it does nothing.

    Args:
        also_sigint: hear SIGINT even where this process was started deaf to it. A shell starts so whatever
            it puts in the background: a Ray node, and with it every job of that node.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    before = signal.signal(signal.SIGTERM, process_setup.interrupt)
    deaf = also_sigint and signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    if deaf:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        if deaf:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
