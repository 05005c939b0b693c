"""The time machine: a recorded run, scheduled anew under other limits by the same core and driver on a virtual clock.

    measure.recorded → script (which try comes next) → replay (a `Performer`) → Driver on a virtual loop → schedule (the outcome)

What is shared is modelled by `cores` (gates and integration) and `account` (a provider's rate limit).
"""
