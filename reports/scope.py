"""What a study's answers are about: network, depth, width, training size, hardware."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reports.record import StudyRecord

WORDS = {"mlp": "multilayer perceptrons", "cnn": "convolutional networks", "rnn": "recurrent networks"}


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

    def sentence(self) -> str:
        """In words."""
        network = WORDS.get(self.network, self.network)
        families = "family" if self.families == 1 else "families"
        return (
            f"{network}, {self.depth} hidden layers of width {self.width}, {self.n_train} training items, "
            f"{self.families} task {families} ({self.real_families} of measured data), "
            f"{self.hardware}, torch {self.torch}"
        )


def scope_of(record: StudyRecord) -> Scope:
    """The scope of everything that `record` judged."""
    settings = [
        {**record.regimes[regime], **question.change(level).setting}
        for regime in sorted(record.regimes)
        for question in record.questions
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
        for most in {
            size for question in record.questions for size in question.settings("train_size", usual)
        }:
            sizes.append(max(1, min(most, (fact.items - fact.n_test) * 4 // 5)))
    facts = [record.facts[task] for task in sorted({task for task, _ in judged})]
    low, high = min(sizes, default=0), max(sizes, default=0)
    return Scope(
        network=" | ".join(sorted({_network(setting) for setting in settings})),
        depth=_several(settings, "depth"),
        width=_several(settings, "width"),
        n_train=str(low) if low == high else f"{low}-{high}",
        families=len({fact.family for fact in facts}),
        real_families=len({fact.family for fact in facts if fact.real}),
        hardware=record.hardware,
        torch=record.versions.get("torch", "unknown"),
    )


def described(record: StudyRecord, factor: str, regime: str) -> str:
    """A regime of one question in words: 'deep (20 hidden layers of width 32)'."""
    question = next(q for q in record.questions if q.factor == factor)
    settings = [{**record.regimes[regime], **question.change(level).setting} for level in question.levels]
    return f"{regime} ({_several(settings, 'depth')} hidden layers of width {_several(settings, 'width')})"


def _network(setting: Mapping[str, object]) -> str:
    shape = "".join(f"{name} " for name in ("funnel", "residual") if setting.get(name))
    return f"{shape}{setting.get('network', 'mlp')}"


def _several(settings: Sequence[Mapping[str, object]], name: str) -> str:
    values = {int(str(setting[name])) for setting in settings if name in setting}
    return " | ".join(map(str, sorted(values))) or "unknown"
