"""What a study file may ask for is estimated as large as it is: held against what a training takes."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from search_spaces.config import Setting
from search_spaces.networks import NETWORKS
from search_spaces.overrides import Overrides
from search_spaces.space import complete
from studies.spec.limits import COPIES, member_bytes
from trainers.networks import StackNetwork, network_for
from trainers.tasks.task import Task

WIDTHS = {"mlp": 1800, "cnn": 600, "rnn": 1050}
"""Of nearly as many weights."""
MEASURE = """
import sys
import torch
from search_spaces.config import Setting
from search_spaces.networks import NETWORKS
from tests.studies.test_spec_limits import sequences
from tests.trainers.packs import member
from trainers.loop.pack import train_pack

network, depth, width = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(1)

def peak(width):
    small = {"batch_size": 2, "steps": 3, "train_size": 20, "evaluations": 1}
    setting = Setting(network=network, depth=depth, width=width, **small)
    train_pack([member(setting=setting, levels={"optimizer": "adam"})], sequences(), diagnostics="none")
    # Of this program alone: the peak that getrusage tells begins at that of the process that started it.
    (line,) = [one for one in open("/proc/self/status") if one.startswith("VmHWM:")]
    return 1024 * int(line.split()[1])

before = peak(8)
print(peak(width) - before)
"""


def sequences() -> Task:
    """Few items, so that hidden weights are nearly all of the memory."""
    x = np.random.default_rng(0).normal(size=(60, 4, 4, 1))
    return Task.from_arrays(x, np.arange(60) % 2, kind="classification", name="few")


def size(network: str, depth: int, width: int) -> int:
    setting = Setting(network=network, depth=depth, width=width, batch_size=2)
    return member_bytes(setting, Overrides(setting={}))


@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize("network", NETWORKS)
def test_hidden_weights_are_counted_as_the_network_has_them(network: str, depth: int) -> None:
    setting = Setting(network=network, depth=depth, width=256, batch_size=2)
    built = network_for(complete({"activation": "tanh"}, {}, setting=setting), sequences())
    assert isinstance(built, StackNetwork)
    hidden = {one.name for layer in built.layers[:-1] for one in layer.maps if not one.reads_items}
    weights = sum(math.prod(segment.shape) for segment in built.parameters.segments if segment.name in hidden)
    kept = 4 * 2 * 2 * 256 * depth  # of a batch
    assert size(network, depth, 256) == 4 * COPIES * weights + kept


def test_networks_are_estimated_alike_against_what_their_training_takes() -> None:
    """The peak holds a step's own copies too, so that it is a multiple of the estimate: the same for all."""
    times = {}
    for network, width in WIDTHS.items():
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, network, "2", str(width)],
            cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True,
        )  # fmt: skip
        times[network] = int(done.stdout) / size(network, 2, width)
    assert all(2 < found < 6 for found in times.values()), times
    assert max(times.values()) < 1.5 * min(times.values()), times
