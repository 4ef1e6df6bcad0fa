"""Update rules against torch.optim: fifty steps on a quartic bowl.

K members; P flat parameters, which are the tensors of a small network in PARTS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from search_spaces.optimizers import OPTIMIZER, Step
from search_spaces.optimizers.muon import NEWTON_SCHULZ, needs_a_matrix, orthogonal
from search_spaces.parts import TensorSpan, inner, place, view
from trainers.tensors.layout import Layout

K, STEPS = 3, 50

LAYOUT = Layout.of(
    {
        "weight0": ((4, 6), "weight"),
        "bias0": ((1, 6), "bias"),
        "weight1": ((6, 5), "weight"),
        "gain1": ((1, 5), "norm"),
        "weight2": ((5, 7), "weight"),
        "bias2": ((1, 7), "bias"),
        "weight3": ((7, 2), "weight"),
    }
)
PARTS = LAYOUT.segments

Numbers = dict[str, float]
Twin = Callable[[list[Tensor], Numbers, float], torch.optim.Optimizer]

TWINS: dict[str, Twin] = {
    "sgd": lambda p, n, wd: torch.optim.SGD(p, n["learning_rate"], weight_decay=wd),
    "momentum": lambda p, n, wd: torch.optim.SGD(
        p, n["learning_rate"], momentum=n["momentum"], weight_decay=wd
    ),
    "nesterov": lambda p, n, wd: torch.optim.SGD(
        p, n["learning_rate"], momentum=n["momentum"], nesterov=True, weight_decay=wd
    ),
    "rmsprop": lambda p, n, wd: torch.optim.RMSprop(
        p, n["learning_rate"], alpha=n["alpha"], eps=n["eps"], weight_decay=wd
    ),
    "adam": lambda p, n, wd: torch.optim.Adam(
        p, n["learning_rate"], betas=(n["beta1"], n["beta2"]), eps=n["eps"], weight_decay=wd
    ),
    "adagrad": lambda p, n, wd: torch.optim.Adagrad(p, n["learning_rate"], eps=n["eps"], weight_decay=wd),
    "adamax": lambda p, n, wd: torch.optim.Adamax(
        p, n["learning_rate"], betas=(n["beta1"], n["beta2"]), eps=n["eps"], weight_decay=wd
    ),
    "nadam": lambda p, n, wd: torch.optim.NAdam(
        p, n["learning_rate"], betas=(n["beta1"], n["beta2"]), eps=n["eps"], weight_decay=wd
    ),
    "amsgrad": lambda p, n, wd: torch.optim.Adam(
        p, n["learning_rate"], betas=(n["beta1"], n["beta2"]), eps=n["eps"], weight_decay=wd, amsgrad=True
    ),
    "radam": lambda p, n, wd: torch.optim.RAdam(
        p, n["learning_rate"], betas=(n["beta1"], n["beta2"]), eps=n["eps"], weight_decay=wd
    ),
    "adafactor": lambda p, n, wd: torch.optim.Adafactor(
        p,
        n["learning_rate"],
        beta2_decay=n["beta2_decay"],
        eps=(None, n["eps2"]),
        d=n["update_limit"],
        weight_decay=wd,
    ),
    "muon": lambda p, n, wd: torch.optim.Muon(
        p, n["learning_rate"], momentum=n["momentum"], weight_decay=wd, adjust_lr_fn="original"
    ),
    "muon_matched": lambda p, n, wd: torch.optim.Muon(
        p, n["learning_rate"], momentum=n["momentum"], weight_decay=wd, adjust_lr_fn="match_rms_adamw"
    ),
    "adamw": lambda p, n, wd: torch.optim.AdamW(
        p, n["learning_rate"], betas=(n["beta1"], n["beta2"]), eps=n["eps"], weight_decay=wd
    ),
}
"""(parameters, a member's numbers, weight decay) -> the optimizer."""

DECOUPLED = {"adamw", "adafactor", "muon", "muon_matched"}


def torch_tensors(row: Tensor) -> dict[str, Tensor]:
    """One member's row as torch shapes it: weights [fan_out, fan_in], all else [features]."""
    shaped = {part.name: view(row, part).clone() for part in PARTS}
    return {name: t.T.contiguous() if "weight" in name else t.flatten() for name, t in shaped.items()}


def optimizers(name: str, leaves: dict[str, Tensor], numbers: Numbers, decay: float) -> list[Any]:
    """The namesake; Muon's has AdamW at its side for what is no inner matrix."""
    if not name.startswith("muon"):
        return [TWINS[name](list(leaves.values()), numbers, decay)]
    hidden = [leaves[part.name] for part in inner(PARTS)]
    rest = [leaf for key, leaf in leaves.items() if key not in {part.name for part in inner(PARTS)}]
    return [
        TWINS[name](hidden, numbers, decay),
        torch.optim.AdamW(rest, numbers["learning_rate"], weight_decay=decay),
    ]


def bowl_gradient(params: Tensor) -> Tensor:
    """Of sum(p^4 / 4 - p): curved enough that a wrong step is never made good."""
    return params**3 - 1


def start(dtype: torch.dtype) -> Tensor:
    return torch.randn(K, LAYOUT.size, dtype=dtype, generator=torch.Generator().manual_seed(0))


def stepped(
    name: str, number: int, params: Tensor, grads: Tensor, state: dict[str, Tensor], own: Any, **changes: Any
) -> None:
    """One step of the rule, without decay."""
    rule = OPTIMIZER.level(name).build
    rate = changes.get("rate", own["learning_rate"])
    sizes = changes["sizes"] if "sizes" in changes else rule.measure and rule.measure(params, PARTS)
    rule.apply(
        params,
        grads,
        state,
        Step(number=number, learning_rate=rate, numbers=own, parts=PARTS, sizes=sizes),
    )


def members_numbers(name: str) -> list[Numbers]:
    """Different numbers for each member, from the inside of each range; the rate from its lower half."""
    ranges = OPTIMIZER.level(name).ranges
    return [
        {r.name: r.at((k + 1) / (K + 1) * (0.5 if r.name == "learning_rate" else 1.0)) for r in ranges}
        for k in range(K)
    ]


def columns(numbers: list[Numbers], dtype: torch.dtype) -> dict[str, Tensor]:
    return {
        name: torch.tensor([n[name] for n in numbers], dtype=dtype).view(-1, 1)
        for name in numbers[0]
        if name != "weight_decay"
    }


def cycled(step: int) -> float:
    """A momentum that changes at every step, as under 1cycle."""
    return 0.95 - 0.1 * step / STEPS


@pytest.fixture
def in_precision(dtype: torch.dtype) -> Iterator[None]:
    """torch's NAdam keeps its product of momenta in the default precision, whatever the parameters'."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    yield
    torch.set_default_dtype(before)


@pytest.fixture
def without_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's Muon rounds to bfloat16, two digits, whatever the precision; the rest of it is compared."""
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)


@pytest.mark.usefixtures("in_precision", "without_bfloat16")
@pytest.mark.parametrize("cycling", [False, True], ids=["", "1cycle"])
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-4)], ids=str)
@pytest.mark.parametrize("name", TWINS)
def test_fifty_steps_of_a_stack_equal_torch_member_by_member(
    name: str, decay: float, cycling: bool, dtype: torch.dtype, tolerance: float
) -> None:
    """In single precision rounding of (1 - beta2) and 50 steps cost up to three digits of seven."""
    rule, numbers = OPTIMIZER.level(name).build, members_numbers(name)
    params, own = start(dtype), columns(numbers, dtype)
    state = {buffer: torch.zeros_like(params) for buffer in rule.buffers}
    twins = [torch_tensors(params[k]) for k in range(K)]
    theirs = [optimizers(name, twins[k], numbers[k], decay) for k in range(K)]
    for step in range(STEPS):
        fading = 1 - 0.5 * step / STEPS
        rate = own["learning_rate"] * fading
        if cycling and rule.momentum_number is not None:
            own[rule.momentum_number] = torch.full((K, 1), cycled(step), dtype=dtype)
        grads = bowl_gradient(params)
        sizes = None if rule.measure is None else rule.measure(params, PARTS)
        if decay and name in DECOUPLED:
            params.mul_(1 - rate * decay)
        elif decay:
            grads.add_(params, alpha=decay)
        stepped(name, step + 1, params, grads, state, own, rate=rate, sizes=sizes)
        for k in range(K):
            for leaf in twins[k].values():
                leaf.grad = bowl_gradient(leaf)
            for optimizer in theirs[k]:
                group: dict[str, Any] = optimizer.param_groups[0]
                group["lr"] = numbers[k]["learning_rate"] * fading
                if cycling and rule.momentum_number == "momentum" and "momentum" in group:
                    group["momentum"] = cycled(step)
                elif cycling and rule.momentum_number == "beta1":
                    group["betas"] = (cycled(step), group["betas"][1])
                optimizer.step()
    for k in range(K):
        reached, began = torch_tensors(params[k]), torch_tensors(start(dtype)[k])
        for part, twin in twins[k].items():
            torch.testing.assert_close(reached[part], twin, rtol=tolerance, atol=tolerance)
            assert (twin - began[part]).abs().max() > 1e-4, "it must have moved for this to say anything"


@pytest.mark.parametrize("shape", [(6, 6), (3, 9), (9, 3), (1, 5)])
def test_newton_schulz_maps_singular_values_and_keeps_their_vectors(shape: tuple[int, int]) -> None:
    """The iteration is a polynomial of each singular value by itself; said here by an SVD."""
    matrix = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    s = s / s.norm()
    a, b, c = NEWTON_SCHULZ
    for _ in range(5):
        s = a * s + b * s**3 + c * s**5
    torch.testing.assert_close(orthogonal(matrix[None])[0], u @ s.diag() @ vh, rtol=1e-10, atol=1e-10)


def test_muon_with_torchs_bfloat16_is_within_its_two_digits() -> None:
    """One step from the same place; the size of an update's elements is about 0.4."""
    gradient = bowl_gradient(start(torch.float32)[0, :30].view(6, 5))
    leaf = torch.zeros(5, 6)
    leaf.grad = gradient.T.contiguous()
    theirs: Any = torch.optim.Muon([leaf], lr=1.0, weight_decay=0.0)
    theirs.step()
    torch.testing.assert_close(orthogonal(gradient.T[None])[0], -leaf, rtol=0, atol=0.02)


@pytest.mark.parametrize("name", ["muon", "muon_matched"])
def test_muon_leaves_all_but_inner_matrices_to_adamw(name: str) -> None:
    params, own = start(torch.float64), columns(members_numbers(name), torch.float64)
    by_adam = start(torch.float64)
    for row, rule in ((params, name), (by_adam, "adamw")):
        state = {b: torch.zeros_like(row) for b in OPTIMIZER.level(rule).build.buffers}
        defaults = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
        stepped(rule, 1, row, bowl_gradient(row), state, {**defaults, **own})
    moved_alike = [part.name for part in PARTS if torch.equal(place(params, part), place(by_adam, part))]
    assert moved_alike == ["weight0", "bias0", "gain1", "bias2", "weight3"]


def test_muon_is_refused_where_no_matrix_is_inside() -> None:
    def check(*names: str) -> None:
        parts: list[TensorSpan] = [part for part in PARTS if part.name in names]
        needs_a_matrix(parts)

    check("weight0", "bias0", "weight1", "weight3")
    with pytest.raises(ValueError, match=r"optimizer=muon needs a matrix .* depth"):
        check("weight0", "bias0", "gain1", "weight3")


@pytest.mark.parametrize("name", OPTIMIZER.names)
@pytest.mark.parametrize("rate", [0.0, 1e-42])
def test_a_rate_of_zero_moves_nothing_and_makes_no_nan(name: str, rate: float) -> None:
    """Performance scheduling may cut a rate until it underflows; some gradients are exactly zero."""
    rule, numbers = OPTIMIZER.level(name).build, members_numbers(name)
    params = start(torch.float32)
    before = params.clone()
    state = {buffer: torch.zeros_like(params) for buffer in rule.buffers}
    for step in (1, 2):
        grads = bowl_gradient(params)
        grads[:, ::2] = 0
        own = columns(numbers, torch.float32)
        stepped(name, step, params, grads, state, own, rate=torch.full((K, 1), rate))
    assert torch.equal(params, before)


@pytest.mark.parametrize("name", OPTIMIZER.names)
def test_a_member_turned_nan_harms_no_other(name: str) -> None:
    rule, own = OPTIMIZER.level(name).build, columns(members_numbers(name), torch.float32)
    results = []
    for sick in (False, True):
        params = start(torch.float32)
        state = {buffer: torch.zeros_like(params) for buffer in rule.buffers}
        for step in (1, 2, 3):
            grads = bowl_gradient(params)
            if sick:
                grads[1] = float("nan")
            stepped(name, step, params, grads, state, own)
        results.append(params)
    assert torch.equal(results[0][[0, 2]], results[1][[0, 2]])
    assert all(place(results[1][1], part).isnan().all() for part in PARTS)


def test_every_optimizer_that_torch_has_is_compared_with_it() -> None:
    """Others state their rule in a docstring, which the catalogue shows."""
    torchs = {name.lower() for name in dir(torch.optim)}
    assert TWINS.keys() <= set(OPTIMIZER.names)
    for name in set(OPTIMIZER.names) - TWINS.keys():
        assert name.replace("_", "") not in torchs
        assert OPTIMIZER.level(name).build.apply.__doc__


def test_defaults_are_torchs() -> None:
    """Where torch has a default; for momentum it has 0, which is the level sgd."""
    leaf = [torch.zeros(1, requires_grad=True)]
    for name, kind in {
        "sgd": torch.optim.SGD,
        "rmsprop": torch.optim.RMSprop,
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "adagrad": torch.optim.Adagrad,
        "adamax": torch.optim.Adamax,
        "nadam": torch.optim.NAdam,
        "amsgrad": torch.optim.Adam,
        "radam": torch.optim.RAdam,
        "adafactor": torch.optim.Adafactor,
        "muon": torch.optim.Muon,
        "muon_matched": torch.optim.Muon,
    }.items():
        theirs = dict(kind([torch.zeros(1, 1)] if kind is torch.optim.Muon else leaf).defaults)
        if kind is torch.optim.Adafactor:
            theirs["update_limit"] = theirs.pop("d")
            theirs["eps2"] = theirs.pop("eps")[1]
        theirs["learning_rate"] = theirs.pop("lr")
        if "betas" in theirs:
            theirs["beta1"], theirs["beta2"] = theirs.pop("betas")
        for span in OPTIMIZER.level(name).ranges:
            assert span.default == theirs[span.name], f"{name}: {span.name}"


def test_every_optimizer_searches_four_decades_of_learning_rate() -> None:
    for row in OPTIMIZER.levels:
        rate = row.ranges[0]
        assert rate.name == "learning_rate"
        assert rate.log
        assert rate.high / rate.low == pytest.approx(1e4)


def test_shares_kept_are_searched_by_the_logarithm_of_what_is_not_kept() -> None:
    """Half way from 0.9 to 0.999 is 0.99."""
    shares = [s for row in OPTIMIZER.levels for s in row.ranges if s.name in ("momentum", "beta1", "beta2")]
    assert shares and all(span.log_of_complement for span in shares)
    assert shares[0].narrowed(0.9, 0.999).at(0.5) == pytest.approx(0.99)
