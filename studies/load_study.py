"""Reads a study file of any kind that has files (`studies.kinds`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from search_spaces.factor import unknown
from studies.kinds import COMPARISON, KINDS, AnySpec, kind_of
from studies.spec.errors import SpecError
from studies.spec.load import read
from studies.spec.reserved_names import refuse_reserved
from studies.spec.sections import Profile


def load(path_or_name: str | Path) -> AnySpec:
    """Reads a study file, or one that ships (`load("quickstart")`).

    Raises:
        SpecError: no such file or name, or anything wrong in it.
    """
    spec = parse(read(path_or_name), file=str(path_or_name))
    refuse_reserved(spec.file, spec.study)
    return spec


def parse(data: Mapping[str, Any], *, file: str = "study") -> AnySpec:
    """A spec from plain data; without a `kind` it is a guideline study.

    Raises:
        SpecError: the first thing that is wrong.
    """
    parsers = {name: kind.parse for name, kind in KINDS.items() if kind.parse is not None}
    name = data.get("kind", COMPARISON.name)
    if not isinstance(name, str) or name not in parsers:
        raise SpecError(file, "kind", str(unknown("kind of study", name, parsers)))
    spec: AnySpec = parsers[name](data, file=file)
    return spec


def at_profile(spec: AnySpec, profile: Profile) -> AnySpec:
    """The same study at another budget; ValueError where its budget is no profile."""
    changed: AnySpec = kind_of(spec).with_profile(spec, profile)
    return changed
