"""The two kinds of study: guideline studies compare levels, search studies look for one good config."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from search_spaces.factor import unknown
from studies.search import spec as searching
from studies.search.spec import SearchSpec
from studies.spec.errors import SpecError
from studies.spec.load import parse as parse_guideline
from studies.spec.load import read
from studies.spec.reserved_names import refuse_reserved
from studies.spec.resolved import ResolvedStudy

KINDS = ("guideline", "search")

AnySpec = ResolvedStudy | SearchSpec


def load(path_or_name: str | Path) -> AnySpec:
    """Reads a study file of either kind, or one that ships (`load("quickstart")`).

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
    kind = data.get("kind", "guideline")
    if kind not in KINDS:
        raise SpecError(file, "kind", str(unknown("kind of study", kind, KINDS)))
    return searching.parse(data, file=file) if kind == "search" else parse_guideline(data, file=file)
