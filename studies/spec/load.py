"""Reads study files: plain YAML, parsed, checked against the catalogue, and resolved once."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from search_spaces.factor import unknown
from studies.spec.errors import SpecError, unique
from studies.spec.pydantic_errors import first_error
from studies.spec.resolved import ResolvedStudy
from studies.spec.sections import (
    PROFILES,
    BudgetSpec,
    ClaimSpec,
    ControlsSpec,
    ExtendsSpec,
    Profile,
    QuestionSpec,
    RangeSpec,
)
from studies.spec.study_spec import StudySpec
from studies.spec.validation import check
from studies.spec.yaml_reader import read_yaml

SPECS = Path(str(resources.files("studies").joinpath("specs")))
"""The folder of the studies that come with the package."""

_MODELS: dict[str, type[BaseModel]] = {
    "questions": QuestionSpec,
    "claims": ClaimSpec,
    "budget": BudgetSpec,
    "nuisance": RangeSpec,
    "controls": ControlsSpec,
    "extends": ExtendsSpec,
}
"""Key -> the section it holds, for messages."""


def load(path_or_name: str | Path) -> ResolvedStudy:
    """Reads the file of a guideline study, or one that ships (`load("quickstart")`).

    Raises:
        SpecError: no such file or name, or anything wrong in it.
    """
    return parse(read(path_or_name), file=str(path_or_name))


def read(path_or_name: str | Path) -> dict[str, Any]:
    """A study file's plain data, whatever kind of study it is.

    Raises:
        SpecError: no such file or name, or a file that is not plain YAML.
    """
    file = shipped().get(str(path_or_name), Path(path_or_name))
    name = str(path_or_name)
    if not file.is_file():
        rule = unknown("study file", name, shipped())
        raise SpecError(name, "", f"no such file, and {rule} ship with the package")
    return read_yaml(file, name)


def shipped() -> dict[str, Path]:
    """Name -> file of the studies that come with the package."""
    return {file.stem: file for file in sorted(SPECS.glob("*.yaml"))}


def parse(data: Mapping[str, Any], *, file: str = "study") -> ResolvedStudy:
    """A study from plain data, checked against the catalogue; `file` is named in errors.

    Raises:
        SpecError: the first thing that is wrong.
    """
    data = dict(data)
    if isinstance(data.get("nuisance"), (list, tuple)):
        names = data["nuisance"]
        for name in names:
            if not isinstance(name, str):
                raise SpecError(file, "nuisance", f"{name!r} must be the name of a number")
        unique(file, "nuisance", names)
        data["nuisance"] = dict.fromkeys(names)
    if isinstance(data.get("controls"), bool):
        data["controls"] = {} if data["controls"] else None
    try:
        spec = StudySpec.model_validate(data)
    except ValidationError as error:
        raise first_error(error, file, StudySpec, _MODELS) from None
    spec._file = file
    if "nuisance" not in spec.model_fields_set and "learning_rate" in _stated_numbers(spec):
        return parse({**data, "nuisance": {}}, file=file)  # nobody asked for it to be tuned
    check(spec)
    return ResolvedStudy(spec=spec)


def with_profile(study: ResolvedStudy, profile: Profile) -> ResolvedStudy:
    """The same study at another profile; numbers the file states itself stay.

    Raises:
        SpecError: as `load`.
    """
    spec = study.spec
    if profile not in PROFILES:
        raise SpecError(spec.file, "budget.profile", str(unknown("profile", profile, PROFILES)))
    budget = {**spec.budget.model_dump(exclude_unset=True), "profile": profile}
    if spec.budget.looks:  # of another profile's families; those beyond them stay beyond
        own, last = spec.families, budget.get("families", PROFILES[profile]["families"])
        budget["looks"] = [look for look in spec.budget.looks if look < last or look > max(own, last)]
    return parse({**spec.model_dump(exclude_unset=True), "budget": budget}, file=spec.file)


def _stated_numbers(spec: StudySpec) -> set[str]:
    """Numbers that are fixed, belong to a regime, or are asked about."""
    changes = [spec.stated, *map(spec.change, spec.regimes)]
    asked = {asked.name for asked in spec.understood if asked.kind == "number"}
    return asked | {name for change in changes for name in change.numbers}
