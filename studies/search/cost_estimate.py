"""What a search will cost before anything of it is run: trials, packs, time on this machine."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from reports.pages.search_page import limits
from studies.comparison.cost_estimate import measured_speed
from studies.packing import FLOPS_PER_SECOND, pack_limit, packs
from studies.search.generations import members_of
from studies.search.protocol import LEVEL, examine, search_protocol
from studies.search.spec import SearchSpec
from studies.structure_cache import structures
from trainers.loop.structure import estimated_flops
from trainers.tasks.user_tasks import TaskSource, task_book

FIXED = 24
"""Members whose work takes as long as the fixed cost of a step (one core, 2 hidden layers of width 32)."""
MEASURED = 32
"""Members of the pack that is timed."""


@dataclass(frozen=True, kw_only=True)
class SearchCostEstimate:
    """What `groundrules plan` prints of a search."""

    study: str
    protocol_hash: str
    task: str
    space: tuple[Mapping[str, str], ...]
    """Of each parameter: its name, its values or limits, and where it is open."""
    trials: int
    pruner: str
    generation: int
    generations: int
    packs_per_generation: int
    """In the first generation, whose points are known; later ones differ by a few."""
    seconds: float
    """Estimated training time of all trials in one process on this machine, if none were stopped early.
    Small packs share the fixed cost of a step among few."""
    flops_per_second: float
    """Measured just now on a small pack; the estimate's other half."""
    notes: tuple[str, ...]

    @property
    def packs(self) -> int:
        """Of the whole search, as the first generation suggests."""
        return self.packs_per_generation * self.generations


def search_outline(
    spec: SearchSpec, *, tasks_from: TaskSource | None = None, device: str = "cpu"
) -> SearchCostEstimate:
    """The search as it would run.

    Trains nothing of the study; a small pack is timed for about a second.

    Raises:
        SpecError: an unknown task, or a combination that cannot mean anything.
        ValueError: a task that cannot be built.
    """
    book = task_book(tasks_from)
    fixed = search_protocol(spec, book)
    task = book[spec.task]()
    notes = examine(fixed, task)
    first = members_of(0, fixed, {})
    speed = FLOPS_PER_SECOND.get(device.split(":")[0], FLOPS_PER_SECOND["cpu"])
    laid_out = packs(
        first,
        positions={LEVEL: 0},
        structure=structures(task),
        limit=lambda config: pack_limit(config, task, spec.members_at_once, speed),
    )
    measured = measured_speed(device)
    each = statistics.fmean(estimated_flops(member.config, task) for member in first)
    size = len(first) / len(laid_out)
    dearer = (1 + FIXED / size) / (1 + FIXED / MEASURED)
    return SearchCostEstimate(
        study=spec.study,
        protocol_hash=fixed.hash,
        task=spec.task,
        space=tuple(
            {"parameter": d.name, "values": limits(d), "open": ", ".join(d.where) or "always"}
            for d in spec.joint.dimensions
        ),
        trials=spec.trials,
        pruner=spec.pruner,
        generation=spec.generation,
        generations=-(-spec.trials // spec.generation),
        packs_per_generation=len(laid_out),
        seconds=spec.trials * each / measured * dearer,
        flops_per_second=measured,
        notes=notes,
    )
