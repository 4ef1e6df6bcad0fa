"""The trainer alone on a GPU: is it right there, and what do packs gain? Needs `trainers` and torch, no Ray.

    python -m tests.benchmarks.gpu --trainer-only [--device cuda] [--quick] [--seconds 420]

repeats     the same pack again, in another order, in half the company and beside a member that diverges:
            what stays equal to the bit
precisions  float32, bfloat16 and float16 there against float32 on the CPU
packs       milliseconds a step of packs of 1 to 512 in each precision, against a plain loop of torch.nn with
            fused torch.optim on the same device in the same repeat, and the peak of memory
levels      every level of every factor on every kind of network, in float64 and with what is recorded inside:
            the figures there against those of the CPU
Each part says what it saw line by line, so that a run cut short has not been in vain.
"""

from __future__ import annotations

import dataclasses
import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch

from search_spaces.config import Precision
from search_spaces.networks import NETWORKS
from tests.benchmarks.pack_curve import CASES, Case, clocked, members, solo
from tests.trainers import test_every_level as walk
from trainers.loop.pack import train_pack
from trainers.member import Member
from trainers.tasks import TASKS

PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "float16")
PACKS = (1, 2, 8, 32, 128, 512)
EXACT = 1e-6
"""Largest relative difference of a float64 figure that sums in another order may make in six steps."""
SHORT = {"float32": 5e-3, "bfloat16": 5e-2, "float16": 5e-2}
"""The same for losses after 50 steps, by precision."""


class Deadline:
    """Stops a part between two lines, when the time that was given is used up."""

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds

    def left(self) -> bool:
        return time.monotonic() < self._ends


def levels(device: str, deadline: Deadline) -> list[str]:
    """What differs by more than EXACT, or does not run there at all."""
    faults: list[str] = []
    seen = 0
    largest = 0.0
    for network, (factor, level) in itertools.product(NETWORKS, walk.LEVELS):
        if not deadline.left():
            print(f"stopped after {seen} levels: the time is used up", flush=True)
            break
        if walk.refusal(network, factor, level) is not None:
            continue
        rows, task = walk.members(network, factor, level), walk.task_for(network)
        name = f"{network}, {factor}={level}"
        try:
            here, there = (train_pack(rows, task, device=place) for place in ("cpu", device))
        except Exception as error:  # noqa: BLE001 - the other levels may still say something
            faults.append(name)
            print(f"{name}: {type(error).__name__}: {str(error)[:300]}", flush=True)
            continue
        seen += 1
        pairs = [(walk.figures(a), walk.figures(b)) for a, b in zip(here, there, strict=True)]
        apart = max(float(np.max(np.abs(np.array(a) - b) / np.maximum(np.abs(a), 1e-9))) for a, b in pairs)
        largest = max(largest, apart)
        if not apart <= EXACT:
            faults.append(name)
            print(f"{name}: figures differ by {apart:.1e}", flush=True)
    print(
        f"{seen} levels on {len(NETWORKS)} networks: largest relative difference {largest:.1e}",
        flush=True,
    )
    return faults


def repeats(device: str, deadline: Deadline) -> list[str]:
    """What is not equal to the bit; a member that comes out otherwise in another company is a fault."""
    faults: list[str] = []
    for case in CASES[:2]:
        rows, which = members(case, 16, 50), 3
        numbers = {**rows[which].config.numbers, "learning_rate": 1e6}
        doomed = dataclasses.replace(rows[which].config, numbers=numbers)
        spoilt = [*rows[:which], dataclasses.replace(rows[which], config=doomed), *rows[which + 1 :]]
        others = {
            "again": rows,
            "in reverse order": rows[::-1],
            "in half the company": rows[:8],
            "beside one that diverges": spoilt,
        }
        alike = losses(rows, device)
        for name, pack in others.items():
            if not deadline.left():
                return faults
            found = losses(pack, device)
            shared = [slot for slot in found if pack is not spoilt or slot != rows[which].slot.id]
            apart = max(abs(alike[slot] - found[slot]) / abs(alike[slot]) for slot in shared)
            equal = sum(alike[slot] == found[slot] for slot in shared)
            print(f"{case.name}, {name}: {equal} of {len(shared)} to the bit; apart {apart:.1e}", flush=True)
            if not apart <= SHORT["float32"]:
                faults.append(f"{case.name}, {name}")
    return faults


def losses(pack: list[Member], device: str) -> dict[str, float]:
    """Slot -> validation loss of a pack trained there."""
    found = train_pack(pack, TASKS["digits"](), device=device, diagnostics="none")
    return {evaluation.slot.id: evaluation.validation_loss for evaluation in found}


def in_precision(case: Case, count: int, steps: int, precision: Precision) -> list[Member]:
    """The members of the pack curve, in another number format."""
    return [
        dataclasses.replace(m, config=dataclasses.replace(m.config, setting=setting))
        for m in members(case, count, steps)
        for setting in (dataclasses.replace(m.config.setting, precision=precision),)
    ]


def precisions(device: str, deadline: Deadline) -> list[str]:
    """Formats in which a short training comes out otherwise than in float32 on the CPU."""
    faults: list[str] = []
    for case, precision in itertools.product(CASES[:2], PRECISIONS):
        if not deadline.left():
            break
        here = losses(in_precision(case, 8, 50, "float32"), "cpu")
        there = losses(in_precision(case, 8, 50, precision), device)
        pairs = zip(here.values(), there.values(), strict=True)
        apart = max(abs(a - b) / abs(a) for a, b in pairs)
        print(f"{case.name}, {precision} against float32 on the CPU: apart {apart:.1e}", flush=True)
        if not apart <= SHORT[precision]:
            faults.append(f"{case.name}, {precision}")
    return faults


def packs(device: str, deadline: Deadline, counts: Sequence[int] = PACKS, steps: int = 100) -> list[str]:
    """Prints times and memory; nothing of it is a fault."""
    for case in (CASES[0], CASES[3], CASES[6]):
        for precision, count in itertools.product(PRECISIONS, counts):
            if not deadline.left():
                return []
            few = max(1, steps // 10)
            short, whole = (in_precision(case, count, n, precision) for n in (few, few + steps))
            losses(short, device)  # kernels are loaded, memory is there
            forget_peak(device)
            ratios, times = [], []
            for _ in range(3):
                alone = solo(case, steps, device)
                # What does not grow with the steps (building, the one look) is in both and cancels out.
                before, after = (clocked(partial(losses, pack, device), device) for pack in (short, whole))
                took = after - before
                times.append(took / steps)
                ratios.append(alone * count * steps / took)
            print(
                f"{case.name}, {precision}, {count} members: {1e3 * statistics.median(times):.3f} ms a step, "
                f"{statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}] times the plain loop"
                f" in float32; peak {peak(device):.0f} MiB",
                flush=True,
            )
    return []


def forget_peak(device: str) -> None:
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats(device)


def peak(device: str) -> float:
    """MiB that tensors took at most since `forget_peak`; NaN on a CPU."""
    return float("nan") if device == "cpu" else torch.cuda.max_memory_allocated(device) / 2**20


PARTS: dict[str, Callable[[str, Deadline], list[str]]] = {
    "repeats": repeats,
    "precisions": precisions,
    "packs": packs,
    "levels": levels,
}
"""In the order in which they say most in little time; each returns its faults."""
