"""Protocol and plan: what is fixed before training, and that nothing else decides."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from reports.evidence.budget import Margin
from search_spaces.config import Config, Setting
from search_spaces.space import complete
from studies.comparison.meaningless_levels import examine
from studies.comparison.planned_work import planned_members
from studies.comparison.protocol import Chain, ComparisonProtocol, Plan, comparison_protocol
from studies.spec.errors import SpecError
from tests.studies.planted import BOOK, TINY, planned, stripes, tiny
from trainers.networks import network_for
from trainers.tasks.task import Task, TaskBook, TaskBuilder


def margin(task: str, regime: str, *, accepted: bool = True) -> Margin:
    return Margin(
        task=task,
        regime=regime,
        delta=0.01,
        floor="relative",
        best_error=0.1,
        best_recipe="selu_adamw",
        trivial_error=0.5,
        seed_sd=0.01,
        accepted=accepted,
    )


def judged(fixed: ComparisonProtocol, refused: set[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    """Regime -> tasks, after a pilot that refuses these."""
    margins: dict[tuple[str, str], Margin] = {}
    while pairs := fixed.unpiloted(margins):
        margins |= {pair: margin(*pair, accepted=pair not in refused) for pair in pairs}
    return Plan(protocol=fixed, margins=tuple(margins.values())).tasks["initializer"]


def test_a_refused_task_is_replaced_by_the_next_declared_family_in_its_regime_only() -> None:
    assert judged(planned(), set()) == {"shallow": ("stripes", "rings"), "deep": ("stripes", "rings")}
    assert judged(planned(), {("stripes", "deep")}) == {
        "shallow": ("stripes", "rings"),
        "deep": ("rings", "stairs"),
    }
    gone = {(task, "deep") for task in ("stripes", "rings", "stairs")}
    assert judged(planned(), gone)["deep"] == ()


def test_only_what_may_be_needed_is_piloted() -> None:
    fixed = planned()
    assert {task for task, _ in fixed.unpiloted({})} == {"stripes", "rings"}


def test_variants_of_one_generator_are_one_family() -> None:
    def variant(name: str) -> TaskBuilder:
        return lambda: replace(stripes(name), family="lines")

    fixed = comparison_protocol(tiny(), {**BOOK, "stripes": variant("stripes"), "rings": variant("rings")})
    assert judged(fixed, set())["deep"] == ("stripes", "rings", "stairs")


def test_the_background_is_the_first_level_on_even_places_and_drawn_on_odd_ones() -> None:
    names = [f"t{i}" for i in range(40)]
    book: TaskBook = {name: partial(stripes, name) for name in names}
    fixed = comparison_protocol(tiny(tasks=names), book)
    found = [fixed.background(name, "deep")["optimizer"] for name in names]
    assert set(found[::2]) == {"nesterov"}
    assert set(found[1::2]) == {"nesterov", "adamw"}
    levels = [
        fixed.config(Chain(factor="initializer", task="t1", regime=regime), level).levels["optimizer"]
        for regime in ("shallow", "deep")
        for level in ("he_normal", "torch_default")
    ]
    assert set(levels) == {found[1]}


def test_a_regime_may_have_a_background_of_its_own() -> None:
    names = [f"t{i}" for i in range(8)]
    book: TaskBook = {name: partial(stripes, name) for name in names}
    own = {"deep": {"optimizer": ["adamw", "adam"]}}
    fixed = comparison_protocol(tiny(tasks=names, background_in=own), book)
    shallow = [fixed.background(name, "shallow")["optimizer"] for name in names]
    deep = [fixed.background(name, "deep")["optimizer"] for name in names]
    assert set(shallow[::2]) == {"nesterov"} and set(shallow[1::2]) == {"nesterov", "adamw"}
    assert set(deep[::2]) == {"adamw"} and set(deep[1::2]) == {"adamw", "adam"}
    for regime, found in (("shallow", shallow), ("deep", deep)):
        chain = Chain(factor="initializer", task="t1", regime=regime)
        assert fixed.config(chain, "he_normal").levels["optimizer"] == found[1]
    assert "background_in" not in comparison_protocol(tiny(tasks=names), book).plain()["spec"]


def test_an_asked_factor_sits_at_its_background_while_another_is_asked() -> None:
    questions = [*TINY["questions"], {"factor": "optimizer", "levels": ["sgd", "adam"]}]
    fixed = planned(tiny(questions=questions))
    about_initializers = Chain(factor="initializer", task="stripes", regime="deep")
    about_optimizers = Chain(factor="optimizer", task="stripes", regime="deep")
    assert fixed.config(about_initializers, "he_normal").levels["optimizer"] == "nesterov"
    assert fixed.config(about_optimizers, "sgd").levels == {
        **fixed.study.held,
        "optimizer": "sgd",
        "initializer": "torch_default",
    }


def test_a_number_that_a_level_does_not_open_is_absent_for_that_level_only() -> None:
    questions = [{"factor": "optimizer", "levels": ["sgd", "nesterov"]}]
    fixed = planned(tiny(questions=questions, background={}, nuisance=["learning_rate", "momentum"]))
    chain = Chain(factor="optimizer", task="stripes", regime="deep")
    assert list(fixed.searched(chain, "sgd")) == ["learning_rate"]
    assert list(fixed.searched(chain, "nesterov")) == ["learning_rate", "momentum"]


def test_what_a_users_network_does_not_build_stays_at_the_default_and_is_not_asked_there() -> None:
    def own(inputs: int, outputs: int, config: Config) -> torch.nn.Module:
        raise AssertionError("planning builds no network")

    task: Task = replace(stripes("rings"), network=own, honours=frozenset({"dropout"}))
    questions = [{"factor": "activation", "levels": ["relu", "tanh"]}]
    spec = tiny(questions=questions, fixed={"normalization": "batch_norm", "dropout": "dropout"})
    fixed = comparison_protocol(spec, {**BOOK, "rings": lambda: task})
    assert fixed.candidates("activation") == ("stripes", "stairs")
    levels = fixed.config(Chain(factor="activation", task="rings", regime="deep"), "relu").levels
    assert (levels["normalization"], levels["dropout"]) == ("none", "dropout")


def test_levels_and_settings_of_our_own_networks_skip_a_network_of_a_users_own() -> None:
    def own(inputs: int, outputs: int, config: Config) -> torch.nn.Module:
        return torch.nn.Linear(inputs, outputs)

    ring: Task = replace(stripes("rings"), network=own)
    book: TaskBook = {**BOOK, "rings": lambda: ring}
    asked: tuple[tuple[str, list[Any], dict[str, Any], str], ...] = (
        ("input_scaling", ["z_score", "batch_norm"], {}, "input_scaling=batch_norm"),
        ("weight_constraint", ["none", "symmetric"], {}, "weight_constraint=symmetric"),
        ("dropout_rate", [0.1, 0.3], {"dropout": "dropout"}, "dropout_rate"),
    )
    for factor, levels, fixed, word in asked:
        regimes = {"deep": {"depth": 3}}
        spec = tiny(questions=[{"factor": factor, "levels": levels}], fixed=fixed, regimes=regimes)
        found = comparison_protocol(spec, book)
        assert found.candidates(factor) == ("stripes", "stairs")
        assert any(
            f"leaves out task rings, whose own network does not take {word}" in n
            for n in examine(found, book)
        )
    networks = tiny(questions=[{"factor": "network", "levels": ["mlp", "cnn"]}])
    assert comparison_protocol(networks, book).untaken("network", "rings") == ("network",)
    constraints = tiny(questions=[{"factor": "weight_constraint", "levels": ["none", "max_norm"]}])
    assert "rings" in comparison_protocol(constraints, book).candidates("weight_constraint")


def test_a_level_that_only_our_networks_realise_is_the_default_in_a_users_own() -> None:
    def own(inputs: int, outputs: int, config: Config) -> torch.nn.Module:
        return torch.nn.Linear(inputs, outputs)

    ring: Task = replace(stripes("rings"), network=own)
    book: TaskBook = {**BOOK, "rings": lambda: ring}
    regimes = {"deep": {"depth": 3, "weight_constraint": "symmetric", "input_scaling": "batch_norm"}}
    fixed = comparison_protocol(tiny(regimes=regimes), book)
    held = {
        task: fixed.config(Chain(factor="initializer", task=task, regime="deep"), "he_normal").levels
        for task in ("rings", "stripes")
    }
    assert (held["rings"]["weight_constraint"], held["rings"]["input_scaling"]) == ("none", "z_score")
    assert held["stripes"]["weight_constraint"] == "symmetric"
    symmetric = complete({"weight_constraint": "symmetric"}, setting=Setting(depth=3))
    with pytest.raises(ValueError, match=r"'rings' has a network of its own.*weight_constraint=symmetric"):
        network_for(symmetric, book["rings"]())


def test_a_task_that_cannot_be_built_is_named_with_file_and_key() -> None:
    def away() -> Task:
        raise ValueError("task 'away' is not here")

    with pytest.raises(SpecError, match=r"tiny.yaml: tasks: task 'away' is not here"):
        comparison_protocol(tiny(tasks=["stripes", "away"]), {**BOOK, "away": away})


def test_an_unknown_task_is_the_study_files_mistake() -> None:
    with pytest.raises(SpecError, match=r"tiny.yaml: tasks: unknown task 'ring'; did you mean 'rings'"):
        planned(tiny(tasks=["ring"]))


def test_the_hash_hangs_on_everything_that_decides_and_on_nothing_else() -> None:
    same = planned().hash
    assert planned().hash == same
    other_data = comparison_protocol(tiny(), {**BOOK, "stairs": lambda: stripes("another")})
    hashes = {
        same,
        planned(tiny(alpha=0.01)).hash,
        planned(tiny(tasks=["rings", "stripes", "stairs"])).hash,
        other_data.hash,
    }
    assert len(hashes) == 4
    fixed = planned()
    one = Plan(protocol=fixed, margins=(margin("stripes", "deep"),))
    assert one.hash == Plan(protocol=planned(), margins=(margin("stripes", "deep"),)).hash
    assert one.hash != Plan(protocol=fixed, margins=(margin("stripes", "shallow"),)).hash


def test_the_hash_is_the_same_in_another_process() -> None:
    script = "from tests.studies.planted import planned; print(planned().hash)"
    for seed in ("1", "2"):
        ran = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parents[2],
            env={"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"},
        )
        assert ran.stdout.strip() == planned().hash


def test_members_are_counted_by_phase() -> None:
    chains = [Chain(factor="initializer", task="stripes", regime="deep")]
    assert planned_members(planned(tiny()), chains, 20) == {
        "pilot": 20,
        "retune": 16,
        "promote": 8,
        "confirm": 16,
    }
