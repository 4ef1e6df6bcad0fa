"""What is recorded of a member's inside is right, and recording it changes nothing."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from tests.trainers.packs import TINY, blobs, member
from trainers.diagnostics.calibration import HeldOutView, calibration, trivial_loss
from trainers.diagnostics.flow import flow
from trainers.diagnostics.instruments import INSTRUMENTS, PROFILES, SUMMARIES, Instrument
from trainers.diagnostics.names import factor, fit, profiles, summaries
from trainers.diagnostics.weights import sparsity, spectral_radius, update_ratios
from trainers.loop.pack import train_pack
from trainers.networks import network_for
from trainers.tensors.layout import Layout

DEEP = dataclasses.replace(TINY, depth=4, width=8)


def test_recording_changes_nothing_else() -> None:
    levels = {"normalization": "batch_norm", "dropout": "dropout", "optimizer": "adamw"}
    members = [member(levels=levels, index=i, phase="confirm") for i in range(3)]
    with_it, without = (train_pack(members, blobs(), diagnostics=switch) for switch in ("ends", "none"))
    assert all(not e.diagnostics for e in without)
    assert [dataclasses.replace(e, diagnostics={}) for e in with_it] == without


def test_what_is_recorded_does_not_depend_on_the_place_in_the_pack() -> None:
    setting = dataclasses.replace(DEEP, precision="float32")
    members = [
        member(levels={"initializer": name}, numbers={"learning_rate": 0.05}, setting=setting, index=i)
        for i, name in enumerate(("he_normal", "glorot_normal", "orthogonal", "torch_default", "he_normal"))
    ]
    order = [3, 1, 4, 0, 2]
    straight = train_pack(members, blobs())
    permuted = train_pack([members[i] for i in order], blobs())
    assert [straight[i].diagnostics for i in order] == [e.diagnostics for e in permuted]


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_every_recorded_name_is_explained(kind: str) -> None:
    one = member(levels={"initializer": "he_normal"}, setting=DEEP, phase="confirm")
    (done,) = train_pack([one], blobs(kind))
    assert set(summaries(done.diagnostics)) <= set(SUMMARIES)
    found = profiles(done.diagnostics)
    assert {name.partition(".")[2] for name in found} == set(PROFILES)
    assert [number for number, _ in found["init.activation_square"]] == [1, 2, 3, 4]
    calibrated = {"best.validation_ece", "best.validation_nll", "best.test_ece", "best.test_nll"}
    assert calibrated & set(done.diagnostics) == (calibrated if kind == "classification" else set())


@pytest.mark.parametrize("row", INSTRUMENTS, ids=lambda row: row.measure.__name__)
def test_every_instrument_records_what_its_row_explains_and_nothing_else(row: Instrument) -> None:
    one = member(levels={"initializer": "he_normal"}, setting=DEEP, phase="confirm")
    (done,) = train_pack([one], blobs())
    recorded = {name.split(".layer")[0] for name in done.diagnostics}
    for moment in row.moments:
        assert {f"{moment}.{name}" for name in (*row.summaries, *row.profiles)} <= recorded
    assert {name for name, _ in row.reduced.values()} <= set(row.summaries)
    names = [name for other in INSTRUMENTS for name in other.summaries]
    assert len(set(names)) == len(names), "two instruments record under one name"


def test_the_first_batch_tells_how_inputs_were_scaled() -> None:
    setting = dataclasses.replace(TINY, batch_size=64)  # all training items at once
    pack = [
        member(levels={"input_scaling": level}, setting=setting) for level in ("z_score", "min_max", "raw")
    ]
    z, limits, raw = (done.diagnostics for done in train_pack(pack, blobs()))
    assert z["init.input_mean"] == pytest.approx(0, abs=1e-6)
    assert z["init.input_sd"] == pytest.approx(1)
    assert (limits["init.input_low"], limits["init.input_high"]) == (-1, 1)
    assert raw["init.input_mean"] == pytest.approx(1, abs=0.3), "three clouds around 0, 1 and 2"
    assert raw["init.input_sd"] > 1


def test_only_members_that_may_read_test_items_are_calibrated_on_them() -> None:
    (done,) = train_pack([member(phase="retune")], blobs())
    assert "best.validation_nll" in done.diagnostics
    assert "best.test_nll" not in done.diagnostics


def test_the_best_checkpoints_likelihood_is_its_validation_loss() -> None:
    (done,) = train_pack([member(phase="retune")], blobs())
    assert done.diagnostics["best.validation_nll"] == pytest.approx(done.validation_loss, rel=1e-5)
    assert done.diagnostics["end.validation_loss"] == pytest.approx(done.curve[-1].validation_loss, rel=1e-5)


def test_a_member_that_diverged_keeps_its_start_and_says_when() -> None:
    (done,) = train_pack([member(numbers={"learning_rate": 3.0}, levels={"initializer": "std_normal"},
        setting=dataclasses.replace(DEEP, width=64, steps=60))], blobs("regression"))  # fmt: skip
    assert done.status == "diverged"
    assert 0 < done.diagnostics["loss.exploded_at"] <= done.steps
    assert "init.signal_factor" in done.diagnostics
    assert not any(name.startswith(("end.", "best.", "half.")) for name in done.diagnostics)


def test_moments_and_jacobians_of_a_linear_stack_are_those_of_its_matrices() -> None:
    setting = dataclasses.replace(DEEP, depth=3)
    one = member(levels={"activation": "identity", "initializer": "lecun_normal"}, setting=setting)
    network = network_for(one.config, blobs())
    params, buffers = (row[None] for row in network.start(one.config, one.streams))
    x = torch.randn(1, 4000, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = torch.zeros(1, 4000, dtype=torch.long)
    found = flow(network, params, buffers, x, y, kind="classification", numbers={})
    views = network.parameters.views(params)
    h = x[0]
    for i in range(3):
        weight = views[f"weight{i}"][0]
        h = h @ weight
        assert float(found["activation_mean"][0, i]) == pytest.approx(float(h.mean()), abs=1e-6)
        assert float(found["activation_square"][0, i]) == pytest.approx(float(h.square().mean()), rel=1e-5)
        # 4000 random signs: the estimate's relative error is about 1 / sqrt(4000).
        assert float(found["jacobian_norm"][0, i]) == pytest.approx(float(weight.norm()), rel=0.05)


def test_gradients_are_each_items_own_whatever_the_batch() -> None:
    one = member(levels={"initializer": "he_normal"}, setting=DEEP)
    network = network_for(one.config, blobs())
    params, buffers = (row[None] for row in network.start(one.config, one.streams))
    x = torch.randn(1, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = torch.tensor([[0, 1, 2, 0, 1, 2]])
    once, twice = (
        flow(network, params, buffers, x.repeat(1, n, 1), y.repeat(1, n), kind="classification", numbers={})
        for n in (1, 2)
    )
    torch.testing.assert_close(once["gradient_square"], twice["gradient_square"])
    z = x[0].clone().requires_grad_()
    views = {name: view[0] for name, view in network.parameters.views(params).items()}
    sums = z @ views["weight0"] + views["bias0"]
    h = torch.relu(sums)
    for i in range(1, 4):
        h = torch.relu(h @ views[f"weight{i}"] + views[f"bias{i}"])
    outputs = h @ views["weight4"] + views["bias4"]
    loss = torch.nn.functional.cross_entropy(outputs, y[0], reduction="sum")
    (gradient,) = torch.autograd.grad(loss, sums)
    assert float(once["gradient_square"][0, 0]) == pytest.approx(float(gradient.square().mean()), rel=1e-5)


def test_looking_leaves_running_statistics_alone() -> None:
    one = member(levels={"normalization": "batch_norm"}, setting=DEEP)
    network = network_for(one.config, blobs())
    params, buffers = (row[None] for row in network.start(one.config, one.streams))
    before = buffers.clone()
    x, y = torch.randn(1, 8, 5, dtype=torch.float64), torch.zeros(1, 8, dtype=torch.long)
    numbers = {"norm_momentum": torch.full((1, 1, 1), 0.1, dtype=torch.float64)}
    flow(network, params, buffers, x, y, kind="classification", numbers=numbers)
    assert torch.equal(before, buffers)


def test_the_spectral_radius_is_the_largest_eigenvalue() -> None:
    draws = torch.Generator().manual_seed(3)
    weights = torch.randn(6, 32, 32, generator=draws) / 32**0.5
    # Two eigenvalues of nearly equal size make the power's norm swing: hence two percent.
    torch.testing.assert_close(
        spectral_radius(weights), torch.linalg.eigvals(weights).abs().amax(-1), rtol=0.02, atol=0
    )
    known = torch.stack([torch.diag(torch.tensor([0.5, -2.0, 1.0])), torch.eye(3) * 1e-4])
    torch.testing.assert_close(spectral_radius(known), torch.tensor([2.0, 1e-4]))
    nilpotent = torch.zeros(3, 3)
    nilpotent[0, 1] = nilpotent[1, 2] = 5.0
    assert float(spectral_radius(nilpotent)) < 1e-3


def test_sparsity_and_updates_look_at_weights_only() -> None:
    layout = Layout.of({"weight0": ((2, 2), "weight"), "bias0": ((1, 2), "bias")})
    before = torch.zeros(1, layout.size)
    layout.views(before)["weight0"].copy_(torch.tensor([[3.0, 0.0], [0.0005, 4.0]]))
    after = before.clone()
    layout.views(after)["weight0"][0, 0, 1] = 1.0
    layout.views(after)["bias0"].fill_(9.0)
    assert sparsity(layout, before).tolist() == [0.5]
    assert update_ratios(layout, before, after).tolist() == [[pytest.approx(0.2)]]


def test_calibration_of_a_hand_made_example() -> None:
    p = torch.tensor([[[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.3, 0.7]]])
    nll, ece = calibration(p.log(), torch.tensor([[0, 1, 1, 0]]))
    # Bins: {0.9, 0.9} half right, {0.6} right and {0.7} wrong in bins of their own.
    assert float(ece) == pytest.approx((2 * 0.4 + 0.4 + 0.7) / 4, rel=1e-5)
    assert float(nll) == pytest.approx(-(math.log(0.9) + math.log(0.1) + math.log(0.6) + math.log(0.3)) / 4)


def test_a_sure_and_right_predictor_has_no_calibration_error() -> None:
    scores = 1e4 * torch.nn.functional.one_hot(torch.tensor([[0, 1, 2]]), 3).float()
    nll, ece = calibration(scores, torch.tensor([[0, 1, 2]]))
    assert (float(nll), float(ece)) == (0.0, 0.0)


def test_a_unit_is_dead_when_it_never_varies_over_all_chunks() -> None:
    view = HeldOutView(units=True)
    view("hidden0", torch.tensor([[[0.0, 0.0, 1.0]], [[0.0, 0.0, 0.0]]]))
    view("hidden0", torch.tensor([[[0.0, 2.0, 1.0]], [[0.0, 0.0, 0.0]]]))
    dead = view.dead_units()
    assert dead is not None
    assert dead.tolist() == pytest.approx([2 / 3, 1.0])


def test_the_trivial_predictor_loses_the_entropy_or_the_variance() -> None:
    assert trivial_loss(torch.tensor([[0, 1, 0, 1]]), 2).tolist() == pytest.approx([math.log(2)])
    assert trivial_loss(torch.tensor([[1.0, -1.0]]), None).tolist() == pytest.approx([1.0])


@pytest.mark.parametrize(
    ("train", "validation", "word"),
    [(0.1, 0.2, "fits"), (0.1, 0.5, "overfits"), (0.7, 0.75, "underfits"), (0.1, math.inf, "")],
)
def test_fit_is_read_from_the_losses_by_the_written_rule(train: float, validation: float, word: str) -> None:
    numbers = {"end.train_loss": train, "end.gap": validation - train, "trivial_loss": 1.0}
    assert fit(numbers) == word


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([8.0, 4.0, 2.0], 0.5),
        ([3.0], None),
        ([1.0, 0.0], 0.0),
        ([1.0, math.inf], math.inf),
        ([0.0, 0.0], None),
        ([0.0, 1.0], math.inf),
        ([1.0, math.nan, 2.0], None),
    ],
)
def test_the_factor_from_layer_to_layer(values: list[float], expected: float | None) -> None:
    assert factor(values) == (pytest.approx(expected) if expected is not None else None)
