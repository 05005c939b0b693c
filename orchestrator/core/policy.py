"""What a patch may touch at all, whatever its tests say. Pure: it looks at the patch as git states it.

A refusal is a verdict with a reason that a model can act on; no command runs for it.
"""

from collections.abc import Sequence

from orchestrator.core.globs import matches
from orchestrator.core.paths import collisions, unsafe_reason
from orchestrator.core.values import FileChange, Patch, Verdict, VerdictReason

_PLAIN_MODES = frozenset({"100644", "100755"})
_MOST_NAMED = 10


def refusal(patch: Patch, writable: Sequence[str], protected: Sequence[str]) -> Verdict | None:
    """Return the verdict on a patch that may not be judged any further, or None."""
    guarded = [change.path for change in patch.changes if matches(change.path, protected)]
    if guarded:
        rule = "These files are protected and must stay as they are; make the change work with them"
        return _refuse("protected_path", rule, guarded)
    foreign = [change.path for change in patch.changes if not matches(change.path, writable)]
    if foreign:
        rule = f"This subtask may only change {', '.join(writable)}; leave these files alone"
        return _refuse("forbidden_path", rule, foreign)
    odd = [problem for change in patch.changes if (problem := _problem(change))]
    odd += [f"{one} and {other} differ only in case or spelling" for one, other in collisions(_kept(patch))]
    return _refuse("forbidden_path", "These changes are not allowed", odd) if odd else None


def _kept(patch: Patch) -> list[str]:
    return [change.path for change in patch.changes if change.new_mode is not None]


def _problem(change: FileChange) -> str | None:
    reason = unsafe_reason(change.path)
    if reason is not None:
        return f"{change.path!r}: {reason}"
    if change.new_mode is not None and change.new_mode not in _PLAIN_MODES:
        return f"{change.path}: not a regular file (mode {change.new_mode})"
    return None


def _refuse(reason: VerdictReason, rule: str, paths: Sequence[str]) -> Verdict:
    named = ", ".join(paths[:_MOST_NAMED]) + (
        f" and {len(paths) - _MOST_NAMED} more" if len(paths) > _MOST_NAMED else ""
    )
    return Verdict(passed=False, reason=reason, feedback=f"{rule}: {named}.")
