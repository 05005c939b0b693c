"""Intervals cover the truth, and equal backends are called equal, as often as is said: simulated experiments with a known truth.

Seeds are fixed, so a run is no lottery; that the seeds are not lucky ones is what the longer simulations of
`docs/decisions/0008-statistics.md` are for. `nominal` allows for three binomial standard errors of so many experiments.
"""

from math import sqrt

import numpy as np
import pytest
from scipy.special import expit

from orchestrator.measure.statistics.paired import compare_paired
from orchestrator.measure.statistics.pass_rates import mean_pass_at_k, mean_pass_hat_k
from orchestrator.measure.statistics.power import components_of_pilot, minimum_detectable_effect
from orchestrator.measure.statistics.ratios import ratio_of_means, ratio_of_ratios, ratio_of_totals
from orchestrator.measure.statistics.survival import survival_curve
from orchestrator.measure.statistics.values import (
    LineLife,
    PairedDesign,
    PairedSubtask,
    Tally,
    Tries,
    VarianceComponents,
)

EXPERIMENTS = 400


def slack(rate, experiments=EXPERIMENTS):
    return 3 * sqrt(rate * (1 - rate) / experiments)


def two_backends(rng, subtasks, repeats, shift, *, families=None):
    """Accepted or not, for each subtask and repeat: difficulties differ by subtask, partly for one backend alone.

    `shift` is the distance of the backends' log-odds. With families, difficulty is the family's for the most part.
    """
    family = np.arange(subtasks) % (families or subtasks)
    difficulty, taste = rng.normal(0, 1.5, size=subtasks)[family], rng.normal(0, 0.5, size=subtasks)[family]
    chance = expit(0.5 + difficulty + np.array([[1], [-1]]) * (taste + shift) / 2)
    scores = (rng.random((2, subtasks, repeats)) < chance[:, :, None]).astype(float)
    return [
        PairedSubtask(
            subtask=f"s{number}",
            family=f"f{family[number]}" if families else None,
            left=tuple(scores[0, number]),
            right=tuple(scores[1, number]),
        )
        for number in range(subtasks)
    ]


def true_difference(shift):
    rng = np.random.default_rng(0)
    difficulty, taste = rng.normal(0, 1.5, size=500_000), rng.normal(0, 0.5, size=500_000)
    left, right = (expit(0.5 + difficulty + sign * (taste + shift) / 2) for sign in (1, -1))
    return float(np.mean(left - right))


@pytest.mark.parametrize(("level", "shift"), [(0.95, 1.0), (0.95, 2.0), (0.9, 1.0)])
def test_the_difference_of_two_backends_is_covered_at_the_nominal_rate(level, shift):
    rng, truth = np.random.default_rng(11), true_difference(shift)
    found = [compare_paired(two_backends(rng, 20, 3, shift), level=level).difference for _ in range(EXPERIMENTS)]
    covered = np.mean([not interval.excludes(truth) for interval in found])
    assert abs(covered - level) <= slack(level)


@pytest.mark.parametrize(("subtasks", "repeats", "families"), [(20, 3, None), (6, 3, None), (6, 1, None), (24, 3, 8)])
def test_equal_backends_are_called_different_at_most_at_the_nominal_rate(subtasks, repeats, families):
    rng = np.random.default_rng(12)
    found = [compare_paired(two_backends(rng, subtasks, repeats, 0.0, families=families)) for _ in range(EXPERIMENTS)]
    assert np.mean([comparison.significance.p_value <= 0.05 for comparison in found]) <= 0.05 + slack(0.05)
    assert np.mean([comparison.difference.excludes(0.0) for comparison in found]) <= 0.05 + slack(0.05)


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_families_of_very_different_size_are_covered_at_the_nominal_rate(shift):
    """Six families of 1, 1, 2, 3, 5 and 12 subtasks, weighed by subtask: half of the evidence is one family."""
    rng, sizes = np.random.default_rng(20), np.array([1, 1, 2, 3, 5, 12])
    family = np.repeat(np.arange(6), sizes)
    covered = 0
    for _ in range(EXPERIMENTS):
        scores = shift + rng.normal(size=6)[family] + rng.normal(size=24)
        rows = [
            PairedSubtask(subtask=f"s{n}", family=f"f{family[n]}", left=(score,), right=(0.0,))
            for n, score in enumerate(scores)
        ]
        covered += not compare_paired(rows, scale="amount").difference.excludes(shift)
    assert covered / EXPERIMENTS >= 0.95 - slack(0.95)


def test_treating_families_as_subtasks_would_raise_false_alarms():
    """What clustering is for: without it, subtasks of one family are taken for as many pieces of evidence."""
    rng = np.random.default_rng(13)
    alarms = 0
    for _ in range(EXPERIMENTS):
        rows = [row.model_copy(update={"family": None}) for row in two_backends(rng, 32, 3, 0.0, families=4)]
        alarms += compare_paired(rows).difference.excludes(0.0)
    assert alarms / EXPERIMENTS > 0.05 + slack(0.05)


def test_the_minimum_detectable_effect_is_found_with_its_power():
    """With normal differences, as it is computed for, by the interval and from ten subtasks on by the test as well."""
    rng = np.random.default_rng(14)
    components = VarianceComponents(
        between=0.04, within_left=0.12, within_right=0.12, is_assumed=True, basis="as drawn"
    )
    for subtasks in (10, 20):
        effect = minimum_detectable_effect(components, PairedDesign(subtasks=subtasks, repeats=3)).effect
        found = [
            compare_paired(
                [
                    PairedSubtask(subtask=f"s{n}", left=(difference,), right=(0.0,))
                    for n, difference in enumerate(effect + rng.normal(0, sqrt(0.04 + 0.24 / 3), size=subtasks))
                ],
                scale="amount",
            )
            for _ in range(EXPERIMENTS)
        ]
        assert abs(np.mean([one.difference.excludes(0.0) for one in found]) - 0.8) <= slack(0.8)
        assert abs(np.mean([one.significance.p_value <= 0.05 for one in found]) - 0.8) <= slack(0.8)


def test_what_a_pilot_promises_of_accepted_or_not_is_kept():
    rng, shift = np.random.default_rng(19), 1.43
    components = components_of_pilot(two_backends(rng, 3_000, 3, shift))
    effect = minimum_detectable_effect(components, PairedDesign(subtasks=20, repeats=3)).effect
    assert effect == pytest.approx(true_difference(shift), rel=0.05)
    found = [compare_paired(two_backends(rng, 20, 3, shift)).difference for _ in range(EXPERIMENTS)]
    assert np.mean([interval.excludes(0.0) for interval in found]) >= 0.8 - slack(0.8)


@pytest.mark.parametrize("subtasks", [6, 20])
@pytest.mark.parametrize("ease", [0.0, 1.5, 3.0])
def test_means_of_pass_at_k_are_covered_at_least_at_the_nominal_rate(subtasks, ease):
    rng = np.random.default_rng(15)
    chance = expit(ease + rng.normal(0, 1.5, size=500_000))
    truths = [np.mean(chance), np.mean(1 - (1 - chance) ** 3), np.mean(chance**3)]
    covered = np.zeros(3)
    for _ in range(EXPERIMENTS):
        accepted = rng.binomial(5, rng.choice(chance, size=subtasks))
        tries = [Tries(subtask=f"s{n}", tried=5, accepted=int(count)) for n, count in enumerate(accepted)]
        means = [mean_pass_at_k(tries, 1), mean_pass_at_k(tries, 3), mean_pass_hat_k(tries, 3)]
        covered += [not mean.excludes(truth) for mean, truth in zip(means, truths, strict=True)]
    assert np.all(covered / EXPERIMENTS >= 0.95 - slack(0.95))


def bills(rng, difficulty, dearer, easier):
    """Dollars and accepted repeats of each subtask; hard subtasks cost more and are accepted less."""
    accepted = rng.binomial(3, expit(0.5 + easier + difficulty))
    dollars = dearer * np.exp(rng.normal(-0.3 * difficulty[:, None], 0.6, size=(len(difficulty), 3))).sum(axis=1)
    return [
        Tally(unit=f"s{n}", numerator=float(cost), denominator=float(count))
        for n, (cost, count) in enumerate(zip(dollars, accepted, strict=True))
    ]


def test_cost_for_an_accepted_subtask_and_its_ratio_are_covered_at_the_nominal_rate():
    rng = np.random.default_rng(16)
    difficulty = rng.normal(0, 1.2, size=500_000)
    cost = np.mean(np.exp(0.18 - 0.3 * difficulty))
    left = cost / np.mean(expit(0.5 + difficulty))
    right = 1.5 * cost / np.mean(expit(1.0 + difficulty))
    covered = np.zeros(2)
    for _ in range(EXPERIMENTS):
        own = rng.normal(0, 1.2, size=20)
        ours, theirs = bills(rng, own, 1.0, 0.0), bills(rng, own, 1.5, 0.5)
        covered += [not ratio_of_totals(ours).excludes(left), not ratio_of_ratios(ours, theirs).excludes(left / right)]
    assert np.all(np.abs(covered / EXPERIMENTS - 0.95) <= slack(0.95))


@pytest.mark.parametrize("repeats", [2, 3, 5])
def test_a_speedup_is_covered_at_least_at_the_nominal_rate(repeats):
    rng = np.random.default_rng(17)
    covered = 0
    for _ in range(EXPERIMENTS):
        ones, eights = rng.lognormal(0, 0.1, size=repeats), rng.lognormal(0, 0.2, size=repeats)
        truth = 5 * np.exp(0.1**2 / 2 - 0.2**2 / 2)
        covered += not ratio_of_means(list(5 * ones), list(eights)).excludes(truth)
    assert covered / EXPERIMENTS >= 0.95 - slack(0.95)


def test_lines_are_covered_by_run_and_not_line_by_line():
    rng, experiments = np.random.default_rng(18), 200
    truth = np.mean(np.exp(-14 * np.exp(rng.normal(0, 0.7, size=500_000)) / 40))
    by_run = by_line = 0
    for _ in range(experiments):
        point = survival_curve(ten_runs(rng)).at(14)
        by_run += not point.by_run.excludes(truth)
        by_line += not point.by_line.excludes(truth)
    assert by_run / experiments >= 0.95 - slack(0.95, experiments)
    assert by_line / experiments < 0.7


def ten_runs(rng):
    """Runs of 60 lines; lines of a run share their rate of going."""
    lives = []
    for run in range(10):
        days = np.ceil(rng.exponential(40 / np.exp(rng.normal(0, 0.7)), size=60))
        seen = int(rng.integers(14, 41))
        counts = np.bincount(np.minimum(days, seen + 1).astype(int), minlength=seen + 2)
        lives += [
            LineLife(run=f"r{run}", days=min(day, seen), lines=int(count), is_gone=day <= seen)
            for day, count in enumerate(counts)
            if count
        ]
    return lives
