"""A user's own network: what it may be, what is refused, what initializers reach, and which one it is."""

from __future__ import annotations

import dataclasses
import functools
import math
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from search_spaces.config import Config
from search_spaces.space import complete
from tests.trainers.packs import TINY, blobs, member, numbers_of
from trainers.loop.feed import Feed
from trainers.loop.pack import _Training, train_pack
from trainers.member import Member
from trainers.networks import ForwardPass, OwnModule, network_for
from trainers.randomness import StreamKey
from trainers.tasks.task import Task
from trainers.tasks.user_tasks import load_user_tasks
from trainers.tools.rehearsal import rehearse, starts_alike, undeclared, unread

FLOAT32 = dataclasses.replace(TINY, precision="float32")
Module = Callable[..., nn.Module]


def own(build: Any, **more: Any) -> Task:
    """The blobs with a network of one's own."""
    return dataclasses.replace(blobs(), network=build, **more)


class Layered(nn.Module):
    """One hidden layer, and whatever a case does to it."""

    def __init__(self, inputs: int, outputs: int, config: Config) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, 6)
        self.last = nn.Linear(6, outputs)

    def hidden(self, x: Tensor) -> Tensor:
        return torch.tanh(self.first(x))

    def forward(self, x: Tensor) -> Any:
        return self.last(self.hidden(x))


# -- what is refused ---------------------------------------------------------------------------


class GivesPair(Layered):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x), None


class GivesDict(Layered):
    def forward(self, x: Tensor) -> Any:
        return {"logits": super().forward(x)}


class GivesNone(Layered):
    def forward(self, x: Tensor) -> Any:
        super().forward(x)


class GivesColumn(Layered):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x)[:, :1]


class GivesClasses(Layered):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x).round().long()


class GivesFloat64(Layered):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x).double()


class GivesNothingToLearn(Layered):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x).detach()


class GivesNan(Layered):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x) * math.nan


class Raises(Layered):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x).reshape(7, 7)


class RaisesInTraining(Layered):
    def forward(self, x: Tensor) -> Any:
        if self.training:
            raise KeyError("mask")
        return super().forward(x)


class ChangesItsWeight(Layered):
    def forward(self, x: Tensor) -> Any:
        self.first.weight.add_(1)
        return super().forward(x)


class ChangesWhatItNeeds(Layered):
    def forward(self, x: Tensor) -> Any:
        hidden = self.hidden(x)
        scores = self.last(hidden)
        hidden += 1  # tanh and the last map need it for their gradients
        return scores


class Float64Inside(Layered):
    def __init__(self, *words: Any) -> None:
        super().__init__(*words)
        self.double()

    def forward(self, x: Tensor) -> Any:
        return super().forward(x.double()).float()


class DrawsByItself(Layered):
    def __init__(self, *words: Any) -> None:
        super().__init__(*words)
        self.draws = torch.Generator().manual_seed(0)

    def forward(self, x: Tensor) -> Any:
        noise = torch.rand(len(x), 6, generator=self.draws) if self.training else 0.5
        return self.last(self.hidden(x) * noise)


class DrawsWithNumpy(Layered):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x) + float(np.random.rand())  # noqa: NPY002 - as users do


class KeepsByItself(Layered):
    before: Any = 0.0

    def forward(self, x: Tensor) -> Any:
        hidden = self.hidden(x)
        scores = self.last(hidden + self.before)
        self.before = hidden.mean().detach()
        return scores


class Frozen(Layered):
    def __init__(self, *words: Any) -> None:
        super().__init__(*words)
        self.requires_grad_(False)


class Nowhere(nn.Module):
    def __init__(self, inputs: int, outputs: int, config: Config) -> None:
        super().__init__()
        self.map = nn.Linear(inputs, outputs, device="meta")

    def forward(self, x: Tensor) -> Any:
        return self.map(x)


class Refusing(Tensor):
    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise TypeError("nothing is computed with this")


class GivesRefusing(Layered):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x).as_subclass(Refusing)


class KeepsSparse(Layered):
    def __init__(self, *words: Any) -> None:
        super().__init__(*words)
        self.last.weight = nn.Parameter(self.last.weight.detach().to_sparse())


def scripted(inputs: int, outputs: int, config: Config) -> nn.Module:
    module: nn.Module = torch.jit.script(Layered(inputs, outputs, config))
    return module


def partly_traced(inputs: int, outputs: int, config: Config) -> nn.Module:
    part: nn.Module = torch.jit.trace(nn.Linear(inputs, 4), torch.zeros(2, inputs))  # type: ignore[no-untyped-call]
    return nn.Sequential(part, nn.Linear(4, outputs))


def parallel(inputs: int, outputs: int, config: Config) -> nn.Module:
    return nn.DataParallel(Layered(inputs, outputs, config))


class ReadsNothing(Layered):
    def forward(self, x: Tensor) -> Any:
        return self.last.bias.expand(len(x), -1)


class ReadsTheBatch(Layered):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x).mean(0).expand(len(x), -1)


class StartsAtZero(Layered):
    def __init__(self, *words: Any) -> None:
        super().__init__(*words)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)


class Empty(nn.Module):
    def __init__(self, inputs: int, outputs: int, config: Config) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, x: Tensor) -> Any:
        return torch.zeros(len(x), self.outputs)


class FailsToBuild(nn.Module):
    def __init__(self, inputs: int, outputs: int, config: Config) -> None:
        super().__init__()
        self.map = nn.Linear(inputs, config.setting.width, config.setting.heads)  # type: ignore[attr-defined]


def exits(inputs: int, outputs: int, config: Config) -> nn.Module:
    raise SystemExit("no GPU")


REFUSED: dict[str, tuple[Any, str]] = {
    "a pair": (GivesPair, r"returns a tuple \(Tensor, NoneType\), not one tensor"),
    "a dict": (GivesDict, r"returns a dict \(logits\), not one tensor"),
    "nothing": (GivesNone, "returns NoneType, not one tensor"),
    "one column": (GivesColumn, r"maps 2 items to \(2, 1\); it must be \(2, 3\)"),
    "whole numbers": (GivesClasses, "returns int64 numbers"),
    "float64": (GivesFloat64, "returns float64 numbers with precision float32"),
    "detached": (
        GivesNothingToLearn,
        "cannot be trained: RuntimeError: element 0 of tensors does not require",
    ),
    "NaN": (GivesNan, "gives NaN or infinite numbers before anything is trained"),
    "an error": (Raises, "fails on items: RuntimeError: shape"),
    "an error in training": (RaisesInTraining, "fails on items: KeyError: 'mask'"),
    "its weight in place": (
        ChangesItsWeight,
        "a leaf Variable that requires grad is being used in an in-place",
    ),
    "what it needs in place": (ChangesWhatItNeeds, "has been modified by an inplace operation"),
    "float64 inside": (
        Float64Inside,
        r"its parameters are float64, and precision float32 makes them float32",
    ),
    "a generator of its own": (DrawsByItself, "gives two answers to the same items under one seed"),
    "numpy's": (DrawsWithNumpy, "gives two answers to the same items under one seed"),
    "a memory that is no buffer": (KeepsByItself, "what it keeps must be a buffer"),
    "frozen": (Frozen, "has frozen parameters only"),
    "on meta": (Nowhere, "has 'map.weight' on device meta"),
    "no parameters": (Empty, "has no parameters: there is nothing to train"),
    "torch.jit.script": (scripted, "is compiled by torch.jit.*RecursiveScriptModule.: return the torch"),
    "torch.jit.trace": (partly_traced, "is compiled by torch.jit.*return the torch module itself"),
    "DataParallel": (parallel, "spreads its items over devices .DataParallel.: return the torch module"),
    "reads nothing": (ReadsNothing, "gives the same to all items, whatever its parameters are"),
    "reads the batch": (ReadsTheBatch, "gives the same to all items, whatever its parameters are"),
    "a tensor that refuses all": (GivesRefusing, "fails on items: TypeError: nothing is computed"),
    "a sparse parameter": (KeepsSparse, "network (has a parameter or a buffer that cannot|fails on items)"),
    "no such setting": (FailsToBuild, "cannot be built: AttributeError: .*heads"),
    "exits": (exits, "cannot be built: SystemExit: no GPU"),
    "no module": (lambda i, o, c: torch.zeros(3), "returned Tensor, not a torch module"),
    "no arguments": (lambda: nn.Linear(5, 3), "cannot be built: TypeError"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_training_could_use_is_one_message_with_task_file_line_and_contract(case: str) -> None:
    build, said = REFUSED[case]
    with pytest.raises(ValueError, match=said) as refused:
        rehearse(complete({}, setting=FLOAT32), own(build))
    message = str(refused.value)
    assert message.startswith("task 'blobs': its network ")
    assert f"({__file__}, line " in message
    assert "It is given x: float32 [batch, 5], each feature of mean 0 and SD 1" in message
    assert "it must return one tensor [batch, 3] of finite float32 numbers, a score for each class" in message
    assert "\n" not in message


TORCHS = (
    "Could not run 'aten::view' with arguments from the 'SparseCPU' backend. This could be because the "
    "operator doesn't exist for this backend. If you are a Facebook employee using PyTorch on mobile, visit "
    "https://fburl.com/x for possible resolutions. 'aten::view' is only available for these backends: [CPU]."
)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (TORCHS, TORCHS.partition(" If you")[0]),
        ("word " * 100, " ".join(["word"] * 60) + " ..."),
        ("x" * 400, "x" * 300 + " ..."),
        ("A short one. " + "Y" * 300 + ".", "A short one."),
        ("e.g. a view of 2.5 items. It fails", "e.g. a view of 2.5 items. It fails"),
        ("two\n  lines", "two lines"),
    ],
)
def test_of_a_long_message_whole_sentences_are_kept_or_whole_words(text: str, kept: str) -> None:
    class Talks(Layered):
        def forward(self, x: Tensor) -> Any:
            raise RuntimeError(text)

    with pytest.raises(ValueError, match="fails on items") as refused:
        rehearse(complete({}, setting=FLOAT32), own(Talks))
    assert f"its network fails on items: RuntimeError: {kept} ({__file__}, line " in str(refused.value)


def test_a_last_layer_that_starts_at_zero_is_taken() -> None:
    rehearse(complete({}, setting=FLOAT32), own(StartsAtZero))


def test_the_line_is_the_innermost_of_the_users_own_file() -> None:
    with pytest.raises(ValueError, match="fails on items") as refused:
        rehearse(complete({}, setting=FLOAT32), own(Raises))
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    line = int(str(refused.value).split("line ")[1].split(")")[0])
    assert "reshape(7, 7)" in lines[line - 1]


def test_a_network_that_starts_alike_whatever_the_seed_is_known() -> None:
    def loaded(inputs: int, outputs: int, config: Config) -> nn.Module:
        torch.manual_seed(3)
        return nn.Linear(inputs, outputs)

    config = complete({}, setting=FLOAT32)
    assert starts_alike(config, own(loaded))
    assert not starts_alike(config, own(Layered))
    assert not starts_alike(complete({"initializer": "he_normal"}, setting=FLOAT32), own(loaded))


IMPORTED = """
import numpy as np, torch
from pathlib import Path
from torch import nn
from trainers.tasks.task import Task

X = np.random.default_rng(7).normal(size=(80, 4))
BEFORE
M = MODULE

def network(inputs, outputs, config):
    BUILD

def task():
    return Task.from_arrays(X, X[:, 0] > 0, kind="classification", name="mine", network=network)

TASKS = [task]
"""


def imported(file: Path, module: str = "nn.Linear(4, 2)", before: str = "", build: str = "return M") -> Task:
    text = IMPORTED.replace("MODULE", module).replace("BEFORE", before).replace("BUILD", build)
    file.write_text(text, encoding="utf-8")
    return load_user_tasks(file)["mine"]()


@pytest.mark.parametrize(
    "words",
    [
        {},
        {"module": "torch.tensor(np.random.randn(2, 4), dtype=torch.float32)",
         "build": "m = nn.Linear(4, 2); m.weight = nn.Parameter(M); return m"},
        {"module": "nn.Linear(4, 3)", "build": "return nn.Sequential(M, nn.Linear(3, 2))"},
    ],
    ids=["module", "numpy's", "a part of it"],
)  # fmt: skip
def test_weights_that_are_drawn_when_the_file_is_imported_are_refused(
    words: dict[str, str], tmp_path: Path
) -> None:
    task = imported(tmp_path / "mine.py", **words)
    with pytest.raises(ValueError, match="are drawn when the file is imported; draw them inside") as refused:
        rehearse(complete({}, setting=FLOAT32), task)
    assert f"({tmp_path / 'mine.py'}, line 11)" in str(refused.value)
    assert sys.modules[task.network.__module__].network is task.network


@pytest.mark.parametrize("before", ["torch.manual_seed(3)", "W = torch.load(WEIGHTS)"])
def test_weights_from_a_file_or_a_seed_of_their_own_are_taken(before: str, tmp_path: Path) -> None:
    torch.save(nn.Linear(4, 2).state_dict(), tmp_path / "w.pt")
    before = before.replace("WEIGHTS", repr(str(tmp_path / "w.pt")))
    build = "M.load_state_dict(W); return M" if "load" in before else "return M"
    rehearse(complete({}, setting=FLOAT32), imported(tmp_path / "mine.py", before=before, build=build))


def test_draws_from_numpy_in_the_factory_are_refused() -> None:
    def drawn(inputs: int, outputs: int, config: Config) -> nn.Module:
        module = nn.Linear(inputs, outputs)
        module.bias = nn.Parameter(torch.tensor(np.random.randn(outputs), dtype=torch.float32))  # noqa: NPY002
        return module

    with pytest.raises(ValueError, match="differs between two builds with one seed"):
        rehearse(complete({}, setting=FLOAT32), own(drawn))


def test_two_builds_with_one_seed_must_agree() -> None:
    draws = np.random.default_rng(0)

    def numpys(inputs: int, outputs: int, config: Config) -> nn.Module:
        module = nn.Linear(inputs, outputs)
        with torch.no_grad():
            module.weight.mul_(float(draws.normal()))
        return module

    shallow, deep = (complete({}, setting=dataclasses.replace(FLOAT32, depth=d)) for d in (1, 2))
    with pytest.raises(ValueError, match="differs between two builds with one seed"):
        unread(shallow, deep, own(numpys))


# -- what is taken -----------------------------------------------------------------------------


class Lazy(nn.Module):
    def __init__(self, inputs: int, outputs: int, config: Config) -> None:
        super().__init__()
        self.first = nn.LazyLinear(6)
        self.norm = nn.LazyBatchNorm1d()
        self.last = nn.LazyLinear(outputs)

    def forward(self, x: Tensor) -> Any:
        return self.last(torch.relu(self.norm(self.first(x))))


class Averaging(Layered):
    """A norm whose statistics are plain averages over all batches so far, counted by itself."""

    def __init__(self, *words: Any) -> None:
        super().__init__(*words)
        self.norm = nn.BatchNorm1d(6, momentum=None)

    def forward(self, x: Tensor) -> Any:
        return self.last(torch.tanh(self.norm(self.first(x))))


class Remembering(Layered):
    """A buffer that is replaced at every step, and a counter."""

    shift: Tensor
    passes: Tensor

    def __init__(self, *words: Any) -> None:
        super().__init__(*words)
        self.register_buffer("shift", torch.zeros(6))
        self.register_buffer("passes", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Any:
        hidden = self.hidden(x)
        if self.training:
            self.passes = self.passes + 1
            self.shift = self.shift + (hidden.mean(0) - self.shift) / self.passes
        return self.last(hidden - self.shift)


class HalfFrozen(Layered):
    def __init__(self, *words: Any) -> None:
        super().__init__(*words)
        self.first.requires_grad_(False)


class Tied(nn.Module):
    def __init__(self, inputs: int, outputs: int, config: Config) -> None:
        super().__init__()
        self.up, self.again = nn.Linear(inputs, inputs), nn.Linear(inputs, inputs)
        self.again.weight = self.up.weight
        self.last = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Any:
        return self.last(torch.tanh(self.again(torch.tanh(self.up(x)))))


class ChangesItsItems(Layered):
    def forward(self, x: Tensor) -> Any:
        x.clamp_(-1, 1)
        x += 0.1
        return super().forward(x)


class AlwaysDropping(Layered):
    """Monte Carlo dropout: it draws in evaluation as well."""

    def forward(self, x: Tensor) -> Any:
        return self.last(functional.dropout(self.hidden(x), 0.5, training=True))


class Dropping(Layered):
    def __init__(self, *words: Any) -> None:
        super().__init__(*words)
        self.noise = nn.Dropout(0.3)

    def forward(self, x: Tensor) -> Any:
        return self.last(functional.dropout(self.noise(self.hidden(x)), 0.2, self.training))


TAKEN: dict[str, Any] = {
    "lazy layers": Lazy,
    "float64 parameters": lambda i, o, c: Layered(i, o, c).double(),
    "float16 parameters": lambda i, o, c: Layered(i, o, c).half(),
    "a norm that counts": Averaging,
    "buffers that are replaced": Remembering,
    "frozen in part": HalfFrozen,
    "shared parameters": Tied,
    "items changed in place": ChangesItsItems,
    "dropout in evaluation": AlwaysDropping,
    "dropout": Dropping,
    "a partial": functools.partial(
        lambda width, i, o, c: nn.Sequential(nn.Linear(i, width), nn.Linear(width, o)), 7
    ),
}


def company(task: Task, count: int = 3, **more: Any) -> list[Member]:
    return [
        member(
            levels={"optimizer": "adam", "early_stopping": "patience"},
            numbers={"learning_rate": 0.02, "stop_patience": 2.0 + k},
            setting=dataclasses.replace(FLOAT32, steps=40, evaluations=8),
            index=k,
            phase="confirm",
            **more,
        )
        for k in range(count)
    ]


@pytest.mark.parametrize("case", TAKEN)
def test_what_is_taken_trains_alone_as_in_company(case: str) -> None:
    task = own(TAKEN[case])
    rehearse(complete({}, setting=FLOAT32), task)
    members = company(task)
    for one, packed in zip(members, train_pack(members, task), strict=True):
        (alone,) = train_pack([one], task)
        assert numbers_of(alone) == numbers_of(packed)
        assert packed.status == "finished"
        assert packed.curve[-1].validation_loss < packed.curve[0].validation_loss


def trained(task: Task, one: Member) -> tuple[_Training, OwnModule]:
    """A training of one member at its end, and its network."""
    with torch.random.fork_rng(devices=[]):
        training = _Training([one], task, torch.device("cpu"), "none")
        training.run(None)
    network = training.network
    assert isinstance(network, OwnModule)
    return training, network


def test_what_is_frozen_stays_what_it_was() -> None:
    task = own(HalfFrozen)
    (one,) = company(task, 1)
    training, network = trained(task, one)
    params, buffers = network.start(one.config, one.streams)
    assert [s.name for s in network.parameters.segments] == ["last.weight", "last.bias"]
    assert [s.name for s in network.buffers.segments] == ["first.weight", "first.bias"]
    assert torch.equal(training.stack.buffers_SP[0], buffers.float())
    assert not torch.equal(training.stack.params_SP[0], params.float())


def test_buffers_that_a_module_replaces_and_counters_are_each_members_own() -> None:
    """Against the same module in a plain loop: after n batches the mean of the batches' means."""
    task = own(Remembering)
    one = member(
        setting=dataclasses.replace(FLOAT32, steps=5, evaluations=1), numbers={"learning_rate": 3e-4}
    )
    training, network = trained(task, one)
    kept = network.buffers.views(training.stack.buffers_SP[0])
    assert kept["passes"].item() == 5
    feed = Feed([one], task, device=torch.device("cpu"), dtype=torch.float32)
    views = network.parameters.views(network.start(one.config, one.streams)[0].float())
    means = [
        torch.tanh(feed.batch(t)[0][0] @ views["first.weight"].T + views["first.bias"]).mean(0)
        for t in range(5)
    ]
    torch.testing.assert_close(kept["shift"], torch.stack(means).mean(0), atol=2e-3, rtol=0)


def test_held_out_items_are_not_changed_by_a_module_that_changes_x() -> None:
    task = own(ChangesItsItems)
    (one,) = company(task, 1)
    training, _ = trained(task, one)
    fresh = Feed([one], task, device=torch.device("cpu"), dtype=torch.float32)
    assert torch.equal(training.feed.validation.x_RVF, fresh.validation.x_RVF)


# -- noise of its own --------------------------------------------------------------------------


class Watched(nn.Module):
    """Says which units each pass in training kept; the masks of all kinds of dropout."""

    seen: list[Tensor] = []  # noqa: RUF012 - of the one test that reads it

    def __init__(self, inputs: int, outputs: int, config: Config, kind: str) -> None:
        super().__init__()
        self.map, self.kind = nn.Linear(inputs, outputs), kind
        self.noise = {
            "module": nn.Dropout(0.5),
            "channels": nn.Dropout1d(0.5),
            "alpha": nn.AlphaDropout(0.5),
        }.get(kind)

    def forward(self, x: Tensor) -> Any:
        ones = torch.ones(len(x), 24)
        if self.kind == "channels":
            mask = self.noise(ones[:, :, None])[:, :, 0]  # type: ignore[misc]
        elif self.kind == "functional":
            mask = functional.dropout(ones, 0.5, training=self.training)
        elif self.kind == "by hand":
            mask = torch.bernoulli(ones / 2) if self.training else ones
        else:
            mask = self.noise(ones)  # type: ignore[misc]
        if self.training:
            Watched.seen.append(mask.detach().clone())
        return self.map(x) * (1 + 1e-3 * mask.mean())


@pytest.mark.parametrize("kind", ["module", "functional", "channels", "alpha", "by hand"])
def test_masks_of_two_steps_and_of_two_members_differ_and_belong_to_the_member(kind: str) -> None:
    task = own(functools.partial(Watched, kind=kind))
    setting = dataclasses.replace(FLOAT32, steps=6, evaluations=1)
    members = [member(setting=setting, index=k) for k in range(3)]

    def masks(pack: list[Member]) -> list[list[Tensor]]:
        """[step][member]"""
        train_pack(pack, task, diagnostics="none")  # builds, and reads back, without training
        Watched.seen.clear()
        train_pack(pack, task, diagnostics="none")
        last = Watched.seen[-setting.steps * len(pack) :]
        return [last[t * len(pack) : (t + 1) * len(pack)] for t in range(setting.steps)]

    together = masks(members)
    flat = [mask for step in together for mask in step]
    assert all(len(set(mask.flatten().tolist())) == 2 for mask in flat), "nothing was dropped"
    for i, one in enumerate(flat):
        assert all(not torch.equal(one, other) for other in flat[i + 1 :])
    for k, one_member in enumerate(members):
        alone = masks([one_member])
        assert all(torch.equal(alone[t][0], together[t][k]) for t in range(setting.steps))


# -- initializers ------------------------------------------------------------------------------


class Holding(nn.Module):
    """Layers of any kind; it is only ever started."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.free = nn.Parameter(torch.ones(3))


class Mapped(nn.Module):
    """Items through one linear map, with layers of any kind beside it."""

    def __init__(self, inputs: int, outputs: int, layers: Callable[[], list[nn.Module]]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers())
        self.map = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Any:
        return self.map(x)


def holding(*layers: Callable[[], nn.Module]) -> Task:
    return own(lambda i, o, c: Mapped(i, o, lambda: [layer() for layer in layers]))


FANS: dict[str, tuple[Callable[[], nn.Module], dict[str, tuple[int, int]]]] = {
    "Linear": (lambda: nn.Linear(40, 30), {"weight": (40, 30)}),
    "Conv1d": (lambda: nn.Conv1d(8, 24, 5), {"weight": (40, 120)}),
    "Conv2d": (lambda: nn.Conv2d(8, 24, 3), {"weight": (72, 216)}),
    "Conv2d in groups": (lambda: nn.Conv2d(8, 24, 3, groups=4), {"weight": (18, 216)}),
    "Conv3d": (lambda: nn.Conv3d(4, 10, 3), {"weight": (108, 270)}),
    "ConvTranspose1d": (lambda: nn.ConvTranspose1d(24, 8, 5), {"weight": (120, 40)}),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(24, 8, 3), {"weight": (216, 72)}),
    "ConvTranspose2d in groups": (lambda: nn.ConvTranspose2d(24, 8, 3, groups=4), {"weight": (54, 18)}),
    "Embedding": (lambda: nn.Embedding(60, 20), {"weight": (1, 20)}),
    "EmbeddingBag": (lambda: nn.EmbeddingBag(60, 20), {"weight": (1, 20)}),
    "MultiheadAttention": (
        lambda: nn.MultiheadAttention(24, 4),
        {"in_proj_weight": (24, 24), "out_proj.weight": (24, 24)},
    ),
    "MultiheadAttention across": (
        lambda: nn.MultiheadAttention(24, 4, kdim=36, vdim=48),
        {"q_proj_weight": (24, 24), "k_proj_weight": (36, 24), "v_proj_weight": (48, 24)},
    ),
    "LSTM": (lambda: nn.LSTM(30, 20), {"weight_ih_l0": (30, 20), "weight_hh_l0": (20, 20)}),
    "GRU both ways": (
        lambda: nn.GRU(30, 20, bidirectional=True),
        {"weight_ih_l0": (30, 20), "weight_hh_l0_reverse": (20, 20)},
    ),
    "RNNCell": (lambda: nn.RNNCell(30, 20), {"weight_ih": (30, 20), "weight_hh": (20, 20)}),
}


def first(task: Task, **levels: str) -> dict[str, Tensor]:
    config = complete(levels, setting=FLOAT32)
    network = network_for(config, task)
    row, _ = network.start(config, StreamKey(study="s", task="blobs", block=0, phase="pilot", index=0))
    return network.parameters.views(row)


@pytest.mark.parametrize("case", FANS)
def test_initializers_reach_every_kind_of_layer_by_its_fans(case: str) -> None:
    layer, fans = FANS[case]
    task = holding(layer)
    he, glorot, backward = (
        first(task, initializer=name) for name in ("he_normal", "glorot_uniform", "he_fan_out_normal")
    )
    default = first(task)
    for name, (fan_in, fan_out) in fans.items():
        name = f"layers.0.{name}"
        near = 5 / math.sqrt(he[name].numel())
        assert he[name].square().mean().item() == pytest.approx(2 / fan_in, rel=near)
        assert backward[name].square().mean().item() == pytest.approx(2 / fan_out, rel=near)
        assert glorot[name].square().mean().item() == pytest.approx(2 / (fan_in + fan_out), rel=near)
        assert glorot[name].abs().max().item() <= math.sqrt(6 / (fan_in + fan_out))
        assert not torch.equal(he[name], default[name])
    built = layer()
    for name, tensor in built.named_parameters():
        if "bias" in name:
            assert not he[f"layers.0.{name}"].any(), "he starts biases at zero"
        assert he[f"layers.0.{name}"].shape == tensor.shape
    assert not torch.equal(first(task, bias="zeros")["map.bias"], default["map.bias"])


def test_orthogonal_rows_and_gates() -> None:
    found = first(
        holding(lambda: nn.GRU(12, 12), lambda: nn.Embedding(9, 4), lambda: nn.Conv2d(3, 5, 2)),
        initializer="orthogonal",
    )
    for gate in found["layers.0.weight_hh_l0"].chunk(3):
        torch.testing.assert_close(gate @ gate.T, torch.eye(12).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        found["layers.1.weight"].square().sum(1), torch.ones(9).double(), atol=1e-5, rtol=0
    )
    kernel = found["layers.2.weight"].flatten(1)
    torch.testing.assert_close(kernel @ kernel.T, torch.eye(5).double(), atol=1e-5, rtol=0)


def test_the_row_of_padding_stays_zero_and_frozen_layers_keep_their_start() -> None:
    def frozen() -> nn.Module:
        return nn.Conv1d(4, 4, 3).requires_grad_(False)

    task = holding(lambda: nn.Embedding(9, 4, padding_idx=2), frozen)
    config = complete({"initializer": "he_normal"}, setting=FLOAT32)
    streams = StreamKey(study="s", task="blobs", block=0, phase="pilot", index=0)
    network = network_for(config, task)
    assert isinstance(network, OwnModule)
    params, buffers = network.start(config, streams)
    embedding = network.parameters.views(params)["layers.0.weight"]
    assert not embedding[2].any() and embedding[[0, 1, 3]].all()
    plain = network.start(complete({}, setting=FLOAT32), streams)[1]
    assert torch.equal(buffers, plain)


def test_a_linear_map_starts_as_it_did_whatever_else_there_is() -> None:
    alone = first(own(lambda i, o, c: nn.Linear(i, o)), initializer="he_normal")["weight"]
    beside = first(holding(lambda: nn.Conv1d(4, 4, 3), lambda: nn.LSTM(3, 3)), initializer="he_normal")[
        "map.weight"
    ]
    assert torch.equal(alone, beside)


def test_tensors_that_no_initializer_reaches_are_named() -> None:
    def free() -> nn.Module:
        return Holding(nn.Bilinear(2, 3, 4), nn.LayerNorm(4), nn.BatchNorm1d(3), nn.Conv1d(2, 2, 1))

    config = complete({}, setting=FLOAT32)
    network = network_for(config, holding(free))
    assert isinstance(network, OwnModule)
    assert network.unreached(config) == (
        "layers.0.free",
        "layers.0.layers.0.weight",
        "layers.0.layers.0.bias",
    )


# -- what it reads -----------------------------------------------------------------------------


def stacked(inputs: int, outputs: int, config: Config) -> nn.Module:
    """Reads depth, and of width nothing."""
    return nn.Sequential(
        *(nn.Linear(inputs, inputs) for _ in range(config.setting.depth)), nn.Linear(inputs, outputs)
    )


def dropping(inputs: int, outputs: int, config: Config) -> nn.Module:
    """Reads dropout by a function, which no module shows."""

    class Noisy(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return functional.dropout(
                super().forward(x), config.numbers.get("dropout_rate", 0.0), self.training
            )

    return Noisy(inputs, outputs)


def pair(name: str, one: Any, other: Any, **levels: str) -> tuple[Config, Config]:
    if name in ("depth", "width"):
        settings = (dataclasses.replace(FLOAT32, **{name: value}) for value in (one, other))
        a, b = (complete(levels, setting=setting) for setting in settings)
        return a, b
    if name in complete(levels).numbers:
        return complete(levels, {name: one}, setting=FLOAT32), complete(
            levels, {name: other}, setting=FLOAT32
        )
    return complete({name: one}, setting=FLOAT32), complete({name: other}, setting=FLOAT32)


def plain(inputs: int, outputs: int, config: Config) -> nn.Module:
    return nn.Linear(inputs, outputs, bias=False)


class Scaled(nn.Module):
    """No tensor of it is one that an initializer reaches."""

    def __init__(self, inputs: int, outputs: int, config: Config) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inputs, outputs))

    def forward(self, x: Tensor) -> Any:
        return x @ self.weight


READING: dict[str, tuple[Any, tuple[Config, Config], frozenset[str], tuple[str, ...]]] = {
    "depth is read": (stacked, pair("depth", 1, 3), frozenset(), ()),
    "width is not": (stacked, pair("width", 4, 8), frozenset(), ("width",)),
    "depth is not": (plain, pair("depth", 1, 3), frozenset(), ("depth",)),
    "an initializer is read": (plain, pair("initializer", "he_normal", "glorot_normal"), frozenset(), ()),
    "or reaches nothing": (
        Scaled, pair("initializer", "he_normal", "glorot_normal"), frozenset(), ("initializer",),
    ),
    "a gain is read": (plain, pair("init_gain", 0.5, 2.0, initializer="he_normal"), frozenset(), ()),
    "there is no bias": (plain, pair("bias", "zeros", "uniform"), frozenset(), ("bias",)),
    "dropout is read": (dropping, pair("dropout", "none", "dropout"), frozenset({"dropout"}), ()),
    "its rate is read": (
        dropping, pair("dropout_rate", 0.1, 0.2, dropout="dropout"), frozenset({"dropout"}), (),
    ),
    "dropout is said to be": (
        plain, pair("dropout", "none", "dropout"), frozenset({"dropout"}), ("dropout",),
    ),
    "optimizers reach all": (plain, pair("optimizer", "sgd", "adam"), frozenset(), ()),
}  # fmt: skip


@pytest.mark.parametrize("case", READING)
def test_what_a_network_does_not_read_is_found_by_building_it(case: str) -> None:
    build, configs, honours, names = READING[case]
    assert unread(*configs, own(build, honours=honours)) == names


def test_of_two_things_that_differ_the_one_that_is_not_read_is_named() -> None:
    shallow, deep = (
        complete({}, setting=dataclasses.replace(FLOAT32, depth=d, width=w)) for d, w in ((1, 4), (3, 8))
    )
    assert unread(shallow, deep, own(stacked)) == ("width",)
    assert unread(shallow, deep, own(plain)) == ("depth", "width")


def test_a_factory_or_its_task_says_what_it_reads() -> None:
    shallow, deep = pair("depth", 1, 3)
    assert undeclared(shallow, deep, own(stacked)) == ()
    assert undeclared(shallow, deep, own(stacked, reads=frozenset({"width"}))) == ("depth",)
    assert undeclared(shallow, deep, own(stacked, reads=frozenset({"depth"}))) == ()

    def said(inputs: int, outputs: int, config: Config) -> nn.Module:
        return stacked(inputs, outputs, config)

    said.reads = {"width"}  # type: ignore[attr-defined]
    assert undeclared(shallow, deep, own(said)) == ("depth",)
    with pytest.raises(ValueError, match="reads must hold names among depth, funnel, residual, width"):
        own(stacked, reads=frozenset({"deepness"}))


# -- tokens ------------------------------------------------------------------------------------


class Looking(nn.Module):
    """Looks ids up."""

    seen: list[Tensor] = []  # noqa: RUF012 - of the one test that reads it

    def __init__(self, inputs: int, outputs: int, config: Config, cast: bool = False) -> None:
        super().__init__()
        self.table, self.out, self.cast = nn.Embedding(50, 4), nn.Linear(4 * inputs, outputs), cast

    def forward(self, x: Tensor) -> Any:
        Looking.seen.append(x.clone())
        return self.out(self.table(x.long() if self.cast else x).flatten(1))


def ids(network: Any, **more: Any) -> Task:
    draws = np.random.default_rng(3)
    x = draws.integers(0, 50, size=(160, 6))
    return Task.from_arrays(x, x[:, 0] % 2, kind="classification", name="ids", network=network, **more)


@pytest.mark.parametrize("network", [Looking, functools.partial(Looking, cast=True)])
def test_whole_numbers_reach_a_network_that_takes_them_as_they_are(network: Any) -> None:
    task = ids(network)
    assert task.inputs == "tokens"
    Looking.seen.clear()
    members = [member(setting=FLOAT32, index=k, task="ids") for k in range(2)]
    together = train_pack(members, task)
    assert {x.dtype for x in Looking.seen} == {torch.int64}
    known = {tuple(row) for row in task.x.astype(np.int64).tolist()}
    assert {tuple(row) for x in Looking.seen for row in x.tolist()} <= known
    assert [numbers_of(train_pack([m], task)[0]) for m in members] == [numbers_of(e) for e in together]


def test_a_network_that_takes_no_whole_numbers_is_given_scaled_ones() -> None:
    assert ids(plain).inputs == "numbers"
    assert ids(functools.partial(Looking, cast=True), inputs="numbers").inputs == "numbers"
    pixels = np.arange(160 * 6, dtype=np.uint8).reshape(160, 6)
    of_pixels = Task.from_arrays(
        pixels,
        np.arange(160) % 2,
        kind="classification",
        name="p",
        network=functools.partial(Looking, cast=True),
    )
    assert of_pixels.inputs == "numbers"


def test_tokens_are_whole_numbers_that_float32_holds() -> None:
    x = np.full((80, 2), 3.0)
    x[5, 1] = 2.5
    for wrong, said in ((2.5, "x holds 2.5"), (-1.0, "x holds -1"), (2.0**24, "x holds 1.67772e")):
        x[5, 1] = wrong
        with pytest.raises(ValueError, match=said):
            Task.from_arrays(
                x, np.arange(80) % 2, kind="classification", name="t", network=Looking, inputs="tokens"
            )
    with pytest.raises(ValueError, match="needs a network of one's own"):
        Task.from_arrays(
            np.abs(x // 1) % 7, np.arange(80) % 2, kind="classification", name="t", inputs="tokens"
        )


def test_the_forward_pass_says_int64_in_its_contract() -> None:
    with pytest.raises(ValueError, match=r"int64 \[batch, 6\], whole numbers from 0 to 49, as they are"):
        rehearse(complete({}, setting=FLOAT32), ids(plain, inputs="tokens"))


# -- who it is ---------------------------------------------------------------------------------

FILE = '''
import numpy as np
import torch
from torch import nn
from trainers.tasks.task import Task

RATE = 0.25


def act(x):
    """Squashes."""
    return torch.relu(x)


class Body(nn.Module):
    def __init__(self, inputs, outputs, width):
        super().__init__()
        self.first, self.last = nn.Linear(inputs, width), nn.Linear(width, outputs)

    def forward(self, x):
        x = nn.functional.dropout(act(self.first(x)), RATE, self.training)
        return self.last(x)


def unused(x):
    return x


def factory(inputs, outputs, config):
    # a comment
    return Body(inputs, outputs, config.setting.width)


def lines():
    x = np.random.default_rng(0).standard_normal((100, 3))
    return Task.from_arrays(x, x.sum(axis=1), kind="regression", name="lines", network=factory)


TASKS = [lines]
'''

EDITS: dict[str, tuple[str, str, set[str]]] = {
    "a comment": ("# a comment", "# another", set()),
    "layout": ("nn.Linear(inputs, width), nn", "nn.Linear(inputs,   width),   nn", set()),
    "a docstring": ('"""Squashes."""', '"""Cuts off."""', set()),
    "what it does not use": ("    return x\n\n\ndef f", "    return -x\n\n\ndef f", set()),
    "a helper": ("torch.relu(x)", "torch.tanh(x)", {"source", "probe"}),
    "a constant": ("RATE = 0.25", "RATE = 0.5", {"source"}),
    "a shape": ("config.setting.width)", "2 * config.setting.width)", {"source", "structure", "probe"}),
    "a method": ("return self.last(x)", "return self.last(x) + 0", {"source"}),
}


@pytest.mark.parametrize("case", EDITS)
def test_an_edited_network_is_another_and_a_comment_is_no_edit(case: str, tmp_path: Path) -> None:
    old, new, changed = EDITS[case]
    assert FILE.count(old) == 1
    found = []
    for name, text in (("a", FILE), ("b", FILE.replace(old, new))):
        file = tmp_path / f"{name}.py"
        file.write_text(dedent(text), encoding="utf-8")
        found.append(load_user_tasks(file)["lines"]())
    before, after = found
    assert before.data_hash == after.data_hash
    assert {part for part, h in before.network_hashes.items() if h != after.network_hashes[part]} == changed
    assert (before.content_hash != after.content_hash) == bool(changed)
    assert all(before.network_hashes.values())


class Acting(Layered):
    def __init__(self, *words: Any, act: Any, rate: float) -> None:
        super().__init__(*words)
        self.act, self.rate = act, rate

    def extra_repr(self) -> str:
        return f"act={self.act}"

    def hidden(self, x: Tensor) -> Tensor:
        act: Tensor = self.act(self.first(x) * self.rate)
        return act


def test_a_network_is_the_same_in_another_process_whatever_it_was_given() -> None:
    """Where what was given lies in memory is no part of it; what it is and says, is."""

    def given(rate: float, squared: bool = False) -> Task:
        def act(x: Tensor) -> Tensor:
            return torch.tanh(x)

        def other(x: Tensor) -> Tensor:
            return torch.tanh(x) ** 2

        return own(functools.partial(Acting, act=other if squared else act, rate=rate))

    kept = [given(0.5), given(0.5)]
    assert kept[0].network.keywords["act"] is not kept[1].network.keywords["act"]  # type: ignore[union-attr]
    assert kept[0].network_hashes == kept[1].network_hashes
    assert given(0.25).network_hashes["source"] != kept[0].network_hashes["source"]
    assert given(0.5, squared=True).network_hashes["source"] != kept[0].network_hashes["source"]


def test_weights_that_a_network_brings_along_are_part_of_it() -> None:
    def loaded(value: float) -> Any:
        weights = torch.full((3, 5), value)

        def factory(inputs: int, outputs: int, config: Config) -> nn.Module:
            module = nn.Linear(inputs, outputs)
            module.load_state_dict({"weight": weights, "bias": torch.zeros(3)})
            return module

        return factory

    one, other = own(loaded(0.5)), own(loaded(0.25))
    assert one.network_hashes["source"] == other.network_hashes["source"]
    assert one.network_hashes["probe"] != other.network_hashes["probe"]
    assert one.content_hash != other.content_hash != blobs().content_hash


def test_a_forward_pass_of_its_own_kind_in_training_is_read_by_its_module() -> None:
    """What training=False gives is judged: nothing is dropped there."""
    task = own(Dropping)
    config = complete({}, setting=FLOAT32)
    network = network_for(config, task)
    row, kept = network.start(config, StreamKey(study="s", task="blobs", block=0, phase="pilot", index=0))
    views = (network.parameters.views(row[None].float()), network.buffers.views(kept[None].float()))
    x = torch.randn(1, 16, 5)
    quiet = [network.forward(*views, x, ForwardPass(training=False)) for _ in range(2)]
    loud = [network.forward(*views, x, ForwardPass(training=True, seeds=[seed])) for seed in (1, 1, 2)]
    assert torch.equal(quiet[0], quiet[1])
    assert torch.equal(loud[0], loud[1]) and not torch.equal(loud[0], loud[2])
