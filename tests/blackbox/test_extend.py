"""One command extends a finished study, trains only what is new and says what it may not claim."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from tests.blackbox.program import contents, groundrules, invoked


def ids(workspace: Path, study: str) -> set[str]:
    table = csv.DictReader(io.StringIO(invoked("results", study, workspace=workspace).out))
    return {row["id"] for row in table}


def test_more_families_than_a_study_registered_are_exploratory(copied: Path, tmp_path: Path) -> None:
    before, pages = ids(copied, "tiny"), contents(copied / "reports" / "tiny")
    command = ("extend", "tiny", "--families", "4", "--engine", "inline")
    first = groundrules(*command, "--json", workspace=copied, cwd=tmp_path)
    said = json.loads(first.out)
    child = "tiny.families-4"
    assert (said["study"], said["extends"], said["evidence"]) == (child, "tiny", False)
    assert said["complete"]
    assert said["trained"] == len(ids(copied, child) - before)
    assert said["finished"] == len(ids(copied, child)) == said["planned"]
    assert ids(copied, child) > before
    assert said["verdicts"] == []

    again = invoked(*command, workspace=copied)
    assert "nothing to train" in again.out
    assert "EXPLORATORY" in again.out
    assert "no verdicts (exploratory)" in again.out
    assert "EXPLORATORY" in (copied / "reports" / child / "index.html").read_text(encoding="utf-8")
    assert contents(copied / "reports" / "tiny") == pages
    assert ids(copied, "tiny") == before

    refused = invoked("export", child, workspace=copied)
    assert refused.code == 2
    assert "(exploratory)" in refused.err
    own = sorted(ids(copied, child) - before)
    replayed = json.loads(invoked("replay", own[0], "--json", workspace=copied).out)
    assert replayed["same"]

    # The study file that was written says the same to `run`.
    ran = invoked("run", said["study_file"], "--engine", "inline", workspace=copied)
    assert "nothing to train" in ran.out


def test_what_cannot_be_extended_is_one_line(copied: Path) -> None:
    for words, rule in (
        (("extend", "tiny"), "nothing to add to 'tiny'"),
        (("extend", "tiny", "--families", "9"), "declares tasks of 4 families"),
        (("extend", "tony", "--families", "4"), "unknown study"),
        (("extend", "tiny", "--families", "2"), "an extension only adds"),
    ):
        ran = invoked(*words, workspace=copied)
        assert ran.code == 2
        assert ran.err.count("\n") == 1
        assert rule in ran.err


def test_only_the_study_file_is_written_where_that_is_asked(copied: Path) -> None:
    ran = invoked("extend", "tiny", "--blocks", "3", "--name", "wide", "--only-file", workspace=copied)
    assert "EXPLORATORY, 3 blocks instead of 2" in ran.out
    assert (copied / "extensions" / "wide.yaml").is_file()
    assert "unknown study" in invoked("results", "wide", workspace=copied).err
