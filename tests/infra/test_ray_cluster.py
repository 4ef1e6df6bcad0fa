"""ray-cluster.yaml is what `ray up` accepts, and every `ray start` in infra/ is one that Ray knows."""

from __future__ import annotations

import copy
import re
import shlex
from typing import Any

import pytest

from tests.infra.operators_files import document, manifest, services

FILE = "ray-cluster.yaml"


def prepared(config: dict[str, Any]) -> dict[str, Any]:
    """The file as `ray up` completes and checks it, before it speaks to a cloud."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    complete: dict[str, Any] = prepare_config(config)
    validate_config(complete)
    return complete


def starts() -> dict[str, list[str]]:
    """The words after every `ray start` in the file and in compose.yaml."""
    config = document(FILE)
    found = {
        "head machine": config["head_start_ray_commands"][-1],
        "worker machine": config["worker_start_ray_commands"][-1],
        "head container": shlex.join(services()["head"]["command"]),
        "worker container": shlex.join(services()["worker"]["command"]).replace("${WORKER_CPUS:-2}", "2"),
        "gpu container": shlex.join(document("compose.gpu.yaml")["services"]["worker"]["command"]),
    }
    found["gpu container"] = found["gpu container"].replace("${WORKER_CPUS:-2}", "2")
    return {name: shlex.split(text)[2:] for name, text in found.items()}


def test_ray_accepts_the_file() -> None:
    config = prepared(document(FILE))
    assert set(config["available_node_types"]) == {"head", "gpu"}
    assert config["available_node_types"]["head"]["max_workers"] == 0
    assert config["setup_commands"] == document(FILE)["setup_commands"], (
        "none of Ray's own, which would install"
    )
    assert config["docker"]["image"].endswith("groundrules:cuda")


@pytest.mark.parametrize(
    ("path", "value", "rule"),
    [
        (("idle_timeout",), 10, "'idle_timeout' was unexpected"),
        (("head_node_type",), "boss", "`head_node_type` must be one of"),
        (("available_node_types", "gpu", "resources"), None, "not of type 'object'"),
        (("docker", "run_option"), [], "'run_option' was unexpected"),
        (("max_workers",), "4", "not of type 'integer'"),
    ],
)
def test_ray_refuses_a_planted_mistake(path: tuple[str, ...], value: object, rule: str) -> None:
    wrong: Any = copy.deepcopy(document(FILE))
    inside = wrong
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = value
    with pytest.raises(Exception, match=re.escape(rule)):
        prepared(wrong)


def test_machines_come_and_go_with_the_work() -> None:
    config = document(FILE)
    gpu = config["available_node_types"]["gpu"]
    assert gpu["min_workers"] == 0 < gpu["max_workers"] == config["max_workers"]
    assert gpu["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert gpu["resources"]["GPU"] == 1
    assert "InstanceMarketOptions" not in config["available_node_types"]["head"]["node_config"]
    assert 0 < config["idle_timeout_minutes"] <= 15
    assert config["provider"]["cache_stopped_nodes"] is False


def test_the_token_reaches_every_machine_and_a_password_none() -> None:
    config = document(FILE)
    (target, source), *others = config["file_mounts"].items()
    assert (others, source) == ([], "infra/secrets/ray_token")
    assert f"--env RAY_AUTH_TOKEN_PATH={target}" in config["docker"]["run_options"]
    assert "--env RAY_AUTH_MODE=token" in config["docker"]["run_options"]
    assert config["setup_commands"] == [f"chmod 600 {target}"]


@pytest.mark.parametrize("name", sorted(starts()))
def test_ray_knows_every_option_it_is_started_with(name: str) -> None:
    from ray.scripts.scripts import start

    asked = start.make_context("start", starts()[name]).params
    head = name.startswith("head")
    assert asked["head"] is head
    assert asked["disable_usage_stats"] is True
    if head:
        assert (asked["num_cpus"], asked["num_gpus"]) == (0, 0), "drivers live there; it trains nothing"
    else:
        assert asked["address"].endswith(":6379")


def test_the_dashboard_of_a_machine_is_reached_through_ssh_only() -> None:
    assert "--dashboard-host=127.0.0.1" in starts()["head machine"]
    assert "--network=host" not in document(FILE)["docker"]["run_options"], (
        "Ray adds it: ports are the machine's"
    )


def test_what_the_operator_hands_to_ray_start_is_known_to_it() -> None:
    from ray.scripts.scripts import start

    for group in [
        manifest("RayCluster")["spec"]["headGroupSpec"],
        *manifest("RayCluster")["spec"]["workerGroupSpecs"],
    ]:
        words = [f"--{name}={value}" for name, value in group["rayStartParams"].items()]
        start.make_context("start", ["--head", *words])
