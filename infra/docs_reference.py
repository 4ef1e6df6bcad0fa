"""The reference as Markdown: commands from the program, keys from the models, modules by their docstrings."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

MODULES: Mapping[str, tuple[str, ...]] = {
    "search_spaces: what can vary": (
        "search_spaces.factor",
        "search_spaces.config",
        "search_spaces.space",
        "search_spaces.catalog",
    ),
    "trainers: how a member is trained": (
        "trainers.tasks.task",
        "trainers.tasks.user_tasks",
        "trainers.tasks.download",
        "trainers.member",
        "trainers.evaluation",
        "trainers.loop.pack",
    ),
    "reports: what the evidence says": (
        "reports.evidence.question",
        "reports.statistics.compare",
        "reports.statistics.decision",
        "reports.verdicts.verdict",
        "reports.verdicts.families_needed",
        "reports.defaults.schema",
        "reports.defaults.defaults_file",
    ),
    "studies: questions, plan, ledger, commands": (
        "studies.spec.study_spec",
        "studies.run",
        "studies.comparison.record",
        "studies.ledger.ledger",
    ),
}
"""Heading -> the modules that code outside this repository may rely on."""

LINKS = {"CATALOGUE.md": "levels.md", "../tests/benchmarks/README.md": ""}
"""Target in a shared page -> the same in the site; "" for what the site does not hold."""


def commands() -> str:
    """Every command with its arguments and options, as the program's own help has them."""
    from typer.main import get_group

    from studies.cli import app

    group = get_group(app)
    parts = [
        "# Commands",
        "Generated from the program. `groundrules COMMAND --help` prints the same.",
        "| exit code | meaning |\n|---|---|\n"
        "| 0 | done |\n"
        "| 1 | a failure of ours, packs that could not be trained, or a difference that `diff`, `replay` or"
        " `check` found |\n"
        "| 2 | a mistake in what was asked: one message names file, key, rule and what is allowed |\n"
        "| 130, 143 | interrupted by Ctrl-C or SIGTERM; the same command resumes |",
        "\n".join(
            f"- [`{name}`](#{name}): {_sentences(command.help)[0]}"
            for name, command in group.commands.items()
        ),
    ]
    for name, command in group.commands.items():
        context = command.make_context(f"groundrules {name}", [], resilient_parsing=True)
        summary, *more = _sentences(command.help)
        rows = [record for one in command.get_params(context) if (record := one.get_help_record(context))]
        parts += [
            f"## {name}",
            f"    {command.get_usage(context).removeprefix('Usage: ')}",
            " ".join([summary, *more]),
            _table(("argument or option", "meaning"), [(f"`{left.strip()}`", right) for left, right in rows]),
        ]
    return "\n\n".join(parts) + "\n"


def public_interface() -> str:
    """The page of the Python interface: every public name of `groundrules`, from its docstring."""
    import groundrules

    parts = [
        "# Python",
        "Whatever a command does is one function call away in a notebook: `import groundrules as gr`."
        " Functions take paths, names or objects and return plain objects. They print nothing unasked.",
    ]
    for name, home in sorted(groundrules._HOMES.items()):
        one = getattr(groundrules, name)
        if inspect.isclass(one) or inspect.isfunction(one):
            home = one.__module__  # where it is written, not only named
        if not home.startswith("groundrules"):
            parts.append(f"## groundrules.{name}\n\nSee [{name}](modules.md#{home}.{name}).")
            continue
        heading = f"heading: groundrules.{name}"
        parts.append(f"::: {home}.{name}\n    options:\n      heading_level: 2\n      {heading}")
    return "\n\n".join(parts) + "\n"


def modules() -> str:
    """The modules that others may rely on, rendered from their docstrings."""
    parts = [
        "# Modules",
        "Imports run one way, from `search_spaces` over `trainers` and `reports` to `studies`.",
    ]
    for heading, names in MODULES.items():
        parts.append(f"## {heading}")
        parts += [f"::: {name}" for name in names]
    return "\n\n".join(parts) + "\n"


def shared(path: str, *, title: str = "") -> str:
    """A document that lives elsewhere in the tree, with its links turned to the site's pages."""
    text = (ROOT / path).read_text(encoding="utf-8")
    if title:
        text = re.sub(r"\A# .*", f"# {title}", text)
    for target, there in LINKS.items():
        text = re.sub(rf"\[([^\]]+)\]\({re.escape(target)}\)", rf"[\1]({there})" if there else r"\1", text)
    return text


def guideline_keys() -> str:
    """The keys of a guideline study's file."""
    from studies.spec.study_spec import StudySpec

    return keys(StudySpec)


def budget_keys() -> str:
    """The keys below `budget`."""
    from studies.spec.sections import BudgetSpec

    return keys(BudgetSpec)


def claim_keys() -> str:
    """The keys of one claim."""
    from studies.spec.sections import ClaimSpec

    return keys(ClaimSpec)


def control_keys() -> str:
    """The keys below `controls`."""
    from studies.spec.sections import ControlsSpec

    return keys(ControlsSpec)


def search_keys() -> str:
    """The keys of a search study's file."""
    from studies.search.spec import SearchSpec

    return keys(SearchSpec)


def keys(model: Any) -> str:
    """A table of a pydantic model's fields: key, type with limits, default, meaning.

    The first three are read from the model's JSON schema, the last from the docstring under the field.

    Raises:
        ValueError: a field without a docstring.
    """
    schema = model.model_json_schema()
    meanings = field_docstrings(model)
    required = set(schema.get("required", ()))
    missing = sorted(set(schema["properties"]) - set(meanings))
    if missing:
        raise ValueError(f"{model.__module__}.{model.__name__}: no docstring under {', '.join(missing)}")
    rows = [
        (
            f"`{name}`",
            described(field),
            "required" if name in required else _default(field.get("default")),
            meanings[name],
        )
        for name, field in schema["properties"].items()
    ]
    return _table(("key", "type", "default", "meaning"), rows)


def field_docstrings(kind: type) -> dict[str, str]:
    """Field -> the docstring under it, joined to one line; of a class's own fields."""
    (tree,) = ast.parse(inspect.cleandoc("\n" + inspect.getsource(kind))).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for field, text in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            value = text.value if isinstance(text, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                found[field.target.id] = " ".join(value.value.split())
    return found


def described(field: Mapping[str, Any]) -> str:
    """A JSON schema as a few words: 'whole number, 1 to 1000'."""
    if "anyOf" in field:
        return " or ".join(described(one) for one in field["anyOf"] if one.get("type") != "null")
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return ", ".join(f"`{word}`" for word in field["enum"])
    if "$ref" in field:
        return "mapping, see below"
    match field.get("type"):
        case "array":
            items = described(field.get("items", {}))
            return f"list of {items}" if items != "anything" else "list"
        case "object":
            return "mapping"
        case "integer" | "number":
            kind = "whole number" if field["type"] == "integer" else "number"
            return f"{kind}{_limits(field)}"
        case "string":
            return "name" if "pattern" in field else "text"
        case "boolean":
            return "`true`, `false`"
    return "anything"


def _limits(field: Mapping[str, Any]) -> str:
    if "exclusiveMinimum" in field:
        return f", above {field['exclusiveMinimum']:g} and below {field['exclusiveMaximum']:g}"
    return f", {field['minimum']} to {field['maximum']}" if "minimum" in field else ""


def _default(value: Any) -> str:
    """The default of a key in YAML's words."""
    match value:
        case None | "" | [] | {} | ():
            return ""
        case {"profile": profile}:
            return f"`{{profile: {profile}}}`"
        case dict():
            return f"`[{', '.join(value)}]`"
        case list() | tuple():
            return f"`[{', '.join(map(str, value))}]`"
    return f"`{value}`"


def settings() -> str:
    """The training settings with their limits and defaults."""
    from search_spaces.config import SETTING_LIMITS, SETTING_WORDS, Setting

    default, meanings = Setting(), field_docstrings(Setting)
    rows = []
    for name, value in default.plain().items():
        if name in SETTING_LIMITS:
            low, high = SETTING_LIMITS[name]
            allowed = f"{low} to {high}"
        else:
            allowed = ", ".join(f"`{word}`" for word in SETTING_WORDS.get(name, ("true", "false")))
        rows.append((f"`{name}`", allowed, f"`{str(value).lower()}`", meanings[name]))
    return _table(("setting", "allowed", "default", "meaning"), rows)


def profiles() -> str:
    """What each profile spends on every task, block and level."""
    from studies.spec.sections import LOOKS, PROFILES

    names = list(next(iter(PROFILES.values())))
    rows = [
        (f"`{profile}`", *(str(numbers[name]) for name in names), _listed(LOOKS[profile]))
        for profile, numbers in PROFILES.items()
    ]
    return _table(("profile", *(f"`{name}`" for name in names), "`looks` before the last"), rows)


def shipped_studies() -> str:
    """The studies that ship, with their titles."""
    from studies.load_study import load
    from studies.spec.load import shipped

    return _table(("name", "title"), [(f"`{name}`", load(name).title) for name in shipped()])


def quickstart_file() -> str:
    """The quickstart's study file."""
    text = (ROOT / "studies/specs/quickstart.yaml").read_text(encoding="utf-8")
    return f"```yaml\n{text}```"


def _listed(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers)) or "none"


def _sentences(text: str | None) -> list[str]:
    """A help text's paragraphs, each on one line."""
    return [" ".join(part.split()) for part in (text or "").split("\n\n")]


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    return "\n".join(_lines(head, rows))


def _lines(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        cells = (" ".join(cell.split()).replace("|", r"\|") for cell in row)
        yield f"| {' | '.join(cells)} |"
