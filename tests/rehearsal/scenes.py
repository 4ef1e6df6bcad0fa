"""What is rehearsed: one user's study with stop and resume, two users at once, and who is refused."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.blackbox.program import TINY
from tests.rehearsal.client import Client
from tests.rehearsal.ray_nodes import refusal
from tests.rehearsal.stage import Stage, wait_for

UNAUTHENTICATED = (
    ("GET", "/api/version"),
    ("GET", "/api/jobs/"),
    ("POST", "/api/jobs/"),
    ("POST", "/api/jobs/any/stop"),
    ("DELETE", "/api/jobs/any"),
    ("GET", "/api/jobs/any/logs"),
    ("PUT", "/api/packages/gcs/_ray_pkg_any.zip"),
    ("GET", "/api/v0/nodes"),
    ("GET", "/api/v0/actors"),
    ("GET", "/api/cluster_status"),
    ("GET", "/nodes?view=summary"),
    ("GET", "/logical/actors"),
)
"""Calls of the job API and the dashboard that must be refused without the token."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One thing that was looked at."""

    what: str
    found: str
    right: bool


def study_file(folder: Path, name: str, source: Path = TINY, *changes: tuple[str, str]) -> Path:
    """A copy of a study file under another name, with some of its text replaced."""
    text = re.sub(r"(?m)^study: .*$", f"study: {name}", source.read_text(encoding="utf-8"), count=1)
    for old, new in changes:
        assert old in text, f"'{old}' is not in {source}"
        text = text.replace(old, new, 1)
    file = folder / f"{name}.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def stopped_and_resumed(stage: Stage, user: Client, file: Path, *, stop_at: int) -> Iterator[Outcome]:
    """A study that was submitted: submitted again, stopped, resumed, followed to its end, submitted again.

    Args:
        stage: with the cluster.
        user: who does it.
        file: the study, named after itself.
        stop_at: members in the ledger at which it is stopped.
    """
    name = file.stem
    first = user.told("submit", file)
    yield Outcome(
        what="the same study again", right=first["state"] == "running",
        found=f"{first['state']} as {first['job']}",
    )  # fmt: skip
    now = user.told("status", name)
    yield Outcome(
        what="status while it runs", right=now["state"] in ("starting", "running"), found=_standing(now)
    )
    wait_for(
        f"{stop_at} members of {name}",
        lambda: stage.members(user, name) >= stop_at or all(job.over for job in stage.api.jobs()),
    )
    stopped = user.told("stop", name)
    yield Outcome(what="stop", found=stopped["status"], right=stopped["status"] == "STOPPED")
    now = user.told("status", name)
    yield Outcome(
        what="status after it", right=now["state"] == "stopped" and not now["complete"], found=_standing(now)
    )
    said = user.run("logs", name).out
    yield Outcome(
        what="logs of the stopped attempt",
        found=(said.strip().splitlines() or [""])[-1],
        right="interrupted; what was finished is kept" in said,
    )
    # In a process of its own, for it says who it is.
    second = json.loads(user.run("resume", name, "--json", environment={"LOGNAME": user.name}).out)
    yield Outcome(
        what="resume", found=f"{second['state']} as {second['job']}",
        right=second["state"] == "submitted" and second["attempt"] == first["attempt"] + 1,
    )  # fmt: skip
    followed = user.run("logs", name, "--follow", timeout=3600).out
    yield Outcome(
        what="logs --follow to the end",
        found=next((line for line in followed.splitlines() if "members in the ledger" in line), "nothing"),
        right="members in the ledger" in followed,
    )
    now = user.told("status", name)
    told = f"{_standing(now)}, {now['cells_done']} of {now['cells_planned']} cells"
    yield Outcome(
        what="status at the end", found=f"{told}, {len(now['verdicts'])} verdicts",
        right=now["state"] == "complete" and now["complete"],
    )  # fmt: skip
    last = user.told("submit", file)
    yield Outcome(what="the same study once more", found=last["state"], right=last["state"] == "complete")
    left = [job for job in stage.api.jobs() if "preflight" in job.id]
    yield Outcome(what="jobs of preflights left behind", found=str(len(left)), right=not left)


def as_alone(user: Client, alone: Client, file: Path) -> Iterator[Outcome]:
    """Evaluations, verdicts and pages of the cluster beside those of a local run."""
    name = file.stem
    alone.run("run", file, "--engine", "inline", timeout=3600)
    ours, theirs = alone.results(name), user.results(name)
    count = ours.count("\n") - 1
    yield Outcome(
        what="evaluations equal to a local run's", right=ours == theirs,
        found=f"{count}, equal to the bit" if ours == theirs else _difference(ours, theirs),
    )  # fmt: skip
    for form in ("yaml", "markdown"):
        export = [one.run("export", name, "--format", form).out for one in (alone, user)]
        yield Outcome(
            what=f"verdicts and defaults ({form})", right=export[0] == export[1],
            found="equal to the bit" if export[0] == export[1] else _difference(*export),
        )  # fmt: skip
    pages = alone.pages(name), user.pages(name)
    differ = [file for file in {**pages[0], **pages[1]} if pages[0].get(file) != pages[1].get(file)]
    told = f"differ in {', '.join(differ)}" if differ else f"{len(pages[0])} files, equal to the bit"
    yield Outcome(what="report", found=told, right=not differ)


def at_once(users: Sequence[Client], files: Sequence[Path]) -> Iterator[Outcome]:
    """Each user submits a study, all at the same moment, from processes of their own."""
    started = [user.start("submit", file, "--json") for user, file in zip(users, files, strict=True)]
    answers = [json.loads(_ended(process)) for process in started]
    right = all(answer["state"] == "submitted" for answer in answers)
    yield Outcome(
        what=f"submitted by {' and '.join(user.name for user in users)} at once", right=right,
        found=" and ".join(answer["job"] for answer in answers),
    )  # fmt: skip


def nothing_foreign(stage: Stage, users: Sequence[Client], names: Sequence[str]) -> Iterator[Outcome]:
    """When the studies of two users are complete: nothing of one is anywhere in the other.

    Args:
        stage: with the stores.
        users: both,
        names: and of each the study.
    """
    for user, name in zip(users, names, strict=True):
        user.run("logs", name, "--follow", timeout=3600)
    listed = {row["study"]: row for row in users[0].told("list")["studies"]}
    told = [f"{name} {listed[name]['state']} by {listed[name]['user']}" for name in names]
    hoped = [f"{name} complete by {user.name}" for name, user in zip(names, users, strict=True)]
    yield Outcome(what="list", found=", ".join(told), right=told == hoped)
    rows, foreign = 0, 0
    for user, name in zip(users, names, strict=True):
        found = [row["study"] for row in csv.DictReader(io.StringIO(user.results(name)))]
        rows, foreign = rows + len(found), foreign + sum(study != name for study in found)
    told = [f"{foreign} of {rows}"]
    yield Outcome(what="foreign rows in the ledger's studies", found=told[0], right=not foreign and rows > 0)
    runs, strays, shown = 0, 0, set()
    for tags in stage.experiments().values():
        studies = [tag.get("groundrules.study", "") for tag in tags]
        runs, strays = runs + len(studies), strays + sum(study != studies[0] for study in studies)
        shown.update(studies)
    yield Outcome(
        what="foreign runs in MLflow's experiments", found=f"{strays} of {runs}",
        right=not strays and set(names) <= shown and "" not in shown,
    )  # fmt: skip
    mentions = 0
    for user, own, other in zip(users, names, reversed(names), strict=True):
        mentions += sum(other.encode() in page for page in user.pages(own).values())
    yield Outcome(what="pages that name the other study", found=str(mentions), right=not mentions)


def refusals(stage: Stage) -> Iterator[Outcome]:
    """Calls without the token, and with a wrong one."""
    for token, who in (("", "without a token"), ("0" * 64, "with a wrong one")):
        for method, path in UNAUTHENTICATED:
            code = refusal(stage.nodes, path, token=token, method=method)
            yield Outcome(
                what=f"{method} {path} {who}", found=str(code or "served"), right=code in (401, 403)
            )


def _ended(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, f"{out}\n{err}"
    return out


def _standing(told: dict[str, Any]) -> str:
    return f"{told['state']}, {told['finished']} of {told['planned']} members"


def _difference(one: str, other: str) -> str:
    """The first line in which two texts differ."""
    lines = zip(one.splitlines(), other.splitlines(), strict=False)
    at = next((i for i, (a, b) in enumerate(lines) if a != b), -1)
    return f"{one.count(chr(10))} and {other.count(chr(10))} lines; the first difference is in line {at + 1}"
