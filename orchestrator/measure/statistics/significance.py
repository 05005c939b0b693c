"""Whether a difference could be chance: the sign-flip test, exact for up to 40 units, and Holm's correction for several tests.

Were two backends the same, every subtask's difference could as well have had the other sign. The p-value is the share of all sign
patterns whose sum is at least as far from zero as the one that was seen (Fisher 1935; Good 2005). It assumes no distribution,
so it holds for six subtasks as for six hundred.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from orchestrator.measure.statistics.clusters import Floats
from orchestrator.measure.statistics.values import SignFlip

EXACT_UNITS = 40
"""Up to here all 2^40 patterns are counted, by meeting in the middle: two halves of 2^20 sums (8 MB each), one of them sorted."""
DRAWS = 99_999
"""Patterns that are drawn beyond that; p is then a multiple of 1/100,000 (Phipson & Smyth 2010: the seen pattern counts too)."""
ROUNDING = 1e-9
"""Sums that are closer than this, relative to the sum of all sizes, are equal: means of repeats are thirds, which binary is not."""
_CHUNK = 10_000


def sign_flip(differences: Sequence[float], *, seed: int = 0) -> SignFlip:
    """Two-sided p-value of independent differences (of subtasks, or sums over a family's subtasks) against no difference."""
    sizes = np.abs(np.asarray(differences, dtype=np.float64))
    near = ROUNDING * float(sizes.sum())
    units = sizes[sizes > near]
    seen = abs(float(np.sum(differences))) - near
    if len(units) > EXACT_UNITS:
        resolution = 1 / (DRAWS + 1)
        return SignFlip(
            p_value=_sampled_share(units, seen, seed), is_exact=False, resolution=resolution, units=len(units)
        )
    # Patterns come in pairs of opposite sign, so nothing smaller than two of them can happen.
    resolution = min(1.0, 2.0 ** (1 - len(units)))
    share = 1.0 if seen <= 0 else 2 * _share_of_patterns(units, seen)
    return SignFlip(p_value=min(1.0, share), is_exact=True, resolution=resolution, units=len(units))


def _share_of_patterns(units: Floats, seen: float) -> float:
    """Share of all sign patterns with a sum of at least `seen`: for each sum of one half, count what of the other completes it."""
    half = len(units) // 2
    ours, theirs = _all_sums(units[:half]), np.sort(_all_sums(units[half:]))
    reaching = len(theirs) - np.searchsorted(theirs, seen - ours, side="left")
    return float(np.sum(reaching) / 2.0 ** len(units))


def _all_sums(units: Floats) -> Floats:
    sums = np.zeros(1)
    for unit in units:
        sums = np.concatenate([sums - unit, sums + unit])
    return sums


def _sampled_share(units: Floats, seen: float, seed: int) -> float:
    draw = np.random.default_rng(seed)
    reached = 0
    for start in range(0, DRAWS, _CHUNK):
        count = min(_CHUNK, DRAWS - start)
        signs = draw.integers(0, 2, size=(count, len(units)), dtype=np.int8) * 2.0 - 1.0
        reached += int(np.sum(np.abs(signs @ units) >= seen))
    return (reached + 1) / (DRAWS + 1)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjust the p-values of several tests so that comparing each with α keeps the chance of any false alarm below α (Holm 1979).

    Smallest first, each times the number of tests not yet done, never less than the one before. Raises `ValueError` outside 0 to 1.
    """
    if any(not 0 <= p <= 1 for p in p_values.values()):
        raise ValueError(f"p-values are from 0 to 1: {dict(p_values)!r}")
    adjusted: dict[str, float] = {}
    least = 0.0
    for done, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        least = max(least, min(1.0, p * (len(p_values) - done)))
        adjusted[name] = least
    return {name: adjusted[name] for name in p_values}
