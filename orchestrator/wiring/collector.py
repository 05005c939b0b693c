"""The garbage collector of a process that works at a run.

A run keeps what it knows until it ends, so a full collection finds nothing and looks at everything; at the default settings
that makes the thousandth subtask dearer than the tenth (1.4 × the CPU a subtask from 100 to 10,000 in `benchmarks.fanout`;
with these settings it stays the same).
"""

import gc

_YOUNG, _MIDDLE, _OLD = 50_000, 20, 100


def calm_collector() -> None:
    """Leave what is there by now alone, and collect less often."""
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)
