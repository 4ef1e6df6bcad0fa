"""What validation leaves behind: curves, divergence, the best parameters, early stops, reduced rates.

Shape letters: K members, P flat parameters.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from search_spaces.config import Setting
from trainers.evaluation import CurvePoint
from trainers.loop.stack import Stack

PLATEAU_THRESHOLD = 1e-4
"""Relative improvement of the validation loss that counts, as in torch's ReduceLROnPlateau."""


def evaluation_steps(setting: Setting) -> list[int]:
    """The steps after which validation is measured: evenly spaced, the last one included."""
    spaced = np.linspace(0, setting.steps, setting.evaluations + 1)[1:]
    return [int(step) for step in spaced.round()]


class ValidationLog:
    """The record of a pack while it trains: losses, validation, divergence, the best parameters."""

    def __init__(self, start: Stack):
        """`start` is the whole pack before the first step."""
        params_KP, buffers_KP, count = start.params_SP, start.buffers_SP, len(start.rows_S)
        device, dtype = params_KP.device, params_KP.dtype
        self.alive_K = torch.ones(count, dtype=torch.bool, device=device)
        """Has not diverged."""
        self.pruned_K = torch.zeros(count, dtype=torch.bool, device=device)
        self.ended_at_K = torch.zeros(count, dtype=torch.long, device=device)
        """The step at which a member diverged or was stopped; 0 while it trains."""
        self.best_metric_K = torch.full((count,), math.inf, dtype=dtype, device=device)
        self.best_loss_K = torch.full((count,), math.inf, dtype=dtype, device=device)
        self.best_step_K = torch.zeros(count, dtype=torch.long, device=device)
        self.best_params_KP, self.best_buffers_KP = params_KP.clone(), buffers_KP.clone()
        self._stopped_params_KP, self._stopped_buffers_KP = params_KP.clone(), buffers_KP.clone()
        self._summed_K = torch.zeros(count, dtype=dtype, device=device)
        self._since = 0
        self._step = 0
        self._in_validation_K = torch.zeros(count, dtype=torch.bool, device=device)
        self._points: list[tuple[int, list[float], list[float], list[float], list[float]]] = []

    @property
    def training_K(self) -> Tensor:
        """Has neither diverged nor been stopped."""
        return self.ended_at_K == 0

    def add(self, losses_K: Tensor, step: int) -> None:
        """One step's training losses; the first that is not finite ends its member."""
        finite_K = torch.isfinite(losses_K)
        if not bool(finite_K.all()):
            self._mark_diverged(~finite_K, step)
        self._summed_K += losses_K
        self._since += 1

    def _mark_diverged(self, broken_K: Tensor, step: int) -> None:
        broken_K = broken_K & self.training_K
        self.ended_at_K[broken_K] = step
        self.alive_K &= ~broken_K

    def stop(self, which_K: Tensor, step: int, stack: Stack, *, pruned: bool) -> None:
        """Ends members that have not diverged; this is their last step."""
        which_K = which_K & self.training_K
        self.ended_at_K[which_K] = step
        self.pruned_K |= which_K if pruned else torch.zeros_like(which_K)
        _copy(stack, which_K, self._stopped_params_KP, self._stopped_buffers_KP)

    def last(self, stack: Stack) -> tuple[Tensor, Tensor]:
        """Every member's parameters and buffers after its own last step; `stack` has the rest."""
        params_KP, buffers_KP = self._stopped_params_KP.clone(), self._stopped_buffers_KP.clone()
        _copy(stack, self.training_K, params_KP, buffers_KP)
        return params_KP, buffers_KP

    def record(self, step: int, metric_K: Tensor, loss_K: Tensor, rate_K: Tensor) -> None:
        """One validation adds a point to the curve."""
        alive = self.alive_K.clone()
        self._mark_diverged(~torch.isfinite(loss_K), step)
        self._in_validation_K |= alive & ~self.alive_K
        seen = (self._summed_K / self._since, loss_K, metric_K, rate_K)
        train, loss, metric, rate = (values.tolist() for values in seen)
        self._points.append((step, train, loss, metric, rate))
        self._summed_K, self._since, self._step = torch.zeros_like(self._summed_K), 0, step

    def keep_best(self, metric_K: Tensor, loss_K: Tensor, stack: Stack) -> Tensor:
        """Copies the parameters of members whose metric improved, or tied with a smaller loss.

        Returns:
            Which they are, [K].
        """
        better = (metric_K < self.best_metric_K) | (
            (metric_K == self.best_metric_K) & (loss_K < self.best_loss_K)
        )
        better &= self.training_K
        self.best_metric_K = torch.where(better, metric_K, self.best_metric_K)
        self.best_loss_K = torch.where(better, loss_K, self.best_loss_K)
        self.best_step_K[better] = self._step
        _copy(stack, better, self.best_params_KP, self.best_buffers_KP)
        return better

    def cause(self, k: int) -> str:
        return "non_finite_validation" if bool(self._in_validation_K[k]) else "non_finite_loss"

    def curve(self, k: int) -> tuple[CurvePoint, ...]:
        """The member's points while it trained; the validation that stopped it is the last."""
        ended, diverged = int(self.ended_at_K[k]), not bool(self.alive_K[k])
        return tuple(
            CurvePoint(
                step=step,
                train_loss=train[k],
                validation_loss=loss[k],
                validation_metric=metric[k],
                learning_rate=rate[k],
            )
            for step, train, loss, metric, rate in self._points
            if not ended or step < ended or (step == ended and not diverged)
        )


def _copy(stack: Stack, which_K: Tensor, params_KP: Tensor, buffers_KP: Tensor) -> None:
    """Copies the parameters and buffers of those members into their rows."""
    which_S = which_K[stack.rows_S]
    params_KP[stack.rows_S[which_S]] = stack.params_SP[which_S]
    buffers_KP[stack.rows_S[which_S]] = stack.buffers_SP[which_S]


class Patience:
    """Early stopping per member: too many validations in a row without improvement."""

    def __init__(self, patience_K: Tensor):
        """`patience_K`: validations without improvement that are tolerated; infinite: never stop."""
        self._patience_K = patience_K
        self._bad_K = torch.zeros_like(patience_K)

    def update(self, better_K: Tensor) -> Tensor:
        """Which members [K] have now exceeded their patience."""
        self._bad_K = torch.where(better_K, 0.0, self._bad_K + 1)
        return self._bad_K > self._patience_K


class Plateau:
    """Performance scheduling per member, with the rule of torch's ReduceLROnPlateau (mode 'min')."""

    def __init__(self, patience_K: Tensor, factor_K: Tensor):
        self._patience_K, self._factor_K = patience_K, factor_K
        self.scale_K = torch.ones_like(factor_K)
        self._best_K = torch.full_like(factor_K, math.inf)
        self._bad_K = torch.zeros_like(factor_K)

    def update(self, loss_K: Tensor) -> None:
        """After `patience` validations without improvement the next one multiplies the rate by `factor`."""
        better = loss_K < self._best_K * (1 - PLATEAU_THRESHOLD)
        self._best_K = torch.where(better, loss_K, self._best_K)
        self._bad_K = torch.where(better, 0.0, self._bad_K + 1)
        worn_out = self._bad_K > self._patience_K
        self.scale_K = torch.where(worn_out, self.scale_K * self._factor_K, self.scale_K)
        self._bad_K = torch.where(worn_out, 0.0, self._bad_K)
