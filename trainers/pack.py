"""Train members together as one stack: the only place that adds the leading member axis.

Shape letters: K members, B items of a batch, V held-out items, C outputs, P flat parameters,
T steps. A single run is a pack of one.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from search_spaces.activations import ACTIVATION
from search_spaces.clipping import CLIPPING
from search_spaces.config import Config
from search_spaces.factor import Range
from search_spaces.normalizations import NORMALIZATION
from search_spaces.optimizers import OPTIMIZER
from search_spaces.schedules import SCHEDULE, Schedule
from search_spaces.space import decay_kind
from trainers.evaluation import Evaluation, Status
from trainers.feed import CHUNK, Feed, HeldOut
from trainers.looks import Log, Plateau
from trainers.member import Member
from trainers.networks import Network, OwnModule, Pass, network_for
from trainers.noise import DropoutNoise
from trainers.structure import structure_key
from trainers.task import Kind, Task
from trainers.versions import versions

Progress = Callable[[float], None]


def train_pack(
    members: Sequence[Member], task: Task, *, device: str = "cpu", on_progress: Progress | None = None
) -> list[Evaluation]:
    """Train members of one structure on one task and judge each of them.

    A member's result does not depend on its companions: its streams are its own, every operation
    acts within its slice, and a diverged member only loses its own slice.

    Args:
        members: at least one, all with the same `structure_key` on this task.
        task: the data; members of several blocks may train together.
        device: a torch device ('cpu', 'cuda', 'cuda:0', ...). Never yet run on a GPU.
        on_progress: called with the share of steps done, at every look at the validation items.

    Returns:
        One evaluation per member, in the order of `members`.

    Raises:
        ValueError: no members, different structures, or a config the task's network cannot realise.
    """
    if not members:
        raise ValueError("a pack needs at least one member")
    keys = {structure_key(m.config, task) for m in members}
    if len(keys) > 1:
        raise ValueError(f"a pack trains one structure; these {len(members)} members have {len(keys)}")
    with single_threaded(), torch.random.fork_rng(devices=[]):
        return _Training(members, task, torch.device(device)).run(on_progress)


@contextmanager
def single_threaded() -> Iterator[None]:
    """One thread and no denormals: packs run side by side, and a result must not hang on either."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        with warnings.catch_warnings():
            # Gradients accumulate into strided rows on purpose; a dense layout measured no faster.
            warnings.filterwarnings("ignore", message="grad and param do not obey")
            yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)


@dataclass(frozen=True, kw_only=True)
class _Pace:
    """Per-member step sizes over time."""

    rate_TK1: Tensor
    """Learning rate after schedule, before performance scheduling."""
    momentum_TK1: Tensor | None
    """Where a schedule cycles momentum."""
    patience_K: Tensor
    factor_K: Tensor


class _Training:
    """The state of one pack while it trains."""

    def __init__(self, members: Sequence[Member], task: Task, device: torch.device):
        self.members, self.task, self.device = members, task, device
        configs = [m.config for m in members]
        self.configs = configs
        self.setting = configs[0].setting
        self.dtype = getattr(torch, self.setting.precision)
        self.network: Network = network_for(configs[0], task)
        self.module_seeds: list[int] | None = None
        if isinstance(self.network, OwnModule):
            self.network.module.to(device=device, dtype=self.dtype)
            self.module_seeds = [int(m.streams.stream("module").integers(2**62)) for m in members]
        self.feed = Feed(members, task, device=device, dtype=self.dtype)
        self.noise = self._noise()
        starts = [self.network.start(m.config, m.streams) for m in members]
        self.params_KP = torch.stack([p for p, _ in starts]).to(device, self.dtype)
        self.buffers_KP = torch.stack([b for _, b in starts]).to(device, self.dtype)
        self.grads_KP = torch.zeros_like(self.params_KP)
        self.leaves = self.network.parameters.leaves(self.params_KP, self.grads_KP)
        self.buffers = self.network.buffers.views(self.buffers_KP)
        optimizer = OPTIMIZER.level(configs[0].levels["optimizer"])
        self.rule = optimizer.build
        self.state = {name: torch.zeros_like(self.params_KP) for name in self.rule.buffers}
        self.update_numbers = self._numbers(optimizer.ranges, trailing=1)
        self.forward_numbers = self._forward_numbers()
        self.pace = self._pace()
        self.coupled_K1 = self._decay("coupled")
        self.decoupled_K1 = self._decay("decoupled")
        self.clips = self._clipping()

    # -- numbers per member ------------------------------------------------------------------

    def _column(self, values: Sequence[float], trailing: int) -> Tensor:
        """[K] values as [K, 1, ...] with `trailing` ones."""
        return torch.tensor(values, dtype=self.dtype, device=self.device).view(-1, *(1,) * trailing)

    def _numbers(self, ranges: Sequence[Range], trailing: int) -> dict[str, Tensor]:
        names = {r.name for r in ranges} - {"learning_rate", "weight_decay"}
        return {
            name: self._column([c.numbers[name] for c in self.configs], trailing) for name in sorted(names)
        }

    def _forward_numbers(self) -> dict[str, Tensor]:
        levels = self.configs[0].levels
        ranges = (
            *ACTIVATION.level(levels["activation"]).ranges,
            *NORMALIZATION.level(levels["normalization"]).ranges,
        )
        return self._numbers(ranges, trailing=2)

    def _schedule(self, config: Config) -> Schedule:
        level = SCHEDULE.level(config.levels["schedule"])
        return level.build(self.setting.steps, **{r.name: config.numbers[r.name] for r in level.ranges})

    def _pace(self) -> _Pace:
        schedules = [self._schedule(c) for c in self.configs]
        peaks = np.array([c.numbers["learning_rate"] for c in self.configs])
        rates = np.stack([s.multiplier for s in schedules], axis=1) * peaks
        name = self.rule.momentum_number
        momentum = None
        if name is not None and any(s.momentum is not None for s in schedules):
            steps = self.setting.steps
            rows = [
                np.full(steps, c.numbers[name]) if s.momentum is None else s.momentum
                for c, s in zip(self.configs, schedules, strict=True)
            ]
            momentum = self._table(np.stack(rows, axis=1))
        return _Pace(
            rate_TK1=self._table(rates),
            momentum_TK1=momentum,
            patience_K=self._column([s.patience for s in schedules], 0),
            factor_K=self._column([s.factor for s in schedules], 0),
        )

    def _table(self, values_TK: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> Tensor:
        return torch.from_numpy(values_TK).to(self.device, self.dtype).unsqueeze(-1)

    def _decay(self, kind: str) -> Tensor | None:
        """Decay strengths [K, 1] of that kind; None where nobody has it."""
        strengths = [c.numbers["weight_decay"] if decay_kind(c.levels) == kind else 0.0 for c in self.configs]
        return self._column(strengths, 1) if any(strengths) else None

    def _clipping(self) -> list[Callable[[Tensor], Tensor]]:
        """Every clipping rule somebody uses; members without it get an infinite threshold."""
        rules: list[Callable[[Tensor], Tensor]] = []
        for level in CLIPPING.levels:
            if level.build is None or all(c.levels["clipping"] != level.name for c in self.configs):
                continue
            numbers = {
                r.name: self._column(
                    [
                        c.numbers[r.name] if c.levels["clipping"] == level.name else math.inf
                        for c in self.configs
                    ],
                    1,
                )
                for r in level.ranges
            }
            rules.append(partial(level.build, **numbers))
        return rules

    def _noise(self) -> DropoutNoise | None:
        rates = [c.numbers.get("dropout_rate", 0.0) for c in self.configs]
        if not any(rates) or not self.network.masked_layers:
            return None
        return DropoutNoise(
            self.members,
            rates,
            layers=self.network.masked_layers,
            items=self.feed.batch_size,
            width=self.setting.width,
            steps_per_epoch=self.feed.steps_per_epoch,
            dtype=self.dtype,
            device=self.device,
        )

    # -- training ----------------------------------------------------------------------------

    def run(self, on_progress: Progress | None) -> list[Evaluation]:
        """All steps, with a look at the validation items at evenly spaced ones."""
        log = Log(len(self.members), self.params_KP, self.buffers_KP)
        plateau = Plateau(self.pace.patience_K, self.pace.factor_K)
        steps = self.setting.steps
        looks = set(np.linspace(0, steps, self.setting.evaluations + 1)[1:].round().astype(int).tolist())
        for step in range(steps):
            losses_K = self._step(step, plateau.scale_K)
            log.add(losses_K, step + 1)
            if step + 1 in looks:
                metric_K, loss_K = self._judge(self.feed.validation)
                log.look(step + 1, metric_K, loss_K, self.pace.rate_TK1[step, :, 0] * plateau.scale_K)
                log.keep_best(metric_K, loss_K, self.params_KP, self.buffers_KP)
                plateau.look(loss_K)
                if on_progress is not None:
                    on_progress((step + 1) / steps)
                if not log.alive_K.any():
                    break
        tests = self._tests(log)
        return [self._evaluation(k, log, tests) for k in range(len(self.members))]

    def _step(self, step: int, scale_K: Tensor) -> Tensor:
        """One update of every member; the losses [K] before it."""
        x_KBF, y_KB = self.feed.batch(step)
        masks = None if self.noise is None else self.noise.masks(step)
        how = Pass(
            training=True,
            numbers=self.forward_numbers,
            mask=(lambda layer: None) if masks is None else masks.__getitem__,
            seeds=self._seeds(step),
        )
        outputs_KBC = self.network.forward(self.leaves, self.buffers, x_KBF, how)
        losses_K = member_losses(outputs_KBC, y_KB, self.task.kind)
        self.grads_KP.zero_()
        torch.autograd.backward(losses_K.sum())
        with torch.no_grad():
            self._update(step, scale_K)
        return losses_K.detach()

    def _update(self, step: int, scale_K: Tensor) -> None:
        """Clip, decay, and apply the update rule, in torch's order."""
        grads = self.grads_KP
        rate_K1 = self.pace.rate_TK1[step] * scale_K[:, None]
        for clip in self.clips:
            grads = clip(grads)
        if self.coupled_K1 is not None:
            grads = grads.addcmul_(self.params_KP, self.coupled_K1)
        if self.decoupled_K1 is not None:
            self.params_KP.mul_(1 - rate_K1 * self.decoupled_K1)
        numbers: Mapping[str, Tensor] = self.update_numbers
        if self.pace.momentum_TK1 is not None and self.rule.momentum_number is not None:
            numbers = {**numbers, self.rule.momentum_number: self.pace.momentum_TK1[step]}
        self.rule.apply(
            self.params_KP, grads, self.state, step=step + 1, learning_rate=rate_K1, numbers=numbers
        )

    def _seeds(self, step: int) -> Sequence[int] | None:
        """What a user's module draws its own noise from: each member's stream, a step further on."""
        if self.module_seeds is None:
            return None
        return [seed + step for seed in self.module_seeds]

    # -- judging -----------------------------------------------------------------------------

    @torch.no_grad()
    def _judge(self, held_out: HeldOut) -> tuple[Tensor, Tensor]:
        """Metric [K] and loss [K] of the current parameters on the members' own held-out items."""
        how = Pass(training=False, numbers=self.forward_numbers)
        count = held_out.y_RV.shape[1]
        metric_K = torch.zeros(len(self.members), dtype=self.dtype, device=self.device)
        loss_K = torch.zeros_like(metric_K)
        parameters = self.network.parameters.views(self.params_KP)
        for start in range(0, count, CHUNK):
            x = held_out.x_RVF[:, start : start + CHUNK][self.feed.block_K]
            y = held_out.y_RV[:, start : start + CHUNK][self.feed.block_K]
            outputs = self.network.forward(parameters, self.buffers, x, how)
            loss_K += member_losses(outputs, y, self.task.kind) * y.shape[1]
            metric_K += wrongness(outputs, y, self.task.kind)
        metric_K /= count
        if self.task.kind == "regression":
            metric_K = metric_K.sqrt()
        return metric_K, loss_K / count

    def _tests(self, log: Log) -> dict[str, Tensor] | None:
        """One read of the test items, two read-outs: the last step and the best validation step."""
        if self.feed.test is None:
            return None
        last_K, _ = self._judge(self.feed.test)
        self.params_KP.copy_(log.best_params_KP)
        self.buffers_KP.copy_(log.best_buffers_KP)
        best_K, _ = self._judge(self.feed.test)
        return {"best_validation": best_K, "last": last_K}

    def _evaluation(self, k: int, log: Log, tests: Mapping[str, Tensor] | None) -> Evaluation:
        member = self.members[k]
        status: Status = "finished" if bool(log.alive_K[k]) else "diverged"
        trivial = self.feed.trivial[member.slot.block]
        finished = status == "finished"
        test = None
        if tests is not None and member.reads_test:
            test = {name: float(value[k]) if finished else math.inf for name, value in tests.items()}
        return Evaluation(
            slot=member.slot,
            arm=member.arm,
            config=member.config,
            status=status,
            cause="" if finished else log.cause(k),
            validation_metric=float(log.best_metric_K[k]) if finished else trivial,
            validation_loss=float(log.best_loss_K[k]) if finished else math.inf,
            best_step=int(log.best_step_K[k]) if finished else 0,
            test=test,
            curve=log.curve(k),
            steps=self.setting.steps if finished else int(log.died_at_K[k]),
            versions={**versions(), "device": self.device.type},
        )


def member_losses(outputs_KBC: Tensor, y_KB: Tensor, kind: Kind) -> Tensor:
    """Mean loss [K]: cross-entropy of class scores, or squared error of a standardized target."""
    if kind == "regression":
        return (outputs_KBC.squeeze(-1) - y_KB).square().mean(-1)
    flat = functional.cross_entropy(outputs_KBC.flatten(0, 1), y_KB.flatten(), reduction="none")
    return flat.view(y_KB.shape).mean(-1)


def wrongness(outputs_KBC: Tensor, y_KB: Tensor, kind: Kind) -> Tensor:
    """Sum over items [K] of what the metric averages: errors, or squared errors."""
    if kind == "regression":
        return (outputs_KBC.squeeze(-1) - y_KB).square().sum(-1)
    return (outputs_KBC.argmax(-1) != y_KB).sum(-1).to(outputs_KBC.dtype)
