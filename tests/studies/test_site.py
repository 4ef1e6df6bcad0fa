"""A site: from a file or the environment, with secrets that are nowhere written down."""

from __future__ import annotations

from pathlib import Path

import pytest

from studies.site import Site, shown, site_of
from studies.spec.errors import SpecError

SITE = """
cluster: http://head:8265
ledger: postgresql://groundrules@db:5432/evidence
tracking: http://mlflow:5000
artifacts: /shared/artifacts
ledger_password_file: {file}
"""


@pytest.fixture(autouse=True)
def _no_site_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SITE", "CLUSTER", "LEDGER", "TRACKING", "ARTIFACTS", "LEDGER_PASSWORD"):
        monkeypatch.delenv(f"GROUNDRULES_{name}", raising=False)


def secret(folder: Path, mode: int = 0o600) -> Path:
    file = folder / "password"
    file.write_text("p@ss/word\n", encoding="utf-8")
    file.chmod(mode)
    return file


def test_without_a_site_everything_lies_in_the_workspace(tmp_path: Path) -> None:
    assert site_of(tmp_path) == Site(workspace=tmp_path)


def test_the_file_says_where_and_the_environment_overrules_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site.yaml").write_text(SITE.format(file=secret(tmp_path)), encoding="utf-8")
    monkeypatch.setenv("GROUNDRULES_TRACKING", "http://other:5000")
    site = site_of(tmp_path)
    assert site.cluster == "http://head:8265"
    assert site.tracking == "http://other:5000"
    assert site.ledger == "postgresql://groundrules@db:5432/evidence"
    assert site.ledger_address == "postgresql://groundrules:p%40ss%2Fword@db:5432/evidence"
    assert shown(site.ledger_address) == site.ledger


def test_a_secret_in_the_environment_goes_before_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDRULES_LEDGER_PASSWORD", "other")
    site = Site(workspace=tmp_path, ledger="postgresql://a@b/c", ledger_password_file="nowhere")
    assert site.ledger_address == "postgresql://a:other@b/c"


def test_the_home_of_somebody_unknown_is_a_folder_that_is_not_there(tmp_path: Path) -> None:
    site = Site(workspace=tmp_path, ledger="postgresql://db/x", ledger_password_file="~nobody-here/secret")
    with pytest.raises(ValueError, match="ledger_password_file: ~nobody-here/secret"):
        site.secret("ledger_password_file")


def test_a_secret_that_others_can_read_is_refused(tmp_path: Path) -> None:
    site = Site(
        workspace=tmp_path, ledger="postgresql://a@b/c", ledger_password_file=str(secret(tmp_path, 0o644))
    )
    with pytest.raises(ValueError, match="has mode 0644; a secret's file must have 0600"):
        _ = site.ledger_address


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("ledger: mysql://a@b/c", "must be an address that begins with postgresql://"),
        ("ledger: postgresql://a:hidden@b/c", "no password in an address"),
        ("ledger: hidden@b", "must be an address"),
        ("tracking: file:///x", "must be an address that begins with postgresql:// or http:// or https://"),
        ("cluster: ray://head:10001", "must be an address that begins with http:// or https://"),
        ("cluster: 7", "must be text"),
        ("legder: x", "did you mean 'ledger'"),
    ],
)
def test_what_is_wrong_in_a_site_file_is_said_without_its_secret(
    tmp_path: Path, line: str, rule: str
) -> None:
    (tmp_path / "site.yaml").write_text(line, encoding="utf-8")
    with pytest.raises(SpecError, match=r"site\.yaml") as told:
        site_of(tmp_path)
    assert rule in str(told.value)
    assert "hidden" not in str(told.value)


def test_a_wrong_variable_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROUNDRULES_LEDGER", "postgresql://a:hidden@b/c")
    with pytest.raises(SpecError, match="environment: GROUNDRULES_LEDGER: no password") as told:
        site_of(tmp_path)
    assert "hidden" not in str(told.value)
