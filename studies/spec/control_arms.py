"""Control arms: comparisons whose answer is known, planned beside the questions (method.md 2.13, item 11).

They are retuned, promoted and confirmed like any level, with the same budget on the same data splits and
design, and `reports.evidence.control_arms` judges them. Every stream of their members is salted with the
arm's name: equal streams would make an A/A pair equal by construction, and it could not fail.
"""

from __future__ import annotations

from collections.abc import Mapping

from reports.evidence.control_arms import ControlKind
from reports.evidence.question import Question
from search_spaces.factor import unknown
from search_spaces.overrides import Overrides
from search_spaces.space import complete
from studies.spec.design_points import design_points
from studies.spec.errors import SpecError, unique
from studies.spec.questions import ParsedQuestion
from studies.spec.sections import ControlsSpec
from studies.spec.study_spec import StudySpec

PROFILES = ("standard", "full")
"""Profiles whose studies carry controls unless their file says otherwise."""

FAMILIES = 8
"""Task families that a control is run on at most: the first of the plan. Enough to speak of tasks in general,
and a failure has to be clear to count."""

NOTHING = Overrides()

_TRAINABLE = Overrides(
    levels={"activation": "relu", "normalization": "batch_norm", "bias": "zeros"}, setting={"residual": False}
)
"""What networks of any depth train with, and through which zero weights let nothing pass."""


def _start(level: str) -> Overrides:
    return Overrides(levels={"initializer": level}).over(_TRAINABLE)


def _scope(level: str) -> Overrides:
    return Overrides(levels={"decay_scope": level, "weight_decay": "none"})


ARMS: Mapping[ControlKind, ParsedQuestion] = {
    # One configuration under two names, which only its streams tell apart.
    "a_a": ParsedQuestion(name="a_a_pair", kind="combination", changes={"one": NOTHING, "again": NOTHING}),
    # Which parameters decay, where nothing does.
    "placebo": ParsedQuestion(
        name="placebo",
        kind="combination",
        changes={level: _scope(level) for level in ("everything", "weights")},
    ),
    # From zero weights no gradient reaches a hidden layer: what comes out is a constant.
    "positive": ParsedQuestion(
        name="positive_control",
        kind="combination",
        changes={level: _start(level) for level in ("he_normal", "zeros")},
    ),
}
"""Kind -> the comparison; the positive control lists its known-better level first."""


def controlled(spec: StudySpec) -> ControlsSpec | None:
    """The controls that are run, by the file or else by its profile; None: the study carries none."""
    if "controls" in spec.model_fields_set:
        return spec.controls
    return ControlsSpec() if spec.budget.profile in PROFILES else None


def controls(spec: StudySpec) -> tuple[Question, ...]:
    """The controls of a study as questions; () where it carries none."""
    said = controlled(spec)
    if said is None:
        return ()
    return tuple(
        Question(
            factor=ARMS[kind].name,
            levels=tuple(ARMS[kind].changes),
            regimes=regimes(spec),
            cost=ARMS[kind].cost(),
            textbook={},
            changes=ARMS[kind].changes,
            control=kind,
            alpha=spec.alpha,
        )
        for kind in said.kinds
    )


def regimes(spec: StudySpec) -> tuple[str, ...]:
    """Where the controls are run: in the regimes that the file names, else in the first."""
    said = controlled(spec)
    return said.regimes if said is not None and said.regimes else tuple(spec.regimes)[:1]


def salt(question: Question, level: str) -> str:
    """What the streams of an arm's members are keyed with besides; '' for a level that is asked about."""
    return f"{question.factor}={level}" if question.control else ""


def check(spec: StudySpec) -> None:
    """SpecError where the controls contradict the rest of the file."""
    said = controlled(spec)
    if said is None:
        return
    unique(spec.file, "controls.kinds", said.kinds)
    unique(spec.file, "controls.regimes", said.regimes)
    for regime in said.regimes:
        if regime not in spec.regimes:
            raise SpecError(spec.file, "controls.regimes", str(unknown("regime", regime, spec.regimes)))
    arms = tuple(ARMS[kind] for kind in said.kinds)
    names = {arm.name for arm in arms}
    for i, asked in enumerate(spec.understood):
        if asked.name in names:
            rule = f"'{asked.name}' is the name of a control; choose another, or say controls: false"
            raise SpecError(spec.file, f"questions[{i}].factor", rule)
    for place in design_points(spec, asked=arms, regimes=regimes(spec)):
        try:
            complete(place.point.levels, place.point.numbers, setting=spec.settings_of(place.point))
        except ValueError as error:
            raise SpecError(spec.file, "controls", f"{error} ({place})") from None
