"""Random packs in which rates are cut, losses overflow and members end: nobody notices the others.

Every test first makes sure that it happened. What a member does by itself is worked out once more, from
what its curve says, by torch's own scheduler and by a count of looks.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import trainers.loop.stack
import trainers.tensors.precision
from search_spaces.config import Config, Precision
from tests.trainers.packs import TINY, blobs, member, numbers_of
from trainers.evaluation import Evaluation
from trainers.loop.feed import Feed, trivial_error
from trainers.loop.pack import train_pack
from trainers.loop.stack import Stack
from trainers.loop.validation_log import Plateau
from trainers.member import Member
from trainers.tasks.task import Task
from trainers.tensors.precision import LossScale

SETTING = replace(TINY, precision="float32", width=16, batch_size=16, steps=64, evaluations=16)
SEEDS = (0, 1)
STEEP = 2.0**24
"""A first loss scale whose gradients float16 cannot hold."""
OFTEN = 6
"""Steps without an overflow after which a loss scale doubles."""


class Own(nn.Module):
    """A user's network that draws noise of its own and keeps statistics."""

    def __init__(self, inputs: int, outputs: int, config: Config) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(inputs, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, outputs)
        )

    def forward(self, x: torch.Tensor) -> Any:
        return self.body(x)


def random_pack(seed: int, precision: Precision = "float32", *, noisy: bool = True) -> list[Member]:
    """Twelve members whose patience, smoothing, rates and rungs are drawn."""
    draws = np.random.default_rng(seed)
    found = []
    for k in range(12):
        one = member(
            levels={
                "optimizer": "sgd",
                "schedule": "performance",
                "label_smoothing": "label_smoothing",
                "early_stopping": "patience",
                **({"dropout": "dropout"} if noisy else {}),
            },
            numbers={
                "learning_rate": float(np.exp(draws.uniform(np.log(0.02), np.log(1.0)))) if k % 5 else 2.9,
                "plateau_patience": float(draws.integers(0, 3)),
                "plateau_factor": float(draws.uniform(0.2, 0.7)),
                "smoothing": float(draws.uniform(0, 0.3)) if k % 3 else 0.0,
                "stop_patience": float(draws.integers(2, 9)),
                **({"dropout_rate": float(draws.uniform(0, 0.5))} if noisy else {}),
            },
            setting=replace(SETTING, precision=precision),
            index=k,
            phase="confirm",
        )
        step = 4 * int(draws.integers(1, 9))
        found.append(replace(one, rungs=((step, float(draws.uniform(0.1, 0.6))),)) if k % 2 else one)
    return found


def task_of(kind: str) -> Task:
    task = blobs(items=400)
    return replace(task, network=Own) if kind == "own" else task


class Spied:
    """What happened in one training."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, narrow: bool = True):
        self.sizes: list[int] = []
        self.overflows: list[tuple[int, int]] = []
        """(members of the stack, how many of them overflowed) of every step."""
        self.scales: list[torch.Tensor] = []
        self._patch, self._narrow = monkeypatch, narrow

    def train(self, pack: list[Member], task: Task) -> list[Evaluation]:
        narrowed, unscale = Stack.narrowed, LossScale.unscale

        def narrowing(stack: Stack, kept_S: torch.Tensor) -> Stack:
            self.sizes.append(len(kept_S))
            return narrowed(stack, kept_S)

        def unscaling(scale: LossScale, grads_KP: torch.Tensor) -> torch.Tensor:
            self.scales.append(scale.scale_K.clone())
            overflowed_K = unscale(scale, grads_KP)
            self.overflows.append((len(overflowed_K), int(overflowed_K.sum())))
            return overflowed_K

        with self._patch.context() as patch:
            patch.setattr(Stack, "narrowed", narrowing)
            patch.setattr(LossScale, "unscale", unscaling)
            patch.setattr(trainers.tensors.precision, "FIRST_SCALE", STEEP)
            patch.setattr(trainers.tensors.precision, "GROWTH_INTERVAL", OFTEN)
            if not self._narrow:
                patch.setattr(trainers.loop.stack, "WORTHWHILE", 0)
            return train_pack(pack, task)

    def happened(self, done: list[Evaluation], precision: Precision) -> None:
        """A cut, endings of both kinds, and in float16 overflows and growth, before and after a narrowing."""
        assert any(e.curve and e.curve[-1].learning_rate < e.curve[0].learning_rate for e in done), "no cut"
        assert sum(cut_after_narrowing(e) for e in done) > 1, "no cut while others had ended"
        early = [e for e in done if e.status == "finished" and e.steps < SETTING.steps]
        assert early, "nobody was stopped by patience"
        assert any(e.status == "pruned" for e in done), "nobody was pruned"
        assert any(e.steps == SETTING.steps for e in done), "nobody trained to the end"
        assert not self._narrow or min(self.sizes) < len(done), "nothing narrowed"
        if precision == "float16":
            assert any(n for _, n in self.overflows), "nothing overflowed"
            if self._narrow:
                assert any(n and of < len(done) for of, n in self.overflows), "nothing overflowed in a rest"
            assert any(len(set(scale.tolist())) > 1 for scale in self.scales), "all had one scale"
            assert max(float(scale.max()) for scale in self.scales[-5:]) < STEEP, "no scale fell"


def cut_after_narrowing(evaluation: Evaluation) -> bool:
    """Whether a rate was cut after half of the training."""
    rates = [p.learning_rate for p in evaluation.curve if p.step >= SETTING.steps // 2]
    return len(set(rates)) > 1


PRECISIONS: list[Precision] = ["float32", "float16", "bfloat16"]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", ["mlp", "own"])
def test_narrowed_is_not_narrowed_and_companions_are_not_noticed(
    kind: str, precision: Precision, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack, task = random_pack(seed, precision, noisy=kind == "mlp"), task_of(kind)
    spied = Spied(monkeypatch)
    done = spied.train(pack, task)
    spied.happened(done, precision)
    whole = Spied(monkeypatch, narrow=False)
    assert [numbers_of(e) for e in whole.train(pack, task)] == [numbers_of(e) for e in done]
    assert not whole.sizes
    # A stack of one may differ in its last bit: everybody has one companion, the members' order turned.
    for k in range(0, len(pack), 5):
        pair = [pack[(k + 1) % len(pack)], pack[k]]
        alone = Spied(monkeypatch).train(pair, task)[1]
        assert numbers_of(alone) == numbers_of(done[k])


@pytest.mark.parametrize("seed", SEEDS)
def test_alone_in_float64_is_together(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pack = random_pack(seed, "float64")
    spied = Spied(monkeypatch)
    done = spied.train(pack, blobs(items=400))
    spied.happened(done, "float64")
    for one, packed in zip(pack, done, strict=True):
        (alone,) = train_pack([one], blobs(items=400))
        assert (alone.status, alone.steps, alone.best_step) == (packed.status, packed.steps, packed.best_step)
        for a, b in zip(alone.curve, packed.curve, strict=True):
            assert a.learning_rate == b.learning_rate
            assert a.validation_loss == pytest.approx(b.validation_loss, rel=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", ["mlp", "own"])
def test_every_rate_is_cut_where_torchs_scheduler_cuts_it(
    kind: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = random_pack(seed, noisy=kind == "mlp")
    spied = Spied(monkeypatch)
    done = spied.train(pack, task_of(kind))
    spied.happened(done, "float32")
    for one, evaluation in zip(pack, done, strict=True):
        numbers = one.config.numbers
        optimizer = torch.optim.SGD([torch.zeros(1)], lr=numbers["learning_rate"])
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, patience=int(numbers["plateau_patience"]), factor=numbers["plateau_factor"]
        )
        for point in evaluation.curve:
            assert point.learning_rate == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-6)
            scheduler.step(point.validation_loss)


def test_an_improvement_that_torchs_scheduler_overlooks_is_overlooked() -> None:
    """Random losses that fall by about the threshold, for members of every patience."""
    draws = np.random.default_rng(0)
    patience, factor = torch.tensor([0.0, 1.0, 2.0, 4.0]), torch.tensor([0.5, 0.1, 0.3, 0.7])
    plateau = Plateau(patience, factor)
    optimizers = [torch.optim.SGD([torch.zeros(1)], lr=1.0) for _ in patience]
    torchs = [
        torch.optim.lr_scheduler.ReduceLROnPlateau(one, patience=int(p), factor=float(f), eps=0.0)
        for one, p, f in zip(optimizers, patience, factor, strict=True)
    ]
    loss, small = np.ones(4), 0
    for _ in range(60):
        step = draws.choice([-3e-4, -0.6e-4, 0.0, 2e-4], size=4)
        small += int((step == -0.6e-4).sum())
        loss = loss * (1 + step)
        plateau.update(torch.from_numpy(loss))
        for scheduler, value in zip(torchs, loss.tolist(), strict=True):
            scheduler.step(value)
        expected = torch.tensor([one.param_groups[0]["lr"] for one in optimizers])
        torch.testing.assert_close(plateau.scale_K, expected, rtol=1e-5, atol=1e-12)
    assert small > 20 and (plateau.scale_K < 1).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_every_member_stops_where_its_patience_or_its_rung_says(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = random_pack(seed)
    spied = Spied(monkeypatch)
    done = spied.train(pack, blobs(items=400))
    spied.happened(done, "float32")
    for one, evaluation in zip(pack, done, strict=True):
        if evaluation.status == "diverged":
            continue
        best, waited, end, best_step = (np.inf, np.inf), 0, SETTING.steps, 0
        for point in evaluation.curve:
            now = (point.validation_metric, point.validation_loss)
            waited, best, best_step = (0, now, point.step) if now < best else (waited + 1, best, best_step)
            worn = waited > one.config.numbers["stop_patience"]
            pruned = any(point.step == step and now[0] > metric for step, metric in one.rungs)
            if worn or pruned:
                end = point.step
                assert (evaluation.status == "pruned") == (pruned and not worn)
                break
        assert (evaluation.steps, evaluation.curve[-1].step, evaluation.best_step) == (end, end, best_step)
        assert (evaluation.validation_metric, evaluation.validation_loss) == best


def test_a_loss_scale_adapts_inside_a_pack_and_goes_with_its_member(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scales of a pack that narrows, member by member, are those of one that keeps everybody."""
    pack = random_pack(1, "float16")
    seen: dict[bool, list[dict[int, float]]] = {}
    for narrow in (True, False):
        rows: list[torch.Tensor] = []
        whole = Stack.narrowed

        def narrowed(stack: Stack, kept_S: torch.Tensor) -> Stack:
            made = whole(stack, kept_S)  # noqa: B023
            rows.append(made.rows_S)  # noqa: B023
            return made

        spied = Spied(monkeypatch, narrow=narrow)
        with monkeypatch.context() as patch:
            patch.setattr(Stack, "narrowed", narrowed)
            done = spied.train(pack, blobs(items=400))
        spied.happened(done, "float16")
        of_size = {len(r): r.tolist() for r in rows} | {len(pack): list(range(len(pack)))}
        seen[narrow] = [dict(zip(of_size[len(s)], s.tolist(), strict=True)) for s in spied.scales]
    assert any(len(step) < len(pack) for step in seen[True])
    for few, everybody in zip(seen[True], seen[False], strict=False):
        assert few == {k: everybody[k] for k in few}
    first, last = seen[True][0], seen[True][-1]
    assert all(scale == STEEP for scale in first.values())
    assert all(scale < STEEP for scale in last.values())
    ups = sum(b[k] > a[k] for a, b in zip(seen[False], seen[False][1:], strict=False) for k in b)
    assert ups, "no scale ever grew again"


def test_a_regressions_metric_is_the_root_of_its_loss() -> None:
    one = member(setting=replace(SETTING, precision="float64"), phase="confirm")
    (done,) = train_pack([one], blobs("regression"))
    assert len(done.curve) == SETTING.evaluations
    for point in done.curve:
        assert point.validation_metric == pytest.approx(point.validation_loss**0.5, rel=1e-12)


def test_the_best_class_to_guess_is_that_of_the_training_items() -> None:
    """Where the validation items have another: one class in train, the other in the part held out."""
    items, blocks = 400, 20
    draws = np.random.default_rng(0)
    x = draws.normal(size=(items, 4))
    task = Task.from_arrays(x, np.arange(items) % 2, kind="classification", name="even")
    differing = 0
    for block in range(blocks):
        split = task.split("test", block)
        of_train, of_validation = (
            np.bincount(task.y[part], minlength=2) for part in (split.train, split.validation)
        )
        if of_train.argmax() == of_validation.argmax() or len(set(of_validation)) == 1:
            continue
        differing += 1
        wrong = 1 - of_validation[of_train.argmax()] / of_validation.sum()
        assert wrong > 0.5
        assert trivial_error(task, "test", block) == pytest.approx(wrong)
        one = member(block=block, task="even")
        feed = Feed([one], task, device=torch.device("cpu"), dtype=torch.float64)
        assert feed.trivial[block] == pytest.approx(wrong)
    assert differing > 3, "no block in which the two parts differ"
