"""What members are trained on and judged by.

Scores are laid with their classes first, [C, K * B]: torch then takes the logarithm of a softmax 4 to 6
times faster than with the classes last (54 members, 256 items, 6 classes, one thread of an EPYC core).

Shape letters: K members, B items, C outputs.
"""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor

from trainers.tasks.task_fields import Kind

REGISTER = 16
"""Numbers that one vector register of a CPU holds at most, in float32."""


def member_losses(outputs_KBC: Tensor, y_KB: Tensor, kind: Kind, smoothing_K: Tensor | None = None) -> Tensor:
    """Mean loss [K]: cross-entropy of class scores, or squared error of a standardized target.

    With `smoothing_K` (of classes only) that share of each label is spread over all classes alike:

        (1 - smoothing) * cross-entropy + smoothing * mean over classes of -log(probability)
    """
    if kind == "regression":
        return (outputs_KBC.squeeze(-1) - y_KB).square().mean(-1)
    return _cross_entropies(_log_probabilities(outputs_KBC), y_KB, smoothing_K)


def losses_and_gradient(
    outputs_KBC: Tensor, y_KB: Tensor, kind: Kind, smoothing_K: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """`member_losses` [K], and the derivative of each member's with respect to its outputs [K, B, C].

    Of cross-entropy that is (probability - label) / B, the label spread as above.
    """
    members, items = y_KB.shape
    if kind == "regression":
        apart_KB = outputs_KBC.squeeze(-1) - y_KB
        return apart_KB.square().mean(-1), apart_KB.mul_(2 / items).unsqueeze(-1)
    log_CN = _log_probabilities(outputs_KBC)
    losses_K = _cross_entropies(log_CN, y_KB, smoothing_K)
    gradient_CN = log_CN.exp_()
    label_1N = gradient_CN.new_full((1, 1), -1.0).expand(1, members * items)
    if smoothing_K is not None:
        smoothing_1N = smoothing_K.repeat_interleave(items).unsqueeze(0)
        gradient_CN -= smoothing_1N / len(gradient_CN)
        label_1N = smoothing_1N - 1
    gradient_CN.scatter_add_(0, y_KB.reshape(1, -1), label_1N).mul_(1 / items)
    return losses_K, gradient_CN.t().reshape(members, items, -1)


def _log_probabilities(outputs_KBC: Tensor) -> Tensor:
    """[C, K * B]; columns that do not fill a register would depend on their place in the last bit."""
    rows_NC = outputs_KBC.flatten(0, 1)
    missing = -len(rows_NC) % REGISTER
    full_NC = functional.pad(rows_NC, (0, 0, 0, missing)) if missing else rows_NC
    return torch.log_softmax(full_NC.t().contiguous(), 0)[:, : len(rows_NC)]


def _cross_entropies(log_CN: Tensor, y_KB: Tensor, smoothing_K: Tensor | None) -> Tensor:
    losses_K = log_CN.gather(0, y_KB.reshape(1, -1)).view(y_KB.shape).sum(-1) * (-1 / y_KB.shape[1])
    if smoothing_K is None:
        return losses_K
    spread_K = -log_CN.mean(0).view(y_KB.shape).mean(-1)
    return (1 - smoothing_K) * losses_K + smoothing_K * spread_K


def wrongness(outputs_KBC: Tensor, y_KB: Tensor, kind: Kind) -> Tensor:
    """Sum over items [K] of what the metric averages: errors, or squared errors."""
    if kind == "regression":
        return (outputs_KBC.squeeze(-1) - y_KB).square().sum(-1)
    return (outputs_KBC.argmax(-1) != y_KB).sum(-1).to(outputs_KBC.dtype)
