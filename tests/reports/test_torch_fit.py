"""`fit`, `predict` and the builders of an exported file: data of any kind, taken or refused in words."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from search_spaces.config import Setting
from tests.reports.test_torch_file import exported

SETTING = Setting(depth=2, width=16, steps=120, batch_size=16, evaluations=6)
N = 600  # the scope of the planted table

rng = np.random.default_rng(2)
X = rng.normal(3.0, 2.0, (N, 4)).astype(np.float32)
CLASSES = (X[:, 0] > 3).astype(np.int64)


@pytest.fixture(scope="module")
def made() -> SimpleNamespace:
    return exported({"optimizer": "adam"}, {"learning_rate": 0.01}, SETTING)


@pytest.fixture(autouse=True)
def no_silent_warnings() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def fitted(made: SimpleNamespace, y: Any, x: Any = X, outputs: int = 2, **more: Any) -> tuple[Any, Any]:
    model = made.build_model(4, outputs, seed=1)
    return model, made.fit(model, x, y, x, y, **more)


NAMES = np.array(["left", "right"])


@pytest.mark.parametrize(
    ("y", "own"),
    [
        (CLASSES, [0, 1]),
        (CLASSES + 1, [1, 2]),
        (CLASSES * 10 - 5, [-5, 5]),
        (CLASSES.astype(float), [0.0, 1.0]),
        (NAMES[CLASSES], ["left", "right"]),
        (NAMES[CLASSES].tolist(), ["left", "right"]),
        (CLASSES[:, None], [0, 1]),
        ([[int(c)] for c in CLASSES], [0, 1]),
        (CLASSES == 1, [False, True]),
        (torch.from_numpy(CLASSES), [0, 1]),
        (torch.from_numpy(CLASSES).float()[:, None] + 0.5, [0.5, 1.5]),
    ],
)
def test_labels_of_any_kind_are_learned_and_come_back_as_they_were(
    made: SimpleNamespace, y: Any, own: list[Any]
) -> None:
    model, history = fitted(made, y)
    found = made.predict(model, X)
    values = found.tolist() if hasattr(found, "tolist") else found
    assert set(values) == set(own)
    assert {type(value) for value in values} == {type(own[0])}
    assert isinstance(found, torch.Tensor) == isinstance(y, torch.Tensor)
    assert np.mean(np.array(values) != np.array(own)[CLASSES]) == pytest.approx(history["validation_error"])
    assert history["validation_error"] < 0.1
    assert made.error_of(model, X, y) == history["validation_error"]


def test_a_data_frame_is_taken_and_text_in_it_refused(made: SimpleNamespace) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcd")).assign(d=CLASSES == 1)  # columns of two kinds
    labels = pandas.Series(NAMES[CLASSES])
    model, history = fitted(made, labels, frame)
    assert history["validation_error"] < 0.1
    assert set(made.predict(model, frame)) == {"left", "right"}
    model, _ = fitted(made, labels.to_frame(), frame)
    with pytest.raises(ValueError, match="x_train must be numbers; encode columns of text"):
        fitted(made, labels, frame.assign(a="red"))


@pytest.mark.parametrize("shape", [(N,), (N, 1)])
def test_a_column_of_targets_is_a_row_of_targets(made: SimpleNamespace, shape: tuple[int, ...]) -> None:
    """[n, 1] against [n] would broadcast to [n, n], and every prediction would become the mean."""
    y = 50 + 7 * X[:, 0]
    model, history = fitted(made, y.reshape(shape), outputs=1, total_steps=240)
    assert history["validation_error"] < 0.4
    found = made.predict(model, X)
    assert found.shape == (N,)
    assert float(((found.numpy() - y) / y.std()).std()) == pytest.approx(history["validation_error"], rel=0.2)


Mistake = Callable[[SimpleNamespace], Any]


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (
            lambda m: fitted(m, np.zeros((N, 2))),
            r"y_train must hold one value for each item.* shape \[600, 2\]",
        ),
        (lambda m: fitted(m, np.eye(2)[CLASSES].tolist()), "one value for each item, not several"),
        (lambda m: fitted(m, CLASSES[:-1]), "y_train has 599 values for 600 items"),
        (
            lambda m: fitted(m, X[:, 0]),
            "different labels .* the model 2 outputs. A regression needs a model of one",
        ),
        (lambda m: fitted(m, np.where(CLASSES, np.nan, 1.0)), "y_train: item [0-9]+ has no target"),
        (lambda m: fitted(m, NAMES[CLASSES], outputs=1), "y_train holds labels, the model has one output"),
        (lambda m: fitted(m, CLASSES == 1, outputs=1), "y_train holds labels, the model has one output"),
        (lambda m: fitted(m, CLASSES, np.where(X > 8, np.inf, X)), "item [0-9]+ has NaN or infinite values"),
        (
            lambda m: fitted(m, CLASSES, X[:, :3]),
            r"x_train has \[3\] values for an item, the model reads \[4\]",
        ),
        (lambda m: fitted(m, [], X[:0]), "x_train has no items"),
        (lambda m: fitted(m, CLASSES, X.astype(complex)), "real numbers"),
        (lambda m: m.fit(m.build_model(4, 2), X, CLASSES, X[:0], []), "x_validation has no items"),
        (
            lambda m: m.fit(m.build_model(4, 2), X, NAMES[CLASSES], X[:1], ["middle"]),
            "y_validation has the label 'middle', which y_train does not have",
        ),
        (
            lambda m: fitted(m, CLASSES, total_steps=0),
            "total_steps must be a whole number of at least 1, not 0",
        ),
        (lambda m: fitted(m, CLASSES, total_steps=2.5), "total_steps must be a whole number"),
        (lambda m: fitted(m, CLASSES, batch_size=0), "batch_size must be a whole number of at least 1"),
        (lambda m: fitted(m, CLASSES, patience=math.nan), "patience must be a number of looks"),
        (lambda m: fitted(m, CLASSES, patience=-1), "patience must be a number of looks"),
        (lambda m: fitted(m, CLASSES, regime="wide"), "unknown regime 'wide'; known: deep"),
        (lambda m: m.build_model(0, 2), "n_inputs must be a whole number"),
        (lambda m: m.build_model(4, 2, depth=0), "depth must be a whole number"),
        (
            lambda m: m.build_scheduler(m.build_optimizer(m.build_model(4, 2)), 0),
            "total_steps must be a whole number",
        ),
        (lambda m: m.predict(torch.nn.Linear(4, 2), X), "not built here and not trained by `fit`"),
    ],
)
def test_what_cannot_be_trained_on_is_refused_in_words(
    made: SimpleNamespace, mistake: Mistake, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        mistake(made)


def test_a_training_that_diverges_at_once_is_an_error_and_changes_nothing(made: SimpleNamespace) -> None:
    model = made.build_model(4, 1, seed=1)
    before = [p.detach().clone() for p in model.parameters()]
    sgd = exported({"optimizer": "sgd"}, {"learning_rate": 0.1}, SETTING)
    with pytest.raises(FloatingPointError, match=r"diverged at step [0-9]+, before its first look"):
        sgd.fit(model, X, X[:, 0] ** 3, X, X[:, 0] ** 3, learning_rate=1e6)
    for old, new in zip(before, model.parameters(), strict=True):
        assert torch.equal(old, new)


def test_a_training_that_diverges_later_goes_back_to_its_best_look_and_says_so() -> None:
    # Adagrad's first steps are sound; then the rate of the schedule explodes.
    made = exported({"optimizer": "sgd"}, {"learning_rate": 1e-3}, SETTING)
    real = made.REGIMES["deep"].update
    count = 0

    def update(model: Any, optimizer: Any) -> None:
        nonlocal count
        count += 1
        if count == 50:
            for group in optimizer.param_groups:
                group["lr"] = math.inf
        real(model, optimizer)

    made.REGIMES["deep"] = made.REGIMES["deep"]._replace(update=update)
    model = made.build_model(4, 2, seed=1)
    with pytest.warns(UserWarning, match="diverged at step 51; the model is as it was at its best look"):
        history = made.fit(model, X, CLASSES, X, CLASSES)
    assert history["diverged_at"] == 51
    assert history["best_step"] in (20, 40)
    assert made.error_of(model, X, CLASSES) == history["validation_error"]


@pytest.mark.parametrize(
    ("changes", "more", "said"),
    [
        ({"width": 33}, {}, "width = 33 is far from the study's 16"),
        ({"width": 7}, {}, "width = 7 is far"),
        ({"depth": 5}, {}, "depth = 5 is far from the study's 2"),
        ({}, {"total_steps": 241}, "total_steps = 241 is far from the study's 120"),
        ({}, {"batch_size": 33}, "batch_size = 33 is far from the study's 16"),
        ({}, {"items": 299}, "training items = 299 is far from the study's 600"),
        ({}, {"patience": 5}, "patience = 5 of 6 looks never ends a training early"),
    ],
)
def test_leaving_the_scope_by_more_than_twice_warns(
    made: SimpleNamespace, changes: dict[str, Any], more: dict[str, Any], said: str
) -> None:
    n = more.pop("items", N)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        model = made.build_model(4, 2, **changes)
        made.fit(model, X[:n], CLASSES[:n], X, CLASSES, **more)
    assert [said in str(each.message) for each in heard] == [True]
    assert heard[0].filename == __file__


def test_within_twice_of_the_scope_nothing_is_said(made: SimpleNamespace) -> None:
    model = made.build_model(4, 2, width=32, depth=4)
    made.fit(model, X[:300], CLASSES[:300], X, CLASSES, total_steps=60, batch_size=8, patience=4)
    assert len([m for m in model.layers if isinstance(m, torch.nn.Linear)]) == 5
    assert model.layers[0].out_features == 32


def test_a_seed_repeats_a_training_and_leaves_torchs_own_generator_alone() -> None:
    made = exported({"optimizer": "adam", "dropout": "dropout"}, {"learning_rate": 0.01}, SETTING)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    runs = [fitted(made, CLASSES, seed=seed)[0].state_dict() for seed in (1, 1, 2)]
    assert torch.equal(torch.rand(1), expected)
    weights = [state["layers.0.weight"] for state in runs]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_rate_stands_in_one_place(made: SimpleNamespace) -> None:
    for schedule in ("one_cycle", "one_cycle_linear", "cosine"):
        cycle = exported({"optimizer": "adam", "schedule": schedule}, {"learning_rate": 0.01}, SETTING)
        optimizer = cycle.build_optimizer(cycle.build_model(4, 2), learning_rate=0.5)
        scheduler = cycle.build_scheduler(optimizer, 100)
        rates = []
        for _ in range(100):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        assert max(rates) == pytest.approx(0.5, rel=2e-3)


def test_training_stays_where_the_model_is(made: SimpleNamespace) -> None:
    """The device 'meta' has no numbers: what reaches it must have been sent there."""
    model = made.build_model(4, 2, device="meta")
    assert made.device_of(model).type == "meta"
    moved = made.build_model(4, 2, seed=1)
    seen: list[torch.device] = []
    moved.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].device))
    made.fit(moved, X, CLASSES, X, CLASSES, device="cpu")
    assert {device.type for device in seen} == {"cpu"}


def test_a_saved_state_keeps_the_labels(made: SimpleNamespace, tmp_path: Any) -> None:
    model, _ = fitted(made, NAMES[CLASSES])
    torch.save(model.state_dict(), tmp_path / "model.pt")
    other = made.build_model(4, 2)
    other.load_state_dict(torch.load(tmp_path / "model.pt"))
    assert list(made.predict(other, X)) == list(made.predict(model, X))


def test_two_whole_numbers_and_one_output_are_asked_about(made: SimpleNamespace) -> None:
    with pytest.warns(UserWarning, match="classes need a model of two outputs"):
        fitted(made, CLASSES, outputs=1)
