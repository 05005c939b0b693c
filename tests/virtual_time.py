"""The virtual clock that the program itself simulates on, under the names that tests know it by."""

from orchestrator.engine.virtual import DeadlockError, VirtualClock, VirtualLoop, run_virtually

__all__ = ["DeadlockError", "VirtualClock", "VirtualLoop", "run_virtually"]
