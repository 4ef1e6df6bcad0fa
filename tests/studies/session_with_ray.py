"""A Python session that trains study after study with Ray: told by `test_end_of_ray`, run in its own process.

    python -m tests.studies.session_with_ray FOLDER [KIND ...]

Prints one line of JSON for each kind of run: how it ended, and what of Ray's was held when Ray was left.
"""

from __future__ import annotations

import gc
import json
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any
from unittest.mock import patch

import studies.execution.existing_cluster
import studies.execution.local_cluster  # before Ray: it decides how Ray is imported

# isort: split
import ray

from studies.kinds import AnySpec
from studies.range_scan.protocol import RangeScanSpec, scope_of
from studies.run import run
from tests.studies.searches import SMALL, seek
from tests.studies.test_ray_workers import small, user_file
from trainers.tasks.task import TaskBook
from trainers.tasks.user_tasks import task_book

OF_RAY = ("ActorHandle", "ObjectRef", "ObjectRefGenerator", "ActorMethod")
"""What tells Ray's library when Python frees it."""


def held() -> dict[str, int]:
    """Objects of Ray's in this process, those in cycles that nobody has freed yet among them."""
    counts: Counter[str] = Counter()
    seen = set()
    for one in gc.get_objects():
        for thing in (one, *gc.get_referents(one)):
            if type(thing).__name__ in OF_RAY and id(thing) not in seen:
                seen.add(id(thing))
                counts[type(thing).__name__] += 1
    return dict(counts)


def study_of(kind: str, book: TaskBook) -> AnySpec | RangeScanSpec:
    if kind == "search":
        return seek(tasks=["stripes"], trials=12, setting={**SMALL["setting"], "train_size": 64})
    if kind == "scope":
        return scope_of(small("stripes"), book, tasks=("specks",), points=10)
    return small("stripes", "specks")


def main(folder: Path, kinds: list[str]) -> None:
    gc.disable()  # nothing is freed by chance
    file = user_file(folder, "specks")
    left: list[dict[str, int]] = []
    shutdown = ray.shutdown

    def shut_down(**options: Any) -> None:
        """Ray's own, while another thread collects all the time."""
        left.append(held())
        over = threading.Event()

        def collect_all_the_time() -> None:
            while not over.is_set():
                gc.collect()

        thread = threading.Thread(target=collect_all_the_time)
        thread.start()
        shutdown(**options)
        over.set()
        thread.join()

    for kind in kinds:

        def watch(agenda: Any, kind: str = kind) -> None:
            if agenda.finished > 3:
                if kind == "interrupted":
                    raise KeyboardInterrupt
                if kind == "error":
                    raise OSError("no space left")
                if kind == "cycle":
                    cycle: list[Any] = [ray.put(1)]
                    cycle.append(cycle)

        left.clear()
        with (
            patch("ray.shutdown", shut_down),
            # All but one kind: with the collection before the end taken away, nothing may be left to it.
            patch("studies.execution.local_cluster.collect", gc.collect if kind == "cycle" else lambda: None),
            patch("studies.execution.existing_cluster.collect", lambda: None),
        ):
            try:
                place = studies.execution.existing_cluster.ExistingCluster(1) if kind == "attached" else None
                try:
                    done = run(
                        study_of(kind, task_book(file)), workspace=folder / kind, tasks_from=file,
                        workers=1, watch=watch, cluster=place,
                    )  # fmt: skip
                finally:
                    if place is not None:
                        place.stop()
                ended = "complete" if done.complete else "incomplete"
            except (KeyboardInterrupt, OSError) as error:
                ended = type(error).__name__
        gc.collect()
        time.sleep(0.2)
        print(json.dumps({"kind": kind, "ended": ended, "held": left[0], "times": len(left)}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
