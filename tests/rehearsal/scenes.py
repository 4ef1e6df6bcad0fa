"""What is rehearsed: one user's study with stop and resume, two users at once, and who is refused."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

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


def one_study(stage: Stage, user: Client, file: Path, name: str, *, stop_at: int) -> Iterator[Outcome]:
    """Submitted twice, followed, stopped, resumed, followed to its end, and submitted once more.

    Args:
        stage: with the cluster.
        user: who does it.
        file: the study.
        name: of the study.
        stop_at: members in the ledger at which it is stopped.
    """
    first = user.told("submit", file)
    yield Outcome(
        what="submit", found=f"{first['state']} as {first['job']}", right=first["state"] == "submitted"
    )
    again = user.told("submit", file)
    same = (again["state"], again["job"]) == ("running", first["job"])
    yield Outcome(what="the same study again", found=f"{again['state']} as {again['job']}", right=same)
    wait_for(
        f"{stop_at} members of {name}",
        lambda: stage.members(user, name) >= stop_at or stage.api.jobs()[-1].over,
    )
    running = user.told("status", name)
    told = f"{running['state']}, {running['finished']} of {running['planned']} members"
    yield Outcome(what="status while it runs", found=told, right=running["state"] == "running")
    stopped = user.told("stop", name)
    yield Outcome(what="stop", found=stopped["status"], right=stopped["status"] == "STOPPED")
    left = user.told("status", name)
    told = f"{left['state']}, {left['finished']} of {left['planned']} members"
    yield Outcome(
        what="status after it", found=told, right=left["state"] == "stopped" and not left["complete"]
    )
    said = user.run("logs", name).out
    yield Outcome(
        what="logs of the stopped attempt",
        found=(said.strip().splitlines() or [""])[-1],
        right="interrupted; what was finished is kept" in said,
    )
    second = user.told("resume", name)
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
    cells = f"{now['cells_done']} of {now['cells_planned']} cells"
    told = f"{now['state']}, {cells}, {len(now['verdicts'])} verdicts"
    yield Outcome(what="status at the end", found=told, right=now["state"] == "complete" and now["complete"])
    last = user.told("submit", file)
    yield Outcome(what="the same study once more", found=last["state"], right=last["state"] == "complete")
    jobs = [job for job in stage.api.jobs() if "preflight" in job.id]
    yield Outcome(what="jobs of preflights left behind", found=str(len(jobs)), right=not jobs)


def as_alone(user: Client, alone: Client, file: Path, name: str) -> Iterator[Outcome]:
    """Evaluations, verdicts and pages of the cluster beside those of a local run."""
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


def two_users(stage: Stage, users: tuple[Client, Client], files: tuple[Path, Path]) -> Iterator[Outcome]:
    """Both submit at the same moment, and read what came of it: nothing of the other's is there."""
    names = tuple(file.stem for file in files)
    started = [user.start("submit", file, "--json") for user, file in zip(users, files, strict=True)]
    answers = [json.loads(_ended(process)) for process in started]
    right = all(answer["state"] == "submitted" for answer in answers)
    yield Outcome(what="two studies of two users", found=" and ".join(a["job"] for a in answers), right=right)
    for user, name in zip(users, names, strict=True):
        user.run("logs", name, "--follow", timeout=3600)
    listed = {row["study"]: row for row in users[0].told("list")["studies"]}
    told = ", ".join(f"{name} {listed[name]['state']} by {listed[name]['user']}" for name in names)
    right = all(
        (listed[n]["state"], listed[n]["user"]) == ("complete", u.name)
        for n, u in zip(names, users, strict=True)
    )
    yield Outcome(what="list", found=told, right=right)
    foreign = 0
    for user, name in zip(users, names, strict=True):
        rows = list(csv.DictReader(io.StringIO(user.results(name))))
        foreign += sum(row["study"] != name for row in rows)
        assert rows, name
    yield Outcome(what="foreign rows in the ledger's studies", found=str(foreign), right=foreign == 0)
    strays, runs = 0, 0
    for tags in stage.experiments().values():
        studies = [tag.get("groundrules.study", "") for tag in tags]
        runs += len(studies)
        strays += sum(study != studies[0] or not study for study in studies)
    shown = {tag.get("groundrules.study") for tags in stage.experiments().values() for tag in tags}
    yield Outcome(
        what="foreign runs in MLflow's experiments", found=f"{strays} of {runs}",
        right=strays == 0 and set(names) <= shown,
    )  # fmt: skip
    mentions = 0
    for user, own, other in zip(users, names, reversed(names), strict=True):
        mentions += sum(other.encode() in page for page in user.pages(own).values())
    yield Outcome(what="pages that name the other study", found=str(mentions), right=mentions == 0)


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


def _difference(one: str, other: str) -> str:
    """The first line in which two texts differ."""
    lines = zip(one.splitlines(), other.splitlines(), strict=False)
    at = next((i for i, (a, b) in enumerate(lines) if a != b), -1)
    return f"{one.count(chr(10))} and {other.count(chr(10))} lines; the first difference is in line {at + 1}"
