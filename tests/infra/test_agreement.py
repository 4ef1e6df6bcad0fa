"""The files of infra/ agree with each other and with the program: names, ports, versions, variables."""

from __future__ import annotations

import re
from importlib.metadata import distribution, version
from pathlib import Path

import pytest
import yaml

from studies.site import KEYS, SECRETS, site_of
from studies.tracking.ui import LEAN_SERVER
from tests.infra.operators_files import (
    INFRA,
    README,
    ROOT,
    document,
    manifest,
    manifests,
    mappings,
    services,
    texts,
    written,
)

ABOUT_THE_REPOSITORY = (
    *("check.sh", "decisions.md", "make_mlflow_tables.py", "make_tables.py", "security.md"),
    *("docs_hooks.py", "docs_pictures.py", "docs_reference.py", "mkdocs.yml"),
)
OPERATORS = [path for path in written() if path.name not in ABOUT_THE_REPOSITORY]
"""What operators use."""


def everything() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in OPERATORS)


def allowed_hosts() -> dict[str, set[str]]:
    """The names by which each MLflow server lets itself be asked."""
    (container,) = manifest("Deployment", "mlflow")["spec"]["template"]["spec"]["containers"]
    (kubernetes,) = [one["value"] for one in container["env"] if one["name"] == "MLFLOW_SERVER_ALLOWED_HOSTS"]
    compose = services()["mlflow"]["environment"]["MLFLOW_SERVER_ALLOWED_HOSTS"]
    return {"compose": set(compose.split(",")), "kubernetes": set(kubernetes.split(","))}


def test_variables_of_ours_are_known_to_the_program() -> None:
    known = {f"GROUNDRULES_{key.upper()}" for key in KEYS} | set(SECRETS.values())
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "studies").rglob("*.py"))
    known |= set(re.findall(r'"(GROUNDRULES_[A-Z_]+)"', code))
    assert set(re.findall(r"\bGROUNDRULES_[A-Z_]+[A-Z]", everything())) <= known


def test_variables_of_ray_and_mlflow_are_known_to_them() -> None:
    libraries = Path(str(distribution("ray").locate_file("")))  # read, not imported: that takes seconds
    places = [
        *(libraries / "ray" / "_private").rglob("*.py"),
        *(libraries / "ray" / "_common").rglob("*.py"),
        *(libraries / "ray" / "dashboard").rglob("*.py"),
        libraries / "ray" / "train" / "constants.py",
        *(
            libraries / "mlflow" / name
            for name in ("environment_variables.py", "cli/__init__.py", "utils/cli_args.py")
        ),
    ]
    known = set(
        re.findall(r"\b(?:RAY|MLFLOW)_\w+", "\n".join(path.read_text(encoding="utf-8") for path in places))
    )
    ours = {"MLFLOW_DATABASE_PASSWORD_FILE"}  # of mlflow-server.sh
    set_by_ray = {"RAY_HEAD_IP"}  # for the start commands of `ray up`
    assert set(re.findall(r"\b(?:RAY|MLFLOW)_\w+", everything())) - ours - set_by_ray <= known


def test_mlflow_can_be_asked_by_every_name_it_has() -> None:
    port = services()["mlflow"]["environment"]["MLFLOW_PORT"]
    names = {
        "compose": {"mlflow", "localhost", "127.0.0.1"},
        "kubernetes": {
            *(
                "mlflow",
                "mlflow.groundrules",
                "mlflow.groundrules.svc",
                "mlflow.groundrules.svc.cluster.local",
            ),
            *("localhost", "127.0.0.1"),
        },
    }
    for place, hosts in allowed_hosts().items():
        assert hosts == {host for name in names[place] for host in (name, f"{name}:{port}")}, place
    assert manifest("Service", "mlflow")["metadata"]["name"] in allowed_hosts()["kubernetes"]


def test_the_server_for_all_is_as_closed_as_the_one_for_one() -> None:
    script = (INFRA / "mlflow-server.sh").read_text(encoding="utf-8")
    exported = {
        name: value.strip("'") for name, value in re.findall(r"^export (\w+)=(\S*)$", script, re.MULTILINE)
    }
    about_its_log = (
        "MLFLOW_DISABLE_AGENT_HINT",
        "MLFLOW_LOGGING_LEVEL",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT",
    )
    assert exported == {name: value for name, value in LEAN_SERVER.items() if name not in about_its_log}


def test_addresses_name_services_at_the_ports_they_listen_on() -> None:
    listening = {
        (name, port.split(":")[2]) for name, one in services().items() for port in one.get("ports", [])
    }
    listening |= {("head", "6379")}  # Ray's own, for workers, not open to the machine
    spoken = {
        (host, port)
        for one in services().values()
        for text in texts([one.get("environment", {}), one.get("command", [])])
        for host, port in re.findall(r"(?:@|//|=)(postgres|mlflow|head):(\d+)", text)
    }
    assert spoken == {("postgres", "5432"), ("head", "8265"), ("head", "6379")}
    assert spoken <= listening


def test_addresses_on_kubernetes_name_services_at_the_ports_they_listen_on() -> None:
    listening = {
        (one["metadata"]["name"], str(port["port"]))
        for one in manifests()
        if one["kind"] == "Service"
        for port in one["spec"]["ports"]
    }
    # KubeRay makes this one, from the cluster's name.
    listening.add((f"{manifest('RayCluster')['metadata']['name']}-head-svc", "8265"))
    values = [one["value"] for one in mappings(manifests()) if isinstance(one.get("value"), str)]
    spoken = {pair for text in values for pair in re.findall(r"(?:@|//)([a-z-]+):(\d+)", text)}
    assert spoken == {("postgres", "5432"), ("groundrules-head-svc", "8265")}
    assert spoken <= listening


def test_databases_and_their_owners_are_the_ones_that_are_made() -> None:
    script = (INFRA / "postgres-roles.sh").read_text(encoding="utf-8")
    made = set(re.findall(r"CREATE DATABASE (\w+) OWNER (\w+);", script))
    assert made == {("groundrules", "groundrules"), ("mlflow", "mlflow")}
    addresses = re.findall(r"postgresql(?:\+psycopg)?://(\w+)@[\w.]+:5432/(\w+)", everything())
    assert {(database, owner) for owner, database in addresses} == made


def test_postgresql_is_the_same_everywhere() -> None:
    compose = services()["postgres"]
    (container,) = manifest("StatefulSet")["spec"]["template"]["spec"]["containers"]
    kubernetes = {one["name"]: one.get("value") for one in container["env"]}
    assert container["image"] == compose["image"]
    for name in ("PGDATA", "POSTGRES_USER", "POSTGRES_INITDB_ARGS"):
        assert kubernetes[name] == compose["environment"][name]


def test_ray_is_the_version_that_was_tested() -> None:
    assert manifest("RayCluster")["spec"]["rayVersion"] == version("ray")
    assert f"ray=={version('ray')}" in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()


def test_images_are_named_alike_and_none_moves() -> None:
    ours = {"groundrules:cpu", "groundrules:cuda"}
    named = {one["image"] for one in mappings([manifests(), document("compose.yaml")]) if "image" in one}
    assert named == ours | {services()["postgres"]["image"]}
    assert not re.search(r"image:.*:latest", everything())


def test_files_that_drivers_and_clients_share_are_at_one_place() -> None:
    for name in ("head", "client"):
        assert services()[name]["environment"]["GROUNDRULES_ARTIFACTS"] == "/artifacts"
        assert "./artifacts:/artifacts" in services()[name]["volumes"]
    assert services()["mlflow"]["environment"]["MLFLOW_ARTIFACTS_DESTINATION"] == "/artifacts"
    for name in ("head", "worker", "client"):
        assert "./data:/data:ro" in services()[name]["volumes"], "a task file names data by one path"


def test_no_file_holds_a_secret() -> None:
    assert not re.search(r"://[^/\s@]+:[^/\s@]+@", everything()), "a password in an address"
    for path in OPERATORS:
        for line in path.read_text(encoding="utf-8").splitlines():
            given = re.search(r"\b\w*(?:PASSWORD|TOKEN|SECRET)(?:=|:\s+)[\"']?(\S+)", line)
            if given and path != README:
                assert given[1].startswith(("$", "/run/secrets/", "/home/groundrules/.groundrules/")), (
                    f"{path.name}: {line}"
                )
    kept_out = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {"infra/.env", "infra/artifacts/", "infra/data/", "infra/secrets/", "infra/work/"} <= set(kept_out)


def test_the_example_of_a_site_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*(f"GROUNDRULES_{key.upper()}" for key in KEYS), "GROUNDRULES_SITE", *SECRETS.values()]:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "site.yaml").write_bytes((INFRA / "site.example.yaml").read_bytes())
    site = site_of(tmp_path)
    assert all(getattr(site, key) for key in KEYS), "it shows every key"


def test_the_readme_names_every_file() -> None:
    text = README.read_text(encoding="utf-8")
    for path in OPERATORS:
        name = path.relative_to(INFRA).as_posix()
        assert path == README or f"`{name}`" in text, name
    there = {path.relative_to(INFRA).as_posix() for path in written()} | {"site.yaml"}
    assert set(re.findall(r"`((?:kuberay/)?[\w.-]+\.(?:sh|yaml|md|py))`", text)) <= there


def test_the_workflow_is_one_that_github_reads() -> None:
    from importlib.resources import files

    from jsonschema import Draft7Validator

    schema = files("check_jsonschema") / "builtin_schemas" / "vendor" / "github-workflows.json"
    rules = Draft7Validator(yaml.safe_load(schema.read_text(encoding="utf-8")))
    text = (INFRA / "defaults-diff.yaml").read_text(encoding="utf-8")
    workflow = yaml.safe_load(text.replace("\non:", '\n"on":'))  # YAML 1.1 takes the word for true
    assert [one.message for one in rules.iter_errors(workflow)] == []
