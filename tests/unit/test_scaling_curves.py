"""Amdahl's law and the USL: parameters come back, intervals cover, and what cannot be fitted is refused."""

from math import isclose, sqrt

import numpy as np
import pytest
from scipy.optimize import least_squares

from orchestrator.measure.statistics.curves import RunThroughput, fit_amdahl, fit_usl
from orchestrator.measure.statistics.values import Refusal

AGENTS = (1, 2, 4, 8, 16)


def usl(agents, alpha, beta, gamma=10.0):
    return gamma * agents / (1 + alpha * (agents - 1) + beta * agents * (agents - 1))


def runs(alpha, beta, *, agents=AGENTS, repeats=3, noise=None):
    """Runs on the curve; `noise` draws a factor for a number of agents."""
    return [
        RunThroughput(agents=n, repeat=repeat, per_hour=usl(n, alpha, beta) * (noise(n) if noise else 1.0))
        for n in agents
        for repeat in range(repeats)
    ]


def lognormal(seed, spread, *, growing=False):
    rng = np.random.default_rng(seed)
    return lambda n: float(np.exp(rng.normal(0, spread * (sqrt(n / max(AGENTS)) if growing else 1))))


def test_exact_runs_give_back_the_parameters_and_claim_no_interval():
    fit = fit_usl(runs(0.05, 0.004))
    assert isclose(fit.contention.estimate, 0.05, rel_tol=1e-6)
    assert isclose(fit.coherency.estimate, 0.004, rel_tol=1e-6)
    assert isclose(fit.throughput_of_one, 10.0)
    assert isclose(fit.throughput(8), usl(8, 0.05, 0.004))
    assert fit.contention.reason == "the runs do not scatter, which is no measure of their spread"
    assert fit.peak == Refusal(reason="β has no interval: the runs do not scatter, which is no measure of their spread")
    amdahl = fit_amdahl(runs(0.1, 0.0))
    assert isclose(amdahl.serial_share.estimate, 0.1, rel_tol=1e-6)
    assert isclose(amdahl.ceiling.estimate, 10.0, rel_tol=1e-6)


def test_the_fit_is_as_good_as_a_general_optimiser_finds():
    rows = runs(0.08, 0.006, noise=lognormal(1, 0.1))
    fit = fit_usl(rows)
    n, x = np.array([row.agents for row in rows]), np.array([row.per_hour for row in rows])

    def relative(parameters):
        return np.log(usl(n, parameters[1], parameters[2], parameters[0]) / x)

    found = least_squares(relative, [10.0, 0.1, 0.01], bounds=([0, 0, 0], np.inf), x_scale=[10, 0.1, 0.01])
    ours = [fit.throughput_of_one, fit.contention.estimate, fit.coherency.estimate]
    # Logarithms and relative errors are two ways to weigh, which agree to the square of the scatter.
    assert np.sum(relative(ours) ** 2) <= 1.01 * np.sum(found.fun**2)


def test_the_interval_of_the_peak_is_that_of_its_parameters():
    fit = fit_usl(runs(0.05, 0.006, noise=lognormal(2, 0.03)))
    assert isclose(fit.peak.estimate, sqrt((1 - fit.contention.estimate) / fit.coherency.estimate))
    assert fit.peak.low < sqrt(0.95 / 0.006) < fit.peak.high


def test_without_contention_beyond_doubt_there_is_no_peak():
    fit = fit_usl(runs(0.2, 0.0, noise=lognormal(3, 0.05)))
    assert fit.coherency.low == 0.0
    assert fit.peak == Refusal(reason="the interval of β does not exclude 0, so there may be no peak")


def test_a_throughput_that_only_falls_has_no_peak():
    fit = fit_usl(runs(1.5, 0.1, noise=lognormal(4, 0.01)))
    assert fit.peak == Refusal(reason="throughput falls from the first agent on, as α is 1 or more")
    amdahl = fit_amdahl(runs(1.5, 0.1, noise=lognormal(4, 0.01)))
    assert (amdahl.serial_share.estimate, amdahl.serial_share.low) == (1.0, None)
    assert "more agents make the runs slower, which Amdahl's law cannot have" in amdahl.goodness.warnings


def test_more_speedup_than_agents_is_a_warning_and_not_a_number():
    rows = [
        row.model_copy(update={"per_hour": row.per_hour * row.agents**0.3})
        for row in runs(0, 0, noise=lognormal(5, 0.02))
    ]
    amdahl, curve = fit_amdahl(rows), fit_usl(rows)
    assert amdahl.serial_share.estimate == 0.0
    assert amdahl.serial_share.low is None
    assert amdahl.ceiling.reason == "with a serial share of 0 there is no ceiling"
    assert any("more than the number of agents" in warning for warning in amdahl.goodness.warnings)
    assert any("which the model cannot have" in warning for warning in curve.goodness.warnings)


def test_a_bend_that_the_law_cannot_have_is_said():
    rows = [
        row.model_copy(update={"per_hour": row.per_hour * (1.5 if row.agents == 4 else 1.0)})
        for row in runs(0.1, 0.005, noise=lognormal(6, 0.02))
    ]
    goodness = fit_usl(rows).goodness
    assert goodness.lack_of_fit_p < 0.01
    assert goodness.warnings[-1].startswith("the runs lie off the curve in a pattern")
    assert max(goodness.residuals, key=lambda residual: -residual.relative).agents == 4


def test_one_repeat_is_enough_for_an_interval_that_says_little():
    once = fit_usl(runs(0.1, 0.01, repeats=1, noise=lognormal(7, 0.05)))
    often = fit_usl(runs(0.1, 0.01, repeats=5, noise=lognormal(7, 0.05)))
    assert once.goodness.degrees_of_freedom == 2
    assert once.goodness.lack_of_fit_p is None
    assert once.contention.high - once.contention.low > 2 * (often.contention.high - often.contention.low)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([], "not identifiable: 0 distinct numbers of agents, and 4 are needed"),
        (
            runs(0.1, 0.01, agents=(1, 2, 4), repeats=9),
            "not identifiable: 3 distinct numbers of agents, and 4 are needed",
        ),
        (runs(0.1, 0.01, agents=(2, 4, 8, 16)), "there is no run with one agent"),
        (
            [*runs(0.1, 0.01), RunThroughput(agents=3, repeat=1, per_hour=0.0)],
            "a run came to nothing, and a curve of throughputs has no place for zero",
        ),
        (
            [*runs(0.1, 0.01), RunThroughput(agents=3, repeat=1, per_hour=float("nan"))],
            "a run came to nothing, and a curve of throughputs has no place for zero",
        ),
    ],
)
def test_what_cannot_be_fitted_is_refused_with_the_reason(rows, reason):
    assert fit_usl(rows) == Refusal(reason=reason)
    assert fit_amdahl(rows) == Refusal(reason=reason)


def test_the_unit_of_work_does_not_matter():
    rows = runs(0.05, 0.004, noise=lognormal(8, 0.05))
    ours = fit_usl(rows)
    for factor in (1e-9, 1e9):
        other = fit_usl([row.model_copy(update={"per_hour": row.per_hour * factor}) for row in rows])
        assert isclose(other.contention.high, ours.contention.high, rel_tol=1e-6)
        assert isclose(other.peak.low, ours.peak.low, rel_tol=1e-6)
        assert isclose(other.throughput_of_one, ours.throughput_of_one * factor, rel_tol=1e-6)


def test_thousands_of_agents_are_fitted_as_well():
    agents = (1, 10, 100, 1_000, 10_000)
    fit = fit_usl(runs(1e-3, 1e-7, agents=agents, noise=lognormal(9, 0.02)))
    assert not fit.contention.excludes(1e-3)
    assert not fit.coherency.excludes(1e-7)


EXPERIMENTS = 200


def coverage(*, repeats, growing=False, level=0.95, alpha=0.1, beta=0.01):
    noise = lognormal(100 + repeats, 0.1, growing=growing)
    fits = [fit_usl(runs(alpha, beta, repeats=repeats, noise=noise), level=level) for _ in range(EXPERIMENTS)]
    return (
        np.mean([not fit.contention.excludes(alpha) for fit in fits]),
        np.mean([not fit.coherency.excludes(beta) for fit in fits]),
        np.mean([not isinstance(fit.peak, Refusal) and fit.peak.excludes(sqrt((1 - alpha) / beta)) for fit in fits]),
        float(np.median([fit.contention.estimate for fit in fits])),
        float(np.median([fit.coherency.estimate for fit in fits])),
    )


@pytest.mark.parametrize(
    ("repeats", "growing", "level"),
    [(1, False, 0.95), (1, True, 0.95), (3, False, 0.95), (3, True, 0.95), (5, False, 0.95), (3, False, 0.9)],
)
def test_intervals_of_the_usl_cover_at_least_at_the_nominal_rate(repeats, growing, level):
    contention, coherency, wrong_peak, alpha, beta = coverage(repeats=repeats, growing=growing, level=level)
    slack = 3 * sqrt(level * (1 - level) / EXPERIMENTS)
    assert contention >= level - slack
    assert coherency >= level - slack
    assert wrong_peak <= 1 - level + slack
    assert alpha == pytest.approx(0.1, abs=0.02)
    assert beta == pytest.approx(0.01, abs=0.002)


def test_a_peak_that_is_not_there_is_rarely_claimed():
    noise = lognormal(200, 0.1)
    fits = [fit_usl(runs(0.2, 0.0, noise=noise)) for _ in range(EXPERIMENTS)]
    assert np.mean([not isinstance(fit.peak, Refusal) for fit in fits]) <= 0.05
    assert np.mean([fit.coherency.low == 0.0 for fit in fits if fit.coherency.low is not None]) >= 0.95


@pytest.mark.parametrize("share", [0.05, 0.2])
@pytest.mark.parametrize("level", [0.95, 0.9])
def test_the_interval_of_the_serial_share_covers_at_the_nominal_rate(share, level):
    noise = lognormal(300, 0.1)
    fits = [fit_amdahl(runs(share, 0.0, noise=noise), level=level) for _ in range(EXPERIMENTS)]
    covered = np.mean([not fit.serial_share.excludes(share) for fit in fits])
    assert abs(covered - level) <= 3 * sqrt(level * (1 - level) / EXPERIMENTS)
    assert np.median([fit.serial_share.estimate for fit in fits]) == pytest.approx(share, abs=0.02)
