"""Every evaluation of a study as one flat row, as CSV or Parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from reports.evidence.processors import NOT_RECORDED
from reports.io.control_characters import cell
from reports.io.safe_paths import save
from search_spaces.factor import unknown
from studies.ledger.ledger import Ledger
from studies.ledger.lineage import SeenEvaluations
from trainers.diagnostics.names import fit, summaries
from trainers.evaluation import EVIDENCE_PHASES, Evaluation

Format = Literal["csv", "parquet"]
FORMATS: tuple[Format, ...] = ("csv", "parquet")

Row = Mapping[str, Any]


def rows(ledger: Ledger, study: str, *, timings: bool = False) -> list[dict[str, Any]]:
    """The study's evaluations in canonical order, all with the same columns.

    Of an extension also those that it takes over; the column `study` says who trained them.

    Args:
        ledger: open for reading.
        study: its name.
        timings: also when and how long each was trained, which differs between two equal runs.
    """
    seen = SeenEvaluations(ledger, study)
    found = [_row(evaluation) for evaluation in seen.evaluations()]
    if timings:
        clock = {
            c.evaluation.id: c
            for name in (*seen.before, study)
            for c in ledger.committed_after(name, 0, sum(ledger.chain_counts(name).values()))
        }
        for row in found:
            if row["id"] not in clock:
                raise ValueError(
                    f"evaluation {row['id']} of study '{study}' has no pack: the ledger is damaged"
                )
            committed = clock[row["id"]]
            row |= {
                "pack": committed.pack_id,
                "seconds": committed.seconds,
                "committed_ms": committed.committed_ms,
            }
    columns = list(dict.fromkeys(name for row in found for name in row))
    order = {name: place for place, name in enumerate(_FIRST)}
    columns.sort(key=lambda name: (order.get(name, len(order)), name))
    return [{name: row.get(name) for name in columns} for row in found]


def write(table: Sequence[Row], format: str, output: Path | None) -> str:
    """Writes the rows to `output`; without one, or with `-`, returns the text (CSV only).

    Raises:
        ValueError: an unknown format, Parquet without a file, or a file that cannot be written.
    """
    if format not in FORMATS:
        raise unknown("format of results", format, FORMATS)
    output = None if output is not None and str(output) == "-" else output
    if format == "parquet" and output is None:
        raise ValueError("parquet is not text: name a file with --output FILE.parquet")
    try:
        if format == "csv":
            text = as_csv(table)
            if output is None:
                return text
            save(output, text)
        else:
            import pyarrow as pa  # type: ignore[import-untyped,unused-ignore]
            import pyarrow.parquet as parquet  # type: ignore[import-untyped,unused-ignore]

            made = pa.BufferOutputStream()
            parquet.write_table(pa.Table.from_pylist([dict(row) for row in table]), made)
            assert output is not None
            save(output, made.getvalue().to_pybytes())
    except OSError as error:
        raise ValueError(f"cannot write {output} ({error})") from error
    return ""


def as_csv(table: Sequence[Row]) -> str:
    """Comma-separated text with a header; numbers at full precision, None as nothing."""
    text = io.StringIO()
    columns = list(table[0]) if table else ["id"]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(cell, columns))
    writer.writerows([cell(row[name]) for name in columns] for row in table)
    return text.getvalue()


_FIRST = (
    *("id", "study", "factor", "task", "regime", "block", "level", "phase", "index", "arm", "evidence"),
    *("status", "cause", "validation_metric", "validation_loss", "best_step", "steps"),
    *("test.best_validation", "test.last"),
)


def _row(evaluation: Evaluation) -> dict[str, Any]:
    e = evaluation
    return {
        "id": e.id,
        **asdict(e.slot),
        "arm": e.arm,
        "evidence": e.slot.phase in EVIDENCE_PHASES,
        "status": e.status,
        "cause": e.cause,
        "validation_metric": e.validation_metric,
        "validation_loss": e.validation_loss,
        "best_step": e.best_step,
        "steps": e.steps,
        **{f"test.{name}": value for name, value in (e.test or {}).items()},
        **{f"level.{name}": value for name, value in e.config.levels.items()},
        **{f"number.{name}": value for name, value in e.config.numbers.items()},
        **{f"setting.{name}": value for name, value in asdict(e.config.setting).items()},
        **{f"diagnostics.{name}": value for name, value in summaries(e.diagnostics).items()},
        **({"diagnostics.fit": fit(e.diagnostics)} if e.diagnostics else {}),
        **{f"version.{name}": value for name, value in e.versions.items()},
        **{
            f"processor.{name}": e.processor.get(name, NOT_RECORDED)
            for name in ("vectors", "blas", "products")
        },
        **{f"processor.{name}": value for name, value in e.processor.items()},
    }
