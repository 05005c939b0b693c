"""How much longer a check takes when others run beside it: gates and integration share the cores of one machine.

With k of them at work on c cores, each takes

    slowdown(k) = max(1, k/c) · (1 + (x - 1) · (min(k, c) - 1) / (c - 1))

times as long as alone. The first factor is fair sharing of the cores. The second is what busy neighbours cost even where
everyone has a core (shared caches, memory, the two threads of one core, clock rates); it grows in a straight line to x, which
is reached when every core has a check. So x = 1 is a machine without any such cost, and x = c checks that use all cores
themselves. Everything here is seconds, as pairs of start and end on one clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass

ALL_BUSY = 1.25
"""How many times longer a check takes when every core has one, where nobody has measured it."""
_STEPS = 40
_NONE_OF_IT = 1e-9

Stretch = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Contention:
    """A machine: its cores, and how many times longer a check takes when each of them has one. Raises ValueError."""

    cores: int
    all_busy: float = ALL_BUSY

    def __post_init__(self) -> None:
        if self.cores < 1 or not self.all_busy >= 1.0:
            raise ValueError(f"{self.all_busy:g} times as long on {self.cores} cores is no slowdown")

    def slowdown(self, at_once: int) -> float:
        """How many times longer each takes when so many are at work."""
        if at_once <= 1:
            return 1.0
        cores = self.cores
        crowded = (min(at_once, cores) - 1) / (cores - 1) if cores > 1 else 0.0
        return max(1.0, at_once / cores) * (1.0 + (self.all_busy - 1.0) * crowded)


def alone_s(stretches: Sequence[Stretch], contention: Contention) -> list[float]:
    """What each of these pieces of work would have taken alone, in their order.

    They ran beside each other as their times say; while k of them did, each came on at 1/slowdown(k).
    """
    done = _progress(stretches, contention)
    return [done[end] - done[start] for start, end in stretches]


def _progress(stretches: Sequence[Stretch], contention: Contention) -> dict[float, float]:
    """For every moment at which something began or ended: what a piece of work that ran all along would have done."""
    changes: dict[float, int] = {}
    for start, end in stretches:
        if end > start:
            changes[start] = changes.get(start, 0) + 1
            changes[end] = changes.get(end, 0) - 1
        else:
            changes.setdefault(start, 0)
            changes.setdefault(end, 0)
    done: dict[float, float] = {}
    total, running, before = 0.0, 0, 0.0
    for moment in sorted(changes):
        if running:
            total += (moment - before) / contention.slowdown(running)
        done[moment] = total
        running += changes[moment]
        before = moment
    return done


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Work as it ran, and what each piece takes alone as measured elsewhere; None where nobody knows."""

    stretches: Sequence[Stretch]
    alone_s: Sequence[float | None]


def fitted(runs: Sequence[SideBySide], cores: int) -> float | None:
    """The x with which work that ran side by side comes to what it takes alone; None where none of it did.

    The answer is between 1 and the number of cores.
    """
    wanted = sum(seconds for run in runs for seconds in run.alone_s if seconds is not None)

    def total(all_busy: float) -> float:
        contention = Contention(cores, all_busy)
        return sum(
            found
            for run in runs
            for found, known in zip(alone_s(run.stretches, contention), run.alone_s, strict=True)
            if known is not None
        )

    low, high = 1.0, float(cores)
    if wanted <= 0 or total(low) - total(high) <= _NONE_OF_IT * wanted:
        return None
    if total(low) <= wanted:
        return low
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if total(middle) > wanted else (low, middle)
    return high
