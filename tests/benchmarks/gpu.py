"""All benchmarks that say something on a GPU, one command on one machine with one. It has never been run.

    python -m tests.benchmarks.gpu [--device cuda] [--workers 4] [--quick]

Without a GPU it says so and ends with 2. With one it prints what the machine is, then runs, each in a process
of its own: the tests of fractions on declared GPUs, a study on the GPU against the same on the CPU, the pack
curve (B1, wall clock around synchronised work) in float32, bfloat16 and float16, and the end-to-end study
(B2) with one worker and with several on shares of the GPU. What fails is named at the end, and the rest runs.
"""

from __future__ import annotations

import argparse
import itertools
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import yaml

from search_spaces.config import Precision
from tests.benchmarks.end_to_end import run_command, study
from trainers.tasks import TASKS

PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "float16")
TOLERANCE = 5e-3
"""Relative: how far the losses of a short float32 training may lie from the CPU's."""


def machine(device: str) -> str:
    """What stands beside every figure."""
    found = torch.cuda.get_device_properties(device)
    memory = found.total_memory / 2**30
    return (
        f"{found.name}, {memory:.0f} GiB, {found.multi_processor_count} multiprocessors; torch "
        f"{torch.__version__}, CUDA {torch.version.cuda}, Python {platform.python_version()}"
    )


def agrees(device: str) -> bool:
    """Ten members on the GPU and on the CPU: the same losses, up to float32 sums in another order."""
    from tests.benchmarks.pack_curve import CASES, members
    from trainers.pack import train_pack

    good = True
    for case in CASES[:2]:
        rows = members(case, 10, 50)
        here, there = (train_pack(rows, TASKS["digits"](), device=place) for place in ("cpu", device))
        apart = max(
            abs(a.validation_loss - b.validation_loss) / abs(a.validation_loss)
            for a, b in zip(here, there, strict=True)
        )
        good = good and apart <= TOLERANCE
        print(f"GPU against CPU, {case.name}: largest relative difference of a loss {apart:.1e}", flush=True)
    return good


def kernels(device: str, repeats: int) -> None:
    """Milliseconds a step of a pack by CUDA events, which see the GPU alone, by pack size and precision."""
    from dataclasses import replace

    from tests.benchmarks.pack_curve import CASES, members
    from trainers.pack import train_pack

    case, steps = CASES[0], 200
    for precision, count in itertools.product(PRECISIONS, (1, 8, 32, 128, 512)):
        rows = [
            replace(m, config=replace(m.config, setting=replace(m.config.setting, precision=precision)))
            for m in members(case, count, steps)
        ]
        train_pack(rows, TASKS["digits"](), device=device, diagnostics="none")  # warm
        found = []
        for _ in range(repeats):
            began, ended = (torch.cuda.Event(enable_timing=True) for _ in "ab")  # type: ignore[no-untyped-call]
            began.record()
            train_pack(rows, TASKS["digits"](), device=device, diagnostics="none")
            ended.record()
            torch.cuda.synchronize()
            found.append(began.elapsed_time(ended) / steps)
        peak = torch.cuda.max_memory_allocated(device) / 2**20
        print(f"{case.name}, {precision}, {count} members: {min(found):.3f} ms a step, best of {repeats}; "
              f"{1e3 * min(found) / count:.2f} us a member; peak {peak:.0f} MiB", flush=True)  # fmt: skip
        torch.cuda.reset_peak_memory_stats(device)


def end_to_end(device: str, workers: int, trials: int) -> None:
    """One search study through the command, with shares of the GPU."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "study.yaml"
        file.write_text(yaml.safe_dump(study(0, trials, min(trials, 100), "none")))
        command = run_command(file, Path(folder) / "workspace")
        began = time.perf_counter()
        share = [f"--gpu-fraction={1 / workers}", f"--workers={workers}", f"--device={device}"]
        subprocess.run([*command, *share], check=True, stdout=subprocess.DEVNULL)
        took = time.perf_counter() - began
    print(f"B2 on the GPU, {workers} workers: {trials / took:.2f} trials/s, the command whole", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--quick", action="store_true", help="few repeats and trials: does it run at all?")
    asked = parser.parse_args()
    if not torch.cuda.is_available():
        print("no GPU here (torch.cuda.is_available() is false): nothing was measured", file=sys.stderr)
        sys.exit(2)
    print(machine(asked.device), flush=True)
    repeats, trials = (1, 100) if asked.quick else (5, 1000)
    python = [sys.executable, "-m"]
    curve = [*python, "tests.benchmarks.pack_curve", "--device", asked.device, "--repeats", str(repeats)]
    tests = [*python, "pytest", "-q", "tests/studies/test_placement.py"]
    parts: dict[str, Callable[[], object]] = {
        "placement": lambda: subprocess.run(tests, check=True),
        "agreement": lambda: _demand(agrees(asked.device)),
        "kernels": lambda: kernels(asked.device, repeats),
        "pack curve": lambda: subprocess.run(curve, check=True),
        "end to end, alone": lambda: end_to_end(asked.device, 1, trials),
        "end to end, shares": lambda: end_to_end(asked.device, asked.workers, trials),
    }
    failed = []
    for name, part in parts.items():
        print(f"\n== {name}", flush=True)
        try:
            part()
        except Exception as error:  # noqa: BLE001 - the other parts may still say something
            failed.append(name)
            print(f"{name} failed: {type(error).__name__}: {error}", flush=True)
    print(f"\nfailed: {', '.join(failed)}" if failed else "\neverything ran")
    sys.exit(bool(failed))


def _demand(good: bool) -> None:
    if not good:
        raise ValueError(f"losses differ by more than {TOLERANCE:g}")


if __name__ == "__main__":
    main()
