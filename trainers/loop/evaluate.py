"""What members are judged by: metric and loss on held-out items.

Shape letters: K members of the pack, S members of a stack.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from trainers.loop.feed import HeldOut
from trainers.loop.stack import Stack
from trainers.loop.structure import judged_at_once
from trainers.losses import member_losses, wrongness
from trainers.networks.network import ForwardPass, Watch
from trainers.tasks.task import Task


class Evaluator:
    """Judges stacks of one pack's members on items of their own data source."""

    def __init__(self, task: Task, source_K: Tensor, autocast: Callable[[], AbstractContextManager[object]]):
        """`source_K` says whose items each member is judged on."""
        self._kind, self._source_K, self._autocast = task.kind, source_K, autocast

    @torch.no_grad()
    def evaluate(self, stack: Stack, held_out: HeldOut, watch: Watch | None = None) -> tuple[Tensor, Tensor]:
        """Metric [S] and loss [S] of the stack's parameters as they are."""
        how = ForwardPass(training=False, numbers=stack.numbers, watch=watch)
        count = held_out.y_RV.shape[1]
        dtype = stack.params_SP.dtype
        metric_S = torch.zeros(len(stack.rows_S), dtype=dtype, device=stack.params_SP.device)
        loss_S = torch.zeros_like(metric_S)
        source_S = self._source_K[stack.rows_S]

        def of_each(rows_RV: Tensor) -> Tensor:
            """Each member's source; nothing is copied where all have the same."""
            return (
                rows_RV.expand(len(source_S), *rows_RV.shape[1:]) if len(rows_RV) == 1 else rows_RV[source_S]
            )

        at_once = judged_at_once(stack.network)
        for start in range(0, count, at_once):
            x, y = (of_each(rows[:, start : start + at_once]) for rows in (held_out.x_RVF, held_out.y_RV))
            with self._autocast():
                outputs = stack.network.forward(stack.parameters, stack.buffers, x, how).to(dtype)
            loss_S += member_losses(outputs, y, self._kind) * y.shape[1]
            metric_S += wrongness(outputs, y, self._kind)
        metric_S /= count
        if self._kind == "regression":
            metric_S = metric_S.sqrt()
        return metric_S, loss_S / count
