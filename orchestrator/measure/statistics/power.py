"""What an experiment can find, before it is paid for: the minimum detectable effect of a paired comparison.

The spread comes from a pilot (`components_of_pilot`) or is assumed (`assumed_components`), and says which in words.
"""

from collections.abc import Sequence
from math import isfinite

import numpy as np
from scipy.special import nctdtrinc

from orchestrator.measure.statistics.clusters import NEXT_TO_NOTHING, quantile_of_t
from orchestrator.measure.statistics.values import (
    DetectableEffect,
    PairedDesign,
    PairedSubtask,
    Refusal,
    VarianceComponents,
)

MOST_SUBTASKS = 100_000
"""Where the search for a number of subtasks ends: nobody has more, and the answer would be *too many* anyway."""


def components_of_pilot(rows: Sequence[PairedSubtask]) -> VarianceComponents | Refusal:
    """Estimate the components by moments: within from the repeats, between as what is left of the variance of the dᵢ.

    A small pilot gives a rough estimate: with n subtasks the standard error is off by about 1/√(2n) of itself. With one repeat
    the two cannot be told apart; all of the variance then counts as between, so that more repeats are taken to bring nothing.
    """
    differences = np.array([row.difference for row in rows])
    if len(rows) < 2 or np.ptp(differences) <= NEXT_TO_NOTHING * (1 + float(np.abs(differences).max())):
        return Refusal(reason="the pilot's subtasks do not differ, so it says nothing about their spread")
    total = float(differences.var(ddof=1))
    left, right = _within([row.left for row in rows]), _within([row.right for row in rows])
    if left is None or right is None:
        basis = f"pilot of {len(rows)} subtasks without repeats, so more repeats are taken to bring nothing"
        return VarianceComponents(between=total, within_left=0.0, within_right=0.0, is_assumed=False, basis=basis)
    noise = float(np.mean([left / len(row.left) + right / len(row.right) for row in rows]))
    return VarianceComponents(
        between=max(0.0, total - noise),
        within_left=left,
        within_right=right,
        is_assumed=False,
        basis=f"pilot of {len(rows)} subtasks with repeats",
    )


def _within(scores: Sequence[Sequence[float]]) -> float | None:
    repeated = [np.var(row, ddof=1) for row in scores if len(row) > 1]
    return float(np.mean(repeated)) if repeated else None


def assumed_components(
    accepted_rate: float, *, difficulty_share: float = 0.5, agreement: float = 0.5
) -> VarianceComponents:
    """Assume that both backends have about `accepted_rate`, before anything was run.

    A single try has the variance p(1-p). `difficulty_share` of it lies between subtasks (some are accepted nearly always, some
    hardly ever), the rest is luck that repeats average out; `agreement` is the correlation of a subtask's difficulty for the two
    backends, which pairing takes out. Half and half are middling: Miller (2024) reports correlations of 0.3 to 0.7 between models.
    Raises `ValueError` for numbers outside of 0 to 1, and for a rate of 0 or 1, which would leave nothing to vary.
    """
    if not 0 < accepted_rate < 1:
        raise ValueError(f"an accepted rate between 0 and 1 is needed, not {accepted_rate!r}")
    if not (0 <= difficulty_share <= 1 and 0 <= agreement <= 1):
        raise ValueError(f"shares are from 0 to 1: {difficulty_share!r}, {agreement!r}")
    variance = accepted_rate * (1 - accepted_rate)
    luck = variance * (1 - difficulty_share)
    return VarianceComponents(
        between=2 * variance * difficulty_share * (1 - agreement),
        within_left=luck,
        within_right=luck,
        is_assumed=True,
        basis=(
            f"assumed, not measured: {accepted_rate:.0%} accepted by both, {difficulty_share:.0%} of the variance is the subtask's "
            f"difficulty, on which the backends agree with a correlation of {agreement:.2f}"
        ),
    )


def minimum_detectable_effect(components: VarianceComponents, design: PairedDesign) -> DetectableEffect:
    """Smallest true mean difference at which the interval of `paired` excludes 0 with the design's power.

    By the noncentral t (Cohen 1988), exact for normal differences; for many subtasks it is (z + z)·SE of Miller (2024). The sign-flip
    test is stricter where scores are coarse or subtasks fewer than about ten, so plan with more than the least. None where the subtasks
    are so few that the test cannot be significant whatever happens. Subtasks must be independent: with families, count those.
    """
    error = components.standard_error(design.subtasks, design.repeats)
    reason = ""
    if 2.0 ** (1 - design.subtasks) > design.alpha * (1 + 1e-9):
        reason = (
            f"with {design.subtasks} subtasks no outcome is significant at {design.alpha:.3g}: "
            f"the smallest p there is comes to {2.0 ** (1 - design.subtasks):.3g}"
        )
    elif error <= 0:
        reason = "without spread there is nothing to compute from"
    effect = None if reason else _errors_apart(design) * error
    return DetectableEffect(effect=effect, design=design, components=components, reason=reason)


def _errors_apart(design: PairedDesign) -> float:
    """How many standard errors the truth must be from zero: the noncentrality at which t passes its bound with the given power."""
    degrees = design.subtasks - 1
    bound = quantile_of_t(1 - design.alpha, degrees)
    return float(nctdtrinc(degrees, 1 - design.power, bound))


def subtasks_needed(components: VarianceComponents, design: PairedDesign, effect: float) -> int | Refusal:
    """How many subtasks find `effect` (its sign does not matter) with the rest of `design` as it is."""
    if not isfinite(effect) or effect == 0:
        return Refusal(reason=f"no number of subtasks finds a difference of {effect!r}")

    def finds(subtasks: int) -> bool:
        found = minimum_detectable_effect(components, design.model_copy(update={"subtasks": subtasks})).effect
        return found is not None and found <= abs(effect)

    high = 2
    while not finds(high):
        high *= 2
        if high > MOST_SUBTASKS:
            return Refusal(reason=f"more than {MOST_SUBTASKS} subtasks would be needed")
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if finds(middle) else (middle, high)
    return high
