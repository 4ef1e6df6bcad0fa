"""What a study may be resumed with: the protocol and the versions that it was started with."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from search_spaces.config import SETTING_NAMES
from studies.kinds import AnyProtocol
from studies.ledger.ledger import StudyRow
from studies.ledger.protocol_comparison import comparable
from studies.ledger.protocol_hash import as_recorded, untouched
from studies.network_changes import as_started
from studies.spec.errors import SpecError
from trainers.versions import versions


def refuse_changed(row: StudyRow, protocol: AnyProtocol, workspace: Path) -> None:
    """SpecError where a study was started with other values, naming them.

    Args:
        row: as the ledger has it.
        protocol: as it is now.
        workspace: the ledger's, for the message.
    """
    protocol, _ = as_started(protocol, row)
    untouched(row.name, row.protocol, row.protocol_hash, "protocol")
    with as_recorded(row.name):
        then, now = comparable(row.protocol), comparable(protocol.plain())
    if then == now:
        return
    changed = ", ".join(differences(then, now))
    raise SpecError(
        protocol.study.file,
        "study",
        f"'{protocol.name}' was started in {workspace} with other values of: {changed}; "
        "rename the study or use another workspace",
    )


def refuse_other_versions(row: StudyRow) -> None:
    """ValueError where what is still to be trained would be of other versions than what is there.

    The guards would refuse such a mixture when all of it is paid for.
    """
    now, recorded = versions_here(), row.terms["versions"]
    changed = [name for name, version in recorded.items() if now.get(name) != version]
    if changed:
        was = ", ".join(f"{name} {recorded[name]}" for name in changed)
        here = ", ".join(f"{name} {now.get(name, 'missing')}" for name in changed)
        raise ValueError(
            f"study '{row.name}' was started with {was}, and here is {here}: results of different versions "
            "cannot be compared; resume it with the versions it was started with, or run it under another "
            "name"
        )


def versions_here() -> dict[str, str]:
    """Package -> its version here, of everything that can change a result."""
    return {**versions(), "optuna": importlib.metadata.version("optuna")}


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What changed between two protocols, as 'key (old -> new)' with the study file's own keys.

    A setting that changed alike in all regimes is named once, as the key of `setting` it was.
    """
    leaves = (dict(_leaves({**whole, **whole["spec"], "spec": {}})) for whole in (old, new))
    before, after = leaves
    changed = {
        key: (before.get(key), after.get(key))
        for key in dict.fromkeys((*after, *before))
        if before.get(key) != after.get(key)
    }
    regimes = [f"regimes.{regime}." for regime in new["spec"].get("regimes", ())]
    for name in SETTING_NAMES:
        everywhere = [changed.get(f"{regime}{name}") for regime in regimes]
        if everywhere and everywhere[0] is not None and all(change == everywhere[0] for change in everywhere):
            changed = {key: c for key, c in changed.items() if key not in {f"{r}{name}" for r in regimes}}
            changed[f"setting.{name}"] = everywhere[0]
    return [f"{key} ({_short(a)} -> {_short(b)})" for key, (a, b) in changed.items()]


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from _leaves(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        for i, item in enumerate(value):
            yield from _leaves(item, f"{key}[{i}]")
    else:
        yield key, value


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
