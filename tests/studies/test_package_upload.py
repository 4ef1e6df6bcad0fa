"""What a job is sent: the code, the study, the task file, the site; nothing of the workspace, no secret."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import studies.cluster.package_upload
from studies.cluster.package_upload import PACKAGES, SITE, STUDY, parcel
from studies.site import Site, site_of
from tests.blackbox.program import HERE, TINY


def unpacked(content: bytes) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(content))


def test_the_same_study_twice_is_the_same_archive(tmp_path: Path) -> None:
    site = Site(workspace=tmp_path)
    first, second = (parcel("study: a\n", HERE / "my_tasks.py", site) for _ in range(2))
    assert first == second
    assert parcel("study: b\n", HERE / "my_tasks.py", site).name != first.name
    assert first.address == f"gcs://{first.name}"


def test_only_our_packages_and_what_is_the_users_are_in_it(tmp_path: Path) -> None:
    sent = parcel("study: a\n", HERE / "my_tasks.py", Site(workspace=tmp_path))
    with unpacked(sent.content) as archive:
        names = archive.namelist()
        assert archive.read(STUDY) == b"study: a\n"
        assert archive.read(sent.tasks) == (HERE / "my_tasks.py").read_bytes()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {*PACKAGES, "groundrules", "shipped"}
    assert not [name for name in names if name.startswith("studies/interface")]
    assert not [name for name in names if name.endswith((".pyc", "README.md"))]
    assert sent.tasks == "shipped/my_tasks.py"


def test_what_was_unpacked_runs_by_itself(tmp_path: Path) -> None:
    with unpacked(
        parcel(TINY.read_text(encoding="utf-8"), None, Site(workspace=tmp_path)).content
    ) as archive:
        archive.extractall(tmp_path / "there")
    script = (
        "import groundrules, search_spaces, trainers.versions, studies, reports\n"
        "from studies.spec.load import load\n"
        "assert groundrules.Task.__module__.startswith('trainers.'), groundrules.Task\n"
        f"print(load('{STUDY}').study, studies.__file__, trainers.versions.versions()['groundrules'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path / "there", env={}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    study, place, version = done.stdout.split()
    assert (study, Path(place).is_relative_to(tmp_path)) == ("tiny", True)
    from trainers.versions import versions

    assert version == versions()["groundrules"]


def test_the_site_is_sent_with_names_of_password_files_and_without_passwords(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDRULES_LEDGER_PASSWORD", "hush-hush")
    site = Site(
        workspace=tmp_path,
        cluster="http://head:8265",
        ledger="postgresql://me@db:5432/studies",
        ledger_password_file="/run/secrets/ledger",
        cluster_token_file="/home/me/token",
    )
    with unpacked(parcel("study: a\n", None, site).content) as archive:
        text = archive.read(SITE).decode()
        assert not any(b"hush-hush" in archive.read(name) for name in archive.namelist())
    (tmp_path / "site.yaml").write_text(text, encoding="utf-8")
    there = site_of(tmp_path)
    assert (there.ledger, there.ledger_password_file) == (site.ledger, site.ledger_password_file)
    assert (there.cluster, there.cluster_token_file) == ("", "")


def test_a_name_that_a_shell_would_read_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "my tasks; rm -rf.py"
    file.write_text("TASKS = []\n", encoding="utf-8")
    assert parcel("study: a\n", file, Site(workspace=tmp_path)).tasks == "shipped/tasks.py"


def test_data_in_the_task_file_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studies.cluster.package_upload, "MOST_BYTES", 100_000)
    with pytest.raises(ValueError, match="a job is sent at most 0 MB: data belongs on a path"):
        parcel("study: a\n", None, Site(workspace=tmp_path))
