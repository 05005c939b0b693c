"""The limiter against a simulated provider: nearly all of the quota used, nearly nothing refused. On virtual time.

`quota_used` is strict: the least time that the tightest quota allows, full bucket at the start included, over the time that
it took from the first request let in to the last.
"""

import pytest

from orchestrator.backends.limits.limiter_settings import LimiterSettings
from tests.rate_server import run, server_of, told

SEEDS = (1, 2)
# What the provider enforces its limits over, told as well.
SECOND = {"token_burst_s": 1.0}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("sends_headers", [True, False])
def test_told_its_limits_it_uses_97_percent_and_wastes_one_request_in_a_hundred_at_most(seed, sends_headers):
    outcome = run(server_of(20, sends_headers=sends_headers), told(20, **SECOND), seed=seed)
    assert (outcome.done, outcome.failed) == (500, 0)
    assert outcome.quota_used >= 0.97
    assert outcome.refused <= 5


@pytest.mark.parametrize("seed", SEEDS)
def test_told_nothing_it_learns_the_limits_from_the_headers(seed):
    outcome = run(server_of(20), LimiterSettings(), seed=seed)
    assert (outcome.done, outcome.failed) == (500, 0)
    assert outcome.quota_used >= 0.97
    assert outcome.refused <= 5


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("settings", [told(20, 2.0), LimiterSettings()], ids=["told", "not told"])
def test_limits_halved_in_mid_run_fail_nothing(seed, settings):
    outcome = run(server_of(20, token_share=2.0, changes_after=250), settings, seed=seed)
    assert (outcome.done, outcome.failed) == (500, 0)
    assert outcome.quota_used >= 0.95
    assert outcome.refused <= 5


@pytest.mark.parametrize("settings", [told(20, **SECOND), LimiterSettings()], ids=["told", "not told"])
def test_with_every_quota_tight_the_same_holds_on_average(settings):
    outcomes = [run(server_of(20, changes_after=250), settings, seed=seed) for seed in range(1, 6)]
    assert all((outcome.done, outcome.failed) == (500, 0) for outcome in outcomes)
    assert sum(outcome.quota_used for outcome in outcomes) / len(outcomes) >= 0.94


@pytest.mark.parametrize("settings", [told(150, **SECOND), LimiterSettings()], ids=["told", "not told"])
def test_at_150_requests_a_second_it_is_as_good(settings):
    outcome = run(server_of(150), settings, requests=3_750, agents=256)
    assert (outcome.done, outcome.failed) == (3_750, 0)
    assert outcome.quota_used >= 0.95
    assert outcome.refused <= 37


def test_limits_told_too_high_or_too_low_are_corrected_by_the_headers():
    for wrong in (10, 40):
        outcome = run(server_of(20), told(wrong, **SECOND))
        assert outcome.failed == 0
        assert outcome.quota_used >= 0.94
        assert outcome.refused <= 15


def test_without_a_word_about_limits_most_of_the_quota_is_found_by_trying():
    outcome = run(server_of(20, sends_headers=False), LimiterSettings())
    assert outcome.failed == 0
    assert outcome.quota_used >= 0.8
    assert outcome.refused <= 75


def test_a_run_repeats_exactly():
    first, second = (run(server_of(20, changes_after=100), LimiterSettings(), requests=200) for _ in range(2))
    assert first == second
