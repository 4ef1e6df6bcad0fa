"""The Kubernetes manifests use fields that exist, fit each other, and grant no more than they must."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
import yaml

from tests.infra.kubernetes_fields import KINDS, known_fields, mistakes
from tests.infra.operators_files import INFRA, KUBERNETES, document, manifest, manifests, mappings, pods

POD_NAMES = sorted(pods())


def named(one: dict[str, Any]) -> str:
    return f"{one['kind']} {one['metadata']['name']}"


@pytest.mark.parametrize("one", manifests(), ids=named)
def test_every_field_of_a_manifest_exists_and_has_the_right_type(one: dict[str, Any]) -> None:
    assert list(mistakes(one, KINDS[one["apiVersion"], one["kind"]], named(one))) == []


@pytest.mark.parametrize(
    ("path", "value", "rule"),
    [
        (("spec", "authOption"), {}, "RayClusterSpec has no such field"),
        (("spec", "authOptions", "mode"), "tokens", "must be one of disabled|token"),
        (("spec", "autoscalerOptions", "idleTimeoutSeconds"), "300", "must be int"),
        (("spec", "headGroupSpec", "template", "spec", "container"), [], "PodSpec has no such field"),
        (("spec", "headGroupSpec", "template", "spec", "restartPolicy"), True, "must be str"),
        (("spec", "headGroupSpec", "rayStartParams", "num-cpus"), 0, "must be str"),
        (("spec", "workerGroupSpecs", 0, "template", "spec", "containers", 0, "name"), None, "must be str"),
        (("spec", "autoscalerOptions", "resources", "limits", "memory"), "lots", "must be a quantity"),
    ],
)
def test_a_planted_mistake_is_found(path: tuple[str | int, ...], value: Any, rule: str) -> None:
    cluster = copy.deepcopy(manifest("RayCluster"))
    inside: Any = cluster
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = value
    (found,) = mistakes(cluster, "ray_v1.RayCluster")
    assert rule in found


def test_a_missing_field_is_found() -> None:
    cluster = copy.deepcopy(manifest("RayCluster"))
    del cluster["spec"]["workerGroupSpecs"][1]["groupName"]
    assert list(mistakes(cluster, "ray_v1.RayCluster")) == [".spec.workerGroupSpecs[1].groupName is missing"]


def test_what_is_read_are_the_fields_of_kubernetes() -> None:
    """Where the package changed its form, everything would be unknown, or nothing checked."""
    fields = known_fields()
    assert fields["core_v1.EnvVar"]["name"] == "str"
    assert fields["core_v1.PodSpec"]["containers"] == "List[core_v1.Container]"
    assert fields["networking_v1.NetworkPolicyIngressRule"]["from"].endswith("NetworkPolicyPeer]]")


def test_what_kustomize_applies_is_there() -> None:
    applied = document("kustomization.yaml")
    assert applied["namespace"] == "groundrules"
    for name in applied["resources"]:
        assert (INFRA / name).is_file(), name
    apart = {file.name for file in KUBERNETES} - {name.split("/")[1] for name in applied["resources"]}
    assert apart == {"study.yaml", "defaults.yaml"}, (
        "studies are started one by one, with a namespace of their own"
    )
    assert {one["metadata"].get("namespace") for one in (manifest("RayJob"), manifest("RayCronJob"))} == {
        applied["namespace"]
    }
    (script,) = applied["configMapGenerator"][0]["files"]
    assert (INFRA / script.split("=")[1]).is_file()
    assert applied["configMapGenerator"][0]["name"] in yaml.safe_dump(manifest("StatefulSet"))


def test_a_study_runs_on_the_same_cluster_however_it_is_started() -> None:
    cluster = manifest("RayCluster")["spec"]
    assert manifest("RayJob")["spec"]["rayClusterSpec"] == cluster
    assert manifest("RayCronJob")["spec"]["jobTemplate"]["rayClusterSpec"] == cluster


@pytest.mark.parametrize("name", POD_NAMES)
def test_a_pod_has_no_rights_it_does_not_need(name: str) -> None:
    pod = pods()[name]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    for container in pod["containers"]:
        rights = container["securityContext"]
        assert rights["allowPrivilegeEscalation"] is False
        assert rights["capabilities"] == {"drop": ["ALL"]}
        assert "privileged" not in rights
        assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize("name", POD_NAMES)
def test_a_pod_mounts_only_volumes_that_it_declares(name: str) -> None:
    pod = pods()[name]["spec"]
    declared = {one["name"] for one in pod.get("volumes", [])}
    claims = manifest("StatefulSet")["spec"]["volumeClaimTemplates"] if "StatefulSet" in name else []
    declared |= {one["metadata"]["name"] for one in claims}
    mounted = {one["name"] for c in pod["containers"] for one in c.get("volumeMounts", [])}
    assert mounted == declared
    assert all("hostPath" not in one for one in pod.get("volumes", []))
    shared = {one["metadata"]["name"] for one in manifests() if one["kind"] == "PersistentVolumeClaim"}
    asked = {
        one["persistentVolumeClaim"]["claimName"] for one in mappings(pod) if "persistentVolumeClaim" in one
    }
    assert asked <= shared


def test_secrets_are_variables_because_a_mounted_one_is_readable_by_its_group() -> None:
    made = (INFRA / "kuberay" / "make-secrets.sh").read_text(encoding="utf-8")
    references = [one["secretKeyRef"] for one in mappings(manifests()) if "secretKeyRef" in one]
    for one in mappings(manifests()):
        if re.search("PASSWORD|TOKEN", str(one.get("name"))):
            assert set(one) == {"name", "valueFrom"}, "by reference only"
    assert {(one["name"], one["key"]) for one in references} == {
        ("ray-token", "auth_token"),
        ("postgres-password", "password"),
        ("ledger-password", "password"),
        ("tracking-password", "password"),
    }
    assert all(word in made for word in ("ray-token", "auth_token=", '"$name-password"', "password="))
    assert "for name in postgres ledger tracking" in made
    assert not [one for pod in pods().values() for one in pod["spec"].get("volumes", []) if "secret" in one]
    assert not [one for one in manifests() if one["kind"] == "Secret"], (
        "secrets are made from files, not written"
    )


def test_ray_asks_for_the_token_of_that_secret() -> None:
    for one in mappings(manifests()):
        if "headGroupSpec" in one:
            assert one["authOptions"] == {"mode": "token", "secretName": "ray-token"}


def test_workers_know_no_password_and_start_from_none() -> None:
    for group in manifest("RayCluster")["spec"]["workerGroupSpecs"]:
        assert group["replicas"] == group["minReplicas"] == 0 < group["maxReplicas"]
        assert not [one for one in mappings(group) if "secretKeyRef" in one]
        (container,) = group["template"]["spec"]["containers"]
        assert container["resources"]["requests"] == container["resources"]["limits"]
        gpus = container["resources"]["limits"].get("nvidia.com/gpu", "0")
        assert (gpus, container["image"]) == (
            ("1", "groundrules:cuda") if group["groupName"] == "gpu" else ("0", "groundrules:cpu")
        )


def test_every_pod_of_the_autoscaler_is_used_once() -> None:
    cluster = manifest("RayCluster")["spec"]
    assert cluster["autoscalerOptions"]["version"] == "v2"
    templates = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    assert {one["template"]["spec"]["restartPolicy"] for one in templates} == {"Never"}


def test_services_and_policies_select_pods_that_exist() -> None:
    labels = [pod.get("metadata", {}).get("labels", {}) for pod in pods().values()]
    labels.append({"ray.io/node-type": "head"})  # KubeRay's own
    wanted = [one["spec"]["selector"] for one in manifests() if one["kind"] == "Service"]
    wanted += [
        one["podSelector"]["matchLabels"]
        for one in mappings(manifests())
        if one.get("podSelector", {}).get("matchLabels")
    ]
    for selector in wanted:
        assert any(selector.items() <= have.items() for have in labels), selector
    for one in manifests():
        if one["kind"] in ("Deployment", "StatefulSet"):
            template = one["spec"]["template"]["metadata"]["labels"]
            assert one["spec"]["selector"]["matchLabels"].items() <= template.items()


def test_whoever_speaks_to_the_database_is_let_in() -> None:
    for name, pod in pods().items():
        speaks = any("@postgres:5432" in str(one.get("value")) for one in mappings(pod))
        let_in = pod.get("metadata", {}).get("labels", {}).get("groundrules/writes") == "stores"
        assert speaks == let_in, name


def test_a_job_ends_and_leaves_no_cluster_behind() -> None:
    for job in (manifest("RayJob")["spec"], manifest("RayCronJob")["spec"]["jobTemplate"]):
        assert job["shutdownAfterJobFinishes"] is True
        assert job["activeDeadlineSeconds"] > 0
        assert job["backoffLimit"] > 0, "a retry resumes: the ledger outlives the cluster"
        assert set(yaml.safe_load(job["runtimeEnvYAML"])) == {"env_vars"}
