"""What a plan says: the range that races leave open, chances row by row, and the profile that fits."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import studies.comparison.cost_estimate
from studies.cli import invoke
from studies.comparison.cost_estimate import CostEstimate, outline
from studies.operations.budget_fit import fitting, outlines, started_profile
from studies.operations.plan_text import lines, plain
from studies.spec.errors import SpecError
from studies.spec.load import load, with_profile
from studies.spec.resolved import ResolvedStudy
from studies.spec.sections import Profile
from tests.blackbox.program import TINY
from tests.studies.planted import started

Said = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def quickstart() -> ResolvedStudy:
    return load("quickstart")


@pytest.fixture(scope="module")
def costs(quickstart: ResolvedStudy) -> dict[Profile, CostEstimate]:
    names: tuple[Profile, ...] = ("quick", "full")
    return {name: outline(with_profile(quickstart, name), measured=1e9) for name in names}


def test_a_race_leaves_open_how_many_members_are_trained(
    quickstart: ResolvedStudy, costs: dict[Profile, CostEstimate]
) -> None:
    full, quick = costs["full"], costs["quick"]
    study = with_profile(quickstart, "full")
    budget = study.effective_budget
    rows = sum(len(q.levels) * len(q.regimes) for q in study.asked)
    # The first look is after eight families, where controls end too; quickstart declares one task of each.
    assert full.least["confirm"] == rows * 8 * budget.blocks * 2 * budget.confirm_seeds
    assert full.least_total < full.total
    assert full.least_seconds < full.seconds
    assert (quick.least, quick.least_seconds) == (quick.members, quick.seconds)


def test_a_plan_says_the_range_and_the_chances_of_every_row(
    quickstart: ResolvedStudy, costs: dict[Profile, CostEstimate]
) -> None:
    study, full = with_profile(quickstart, "full"), costs["full"]
    text = "\n".join(lines(study, costs, 2))
    assert f"from {full.least_total} members, if every row stops at the first look, to {full.total}" in text
    assert f"{full.least_total} to {full.total}" in text
    assert text.count("with a clear winner") == sum(len(q.regimes) for q in study.asked)
    assert not re.search(r"\d%", text), "one spelling of per cent"
    told = plain(study, costs)
    assert json.loads(json.dumps(told))["looks"][0] == 8
    assert set(told["settles"]) == {f"{q.factor}@{r}" for q in study.asked for r in q.regimes}


def test_a_plan_of_one_pack_without_a_title_reads_well(
    quickstart: ResolvedStudy, costs: dict[Profile, CostEstimate]
) -> None:
    one = replace(
        costs["quick"], packs=dict.fromkeys(costs["quick"].packs, 1), seconds=0.2, least_seconds=0.2
    )
    untitled = replace(quickstart, spec=quickstart.spec.model_copy(update={"title": ""}))
    text = lines(untitled, {"quick": one}, 2)
    assert text[0] == one.study
    assert not any(re.search(r"\b1 (packs|members|cells)", line) for line in text)
    assert any(line.endswith(" 1 pack") for line in text)
    assert any("under a minute " in line for line in text if line.startswith("*quick"))


def test_a_study_with_one_look_has_no_range(
    quickstart: ResolvedStudy, costs: dict[Profile, CostEstimate]
) -> None:
    assert "looked at" not in "\n".join(lines(quickstart, {"quick": costs["quick"]}, 2))


@pytest.mark.parametrize(
    ("share", "at_once", "profile"), [(1.0, 1, "full"), (0.99, 1, "quick"), (0.6, 2, "full")]
)
def test_hours_choose_the_largest_profile_that_fits(
    share: float, at_once: int, profile: str, costs: dict[Profile, CostEstimate]
) -> None:
    hours = share * costs["full"].seconds / 3600
    assert fitting(costs, hours, at_once=at_once, file="file.yaml") == profile


def test_profiles_are_compared_at_one_speed_and_of_equal_ones_the_largest_is_taken(
    quickstart: ResolvedStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A machine that is ten times slower at every measurement would make each smaller profile the dearer one.
    speeds = iter((1e9, 1e8, 1e7))
    monkeypatch.setattr(studies.comparison.cost_estimate, "measured_speed", lambda device: next(speeds))
    found = outlines(quickstart)
    assert len({each.flops_per_second for each in found.values()}) == 1
    same = dict.fromkeys(found, found["quick"])
    assert fitting(same, 1e6, at_once=1, file="file.yaml") == "full"


def test_too_few_hours_are_refused_with_what_the_smallest_profile_takes(
    costs: dict[Profile, CostEstimate],
) -> None:
    with pytest.raises(SpecError, match=r"no profile fits 1e-06 hours: quick takes about .* with 2 packs"):
        fitting(costs, 1e-6, at_once=2, file="file.yaml")


def test_a_study_that_was_started_keeps_its_profile(workspace: Path) -> None:
    assert started_profile(workspace, "tiny") is None
    started(workspace)[0].close()
    assert started_profile(workspace, "tiny") == "quick"
    assert started_profile(workspace, "another") is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["plan", str(TINY), "--hours", "1e-9"], "no profile fits"),
        (["plan", str(TINY), "--hours", "1", "--profile", "quick"], "give one of them"),
        (["run", str(TINY), "--hours", "1", "--profile", "quick"], "give one of them"),
        (["plan", "search", "--hours", "1"], "a search study has no profile"),
        (["run", "search", "--hours", "1"], "a search study has no profile"),
    ],
)
def test_hours_that_cannot_be_kept_are_a_mistake(
    words: list[str], said: str, workspace: Path, capsys: Said
) -> None:
    assert invoke([*words, "--workspace", str(workspace)]) == 2
    assert said in capsys.readouterr().err
    assert not workspace.exists()


def test_a_plan_by_hours_says_which_profile_it_chose(workspace: Path, capsys: Said) -> None:
    assert invoke(["plan", str(TINY), "--workspace", str(workspace), "--hours", "1e6", "--json"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert told["chosen"] == "full"
