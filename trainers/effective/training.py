"""What a built pack's training does: batches, masks, schedules, and updates tried dry.

Shape letters: K members, B items, P flat parameters, T steps.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from search_spaces.config import Config
from search_spaces.space import decay_kind
from trainers.effective.reading import Reading, Wiring
from trainers.updates import Updates, schedule

PLAIN = ("sgd", "momentum", "nesterov")
"""Rules whose first step from zeros is the gradient times the rate, so that clipping can be read off."""

LARGE, SMALL = 1e4, 1e-3
"""Gradient norms that every clipping rule touches, and that none does."""

SAMPLED = 4
"""Members of a pack whose updates are repeated alone."""

DECAYS = {"optimizer_default", "none", "decoupled", "l2"}
"""Levels whose decay is a share of the weights."""

NEAR_ZERO = 1e-3
"""Parameters of the decay's dry step: no constraint on norms touches them."""


def training_readings(wiring: Wiring) -> Iterator[Reading]:
    """What can be read back of everything but the network."""
    configs, count = wiring.configs, len(wiring.members)
    wanted = [min(c.setting.batch_size, wiring.items) for c in configs]
    yield Reading(key="batch_size", asked=wanted, found=[wiring.x_KBF.shape[1]] * count)
    yield from _masks(wiring)
    rates_TK = wiring.updates.pace.rate_TK1.squeeze(-1).double()
    yield Reading(key="steps", asked=[c.setting.steps for c in configs], found=[len(rates_TK)] * count)
    yield from _rates(configs, rates_TK)
    yield from _decay(wiring, rates_TK)
    free = all(c.levels["weight_constraint"] != "max_norm" for c in configs)
    if configs[0].levels["optimizer"] in PLAIN and free:
        yield from _plain(wiring, rates_TK)
    yield _alone(wiring)


def _masks(wiring: Wiring) -> Iterator[Reading]:
    """Zero share of the first step's masks, and whether the survivors make up for the dropped."""
    asked = [c.numbers.get("dropout_rate", 0.0) for c in wiring.configs]
    noise = wiring.noise
    if not wiring.network.sites.layers:
        return
    names = {c.levels["dropout"] for c in wiring.configs}
    if not names <= {"none", "dropout"}:
        drops = noise.scale is not None or noise.inputs is not None or bool(noise.weights)
        yield Reading(key="dropout.drops", asked=[any(asked)], found=[drops])
        return
    masks = noise.scale
    if masks is None:
        yield Reading(key="dropout_rate", asked=asked, found=[0.0] * len(asked))
        return
    share_K = (masks == 0).double().mean(dim=(0, 2, 3))
    spread = 6 * 0.5 / math.sqrt(masks[:, 0].numel()) + 1e-4
    yield Reading(key="dropout_rate", asked=asked, found=share_K.tolist(), near=0.0, least=spread)
    kept_K = masks.amax(dim=(0, 2, 3)).double()
    yield Reading(key="dropout_scale", asked=[1 / (1 - rate) for rate in asked], found=kept_K.tolist())


def _rates(configs: Sequence[Config], rates_TK: Tensor) -> Iterator[Reading]:
    """The table of rates against each member's schedule made anew: its ends, its peak and its mean."""
    tables = [schedule(c).multiplier * c.numbers["learning_rate"] for c in configs]
    columns = rates_TK.T.cpu().numpy()
    ends: dict[str, Callable[[NDArray[np.float64]], float]] = {
        "first": lambda rates: float(rates[0]),
        "peak": lambda rates: float(rates.max()),
        "mean": lambda rates: float(rates.mean()),
        "last": lambda rates: float(rates[-1]),
    }
    for name, end in ends.items():
        asked, found = ([end(rates) for rates in rows] for rows in (tables, columns))
        yield Reading(key=f"learning_rate.{name}", asked=asked, found=found)


def _decay(wiring: Wiring, rates_TK: Tensor) -> Iterator[Reading]:
    """What one step without gradients takes off the weights, as a share of them."""
    configs = wiring.configs
    step = len(rates_TK) // 2
    if not {c.levels["weight_decay"] for c in configs} <= DECAYS:
        return
    params_KP = torch.full_like(wiring.params_KP, NEAR_ZERO)
    _step(copy.deepcopy(wiring.updates), step, params_KP, torch.zeros_like(params_KP))
    weights = [s for s in wiring.network.parameters.segments if s.role in ("weight", "own")]
    if not weights:
        return
    first = params_KP[:, weights[0].start].double()
    # Parameters of 0.001 in single precision: the share is known to about 1e-7.
    lost = (1 - first / float(torch.tensor(NEAR_ZERO, dtype=params_KP.dtype))).tolist()
    kinds = [decay_kind(c.levels) for c in configs]
    strengths = [
        0.0 if kind == "none" else c.numbers.get("weight_decay", 0.0)
        for c, kind in zip(configs, kinds, strict=True)
    ]
    shares = [s * r for s, r in zip(strengths, rates_TK[step].tolist(), strict=True)]
    if all(kind != "coupled" for kind in kinds) or configs[0].levels["optimizer"] in ("sgd", "momentum"):
        yield Reading(key="weight_decay.share", asked=shares, found=lost, least=3e-7)


def _plain(wiring: Wiring, rates_TK: Tensor) -> Iterator[Reading]:
    """Clipping and momentum of the SGD family, from two dry steps that begin at zero."""
    configs, rule = wiring.configs, wiring.configs[0].levels["optimizer"]
    steps = len(rates_TK)
    step = min(steps // 2, max(steps - 2, 0))
    size = wiring.params_KP.shape[1]
    wanted = [_momentum(c, step) for c in configs]

    def moved(norm: float, times: int) -> Tensor:
        """Mean change [K] in units of the gradient, of the last of so many steps with equal gradients."""
        dry, params_KP = copy.deepcopy(wiring.updates), torch.zeros_like(wiring.params_KP)
        for i in range(times):
            params_KP.zero_()  # there is nothing to decay at zero
            _step(dry, step + i, params_KP, torch.full_like(params_KP, norm / math.sqrt(size)))
        return -params_KP.double().mean(1) * math.sqrt(size) / norm / rates_TK[step + times - 1]

    small_K, large_K = moved(SMALL, 1), moved(LARGE, 1)
    kept = (large_K / small_K).tolist()
    yield Reading(key="clipping", asked=[_kept(c, size) for c in configs], found=kept, near=5e-3)
    if rule == "nesterov":
        yield Reading(key="momentum", asked=wanted, found=(small_K - 1).tolist(), least=2e-3)
    elif rule == "momentum" and step + 2 <= steps:
        later = [_momentum(c, step + 1) for c in configs]
        yield Reading(key="momentum", asked=later, found=(moved(SMALL, 2) - 1).tolist(), least=2e-3)
    else:
        yield Reading(key="gradient_share", asked=[1.0] * len(configs), found=small_K.tolist())


def _momentum(config: Config, step: int) -> float:
    """The momentum asked for at that step, cycled or not."""
    cycled = schedule(config).momentum
    return float(cycled[step]) if cycled is not None else float(config.numbers.get("momentum", 0.0))


def _kept(config: Config, size: int) -> float:
    """Share of a gradient of norm `LARGE` with equal entries that the asked clipping leaves."""
    level, numbers = config.levels["clipping"], config.numbers
    if level == "norm":
        return numbers["clip_norm"] / LARGE
    if level == "value":
        return min(1.0, numbers["clip_value"] * math.sqrt(size) / LARGE)
    return numbers["shrink_factor"] if level == "shrink" else 1.0


def _alone(wiring: Wiring) -> Reading:
    """Whether two dry steps move a member as they would move it alone: no member has another's numbers.

    A few members stand for the pack, the first and the last among them; all together took 6 % of the time.
    """
    layout, rows_KP = wiring.network.parameters, wiring.params_KP
    draws = torch.Generator().manual_seed(0)
    pushes = [
        torch.randn(rows_KP.shape[1], generator=draws).to(rows_KP) * norm / math.sqrt(rows_KP.shape[1])
        for norm in (LARGE, 1.0)
    ]
    steps = min(2, len(wiring.updates.pace.rate_TK1))
    together_KP, dry = rows_KP.clone(), copy.deepcopy(wiring.updates)
    for step in range(steps):
        _step(dry, step, together_KP, pushes[step].expand_as(rows_KP).clone())
    same = [True] * len(wiring.configs)
    for k in {*range(0, len(same), max(1, -(-len(same) // (SAMPLED - 1)))), len(same) - 1}:
        config = wiring.configs[k]
        alone_1P = rows_KP[k : k + 1].clone()
        own = Updates([config], layout, alone_1P)
        for step in range(steps):
            _step(own, step, alone_1P, pushes[step][None].clone())
        a, b = (moved - rows_KP[k] for moved in (alone_1P[0], together_KP[k]))
        same[k] = bool(torch.linalg.vector_norm(a - b) <= 1e-3 * torch.linalg.vector_norm(a) + 1e-12)
    return Reading(key="updates_as_alone", asked=[True] * len(same), found=same)


def _step(updates: Updates, step: int, params_KP: Tensor, grads_KP: Tensor) -> None:
    updates.step(step, params_KP, grads_KP, torch.ones_like(params_KP[:, 0]))
