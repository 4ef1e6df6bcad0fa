"""Attacks on secrets: their files, the addresses they are part of, and everything that is printed or kept."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from studies.execution.local_cluster import _token_file
from studies.site import SECRETS, Site, masked, site_of
from tests.blackbox.program import TINY, Ran, contents, invoked
from tests.security.attack import Attack, refused_site

PASSWORD = "pass/word@of:the-ledger"
SPELLED = ("pass/word@of:the-ledger", "pass%2Fword%40of%3Athe-ledger", "word@of:the")


@contextmanager
def variables(**said: str) -> Iterator[None]:
    """The environment with these, and without what the surroundings say of a site."""
    before = dict(os.environ)
    for name in before:
        if name.startswith("GROUNDRULES_") or name in SECRETS.values():
            del os.environ[name]
    os.environ.update(said)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _silent(ran: Ran, folder: Path) -> None:
    kept = b"".join(data for name, data in contents(folder).items() if name != "secret")
    for spelled in SPELLED:
        assert spelled not in ran.said, ran.said
        assert spelled.encode() not in kept, "written into the workspace"


def is_printed(folder: Path) -> str:
    secret = folder / "secret"
    secret.write_text(f"{PASSWORD}\n", encoding="utf-8")
    secret.chmod(0o600)
    nowhere = "postgresql://groundrules@127.0.0.1:9/ledger"  # the discard port: nobody listens
    site = f"ledger: {nowhere}\ntracking: {nowhere}\ncluster: http://127.0.0.1:9\n"
    site += "".join(f"{key}: {secret}\n" for key in SECRETS)
    (folder / "site.yaml").write_text(site, encoding="utf-8")
    with variables(GROUNDRULES_LEDGER_WAIT="0"):
        assert site_of(folder).ledger_address.count("@") == 1, "there is a secret that could be told"
        assert PASSWORD not in repr(site_of(folder))
        for words in ("claims", "report tiny", "results tiny", "ui", "why a@b", "replay 00", "export tiny"):
            ran = invoked(*words.split(), workspace=folder)
            assert ran.code != 0
            _silent(ran, folder)
    with variables(GROUNDRULES_LEDGER_WAIT="0", GROUNDRULES_LEDGER_PASSWORD=PASSWORD):
        _silent(invoked("run", TINY, "--engine", "inline", workspace=folder / "missing"), folder)
        told = masked(f"cannot connect to postgresql://groundrules:{PASSWORD}@db/x with {PASSWORD}")
    assert PASSWORD not in told
    return f"the worst that can be said: {told}"


def stands_in_an_address(folder: Path) -> str:
    said = ""
    for key, address in (
        ("ledger", f"postgresql://me:{PASSWORD}@db/ledger"),
        ("ledger", f"mysql://me:{PASSWORD}@db/ledger"),
        ("ledger", "postgresql://me:hunter22@[::1"),
        ("tracking", "http://me:hunter22@host:5000"),
        ("cluster", "http://:hunter22@host:8265"),
        ("cluster", "ssh hunter22@host"),
    ):
        (folder / "site.yaml").write_text(f"{key}: '{address}'\n", encoding="utf-8")
        with variables():
            said = refused_site(folder, key)
        assert "hunter22" not in said.replace("hunter22@host'", "") and PASSWORD not in said, said
        (folder / "site.yaml").unlink()
        with variables(**{f"GROUNDRULES_{key.upper()}": address}):
            said = refused_site(folder, key.upper())
        assert "hunter22" not in said and "word@of" not in said, said
    return said


def lies_in_an_open_file(folder: Path) -> str:
    secret, link = folder / "secret", folder / "link"
    secret.write_text(PASSWORD, encoding="utf-8")
    link.symlink_to(secret)
    said = ""
    for mode in (0o644, 0o640, 0o604, 0o660, 0o666, 0o601, 0o620):
        secret.chmod(mode)
        for file in (secret, link):
            with variables(), pytest.raises(ValueError, match="0600") as caught:
                Site(workspace=folder, ledger_password_file=str(file)).secret("ledger_password_file")
            said = str(caught.value)
            assert PASSWORD not in said
    secret.chmod(0o600)
    with variables():
        linked = Site(workspace=folder, ledger_password_file=str(link))
        assert linked.secret("ledger_password_file") == PASSWORD, "as Kubernetes mounts secrets"
        if os.getuid() == 0:
            os.chown(secret, 12345, 12345)
            with pytest.raises(ValueError, match="somebody else"):
                Site(workspace=folder, ledger_password_file=str(secret)).secret("ledger_password_file")
    return said


def is_no_file_of_a_secret(folder: Path) -> str:
    os.mkfifo(folder / "pipe", 0o600)
    wrong = {"long": b"x" * 20_000, "bytes": b"\xff\xfe", "lines": b"a\nb", "codes": b"a\x1bb"}
    for name, content in wrong.items():
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o600)
    for name in ("pipe", "long", "bytes", "lines", "codes", "missing", "."):
        with variables(), pytest.raises(ValueError, match="ledger_password_file") as caught:
            Site(workspace=folder, ledger_password_file=str(folder / name)).secret("ledger_password_file")
        assert "xxxx" not in str(caught.value)
    return str(caught.value)


def reads_the_token_while_it_is_made(folder: Path) -> str:
    before = os.umask(0)
    made: list[int] = []
    try:
        real = os.open

        def watched(path: str, flags: int, mode: int = 0o777, **more: int) -> int:
            found = real(path, flags, mode, **more)
            made.append(stat.S_IMODE(os.fstat(found).st_mode))
            return found

        os.open = watched  # type: ignore[assignment]
        try:
            token = _token_file(folder)
        finally:
            os.open = real
        assert made == [0o600], [oct(mode) for mode in made]
        assert stat.S_IMODE(token.stat().st_mode) == 0o600 and len(token.read_text()) == 64
        other = folder / "other"
        other.mkdir()
        (folder / "victim").write_text("mine", encoding="utf-8")
        (other / "token").symlink_to(folder / "victim")
        with pytest.raises(FileExistsError):
            _token_file(other)
        assert (folder / "victim").read_text(encoding="utf-8") == "mine"
    finally:
        os.umask(before)
    return "mode 0600 when it appears, even with umask 0; a file or link in its place is an error"


ATTACKS = tuple(
    Attack(name=name, points=points, try_it=try_it)
    for name, points, try_it in (
        ("passwords of a site in messages and files", (16,), is_printed),
        ("passwords in addresses of site files and variables", (16,), stands_in_an_address),
        ("secrets that others can read, or that are theirs", (10, 16), lies_in_an_open_file),
        ("a pipe, a novel, bytes, lines in place of a secret", (16,), is_no_file_of_a_secret),
        ("the token file of a cluster, watched and forestalled", (10,), reads_the_token_while_it_is_made),
    )
)
