"""What an experiment can find, before it is paid for."""

from math import isclose

import pytest
from scipy.stats import nct, t

from orchestrator.measure.statistics.power import (
    assumed_components,
    components_of_pilot,
    minimum_detectable_effect,
    subtasks_needed,
)
from orchestrator.measure.statistics.values import PairedDesign, PairedSubtask, Refusal, VarianceComponents

COMPONENTS = VarianceComponents(between=0.04, within_left=0.12, within_right=0.12, is_assumed=True, basis="by hand")


def test_the_effect_is_where_the_reference_has_the_power():
    design = PairedDesign(subtasks=20, repeats=3)
    effect = minimum_detectable_effect(COMPONENTS, design).effect
    error = ((0.04 + 0.24 / 3) / 20) ** 0.5
    assert isclose(1 - nct.cdf(t.ppf(0.975, 19), 19, effect / error), 0.8, abs_tol=1e-6)


def test_with_many_subtasks_it_is_the_formula_of_the_paper():
    design = PairedDesign(subtasks=5_000, repeats=2)
    assert isclose(
        minimum_detectable_effect(COMPONENTS, design).effect,
        (1.95996 + 0.84162) * COMPONENTS.standard_error(5_000, 2),
        rel_tol=1e-3,
    )


def test_more_of_anything_finds_less_but_repeats_reach_a_floor():
    def effect(**kwargs):
        return minimum_detectable_effect(COMPONENTS, PairedDesign(**kwargs)).effect

    assert effect(subtasks=40) < effect(subtasks=20)
    assert effect(subtasks=20, repeats=3) < effect(subtasks=20)
    assert effect(subtasks=20, power=0.9) > effect(subtasks=20)
    assert effect(subtasks=20, comparisons=3) > effect(subtasks=20)
    assert effect(subtasks=20, repeats=10**6) > 0.35 * effect(subtasks=20)


def test_so_few_subtasks_that_nothing_is_significant_have_no_effect_to_find():
    found = minimum_detectable_effect(COMPONENTS, PairedDesign(subtasks=5))
    assert found.effect is None
    assert found.reason == "with 5 subtasks no outcome is significant at 0.05: the smallest p there is comes to 0.0625"
    assert minimum_detectable_effect(COMPONENTS, PairedDesign(subtasks=6)).effect is not None
    assert minimum_detectable_effect(COMPONENTS, PairedDesign(subtasks=6, comparisons=2)).effect is None


def test_the_number_of_subtasks_is_the_least_that_finds_the_effect():
    design = PairedDesign(subtasks=1, repeats=3)
    needed = subtasks_needed(COMPONENTS, design, -0.2)
    assert minimum_detectable_effect(COMPONENTS, design.model_copy(update={"subtasks": needed})).effect <= 0.2
    assert minimum_detectable_effect(COMPONENTS, design.model_copy(update={"subtasks": needed - 1})).effect > 0.2


@pytest.mark.parametrize("effect", [0.0, float("nan"), float("inf"), 1e-6])
def test_an_effect_that_no_number_finds_is_refused(effect):
    assert isinstance(subtasks_needed(COMPONENTS, PairedDesign(subtasks=6), effect), Refusal)


def test_an_assumption_is_said_to_be_one():
    assumed = assumed_components(0.7)
    assert assumed.is_assumed
    assert assumed.basis.startswith("assumed, not measured: 70% accepted by both")
    # One try each, no agreement: the variance of a difference of two independent coins.
    apart = assumed_components(0.7, difficulty_share=1.0, agreement=0.0)
    assert isclose(apart.standard_error(1, 1) ** 2, 2 * 0.7 * 0.3)
    for rate in (0.0, 1.0, -1.0):
        with pytest.raises(ValueError, match="accepted rate"):
            assumed_components(rate)
    with pytest.raises(ValueError, match="shares"):
        assumed_components(0.5, agreement=2)


def test_a_pilot_tells_subtasks_from_luck_only_with_repeats():
    once = components_of_pilot([PairedSubtask(subtask=str(n), left=(n % 2,), right=(0,)) for n in range(6)])
    assert (once.within_left, once.within_right) == (0, 0)
    assert isclose(once.between, 0.3)
    assert "without repeats" in once.basis
    often = components_of_pilot([PairedSubtask(subtask=str(n), left=(n % 2, 1, 0), right=(0, 0, 1)) for n in range(6)])
    assert isclose(often.within_right, 1 / 3)
    assert not often.is_assumed


def test_a_pilot_without_spread_is_no_basis():
    same = [PairedSubtask(subtask=str(n), left=(1,), right=(1,)) for n in range(6)]
    assert isinstance(components_of_pilot(same), Refusal)
    assert isinstance(components_of_pilot(same[:1]), Refusal)
    assert isinstance(components_of_pilot([]), Refusal)
