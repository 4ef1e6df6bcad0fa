"""What is measured inside the members of a pack: a row each, walked by the recorder and by the suite.

A new instrument is one function and one row here. Shape letters: K members, B items, F features, P flat
parameters, L hidden layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from trainers.diagnostics.batch_check import single_batch_check
from trainers.diagnostics.flow import flow
from trainers.diagnostics.names import factor
from trainers.diagnostics.sharpness import sharpness
from trainers.diagnostics.weights import layer_radii, sparsity, update_ratios
from trainers.networks.network import Network
from trainers.tasks.task_fields import Kind

Moment = Literal["init", "half", "end"]
"""Before the first step, around the step nearest the middle, after the last step."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Snapshot:
    """A pack at one moment, and the batch of its first step."""

    network: Network
    kind: Kind
    numbers: Mapping[str, Tensor]
    """Of activations and norms, [K, 1, 1]."""
    params_KP: Tensor
    buffers_KP: Tensor
    x_KBF: Tensor
    y_KB: Tensor
    autocast: Callable[[], AbstractContextManager[object]]
    """What forward passes run in."""
    before_KP: Tensor | None = None
    """At "half" the parameters before the step."""


Summary = Callable[[Sequence[float]], float | None]
"""The values of one member's hidden layers -> the one number that sums them up; None: there is none."""


@dataclass(frozen=True, kw_only=True)
class Instrument:
    """One measurement: when it is taken, what takes it, and what its numbers mean."""

    moments: tuple[Moment, ...]
    measure: Callable[[Snapshot], Mapping[str, Tensor]]
    """-> name -> [K], or "name.layer" -> [K, L]; a name is left out where the network has no such thing."""
    summaries: Mapping[str, str] = field(default_factory=dict)
    """Name -> meaning of every number per member, at the first of the moments."""
    profiles: Mapping[str, str] = field(default_factory=dict)
    """Name -> meaning of every number per hidden layer."""
    reduced: Mapping[str, tuple[str, Summary]] = field(default_factory=dict)
    """Profile -> name of the summary that is made of it, and how."""


def input_statistics(at: Snapshot) -> Mapping[str, Tensor]:
    """Statistics [K] of the first batch, as the network gets it."""
    batch = single_batch_check(at.x_KBF)
    return {
        "input_mean": batch.mean_K,
        "input_sd": batch.sd_K,
        "input_low": batch.low_K,
        "input_high": batch.high_K,
    }


def signal_flow(at: Snapshot) -> Mapping[str, Tensor]:
    """Moments and Jacobians [K, L] of `trainers.diagnostics.flow`, and the gain [K] of the Jacobians."""
    rows = (at.network, at.params_KP, at.buffers_KP, at.x_KBF, at.y_KB)
    with at.autocast():
        profiles = flow(*rows, kind=at.kind, numbers=at.numbers)
    if not profiles:
        return {}
    gain_K = jacobian_gain(at, profiles["jacobian_norm"])
    return {f"{name}.layer": values for name, values in profiles.items()} | {"jacobian_gain": gain_K}


def jacobian_gain(at: Snapshot, norms_KL: Tensor) -> Tensor:
    """Geometric mean [K] over layers of the Jacobian's norm over the root of the layer's inputs."""
    segments = at.network.parameters.segments
    inputs = [s.shape[0] for s in segments if s.role == "weight"][: norms_KL.shape[1]]
    if len(inputs) < norms_KL.shape[1]:
        return torch.full_like(norms_KL[:, 0], math.nan)
    roots = torch.tensor(inputs, dtype=norms_KL.dtype, device=norms_KL.device).sqrt()
    return (norms_KL / roots).log().mean(1).exp()


def radii(at: Snapshot) -> Mapping[str, Tensor]:
    """Spectral radius [K, L] of the hidden maps, where one is square."""
    radii_KL = layer_radii(at.network.parameters, at.params_KP)
    return {} if radii_KL is None else {"spectral_radius.layer": radii_KL}


def step_sizes(at: Snapshot) -> Mapping[str, Tensor]:
    """One step's change of each hidden layer's weights over their norm [K, L], and the median over layers."""
    assert at.before_KP is not None
    ratios_KL = update_ratios(at.network.parameters, at.before_KP, at.params_KP)
    if not ratios_KL.shape[1]:
        return {}
    hidden_KL = ratios_KL[:, :-1] if ratios_KL.shape[1] > 1 else ratios_KL
    return {"update_ratio": hidden_KL.median(1).values, "update_ratio.layer": hidden_KL}


def tiny_weights(at: Snapshot) -> Mapping[str, Tensor]:
    """The share [K] of weights near zero."""
    return {"sparsity": sparsity(at.network.parameters, at.params_KP)}


def minimum_sharpness(at: Snapshot) -> Mapping[str, Tensor]:
    """How much [K] a small step up the gradient adds to the loss."""
    rows = (at.network, at.params_KP, at.buffers_KP, at.x_KBF, at.y_KB)
    with at.autocast():
        return {"sharpness": sharpness(*rows, kind=at.kind, numbers=at.numbers)}


INSTRUMENTS: tuple[Instrument, ...] = (
    Instrument(
        moments=("init",),
        measure=input_statistics,
        summaries={
            "input_mean": "mean of the first batch over all its items and features, as the network gets "
            "them: near 0 where inputs are standardized",
            "input_sd": "their SD (of n): near 1 where inputs are standardized",
            "input_low": "the smallest of them",
            "input_high": "the largest of them",
        },
    ),
    Instrument(
        moments=("init", "end"),
        measure=signal_flow,
        summaries={
            "signal_factor": "what the second moment of activations is multiplied by from one hidden layer "
            "to the next, before the first step (geometric mean): 1 keeps the signal, 0.5 halves it in each "
            "layer",
            "gradient_factor": "the same for gradients, from one hidden layer back to the one before",
            "jacobian_gain": "what a layer stretches a small random change by, before the first step "
            "(Frobenius norm over the root of its inputs, geometric mean over layers)",
        },
        profiles={
            "activation_mean": "mean of what a hidden layer gives on, over items and units",
            "activation_square": "second moment of what a hidden layer gives on",
            "gradient_square": "second moment of the derivative of an item's loss by a hidden layer's sums",
            "jacobian_norm": "Frobenius norm of the derivative of a layer's output by its input, root mean "
            "square over items (estimated with one random direction an item; a skip connection is left out)",
        },
        reduced={
            "activation_square": ("signal_factor", factor),
            "gradient_square": ("gradient_factor", lambda values: factor(values[::-1])),
        },
    ),
    Instrument(
        moments=("init", "end"),
        measure=radii,
        summaries={"spectral_radius": "largest over the hidden layers"},
        profiles={
            "spectral_radius": "largest absolute eigenvalue of a hidden layer's weights, where they are "
            "square"
        },
        reduced={
            "spectral_radius": (
                "spectral_radius",
                lambda values: max((v for v in values if v == v), default=None),
            )
        },
    ),
    Instrument(
        moments=("half",),
        measure=step_sizes,
        summaries={
            "update_ratio": "median over the hidden layers, at the validation step nearest the middle of the "
            "training"
        },
        profiles={
            "update_ratio": "norm of a step's change of a layer's weights, divided by the norm of the weights"
        },
    ),
    Instrument(
        moments=("end",),
        measure=tiny_weights,
        summaries={
            "sparsity": "share of the weights (no biases, no norms) whose absolute value is below 0.001"
        },
    ),
    Instrument(
        moments=("end",),
        measure=minimum_sharpness,
        summaries={
            "sharpness": "what a step of length 0.05 up the gradient adds to the loss of the first batch: "
            "near 0 in a flat minimum"
        },
    ),
)

FROM_LOSSES: dict[str, str] = {
    "end.train_loss": "loss on training items without dropout and the like, after the last step",
    "end.validation_loss": "loss on the validation items after the last step",
    "end.gap": "end.validation_loss minus end.train_loss",
    "trivial_loss": "loss on the same training items of the predictor that ignores x",
    "best.dead_units": "share of the hidden units that give the same value for every validation item",
    "best.validation_nll": "mean negative log-likelihood on the validation items (classification)",
    "best.validation_ece": "expected calibration error there: confidence v accuracy, over 15 equal bins",
    "best.test_nll": "as best.validation_nll, from the one read of the test items",
    "best.test_ece": "as best.validation_ece, from the one read of the test items",
    "loss.largest": "the largest training loss of any step, divided by the loss of the first",
    "loss.exploded_at": "the first step whose loss is not finite or above 100 times the first; absent "
    "where there is none",
}
"""What the recorder makes of all losses and of held-out items; "best" is the best validation step."""

SUMMARIES: Mapping[str, str] = {
    f"{moment}.{name}": meaning
    if moment == row.moments[0]
    else f"as {row.moments[0]}.{name}, after the last step"
    for row in INSTRUMENTS
    for moment in row.moments
    for name, meaning in row.summaries.items()
} | FROM_LOSSES
"""Recorded name -> meaning of every number per member."""

PROFILES: Mapping[str, str] = {name: meaning for row in INSTRUMENTS for name, meaning in row.profiles.items()}
"""Name -> meaning of every number per hidden layer, recorded as "moment.name.layerNN"."""

REDUCED: Mapping[str, tuple[str, Summary]] = {
    name: to for row in INSTRUMENTS for name, to in row.reduced.items()
}
"""Profile -> name of the summary that is made of it, and how."""
