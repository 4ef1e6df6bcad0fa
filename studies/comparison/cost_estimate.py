"""What a study will cost before anything of it is run: members, packs, time on this machine."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from reports.evidence.budget import ARMS, EXTERNAL
from reports.evidence.fairness_checks import FIXED_DESIGNS
from search_spaces.config import SETTING_NAMES, Config, Setting
from search_spaces.space import complete
from studies.comparison.challenge import expected_challenges
from studies.comparison.external_check import hoped_before
from studies.comparison.meaningless_levels import examine
from studies.comparison.planned_work import (
    Decisions,
    chain_members,
    chain_size,
    expected_checks,
    expected_rows,
    planned_work,
)
from studies.comparison.protocol import (
    Chain,
    ComparisonProtocol,
    chains_of,
    comparison_protocol,
)
from studies.packing import FLOPS_PER_SECOND, pack_limit
from studies.spec.resolved import ResolvedStudy
from trainers.evaluation import Slot
from trainers.loop.pack import train_pack
from trainers.loop.structure import estimated_flops, structure_key
from trainers.member import Member
from trainers.randomness import stream
from trainers.tasks.task import Task
from trainers.tasks.user_tasks import TaskSource, task_book


@dataclass(frozen=True, kw_only=True)
class CostEstimate:
    """What `groundrules plan` prints."""

    study: str
    protocol_hash: str
    cells: int
    """Searches: (question, task, regime, block, level)."""
    tasks: Mapping[str, Mapping[str, tuple[str, ...]]]
    """Factor -> regime -> the tasks judged if the pilot accepts them all."""
    families: int
    """In the budget."""
    judged: Mapping[str, Mapping[str, int]]
    """Factor -> regime -> families of those tasks."""
    members: Mapping[str, int]
    """Phase -> members; where rows race, if none stops early and no level is dropped."""
    least: Mapping[str, int]
    """The same if every row stops at its first look."""
    packs: Mapping[str, int]
    """Phase -> packs of `members`."""
    seconds: float
    """Estimated training time of all `members` in one process on this machine."""
    least_seconds: float
    """The same of `least`."""
    flops_per_second: float
    """Measured on a small pack; the estimate's other half."""
    unsettled: tuple[str, ...]
    """What is not known before the pilot."""
    notes: tuple[str, ...]
    """Combinations that are allowed and mean less than they seem to."""

    @property
    def total(self) -> int:
        """Members of all phases."""
        return sum(self.members.values())

    @property
    def least_total(self) -> int:
        """Members of all phases if every row stops at its first look."""
        return sum(self.least.values())


def outline(
    spec: ResolvedStudy,
    *,
    tasks_from: TaskSource | None = None,
    device: str = "cpu",
    measured: float | None = None,
) -> CostEstimate:
    """The whole study as it would run if the pilot accepted every task in declared order.

    Trains nothing of the study; a small pack is timed for about a second, unless its speed is `measured`
    already. What is to be compared needs one speed: two measurements may differ by a factor.

    Raises:
        SpecError: an unknown task, or a combination that cannot mean anything.
        ValueError: a task that cannot be built, or a level that its network cannot realise.
    """
    book = task_book(tasks_from)
    fixed = comparison_protocol(spec, book)
    notes = examine(fixed, book)
    tasks = {
        q.factor: {regime: fixed.hoped(q.factor, regime, {}) for regime in q.regimes} for q in spec.asked
    }
    called = {
        chain.place
        for factor, regimes in tasks.items()
        for regime, names in regimes.items()
        for chain in chains_of(factor, regime, fixed.course(factor, regime, names, (), ()).called)
    }
    decisions = Decisions(pilots=fixed.unpiloted({}))
    work = planned_work(fixed, decisions)
    speed = FLOPS_PER_SECOND.get(device.split(":")[0], FLOPS_PER_SECOND["cpu"])
    packs: Counter[str] = Counter()
    flops = 0.0
    for name, regime in (part.key[1:] for part in work.parts if not part.key[0]):
        task, configs = book[name](), [member.config for member in fixed.pilot(name, regime)]
        packs["pilot"] += _count(configs, task, spec.pack_size, speed)
        flops += sum(estimated_flops(config, task) for config in configs)
    fewest = flops
    checks = expected_checks(fixed, decisions)
    for chain in (*expected_rows(fixed, decisions), *checks):
        chain_packs, chain_flops = _chain_cost(fixed, chain, book[chain.task](), speed)
        packs.update(chain_packs)
        flops += chain_flops
        fewest += chain_flops if chain.place in called else 0.0
    called |= {chain.place for chain in checks}
    least = replace(work, parts=tuple(p for p in work.parts if not p.key[0] or p.key in called))
    measured = measured_speed(device) if measured is None else measured
    return CostEstimate(
        study=spec.study,
        protocol_hash=fixed.hash,
        cells=work.cells,
        tasks=tasks,
        families=spec.families,
        judged={
            factor: {
                regime: len({fixed.facts[name].family for name in names}) for regime, names in regimes.items()
            }
            for factor, regimes in tasks.items()
        },
        members=work.by_phase,
        least=least.by_phase,
        packs={phase: packs[phase] for phase in work.by_phase},
        seconds=flops / measured,
        least_seconds=fewest / measured,
        flops_per_second=measured,
        unsettled=_unsettled(fixed, tasks),
        notes=notes,
    )


def measured_speed(device: str = "cpu") -> float:
    """Floating-point operations per second of this machine on one small pack that it trains."""
    n, features, classes = 256, 16, 4
    numbers = stream("speed")
    task = Task.from_arrays(
        numbers.standard_normal((n, features), dtype=np.float32),
        numbers.integers(classes, size=n),
        kind="classification",
        name="speed",
        n_test=64,
    )
    setting = Setting(depth=4, width=32, steps=60, evaluations=3, train_size=128)
    config = complete({"optimizer": "adamw"}, setting=setting)
    members = [
        Member(
            slot=Slot(
                study="speed", factor="", task="speed", regime="", block=0, level="", phase="pilot", index=i
            ),
            config=config,
            seed_index=i,
        )
        for i in range(32)
    ]
    train_pack(members[:2], task, device=device)  # the first use of a library pays for its loading
    began = time.perf_counter()
    train_pack(members, task, device=device)
    return len(members) * estimated_flops(config, task) / (time.perf_counter() - began)


def _chain_cost(
    fixed: ComparisonProtocol, chain: Chain, task: Task, speed: float
) -> tuple[dict[str, int], float]:
    """Packs by phase, and floating-point operations, of one chain."""
    configs, pack_size = _configs(fixed, chain), fixed.study.pack_size
    copies = {phase: count // len(configs) for phase, count in chain_members(fixed, chain).items()}
    packs = {phase: _count(configs, task, pack_size, speed, copies=n) for phase, n in copies.items()}
    return packs, sum(estimated_flops(config, task) for config in configs) * sum(copies.values())


def _configs(fixed: ComparisonProtocol, chain: Chain) -> list[Config]:
    """One point for each level; for whole recipes, which nobody knows yet, the framework's defaults."""
    if chain.factor == EXTERNAL:
        return [complete({}, setting=fixed.study.settings(chain.regime)) for _ in ARMS]
    return [fixed.config(chain, level) for level in fixed.levels_of(chain.factor)]


def _count(configs: list[Config], task: Task, pack_size: int, speed: float, copies: int = 1) -> int:
    """Packs of `copies` members of each config."""
    groups: dict[str, list[Config]] = {}
    for config in configs:
        groups.setdefault(structure_key(config, task), []).append(config)
    limits = [min(pack_limit(c, task, pack_size, speed) for c in group) for group in groups.values()]
    return sum(-(-len(group) * copies // limit) for group, limit in zip(groups.values(), limits, strict=True))


def _unsettled(
    fixed: ComparisonProtocol, tasks: Mapping[str, Mapping[str, tuple[str, ...]]]
) -> tuple[str, ...]:
    spec = fixed.study
    tasks = {factor: regimes for factor, regimes in tasks.items() if not fixed.question(factor).control}
    facts = ["margins: fixed by the pilot, before the first retune member"]
    spare = {
        f"{factor} in {regime}": len(fixed.candidates(factor)) - len(names)
        for factor, regimes in tasks.items()
        for regime, names in regimes.items()
    }
    facts += [
        f"tasks of {row}: the pilot may replace some; {count} in reserve" for row, count in spare.items()
    ]
    for factor, regimes in tasks.items():
        for regime, names in regimes.items():
            families = len({fixed.facts[name].family for name in names})
            if families < spec.families:
                facts.append(
                    f"families of {factor} in {regime}: {families} declared, {spec.families} in the budget"
                )
    for factor, regimes in tasks.items():
        for regime, names in regimes.items():
            if extra := expected_challenges(fixed, factor, regime, names):
                members = sum(chain_size(fixed, chain) for chain in extra)
                facts.append(
                    f"challenge of {factor} in {regime}: up to {members} members more, where what is said of "
                    "always is not contradicted before"
                )
    if varied := sorted(set(spec.nuisance) & set(SETTING_NAMES)):
        facts.append(
            f"packs: more than said, because {' and '.join(varied)} {'is' if len(varied) == 1 else 'are'} "
            "tuned, and only members of one setting train together"
        )
    if spec.external:
        families = len({fixed.facts[chain.task].family for chain in hoped_before(fixed, {})})
        facts.append(
            f"external check: {families} of {spec.external} families that nothing else touches are declared"
        )
    if spec.sampler not in FIXED_DESIGNS:
        facts.append(f"verdicts: none, because the sampler {spec.sampler} is adaptive")
    return tuple(facts)
