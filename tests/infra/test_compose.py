"""compose.yaml follows the compose specification, and grants no more than it must."""

from __future__ import annotations

import copy
import json
from importlib.resources import files
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.infra.operators_files import INFRA, document, services

OURS = sorted(set(services()) - {"postgres"})
ALWAYS_ON = sorted(set(services()) - {"check", "client"})


def specification() -> Draft202012Validator:
    """The specification's own schema, as the package check-jsonschema carries it."""
    schema = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    return Draft202012Validator(json.loads(schema.read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", ["compose.yaml", "compose.gpu.yaml"])
def test_it_follows_the_specification(name: str) -> None:
    found = specification().iter_errors(document(name))
    assert [f"{list(one.absolute_path)}: {one.message}" for one in found] == []


@pytest.mark.parametrize(
    ("service", "field", "value"),
    [
        ("postgres", "health_check", {}),
        ("head", "shm_size", []),
        ("worker", "cap_drop", "ALL"),
        ("mlflow", "ports", [None]),
    ],
)
def test_a_planted_mistake_is_found(service: str, field: str, value: Any) -> None:
    wrong = copy.deepcopy(document("compose.yaml"))
    wrong["services"][service][field] = value
    assert not specification().is_valid(wrong)


@pytest.mark.parametrize("name", sorted(services()))
def test_a_service_has_no_rights_it_does_not_need(name: str) -> None:
    service = services()[name]
    assert service["user"].startswith("${RUN_AS_UID:?"), "refused where prepare.sh has not run"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert not {"privileged", "cap_add", "devices", "pid", "ipc"} & set(service)
    assert service.get("network_mode") in (None, "none")
    assert not any("docker.sock" in volume for volume in service.get("volumes", []))


@pytest.mark.parametrize("name", sorted(services()))
def test_ports_are_open_on_this_machine_only(name: str) -> None:
    for port in services()[name].get("ports", []):
        host, outside, inside = port.split(":")
        assert host == "127.0.0.1"
        assert outside == inside, "the README names one number"


@pytest.mark.parametrize("name", ALWAYS_ON)
def test_what_stays_up_is_watched_and_started_again(name: str) -> None:
    service = services()[name]
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] == "CMD"


def test_nothing_starts_without_its_secrets() -> None:
    whole = document("compose.yaml")
    declared = {name: one["file"] for name, one in whole["secrets"].items()}
    assert declared == {name: f"./secrets/{name}" for name in declared}
    assert {name for service in services().values() for name in service.get("secrets", [])} == set(declared)
    checked = {word.removeprefix("/run/secrets/") for word in services()["check"]["command"][1:]}
    assert checked == set(services()["check"]["secrets"]) == set(declared)
    for name in ("postgres", "head"):
        assert services()[name]["depends_on"]["check"] == {"condition": "service_completed_successfully"}


def test_a_service_names_only_secrets_that_it_was_given() -> None:
    for name, service in services().items():
        words = [*service.get("environment", {}).values(), *service.get("command", [])]
        named = {word.removeprefix("/run/secrets/") for word in words if word.startswith("/run/secrets/")}
        assert named == set(service.get("secrets", [])), name


def test_workers_know_the_token_and_no_password() -> None:
    assert services()["worker"]["secrets"] == ["ray_token"]
    assert services()["worker"]["networks"] == ["cluster"], "they do not even reach the database"
    assert "cluster" not in services()["postgres"]["networks"]


def test_workers_can_be_many() -> None:
    for name in ("compose.yaml", "compose.gpu.yaml"):
        assert not {"container_name", "ports", "hostname"} & set(document(name)["services"]["worker"])


def test_every_service_waits_for_one_that_says_when_it_is_ready() -> None:
    for name, service in services().items():
        for other, how in service.get("depends_on", {}).items():
            expected = "service_completed_successfully" if other == "check" else "service_healthy"
            assert how == {"condition": expected}, f"{name} waits for {other}"


def test_the_folders_it_mounts_are_made_by_prepare() -> None:
    sources = {volume.split(":")[0] for one in services().values() for volume in one.get("volumes", [])}
    made = (INFRA / "prepare.sh").read_text(encoding="utf-8")
    for source in sources - set(document("compose.yaml")["volumes"]):
        assert source.startswith("./")
        place = INFRA / source
        assert place.is_file() or f" {source[2:]}" in made, source


def test_a_read_only_service_has_a_place_for_what_is_temporary() -> None:
    for name in ALWAYS_ON:
        assert any(one.startswith("/tmp") for one in services()[name]["tmpfs"]), name


def test_a_gpu_is_all_that_the_second_file_adds() -> None:
    (name,) = document("compose.gpu.yaml")["services"]
    changed = document("compose.gpu.yaml")["services"][name]
    assert (name, changed["image"], changed["build"]) == ("worker", "groundrules:cuda", {"target": "cuda"})
    without = [word for word in changed["command"] if word != "--num-gpus=1"]
    assert without == services()["worker"]["command"]
