"""Chance that depends on nothing but its key: the same on every machine, in every order, on every Python.

Each random choice has its own key, such as (seed, subtask, draw, "error"), and takes its value from a SHA-256 of it. So
the luck of a subtask does not depend on how many agents run or who finished first, and two settings can be compared
with common random numbers. `random.Random` is avoided: its derived methods have changed between versions.
"""

from collections.abc import Sequence
from hashlib import sha256
from math import exp
from statistics import NormalDist
from typing import TypeVar

Key = tuple[str | int, ...]
_Item = TypeVar("_Item")
_NORMAL = NormalDist()


def fraction(key: Key) -> float:
    """A number from 0 (included) to 1 (excluded), uniform over keys; 53 bits of the key's SHA-256."""
    value = int.from_bytes(sha256(repr(key).encode()).digest()[:8], "big")
    return (value >> 11) / (1 << 53)


def choice(key: Key, items: Sequence[_Item]) -> _Item:
    """One of the items, each as likely. Raises `IndexError` if there are none."""
    return items[int(fraction(key) * len(items))]


def lognormal(key: Key, median: float, sigma: float) -> float:
    """A positive number around `median`; `sigma` is the standard deviation of its natural logarithm."""
    if sigma == 0:
        return median
    # Half a step away from 0, where the normal quantile is not defined.
    return median * exp(sigma * _NORMAL.inv_cdf(fraction(key) + 2.0**-54))
