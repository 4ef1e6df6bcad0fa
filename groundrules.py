"""The program `groundrules`: our packages first, whatever PYTHONPATH holds of their names."""

import runpy
import sys
from pathlib import Path


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
