"""What is wrong with who waits for whom: names that do not exist, and circles."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from graphlib import CycleError, TopologicalSorter

from orchestrator.core.items import Where

# Nobody reads more of them, and each costs a walk over the whole graph.
_MAX_CYCLES = 20
_MAX_COMPARED = 1_000


def hint(wrong: str, known: Iterable[str], prefix: str = "") -> str:
    """Return "; did you mean `x`?" when one of the known names is close, else what there is."""
    names = [str(name) for name in known]
    close = get_close_matches(wrong, names[:_MAX_COMPARED], n=1, cutoff=0.6)
    if close:
        return f"; did you mean `{prefix}{close[0]}`?"
    shown = ", ".join(f"`{prefix}{name}`" for name in names[:12])
    rest = f" and {len(names) - 12:,} more" if len(names) > 12 else ""
    return f"; there is {shown}{rest}" if shown else "; there is none"


def need_problems(subtasks: Sequence[tuple[str, Sequence[tuple[Where, str]]]]) -> list[tuple[Where, str]]:
    """Return what is wrong with the `needs` of subtasks, given as (id, [(where, needed id)]): unknown ids, and cycles.

    Cycles that share no subtask are all named, in the form `a → b → a`, where the arrow means "needs".
    """
    ids = [name for name, _ in subtasks]
    known = set(ids)
    found = [
        (where, f"there is no subtask `{need}`{hint(need, ids)}")
        for _, needs in subtasks
        for where, need in needs
        if need not in known
    ]
    place_of = {name: place for place, name in enumerate(ids)}
    graph = {name: {need: where for where, need in needs if need in known} for name, needs in subtasks}
    for _ in range(_MAX_CYCLES):
        cycle = _cycle(graph)
        if cycle is None:
            break
        start = cycle.index(min(cycle, key=place_of.__getitem__))
        turned = [*cycle[start:], *cycle[:start]]
        path = " → ".join([*turned, turned[0]])
        where = graph[turned[0]][turned[1 % len(turned)]]
        found.append((where, f"`needs` goes in a circle: {path}; take one of these out"))
        for name in cycle:
            graph[name] = {}
    return found


def _cycle(graph: Mapping[str, Iterable[str]]) -> list[str] | None:
    """Return the members of one cycle, each followed by what it needs."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        members: list[str] = error.args[1]
        return members[:0:-1]
    return None
