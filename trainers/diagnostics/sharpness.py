"""How sharp the minimum is that a member has ended in.

Shape letters: K members, B items, F features, P flat parameters.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from trainers.losses import member_losses
from trainers.networks.network import ForwardPass, Network
from trainers.tasks.task_fields import Kind

RADIUS = 0.05
"""Length of the step up, as in sharpness-aware minimization (Foret et al. 2021, arXiv:2010.01412)."""


def sharpness(
    network: Network,
    params_KP: Tensor,
    buffers_KP: Tensor,
    x_KBF: Tensor,
    y_KB: Tensor,
    *,
    kind: Kind,
    numbers: Mapping[str, Tensor],
) -> Tensor:
    """What a step of length 0.05 along the gradient adds to the loss [K]: near 0 in a flat minimum (002).

    In evaluation mode, on one batch. It grows with the scale of the weights, which some networks can change
    without changing what they compute (Dinh et al. 2017, arXiv:1703.04933): compare members of one network.
    """

    def losses(rows_KP: Tensor) -> Tensor:
        how = ForwardPass(training=False, numbers=numbers)
        outputs = network.forward(
            network.parameters.views(rows_KP), network.buffers.views(buffers_KP), x_KBF, how
        )
        return member_losses(outputs.to(rows_KP.dtype), y_KB, kind)

    with torch.enable_grad():
        leaf_KP = params_KP.detach().clone().requires_grad_()
        here_K = losses(leaf_KP)
        (up_KP,) = torch.autograd.grad(here_K.sum(), leaf_KP)
    length_K1 = up_KP.norm(dim=1, keepdim=True)
    there_KP = params_KP + RADIUS * up_KP / torch.where(length_K1 > 0, length_K1, 1.0)
    return losses(there_KP) - here_K.detach()
