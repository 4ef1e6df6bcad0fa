"""Groundrules in Python: one function or property for everything that the command line does.

    import groundrules as gr

    results = gr.run("quickstart")                # the same call again resumes, and repeats nothing
    print(results.verdicts[0].label)
    results.evaluations()                         # a pandas DataFrame, one row for each trained network
    gr.load_results("quickstart").export("json")  # later, from the ledger alone

Nothing is printed unless asked for. A mistake of the caller's is a ValueError with the message that the
command prints; an interrupt passes through as KeyboardInterrupt, and everything that was trained is kept.

Importing this module is cheap: each name is loaded when it is first used.
"""

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


def _is_program() -> bool:
    """Whether this process is the command, and not somebody's script or notebook."""
    words, started = getattr(sys, "argv", None) or [""], sys.orig_argv
    module = started[started.index("-m") + 1 :][:1] if "-m" in started else []
    name = os.path.basename(words[0]).partition(".")[0]
    return name == "groundrules" or (words[0] == "-m" and module == ["groundrules"])


if _is_program():
    for _number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(_number) in (signal.default_int_handler, signal.SIG_DFL):
            signal.signal(_number, leave_early)  # who was started deaf to it stays so

# isort: split
import runpy  # noqa: E402 - from here on the program hears Ctrl-C
from typing import TYPE_CHECKING, Any  # noqa: E402

_HERE = os.path.dirname(os.path.realpath(__file__))
_INSTALLED, _CHECKOUT = (os.path.normpath(os.path.join(_HERE, up)) for up in ("..", "../../.."))
_ROOT = _INSTALLED if os.path.isdir(os.path.join(_INSTALLED, "search_spaces")) else _CHECKOUT


def _claim_names() -> None:
    """Sees to it that our packages are found before others of their names.

    ImportError names the file that is in the way; the program says so in one line.
    """
    try:
        runpy.run_path(os.path.join(_ROOT, "search_spaces", "precedence.py"))["claim"]("studies")
    except ImportError as error:
        if not _is_program():
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


_claim_names()


def main() -> None:
    """Runs the command line; `python -m groundrules` does the same."""
    from studies.cli import main

    main()


if TYPE_CHECKING:
    from groundrules._inputs import StudyLike, Task, TaskLike
    from groundrules._jobs import list_studies, logs, resume, status, stop, submit
    from groundrules._lifecycle import archive, compact, delete, restore
    from groundrules._results import Figure, Results, defaults, evaluations, load_results, verdicts
    from groundrules._running import extend, plan, replay, run, scan_ranges
    from groundrules._tables import (
        catalog,
        check,
        claims,
        diff,
        download,
        export,
        simulate,
        ui,
        why,
        write_report,
        write_templates,
    )

    __version__: str

_HOMES = {
    **dict.fromkeys(("StudyLike", "Task", "TaskLike"), "groundrules._inputs"),
    **dict.fromkeys(("list_studies", "logs", "resume", "status", "stop", "submit"), "groundrules._jobs"),
    **dict.fromkeys(("archive", "compact", "delete", "restore"), "groundrules._lifecycle"),
    **dict.fromkeys(
        ("Figure", "Results", "defaults", "evaluations", "load_results", "verdicts"), "groundrules._results"
    ),
    **dict.fromkeys(("extend", "plan", "replay", "run", "scan_ranges"), "groundrules._running"),
    **dict.fromkeys(
        (
            *("catalog", "check", "claims", "diff", "download", "export", "simulate", "ui", "why"),
            *("write_report", "write_templates"),
        ),
        "groundrules._tables",
    ),
}
"""Name -> the module that holds it."""

__all__ = [
    "Figure",
    "Results",
    "StudyLike",
    "Task",
    "TaskLike",
    "archive",
    "catalog",
    "check",
    "claims",
    "compact",
    "defaults",
    "delete",
    "diff",
    "download",
    "evaluations",
    "export",
    "extend",
    "list_studies",
    "load_results",
    "logs",
    "plan",
    "replay",
    "restore",
    "resume",
    "run",
    "scan_ranges",
    "simulate",
    "status",
    "stop",
    "submit",
    "ui",
    "verdicts",
    "why",
    "write_report",
    "write_templates",
]


if not TYPE_CHECKING:  # or a name that is not there would pass for one of any type

    def __getattr__(name: str) -> Any:
        """Loads a name of the interface when it is first used."""
        from importlib import import_module, metadata

        if name == "__version__":
            try:
                return metadata.version("groundrules")
            except metadata.PackageNotFoundError:
                return "source"
        if name not in _HOMES:
            raise AttributeError(f"module 'groundrules' has no attribute '{name}'")
        loaded = getattr(import_module(_HOMES[name]), name)
        globals()[name] = loaded  # next time without this function
        return loaded


def __dir__() -> list[str]:
    """For completion in a notebook."""
    return [*__all__, "__version__"]
