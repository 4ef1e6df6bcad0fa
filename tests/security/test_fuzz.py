"""Whatever is in a file, it is accepted or refused: a short version of `python -m tests.security.fuzz`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reports.defaults.defaults_file import load
from studies.load_study import parse
from studies.site import KEYS, site_of
from studies.spec.yaml_reader import parse_yaml
from tests.blackbox.program import TINY
from tests.security.fuzz import fuzz, outcome
from tests.security.targets import Target, targets
from trainers.evaluation import Evaluation

EVERY = {target.name: target for target in targets()}
FOLDERS = [HealthCheck.function_scoped_fixture]
SMALL = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=FOLDERS)
STUDY = parse_yaml(TINY.read_text(encoding="utf-8"), "tiny")

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
plain = st.recursive(
    scalars,
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(max_size=10), inside, max_size=4),
    max_leaves=12,
)


def accepted_or_refused(read: Callable[[], object]) -> None:
    """ValueError is the program's word for the user's mistake; anything else fails the test."""
    with suppress(ValueError):
        read()


@pytest.mark.parametrize("name", EVERY)
def test_inputs_of_the_fuzzer_are_accepted_or_refused(name: str) -> None:
    many = 40 if name == "ledger" else 250
    (count,) = fuzz({name: range(many)}, seed=0, memory=None).values()
    assert count.crashes == []
    assert count.refused > many / 10, "inputs that nobody refuses test nothing"
    assert count.accepted + count.refused == many


@SMALL
@given(key=st.sampled_from([*STUDY, "claims", "controls", "kind", "alpha", "pack_size"]), value=plain)
def test_any_value_of_any_key_of_a_study_is_accepted_or_refused(key: str, value: Any) -> None:
    accepted_or_refused(lambda: parse({**STUDY, key: value}))


@SMALL
@given(text=st.text(max_size=200) | st.text(alphabet="[]{}:,-&*!|>'\"#%@ \n\tab1.", max_size=60))
def test_any_text_is_a_study_file_or_is_refused(text: str) -> None:
    accepted_or_refused(lambda: parse(parse_yaml(text, "study.yaml")))
    accepted_or_refused(lambda: load(text))


@SMALL
@given(key=st.sampled_from(KEYS), value=st.text(max_size=40))
def test_any_address_of_a_site_is_accepted_or_refused(key: str, value: str, tmp_path: Path) -> None:
    name = f"GROUNDRULES_{key.upper()}"
    before = dict(os.environ)
    try:
        os.environ[name] = value.replace("\0", "").encode(errors="replace").decode()
        accepted_or_refused(lambda: site_of(tmp_path))
    finally:
        os.environ.clear()
        os.environ.update(before)


@SMALL
@given(data=st.dictionaries(st.sampled_from(list(Evaluation.__dataclass_fields__)), plain))
def test_any_json_in_a_row_is_an_evaluation_or_is_refused(data: Any) -> None:
    accepted_or_refused(lambda: Evaluation.from_plain(data))


MISDEEDS: dict[str, Callable[[Any, Path], object]] = {
    "runs code": lambda given, folder: eval("1 + 1"),
    "starts a process": lambda given, folder: subprocess.run([sys.executable, "-c", ""], check=True),
    "writes elsewhere": lambda given, folder: (folder.parent / "elsewhere").touch(),
    "reads elsewhere": lambda given, folder: Path("/etc/hostname").read_bytes(),
    "removes elsewhere": lambda given, folder: os.rename(folder.parent / "a", folder.parent / "b"),
    "imports a stranger": lambda given, folder: __import__("colorsys_of_a_stranger"),
    "raises what nobody expects": lambda given, folder: [][given],
    "recurses": lambda given, folder: MISDEEDS["recurses"](given, folder),
}


@pytest.mark.parametrize("misdeed", MISDEEDS)
def test_the_watch_sees_a_reader_that_misbehaves(misdeed: str, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (tmp_path / "a").touch()
    target: Target = replace(EVERY["study file, bytes"], read=MISDEEDS[misdeed])
    assert outcome(target, 0, 0, scratch)[0] == "crashed"


def test_an_input_is_a_function_of_its_number(tmp_path: Path) -> None:
    from random import Random

    for target in EVERY.values():
        first, again = (target.make(Random(f"1:{target.name}:7"), tmp_path) for _ in range(2))
        assert repr(first) == repr(again)
