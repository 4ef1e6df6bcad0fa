"""The command line: each command is a few documented function calls, and errors are one line.

Exit codes: 0 done; 2 the user's mistake; 1 ours, or not all could be trained; 130 interrupted (143 by
SIGTERM), to be resumed by the same command.
Heavy libraries are imported inside the commands, so that help and errors answer at once.
"""

from __future__ import annotations

import atexit
import errno
import logging
import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from reports.io.control_characters import harmless
from reports.io.safe_paths import DiskFull, LinkInTheWay, appending
from studies import process_setup
from studies.commands import cluster_jobs, lifecycle, prepare, results_commands, run, submit
from studies.commands.options import DEFAULT_WORKSPACE
from studies.execution import restart
from studies.execution.failure_kinds import ClusterLost, WorkersCannotStart
from studies.ledger.contract import LedgerDamaged, LedgerLost

log = logging.getLogger("groundrules")

app = typer.Typer(
    name="groundrules",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command of the program."""

    function: Callable[..., None]
    python: str
    """The function of the package `groundrules` that does the same."""


COMMANDS: dict[str, Command] = {
    "init": Command(function=prepare.init, python="write_templates"),
    "catalog": Command(function=prepare.catalog, python="catalog"),
    "download": Command(function=prepare.download, python="download"),
    "plan": Command(function=run.plan, python="plan"),
    "scan-ranges": Command(function=prepare.scan_ranges, python="scan_ranges"),
    "run": Command(function=run.run, python="run"),
    "extend": Command(function=run.extend, python="extend"),
    "report": Command(function=results_commands.report, python="write_report"),
    "results": Command(function=results_commands.results, python="evaluations"),
    "export": Command(function=results_commands.export, python="export"),
    "diff": Command(function=results_commands.diff, python="diff"),
    "why": Command(function=results_commands.why, python="why"),
    "claims": Command(function=results_commands.claims, python="claims"),
    "replay": Command(function=results_commands.replay, python="replay"),
    "check": Command(function=results_commands.check, python="check"),
    "archive": Command(function=lifecycle.archive, python="archive"),
    "restore": Command(function=lifecycle.restore, python="restore"),
    "compact": Command(function=lifecycle.compact, python="compact"),
    "delete": Command(function=lifecycle.delete, python="delete"),
    "ui": Command(function=results_commands.ui, python="ui"),
    "simulate": Command(function=prepare.simulate, python="simulate"),
    "submit": Command(function=submit.submit, python="submit"),
    "list": Command(function=cluster_jobs.listing, python="list_studies"),
    "status": Command(function=cluster_jobs.status, python="status"),
    "logs": Command(function=cluster_jobs.logs, python="logs"),
    "stop": Command(function=cluster_jobs.stop, python="stop"),
    "resume": Command(function=submit.resume, python="resume"),
}
"""In the order of the help."""

FORMER_NAMES = {"scope": "scan-ranges"}
"""What a command was called -> what it is called now; both work."""

for name, command in COMMANDS.items():
    app.command(name=name, epilog=f"In Python: groundrules.{command.python}")(command.function)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"groundrules {installed_version()}")
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit."),
    ] = False,
) -> None:
    """Regenerates a textbook's table of deep-learning defaults empirically, for your own tasks."""


def installed_version() -> str:
    """Of this program; 'source' where its packages are only unpacked."""
    try:
        return metadata.version("groundrules")
    except metadata.PackageNotFoundError:
        return "source"


INTERRUPTED = 130
LOG_FILE = "groundrules.log"
NO_MEMORY = (
    "cannot allocate memory",
    "can't allocate memory",
    "failed to map segment",
    "can't start new thread",
    "resource temporarily unavailable",
    "std::bad_alloc",
)
"""How loaders, allocators and thread libraries say that there is no room, in small letters."""
LONGEST_MESSAGE = 20_000
"""Characters; the longest of ours list all names that are allowed."""


def main(arguments: Sequence[str] | None = None) -> None:
    """The program: runs one command and exits; to take apart all that is loaded would take seconds."""
    if arguments is None:
        restart.allow()
    process_setup.open_missing()
    process_setup.soften()
    process_setup.interrupt_on_signals()
    try:
        code = invoke(arguments)
        process_setup.ignore_signals()
    except KeyboardInterrupt:  # a second one, while the first was told
        code = process_setup.exit_code()
    with suppress(OSError):  # nobody reads any more
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def invoke(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; never raises, but for a second interrupt."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        _warn_on_stderr()
        if not sys.warnoptions:
            warnings.simplefilter("ignore")  # those of other libraries are not the user's business
        return _run(words)
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted()
    except (ValueError, LedgerDamaged) as error:
        if isinstance(error, UnicodeEncodeError):  # of ours: nobody mistypes an encoding
            return _internal(error, words)
        print(f"error: {_told_safely(error)}", file=sys.stderr)
        return 2
    except (LedgerLost, DiskFull) as error:
        print(f"error: {_told_safely(error)}", file=sys.stderr)
        return 1
    except (ClusterLost, WorkersCannotStart) as error:
        print(
            f"error: {_told_safely(error)}; what was finished is kept: resume with the same command",
            file=sys.stderr,
        )
        return 1
    except Exception as error:  # noqa: BLE001 - the last resort of every command
        if process_setup.heard:  # in the middle of an import, that has made something else of it
            return _interrupted()
        if isinstance(error, process_setup.OutputLost):
            return _silent(error)
        if said := told_of_the_machine(error):
            code, sentence = said
            print(f"error: {_told_safely(sentence)}", file=sys.stderr)
            return code
        if hasattr(error, "format_message"):  # Typer's, of whichever click it carries
            print(f"error: {_told_safely(' '.join(error.format_message().split()))}", file=sys.stderr)
            return 2
        return _internal(error, words)


def _current_name(words: list[str]) -> list[str]:
    """The words with a command's former name replaced, which is noted."""
    if not words or words[0] not in FORMER_NAMES:
        return words
    name = FORMER_NAMES[words[0]]
    print(f"note: 'groundrules {words[0]}' is called 'groundrules {name}' now", file=sys.stderr)
    return [name, *words[1:]]


def _refuse_unknown_shell(words: list[str]) -> None:
    """Raises ValueError where completion is asked for, and what started the program is no shell."""
    if not {"--install-completion", "--show-completion"} & set(words[:1]):
        return
    import shellingham  # Typer's own way to find out

    try:
        shellingham.detect_shell()
    except shellingham.ShellDetectionFailure:
        raise ValueError(f"{words[0]}: this was not started by bash, zsh, fish or PowerShell") from None


def _run(words: list[str]) -> int:
    """One command to its end, all that it prints included."""
    _refuse_unknown_shell(words)
    try:
        code = app(args=_current_name(words) or ["--help"], prog_name="groundrules", standalone_mode=False)
        if code == INTERRUPTED:  # some versions of Typer turn Ctrl-C into this
            raise KeyboardInterrupt
    except typer.Exit as exit_:
        code = exit_.exit_code
    except SystemExit as exit_:  # of the answer to a shell that completes a word
        code = exit_.code
    sys.stdout.flush()
    return code if isinstance(code, int) else 0


def _interrupted() -> int:
    print(process_setup.sentence(), file=sys.stderr)
    return process_setup.exit_code()


def _internal(error: BaseException, words: Sequence[str]) -> int:
    """What nobody has foreseen: one line, and the traceback in a file."""
    place = _keep_traceback(words)
    what = f"{type(error).__name__}: {_told_safely(error)}"
    print(f"internal error: {what}\nthe details are in {_told_safely(place)}", file=sys.stderr)
    return 1


def _silent(lost: process_setup.OutputLost) -> int:
    """After standard output was lost: a reader that has seen enough is told nothing, all others why."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains again at exit
    if lost.errno != errno.EPIPE:
        reason = lost.strerror or str(lost)
        print(f"error: standard output cannot be written ({reason}); what was done is kept", file=sys.stderr)
    return 1


def told_of_the_machine(error: BaseException) -> tuple[int, str] | None:
    """Exit code and sentence for what the operating system refuses, whatever was being done."""
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        name = str(error.filename or "")
        at = f": '{name[:60]}...' has {len(os.fsencode(name))} bytes" if name else ""
        return 2, f"a name is too long for the file system{at}; a name may have 255, a path 4095"
    if _is_memory(error):
        return 1, (
            f"there is not enough memory here ({type(error).__name__}: {error}); what was finished is kept: "
            "raise the limit (ulimit -v), use fewer --workers, or resume on a larger machine"
        )
    return None


def _is_memory(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, is want of memory: of address space, pages or threads."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        text = str(error).lower()
        if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
            return True
        if isinstance(error, (ImportError, OSError, RuntimeError)) and any(w in text for w in NO_MEMORY):
            return True
        error = error.__cause__ or error.__context__
    return False


def _warn_on_stderr() -> None:
    """Our own warnings as one line each; other libraries keep their ways."""
    if not log.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(_Harmless("%(levelname)s: %(message).500s"))
        log.addHandler(handler)
        log.propagate = False


def _keep_traceback(words: Sequence[str]) -> Path:
    """Appends the current traceback to the workspace's log, or to a temporary file where there is none."""
    place = os.environ.get("GROUNDRULES_WORKSPACE", str(DEFAULT_WORKSPACE))
    for i, word in enumerate(words):
        if word == "--workspace" and i + 1 < len(words):
            place = words[i + 1]
        elif word.startswith("--workspace="):
            place = word.partition("=")[2]
    from studies.site import masked

    said = harmless(masked(f"groundrules {' '.join(words)}\n{traceback.format_exc()}\n"), 100_000)
    file = (Path(place) / LOG_FILE).absolute()
    with suppress(OSError, LinkInTheWay), appending(file) as text:
        text.write(said)
        text.flush()
        return file
    # A name that nobody can have put there before: temporary folders are everybody's.
    with suppress(OSError):
        descriptor, name = tempfile.mkstemp(prefix="groundrules-", suffix=".log")
        with os.fdopen(descriptor, "w", encoding="utf-8") as text:
            text.write(said)
        return Path(name)
    return Path(os.devnull)  # every disk is full


class _Harmless(logging.Formatter):
    """Log lines for a terminal: without secrets, and without characters that act on it."""

    def format(self, record: logging.LogRecord) -> str:
        return _told_safely(super().format(record))


def _told_safely(error: object) -> str:
    """What may be said on a terminal."""
    from studies.site import masked

    return harmless(masked(str(error)), LONGEST_MESSAGE)


if __name__ == "__main__":
    main()
