"""Collects a pack's diagnostics while it trains; what it reads changes nothing of the training.

Shape letters: K members, B items, F features, P flat parameters, L hidden layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from search_spaces.factor import rounded
from trainers.diagnostics.calibration import HeldOutView, trivial_loss
from trainers.diagnostics.instruments import INSTRUMENTS, REDUCED, Moment, Snapshot
from trainers.diagnostics.names import EXPLODED
from trainers.networks.network import Network
from trainers.tasks.task import Task

KEPT = 256
"""Steps whose losses are kept until they are reduced together: one by one took 0.15 ms a step."""


class Recorder:
    """The diagnostics of one pack. Every method takes what is true at its moment and keeps numbers [K]."""

    def __init__(
        self,
        network: Network,
        task: Task,
        *,
        numbers: Mapping[str, Tensor],
        autocast: Callable[[], AbstractContextManager[object]],
    ):
        self._network, self._task, self._numbers, self._autocast = network, task, numbers, autocast
        self._values: dict[str, Tensor] = {}
        self._batch: tuple[Tensor, Tensor] | None = None
        self._losses: list[Tensor] = []
        self._steps = 0
        self._first_K: Tensor | None = None
        self._largest_K = self._exploded_K = torch.empty(0)

    # -- while it trains ---------------------------------------------------------------------

    @torch.no_grad()
    def begin(self, params_KP: Tensor, buffers_KP: Tensor, x_KBF: Tensor, y_KB: Tensor) -> None:
        """Before the first step, with its batch, which the end is measured on too."""
        self._batch = (x_KBF, y_KB)
        self._measure("init", params_KP, buffers_KP)

    def loss(self, losses_K: Tensor) -> None:
        """The training losses of one more step; the tensor is kept."""
        self._losses.append(losses_K)
        if len(self._losses) == KEPT:
            self._digest()

    def _digest(self) -> None:
        """Notes the largest loss so far, and where it first left all bounds, of the losses kept."""
        if not self._losses:
            return
        losses_TK = torch.stack(self._losses)
        self._losses.clear()
        if self._first_K is None:
            self._first_K = losses_TK[0]
            self._largest_K = self._first_K
            self._exploded_K = torch.zeros_like(self._first_K)
        # A loss that is not a number fails the comparison, and fmax passes it over.
        wild_TK = ~(losses_TK <= EXPLODED * self._first_K)
        first_K = wild_TK.int().argmax(0) + self._steps + 1
        fresh_K = wild_TK.any(0) & (self._exploded_K == 0)
        self._exploded_K = torch.where(fresh_K, first_K.to(losses_TK.dtype), self._exploded_K)
        finite_TK = losses_TK.nan_to_num(nan=0.0, posinf=torch.inf)
        self._largest_K = torch.fmax(self._largest_K, finite_TK.amax(0))
        self._steps += len(losses_TK)

    @torch.no_grad()
    def moved(self, before_KP: Tensor, after_KP: Tensor, buffers_KP: Tensor) -> None:
        """The step at the validation nearest the middle of the training."""
        self._measure("half", after_KP, buffers_KP, before_KP)

    # -- afterwards --------------------------------------------------------------------------

    @torch.no_grad()
    def end(self, params_KP: Tensor, buffers_KP: Tensor) -> None:
        """Every member after its own last step."""
        self._measure("end", params_KP, buffers_KP)

    def fitted(self, train_loss_K: Tensor, validation_loss_K: Tensor, y_KV: Tensor) -> None:
        """Losses at the last step, the first of the training items with targets `y_KV`."""
        classes = self._task.n_outputs if self._task.kind == "classification" else None
        self._values["end.train_loss"] = train_loss_K
        self._values["end.validation_loss"] = validation_loss_K
        self._values["end.gap"] = validation_loss_K - train_loss_K
        self._values["trivial_loss"] = trivial_loss(y_KV, classes)

    def held_out(self, name: str, view: HeldOutView, y_KV: Tensor) -> None:
        """What the best validation checkpoint gave for the 'validation' or 'test' items."""
        if (dead_K := view.dead_units()) is not None:
            self._values["best.dead_units"] = dead_K
        if self._task.kind == "classification" and (found := view.calibration(y_KV)):
            self._values[f"best.{name}_nll"], self._values[f"best.{name}_ece"] = found

    def per_member(self) -> list[dict[str, float]]:
        """Name -> number of every member, at 6 significant digits."""
        self._digest()
        if self._first_K is not None:
            self._values["loss.largest"] = self._largest_K / self._first_K
            self._values["loss.exploded_at"] = torch.where(self._exploded_K > 0, self._exploded_K, math.nan)
        rows: list[dict[str, float]] = []
        for name, tensor in self._values.items():
            values = shortened(tensor.double().cpu().numpy())
            rows = rows or [{} for _ in values]
            layered = values.ndim == 2
            keys = [f"{name}{i:02d}" for i in range(1, values.shape[1] + 1)] if layered else [name]
            for row, numbers in zip(rows, values.reshape(len(values), -1).tolist(), strict=True):
                row.update(zip(keys, numbers, strict=True))
                if layered:
                    row.update(_summary(name.removesuffix(".layer"), numbers))
        return [{name: value for name, value in row.items() if value == value} for row in rows]

    def _measure(
        self, moment: Moment, params_KP: Tensor, buffers_KP: Tensor, before_KP: Tensor | None = None
    ) -> None:
        """All instruments of a moment, in the order of their rows."""
        assert self._batch is not None
        snapshot = Snapshot(
            network=self._network,
            kind=self._task.kind,
            numbers=self._numbers,
            params_KP=params_KP,
            buffers_KP=buffers_KP,
            x_KBF=self._batch[0],
            y_KB=self._batch[1],
            autocast=self._autocast,
            before_KP=before_KP,
        )
        for row in INSTRUMENTS:
            if moment in row.moments:
                self._values |= {f"{moment}.{name}": value for name, value in row.measure(snapshot).items()}


def shortened(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values at 6 significant digits, so that a record does not depend on the last bit."""
    with np.errstate(all="ignore"):
        places = 5 - np.floor(np.log10(np.abs(values)))
        scale = 10.0 ** np.abs(places)
        short = np.where(places >= 0, np.rint(values * scale) / scale, np.rint(values / scale) * scale)
    return np.where(np.isfinite(short), short, values)


def _summary(profile: str, values: list[float]) -> dict[str, float]:
    """The one number that sums up a profile over layers, if there is one."""
    moment, _, name = profile.partition(".")
    if name not in REDUCED:
        return {}
    summary, reduce = REDUCED[name]
    value = reduce(values)
    return {} if value is None else {f"{moment}.{summary}": rounded(value)}
