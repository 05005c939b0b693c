"""Which choices nobody should take: those that another beats in cost, time and result at once."""

from collections.abc import Sequence

from orchestrator.measure.statistics.values import ParetoPoint, ParetoStanding


def pareto(points: Sequence[ParetoPoint]) -> tuple[ParetoStanding, ...]:
    """Place every choice, in the order given. Raises `ValueError` for a name that occurs twice.

    One dominates another if it is nowhere worse and somewhere better (Pareto 1906); equals do not dominate each other. The figures
    are taken as they are, without their uncertainty: being on the front of one measurement is no test.
    """
    names = [point.name for point in points]
    if len(set(names)) != len(names):
        raise ValueError(f"names must be distinct: {names!r}")
    known = {point.name: figures for point in points if (figures := _figures(point)) is not None}
    standings = []
    for point in points:
        own = known.get(point.name)
        above = () if own is None else tuple(name for name, other in known.items() if _dominates(other, own))
        standings.append(
            ParetoStanding(point=point, is_on_front=None if own is None else not above, dominated_by=above)
        )
    return tuple(standings)


_Figures = tuple[float, float, float]


def _figures(point: ParetoPoint) -> _Figures | None:
    """Less is better in each of them."""
    if point.cost_usd is None or point.wall_s is None or point.brought is None:
        return None
    return point.cost_usd, point.wall_s, -point.brought


def _dominates(one: _Figures, other: _Figures) -> bool:
    return one != other and all(ours <= theirs for ours, theirs in zip(one, other, strict=True))
