"""Attacks by texts: titles, names, causes and messages that act on a browser, a terminal or a document."""

from __future__ import annotations

import ast
import csv
import io
import json
import logging
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

from reports.defaults.diff import differences
from reports.evidence.study_record import StudyRecord
from reports.export.diff_text import diff_text
from reports.export.formats import render
from reports.pages.index_page import build as build_index
from reports.pages.index_page import noted
from reports.pages.study_page import build, write_report
from studies.cli import _keep_traceback, _warn_on_stderr
from studies.operations.results import as_csv
from tests.blackbox.program import TINY, invoked
from tests.browser import browser, missing_browser
from tests.reports.planted import noisy_errors, planted_study
from tests.reports.tables import row, table
from tests.security.attack import Attack, refused
from tests.surroundings import do_without

HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)> [x](javascript:alert(3)) "
    "\\input{/etc/passwd} \\write18{id} $(id) `id` %0a {{ 7*7 }} \" ' onload=alert(4)"
)
BREAKING = f'{HOSTILE}"""\nimport os\nos.system("id")\n| a | b |\n\r\n# x\\'
FORMULAS = ("=1+1", "+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "=HYPERLINK(0)")


class Page(HTMLParser):
    """The tags, addresses and policy of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.handlers: list[str] = []
        self.addresses: list[str] = []
        self.policy = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attrs}
        self.tags.add(tag)
        self.handlers += [name for name in said if name.startswith("on")]
        self.addresses += [said[name] for name in ("href", "src", "action", "xlink:href") if name in said]
        if said.get("http-equiv") == "Content-Security-Policy":
            self.policy = said["content"]


def _harmless(html: str) -> None:
    page = Page(html)
    assert not page.tags & {"script", "img", "iframe", "object", "embed", "base", "form", "link"}, page.tags
    assert page.handlers == []
    elsewhere = [one for one in page.addresses if re.match(r"[a-z]+:|//", one)]
    assert [one for one in elsewhere if not one.startswith("data:")] == []
    assert "default-src 'none'" in page.policy and "script-src" not in page.policy, page.policy
    assert "base-uri 'none'" in page.policy and "form-action 'none'" in page.policy


def _hostile_study() -> StudyRecord:
    study = planted_study({"deep": noisy_errors([2, 2, 0])})
    facts = {name: replace(one, source=HOSTILE, licence=HOSTILE) for name, one in study.facts.items()}
    versions = {**study.versions, "torch": HOSTILE}
    rows = tuple(replace(one, versions=versions) for one in study.evaluations)
    rows = (replace(rows[0], cause=HOSTILE), *rows[1:])
    return replace(study, title=HOSTILE, hardware=HOSTILE, facts=facts, versions=versions, evaluations=rows)


def acts_in_a_page(folder: Path) -> str:
    study = _hostile_study()
    _harmless(build(study)[0])
    _harmless(build(replace(study, evaluations=study.evaluations[:-100]))[0])
    write_report(study, folder / "planted")
    noted(study, folder / "planted")
    _harmless(build_index(folder))
    return "escaped; no script, handler or address from outside; the policy forbids scripts anyway"


def gets_into_a_page_all_the_same(folder: Path) -> str:
    reason = missing_browser()
    if reason is not None:
        do_without("browser", reason)
    html = build(planted_study({"deep": noisy_errors([2, 2, 0])}))[0]
    script = "<script>document.documentElement.dataset.ran = 'inline'</script>"
    image = "<img src=x onerror=\"document.documentElement.dataset.ran = 'handler'\">"
    page = folder / "page.html"
    page.write_text(html.replace("</main>", f"{script}{image}</main>"), encoding="utf-8")
    assert script in page.read_text(encoding="utf-8")
    with browser(folder / "chromium") as tab:
        tab.open(page.as_uri())
        tab.find("//main")
        assert tab.script("return document.documentElement.dataset.ran || 'nothing'") == "nothing"
        color = tab.script("return getComputedStyle(document.querySelector('.badge')).display")
        assert color, "the page's own style holds"
    return "Chromium obeys the policy: neither the script nor the handler ran"


def breaks_out_of_an_export(folder: Path) -> str:
    said = row(caveats=(BREAKING,), tasks=(BREAKING,), recommended="he_normal", tied_with=("lecun_normal",))
    mild = row(caveats=("x",), tasks=("x",), recommended="he_normal", tied_with=("lecun_normal",))
    hostile = table(said, table=BREAKING, versions={BREAKING: BREAKING})
    usual = table(mild, table="x", versions={"x": "x"})
    for kind in ("python", "optuna"):
        bodies = [_without_texts(render(one, kind)) for one in (hostile, usual)]
        assert bodies[0] == bodies[1], f"{kind}: other code"
    texts = [render(one, "latex").splitlines() for one in (hostile, usual)]
    tex, harmless = ("\n".join(line for line in text if not line.startswith("%")) for text in texts)
    assert "\\input" not in tex and "\\write18" not in tex
    assert tex.count("\\begin{") == tex.count("\\end{") == harmless.count("\\begin{") > 0
    for text in (
        render(hostile, "markdown"),
        diff_text(differences(hostile, usual, ("a", BREAKING)), "markdown"),
    ):
        assert not re.search(r"(?<!\\)<(script|img)", text), text
        assert not re.search(r"(?<!\\)\]\(javascript", text)
        assert not any(line.startswith(("import", "| a")) for line in text.splitlines())
    assert json.loads(render(hostile, "json"))["table"] == BREAKING
    return "the code of Python files is the same, LaTeX and Markdown are escaped"


def _without_texts(code: str) -> str:
    """The structure of a program, its texts left out."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = ""
    return ast.dump(tree)


def is_a_formula(folder: Path) -> str:
    rows = [{"id": one, "cause": one} | dict.fromkeys(FORMULAS, 1) for one in FORMULAS]
    found = list(csv.reader(io.StringIO(as_csv(rows), newline="")))
    cells = [cell for line in found for cell in line]
    assert len(cells) > 40
    assert [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))] == []
    study = planted_study({"deep": noisy_errors([2, 2, 0])}, tasks=["=1+1", *(f"t{t}" for t in range(7))])
    write_report(study, folder / "planted")
    for file in (folder / "planted").glob("*.csv"):
        with file.open(encoding="utf-8", newline="") as text:
            assert [one for line in csv.reader(text) for one in line if one.startswith("=")] == [], file
    return "quoted by an apostrophe, in results and beside every page"


def rewrites_the_terminal(folder: Path) -> str:
    codes = "\x1b]0;owned\x07\x1b[2J\u202e\x9b31m"
    for command in ("report", "replay", "run", "plan", "why", "results", "export"):
        refused(invoked(command, codes, workspace=folder / codes))
    tasks = folder / "tasks.py"
    tasks.write_text(f"raise RuntimeError({codes!r} * 1000)\n", encoding="utf-8")
    said = refused(invoked("plan", TINY, "--tasks-from", tasks, workspace=folder / "w"), "RuntimeError")
    tasks.write_text(f"TASKS = [{codes!r}]\n", encoding="utf-8")
    refused(invoked("plan", TINY, "--tasks-from", tasks, workspace=folder / "w"))
    _warn_on_stderr()
    record = logging.LogRecord("groundrules", logging.WARNING, "", 0, "%s", (codes * 1000,), None)
    line = logging.getLogger("groundrules").handlers[0].format(record)
    assert line.isprintable() and len(line) < 2000, repr(line[:100])
    assert len(said) < 25_000
    return "every such character is named instead (<U+001B>), and long texts are cut"


def leaves_itself_in_the_log(folder: Path) -> str:
    (folder / "target").write_text("mine\n", encoding="utf-8")
    (folder / "groundrules.log").symlink_to(folder / "target")
    try:
        raise RuntimeError("\x1b[2J at postgresql://me:hunter22@db/ledger")
    except RuntimeError:
        place = _keep_traceback(["run", "\x1b[2J", "http://me:hunter22@host", "--workspace", str(folder)])
    assert (folder / "target").read_text(encoding="utf-8") == "mine\n", "written through a symbolic link"
    text = place.read_text(encoding="utf-8")
    assert place.stat().st_mode & 0o077 == 0 and "RuntimeError" in text
    place.unlink()
    assert "hunter22" not in text and "\x1b" not in text
    return "no control characters, no passwords, and no link is followed"


ATTACKS = tuple(
    Attack(name=name, points=points, try_it=try_it)
    for name, points, try_it in (
        ("HTML and scripts in titles, sources, versions, causes", (15,), acts_in_a_page),
        ("a script that got into a page all the same", (15,), gets_into_a_page_all_the_same),
        ("Python, LaTeX, Markdown in names of an export", (15,), breaks_out_of_an_export),
        ("spreadsheet formulas in names and causes", (15,), is_a_formula),
        ("terminal codes in names, workspaces, errors, logs", (15, 16), rewrites_the_terminal),
        ("a log file that is a link; passwords in a traceback", (6, 16), leaves_itself_in_the_log),
    )
)
