"""Where things are: the cluster, the ledger, the tracking store and the artifacts of a workspace.

Without a site everything lies in the workspace: an SQLite ledger, MLflow's SQLite store, artifacts. A site
file (`site.yaml` in the workspace, or the file that GROUNDRULES_SITE names) points to what is shared; an
environment variable overrules its key. Passwords come from the environment or from files that only their
owner can read, never from the site file.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, fields
from pathlib import Path
from urllib.parse import SplitResult, quote, urlsplit, urlunsplit

from search_spaces.factor import unknown
from studies.spec.errors import SpecError
from studies.spec.yaml_reader import read_yaml

FILE = "site.yaml"
POSTGRESQL = "postgresql"
SCHEMES: dict[str, tuple[str, ...]] = {
    "cluster": ("http", "https"),
    "ledger": (POSTGRESQL,),
    "tracking": (POSTGRESQL, "http", "https"),
}
"""The addresses a key takes."""
SECRETS = {
    "cluster_token_file": "RAY_AUTH_TOKEN",
    "ledger_password_file": "GROUNDRULES_LEDGER_PASSWORD",
    "tracking_password_file": "GROUNDRULES_TRACKING_PASSWORD",
}
"""Key -> the environment variable that holds the secret itself, and goes first."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where one workspace's things are; '' stands for what lies in the workspace itself."""

    workspace: Path
    """Reports, logs and locks of this machine."""
    cluster: str = ""
    """Ray's dashboard, such as http://head:8265."""
    ledger: str = ""
    """postgresql://user@host:port/database."""
    tracking: str = ""
    """MLflow: its PostgreSQL database (written directly, fast), or the http address of its server."""
    artifacts: str = ""
    """A folder that all machines share, or an address that fsspec understands (s3://bucket/path)."""
    cluster_token_file: str = ""
    ledger_password_file: str = ""
    tracking_password_file: str = ""

    def secret(self, key: str) -> str:
        """The secret of one of `SECRETS`; '' where none is given.

        Raises:
            ValueError: its file cannot be read, or others than its owner may read it.
        """
        held = os.environ.get(SECRETS[key], "")
        file = str(getattr(self, key))
        found = held if held or not file else _private(Path(os.path.expanduser(file)), key)
        _KNOWN.add(found)
        return found

    @property
    def ledger_address(self) -> str:
        """The ledger's address with its password: for the driver of the database, never for people."""
        return _with_password(self.ledger, self.secret("ledger_password_file"))

    @property
    def tracking_address(self) -> str:
        """The tracking store's address with its password, where that is a database."""
        if not self.tracking.startswith(f"{POSTGRESQL}:"):
            return self.tracking
        return _with_password(self.tracking, self.secret("tracking_password_file"))


_KNOWN: set[str] = set()
"""Secrets that were read, so that no message repeats them."""
SHORTEST = 8
"""Characters of a secret that is looked for in messages; shorter ones are words of any text."""

LONGEST_SECRET = 10_000

KEYS = tuple(one.name for one in fields(Site) if one.name != "workspace")


def site_of(workspace: Path) -> Site:
    """The site of a workspace: its site file, overruled by the environment (GROUNDRULES_LEDGER, ...).

    Raises:
        SpecError: a site file with an unknown key, a wrong address or a password in it.
        ValueError: the same in an environment variable.
    """
    named = os.environ.get("GROUNDRULES_SITE")
    file = Path(named) if named else Path(workspace) / FILE
    said: dict[str, str] = {}
    if named or file.is_file():
        for key, value in read_yaml(file, str(file)).items():
            if key not in KEYS:
                raise SpecError(str(file), key, str(unknown("key", key, KEYS)))
            if not isinstance(value, str):
                raise SpecError(str(file), key, f"{value!r} must be text")
            _check(str(file), key, value)
            said[key] = value
    for key in KEYS:
        variable = f"GROUNDRULES_{key.upper()}"
        if variable in os.environ:
            said[key] = os.environ[variable]
            _check("environment", variable, said[key], key)
    return Site(workspace=Path(workspace), **said)


def shown(address: str) -> str:
    """An address without its password: for messages and records."""
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=_host(parts, user=parts.username or "")))


def masked(text: str) -> str:
    """Text without the secrets that this process has read, nor passwords in addresses: for messages, logs."""
    known = _KNOWN | {os.environ.get(variable, "") for variable in SECRETS.values()}
    for secret in sorted(known, key=len, reverse=True):
        if len(secret) >= SHORTEST:
            text = text.replace(secret, "...").replace(quote(secret, safe=""), "...")
    return re.sub(r"(://[^\s/@:]*):[^\s/@]*@", r"\1:...@", text)


def _check(file: str, key: str, value: str, name: str = "") -> None:
    name = name or key
    if not value or name not in SCHEMES:
        return
    try:
        parts = urlsplit(value)
        right = parts.scheme in SCHEMES[name] and bool(parts.hostname) and parts.port != 0
    except ValueError:
        right = False
    if not right:
        allowed = " or ".join(f"{scheme}://" for scheme in SCHEMES[name])
        raise SpecError(file, key, f"'{_masked(value)}' must be an address that begins with {allowed}")
    if parts.password is not None:
        instead = f"give it in {SECRETS[f'{name}_password_file']} or a file" if name != "cluster" else ""
        rule = f"no password in an address; {instead or 'a cluster takes a token'}"
        raise SpecError(file, key, rule)


def _masked(text: str) -> str:
    """A wrong address as it may be printed: whatever stands before an @ is left out."""
    return re.sub(r"(\w+://)?\S*@", r"\1...@", text)[:200]


def _host(parts: SplitResult, *, user: str, password: str = "") -> str:
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    port = f":{parts.port}" if parts.port else ""
    secret = f":{quote(password, safe='')}" if password else ""
    return f"{user}{secret}@{host}{port}" if user else f"{host}{port}"


def _with_password(address: str, password: str) -> str:
    parts = urlsplit(address)
    if not address or not password:
        return address
    return urlunsplit(parts._replace(netloc=_host(parts, user=parts.username or "", password=password)))


def _private(file: Path, key: str) -> str:
    """The content of a secret's file, which nobody but its owner may read: looked at once it is open."""
    try:
        with os.fdopen(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as found:
            now = os.fstat(found.fileno())
            if not stat.S_ISREG(now.st_mode):
                raise OSError("not a regular file")
            if stat.S_IMODE(now.st_mode) & 0o077:
                rule = f"has mode {stat.S_IMODE(now.st_mode):04o}; a secret's file must have 0600 (chmod 600)"
                raise ValueError(f"{key}: {file} {rule}")
            if now.st_uid not in (os.getuid(), 0):
                raise ValueError(f"{key}: {file} belongs to somebody else (user {now.st_uid})")
            if now.st_size > LONGEST_SECRET:
                raise ValueError(f"{key}: {file} is longer than {LONGEST_SECRET} bytes: that is no secret")
            secret = found.read(LONGEST_SECRET)
        text = secret.decode().strip()
    except UnicodeDecodeError:
        raise ValueError(f"{key}: {file} must be UTF-8 text") from None  # the error would quote a byte of it
    except OSError as error:
        raise ValueError(f"{key}: {file} cannot be read ({error})") from None
    if not text.isprintable():
        raise ValueError(f"{key}: {file} must hold one line of text: the secret")
    return text
