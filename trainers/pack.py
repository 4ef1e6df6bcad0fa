"""Train members together as one stack: the only place that adds the leading member axis.

Shape letters: K members, B items of a batch, V held-out items, C outputs, P flat parameters,
T steps. A single run is a pack of one.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor

from search_spaces.activations import ACTIVATION
from search_spaces.normalizations import NORMALIZATION
from trainers.columns import Columns
from trainers.diagnostics.calibration import HeldOutView
from trainers.diagnostics.names import Switch
from trainers.diagnostics.recorder import Recorder
from trainers.effective import Wiring, check
from trainers.evaluation import CurvePoint, Evaluation, Status
from trainers.feed import Feed, HeldOut
from trainers.full_statistics import recompute
from trainers.looks import Log, Patience, Plateau, look_steps
from trainers.losses import member_losses, wrongness
from trainers.member import Member
from trainers.networks import Network, OwnModule, Pass, network_for
from trainers.networks.network import Noise, Watch
from trainers.noise import NoiseSource
from trainers.precision import LossScale, autocast, element_type
from trainers.structure import judged_at_once, structure_key
from trainers.task import Task
from trainers.updates import Updates
from trainers.versions import versions

Progress = Callable[[float], None]


def train_pack(
    members: Sequence[Member],
    task: Task,
    *,
    device: str = "cpu",
    diagnostics: Switch = "ends",
    on_progress: Progress | None = None,
) -> list[Evaluation]:
    """Train members of one structure on one task and judge each of them.

    A member's result does not depend on its companions: its streams are its own, every operation
    acts within its slice, and a diverged member only loses its own slice.

    Args:
        members: at least one, all with the same `structure_key` on this task.
        task: the data; members of several blocks may train together.
        device: a torch device ('cpu', 'cuda', 'cuda:0', ...). Never yet run on a GPU.
        diagnostics: whether to record what happens inside the members; it changes nothing else.
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
        return _Training(members, task, torch.device(device), diagnostics).run(on_progress)


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


class _Training:
    """The state of one pack while it trains."""

    def __init__(self, members: Sequence[Member], task: Task, device: torch.device, diagnostics: Switch):
        self.members, self.task, self.device = members, task, device
        configs = [m.config for m in members]
        self.configs = configs
        self.setting = configs[0].setting
        self.dtype = element_type(self.setting.precision)
        self.network: Network = network_for(configs[0], task)
        self.module_seeds: list[int] | None = None
        if isinstance(self.network, OwnModule):
            self.network.module.to(device=device, dtype=self.dtype)
            self.module_seeds = [int(m.streams.stream("module").integers(2**62)) for m in members]
        self.feed = Feed(members, task, device=device, dtype=self.dtype)
        self.noise = NoiseSource(
            members,
            self.network,
            items=self.feed.batch_size,
            steps_per_epoch=self.feed.steps_per_epoch,
            dtype=self.dtype,
            device=device,
        )
        starts = [self.network.start(m.config, m.streams) for m in members]
        self.params_KP = torch.stack([p for p, _ in starts]).to(device, self.dtype)
        self.buffers_KP = torch.stack([b for _, b in starts]).to(device, self.dtype)
        self.grads_KP = torch.zeros_like(self.params_KP)
        self.leaves = self.network.parameters.leaves(self.params_KP, self.grads_KP)
        self.buffers = self.network.buffers.views(self.buffers_KP)
        self.forward_numbers = self._forward_numbers()
        self.updates = Updates(configs, self.network.parameters, self.params_KP)
        self.smoothing_K = self._smoothing()
        self.patience = self._patience()
        scaled = self.setting.precision == "float16"
        self.loss_scale = LossScale(len(members), device) if scaled else None
        self.recorder = None
        if diagnostics != "none":
            self.recorder = Recorder(
                self.network, task, numbers=self.forward_numbers, autocast=self._autocast
            )

    def _forward_numbers(self) -> dict[str, Tensor]:
        levels = self.configs[0].levels
        ranges = (
            *ACTIVATION.level(levels["activation"]).ranges,
            *NORMALIZATION.level(levels["normalization"]).ranges,
        )
        return Columns(configs=self.configs, dtype=self.dtype, device=self.device).numbers(ranges, trailing=2)

    def _smoothing(self) -> Tensor | None:
        """How much each member's training labels are smoothed; None where nobody's are."""
        shares = [c.numbers.get("smoothing", 0.0) for c in self.configs]
        if not any(shares):
            return None
        return Columns(configs=self.configs, dtype=self.dtype, device=self.device).of(shares, trailing=0)

    def _patience(self) -> Patience:
        """Early stopping; who does not ask for it waits for ever."""
        looks = [c.numbers.get("stop_patience", math.inf) for c in self.configs]
        columns = Columns(configs=self.configs, dtype=self.dtype, device=self.device)
        return Patience(columns.of(looks, trailing=0).floor())

    # -- training ----------------------------------------------------------------------------

    def run(self, on_progress: Progress | None) -> list[Evaluation]:
        """All steps, with a look at the validation items at evenly spaced ones."""
        log = Log(len(self.members), self.params_KP, self.buffers_KP)
        pace = self.updates.pace
        plateau = Plateau(pace.patience_K, pace.factor_K)
        steps = self.setting.steps
        looks = set(look_steps(self.setting))
        middle = min(looks, key=lambda look: abs(look - steps / 2))
        rungs = self._rungs()
        for step in range(steps):
            before_KP = self.params_KP.clone() if self.recorder and step + 1 == middle else None
            losses_K = self._step(step, plateau.scale_K)
            if self.recorder is not None:
                self.recorder.loss(losses_K)
                if before_KP is not None:
                    self.recorder.moved(before_KP, self.params_KP)
            log.add(losses_K, step + 1)
            if step + 1 in looks:
                metric_K, loss_K = self._judge(self.feed.validation)
                log.look(step + 1, metric_K, loss_K, pace.rate_TK1[step, :, 0] * plateau.scale_K)
                better_K = log.keep_best(metric_K, loss_K)
                plateau.look(loss_K)
                log.stop(self.patience.look(better_K), step + 1, pruned=False)
                if step + 1 in rungs:
                    log.stop(metric_K > rungs[step + 1], step + 1, pruned=True)
                if on_progress is not None:
                    on_progress((step + 1) / steps)
                if not log.training_K.any():
                    break
        tests = self._tests(log)
        curves = [log.curve(k) for k in range(len(self.members))]
        inside = self._inside(log, curves)
        return [self._evaluation(k, log, tests, curves[k], inside[k]) for k in range(len(self.members))]

    def _rungs(self) -> dict[int, Tensor]:
        """Step -> the largest validation metric [K] with which each member goes on after it."""
        found: dict[int, Tensor] = {}
        for k, member in enumerate(self.members):
            for step, metric in member.rungs:
                none = torch.full((len(self.members),), math.inf, dtype=self.dtype, device=self.device)
                found.setdefault(step, none)[k] = metric
        return found

    def _step(self, step: int, scale_K: Tensor) -> Tensor:
        """One update of every member; the losses [K] before it."""
        x_KBF, y_KB = self.feed.batch(step)
        noise = self.noise.at(step)
        if step == 0:
            check(self.wiring(x_KBF, noise))
            if self.recorder is not None:
                self.recorder.begin(self.params_KP, self.buffers_KP, x_KBF, y_KB)
        how = Pass(
            training=True,
            numbers=self.forward_numbers,
            noise=noise,
            seeds=self._seeds(step),
        )
        with self._autocast():
            outputs_KBC = self.network.forward(self.leaves, self.buffers, x_KBF, how)
        losses_K = self._losses(outputs_KBC, y_KB)
        self.grads_KP.zero_()
        if self.loss_scale is None:
            torch.autograd.backward(losses_K.sum())
            overflowed_K = None
        else:
            torch.autograd.backward((losses_K * self.loss_scale.scale_K).sum())
            overflowed_K = self.loss_scale.unscale(self.grads_KP)
            self.loss_scale.learn(overflowed_K)
        with torch.no_grad():
            self.updates.step(step, self.params_KP, self.grads_KP, scale_K, overflowed_K)
        return losses_K.detach()

    def _losses(self, outputs_KBC: Tensor, y_KB: Tensor) -> Tensor:
        """What is trained on, [K]."""
        return member_losses(outputs_KBC.to(self.dtype), y_KB, self.task.kind, self.smoothing_K)

    def wiring(self, x_KBF: Tensor, noise: Noise) -> Wiring:
        """What was built, for `trainers.effective` to read back."""
        return Wiring(
            members=self.members,
            task=self.task,
            network=self.network,
            params_KP=self.params_KP,
            buffers_KP=self.buffers_KP,
            numbers=self.forward_numbers,
            updates=self.updates,
            losses=self._losses,
            patience=self.patience,
            feed=self.feed,
            x_KBF=x_KBF,
            noise=noise,
            autocast=self._autocast,
        )

    def _autocast(self) -> AbstractContextManager[object]:
        return autocast(self.setting.precision, self.device)

    def _seeds(self, step: int) -> Sequence[int] | None:
        """What a user's module draws its own noise from: each member's stream, a step further on."""
        if self.module_seeds is None:
            return None
        return [seed + step for seed in self.module_seeds]

    # -- judging -----------------------------------------------------------------------------

    @torch.no_grad()
    def _judge(self, held_out: HeldOut, watch: Watch | None = None) -> tuple[Tensor, Tensor]:
        """Metric [K] and loss [K] of the current parameters on the members' own held-out items."""
        how = Pass(training=False, numbers=self.forward_numbers, watch=watch)
        count = held_out.y_RV.shape[1]
        metric_K = torch.zeros(len(self.members), dtype=self.dtype, device=self.device)
        loss_K = torch.zeros_like(metric_K)
        parameters = self.network.parameters.views(self.params_KP)
        at_once = judged_at_once(self.network)
        for start in range(0, count, at_once):
            x = held_out.x_RVF[:, start : start + at_once][self.feed.source_K]
            y = held_out.y_RV[:, start : start + at_once][self.feed.source_K]
            with self._autocast():
                outputs = self.network.forward(parameters, self.buffers, x, how).to(self.dtype)
            loss_K += member_losses(outputs, y, self.task.kind) * y.shape[1]
            metric_K += wrongness(outputs, y, self.task.kind)
        metric_K /= count
        if self.task.kind == "regression":
            metric_K = metric_K.sqrt()
        return metric_K, loss_K / count

    def _tests(self, log: Log) -> dict[str, Tensor] | None:
        """One read of the test items, its read-outs: the best validation step and the last step.

        Where a network of ours keeps running statistics, a third: the best validation step once more,
        with the statistics of all training items.
        """
        if self.feed.test is None:
            return None
        best = (log.best_params_KP, log.best_buffers_KP)
        readouts = {"best_validation": best, "last": log.last()}
        if self.network.buffers.segments and not isinstance(self.network, OwnModule):
            readouts["recomputed"] = best
        found = {}
        for name, (params_KP, buffers_KP) in readouts.items():
            self.params_KP.copy_(params_KP)
            self.buffers_KP.copy_(buffers_KP)
            if name == "recomputed":
                recompute(
                    self.network,
                    self.params_KP,
                    self.buffers_KP,
                    self.feed.training_items,
                    self.forward_numbers,
                    self._autocast,
                )
            view = HeldOutView() if self.recorder and name == "best_validation" else None
            found[name], _ = self._judge(self.feed.test, view)
            if self.recorder and view:
                self.recorder.held_out("test", view, self.feed.test.y_RV[self.feed.source_K])
        return found

    def _inside(self, log: Log, curves: Sequence[Sequence[CurvePoint]]) -> list[dict[str, float]]:
        """The members' diagnostics; those that diverged have no end."""
        if self.recorder is None:
            return [{} for _ in self.members]
        last_params_KP, last_buffers_KP = log.last()
        self.params_KP.copy_(log.best_params_KP)
        self.buffers_KP.copy_(log.best_buffers_KP)
        view = HeldOutView(units=True)
        self._judge(self.feed.validation, view)
        self.recorder.held_out("validation", view, self.feed.validation.y_RV[self.feed.source_K])
        self.params_KP.copy_(last_params_KP)
        self.buffers_KP.copy_(last_buffers_KP)
        self.recorder.end(self.params_KP, self.buffers_KP)
        _, train_loss_K = self._judge(self.feed.training)
        losses = [curve[-1].validation_loss if curve else math.nan for curve in curves]
        validation_loss_K = torch.tensor(losses, dtype=self.dtype, device=self.device)
        self.recorder.fitted(train_loss_K, validation_loss_K, self.feed.training.y_RV[self.feed.source_K])
        return [
            {name: value for name, value in row.items() if alive or name.startswith(("init.", "loss."))}
            for row, alive in zip(self.recorder.per_member(), log.alive_K.tolist(), strict=True)
        ]

    def _evaluation(
        self,
        k: int,
        log: Log,
        tests: Mapping[str, Tensor] | None,
        curve: tuple[CurvePoint, ...],
        inside: Mapping[str, float],
    ) -> Evaluation:
        member = self.members[k]
        finished = bool(log.alive_K[k])
        pruned = bool(log.pruned_K[k])
        status: Status = "diverged" if not finished else "pruned" if pruned else "finished"
        trivial = self.feed.trivial[member.slot.block]
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
            curve=curve,
            steps=int(log.ended_at_K[k]) or self.setting.steps,
            diagnostics=inside,
            versions={**versions(), "device": self.device.type},
        )
