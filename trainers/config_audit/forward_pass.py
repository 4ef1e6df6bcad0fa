"""Forward passes through a built network that leave it as it is.

Shape letters: K members, B items, F features, P flat parameters.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import torch
from torch import Tensor

from trainers.config_audit.reading import BuiltPack
from trainers.networks.network import ForwardPass, Noise

NO_NOISE = Noise()


class _EndOfPass(Exception):
    """Ends a pass after the last tensor of interest."""


class InterventionProbe:
    """A watch that records every tensor and replaces some of them."""

    def __init__(
        self, replaced: Mapping[str, Tensor] | None = None, *, silent: bool = False, until: str = ""
    ):
        """`until`: the name of the tensor after which the pass ends; "": it runs through."""
        self.replaced = replaced or {}
        self.silent = silent
        """Hidden outputs that are not replaced become zero."""
        self.until = until
        self.seen: dict[str, Tensor] = {}

    def __call__(self, name: str, z: Tensor) -> Tensor:
        """For `ForwardPass.watch`."""
        self.seen[name] = z
        if name == self.until:
            raise _EndOfPass
        if name in self.replaced:
            return self.replaced[name].to(z.dtype).expand_as(z)
        return torch.zeros_like(z) if self.silent and name.startswith("hidden") else z


def forward(
    built: BuiltPack,
    probe: InterventionProbe,
    x_KBF: Tensor,
    *,
    training: bool = False,
    noise: Noise = NO_NOISE,
    params_KP: Tensor | None = None,
    buffers_KP: Tensor | None = None,
) -> Tensor:
    """The running statistics [K, P] after one pass over `x_KBF`; the inputs are not changed."""
    network = built.network
    left_KP = (built.buffers_KP if buffers_KP is None else buffers_KP).clone()
    parameters = network.parameters.views(built.params_KP if params_KP is None else params_KP)
    how = ForwardPass(training=training, numbers=built.numbers, watch=probe, noise=noise)
    with built.autocast(), contextlib.suppress(_EndOfPass):
        network.forward(parameters, network.buffers.views(left_KP), x_KBF, how)
    return left_KP
