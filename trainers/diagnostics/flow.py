"""How signals and gradients pass through a network: one batch forward and back, layer by layer.

Shape letters: K members, B items, F features, L hidden layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from trainers.losses import member_losses
from trainers.networks.network import ForwardPass, Network
from trainers.tasks.task_fields import Kind


@dataclass
class FlowTaps:
    """A watch that keeps what flows by, in the order of the layers."""

    cut: bool = False
    """Give each hidden output on as a new leaf, so that every layer is a graph of its own."""
    sums: list[Tensor] = field(default_factory=list)
    hidden: list[Tensor] = field(default_factory=list)
    leaves: list[Tensor] = field(default_factory=list)
    """What was given on in place of `hidden`."""
    output: Tensor | None = None

    def __call__(self, name: str, z: Tensor) -> Tensor:
        """Keeps `z`; for `Pass.watch`."""
        if name == "output":
            self.output = z
        elif name.startswith("sum"):
            self.sums.append(z)
        elif name.startswith("hidden"):
            self.hidden.append(z)
            if self.cut:
                self.leaves.append(z.detach().requires_grad_())
                return self.leaves[-1]
        return z


def flow(
    network: Network,
    params_KP: Tensor,
    buffers_KP: Tensor,
    x_KBF: Tensor,
    y_KB: Tensor,
    *,
    kind: Kind,
    numbers: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Moments [K, L] of activations and gradients, and norms [K, L] of the layers' Jacobians.

    The network is in training mode (a norm uses the batch's own statistics) but nothing is dropped; the
    running statistics are left alone. The gradients are those of each item's own loss, so they do not
    depend on the number of items.

    Returns:
        Profile name -> [K, L]; empty for a network that shows no layers.
    """
    parameters = network.parameters.views(params_KP)
    x_KBF = x_KBF.detach().clone().requires_grad_()

    def forward(taps: FlowTaps) -> Tensor:
        buffers = network.buffers.views(buffers_KP.clone())
        how = ForwardPass(training=True, numbers=numbers, watch=taps)
        return network.forward(parameters, buffers, x_KBF, how)

    with torch.enable_grad():
        through = FlowTaps()
        losses_K = member_losses(forward(through).to(x_KBF.dtype), y_KB, kind)
        if not through.sums:
            return {}
        gradients: Sequence[Tensor | None] = torch.autograd.grad(
            losses_K.sum() * y_KB.shape[1], through.sums, allow_unused=True
        )
        cut = FlowTaps(cut=True)
        forward(cut)
        norms = _jacobian_norms(cut, x_KBF)
    profiles = {
        "activation_mean": [h.detach().float().flatten(1).mean(1) for h in through.hidden],
        "activation_square": [_second_moment(h) for h in through.hidden],
        "gradient_square": [
            torch.zeros_like(losses_K) if g is None else _second_moment(g) for g in gradients
        ],
        "jacobian_norm": norms,
    }
    return {name: torch.stack(columns, dim=1) for name, columns in profiles.items()}


def _jacobian_norms(taps: FlowTaps, x_KBF: Tensor) -> list[Tensor]:
    """Per layer the root mean square [K] over items of ||J||.

    For random signs v the mean of ||J^T v||^2 is ||J||^2. All members get the same signs: they differ by
    their weights and not by their luck.
    """
    norms = []
    for i, (h, source) in enumerate(zip(taps.hidden, [x_KBF, *taps.leaves[:-1]], strict=True)):
        generator = torch.Generator().manual_seed(i)
        signs = torch.randint(0, 2, h.shape[1:], generator=generator).mul_(2).sub_(1)
        direction = signs.to(h.device, h.dtype).expand_as(h)
        products: Sequence[Tensor | None] = torch.autograd.grad(h, source, direction, allow_unused=True)
        product = products[0]
        if product is None:
            norms.append(torch.zeros_like(x_KBF[:, 0, 0]))
        else:
            norms.append((product.float().square().flatten(1).sum(1) / x_KBF.shape[1]).sqrt())
    return norms


def _second_moment(z: Tensor) -> Tensor:
    return z.detach().float().square_().flatten(1).mean(1)
