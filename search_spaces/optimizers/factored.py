"""Adafactor: second moments of a matrix kept as one number per row and one per column.

Shape letters as in rule.py; Q tensors of a row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from search_spaces.optimizers.rule import State, Step, like
from search_spaces.parts import TensorSpan, is_weight, place, view


def adafactor_sizes(params: Tensor, parts: Sequence[TensorSpan]) -> Tensor:
    """Root mean square of every tensor, [..., Q]."""
    return torch.cat([_root_mean_square(place(params, part)) for part in parts], dim=-1)


def adafactor(params: Tensor, grads: Tensor, state: State, step: Step) -> None:
    """Steps relative to the tensor's own size, by Adam's second moment without a first.

        beta2   = 1 - step^beta2_decay
        square  = a moving average, by beta2, of grads^2;  of a matrix only its means over rows and columns
                  are kept:  square = row_means column_means / mean(row_means)
        update  = grads / sqrt(max(square, eps1^2))
        update /= max(1, rms(update) / update_limit)
        params -= max(eps2, rms(params)) * min(learning_rate, 1 / sqrt(step)) * update

    torch's Adafactor; eps1 is the machine's (torch's None), `step.sizes` are the rms(params) before decay.
    The paper has 0.01 in place of the learning rate. A bias is a vector, whatever its shape here.
    """
    assert step.sizes is not None
    decay = like(params, step.numbers["beta2_decay"]).double()
    share = (torch.tensor(step.number, dtype=torch.double, device=decay.device) ** decay).to(params.dtype)
    rate = like(params, step.learning_rate).clamp_max(step.number**-0.5)
    rate = rate * torch.maximum(step.sizes, like(params, step.numbers["eps2"]))
    limit = like(params, step.numbers["update_limit"])
    tiny = torch.finfo(params.dtype).eps
    for q, part in enumerate(step.parts):
        gradient = place(grads, part)
        if is_weight(part):
            square = _factored(view(grads, part), state, part, share, tiny).reshape(gradient.shape)
        else:
            square = place(state["rows"], part).lerp_(gradient.square(), share).clone()
        update = square.clamp_(min=tiny**2).rsqrt_().mul_(gradient)
        excess = (_root_mean_square(update) / limit).clamp_min(1)
        place(params, part).sub_(update.mul_(rate[..., q : q + 1] / excess))


def _factored(gradient: Tensor, state: State, part: TensorSpan, share: Tensor, tiny: float) -> Tensor:
    """The second moment's estimate; its factors lie at the start of the part's place in the buffers."""
    *others, rows, columns = part.shape
    lead = gradient.shape[: gradient.ndim - len(part.shape)]
    share = share[(..., *(None,) * (len(part.shape) - 1))]

    def kept(name: str, *shape: int) -> Tensor:
        size = math.prod((*others, *shape))
        return state[name][..., part.start : part.start + size].view(*lead, *others, *shape)

    squares = gradient.square()
    row = kept("rows", rows, 1).lerp_(squares.mean(dim=-1, keepdim=True), share)
    column = kept("columns", 1, columns).lerp_(squares.mean(dim=-2, keepdim=True), share)
    return (row * column).div_(row.mean(dim=-2, keepdim=True).clamp_(min=tiny))


def _root_mean_square(values: Tensor) -> Tensor:
    """Over the last dimension, which is kept as one."""
    norm: Tensor = torch.linalg.vector_norm(values, dim=-1, keepdim=True)
    return norm / float(values.shape[-1] ** 0.5)
