"""The user's own tasks: a Python file whose list `TASKS` holds functions that return a Task.

On a cluster the file itself travels with the study; data beside it do not. Name them by a shared path or an
address in an object store, with their hash: `trainers.tasks.download.fetched`.
"""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from trainers.tasks import TASKS
from trainers.tasks.task import Task, TaskBook, TaskBuilder

TaskSource = str | Path | Mapping[str, TaskBuilder]
"""A file of tasks, or the functions themselves by the name of the task that each returns."""

MODULE_PREFIX = "groundrules_user_tasks_"
"""Begins the name of the module that a file of tasks becomes: by it a traceback tells the user's code."""


def load_user_tasks(path: str | Path) -> dict[str, TaskBuilder]:
    """The tasks of a file by name, each built once already (their names are theirs to say).

    The file is run under a module name of its own and its folder is not put on the import path: a
    `trainers/` or `reports/` folder beside it shadows nothing of ours. It may import whatever is
    installed, but no files beside it.

    Raises:
        ValueError: no such file, the file fails to run, it has no list TASKS of functions without
            arguments, a function fails or returns no Task, or two tasks share a name. One message,
            naming the file and what it should hold.
    """
    file = Path(path)
    functions = getattr(_run(file), "TASKS", None)
    if not isinstance(functions, (list, tuple)):
        had = "no TASKS" if functions is None else f"TASKS of type {type(functions).__name__}"
        raise ValueError(
            f"{file} has {had}; it must hold a list TASKS of functions that return a trainers Task"
        )
    if not functions:
        raise ValueError(
            f"{file}: the list TASKS is empty; it must hold functions that return a trainers Task"
        )
    book: dict[str, TaskBuilder] = {}
    said_by: dict[str, str] = {}
    for i, function in enumerate(functions):
        where = f"TASKS[{i}]"
        if not callable(function):
            hint = "; write the function itself, without calling it" if isinstance(function, Task) else ""
            raise ValueError(f"{file}: {where} is {type(function).__name__}, not a function{hint}")
        where += f" ({getattr(function, '__name__', type(function).__name__)})"
        task = _build(function, file, where)
        if task.name in book:
            raise ValueError(f"{file}: {said_by[task.name]} and {where} both name their task '{task.name}'")
        book[task.name], said_by[task.name] = functools.partial(_same, task), where
    return book


def task_book(tasks_from: TaskSource | None) -> TaskBook:
    """The shipped tasks, and the user's where a file or functions are given.

    Raises:
        ValueError: what `load_user_tasks` refuses, or a task of the user's with a shipped task's name.
    """
    if tasks_from is None:
        return TASKS
    own = tasks_from if isinstance(tasks_from, Mapping) else load_user_tasks(tasks_from)
    for name in own:
        if name in TASKS:
            origin = "" if isinstance(tasks_from, Mapping) else f"{tasks_from}: "
            raise ValueError(f"{origin}a task named '{name}' ships already; choose another name")
    return {**TASKS, **own}


def _run(file: Path) -> ModuleType:
    """The module that the file's code makes.

    It stays in `sys.modules` (dataclasses and pickle look classes up there), and no bytecode is kept
    beside the file: an edit within a second would be missed.
    """
    if not file.is_file():
        raise ValueError(f"no file {file}; --tasks-from needs a Python file with a list TASKS")
    name = f"{MODULE_PREFIX}{hashlib.blake2b(str(file.resolve()).encode(), digest_size=6).hexdigest()}"
    module = ModuleType(name)
    module.__file__ = str(file.resolve())
    before = sys.modules.get(name)
    sys.modules[name] = module
    try:
        exec(compile(file.read_bytes(), str(file), "exec", dont_inherit=True), module.__dict__)
    except (Exception, SystemExit) as error:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before
        raise ValueError(f"{file} does not run: {_said(error, file)}{_hint(error, file)}") from error
    return module


def _build(function: Callable[[], Any], file: Path, where: str) -> Task:
    try:
        task = function()
    except (Exception, SystemExit) as error:
        raise ValueError(f"{file}: {where} fails: {_said(error, file)}") from error
    if not isinstance(task, Task):
        raise ValueError(f"{file}: {where} returns {type(task).__name__}; it must return a trainers Task")
    return task


def _same(task: Task) -> Task:
    return task


def _said(error: BaseException, file: Path) -> str:
    """The error in one line, with the last line of the user's file that led to it."""
    line = error.lineno if isinstance(error, SyntaxError) else None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(file):
            line = trace.tb_lineno
        trace = trace.tb_next
    text = error.msg if isinstance(error, SyntaxError) else " ".join(str(error).split())
    kind = type(error).__name__
    return (f"line {line}: " if line else "") + (f"{kind}: {text}" if text else kind)


def _hint(error: BaseException, file: Path) -> str:
    """What to do about an import of a file that lies beside this one."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        beside = file.parent / error.name.split(".")[0]
        if beside.is_dir() or beside.with_suffix(".py").is_file():
            return f"; files beside {file.name} are not imported, install '{error.name}' or move its code in"
    return ""
