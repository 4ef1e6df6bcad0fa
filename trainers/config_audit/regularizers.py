"""Decay, penalties and constraints of a built pack, measured in one update without gradients.

Shape letters: K members, P flat parameters, S segments, T steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from search_spaces.clipping import CLIPPING
from search_spaces.config import Config
from search_spaces.optimizers import Step
from search_spaces.space import decay_kind
from trainers.config_audit.reading import AuditedProperty, BuiltPack
from trainers.loop.updates import Updates
from trainers.tensors.layout import Segment

HEAVY = 8.0
"""Value of the one parameter of every tensor that is not zero: above every radius of max-norm."""

MEASURED_CONSTRAINTS = ("none", "symmetric", "max_norm")
"""Constraints whose effect on a large weight is compared."""


def pull_readings(built: BuiltPack, rates_TK: Tensor) -> Iterator[AuditedProperty]:
    """One step without gradients, with a recorder in the rule's place.

    Of every segment the first parameter is heavy and all others are zero, so that a unit's norm is that of
    one weight and an L1 penalty's gradient is small. A few numbers stand for the row.
    """
    configs, segments = built.configs, built.network.parameters.segments
    if not segments:
        return
    step = int(rates_TK.mean(1).argmax())  # where decoupled decay is largest
    starts = torch.tensor([s.start for s in segments], device=built.params_KP.device)
    params_KP = torch.zeros_like(built.params_KP)
    params_KP[:, starts] = HEAVY
    decayed: list[tuple[Tensor, Tensor]] = []

    def seen(params: Tensor, grads: Tensor, state: dict[str, Tensor], now: Step) -> None:
        decayed.append((params[:, starts].double(), grads[:, starts].double()))

    move(built.updates.rehearsal(seen), step, params_KP, torch.zeros_like(params_KP))
    left_KS, pulled_KS = (torch.cat(rows) for rows in zip(*decayed, strict=True))
    held_KS = params_KP[:, starts].double()
    rates = rates_TK[step].tolist()
    weights = [_is_weight(s) for s in segments]
    l1 = [_penalty(config, weights) for config in configs]
    for others in (False, True):
        which = torch.tensor([w != others for w in weights], device=starts.device)
        if not which.any():
            continue
        end = "_of_others" if others else ""
        active = [not others or c.levels["decay_scope"] == "everything" for c in configs]
        share = [r * _strength(c, "decoupled") * on for r, c, on in zip(rates, configs, active, strict=True)]
        measured = _furthest(share, 1 - left_KS[:, which] / HEAVY)
        # A number in single precision is known to about 1e-7 of itself.
        yield AuditedProperty(key=f"weight_decay.share{end}", expected=share, measured=measured, atol=3e-7)
        pull = [
            (HEAVY * _strength(c, "coupled") + penalty) * on
            for c, penalty, on in zip(configs, l1, active, strict=True)
        ]
        measured = _furthest(pull, pulled_KS[:, which])
        yield AuditedProperty(key=f"weight_decay.pull{end}", expected=pull, measured=measured, atol=1e-11)
        if not all(c.levels["weight_constraint"] in MEASURED_CONSTRAINTS for c in configs):
            continue
        left = [HEAVY * (1 - s) for s in share]
        if not others:
            left = [min(a, c.numbers.get("max_norm_radius", a)) for a, c in zip(left, configs, strict=True)]
        measured = _furthest(left, held_KS[:, which])
        yield AuditedProperty(key=f"max_norm_radius{end}", expected=left, measured=measured)


def _is_weight(segment: Segment) -> bool:
    """Whether a tensor is decayed under every scope, and constrained: of a user's module, all but vectors."""
    return segment.role == "weight" or (segment.role == "own" and len(segment.shape) > 1)


def _strength(config: Config, kind: str) -> float:
    """Strength of the member's decay if it is of that kind, else 0."""
    return config.numbers["weight_decay"] if decay_kind(config.levels) == kind else 0.0


def _penalty(config: Config, weights: Sequence[bool]) -> float:
    """What an L1 penalty adds to the gradient of a large weight after clipping."""
    if decay_kind(config.levels) != "l1":
        return 0.0
    strength = config.numbers["l1_strength"]
    level = CLIPPING.level(config.levels["clipping"])
    if level.build is None:
        return strength
    pulled = sum(weights) if config.levels["decay_scope"] == "weights" else len(weights)
    row = torch.full((1, pulled), strength, dtype=torch.float64)
    return float(level.build(row, **{r.name: config.numbers[r.name] for r in level.ranges})[0, 0])


def _furthest(expected: Sequence[float], found_KS: Tensor) -> list[float]:
    """For each member the value [K] that is furthest from the expected one."""
    wanted_K1 = torch.tensor(expected, dtype=found_KS.dtype, device=found_KS.device)[:, None]
    worst_K1 = (found_KS - wanted_K1).abs().nan_to_num(nan=torch.inf).argmax(1, keepdim=True)
    numbers: list[float] = found_KS.gather(1, worst_K1).squeeze(1).tolist()
    return numbers


def move(updates: Updates, step: int, params_KP: Tensor, grads_KP: Tensor) -> None:
    """One update at the full scheduled learning rate."""
    updates.step(step, params_KP, grads_KP, torch.ones_like(params_KP[:, 0]))
