"""Extensions: a study that goes on where a complete one ended, and trains nothing of it again.

An extension ("child") is a study of its own: its own name, file, protocol, plan, hashes, row in the
ledger and page. What ties it to its parent stands in its study file and therefore in its protocol:

    extends: {study: digits, root: digits, protocol: <the parent's hash>, plan: <its plan's hash>}

*Same randomness.* Streams, data splits, designs and drawn backgrounds are keyed by a study's name. An
extension keys them by `root`, the first study of the chain, so it trains what the parent would have
trained, had it been larger. Slots hold the child's own name, which keeps every slot of the ledger the
possession of one study.

*Nothing twice.* The ledger is read for the whole chain (`ledger.lineage`); rows are never copied,
and the parent's row, record, pages and pages in MLflow stay what they were. What the parent trained is
left out before packs are made. With more families whole chains are new, so their packs are those of the
larger study, and the results are equal to the bit. With more blocks the new blocks are packed among
themselves: equal configurations and streams, equal results up to the last bits of a matrix product.
External checks depend on each study's own verdicts; nothing of them is taken over.

*Evidence or not.* A study may register looks beyond its own families (`budget: {families: 8, looks: [16,
24]}`): alpha is then spread over all three looks from the beginning, and an extension to 16 or 24
families is the same sequential test, continued: races, dropped levels and bounds are those of the larger
study. Any other extension (more blocks, added tasks, other numbers of families, or of a study that
itself is one) was decided on after results had been seen: it is exploratory, its page says so, and it
gives no verdict. Nobody says which of the two it is: `studies.ledger.lineage.unregistered` compares the two
protocols, whenever the record is put together.

*Refused* is an extension of a study that is not complete, of a search or a scope, by another version of
this program or its libraries (results would not be comparable), with tasks whose data are others now,
and one that changes anything else.

An extension can be extended in turn: its protocol holds the hashes of its parent, which holds those of
its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reports.evidence.fairness_checks import evidence_status
from reports.io.safe_paths import own_folder, write
from reports.statistics.compare import FEW_FAMILIES
from studies.comparison.own_networks import recorded_content_hash
from studies.comparison.record import study_file_of, study_record
from studies.ledger.lineage import extension, unregistered
from studies.ledger.protocol_comparison import comparable
from studies.ledger.protocol_hash import as_recorded
from studies.spec.errors import SpecError
from studies.spec.load import parse
from studies.spec.resolved import ResolvedStudy
from studies.spec.yaml_reader import plain_text
from trainers.versions import versions

if TYPE_CHECKING:
    from reports.evidence.study_record import StudyRecord
    from studies.comparison.protocol import ComparisonProtocol
    from studies.ledger.ledger import Ledger, StudyRow

EXTENSIONS = "extensions"
"""The folder of a workspace where extensions stand as study files."""

FREE = ("study", "title", "tasks", "budget", "extends")
"""The keys of a resolved spec in which an extension may differ from its parent; of the budget:"""
FREE_BUDGET = ("families", "blocks", "looks", "external")


def child_spec(
    ledger: Ledger,
    parent: str,
    *,
    families: int | None = None,
    blocks: int | None = None,
    tasks: Sequence[str] = (),
    name: str | None = None,
) -> ResolvedStudy:
    """The study that extends a complete one; `studies.run.run` takes it, and so does a study file.

    Args:
        ledger: with the parent; only read.
        parent: its name.
        families: task families of the whole; None: as many as the parent has.
        blocks: of each task; None: as many.
        tasks: declared besides the parent's, after them.
        name: of the extension; None: the parent's with what grows, so that the same call names it again.

    Raises:
        ValueError: no such study, or one that cannot be extended, or nothing that would be added.
    """
    row, plan = _extensible(ledger, parent)
    theirs: Mapping[str, Any] = row.protocol["spec"]
    stated, budget = study_file_of(theirs), theirs["budget"]
    wanted = {"families": families or budget["families"], "blocks": blocks or budget["blocks"]}
    _check_growth(row, wanted, tasks)
    child = name or _named(parent, wanted, budget, len(theirs["tasks"]) + len(tasks) if tasks else 0)
    registered = wanted["families"] in budget["looks"] and wanted["blocks"] == budget["blocks"] and not tasks
    looks = [
        look
        for look in budget["looks"]
        if look != wanted["families"] and (registered or FEW_FAMILIES <= look < wanted["families"])
    ]
    grown = {**stated["budget"], **wanted, "looks": looks}
    if not registered:
        grown["external"] = 0
    data = {
        **stated,
        **row.terms.get("shown", {}),
        "study": child,
        "tasks": [*stated["tasks"], *tasks],
        "budget": grown,
        "extends": {
            "study": parent,
            "root": theirs.get("extends", {}).get("root", parent),
            "protocol": row.protocol_hash,
            "plan": plan,
        },
    }
    return parse(data, file=f"extension of {parent}")


def registered(ledger: Ledger, spec: ResolvedStudy) -> tuple[str, ...]:
    """What an extension does that was not registered, before it is started; () where it will be evidence."""
    assert spec.extends is not None
    parent = spec.extends.study
    reasons = unregistered(spec.resolved(), ledger.study(parent).protocol["spec"])
    above = extension(ledger, parent)
    return (*reasons, f"{parent} itself is exploratory") if above and above.unregistered else reasons


def study_file(spec: ResolvedStudy, workspace: Path) -> Path:
    """Writes an extension as a study file that `run` takes, `extensions/<name>.yaml`; returns its path.

    Raises:
        ValueError: it cannot be written.
    """
    assert spec.extends is not None
    file = own_folder(workspace, EXTENSIONS) / f"{spec.study}.yaml"
    head = f"# {spec.study}: goes on where {spec.extends.study} ended; made by groundrules extend\n"
    try:
        shown = {"diagnostics": spec.diagnostics, "tracking": spec.tracking}
        write(file, head + plain_text({**study_file_of(spec.resolved()), **shown}))
    except OSError as error:
        raise ValueError(f"cannot write the study file {file} ({error})") from error
    return file


def refuse_unlike(fixed: ComparisonProtocol, ledger: Ledger) -> None:
    """SpecError unless a study extends what the ledger holds, and changes nothing that may not change.

    A study of its own passes, and so does one that was started. Both protocols are compared, whoever wrote
    the study file.
    """
    spec = fixed.study
    known = ledger.find_study(spec.study)
    if spec.extends is None or (known is not None and _same(known, fixed)):
        return
    try:
        row, plan = _extensible(ledger, spec.extends.study)
    except ValueError as error:
        raise SpecError(spec.file, "extends.study", str(error)) from None
    ours, theirs = comparable(fixed.plain())["spec"], comparable(row.protocol)["spec"]
    stated = {"protocol": row.protocol_hash, "plan": plan}
    stated["root"] = theirs.get("extends", {}).get("root", row.name)
    for key, value in stated.items():
        if ours["extends"][key] != value:
            rule = f"'{row.name}' has {value} in {ledger.workspace}, not {ours['extends'][key]}"
            raise SpecError(spec.file, f"extends.{key}", rule)
    keys = [key for key in {**theirs, **ours} if key not in FREE]
    for key in sorted(keys, key="questions".__eq__):  # which hold what other keys say
        if ours.get(key) != theirs.get(key):
            raise SpecError(spec.file, key, f"must be what '{row.name}' was started with")
    for key in (key for key in theirs["budget"] if key not in FREE_BUDGET):
        if ours["budget"][key] != theirs["budget"][key]:
            rule = f"{ours['budget'][key]} must be {theirs['budget'][key]}, as in '{row.name}'"
            raise SpecError(spec.file, f"budget.{key}", rule)
    if ours["tasks"][: len(theirs["tasks"])] != theirs["tasks"]:
        raise SpecError(spec.file, "tasks", f"must begin with those of '{row.name}', in their order")
    _check_growth(row, ours["budget"], ours["tasks"][len(theirs["tasks"]) :])
    for then in row.protocol["facts"]:
        now = recorded_content_hash(fixed.facts[then["name"]], then)
        if now != then["content_hash"]:
            rule = (
                f"'{then['name']}' has other data than '{row.name}' ran with (content {now}, then "
                f"{then['content_hash']})"
            )
            raise SpecError(spec.file, "tasks", rule)
    known, here = row.terms["versions"], versions()
    changed = [
        f"{part} {known[part]} -> {here[part]}" for part in here if known.get(part, here[part]) != here[part]
    ]
    if changed:
        rule = f"'{row.name}' was trained with other versions ({', '.join(changed)}): results do not compare"
        raise SpecError(spec.file, "extends.study", rule)


def _same(known: StudyRow, fixed: ComparisonProtocol) -> bool:
    """Whether the ledger's study is this one."""
    with as_recorded(known.name):
        return comparable(known.protocol) == comparable(fixed.plain())


def _extensible(ledger: Ledger, parent: str) -> tuple[StudyRow, str]:
    """The parent and the hash of its plan; ValueError where it cannot be extended."""
    row = ledger.study(parent)
    record = study_record(ledger, parent)
    now = evidence_status(record)
    missing = now.reason if now.kind == "interim" else ""
    if not missing and now.kind == "evidence":
        missing = _unfinished(row, record)
    if missing:
        raise ValueError(
            f"study '{parent}' in {ledger.workspace} is not complete ({missing}): run it to its end first"
        )
    return row, record.plan_hash


def _unfinished(row: StudyRow, record: StudyRecord) -> str:
    """What a study whose rows are complete has still to train; '' where there is nothing."""
    from reports.claims.challenge import challenge_of

    for claim in record.claims:
        if isinstance(why := challenge_of(record, claim), str):
            return f"claim {claim.id}: {why}"
    if not row.protocol["spec"]["budget"].get("external"):
        return ""
    external = record.external
    if external is None or not external.plan_hash:
        return "its external check is not there yet"
    missing = sum(external.planned.values()) - len(external.evaluations)
    return f"{missing} runs of its external check are not there yet" if missing > 0 else ""


def _check_growth(row: StudyRow, wanted: Mapping[str, int], tasks: Sequence[str]) -> None:
    """ValueError where nothing grows, something shrinks, or there are no tasks to grow on."""
    theirs, known = row.protocol["spec"]["budget"], row.protocol["spec"]["tasks"]
    for key in ("families", "blocks"):
        if wanted[key] < theirs[key]:
            raise ValueError(
                f"{key} = {wanted[key]}: '{row.name}' has {theirs[key]} already, and an extension only adds"
            )
    if twice := [task for task in tasks if task in known]:
        raise ValueError(f"task '{twice[0]}' is one of those that '{row.name}' declares")
    declared = len({facts["family"] for facts in row.protocol["facts"]})
    if not tasks and wanted["families"] > declared:
        raise ValueError(
            f"families = {wanted['families']}: '{row.name}' declares tasks of {declared} families; --tasks "
            "adds others, which makes the extension exploratory"
        )
    if all(wanted[key] == theirs[key] for key in ("families", "blocks")):
        registered = [look for look in theirs["looks"] if look > theirs["families"]]
        looks = f"; registered looks: {', '.join(map(str, registered))} families" if registered else ""
        raise ValueError(
            f"nothing to add to '{row.name}': name more --families than {theirs['families']} or more "
            f"--blocks than {theirs['blocks']}{looks}"
        )


def _named(parent: str, wanted: Mapping[str, int], theirs: Mapping[str, int], tasks: int) -> str:
    """The parent's name with what grows."""
    grown = [f"{key}-{value}" for key, value in wanted.items() if value != theirs[key]]
    name = ".".join([parent, *grown, *([f"tasks-{tasks}"] if tasks else [])])
    if len(name) > 64:
        raise ValueError(f"'{name}' is longer than 64 characters: name the extension with --name")
    return name
