"""One short float64 curve, kept: a change that should not move numbers leaves it alone.

A change that should move them says why, and rewrites the file on purpose:

    GROUNDRULES_REWRITE_GOLDEN=1 python -m pytest tests/trainers/test_golden_curve.py
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest

from tests.trainers.packs import TINY, blobs, member
from trainers.loop.pack import train_pack

GOLDEN = Path(__file__).parents[1] / "golden" / "curve.json"


def test_the_golden_curve_has_not_moved() -> None:
    levels = {
        "initializer": "he_normal",
        "normalization": "batch_norm",
        "dropout": "dropout",
        "optimizer": "adamw",
        "schedule": "one_cycle",
        "clipping": "norm",
    }
    numbers = {"learning_rate": 0.01, "dropout_rate": 0.2}
    setting = dataclasses.replace(TINY, steps=40, evaluations=8)
    one = member(levels=levels, numbers=numbers, setting=setting, index=5, phase="confirm")
    (evaluation,) = train_pack([one], blobs())
    assert evaluation.test is not None
    found = {
        "train_loss": [point.train_loss for point in evaluation.curve],
        "validation_loss": [point.validation_loss for point in evaluation.curve],
        "test": dict(evaluation.test),
    }
    if os.environ.get("GROUNDRULES_REWRITE_GOLDEN"):
        GOLDEN.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    kept = json.loads(GOLDEN.read_text(encoding="utf-8"))
    # 1e-9: other processors add in another order; anything larger is a change of the mathematics.
    for name in ("train_loss", "validation_loss"):
        assert found[name] == pytest.approx(kept[name], rel=1e-9)
    assert found["test"] == pytest.approx(kept["test"])
