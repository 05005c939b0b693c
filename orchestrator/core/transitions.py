"""The life of a subtask, as data: which event leads from which phase to which.

Nothing else in the program decides what is legal; the diagram in `docs/architecture.md` is drawn from this table.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class Phase(StrEnum):
    """Where a subtask is in its life."""

    WAITING = "waiting"
    GENERATING = "generating"
    PROPOSED = "proposed"
    JUDGING = "judging"
    ACCEPTED = "accepted"
    MERGING = "merging"
    MERGED = "merged"
    ABANDONED = "abandoned"


FINAL = frozenset({Phase.MERGED, Phase.ABANDONED})

TRANSITIONS: Mapping[tuple[Phase, str], Mapping[Phase, str]] = MappingProxyType(
    {
        (Phase.WAITING, "attempt_started"): {Phase.GENERATING: ""},
        (Phase.GENERATING, "patch_proposed"): {Phase.PROPOSED: ""},
        (Phase.GENERATING, "attempt_failed"): {Phase.WAITING: "tries left", Phase.ABANDONED: "no tries left"},
        (Phase.GENERATING, "run_resumed"): {Phase.WAITING: ""},
        (Phase.PROPOSED, "gate_started"): {Phase.JUDGING: ""},
        (Phase.JUDGING, "patch_judged"): {
            Phase.ACCEPTED: "passed",
            Phase.WAITING: "failed, tries left",
            Phase.ABANDONED: "failed, no tries left",
        },
        (Phase.JUDGING, "run_resumed"): {Phase.PROPOSED: ""},
        (Phase.ACCEPTED, "batch_started"): {Phase.MERGING: ""},
        (Phase.MERGING, "batch_merged"): {
            Phase.MERGED: "integrated",
            Phase.WAITING: "conflict",
            Phase.ABANDONED: "conflict, no reworks left",
        },
        (Phase.MERGING, "batch_rejected"): {
            Phase.ACCEPTED: "bisected",
            Phase.WAITING: "culprit or conflict, tries left",
            Phase.ABANDONED: "culprit or conflict, no tries left",
        },
        (Phase.MERGING, "run_resumed"): {Phase.ACCEPTED: ""},
        (Phase.WAITING, "need_abandoned"): {Phase.ABANDONED: "a need was abandoned"},
    }
)
"""Phase and event to the phases it may lead to, each with the condition. `need_abandoned` is no event of its own: it is
what the abandonment of a subtask means for those that need it."""


def mermaid() -> str:
    """Draw the table as a Mermaid state diagram, in the order of the table."""
    lines = ["stateDiagram-v2", f"    [*] --> {Phase.WAITING}"]
    for (source, event), targets in TRANSITIONS.items():
        for target, condition in targets.items():
            label = f"{event} ({condition})" if condition else event
            lines.append(f"    {source} --> {target}: {label}")
    lines += [f"    {phase} --> [*]" for phase in Phase if phase in FINAL]
    return "\n".join(lines)
