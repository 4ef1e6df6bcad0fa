"""What a user's own network is given and must give back; whatever else it does is one message saying so."""

from __future__ import annotations

import functools
import re
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import search_spaces
from search_spaces.config import Config
from trainers.tasks.input_scaling import Scaling
from trainers.tasks.task_fields import NetworkFactory, TaskFields
from trainers.tensors.precision import autocast, element_type

ITEMS = 2
"""Items that a module is tried on when it is built."""
SCALED_BY = 256
"""Items whose numbers scale those; a training takes all that it has."""
LONGEST = 300
"""Characters of what a network raises that a message holds."""
OF_NO_USE = "If you are a Facebook employee"
"""Begins the sentence of torch's after which nothing concerns a user."""
NEVER_A_MEMBERS: dict[type, str] = {
    torch.jit.ScriptModule: "is compiled by torch.jit, which keeps its parameters to itself",
    torch.nn.DataParallel: "spreads its items over devices",
    torch.nn.parallel.DistributedDataParallel: "spreads its items over processes",
}
"""Modules whose parameters cannot be replaced by a member's -> why, in a message."""

OURS = Path(search_spaces.__file__).parents[1]
TORCH = Path(torch.__file__).parent


def contract(task: TaskFields, config: Config) -> str:
    """What a network is given and must return on this task, in one sentence."""
    dtype = str(element_type(config.setting.precision)).removeprefix("torch.")
    if task.inputs == "tokens":
        described = (
            f"int64 [batch, {task.n_inputs}], whole numbers from 0 to {int(task.x.max())}, as they are"
        )
    else:
        scaling = config.levels["input_scaling"]
        scaled = {"raw": "as they are", "min_max": "each feature in [-1, 1]"}
        words = scaled.get(scaling, "each feature of mean 0 and SD 1")
        described = f"{dtype} [batch, {task.n_inputs}], {words} (input_scaling={scaling})"
    meaning = "a score for each class" if task.kind == "classification" else "the standardized target"
    wanted = f"one tensor [batch, {task.n_outputs}] of finite {dtype} numbers, {meaning}"
    return f"It is given x: {described}; it must return {wanted}"


def build(factory: NetworkFactory, config: Config, task: TaskFields, *, seed: int) -> torch.nn.Module:
    """The factory's module on the CPU, its own draws from `seed`; lazy layers have their shapes.

    Raises:
        ValueError: the factory fails, returns no module, or one that has nothing to train or that lies
            where its numbers cannot be read; one message with the task, the place and the contract.
    """
    with torch.random.fork_rng(devices=[]), reported(task, config, "cannot be built"):
        torch.manual_seed(seed)
        module: Any = factory(task.n_inputs, task.n_outputs, config)
        if isinstance(module, torch.nn.Module) and any(map(_lazy, module.parameters())):
            # A lazy layer takes its shape, and its draws, from the first items that it sees.
            with torch.no_grad():
                module.eval()(items(task, ITEMS).to(_first_type(module, task)))
    if not isinstance(module, torch.nn.Module):
        raise refused(task, config, f"returned {type(module).__name__}, not a torch module", factory)
    _check_kind(module, task, config)
    _check_parameters(module, task, config)
    return module.cpu()


def check_outputs(module: torch.nn.Module, config: Config, task: TaskFields, *, finite: bool = False) -> None:
    """ValueError unless the module gives what the contract asks, from parameters of the study's precision.

    Whether it is `finite` is asked before a study begins; in the course of one it is a member's own affair.
    """
    setting = config.setting
    types = {str(p.dtype).removeprefix("torch.") for p in module.parameters()}
    dtype = element_type(setting.precision)
    word = str(dtype).removeprefix("torch.")
    changed = sorted(types - {word})
    hint = f" (its parameters are {', '.join(changed)}, and precision {setting.precision} makes them {word})"
    module.to(dtype)
    x = items(task, ITEMS, scaling=config.levels["input_scaling"])
    x = x if task.inputs == "tokens" else x.to(dtype)
    with torch.random.fork_rng(devices=[]), torch.no_grad(), autocast(setting.precision, x.device):
        torch.manual_seed(0)
        with reported(task, config, "fails on items" + (hint if changed else "")):
            output = module.eval()(x)
            if isinstance(output, Tensor):
                output = output.as_subclass(Tensor)  # one of the user's own kind may refuse anything
    if not isinstance(output, Tensor):
        raise refused(task, config, f"returns {_kind(output)}, not one tensor", module)
    if tuple(output.shape) != (ITEMS, task.n_outputs):
        shape, wanted = tuple(output.shape), (ITEMS, task.n_outputs)
        raise refused(task, config, f"maps {ITEMS} items to {shape}; it must be {wanted}", module)
    if not output.dtype.is_floating_point or (output.dtype.itemsize > dtype.itemsize):
        described = str(output.dtype).removeprefix("torch.")
        raise refused(task, config, f"returns {described} numbers with precision {setting.precision}", module)
    if finite and output.dtype == dtype and not bool(torch.isfinite(output).all()):
        raise refused(task, config, "gives NaN or infinite numbers before anything is trained", module)


def items(task: TaskFields, count: int, *, scaling: str = "raw") -> Tensor:
    """The first items as a network is given them, scaled by the first few of them."""
    if task.inputs == "tokens":
        return torch.as_tensor(task.x[:count]).long()
    few = np.arange(min(len(task.y), SCALED_BY))
    return torch.from_numpy(Scaling.of(task, few, scaling).items(task, few[:count])).float()


@contextmanager
def reported(task: TaskFields, config: Config, what: str) -> Iterator[None]:
    """Within it the user's code runs: what it raises becomes one ValueError."""
    try:
        yield
    except (Exception, SystemExit) as error:
        text = _shortened(str(error))
        what = f"{what}: {type(error).__name__}{f': {text}' if text else ''}"
        raise refused(task, config, what, error) from error


def _shortened(text: str) -> str:
    """The first sentences that fit into `LONGEST`; of a single longer one as many words. Torch says much."""
    sentences = re.split(r"(?<=[.!?])\s+(?=[A-Z'\"])", " ".join(text.split()))
    short = sentences[0]
    for sentence in sentences[1:]:
        if len(short) + 1 + len(sentence) > LONGEST or sentence.startswith(OF_NO_USE):
            break
        short += f" {sentence}"
    return short if len(short) <= LONGEST else f"{_words(short)} ..."


def _words(text: str) -> str:
    """Whole words of at most `LONGEST` characters; of one longer word so many."""
    begun = text[: LONGEST + 1]
    return begun.rpartition(" ")[0] or text[:LONGEST]


def refused(task: TaskFields, config: Config, what: str, where: object) -> ValueError:
    """The one message: task, what is wrong, file and line, contract.

    `where` is the exception that was raised, or the module or the factory that is wrong.
    """
    place = _raised(where) if isinstance(where, BaseException) else _defined(where)
    place = place or _defined(task.network)
    at = f" ({place})" if place else ""
    return ValueError(f"task '{task.name}': its network {what}{at}. {contract(task, config)}")


def code_of(factory: object) -> types.CodeType | None:
    """The code that builds a network, be it a function, a class, a partial or an object that is called."""
    if isinstance(factory, functools.partial):
        return code_of(factory.func)
    if isinstance(factory, type):
        factory = factory.__init__  # type: ignore[misc]
    called = factory if hasattr(factory, "__code__") else vars(type(factory)).get("__call__")
    code = getattr(called, "__code__", None)
    return code if isinstance(code, types.CodeType) else None


def _check_kind(module: torch.nn.Module, task: TaskFields, config: Config) -> None:
    for part in module.modules():
        for kind, why in NEVER_A_MEMBERS.items():
            if isinstance(part, kind):
                what = f"{why} ({type(part).__name__}): return the torch module itself"
                raise refused(task, config, what, module)


def _check_parameters(module: torch.nn.Module, task: TaskFields, config: Config) -> None:
    parameters = dict(module.named_parameters())
    if not parameters:
        raise refused(task, config, "has no parameters: there is nothing to train", module)
    for name, tensor in (*parameters.items(), *module.named_buffers()):
        if tensor.device.type == "meta":
            raise refused(task, config, f"has '{name}' on device meta, without numbers", module)
        if tensor.dtype.is_complex:
            raise refused(task, config, f"has '{name}' of complex numbers", module)
    if not any(p.requires_grad for p in parameters.values()):
        rule = "has frozen parameters only (requires_grad=False): there is nothing to train"
        raise refused(task, config, rule, module)


def _first_type(module: torch.nn.Module, task: TaskFields) -> torch.dtype:
    """What lazy layers are fed at first: what they will keep their numbers in."""
    return torch.int64 if task.inputs == "tokens" else next(module.parameters()).dtype


def _lazy(parameter: object) -> bool:
    return isinstance(parameter, (torch.nn.UninitializedParameter, torch.nn.UninitializedBuffer))


def _kind(output: object) -> str:
    if isinstance(output, (tuple, list)):
        parts = ", ".join(type(part).__name__ for part in output[:4])
        return f"a {type(output).__name__} ({parts})"
    if isinstance(output, dict):
        return f"a dict ({', '.join(map(str, list(output)[:4]))})"
    return type(output).__name__


def _raised(error: BaseException) -> str:
    """File and line of the innermost frame of the user's own code."""
    trace, place = error.__traceback__, ""
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith("<") and not foreign(Path(file)):
            place = f"{file}, line {trace.tb_lineno}"
        trace = trace.tb_next
    return place


def _defined(thing: object) -> str:
    """File and line where a module's forward, or a factory, begins."""
    code = code_of(thing)
    if isinstance(thing, torch.nn.Module):
        code = getattr(getattr(type(thing), "forward", None), "__code__", None)
    if code is None or foreign(Path(code.co_filename)):
        return ""
    return f"{code.co_filename}, line {code.co_firstlineno}"


def foreign(file: Path) -> bool:
    """Whether a file is torch's, Python's or one of this program's rooms."""
    if TORCH in file.parents or "site-packages" in file.parts:
        return True
    rooms = (OURS / room for room in ("search_spaces", "trainers", "reports", "studies"))
    return any(folder in file.parents for folder in (*rooms, Path(functools.__file__).parent))
