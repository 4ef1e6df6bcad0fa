"""The files in infra/ as the tests look at them: documents, commands, everything inside them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
KUBERNETES = tuple(sorted((INFRA / "kuberay").glob("*.yaml")))
README = INFRA / "README.md"


def document(name: str) -> dict[str, Any]:
    """The one document of a YAML file in infra/."""
    loaded = yaml.safe_load((INFRA / name).read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


@lru_cache(maxsize=1)
def manifests() -> list[dict[str, Any]]:
    """Every Kubernetes object in infra/kuberay; not to be changed."""
    return [one for file in KUBERNETES for one in yaml.safe_load_all(file.read_text(encoding="utf-8"))]


def manifest(kind: str, name: str = "") -> dict[str, Any]:
    """The one Kubernetes object of that kind (and name)."""
    (found,) = [one for one in manifests() if one["kind"] == kind and name in ("", one["metadata"]["name"])]
    return found


def mappings(value: Any) -> Iterator[dict[str, Any]]:
    """A value's mappings, itself included, however deep."""
    if isinstance(value, dict):
        yield value
        for one in value.values():
            yield from mappings(one)
    elif isinstance(value, list):
        for one in value:
            yield from mappings(one)


def texts(value: Any) -> Iterator[str]:
    """A value's texts, however deep, names of fields excepted."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from texts(one)


def pods() -> dict[str, dict[str, Any]]:
    """Every pod template in the manifests, by the path to it."""
    found = {}
    for one in manifests():
        for i, inside in enumerate(mappings(one)):
            if "containers" in inside.get("spec", {}):
                found[f"{one['kind']} {one['metadata']['name']} #{i}"] = inside
    return found


def services() -> dict[str, dict[str, Any]]:
    """The services of compose.yaml; variables as they stand."""
    found: dict[str, dict[str, Any]] = document("compose.yaml")["services"]
    return found


def shell_blocks() -> list[str]:
    """The fenced shell blocks of the README."""
    return re.findall(r"```sh\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def written() -> list[Path]:
    """Every text file of infra/ but the documentation's pages and what prepare.sh makes."""
    elsewhere = {"docs", "secrets", "work", "artifacts", "data", "__pycache__"}
    files = [path for path in INFRA.rglob("*") if path.is_file() and path.name != ".env"]
    return sorted(path for path in files if path.relative_to(INFRA).parts[0] not in elsewhere)
