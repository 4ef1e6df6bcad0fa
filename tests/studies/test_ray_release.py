"""What an exception on its way out and a controller that is done still hold (for real: `test_end_of_ray`)."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace

import pytest

from studies.execution.ray_release import clear_frames, take_apart


class Handle:
    """Stands for a worker's."""


def test_an_exception_holds_nothing_of_the_frames_that_it_and_its_causes_came_through() -> None:
    seen: list[weakref.ref[Handle]] = []

    def first() -> None:
        handle = Handle()
        seen.append(weakref.ref(handle))
        raise OSError("the disk is full")

    def second() -> None:
        handle = Handle()
        seen.append(weakref.ref(handle))
        try:
            first()
        except OSError as error:
            raise RuntimeError("not written") from error

    gc.disable()
    try:
        with pytest.raises(RuntimeError, match="not written") as caught:
            second()
        assert [ref() is None for ref in seen] == [False, False]
        clear_frames(caught.value)
        assert [ref() is None for ref in seen] == [True, True]
        assert caught.value.__traceback__ is not None and caught.value.__cause__ is not None
    finally:
        gc.enable()


def test_a_controller_that_is_done_holds_neither_its_actors_nor_its_trials() -> None:
    manager, trial, controller = SimpleNamespace(), SimpleNamespace(), SimpleNamespace()
    handles = [Handle(), Handle(), Handle()]
    manager.actor, trial.result, controller.own = handles
    controller._actor_manager, controller._trials, controller.me = manager, [trial], controller
    seen = [weakref.ref(handle) for handle in handles]
    handles.clear()
    gc.disable()
    try:
        take_apart(controller)  # while manager and trial are held by others, as by a callback
        assert [ref() for ref in seen] == [None, None, None]
    finally:
        gc.enable()
