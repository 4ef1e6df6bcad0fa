"""Running statistics over all training items, in place of the averages that training left behind.

Shape letters: K members, P flat parameters, I training items, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from trainers.networks import ForwardPass, Network, network_of_rows

MOST = 1024
"""Items in one pass."""


@torch.no_grad()
def recompute(
    network: Network,
    params_KP: Tensor,
    buffers_KP: Tensor,
    items: Callable[[int], Tensor],
    numbers: Mapping[str, Tensor],
    precision: Callable[[], AbstractContextManager[object]],
) -> None:
    """Puts the moments over all training items into `buffers_KP`, member by member to spare memory.

    Every layer sees what it saw in training, normalized by the statistics of its batch, but the batch is
    the whole training set, and nothing is dropped. A recurrent layer's are the average over its steps. Sets
    of more than 1024 items go through in equal parts, whose moments are averaged ("precise" batch norm: Wu
    and Johnson 2021, arXiv:2105.07576); a remainder smaller than the number of parts is left out.

    Args:
        network: with running statistics.
        params_KP: the members' rows.
        buffers_KP: their statistics, which are replaced.
        items: member number -> its training items [1, I, F].
        numbers: of activations and norms, [K, 1, 1].
        precision: what forward passes run in.
    """
    for k in range(len(params_KP)):
        parameters = network.parameters.views(params_KP[k : k + 1])
        buffers = network.buffers.views(buffers_KP[k : k + 1])
        alone = network_of_rows(network, [k])
        own = {name: number[k : k + 1] for name, number in numbers.items()}
        x_1IF = items(k)
        parts = -(-x_1IF.shape[1] // MOST)
        size = x_1IF.shape[1] // parts
        for j in range(parts):
            how = ForwardPass(training=True, numbers=own, averaged=j)
            with precision():
                alone.forward(parameters, buffers, x_1IF[:, j * size : (j + 1) * size], how)
