"""Members' own numbers as tensors that broadcast over a stack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from search_spaces.config import Config
from search_spaces.factor import Range


@dataclass(frozen=True, kw_only=True)
class MemberColumns:
    """Makes one column per number, with a row for each member of a pack."""

    configs: Sequence[Config]
    dtype: torch.dtype
    device: torch.device

    def of(self, values: Sequence[float], *, trailing: int) -> Tensor:
        """[K] values as [K, 1, ...] with `trailing` ones."""
        return torch.tensor(values, dtype=self.dtype, device=self.device).view(-1, *(1,) * trailing)

    def numbers(self, ranges: Sequence[Range], *, trailing: int) -> dict[str, Tensor]:
        """Number name -> the members' values of it, for every range."""
        names = sorted({r.name for r in ranges})
        return {name: self.of([c.numbers[name] for c in self.configs], trailing=trailing) for name in names}
