"""The order of work: who waits for whom, and which subtask is on the longest way to the end."""

from collections.abc import Iterable, Mapping, Sequence

from orchestrator.core.values import Subtask, SubtaskId


def dependents_of(subtasks: Iterable[Subtask]) -> dict[SubtaskId, list[SubtaskId]]:
    """Map each subtask to those that need it, in the order of the file."""
    known = list(subtasks)
    dependents: dict[SubtaskId, list[SubtaskId]] = {subtask.id: [] for subtask in known}
    for subtask in known:
        for need in subtask.needs:
            dependents[need].append(subtask.id)
    return dependents


def topological_order(needs: Mapping[SubtaskId, Sequence[SubtaskId]]) -> list[SubtaskId] | None:
    """Order ids so that every need comes first, otherwise as given; None when there is a cycle."""
    unmet = {name: len(set(wanted)) for name, wanted in needs.items()}
    dependents: dict[SubtaskId, list[SubtaskId]] = {name: [] for name in needs}
    for name, wanted in needs.items():
        for need in set(wanted):
            dependents[need].append(name)
    order: list[SubtaskId] = [name for name, count in unmet.items() if count == 0]
    for name in order:  # grows while it is walked
        for dependent in dependents[name]:
            unmet[dependent] -= 1
            if unmet[dependent] == 0:
                order.append(dependent)
    return order if len(order) == len(unmet) else None


def ranks(subtasks: Sequence[Subtask]) -> dict[SubtaskId, float]:
    """Weight of the heaviest chain from each subtask to the end, itself included (critical-path-first scheduling).

    Source: Hu's level algorithm (1961), with estimated weights. Raises ValueError on a cycle.
    """
    by_id = {subtask.id: subtask for subtask in subtasks}
    order = topological_order({subtask.id: subtask.needs for subtask in subtasks})
    if order is None:
        raise ValueError("the needs of the subtasks form a cycle")
    dependents = dependents_of(subtasks)
    rank: dict[SubtaskId, float] = {}
    for name in reversed(order):
        rank[name] = by_id[name].weight + max((rank[dependent] for dependent in dependents[name]), default=0.0)
    return rank
