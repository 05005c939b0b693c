"""Time as whole numbers, so that what is divided adds up to what there was, exactly.

A tick is 2⁻⁴⁰ s, just under a picosecond. Scaling by a power of two changes no digit of a float, so a stamp in seconds since the
epoch becomes a whole number of ticks without rounding; a number near zero is rounded by half a tick at most.
"""

_A_SECOND = 2**40


def ticks(moment_s: float) -> int:
    """Whole ticks of a moment or a duration in seconds."""
    return round(moment_s * _A_SECOND)


def in_seconds(amount: int) -> float:
    """The other way round."""
    return amount / _A_SECOND
