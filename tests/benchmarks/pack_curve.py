"""B1: how much faster a member trains in a pack than alone, on one core.

    python -m tests.benchmarks.pack_curve [--repeats 5] [--steps 100] [--device cpu]

Beside every pack runs the fastest solo loop: torch.nn modules on in-memory tensors with torch.optim's
fused kernels, the same batches, the same number of steps. Solo and pack alternate, and the table shows
the median and range of the ratio of CPU seconds per member and step. On a GPU the wall clock counts,
since its work does not show as CPU time; that has never been run.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from search_spaces.config import Setting
from search_spaces.space import complete
from trainers.evaluation import Slot
from trainers.loop.pack import train_pack
from trainers.member import Member
from trainers.tasks import TASKS

PACKS = (1, 2, 4, 8, 16, 32, 64, 128)
WARM = 0.1
"""Share of the steps that are run first and not counted."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One network with one optimizer."""

    depth: int
    width: int
    batch: int
    optimizer: str

    @property
    def name(self) -> str:
        return f"{self.depth} x {self.width}, batch {self.batch}, {self.optimizer}"


CASES = [
    Case(depth=depth, width=width, batch=batch, optimizer=optimizer)
    for (depth, width, batch), optimizer in itertools.product(
        ((2, 100, 64), (20, 100, 64), (20, 32, 32), (2, 32, 32)), ("momentum", "adam")
    )
]


def members(case: Case, count: int, steps: int) -> list[Member]:
    """Members that differ in seed and learning rate."""
    setting = Setting(
        depth=case.depth, width=case.width, batch_size=case.batch, steps=steps, train_size=1000, evaluations=1
    )
    return [
        Member(
            slot=Slot(
                study="pack-curve", factor="initializer", task="digits", regime="r", block=0,
                level="he_normal", phase="retune", index=k,
            ),
            config=complete(
                {"initializer": "he_normal", "optimizer": case.optimizer},
                {"learning_rate": 1e-3 * (1 + k / count)},
                setting=setting,
            ),
            seed_index=k,
        )
        for k in range(count)
    ]  # fmt: skip


def packed(case: Case, count: int, steps: int, device: str) -> float:
    """Seconds per member and step in a pack of `count`."""
    task = TASKS["digits"]()
    few = max(1, round(WARM * steps))
    short, whole = members(case, count, few), members(case, count, few + steps)
    # What does not grow with the steps (building, the one look) is in both and cancels out.
    before = clocked(lambda: train_pack(short, task, device=device, diagnostics="none"), device)
    after = clocked(lambda: train_pack(whole, task, device=device, diagnostics="none"), device)
    return (after - before) / steps / count


def solo(case: Case, steps: int, device: str) -> float:
    """Seconds per step of one plain torch loop."""
    torch.set_num_threads(1)
    task = TASKS["digits"]()
    x = torch.as_tensor(task.x[:1000], device=device)
    y = torch.as_tensor(task.y[:1000], device=device)
    sizes = [task.n_inputs, *(case.width,) * case.depth, 10]
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    model = nn.Sequential(*layers[:-1]).to(device)
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
    if case.optimizer == "adam":
        optimizer: torch.optim.Optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    else:
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, fused=True)
    loss = nn.CrossEntropyLoss()
    per_epoch = len(x) // case.batch

    def train(count: int) -> None:
        for step in range(count):
            if step % per_epoch == 0:
                order = torch.randperm(len(x), device=device)
            rows = order[step % per_epoch * case.batch :][: case.batch]
            optimizer.zero_grad(set_to_none=True)
            loss(model(x[rows]), y[rows]).backward()
            optimizer.step()

    train(max(1, round(WARM * steps)))
    return clocked(lambda: train(steps), device) / steps


def clocked(work: Callable[[], object], device: str) -> float:
    """CPU seconds of this process, or wall seconds where a GPU does the work."""
    if device == "cpu":
        began = time.process_time()
        work()
        return time.process_time() - began
    torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--packs", type=int, nargs="+", default=PACKS)
    asked = parser.parse_args()
    print(f"torch {torch.__version__}, {asked.device}, one thread; median [range] of {asked.repeats} ratios")
    for case in CASES:
        alone: list[float] = []
        ratios: dict[int, list[float]] = {count: [] for count in asked.packs}
        for _ in range(asked.repeats):
            for count in asked.packs:
                one = solo(case, asked.steps, asked.device)
                alone.append(one)
                ratios[count].append(one / packed(case, count, asked.steps, asked.device))
        print(f"\n{case.name}: solo {1e3 * statistics.median(alone):.3f} ms a step")
        for count, found in ratios.items():
            print(
                f"  pack of {count:3d}: {statistics.median(found):5.2f} times"
                f" [{min(found):.2f}, {max(found):.2f}]",
                flush=True,
            )


if __name__ == "__main__":
    main()
