"""What members are trained on and judged by.

Shape letters: K members, B items, C outputs.
"""

from __future__ import annotations

import torch.nn.functional as functional
from torch import Tensor

from trainers.task import Kind


def member_losses(outputs_KBC: Tensor, y_KB: Tensor, kind: Kind, smoothing_K: Tensor | None = None) -> Tensor:
    """Mean loss [K]: cross-entropy of class scores, or squared error of a standardized target.

    With `smoothing_K` (of classes only) that share of each label is spread over all classes alike:

        (1 - smoothing) * cross-entropy + smoothing * mean over classes of -log(probability)
    """
    if kind == "regression":
        return (outputs_KBC.squeeze(-1) - y_KB).square().mean(-1)
    flat = functional.cross_entropy(outputs_KBC.flatten(0, 1), y_KB.flatten(), reduction="none")
    losses_K = flat.view(y_KB.shape).mean(-1)
    if smoothing_K is None:
        return losses_K
    spread_K = -functional.log_softmax(outputs_KBC, dim=-1).mean(-1).mean(-1)
    return (1 - smoothing_K) * losses_K + smoothing_K * spread_K


def wrongness(outputs_KBC: Tensor, y_KB: Tensor, kind: Kind) -> Tensor:
    """Sum over items [K] of what the metric averages: errors, or squared errors."""
    if kind == "regression":
        return (outputs_KBC.squeeze(-1) - y_KB).square().sum(-1)
    return (outputs_KBC.argmax(-1) != y_KB).sum(-1).to(outputs_KBC.dtype)
