"""`python -m tests.security`: tries every attack and prints how it was refused; exit 1 if one got through."""

from __future__ import annotations

import signal
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import pytest

from tests.security.listed import ATTACKS


def main() -> int:
    """Tries them one after the other, each in an empty folder."""
    # A shell ignores Ctrl-C in what it starts in the background, and so would what is started here.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    blocked = tried = 0
    for attack in ATTACKS:
        started = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="groundrules-attack-") as folder:
            try:
                answer, mark = attack.try_it(Path(folder)), "blocked"
            except pytest.skip.Exception as reason:
                answer, mark = str(reason), "not tried"
            except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 - it was not refused
                answer, mark = f"{type(error).__name__}: {error}", "GOT THROUGH"
        tried += mark != "not tried"
        blocked += mark == "blocked"
        seconds = time.perf_counter() - started
        points = ",".join(map(str, attack.points))
        print(f"{mark:11}  {attack.name} (point {points}; {seconds:.1f} s)", flush=True)
        print(textwrap.indent(textwrap.shorten(answer, 220, placeholder=" ..."), " " * 13), flush=True)
    print(f"\nattacks blocked: {blocked} of {tried}; {len(ATTACKS) - tried} could not be tried here")
    return 0 if blocked == tried else 1


if __name__ == "__main__":
    sys.exit(main())
