"""Linear maps: how they start and how a stack of them is applied."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from search_spaces.config import Config
from search_spaces.initializers import Initializer
from trainers.layout import Layout


def affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x [..., B, F] @ weight [..., F, G] + bias [..., 1, G], one fused call for one member or a stack."""
    if x.ndim == 3:
        return torch.baddbmm(bias, x, weight)
    return torch.addmm(bias, x, weight)


def weight_gain(initializer: Initializer, config: Config) -> float:
    """Factor on every initial weight: the gain that is searched, and what the batch size has to say."""
    return float(config.numbers.get("init_gain", 1.0) * config.setting.batch_size**initializer.batch_power)


def drawn(
    initializer: Initializer,
    fan_in: int,
    fan_out: int,
    draws: np.random.Generator,
    *,
    columns: int | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weight [fan_in, columns] and bias [columns] of one linear map; None means `fan_out` columns."""
    columns = fan_out if columns is None else columns
    weight = initializer.weight(fan_in, fan_out, draws, columns=columns)
    return weight.astype(np.float64), initializer.bias(fan_in, columns, draws).astype(np.float64)


def filled(layout: Layout, values: Mapping[str, NDArray[np.float64]]) -> Tensor:
    """One member's flat row [size]; a segment without a value is zero."""
    row = torch.zeros(layout.size, dtype=torch.float64)
    for name, view in layout.views(row).items():
        if name in values:
            view.copy_(torch.from_numpy(np.ascontiguousarray(values[name])).view(view.shape))
    return row
