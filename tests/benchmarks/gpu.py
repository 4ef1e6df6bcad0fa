"""All benchmarks that say something on a GPU, one command on one machine with one. It has never been run.

    python -m tests.benchmarks.gpu [--device cuda] [--workers 4] [--quick] [--trainer-only] [--seconds 420]

Without a GPU it says so and ends with 2. With one it prints what the machine is, then runs the trainer's own
checks (`gpu_trainer`: right there? what do packs gain?), and after them, each in a process of its own, the
tests of fractions on declared GPUs, the pack curve (B1, wall clock around synchronised work) and the
end-to-end study (B2) with one worker and with several on shares of the GPU. What fails is named at the end,
and the rest runs. --trainer-only needs neither Ray nor Optuna; `--device cpu` rehearses it without a GPU.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from tests.benchmarks import gpu_trainer


def machine(device: str) -> str:
    """What stands beside every figure."""
    if device == "cpu":
        return f"a rehearsal on the CPU; torch {torch.__version__}, Python {platform.python_version()}"
    found = torch.cuda.get_device_properties(device)
    memory = found.total_memory / 2**30
    return (
        f"{found.name}, {memory:.0f} GiB, {found.multi_processor_count} multiprocessors; torch "
        f"{torch.__version__}, CUDA {torch.version.cuda}, Python {platform.python_version()}"
    )


def end_to_end(device: str, workers: int, trials: int) -> None:
    """One search study through the command, with shares of the GPU."""
    import yaml

    from tests.benchmarks.end_to_end import run_command, study

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "study.yaml"
        file.write_text(yaml.safe_dump(study(0, trials, min(trials, 100), "none")))
        command = run_command(file, Path(folder) / "workspace")
        began = time.perf_counter()
        share = [f"--gpu-fraction={1 / workers}", f"--workers={workers}", f"--device={device}"]
        subprocess.run([*command, *share], check=True, stdout=subprocess.DEVNULL)
        took = time.perf_counter() - began
    print(f"B2 on the GPU, {workers} workers: {trials / took:.2f} trials/s, the command whole", flush=True)


def trainer_part(name: str, device: str, seconds: float) -> None:
    """One part of the trainer's checks; ValueError if it found a fault."""
    faults = gpu_trainer.PARTS[name](device, gpu_trainer.Deadline(seconds))
    if faults:
        raise ValueError(f"{len(faults)} faults: {'; '.join(faults[:20])}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--quick", action="store_true", help="few repeats and trials: does it run at all?")
    parser.add_argument("--trainer-only", action="store_true", help="without Ray and Optuna")
    parser.add_argument("--seconds", type=float, default=420, help="for the trainer's checks together")
    asked = parser.parse_args()
    if asked.device != "cpu" and not torch.cuda.is_available():
        print("no GPU here (torch.cuda.is_available() is false): nothing was measured", file=sys.stderr)
        sys.exit(2)
    print(machine(asked.device), flush=True)
    share = asked.seconds / len(gpu_trainer.PARTS)
    parts: dict[str, Callable[[], object]] = {
        name: partial(trainer_part, name, asked.device, share) for name in gpu_trainer.PARTS
    }
    if not asked.trainer_only:
        repeats, trials = (1, 100) if asked.quick else (5, 1000)
        python = [sys.executable, "-m"]
        curve = [*python, "tests.benchmarks.pack_curve", "--device", asked.device, "--repeats", str(repeats)]
        tests = [*python, "pytest", "-q", "tests/studies/test_placement.py"]
        parts |= {
            "placement": lambda: subprocess.run(tests, check=True),
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


if __name__ == "__main__":
    main()
