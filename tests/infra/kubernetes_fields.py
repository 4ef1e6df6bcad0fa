"""The field names and types of Kubernetes' objects: its own from a package, KubeRay's from a table.

The package lightkube-models is generated from the API's description of one Kubernetes version. It is read as
data: importing it would need a client library besides.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

Fields = Mapping[str, str]
"""Field -> its type: a scalar, dict, an object, Enum[a|b], or Optional[...] and List[...] of these."""

MODULES = ("apps_v1", "core_v1", "meta_v1", "networking_v1")

KINDS = {
    ("v1", "PersistentVolumeClaim"): "core_v1.PersistentVolumeClaim",
    ("v1", "Service"): "core_v1.Service",
    ("apps/v1", "Deployment"): "apps_v1.Deployment",
    ("apps/v1", "StatefulSet"): "apps_v1.StatefulSet",
    ("networking.k8s.io/v1", "NetworkPolicy"): "networking_v1.NetworkPolicy",
    ("ray.io/v1", "RayCluster"): "ray_v1.RayCluster",
    ("ray.io/v1", "RayCronJob"): "ray_v1.RayCronJob",
    ("ray.io/v1", "RayJob"): "ray_v1.RayJob",
}

_OBJECT = {"apiVersion": "str", "kind": "str", "metadata": "meta_v1.ObjectMeta"}

KUBERAY: dict[str, Fields] = {
    "ray_v1.RayCluster": {**_OBJECT, "spec": "ray_v1.RayClusterSpec"},
    "ray_v1.RayJob": {**_OBJECT, "spec": "ray_v1.RayJobSpec"},
    "ray_v1.RayCronJob": {**_OBJECT, "spec": "ray_v1.RayCronJobSpec"},
    "ray_v1.RayCronJobSpec": {
        "jobTemplate": "ray_v1.RayJobSpec",
        "schedule": "str",
        "suspend": "Optional[bool]",
        "timeZone": "Optional[str]",
    },
    "ray_v1.RayJobSpec": {
        "activeDeadlineSeconds": "Optional[int]",
        "backoffLimit": "Optional[int]",
        "clusterSelector": "Optional[dict]",
        "entrypoint": "Optional[str]",
        "entrypointNumCpus": "Optional[int]",
        "entrypointNumGpus": "Optional[int]",
        "entrypointResources": "Optional[str]",
        "jobId": "Optional[str]",
        "managedBy": "Optional[str]",
        "metadata": "Optional[dict]",
        "preRunningDeadlineSeconds": "Optional[int]",
        "rayClusterSpec": "Optional[ray_v1.RayClusterSpec]",
        "runtimeEnvYAML": "Optional[str]",
        "shutdownAfterJobFinishes": "Optional[bool]",
        "submissionMode": "Optional[Enum[K8sJobMode|HTTPMode|InteractiveMode|SidecarMode]]",
        "submitterPodTemplate": "Optional[core_v1.PodTemplateSpec]",
        "suspend": "Optional[bool]",
        "ttlSecondsAfterFinished": "Optional[int]",
    },
    "ray_v1.RayClusterSpec": {
        "authOptions": "Optional[ray_v1.AuthOptions]",
        "autoscalerOptions": "Optional[ray_v1.AutoscalerOptions]",
        "enableInTreeAutoscaling": "Optional[bool]",
        "headGroupSpec": "ray_v1.HeadGroupSpec",
        "headServiceAnnotations": "Optional[dict]",
        "managedBy": "Optional[str]",
        "rayVersion": "Optional[str]",
        "suspend": "Optional[bool]",
        "workerGroupSpecs": "Optional[List[ray_v1.WorkerGroupSpec]]",
    },
    "ray_v1.AuthOptions": {
        "enableK8sTokenAuth": "Optional[bool]",
        "mode": "Optional[Enum[disabled|token]]",
        "secretName": "Optional[str]",
    },
    "ray_v1.AutoscalerOptions": {
        "env": "Optional[List[core_v1.EnvVar]]",
        "envFrom": "Optional[List[core_v1.EnvFromSource]]",
        "idleTimeoutSeconds": "Optional[int]",
        "image": "Optional[str]",
        "imagePullPolicy": "Optional[str]",
        "resources": "Optional[core_v1.ResourceRequirements]",
        "securityContext": "Optional[core_v1.SecurityContext]",
        "upscalingMode": "Optional[Enum[Default|Aggressive|Conservative]]",
        "version": "Optional[Enum[v1|v2]]",
        "volumeMounts": "Optional[List[core_v1.VolumeMount]]",
    },
    "ray_v1.HeadGroupSpec": {
        "enableIngress": "Optional[bool]",
        "headService": "Optional[core_v1.Service]",
        "labels": "Optional[dict]",
        "rayStartParams": "Optional[dict]",
        "resources": "Optional[dict]",
        "serviceType": "Optional[str]",
        "template": "core_v1.PodTemplateSpec",
    },
    "ray_v1.WorkerGroupSpec": {
        "groupName": "str",
        "idleTimeoutSeconds": "Optional[int]",
        "labels": "Optional[dict]",
        "maxReplicas": "int",
        "minReplicas": "int",
        "numOfHosts": "Optional[int]",
        "rayStartParams": "Optional[dict]",
        "replicas": "Optional[int]",
        "resources": "Optional[dict]",
        "suspend": "Optional[bool]",
        "template": "core_v1.PodTemplateSpec",
    },
}
"""KubeRay's, from the reference of its custom resources at v1.6.2 (docs/reference/api.md in the repository
ray-project/kuberay) and the definition of RayCronJob at v1.7, which adds timeZone
(helm-chart/kuberay-operator/crds). Deletion strategies, Redis and upgrades are left out as unused."""

QUANTITY = re.compile(r"[+-]?\d+(\.\d+)?([numkMGTPE]|[KMGTPE]i)?")
_SCALARS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "bool": (bool,),
    "meta_v1.Time": (str,),
    "util_intstr.IntOrString": (int, str),
}


def mistakes(value: Any, kind: str, where: str = "") -> Iterator[str]:
    """What is wrong in an object: fields that its kind has not, fields it lacks, values of another type."""
    if kind.startswith("Optional["):
        yield from mistakes(value, kind[9:-1], where)
    elif kind.startswith("List["):
        if isinstance(value, list):
            for i, one in enumerate(value):
                yield from mistakes(one, kind[5:-1], f"{where}[{i}]")
        else:
            yield f"{where}: {value!r} must be a list"
    elif kind.startswith("Enum["):
        if value not in kind[5:-1].split("|"):
            yield f"{where}: {value!r} must be one of {kind[5:-1]}"
    elif kind == "resource.Quantity":
        if isinstance(value, bool) or not QUANTITY.fullmatch(str(value)):
            yield f"{where}: {value!r} must be a quantity"
    elif kind == "dict":
        yield from _wrong_in_map(value, where)
    elif kind in _SCALARS:
        right = isinstance(value, _SCALARS[kind]) and isinstance(value, bool) == (kind == "bool")
        if not right:
            yield f"{where}: {value!r} must be {kind}"
    else:
        yield from _wrong_in_object(value, kind, where)


def _wrong_in_map(value: Any, where: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{where}: {value!r} must be a mapping"
        return
    kind = "resource.Quantity" if where.endswith((".limits", ".requests")) else "str"
    for key, one in value.items():
        yield from mistakes(one, kind, f"{where}.{key}")


def _wrong_in_object(value: Any, kind: str, where: str) -> Iterator[str]:
    fields = known_fields()[kind]
    if not isinstance(value, dict):
        yield f"{where}: {value!r} must be a mapping"
        return
    for name, one in value.items():
        if name in fields:
            yield from mistakes(one, fields[name], f"{where}.{name}")
        else:
            yield f"{where}.{name}: {kind} has no such field"
    missing = {name for name, type_ in fields.items() if not type_.startswith("Optional[")} - set(value)
    yield from (f"{where}.{name} is missing" for name in sorted(missing))


@lru_cache(maxsize=1)
def known_fields() -> dict[str, Fields]:
    """Object -> its fields, of Kubernetes and of KubeRay."""
    folder = Path(str(distribution("lightkube-models").locate_file("lightkube/models")))
    found: dict[str, Fields] = {}
    for module in MODULES:
        tree = ast.parse((folder / f"{module}.py").read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                found[f"{module}.{node.name}"] = dict(_fields(node, module))
    return {**found, **KUBERAY}


def _fields(node: ast.ClassDef, module: str) -> Iterator[tuple[str, str]]:
    """A class's fields; those named like words of Python keep their real name in the field's metadata."""
    for line in node.body:
        if isinstance(line, ast.AnnAssign):
            assert isinstance(line.target, ast.Name)
            type_ = str(ast.literal_eval(line.annotation))
            real = re.search(r"'json': '(\w+)'", ast.unparse(line.value)) if line.value else None
            yield (
                (real[1] if real else line.target.id),
                re.sub(r"(?<![\w.])([A-Z]\w+)(?![\w\[])", rf"{module}.\1", type_),
            )
