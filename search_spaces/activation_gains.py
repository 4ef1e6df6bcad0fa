"""How much weights must grow to make up for what an activation takes away.

For z from N(0, 1) an activation f hands on the second moment E[f(z)^2]; weights of variance
gain^2 / fan_in with gain = 1 / sqrt(E[f(z)^2]) give the next layer sums of variance 1 again. That is
He's sqrt(2) for ReLU, sqrt(2 / (1 + a^2)) for leaky ReLU and 1 for SELU.

The balance is stable where f hands on less than all of a small relative change of its input's second moment
(tanh 0.46, SELU 0.78, ELU 0.89) and unstable where it hands on more (Mish 1.08, GELU 1.14, SiLU 1.17, ReLU
squared 2): there a network of finite width drifts off with depth. After 30 layers of 256 units the median
second moment is 0.006 under SiLU and 0.001 under GELU; with He's variance it is 3e-9 and 2e-8 (8 networks,
64 items).

torch.nn.init.calculate_gain agrees on those but SELU, where it has 3/4 for reasons of its own; its 5/3 for
tanh is a convention (the moment gives 1.59), its 1 for the logistic ignores the moment (1.85), and it has
nothing for ELU, GELU, Swish and Mish.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch

from search_spaces.activations import ACTIVATION, Activation

REACH = 12
"""Standard deviations on either side of 0 that are integrated over; beyond them lies 1e-32."""
NODES = 20
"""Gauss-Legendre nodes in each unit interval. Every kink of an activation here lies at a whole number, so
that the piecewise rule is exact to rounding, where Gauss-Hermite is not."""
DRAWS = 64
"""Midpoints in [0, 1) that stand for the noise of a noisy activation."""


def activation_gain(name: str, numbers: Mapping[str, float]) -> float:
    """1 / sqrt(E[f(z)^2]) of an activation level at its numbers and at the start of what it learns.

    Args:
        name: a level of the factor activation.
        numbers: at least the numbers that the level opens.
    """
    row = ACTIVATION.level(name)
    return 1 / math.sqrt(second_moment(row.build, {r.name: numbers[r.name] for r in row.ranges}))


def second_moment(activation: Activation, numbers: Mapping[str, float]) -> float:
    """E[f(z)^2] for z from N(0, 1); both halves of a gated unit are drawn independently."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    starts = np.arange(-REACH, REACH)[:, None]
    points = (starts + (nodes + 1) / 2).ravel()
    density = np.tile(weights / 2, 2 * REACH) * np.exp(-(points**2) / 2) / math.sqrt(2 * math.pi)
    z = torch.from_numpy(points)[:, None]
    own = {**numbers, **activation.learned}
    with torch.no_grad():
        if activation.gated:
            f = activation.apply(torch.cat([z, torch.ones_like(z)], dim=-1), **own)
        elif activation.noisy:
            shares = (torch.arange(DRAWS, dtype=z.dtype) + 0.5) / DRAWS
            f = activation.apply(z.expand(-1, DRAWS), noise=shares.expand(len(z), -1), **own)
        else:
            f = activation.apply(z, **own)
    return float(f.square().mean(dim=1) @ torch.from_numpy(density))
