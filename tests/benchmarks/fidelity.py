"""B0: is a packed member the member that would have trained alone? Asked before anything is timed.

    python -m tests.benchmarks.fidelity [--seeds 64] [--only weights|companions|accuracy|torch]

weights     every optimizer, normalization and activation, float64: largest difference of any weight between
            a member of a pack of five and the same member in a pack of its own, after 1 and 100 steps
companions  float32: the same member beside other members, and beside one that turns NaN at the second step;
            0 is equality to the bit, and 1e-6 is allowed (where a level makes matrices of odd sizes, a
            batched product may change in its last bit)
accuracy    final validation errors of 64 seeds on digits, packed against one by one, and against a plain
            loop of torch.nn and torch.optim with random numbers of its own: the 90 % interval of the
            difference must lie within 0.3 percentage points (two one-sided tests)
torch       the tests that compare the trainer with plain loops of torch.nn and torch.optim, step by step
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from search_spaces.catalog import FACTORS
from search_spaces.config import Setting
from search_spaces.space import complete
from tests.benchmarks.peers.digits_network import BATCH, EPOCHS, WIDTH, Point, epochs, in_memory
from tests.trainers.packs import TINY, blobs, member
from trainers.evaluation import Slot
from trainers.loop.pack import _Training, train_pack
from trainers.loop.single_thread import single_threaded
from trainers.member import Member
from trainers.tasks import TASKS

ASKED = ("optimizer", "normalization", "activation")
ONE_STEP, MANY_STEPS = 1e-9, 1e-6
"""Largest difference of a weight allowed, after 1 and after 100 steps."""
LAST_BIT = 1e-6
"""Largest difference of a float32 weight that other companions may make in 20 steps."""
MARGIN = 0.3
"""Percentage points of error that count as equal."""
STEPS_AN_EPOCH = 16
AGAINST_TORCH = (
    "tests/trainers/test_against_torch.py",
    "tests/trainers/test_updates_against_torch.py",
    "tests/trainers/test_hidden_layers_against_torch.py",
)


def weights_after(
    members: Sequence[Member], spoilt: int | None = None
) -> tuple[NDArray[np.float64], list[str]]:
    """The last weights [K, P] of a pack, and how each member ended; `spoilt` turns NaN at the second step."""
    with single_threaded(), torch.random.fork_rng(devices=[]):
        training = _Training(members, blobs(), torch.device("cpu"), "none")
        if spoilt is not None:
            _spoil(training, spoilt)
        found = training.run(None)
        last = training.full_stack.holding(*training.log.last(training.stack))
    return last.params_SP.double().numpy(), [evaluation.status for evaluation in found]


def _spoil(training: _Training, which: int) -> None:
    step = training._step

    def spoiling(number: int, scale_K: torch.Tensor) -> torch.Tensor:
        if number == 1:
            training.stack.params_SP[which] = math.nan
        return step(number, scale_K)

    setattr(training, "_step", spoiling)  # noqa: B010


def company(factor: str, level: str, setting: Setting, first: int = 0) -> list[Member]:
    """Five members of a structure that differ in start, schedule, rate, dropout, clipping and block."""
    starts = ("he_normal", "glorot_uniform", "torch_default", "lecun_normal", "orthogonal")
    schedules = ("constant", "one_cycle", "cosine", "performance", "exponential")
    return [
        member(
            levels={
                "optimizer": "adam",
                "initializer": starts[k],
                "schedule": schedules[k],
                "dropout": "dropout" if k % 2 else "none",
                "clipping": "norm" if k % 3 == 0 else "none",
                factor: level,
            },
            numbers={"learning_rate": 0.002 * (k + 1)},
            setting=setting,
            index=first + k,
            block=k % 2,
        )
        for k in range(5)
    ]


def weights() -> list[str]:
    """Packed against alone; the names of what fails."""
    failed = []
    print(
        f"{'float64, 5 members, 3 x 33 units':42} {'1 step':>9} {'100 steps':>10} {'on a way of':>12}",
        flush=True,
    )
    for factor in ASKED:
        for level in FACTORS[factor].names:
            worst, reached = [], []
            for steps in (1, 100):
                setting = dataclasses.replace(TINY, depth=3, width=33, steps=steps, evaluations=1)
                rows = company(factor, level, setting)
                together, _ = weights_after(rows)
                alone = np.concatenate([weights_after([row])[0] for row in rows])
                worst.append(float(np.abs(together - alone).max()))
                reached.append(together)
            way = float(np.abs(reached[1] - reached[0]).max())
            good = worst[0] <= ONE_STEP and worst[1] <= MANY_STEPS
            failed += [] if good else [f"weights of {factor}={level}"]
            told = f"{worst[0]:9.1e} {worst[1]:10.1e} {way:12.2f}  {_word(good)}"
            print(f"{factor + '=' + level:42} {told}", flush=True)
    return failed


def companions() -> list[str]:
    """Other members, and a member that turns NaN; the names of what fails."""
    failed = []
    setting = dataclasses.replace(TINY, precision="float32", width=16, batch_size=16, evaluations=2)
    print(f"{'float32, 5 members, 2 x 16 units, 20 steps':42} {'others':>9} {'a NaN':>10}", flush=True)
    for factor in ASKED:
        for level in FACTORS[factor].names:
            rows, strangers = (company(factor, level, setting, first) for first in (0, 90))
            together, _ = weights_after(rows)
            elsewhere, _ = weights_after([*strangers[:2], rows[2], *strangers[3:]])
            loud, ends = weights_after(rows, spoilt=1)
            kept = [0, 2, 3, 4]
            other = float(np.abs(together[2] - elsewhere[2]).max())
            beside = float(np.abs(together[kept] - loud[kept]).max())
            good = max(other, beside) <= LAST_BIT and ends[1] == "diverged"
            failed += [] if good else [f"companions of {factor}={level}"]
            print(f"{factor + '=' + level:42} {other:9.1e} {beside:10.1e}  {_word(good)}", flush=True)
    return failed


def accuracy(seeds: int) -> list[str]:
    """Validation errors of so many seeds, three ways; the names of what fails."""
    rows = [digits_member(seed) for seed in range(seeds)]
    task = TASKS["digits"]()
    packed = [100 * found.validation_metric for found in train_pack(rows, task, diagnostics="none")]
    alone = [100 * train_pack([row], task, diagnostics="none")[0].validation_metric for row in rows]
    plain = [100 * plain_error(seed) for seed in range(seeds)]
    print(f"digits, 64-100-100-10, {EPOCHS} epochs, {seeds} seeds: validation error in %, mean (SD)")
    for name, found in (("packed", packed), ("one by one", alone), ("plain torch", plain)):
        print(f"  {name:12} {statistics.fmean(found):.3f} ({statistics.stdev(found):.3f})")
    differences = [a - b for a, b in zip(packed, alone, strict=True)]
    half = stats.t.ppf(0.95, seeds - 1) * statistics.stdev(differences) / seeds**0.5
    good = _interval("packed - one by one, paired", statistics.fmean(differences), half)
    error = math.hypot(statistics.stdev(packed), statistics.stdev(plain)) / seeds**0.5
    # With equal numbers the degrees of freedom are at least seeds - 1.
    half = stats.t.ppf(0.95, seeds - 1) * error
    same = _interval("packed - plain torch", statistics.fmean(packed) - statistics.fmean(plain), half)
    return [name for name, ok in (("accuracy", good), ("accuracy against torch", same)) if not ok]


def _interval(name: str, middle: float, half: float) -> bool:
    good = bool(max(abs(middle - half), abs(middle + half)) <= MARGIN)
    print(f"  {name}: {middle:+.3f} points, 90 % interval {middle - half:+.3f} to {middle + half:+.3f}"
          f"  {_word(good)}", flush=True)  # fmt: skip
    return good


def digits_member(seed: int) -> Member:
    """One seed of the benchmark's network."""
    setting = Setting(
        depth=2, width=WIDTH, batch_size=BATCH, steps=EPOCHS * STEPS_AN_EPOCH, evaluations=EPOCHS,
        train_size=1079,
    )  # fmt: skip
    slot = Slot(study="end-to-end", factor="initializer", task="digits", regime="r", block=0,
                level="he_normal", phase="retune", index=seed)  # fmt: skip
    levels = {"initializer": "he_normal", "activation": "relu", "optimizer": "momentum"}
    config = complete(levels, {"learning_rate": 0.02}, setting=setting)
    return Member(slot=slot, config=config, seed_index=seed)


def plain_error(seed: int) -> float:
    """The same training written in plain PyTorch."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    point = Point(initializer="he_normal", activation="relu", optimizer="momentum", learning_rate=0.02,
                  weight_decay=0.0, dropout_rate=0.0)  # fmt: skip
    return min(epochs(point, in_memory))


def against_torch() -> list[str]:
    """Step by step against plain loops: the tests that do it; the files if one fails."""
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--no-header", *AGAINST_TORCH],
        stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    print(f"plain loops of torch.nn and torch.optim: {ran.stdout.strip().splitlines()[-1]}", flush=True)
    return ["tests against torch"] if ran.returncode else []


def _word(good: bool) -> str:
    return "pass" if good else "FAIL"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=64)
    parser.add_argument("--only", choices=("weights", "companions", "accuracy", "torch"))
    asked = parser.parse_args()
    parts: dict[str, Callable[[], list[str]]] = {
        "weights": weights,
        "companions": companions,
        "accuracy": lambda: accuracy(asked.seeds),
        "torch": against_torch,
    }
    failed = [name for part, run in parts.items() if asked.only in (None, part) for name in run()]
    print(f"B0 fails: {', '.join(failed)}" if failed else "B0 passes")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
