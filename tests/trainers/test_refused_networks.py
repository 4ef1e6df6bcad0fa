"""What a user's own network may not be: refused in one message before anything is trained."""

from __future__ import annotations

import dataclasses
import inspect
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from search_spaces.config import Config
from search_spaces.space import complete
from tests.trainers.own_networks import FLOAT32, Layered, own
from trainers.tasks.task import Task
from trainers.tasks.user_tasks import load_user_tasks
from trainers.tools.rehearsal import rehearse, starts_alike, unread


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
    assert any(f"({file}, line " in message for file in (__file__, inspect.getfile(Layered)))
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
