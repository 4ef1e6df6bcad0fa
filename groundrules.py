"""The program `groundrules`: our packages first, whatever PYTHONPATH holds of their names."""

import sys

try:
    import os
    import signal
except KeyboardInterrupt:
    print("interrupted; what was finished is kept: resume with the same command", file=sys.stderr)
    sys.exit(130)


def leave_early(number: int, frame: object) -> None:
    """A handler of signals until `studies.process_setup`, which takes a while to import, has its own."""
    word, code = ("interrupted", 130) if number == signal.SIGINT else ("terminated", 143)
    os.write(2, f"{word}; what was finished is kept: resume with the same command\n".encode())
    os._exit(code)


if os.path.basename((getattr(sys, "argv", None) or [""])[0]).partition(".")[0] == "groundrules":
    for _number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(_number) in (signal.default_int_handler, signal.SIG_DFL):
            signal.signal(_number, leave_early)  # who was started deaf to it stays so

# isort: split
import runpy  # noqa: E402 - from here on the program hears Ctrl-C
from pathlib import Path  # noqa: E402


def main() -> None:
    """Runs the command line; `python -m groundrules` does it, too."""
    try:
        runpy.run_path(str(Path(__file__).parent / "search_spaces" / "precedence.py"))["claim"]("studies")
    except ImportError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    from studies.cli import main

    main()


if __name__ == "__main__":
    main()
