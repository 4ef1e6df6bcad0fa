"""Whether all members of a study were trained by the same kernels, as far as that was recorded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from reports.evidence.search_record import SearchRecord
from reports.evidence.study_record import StudyRecord, once
from trainers.evaluation import Evaluation

NOT_RECORDED = "not recorded"


def kernels(processor: Mapping[str, str]) -> str:
    """One kind of processor in words: 'AVX512, SkylakeX, numpy'."""
    return ", ".join(processor.values()) or NOT_RECORDED


def mixture(evaluations: Iterable[Evaluation]) -> str:
    """That members were trained by different kernels, as a sentence without its stop; '' where none were.

    Members that nobody could train are left out.
    """
    return mixed(Counter(kernels(e.processor) for e in evaluations if e.status != "failed"))


def mixed(counts: Counter[str]) -> str:
    """The same, given how many members were trained by each kind (`kernels`)."""
    if len(counts) < 2:
        return ""
    kinds = "; ".join(f"{count} of {counts.total()} by {kind}" for kind, count in sorted(counts.items()))
    return (
        f"members were trained by different processor kernels ({kinds}), which differ in the last digits of "
        "their sums: levels and blocks are not to the bit what one machine would have measured"
    )


def mixture_of(record: StudyRecord | SearchRecord) -> str:
    """The same of everything in a study."""
    return mixture(record.evaluations) if isinstance(record, SearchRecord) else _of_study(record)


@once
def _of_study(record: StudyRecord) -> str:
    external = record.external.evaluations if record.external else ()
    return mixture((*record.evaluations, *record.fresh, *external))
