"""Train members together as one stack: the only place that adds the leading member axis.

Shape letters: K members of the pack, S of the stack that still trains, B items of a batch, V held-out
items, C outputs, P flat parameters, T steps. A single run is a pack of one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial

import torch
from torch import Tensor

from trainers.config_audit import BuiltPack, check
from trainers.diagnostics.calibration import HeldOutView
from trainers.diagnostics.names import Switch
from trainers.diagnostics.recorder import Recorder
from trainers.evaluation import CurvePoint, Evaluation, Status
from trainers.loop.batch_norm_statistics import recompute
from trainers.loop.evaluate import Evaluator
from trainers.loop.feed import Feed
from trainers.loop.manual_backward import ManualBackward, StackTensors, build_manual_backward
from trainers.loop.noise import NoiseSource
from trainers.loop.single_thread import single_threaded
from trainers.loop.stack import Stack
from trainers.loop.structure import structure_key
from trainers.loop.updates import Updates
from trainers.loop.validation_log import Patience, Plateau, ValidationLog, evaluation_steps
from trainers.losses import losses_and_gradient, member_losses
from trainers.member import Member
from trainers.networks import ForwardPass, Network, OwnModule, network_of_stack
from trainers.networks.network import Noise
from trainers.processor import processor
from trainers.tasks.task import Task
from trainers.tensors.groups import side_by_side
from trainers.tensors.member_columns import MemberColumns
from trainers.tensors.precision import LossScale, autocast, element_type
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
    """Train members of one structure on one task and evaluate each of them.

    Their activations and update rules may differ: each acts on the rows of its members, and everything else
    on the whole stack. A member's result does not depend on its companions: its random streams are its own,
    every operation acts within its slice, and a diverged member affects its own slice only.

    Args:
        members: at least one, all with the same `structure_key` on this task.
        task: the data; members of several blocks may train together.
        device: a torch device ('cpu', 'cuda', 'cuda:0', ...). Never yet run on a GPU.
        diagnostics: whether to record the members' diagnostics; it changes nothing else.
        on_progress: called with the share of steps done, after every validation.

    Returns:
        One evaluation per member, in the order of `members`.

    Raises:
        ValueError: no members, different structures, or a config that the task's network cannot have.

    Examples:
        >>> from search_spaces.config import Setting
        >>> from search_spaces.space import complete
        >>> from trainers.evaluation import Slot
        >>> from trainers.tasks import TASKS
        >>> place = {"study": "mine", "factor": "activation", "task": "digits", "regime": "any", "block": 0}
        >>> slots = [Slot(**place, level="relu", phase="retune", index=k) for k in range(2)]
        >>> setting = Setting(steps=20, evaluations=2, width=16)
        >>> configs = [complete({}, {"learning_rate": rate}, setting=setting) for rate in (0.01, 0.1)]
        >>> members = [Member(slot=s, config=c, seed_index=0) for s, c in zip(slots, configs, strict=True)]
        >>> slow, fast = train_pack(members, TASKS["digits"]())
        >>> slow.status, fast.validation_loss < slow.validation_loss
        ('finished', True)
    """
    if not members:
        raise ValueError("a pack needs at least one member")
    keys = {structure_key(m.config, task) for m in members}
    if len(keys) > 1:
        raise ValueError(f"a pack trains one structure; these {len(members)} members have {len(keys)}")
    order = side_by_side([m.config for m in members])
    with single_threaded(), torch.random.fork_rng(devices=[]):
        training = _Training([members[k] for k in order], task, torch.device(device), diagnostics)
        evaluations = dict(zip(order, training.run(on_progress), strict=True))
    return [evaluations[k] for k in range(len(members))]


class _Training:
    """The state of one pack while it trains."""

    def __init__(self, members: Sequence[Member], task: Task, device: torch.device, diagnostics: Switch):
        self.members, self.task, self.device = members, task, device
        configs = [m.config for m in members]
        self.configs = configs
        self.setting = configs[0].setting
        self.dtype = element_type(self.setting.precision)
        self.network: Network = network_of_stack(configs, task)
        self.module_seeds: list[int] | None = None
        if isinstance(self.network, OwnModule):
            self.network.module.to(device=device, dtype=self.dtype)
            self.module_seeds = [int(m.streams.stream("module").integers(2**62)) for m in members]
        self.feed = Feed(members, task, device=device, dtype=self.dtype)
        self.evaluator = Evaluator(task, self.feed.source_K, self._autocast)
        self.noise = NoiseSource(
            members,
            self.network,
            items=self.feed.batch_size,
            steps_per_epoch=self.feed.steps_per_epoch,
            dtype=self.dtype,
            device=device,
        )
        starts = [self.network.start(m.config, m.streams) for m in members]
        params, buffers = (torch.stack(rows).to(device, self.dtype) for rows in zip(*starts, strict=True))
        self.stack = Stack(
            network=self.network,
            configs=configs,
            rows_S=torch.arange(len(members), device=device),
            params_SP=params,
            buffers_SP=buffers,
        )
        self.manual = self._build_manual_backward()
        """The manual backward pass of the stack; None: gradients come from autograd."""
        self.full_stack = self.stack
        """All members of the pack, those that have ended included."""
        self.log = ValidationLog(self.stack)
        self.updates = Updates(configs, self.network.parameters, self.stack.params_SP)
        self.smoothing_K = self._smoothing()
        self.patience = self._patience()
        scaled = self.setting.precision == "float16"
        self.loss_scale = LossScale(len(members), device) if scaled else None
        self.recorder = None
        if diagnostics != "none":
            self.recorder = Recorder(self.network, task, numbers=self.stack.numbers, autocast=self._autocast)

    def _smoothing(self) -> Tensor | None:
        """Label smoothing [K] of each member; None where no member has any."""
        shares = [c.numbers.get("smoothing", 0.0) for c in self.configs]
        if not any(shares):
            return None
        return MemberColumns(configs=self.configs, dtype=self.dtype, device=self.device).of(
            shares, trailing=0
        )

    def _patience(self) -> Patience:
        """Early stopping; members without it have infinite patience."""
        counts = [c.numbers.get("stop_patience", math.inf) for c in self.configs]
        columns = MemberColumns(configs=self.configs, dtype=self.dtype, device=self.device)
        return Patience(columns.of(counts, trailing=0).floor())

    # -- training ----------------------------------------------------------------------------

    def run(self, on_progress: Progress | None) -> list[Evaluation]:
        """All steps, with validation at evenly spaced ones."""
        log, count = self.log, len(self.members)
        plateau = Plateau(self.updates.schedules.patience_K, self.updates.schedules.factor_K)
        steps = self.setting.steps
        eval_steps = set(evaluation_steps(self.setting))
        middle = min(eval_steps, key=lambda step: abs(step - steps / 2))
        rungs = self._rungs()
        for step in range(steps):
            before_SP = self.stack.params_SP.clone() if self.recorder and step + 1 == middle else None
            losses_K = self.stack.spread(self._step(step, plateau.scale_K), count, math.nan)
            if self.recorder is not None:
                self.recorder.loss(torch.where(log.training_K, losses_K, 0.0))
                if before_SP is not None:
                    rows = (before_SP, self.stack.params_SP, self.stack.buffers_SP)
                    before_KP, after_KP, buffers_KP = (
                        self.stack.spread(row, count, math.nan) for row in rows
                    )
                    going_K1 = log.training_K[:, None]
                    self.recorder.moved(torch.where(going_K1, before_KP, math.nan), after_KP, buffers_KP)
            log.add(losses_K, step + 1)
            if step + 1 in eval_steps:
                measured = self.evaluator.evaluate(self.stack, self.feed.validation)
                rate_S = self.updates.schedules.rate_TK1[step, :, 0] * plateau.scale_K[self.stack.rows_S]
                rows = (*measured, rate_S)
                metric_K, loss_K, rate_K = (self.stack.spread(row, count, math.nan) for row in rows)
                log.record(step + 1, metric_K, loss_K, rate_K)
                better_K = log.keep_best(metric_K, loss_K, self.stack)
                plateau.update(loss_K)
                log.stop(self.patience.update(better_K), step + 1, self.stack, pruned=False)
                if step + 1 in rungs:
                    log.stop(metric_K > rungs[step + 1], step + 1, self.stack, pruned=True)
                if on_progress is not None:
                    on_progress((step + 1) / steps)
                if not log.training_K.any():
                    break
                self._narrow()
        tests = self._test_metrics()
        curves = [log.curve(k) for k in range(count)]
        diagnostics = self._diagnostics(curves)
        return [self._evaluation(k, tests, curves[k], diagnostics[k]) for k in range(count)]

    def _rungs(self) -> dict[int, Tensor]:
        """Step -> the largest validation metric [K] with which each member continues after it."""
        limits: dict[int, Tensor] = {}
        for k, member in enumerate(self.members):
            for step, metric in member.rungs:
                none = torch.full((len(self.members),), math.inf, dtype=self.dtype, device=self.device)
                limits.setdefault(step, none)[k] = metric
        return limits

    def _narrow(self) -> None:
        """Removes members that have ended from the stack once they are many; no result changes."""
        kept_S = self.stack.leaving(self.log.training_K)
        if kept_S is None:
            return
        self.stack = self.stack.narrowed(kept_S)
        self.manual = self._build_manual_backward()
        self.updates = self.updates.narrowed(kept_S, self.stack.params_SP)
        if self.loss_scale is not None:
            self.loss_scale = self.loss_scale.narrowed(kept_S)

    def _step(self, step: int, scale_K: Tensor) -> Tensor:
        """One update of every member of the stack; the losses [S] before it."""
        stack = self.stack
        rows_S = None if stack is self.full_stack else stack.rows_S
        x_SBF, y_SB = self.feed.batch(step, rows_S)
        noise = self.noise.at(step, rows_S)
        how = ForwardPass(training=True, numbers=stack.numbers, noise=noise, seeds=self._seeds(step))
        if step == 0:
            check(self.built_pack(x_SBF, y_SB, noise))
            if self.recorder is not None:
                self.recorder.begin(stack.params_SP, stack.buffers_SP, x_SBF, y_SB)
        losses_S = self._gradients(x_SBF, y_SB, how)
        overflowed_S = None
        if self.loss_scale is not None:
            overflowed_S = self.loss_scale.unscale(stack.grads_SP)
            self.loss_scale.learn(overflowed_S)
        with torch.no_grad():
            scale_S = scale_K if rows_S is None else scale_K[rows_S]
            self.updates.step(step, stack.params_SP, stack.grads_SP, scale_S, overflowed_S)
        return losses_S

    def _gradients(self, x_SBF: Tensor, y_SB: Tensor, how: ForwardPass) -> Tensor:
        """Losses [S] of a batch; their gradients, times the loss scale, are left in `grads_SP`."""
        if self.manual is None or how.noise.weights:
            return self._by_autograd(x_SBF, y_SB, how)
        self.stack.clear_gaps()
        return self.manual.gradients(x_SBF, how, partial(self._losses_and_gradient, y_SB=y_SB))

    def _by_autograd(self, x_SBF: Tensor, y_SB: Tensor, how: ForwardPass) -> Tensor:
        stack = self.stack
        with self._autocast():
            outputs_SBC = stack.network.forward(stack.leaves, stack.buffers, x_SBF, how)
        losses_S = self._losses(outputs_SBC, y_SB)
        stack.grads_SP.zero_()
        scaled_S = losses_S if self.loss_scale is None else losses_S * self.loss_scale.scale_K
        torch.autograd.backward(scaled_S.sum())
        return losses_S.detach()

    def _both_gradients(self, x_SBF: Tensor, y_SB: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        """Gradients [S, P] by the manual pass and by autograd; the pack is not changed."""
        stack, gradients = self.stack, []
        how = ForwardPass(training=True, numbers=stack.numbers, noise=noise, seeds=self._seeds(0))
        for make in (self._gradients, self._by_autograd):
            before_SP = stack.buffers_SP.clone()
            make(x_SBF, y_SB, how)
            gradients.append(stack.grads_SP.clone())
            stack.buffers_SP.copy_(before_SP)
        return gradients[0], gradients[1]

    def _build_manual_backward(self) -> ManualBackward | None:
        if self.setting.precision not in ("float32", "float64"):
            return None
        stack = self.stack
        rows = StackTensors(parameters=stack.parameters, gradients=stack.gradients, buffers=stack.buffers)
        return build_manual_backward(stack.network, rows, items=self.feed.batch_size)

    def _losses(self, outputs_SBC: Tensor, y_SB: Tensor) -> Tensor:
        """Training loss of every member [S]."""
        return member_losses(outputs_SBC.to(self.dtype), y_SB, self.task.kind, self._smoothing_S)

    def _losses_and_gradient(self, outputs_SBC: Tensor, y_SB: Tensor) -> tuple[Tensor, Tensor]:
        """Training loss [S] and its derivative with respect to the outputs [S, B, C]."""
        return losses_and_gradient(outputs_SBC, y_SB, self.task.kind, self._smoothing_S)

    @property
    def _smoothing_S(self) -> Tensor | None:
        return None if self.smoothing_K is None else self.smoothing_K[self.stack.rows_S]

    def built_pack(self, x_KBF: Tensor, y_KB: Tensor, noise: Noise) -> BuiltPack:
        """The pack as built, for `trainers.config_audit` to measure."""
        return BuiltPack(
            members=self.members,
            task=self.task,
            network=self.network,
            params_KP=self.stack.params_SP,
            buffers_KP=self.stack.buffers_SP,
            numbers=self.stack.numbers,
            updates=self.updates,
            losses=self._losses,
            patience=self.patience,
            feed=self.feed,
            x_KBF=x_KBF,
            noise=noise,
            gradients=partial(self._both_gradients, x_KBF, y_KB, noise) if self.manual else None,
            autocast=self._autocast,
        )

    def _autocast(self) -> AbstractContextManager[object]:
        return autocast(self.setting.precision, self.device)

    def _seeds(self, step: int) -> Sequence[int] | None:
        """Seeds of torch's generator for the members' own modules at a step; None: networks of ours."""
        if self.module_seeds is None:
            return None
        return [self.module_seeds[k] + step for k in self.stack.rows_S.tolist()]

    # -- judging -----------------------------------------------------------------------------

    def _best(self) -> Stack:
        """All members at their best validation step."""
        return self.full_stack.holding(self.log.best_params_KP, self.log.best_buffers_KP)

    def _test_metrics(self) -> dict[str, Tensor] | None:
        """Test metrics [K] of the best validation step and of the last step.

        Where a network of ours has running statistics, also "recomputed": the best validation step with
        the statistics of all training items.
        """
        test = self.feed.test
        if test is None:
            return None
        metrics = {}
        view = HeldOutView() if self.recorder else None
        metrics["best_validation"], _ = self.evaluator.evaluate(self._best(), test, view)
        if self.recorder and view:
            self.recorder.held_out("test", view, test.y_RV[self.feed.source_K])
        metrics["last"], _ = self.evaluator.evaluate(
            self.full_stack.holding(*self.log.last(self.stack)), test
        )
        if self.network.buffers.segments and not isinstance(self.network, OwnModule):
            whole = self._best()
            rows = (whole.params_SP, whole.buffers_SP)
            recompute(whole.network, *rows, self.feed.training_items, whole.numbers, self._autocast)
            metrics["recomputed"], _ = self.evaluator.evaluate(whole, test)
        return metrics

    def _diagnostics(self, curves: Sequence[Sequence[CurvePoint]]) -> list[dict[str, float]]:
        """The members' diagnostics; of those that diverged only what was recorded while they trained."""
        if self.recorder is None:
            return [{} for _ in self.members]
        view = HeldOutView(units=True)
        self.evaluator.evaluate(self._best(), self.feed.validation, view)
        self.recorder.held_out("validation", view, self.feed.validation.y_RV[self.feed.source_K])
        last = self.full_stack.holding(*self.log.last(self.stack))
        self.recorder.end(last.params_SP, last.buffers_SP)
        _, train_loss_K = self.evaluator.evaluate(last, self.feed.training)
        losses = [curve[-1].validation_loss if curve else math.nan for curve in curves]
        validation_loss_K = torch.tensor(losses, dtype=self.dtype, device=self.device)
        self.recorder.fitted(train_loss_K, validation_loss_K, self.feed.training.y_RV[self.feed.source_K])
        return [
            {name: value for name, value in row.items() if alive or name.startswith(("init.", "loss."))}
            for row, alive in zip(self.recorder.per_member(), self.log.alive_K.tolist(), strict=True)
        ]

    def _evaluation(
        self,
        k: int,
        tests: Mapping[str, Tensor] | None,
        curve: tuple[CurvePoint, ...],
        diagnostics: Mapping[str, float],
    ) -> Evaluation:
        member, log = self.members[k], self.log
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
            diagnostics=diagnostics,
            versions={**versions(), "device": self.device.type},
            processor=processor(self.device),
        )
