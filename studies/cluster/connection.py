"""How a command reaches the cluster of its site: by address and token, and not without."""

from __future__ import annotations

import os
from dataclasses import replace
from importlib import metadata
from urllib.parse import urlsplit

from studies.cluster.ray_jobs import JobApi
from studies.site import Site


def cluster_of(site: Site, url: str | None = None) -> JobApi:
    """The cluster that a command speaks to, after it has answered.

    Args:
        site: of the workspace.
        url: what the command line says; None: the site's.

    Raises:
        ValueError: no address or a wrong one, no token, no answer, a token that is not taken, a cluster that
            asks for none, or another release of Ray than ours.
    """
    address = url or site.cluster
    if not address:
        raise ValueError(
            "no cluster: give --cluster http://HEAD:8265, or set it in GROUNDRULES_CLUSTER or the site file"
        )
    _check_address(address)
    api = JobApi(address, _token(site))
    theirs = api.version()
    if api.is_open():
        raise ValueError(
            f"cluster {api.name} answers without a token, so whoever reaches it can run code there; start "
            "every node with RAY_AUTH_MODE=token"
        )
    same_release("ray", theirs, metadata.version("ray"))
    return api


def same_release(name: str, theirs: str, ours: str) -> None:
    """ValueError unless both have the same major and minor version of a library."""
    if theirs.split(".")[:2] != ours.split(".")[:2]:
        raise ValueError(
            f"the cluster has {name} {theirs or '(unknown)'} and this client {ours}: both must be of one "
            "release; install the cluster's here, or use an image with this one"
        )


def _check_address(address: str) -> None:
    try:
        parts = urlsplit(address)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        right = False
    if not right:
        raise ValueError(f"--cluster: '{address[:200]}' must be an address like http://HEAD:8265")
    if parts.username or parts.password:
        raise ValueError("--cluster: no user and no password in the address; a cluster takes a token")


def _token(site: Site) -> str:
    """The cluster's token, from the environment or a file that only its owner can read."""
    held = site.secret("cluster_token_file")
    if not held and (named := os.environ.get("RAY_AUTH_TOKEN_PATH")):
        held = replace(site, cluster_token_file=named).secret("cluster_token_file")
    if not held:
        raise ValueError(
            "no token for the cluster: give it in RAY_AUTH_TOKEN, or its file in RAY_AUTH_TOKEN_PATH or the "
            "site's cluster_token_file"
        )
    if not held.isascii() or not held.isprintable() or " " in held:
        raise ValueError("the cluster's token must be one word of printable ASCII characters")
    return held
