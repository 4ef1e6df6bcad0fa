"""The Dockerfile builds what it says from files that exist, and ends as a user without rights."""

from __future__ import annotations

import fnmatch
import re
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.infra.operators_files import INFRA, ROOT, document, services
from tests.surroundings import installed_tool

FILE = INFRA / "Dockerfile"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One FROM and what follows."""

    name: str
    base: str
    steps: tuple[tuple[str, str], ...]
    """Instruction and the rest of its line, continued lines joined."""


def read() -> tuple[list[tuple[str, str]], dict[str, Stage]]:
    """What stands before the first stage, and the stages by name."""
    text = re.sub(r"^\s*#.*\n", "", FILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = [line for line in re.sub(r"\\\n\s*", "", text).splitlines() if line.strip()]
    steps = [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines]
    starts = [i for i, (word, _) in enumerate(steps) if word == "FROM"]
    stages = {}
    for start, end in zip(starts, [*starts[1:], len(steps)], strict=True):
        base, _, name = steps[start][1].partition(" AS ")
        stages[name] = Stage(name=name, base=base, steps=tuple(steps[start + 1 : end]))
    return steps[: starts[0]], stages


def whole(name: str) -> list[tuple[str, str]]:
    """The steps of a stage after those of the stages it stands on."""
    stages = read()[1]
    stage = stages[name]
    return [*(whole(stage.base) if stage.base in stages else []), *stage.steps]


def ignored(path: str) -> bool:
    """Whether .dockerignore keeps a path out: the last line that matches it or a folder above it decides."""
    parts = path.split("/")
    above = ["/".join(parts[:n]) for n in range(1, len(parts) + 1)]
    out = False
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!")
        if pattern.startswith("**/"):  # at any depth
            matches = any(fnmatch.fnmatchcase(name, pattern[3:]) for name in parts)
        else:  # a star does not cross a slash
            same_depth = [one for one in above if one.count("/") == pattern.count("/")]
            matches = any(fnmatch.fnmatchcase(one, pattern) for one in same_depth)
        if matches:
            out = not line.startswith("!")
    return out


def copied() -> list[str]:
    """What is copied from the repository."""
    steps = [rest for stage in read()[1].values() for word, rest in stage.steps if word == "COPY"]
    return [
        path
        for rest in steps
        if "--from=" not in rest
        for path in rest.split()[:-1]
        if not path.startswith("--")
    ]


def test_hadolint_has_nothing_to_warn_of() -> None:
    found = subprocess.run(
        [installed_tool("hadolint"), "--no-color", "--failure-threshold", "warning", str(FILE)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout


def test_what_it_copies_exists_and_reaches_the_builder() -> None:
    assert copied()
    for path in copied():
        assert (ROOT / path).exists(), path
        assert not ignored(path), path


def test_every_package_is_in_the_wheel_that_it_builds() -> None:
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    folders = setup["tool"]["setuptools"]["package-dir"]
    packages = {
        folders.get(name, name).split("/")[0].split(".")[0]
        for name in setup["tool"]["setuptools"]["packages"]
    }
    assert packages <= set(copied())
    assert {setup["project"]["readme"], *setup["project"]["license-files"], "pyproject.toml"} <= set(copied())


@pytest.mark.parametrize(
    "path",
    [
        "infra/secrets/ray_token",
        "infra/.env",
        ".git/config",
        ".venv/bin/python",
        "groundrules-workspace/mlflow.db",
        "studies/__pycache__/cli.cpython-311.pyc",
        "infra/compose.yaml",
        "tests/conftest.py",
    ],
)
def test_what_an_image_does_not_need_stays_out(path: str) -> None:
    assert ignored(path)


def test_stages_come_from_stages_or_from_the_pinned_base() -> None:
    before, stages = read()
    (argument,) = [rest for word, rest in before if word == "ARG"]
    name, _, base = argument.partition("=")
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", base), "a version, not a moving name"
    for stage in stages.values():
        assert stage.base in stages or stage.base == f"${{{name}}}"
        for word, rest in stage.steps:
            source = re.search(r"--from=(\w+)|from=(\w+)", rest) if word in ("COPY", "RUN") else None
            assert source is None or (source[1] or source[2]) in stages


def test_arguments_are_declared_where_they_are_used() -> None:
    for stage in read()[1].values():
        declared = {rest.split("=")[0] for word, rest in stage.steps if word == "ARG"}
        used = {
            name for word, rest in stage.steps if word == "RUN" for name in re.findall(r"\$\{(\w+)", rest)
        }
        assert used == declared, stage.name
        assert not [name for name in declared if re.search("TOKEN|PASSWORD|SECRET|KEY", name)]


def test_every_package_has_the_version_that_was_tested() -> None:
    installs = [
        rest for stage in read()[1].values() for word, rest in stage.steps if word == "RUN" and "pip " in rest
    ]
    assert len(installs) == 4
    for rest in installs:
        assert "--constraint constraints.txt" in rest or "--no-deps" in rest, rest
        assert "--no-cache-dir" in rest
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    pinned = {
        line.split("==")[0].lower()
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    }
    for name in [*(re.split(r"[\[>]", text)[0] for text in extras["scaleout"]), "boto3"]:
        assert name.lower() in pinned, name


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_an_image_runs_as_a_user_without_rights(name: str) -> None:
    users = [rest for word, rest in whole(name) if word == "USER"]
    assert users
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1]), (
        "by number, or Kubernetes cannot see that it is not root"
    )
    assert not [word for word, _ in whole(name) if word in ("ADD", "ENTRYPOINT", "VOLUME")], (
        "`ray up` runs bash in it"
    )


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_ray_in_an_image_refuses_to_start_without_a_token(name: str) -> None:
    variables = " ".join(rest for word, rest in whole(name) if word == "ENV").split()
    assert "RAY_AUTH_MODE=token" in variables
    assert "RAY_USAGE_STATS_ENABLED=0" in variables


def test_the_targets_are_those_that_compose_builds() -> None:
    stages = read()[1]
    asked = {one["build"]["target"] for one in services().values() if "build" in one}
    asked |= {one["build"]["target"] for one in document("compose.gpu.yaml")["services"].values()}
    assert asked == {"cpu", "cuda"} <= set(stages)
    assert list(stages)[-1] == "cpu", "what is built without --target"
    arguments = {name for one in services().values() for name in one.get("build", {}).get("args", {})}
    declared = {
        rest.split("=")[0] for stage in stages.values() for word, rest in stage.steps if word == "ARG"
    }
    assert arguments <= declared
    assert {Path(one["build"]["dockerfile"]) for one in services().values() if "build" in one} == {
        FILE.relative_to(ROOT)
    }
