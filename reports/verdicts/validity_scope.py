"""What a study's answers are about: network, depth, width, training size, hardware."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reports.evidence.budget import TaskFacts
from reports.evidence.data_kinds import kinds
from reports.evidence.effective_settings import training_items
from reports.evidence.study_record import StudyRecord
from reports.io.dataclass_files import optional_field
from reports.verdicts.sentences import counted, listed
from search_spaces.networks import KINDS

BETWEEN = " | "
"""Stands between several values in a defaults file."""

OWN = "own"
"""What stands for the network of tasks that bring one: no name of ours describes it."""
WORDS = {kind.name: kind.plural for kind in KINDS} | {OWN: "the tasks' own networks"}


@dataclass(frozen=True, kw_only=True)
class Scope:
    """The first thing every page and export says."""

    network: str
    depth: str
    """Hidden layers, by regime: "2 | 20"."""
    width: str
    n_train: str
    """Training items: the least and the most over tasks and regimes."""
    families: int
    real_families: int
    hardware: str
    torch: str
    steps: str | None = optional_field()
    """Updates of one training, by regime."""
    own_families: int | None = optional_field()
    """Families of a user's own tasks that are not declared as measured data; missing where there are none."""

    def title(self) -> str:
        """What a page says beside its title."""
        updates = f", {_spoken(self.steps)} updates" if self.steps else ""
        layers = "" if self.network == OWN else f" of {_layers(self.depth)}"
        return f"for {self._network()}{layers}{updates}, on {counted(self.families, 'task family')}"

    def sentence(self) -> str:
        """In words."""
        updates = f"{_spoken(self.steps)} updates, " if self.steps else ""
        shape = f"{_layers(self.depth)} of width {_spoken(self.width)}"
        if self.network == OWN:
            shape = f"built at depth {_spoken(self.depth)} and width {_spoken(self.width)}"
        if not self.families:
            return (
                f"{self._network()}, {shape}, {updates}"
                f"{self.n_train} training items, torch {self.torch}; no task was trained on"
            )
        return (
            f"{self._network()}, {shape}, {updates}"
            f"{self.n_train} training items, {counted(self.families, 'task family')} ({self._kinds()}), "
            f"{self.hardware}, torch {self.torch}"
        )

    def _network(self) -> str:
        names = self.network.split(BETWEEN)
        return listed([WORDS.get(name, name) for name in names], "or")

    def _kinds(self) -> str:
        return kinds(self.real_families, self.own_families or 0, "of measured data")


def scope_of(record: StudyRecord) -> Scope:
    """The scope of everything that `record` judged."""
    settings = [
        {**record.regimes[regime], **question.change(level).setting}
        for regime in sorted(record.regimes)
        for question in record.answered
        for level in question.levels
    ]
    judged = {
        (task, regime)
        for factor, by_regime in record.tasks.items()
        for regime in by_regime
        for task in record.judged(factor, regime)
    }
    sizes = []
    for task, regime in judged:
        fact = record.facts[task]
        usual = int(str(record.regimes[regime].get("train_size", fact.items)))
        for most in {size for question in record.answered for size in question.settings("train_size", usual)}:
            sizes.append(max(1, min(most, training_items(fact))))
    facts = [record.facts[task] for task in sorted({task for task, _ in judged})]
    known = {fact.family for fact in facts if fact.origin != "own"}
    own = {fact.family for fact in facts} - known
    low, high = min(sizes, default=0), max(sizes, default=0)
    return Scope(
        network=BETWEEN.join(sorted(_networks(settings, facts))),
        depth=_several(settings, "depth"),
        width=_several(settings, "width"),
        n_train=str(low) if low == high else f"{low}-{high}",
        families=len({fact.family for fact in facts}),
        real_families=len({fact.family for fact in facts if fact.real}),
        hardware=record.hardware,
        torch=record.versions.get("torch", "unknown"),
        steps=_several(settings, "steps"),
        own_families=len(own) or None,
    )


def described(record: StudyRecord, factor: str, regime: str) -> str:
    """A regime of one question in words: 'deep (20 hidden layers of width 32)'."""
    question = next(q for q in record.questions if q.factor == factor)
    settings = [{**record.regimes[regime], **question.change(level).setting} for level in question.levels]
    depth, width = _several(settings, "depth"), _spoken(_several(settings, "width"))
    tasks = [record.facts[task] for task in record.tasks.get(factor, {}).get(regime, ())]
    if tasks and all(fact.network is not None for fact in tasks):
        return f"{regime} ({WORDS[OWN]}, built at depth {_spoken(depth)} and width {width})"
    return f"{regime} ({_layers(depth)} of width {width})"


def _network(setting: Mapping[str, object]) -> str:
    shape = "".join(f"{name} " for name in ("funnel", "residual") if setting.get(name))
    return f"{shape}{setting.get('network', 'mlp')}"


def _networks(settings: Sequence[Mapping[str, object]], facts: Sequence[TaskFacts]) -> set[str]:
    """What was trained on the tasks that were judged: what the settings say, but for those with their own."""
    own = [fact.network is not None for fact in facts]
    names = {_network(setting) for setting in settings} if not all(own) or not own else set()
    return names | ({OWN} if any(own) else set())


def _several(settings: Sequence[Mapping[str, object]], name: str) -> str:
    values = {int(str(setting[name])) for setting in settings if name in setting}
    return BETWEEN.join(map(str, sorted(values))) or "unknown"


def _spoken(values: str) -> str:
    """'2 or 20', of what a defaults file has as '2 | 20'."""
    return listed(values.split(BETWEEN), "or")


def _layers(depth: str) -> str:
    return f"{_spoken(depth)} hidden layer{'' if depth == '1' else 's'}"
