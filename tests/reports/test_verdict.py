"""Planted studies get the verdict that was planted."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from reports.evidence.study_record import StudyRecord
from reports.verdicts.model import Effect, Verdict
from reports.verdicts.sentences import answer
from reports.verdicts.verdict import verdicts
from tests.reports.planted import LEVELS, TRIVIAL, noisy_errors, planted_study

TORCH, GLOROT, HE = LEVELS


def only(record: StudyRecord) -> Verdict:
    (verdict,) = verdicts(record)
    return verdict


def test_a_clear_winner_that_the_textbook_names_is_confirmed_by_data() -> None:
    verdict = only(planted_study({"deep": noisy_errors([2, 2, 0])}))
    assert (verdict.label, verdict.decided_by, verdict.recommended) == ("confirmed", "data", HE)
    assert verdict.best == HE
    assert verdict.tasks_needed is None


def test_a_clear_winner_that_the_textbook_does_not_name_contradicts_it() -> None:
    verdict = only(planted_study({"deep": noisy_errors([2, 0, 2])}))
    assert (verdict.label, verdict.decided_by, verdict.recommended) == ("contradicted", "data", GLOROT)


def test_a_contradiction_names_the_rival_that_beat_the_textbook_and_not_a_cheaper_one() -> None:
    verdict = only(planted_study({"deep": noisy_errors([0.4, 0, 1.6], tau=0.1, block_sd=0.2)}))
    assert (verdict.label, verdict.recommended) == ("contradicted", TORCH)
    lost = verdict.contradiction
    assert lost is not None
    assert (lost.level, lost.against) == (HE, GLOROT)
    assert f"{HE} has an error" in answer(verdict)
    assert f"higher than {GLOROT}'s" in answer(verdict)


def test_equal_levels_are_tied_and_the_cheapest_is_taken() -> None:
    verdict = only(planted_study({"deep": noisy_errors([0, 0, 0], tau=0.2)}))
    assert (verdict.label, verdict.decided_by, verdict.recommended) == ("tied", "cost_order", TORCH)
    assert verdict.admissible == LEVELS


def test_the_cheapest_of_the_textbooks_own_set_confirms_it() -> None:
    record = planted_study({"deep": noisy_errors([3, 0, 0], tau=0.2)}, textbook={"deep": (HE, GLOROT)})
    verdict = only(record)
    assert (verdict.label, verdict.decided_by) == ("confirmed", "cost_order")
    assert verdict.admissible == (GLOROT, HE)


NO_ROW: dict[str, tuple[str, ...]] = {"deep": ()}


def test_a_row_that_the_textbook_does_not_have_is_answered_and_called_so() -> None:
    clear = only(planted_study({"deep": noisy_errors([2, 0, 2])}, textbook=NO_ROW))
    assert (clear.label, clear.decided_by, clear.recommended) == ("unlisted", "data", GLOROT)
    assert "It is the only level proved" in answer(clear)
    equal = only(planted_study({"deep": noisy_errors([0, 0, 0], tau=0.2)}, textbook=NO_ROW))
    assert (equal.label, equal.decided_by, equal.recommended) == ("unlisted", "cost_order", TORCH)
    for verdict in (clear, equal):
        assert "The textbook has no such row." in answer(verdict)
        assert verdict.contradiction is None


def test_too_little_evidence_for_a_row_of_no_textbook_keeps_the_cheapest() -> None:
    errors = noisy_errors([0, 0, 0], tau=1.0, block_sd=1.5, seed=5)
    verdict = only(planted_study({"deep": errors}, textbook=NO_ROW))
    assert (verdict.label, verdict.decided_by, verdict.recommended) == ("insufficient", "fallback", TORCH)
    assert verdict.tasks_needed is not None
    assert "the cheapest, is kept" in answer(verdict)


def test_a_textbook_whose_levels_were_not_compared_stays_open() -> None:
    record = planted_study({"deep": noisy_errors([2, 0, 2])}, textbook={"deep": ("orthogonal",)})
    assert only(record).label == "insufficient"


def test_too_little_evidence_falls_back_on_the_textbook_and_says_what_it_would_take() -> None:
    verdict = only(planted_study({"deep": noisy_errors([0, 0, 0], tau=1.0, block_sd=1.5, seed=5)}))
    assert (verdict.label, verdict.decided_by, verdict.recommended) == ("insufficient", "fallback", HE)
    assert verdict.tasks_needed is not None
    assert 8 < verdict.tasks_needed <= 60


def test_out_of_reach_is_said_so() -> None:
    errors = noisy_errors([0, 0, 0], tau=0.0, block_sd=0.0)
    errors[::2, :, 2] += 0.08  # half of the tasks say 4 margins worse,
    errors[1::2, :, 2] -= 0.06  # the others 3 better: half a margin on average, tasks disagree
    verdict = only(planted_study({"deep": errors}))
    assert verdict.label == "insufficient"
    assert verdict.tasks_needed is None


def test_a_diverged_confirm_run_scores_like_the_trivial_predictor_and_is_counted() -> None:
    errors = noisy_errors([0, 0, 0], tau=0.0, block_sd=0.0)
    lost = frozenset({("deep", 0, 0, HE, 0), ("deep", 0, 0, HE, 1)})
    plain, hit = (only(planted_study({"deep": errors}, diverged=d)) for d in (frozenset(), lost))
    assert hit.finished_share[HE] == pytest.approx(1 - 2 / 64)
    rise = (TRIVIAL - errors[0, 0, 2]) / 32
    assert hit.mean_error[HE] - plain.mean_error[HE] == pytest.approx(rise)
    assert hit.effect(HE, TORCH).margins - plain.effect(HE, TORCH).margins == pytest.approx(4 / 32)
    assert hit.effect(HE, TORCH).points - plain.effect(HE, TORCH).points == pytest.approx(100 * rise)
    assert any("diverged" in caveat for caveat in hit.caveats)
    assert set(hit.evidence) == set(plain.evidence)


def test_a_level_that_often_diverges_is_not_recommended() -> None:
    lost = frozenset(("deep", t, r, HE, s) for t in range(8) for r in range(2) for s in range(2))
    verdict = only(planted_study({"deep": noisy_errors([0, 0, -0.5], tau=0.1)}, diverged=lost))
    assert HE not in verdict.admissible


def test_variants_of_one_generator_count_once() -> None:
    errors = noisy_errors([0, 0, 0], tasks=12)
    families = [f"f{min(t, 8)}" for t in range(12)]
    verdict = only(planted_study({"deep": errors}, families=families))
    assert verdict.families == 9
    assert len(verdict.tasks) == 12
    effects = np.clip((errors[:, :, 2] - errors[:, :, 0]) / 0.02, -4, 4).mean(axis=1)
    by_hand = np.mean([*effects[:8], effects[8:].mean()])
    assert verdict.effect(HE, TORCH).margins == pytest.approx(by_hand)


def test_fewer_than_eight_families_speak_of_these_tasks_only() -> None:
    verdict = only(planted_study({"deep": noisy_errors([3, 3, 0], tasks=3)}, tasks=("a", "b", "c")))
    assert verdict.label == "confirmed"
    assert not verdict.general
    assert any("on these tasks (a, b, c) only" in caveat for caveat in verdict.caveats)


def test_one_task_alone_can_be_judged_over_its_splits() -> None:
    verdict = only(planted_study({"deep": noisy_errors([3.5, 3.5, 0], tasks=1, block_sd=0.2)}))
    assert verdict.recommended == HE
    assert verdict.families == 1


def test_a_textbook_level_that_was_not_compared_is_a_caveat() -> None:
    record = planted_study({"deep": noisy_errors([0, 2, 2])}, textbook={"deep": ("he_uniform",)})
    verdict = only(record)
    assert (verdict.label, verdict.recommended) == ("insufficient", TORCH)
    assert any("he_uniform was not compared" in caveat for caveat in verdict.caveats)


def test_each_regime_is_judged_by_its_own_rows() -> None:
    record = planted_study({"shallow": noisy_errors([0, 0, 0], tau=0.1), "deep": noisy_errors([2, 2, 0])})
    assert [(v.regime, v.label) for v in verdicts(record)] == [("shallow", "tied"), ("deep", "confirmed")]


def test_the_order_of_evaluations_changes_nothing() -> None:
    record = planted_study({"deep": noisy_errors([1, 0.5, 0])})
    shuffled = np.random.default_rng(0).permutation(len(record.evaluations))
    mixed = replace(record, evaluations=tuple(record.evaluations[i] for i in shuffled))
    assert verdicts(mixed) == verdicts(record)


@pytest.mark.parametrize("means", [(0, 0, 0), (2, 0, 2), (0.6, 0.2, 0), (1, 1, 0)])
def test_permuting_the_names_of_the_levels_permutes_the_verdict_and_changes_nothing_else(
    means: tuple[float, ...],
) -> None:
    errors = {"deep": noisy_errors(means, tau=0.6, seed=4)}
    plain = only(planted_study(errors, textbook={"deep": (GLOROT, HE)}))
    for names in permutations(LEVELS):
        new = dict(zip(LEVELS, names, strict=True))
        renamed = only(
            planted_study(
                errors,
                levels=names,
                cost={new[level]: rank for rank, level in enumerate(LEVELS)},
                textbook={"deep": (new[GLOROT], new[HE])},
            )
        )
        assert renamed == with_names(plain, new, renamed.evidence)


def with_names(verdict: Verdict, new: dict[str, str], evidence: tuple[str, ...]) -> Verdict:
    """The verdict with every level renamed; ids of evaluations hang on names, so they come from outside."""
    assert len(evidence) == len(verdict.evidence)

    def effect(old: Effect) -> Effect:
        return replace(old, level=new[old.level], against=new[old.against])

    return replace(
        verdict,
        textbook=tuple(new[level] for level in verdict.textbook),
        recommended=new[verdict.recommended],
        admissible=tuple(new[level] for level in verdict.admissible),
        best=new[verdict.best],
        effects=tuple(effect(old) for old in verdict.effects),
        mean_error={new[level]: error for level, error in verdict.mean_error.items()},
        finished_share={new[level]: share for level, share in verdict.finished_share.items()},
        evidence=evidence,
    )


def test_the_headline_quotes_the_textbooks_level_where_it_was_not_taken() -> None:
    verdict = only(planted_study({"deep": noisy_errors([2, 0, 2])}))
    assert verdict.headline is not None
    assert (verdict.headline.level, verdict.headline.against) == (HE, GLOROT)
    assert verdict.headline.margins > 1


def test_the_headline_quotes_the_strongest_rival_where_the_textbook_was_taken() -> None:
    verdict = only(planted_study({"deep": noisy_errors([3, 1.8, 0])}))
    assert verdict.headline is not None
    assert (verdict.headline.level, verdict.headline.against) == (GLOROT, HE)
