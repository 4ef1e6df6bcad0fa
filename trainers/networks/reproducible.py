"""Whether another process can draw the same initial weights of a user's own network: from the seed alone."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from search_spaces.config import Config
from trainers.tasks.network_contract import build, code_of, refused
from trainers.tasks.task import Task
from trainers.tasks.user_tasks import MODULE_PREFIX, load_user_tasks


def check_reproducible(config: Config, task: Task) -> None:
    """Builds the network twice with one seed and once with another, and if needed runs its file again.

    Weights that a network brings along, from a file or from a seed of its own, are as good as drawn ones.

    Raises:
        ValueError: two builds with one seed differ, or weights are drawn while the user's file is run.
    """
    one, again, other = (_tensors(config, task, seed) for seed in (0, 0, 1))
    if _differ(one, again):
        rule = (
            "differs between two builds with one seed: what it draws must come from torch, whose "
            "generator is set before each build"
        )
        raise refused(task, config, rule, task.network)
    if not any(_brought(tensor) and torch.equal(tensor, other[name]) for name, tensor in one.items()):
        return
    reloaded = _run_again(task)
    if reloaded is not None and _differ(one, _tensors(config, reloaded, 0)):
        rule = (
            "starts with other weights in every process: its weights are drawn when the file is imported; "
            "draw them inside the factory, whose generator is set before each build, or load them from a file"
        )
        raise refused(task, config, rule, task.network)


def _tensors(config: Config, task: Task, seed: int) -> dict[str, Tensor]:
    """Copies: a factory may return one module for ever."""
    assert task.network is not None
    module = build(task.network, config, task, seed=seed)
    tensors = (*module.named_parameters(), *module.named_buffers())
    return {name: tensor.detach().clone().nan_to_num() for name, tensor in tensors}


def _differ(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() != other.keys() or any(not torch.equal(one[name], other[name]) for name in one)


def _brought(tensor: Tensor) -> bool:
    """Whether a tensor holds more than the zeros and ones that biases and norms start with."""
    return bool(((tensor != 0) & (tensor != 1)).any())


def _run_again(task: Task) -> Task | None:
    """The task of another run of the user's file, as another process has it; None where there is no file."""
    code = code_of(task.network)
    modules = {name: m for name, m in sys.modules.items() if name.startswith(MODULE_PREFIX)}
    file = None if code is None else Path(code.co_filename).resolve()
    if not any(getattr(module, "__file__", None) == str(file) for module in modules.values()):
        return None
    numpys = np.random.get_state()  # noqa: NPY002 - the one that the user's file may draw from
    try:
        with torch.random.fork_rng(devices=[]):
            torch.seed()
            np.random.seed()  # noqa: NPY002
            return load_user_tasks(code.co_filename)[task.name]()  # type: ignore[union-attr]
    except (ValueError, KeyError):
        return None
    finally:
        np.random.set_state(numpys)  # noqa: NPY002
        sys.modules.update(modules)
