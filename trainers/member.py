"""One configuration with one seed, about to be trained."""

from __future__ import annotations

from dataclasses import dataclass

from search_spaces.config import Config
from trainers.evaluation import EVIDENCE_PHASES, Arm, Slot
from trainers.randomness import StreamKey


@dataclass(frozen=True, kw_only=True)
class Member:
    """What `train_pack` needs to know to train one member, alone or in company."""

    slot: Slot
    config: Config
    seed_index: int
    """The index of its random streams, shared with the levels it is compared to."""
    arm: Arm = "tuned"
    salt: str = ""
    rungs: tuple[tuple[int, float], ...] = ()
    """(step, metric): where it is stopped if its validation metric is larger than that. Only in searches."""
    root: str = ""
    """The study whose name keys its streams and data splits; '': its slot's. A study that extends another
    trains what that one would have trained, had it been larger."""

    @property
    def streams(self) -> StreamKey:
        s = self.slot
        return StreamKey(
            study=self.root or s.study,
            task=s.task,
            block=s.block,
            phase=s.phase,
            index=self.seed_index,
            salt=self.salt,
        )

    @property
    def reads_test(self) -> bool:
        """Only confirm and external members may see test data."""
        return self.slot.phase in EVIDENCE_PHASES
