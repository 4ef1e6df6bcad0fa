"""The commands for what becomes of a study once it has run: delete, archive, restore, compact."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from studies.commands.options import DEFAULT_WORKSPACE, Json, Study, Workspace
from studies.commands.path_arguments import as_typed, place

if TYPE_CHECKING:
    from studies.lifecycle.archive import ArchiveSummary
    from studies.lifecycle.places import Freed

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def delete(
    study: Study, workspace: Workspace = DEFAULT_WORKSPACE, yes: Yes = False, as_json: Json = False
) -> None:
    """Delete a study: ledger, MLflow runs, artifacts, pages.

    For good. Refused while it runs, or while another study extends it. A study
    of the same name can be begun again.
    """
    from studies.lifecycle.removal import delete as remove

    _confirm(f"Delete study '{study}' in {workspace} for good?", yes)
    _show(remove(workspace, study), f"deleted {study}", as_json=as_json)


def compact(
    study: Annotated[
        str | None, typer.Argument(metavar="[STUDY]", help="Its name; none: only shrink the databases.")
    ] = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Remove what no verdict, page or resume needs.

    MLflow's runs of single members and its copy of the report go; the runs of
    the study and of its cells stay, and so does all of the ledger. Then the
    databases are shrunk to what is in them.
    """
    from studies.lifecycle.removal import compact as shrink

    if study is not None:
        _confirm(f"Remove MLflow's runs of the members of '{study}' in {workspace}?", yes)
    _show(shrink(workspace, study), f"compacted {study or workspace}", as_json=as_json)


def archive(
    study: Study,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", parser=place, help="Default: STUDY.groundrules.zip here."),
    ] = None,
    remove: Annotated[bool, typer.Option("--delete", help="Then delete the study, once verified.")] = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Write a study into one file, and verify it.

    Ledger rows with their seal, pages and artifacts; `restore` brings it back,
    to the byte. MLflow's runs follow from the ledger and are made again.
    """
    from studies.lifecycle import archive as archives

    file = output or Path(f"{study}{archives.ENDING}")
    if remove:
        _confirm(f"Archive study '{study}' in {workspace}, then delete it there?", yes)
    summary = archives.archive(workspace, study, file)
    size = file.stat().st_size
    if not as_json:
        print("\n".join(_lines(summary)))
        print(f"archive   {file} ({_size(size)})")
    freed: Freed | None = None
    if remove:
        from studies.lifecycle.removal import delete as deleted

        freed = deleted(workspace, study)
        if not as_json:
            _show(freed, f"deleted {study}", as_json=False)
    if as_json:
        answer = {**_plain(summary), "archive": str(file), "archive_bytes": size}
        print(json.dumps(answer | ({} if freed is None else _freed(freed)), indent=2))


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", parser=place, help="Of `groundrules archive`.")],
    only_check: Annotated[
        bool,
        typer.Option("--check", help="Say what is in it and verify it; exit code 1 where it is damaged."),
    ] = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
    as_json: Json = False,
) -> None:
    """Bring an archived study back.

    Every hash in the archive is verified first, and the seal again before the
    ledger takes it.
    """
    from studies.lifecycle import archive as archives

    if only_check:
        with archives.opened(file, file) as found:
            summary, faults = found.summary, found.faults()
        if as_json:
            print(json.dumps({**_plain(summary), "faults": faults}, indent=2))
        else:
            sound = "every hash is right" if not faults else f"{len(faults)} faults"
            print("\n".join([*_lines(summary), *faults, f"{file}: {sound}"]))
        if faults:
            raise typer.Exit(1)
        return
    summary = archives.restore(workspace, file)
    mirrored = _mirror(workspace, summary.study)
    if as_json:
        answer = {**_plain(summary), "workspace": str(workspace.absolute()), "tracking": mirrored}
        print(json.dumps(answer, indent=2))
        return
    print("\n".join(_lines(summary)))
    print(f"restored  into {workspace}; next: {as_typed('report', summary.study, workspace=workspace)}")


def _mirror(workspace: Path, study: str) -> bool:
    """Writes MLflow's runs again, where the study has come far enough to have a record."""
    from studies.operations.records import record_of
    from studies.tracking.tracker import restore as mirror

    try:
        record = record_of(workspace, study)
    except ValueError:  # it has no plan yet: its next run writes its runs
        return False
    return mirror(workspace, record)


def _confirm(question: str, yes: bool) -> None:
    """Goes on only where somebody has agreed: here, or by `--yes`."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise ValueError(f"{question} Nobody can answer here: say --yes")
    typer.confirm(question, abort=True, err=True)


def _show(freed: Freed, done: str, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"study": freed.study, **_freed(freed)}, indent=2))
        return
    parts = ", ".join(f"{part} {_size(size)}" for part, size in freed.bytes.items() if size)
    print(f"{done}: {_size(freed.total)} freed{f' ({parts})' if parts else ''}")
    for note in freed.notes:
        print(f"note: {note}")


def _freed(freed: Freed) -> dict[str, Any]:
    return {"freed_bytes": freed.total, "freed": dict(freed.bytes), "notes": list(freed.notes)}


def _plain(summary: ArchiveSummary) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(summary)


def _lines(summary: ArchiveSummary) -> list[str]:
    from reports.verdicts.sentences import counted, titled

    rows = summary.rows
    extends = f", extends {summary.extends}" if summary.extends else ""
    files = len(summary.files) - len(rows)
    return [
        titled(summary.study, summary.title),
        f"  {counted(rows.get('evaluations', 0), 'evaluation')} in {counted(rows.get('packs', 0), 'pack')}, "
        f"{counted(files, 'file')} of pages and artifacts, {_size(summary.bytes)} unpacked{extends}",
    ]


def _size(number: int) -> str:
    """Bytes as a person reads them."""
    if number < 1_000_000:
        return f"{number / 1e3:.0f} kB"
    return f"{number / 1e6:.1f} MB" if number < 1_000_000_000 else f"{number / 1e9:.2f} GB"
