"""The pieces that slot time is divided into: their names, their kinds, their order. The vocabulary of the speedup stack.

*work*: `base` is generation that led to what was merged, `tools` what sessions did themselves in it (tool calls, checks, applying
edits), `undecided` generation whose fate is not known where the journal ends; `gates` and `merges` are judging and integration in
a serial run, whose one slot does everything.
*inflation*: generation in vain. `failed`: the attempt failed, or its patch was refused. `rework`: a sibling was integrated first,
and the patch did not fit any more. `lost`: a killed process had it under way.
*wait inside*: the slot is taken, and nothing is generated. `rate_limit`: in the queue for an account's limit. `retries`: requests
that failed, and the pauses before they were asked again (the journal does not say which of them were turned away for a rate
limit). `prompt_cache`: for a sibling to warm it. `batch`: for a provider's batch. `setup`: opening the workspace, stating the patch.
*idle*: the slot is free; `measure.idling` says why.

The order is the one in which they are shown, from what is wanted to what is left over.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

PieceName = Literal[
    "base",
    "tools",
    "gates",
    "merges",
    "undecided",
    "failed",
    "rework",
    "lost",
    "rate_limit",
    "retries",
    "prompt_cache",
    "batch",
    "setup",
    "ramp",
    "needs_start",
    "needs_generation",
    "needs_gate",
    "needs_integration",
    "gate",
    "integration",
    "limits",
    "orchestrator",
    "tail",
]
Kind = Literal["work", "inflation", "wait inside", "idle"]

KINDS: Mapping[PieceName, Kind] = MappingProxyType(
    {
        "base": "work",
        "tools": "work",
        "gates": "work",
        "merges": "work",
        "undecided": "work",
        "failed": "inflation",
        "rework": "inflation",
        "lost": "inflation",
        "rate_limit": "wait inside",
        "retries": "wait inside",
        "prompt_cache": "wait inside",
        "batch": "wait inside",
        "setup": "wait inside",
        "ramp": "idle",
        "needs_start": "idle",
        "needs_generation": "idle",
        "needs_gate": "idle",
        "needs_integration": "idle",
        "gate": "idle",
        "integration": "idle",
        "limits": "idle",
        "orchestrator": "idle",
        "tail": "idle",
    }
)
"""`orchestrator` also holds the moments between an attempt's start in the journal and its first step."""
