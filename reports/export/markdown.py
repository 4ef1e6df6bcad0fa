"""A defaults file as Markdown, for pull requests and notes; it is written, never read back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.defaults.sentences import describe_effect, describe_margin, whole_recipes
from reports.defaults.textbook_layout import caveats, grid

if TYPE_CHECKING:
    from reports.defaults.schema import Defaults


def markdown(defaults: Defaults) -> str:
    """The rows and the numbers as two tables, scope first."""
    lines = [
        f"# {escaped(defaults.heading)}",
        "",
        f"Scope: {escaped(defaults.scope.sentence())}.{_plan(defaults)}",
        "",
        *(escaped(sentence) for sentence in whole_recipes(defaults)),
        "",
        *_textbook_layout(defaults),
        "",
        *(_rows(defaults) if defaults.measured else ()),
    ]
    lines += ["", *_effects(defaults)]
    lines += [f"- {escaped(of)}: {escaped(note)}" for of, note in caveats(defaults)]
    if defaults.numbers:
        lines += [
            "",
            "| number | regime | for | optimizer | value | search in | left untuned | new family |",
        ]
        lines.append("|---|---|---|---|---|---|---|---|")
        for number in defaults.numbers:
            cells = [number.name, number.regime, f"{number.factor} = {number.level}", number.optimizer]
            low, high = number.range
            losses = [number.loss_if_untuned_margins, number.leave_one_task_out_margins]
            shown = ["" if loss is None else f"{loss:+.2f}" for loss in losses]
            values = [f"{number.value:g}", f"{low:g} to {high:g}", *shown]
            lines.append("| " + " | ".join([*map(escaped, cells), *values]) + " |")
        reading = defaults.reading
        lines += ["", f"Value: {reading.value}. Search in: {reading.range}."]
        lines += [
            f"{name} (margins): {text}."
            for name, text in (
                ("Left untuned", reading.loss_if_untuned_margins),
                ("New family", reading.leave_one_task_out_margins),
            )
            if text
        ]
    versions = ", ".join(f"{escaped(name)} {escaped(version)}" for name, version in defaults.versions.items())
    return "\n".join([*lines, "", f"Versions: {versions}.", ""])


def _rows(defaults: Defaults) -> list[str]:
    """Every row with its verdict and the one effect to quote."""
    lines = [
        "| factor | regime | textbook | recommended | verdict | decided by | gain (margins, 95 %) | points | "
        "families/blocks/seeds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in defaults.rows:
        effect, gain, points, n = row.effect, "no interval" if row.evaluations else "", "", ""
        if effect is not None:
            low, high = effect.interval
            gain = f"{effect.margins:+.2f} [{low:+.2f}, {high:+.2f}] against {escaped(effect.against)}"
            points, n = f"{effect.points:+.2f}", f"{effect.tasks}/{effect.blocks}/{effect.seeds}"
        book = ", ".join(row.textbook)
        judged = (row.verdict, row.decided_by) if row.evaluations else ("not measured", "")
        cells = [row.factor, row.regime, book, row.recommended, *judged]
        lines.append("| " + " | ".join([*map(escaped, cells), gain, points, n]) + " |")
    return lines


def _plan(defaults: Defaults) -> str:
    plan = defaults.plan
    if not defaults.measured:
        return ""
    return f" Plan {plan.hash}, revision {plan.revision}, profile {escaped(plan.profile)}."


def _effects(defaults: Defaults) -> list[str]:
    """Every compared level against the recommended one; nothing of a file without them."""
    if not any(row.effects for row in defaults.rows):
        return []
    lines = [
        "| row | level | against | margins (95 %) | points | families | mean test error |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in defaults.rows:
        errors = {
            level: f"{error:.4g}{', the least' if level == row.least_error else ''}"
            for level, error in (row.mean_error or {}).items()
        }
        where, mine = escaped(row.name), escaped(row.recommended)
        lines.append(f"| {where} | **{mine}** |  |  |  |  | {errors.get(row.recommended, '')} |")
        for each in row.effects or ():
            gap = describe_effect(each).replace(" margins", "")
            cells = [where, escaped(each.level), mine, gap, f"{each.points:+.2f}", str(each.tasks)]
            lines.append("| " + " | ".join([*cells, errors.get(each.level, "")]) + " |")
    reading = defaults.reading
    legend = [f"{one[:1].upper()}{one[1:]}." for one in (reading.effects, reading.margins) if one]
    spans = [f"{row.name} {describe_margin(row.margin_points)}" for row in defaults.rows if row.margin_points]
    margins = [f"A margin in points: {escaped(', '.join(spans))}."] if spans else []
    return [*lines, "", *legend, *margins, ""]


def _textbook_layout(defaults: Defaults) -> list[str]:
    """The textbook's own table: a row for each hyperparameter, a column for each regime."""
    regimes, factors = grid(defaults)
    lines = [
        "| " + " | ".join(["Hyperparameter", *(f"If {escaped(regime)}" for regime in regimes)]) + " |",
        "|" + "---|" * (len(regimes) + 1),
    ]
    for factor, cells in factors:
        shown = []
        for cell in cells:
            if cell is None:
                shown.append("")
                continue
            levels = " or ".join([f"**{escaped(cell.recommended)}**", *map(escaped, cell.as_good)])
            book = f"{' or '.join(cell.textbook)}: " if cell.textbook else ""
            shown.append(f"{levels} ({escaped(book + cell.mark)})")
        lines.append("| " + " | ".join([escaped(factor), *shown]) + " |")
    return [*lines, "", "In parentheses: the textbook's choice, and what became of it."]


def escaped(text: str) -> str:
    """Names come from users: nothing in them may open a link, a tag or a new cell."""
    line = " ".join(text.split())
    return "".join("\\" + char if char in "\\|<>[]`*#!&" else char for char in line)
