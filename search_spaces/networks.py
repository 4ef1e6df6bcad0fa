"""The kinds of network that setting `network` can name: what is true of each before one is built.

Their modules, and the table that builds them, are in `trainers.networks`. Imports without torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class NetworkKind:
    """One kind of network."""

    name: str
    """Value of setting `network`."""
    plural: str
    """What pages call networks of this kind."""
    hidden_weights: Callable[[int, int], int]
    """(depth, width) -> weights from hidden layers into hidden layers, into the next time step included.

    Gated layers are narrower, so that they have about as many.
    """
    shaped_items: bool = False
    """Whether items must be images or sequences; tables have no shape."""
    several_places: bool = False
    """Whether a hidden layer computes its units at several places of an item, such as pixels."""
    can_funnel: bool = False
    """Whether setting `funnel` can shrink the widths of its layers."""
    square_from_depth: int | None = None
    """Hidden layers from which on it has square weights, which alone can be symmetric; None: it never has."""


KINDS = (
    NetworkKind(
        name="mlp",
        plural="multilayer perceptrons",
        hidden_weights=lambda depth, width: (depth - 1) * width**2,
        can_funnel=True,
        square_from_depth=2,
    ),
    NetworkKind(
        name="cnn",
        plural="convolutional networks",
        hidden_weights=lambda depth, width: 9 * (depth - 1) * width**2,  # kernels of 3 x 3
        shaped_items=True,
        several_places=True,
    ),
    NetworkKind(
        name="rnn",
        plural="recurrent networks",
        hidden_weights=lambda depth, width: (2 * depth - 1) * width**2,  # up, and to the next step
        shaped_items=True,
        square_from_depth=1,
    ),
)

NETWORKS: Mapping[str, NetworkKind] = {kind.name: kind for kind in KINDS}
"""By name, in the order in which messages and the catalogue list them."""
