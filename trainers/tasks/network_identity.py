"""Which network a user's own network is: its source, what it builds, and what that gives for the first items.

An edited model must never be mixed with the results of the model before it. Comments, docstrings and layout
are no edit. Shapes and outputs are those of the library's defaults under one seed.
"""

from __future__ import annotations

import ast
import functools
import inspect
import re
import textwrap
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from search_spaces.config import digest
from search_spaces.space import complete
from trainers.tasks.network_contract import build, check_outputs, foreign, items
from trainers.tasks.task_fields import TaskFields

PROBED = 4
"""Items whose outputs are part of the hash."""
DIGITS = 3
"""To which they are compared: kernels of another processor differ in later ones."""


def identity(task: TaskFields) -> dict[str, str]:
    """Hashes of the source, the structure and a probe output of a task's own network.

    A structure or a probe that cannot be had with the library's defaults is ''; planning says why.
    """
    module = _built(task)
    return {
        "source": digest(dict(sorted(_sources(task.network, module).items()))),
        "structure": "" if module is None else digest(_structure(module)),
        "probe": "" if module is None else _probe(module, task),
    }


def tried(task: TaskFields) -> torch.nn.Module:
    """The network at the library's defaults; ValueError with what it raises."""
    config = complete({})
    assert task.network is not None
    module = build(task.network, config, task, seed=0)
    check_outputs(module, config, task)
    return module


def _built(task: TaskFields) -> torch.nn.Module | None:
    try:
        return tried(task)
    except ValueError:
        return None


def _structure(module: torch.nn.Module) -> list[Any]:
    tensors = (*module.named_parameters(), *module.named_buffers())
    shapes = [[name, *tensor.shape, str(tensor.dtype), tensor.requires_grad] for name, tensor in tensors]
    return [re.sub(r" at 0x[0-9a-f]+", "", str(module)), shapes]  # a module may print what it was given


@torch.no_grad()
def _probe(module: torch.nn.Module, task: TaskFields) -> str:
    """One number of all outputs, as text: their sum with weights that no two of them share."""
    x = items(task, PROBED, scaling="z_score")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        outputs = module.eval()(x).as_subclass(torch.Tensor).double().flatten()
    weights = torch.arange(1, len(outputs) + 1, dtype=torch.float64).sqrt()
    return f"{float((outputs * weights).sum()):.{DIGITS}g}"


def _sources(factory: object, module: torch.nn.Module | None) -> dict[str, str]:
    """Name -> text of everything of the user's that builds the network.

    That is what the factory and the classes of its modules name, and what that names in turn.
    """
    texts: dict[str, str] = {}
    waiting: list[object] = [factory, *({} if module is None else {type(m) for m in module.modules()})]
    while waiting:
        one = waiting.pop()
        if isinstance(one, functools.partial):
            arguments = {**{str(i): value for i, value in enumerate(one.args)}, **one.keywords}
            texts[f"partial {_name(one.func)}"] = repr(sorted(_plain(arguments).items()))
            waiting += [one.func, *(value for value in arguments.values() if _is_code(value))]
            continue
        if not isinstance(one, (type, types.FunctionType)):
            texts[f"object {_name(type(one))}"] = repr(sorted(_plain(getattr(one, "__dict__", {})).items()))
            one = type(one)
        assert isinstance(one, (type, types.FunctionType))
        if _of_the_user(one) and _name(one) not in texts:
            texts[_name(one)] = _text(one)
            for name, value in _named(one):
                if _is_code(value):
                    waiting.append(value)
                elif (plain := _plain({name: value})) and name not in texts:
                    texts[f"{_name(one)} {name}"] = repr(plain[name])
    return texts


def _named(one: type | types.FunctionType) -> Iterator[tuple[str, object]]:
    """What a function, or the methods and bases of a class, name of the world around them."""
    if isinstance(one, type):
        for base in one.__bases__:
            yield base.__qualname__, base
        for member in vars(one).values():
            inner = getattr(member, "__func__", getattr(member, "fget", member))
            if isinstance(inner, types.FunctionType):
                yield from _named(inner)
        return
    try:
        around = inspect.getclosurevars(one)
    except (TypeError, ValueError):
        return
    yield from around.nonlocals.items()
    yield from _globals(one.__code__, one.__globals__)
    for default in (*(one.__defaults__ or ()), *(one.__kwdefaults__ or {}).values()):
        yield "default", default


def _globals(code: types.CodeType, world: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Globals that a code, or a code within it, names."""
    for name in code.co_names:
        if name in world:
            yield name, world[name]
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield from _globals(inner, world)


def _is_code(value: object) -> bool:
    return isinstance(value, (type, types.FunctionType, functools.partial))


def _plain(values: Mapping[str, object]) -> dict[str, object]:
    """Those whose text says all of them."""

    def says(value: object) -> bool:
        if isinstance(value, (list, tuple, set, frozenset)):
            return all(map(says, value))
        if isinstance(value, dict):
            return all(says(key) and says(item) for key, item in value.items())
        return value is None or isinstance(value, (str, int, float, bool))

    return {name: sorted(value) if isinstance(value, (set, frozenset)) else value  # order is by hash
            for name, value in values.items() if says(value)}  # fmt: skip


def _of_the_user(one: type | types.FunctionType) -> bool:
    module = inspect.getmodule(one)
    file = getattr(module, "__file__", None) if module is not None else None
    if isinstance(one, types.FunctionType):
        file = one.__code__.co_filename
    return file is not None and not str(file).startswith("<") and not foreign(Path(file))


def _name(one: object) -> str:
    """Without the module: it is named after the place of the user's file."""
    return getattr(one, "__qualname__", type(one).__qualname__)


def _text(one: type | types.FunctionType) -> str:
    """The source without comments, docstrings and layout."""
    try:
        text = textwrap.dedent(inspect.getsource(one))
    except (OSError, TypeError):
        return ""  # typed into an interpreter: its structure and its outputs must do
    try:
        tree = ast.parse(text)
    except SyntaxError:  # a lambda in the middle of a line
        return " ".join(text.split())
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)):
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)
