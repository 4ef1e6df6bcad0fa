"""What torch does not document is named in one file, is there today, and can be done without."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from search_spaces.torch_kernels import KERNELS, NAMES

ROOT = Path(__file__).parents[2]
HOME = ROOT / "search_spaces" / "torch_kernels.py"
TRAIN = """
import dataclasses, json, sys
from search_spaces import torch_kernels
if sys.argv[1] == "without":
    torch_kernels.KERNELS.clear()
from search_spaces.activations import ACTIVATION
from search_spaces.optimizers import OPTIMIZER
from tests.trainers.packs import TINY, blobs, member
from trainers.loop.pack import train_pack

fused = [level.name for level in OPTIMIZER.levels if level.build.fused is not None]
written = [level.name for level in ACTIVATION.levels if level.build.with_derivative is not None]
figures = []
for activation in ("relu", "logistic", "tanh", "selu", "silu", "gelu"):
    rules = ("momentum", "nesterov", "adam", "adamw")
    levels = {"activation": activation, "normalization": "layer_norm"}
    pack = [member(levels={**levels, "optimizer": rule}, index=k) for k, rule in enumerate(rules)]
    figures.append([done.validation_loss for done in train_pack(pack, blobs())])
print(json.dumps({"fused": fused, "written": written, "figures": figures}))
"""


@pytest.mark.parametrize("name", NAMES)
def test_this_torch_has_every_kernel(name: str) -> None:
    assert name.removeprefix("ops.") in KERNELS, "torch has it no longer: its user now takes the slower way"


def undocumented(path: Path) -> set[str]:
    """The names below `torch` in a file of which a part begins with one underscore, and its operators."""
    dotted = (ast.unparse(n) for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Attribute))
    return {name for name in dotted if re.fullmatch(r"torch(\.\w+)*\.(_(?!_)\w+|ops)", name)}


def test_nobody_else_names_what_torch_does_not_document() -> None:
    files = [f for package in ("search_spaces", "trainers", "reports", "studies")
             for f in (ROOT / package).rglob("*.py") if f != HOME]  # fmt: skip
    assert len(files) > 200
    assert {str(file): names for file in files if (names := undocumented(file))} == {}


def test_a_planted_name_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "planted.py"
    file.write_text(
        "torch._fused_adam_()\ntorch.nn.modules.batchnorm._NormBase\ntorch.ops.aten.elu\ntorch.nn.Linear"
    )
    planted = {"torch._fused_adam_", "torch.nn.modules.batchnorm._NormBase", "torch.ops"}
    assert undocumented(file) == planted


def test_the_same_is_trained_without_any_of_them() -> None:
    with_them, without = (
        json.loads(
            subprocess.run(
                [sys.executable, "-c", TRAIN, which], cwd=ROOT, capture_output=True, text=True, check=True
            ).stdout
        )
        for which in ("with", "without")
    )
    assert set(with_them["fused"]) == {"momentum", "nesterov", "adam", "adamw"}
    assert len(with_them["written"]) == 6
    assert without["fused"] == without["written"] == []
    # 1e-9: the same sums in another order in float64, over 20 steps.
    np.testing.assert_allclose(without["figures"], with_them["figures"], rtol=1e-9)
