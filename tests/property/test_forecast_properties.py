"""The estimated time of a run, against the plain definition of it."""

from heapq import heapify, heappop, heappush

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.graph import ranks
from orchestrator.measure import forecast
from orchestrator.measure.forecast import makespan
from tests.simulation import subtask


def plain_makespan(subtasks, seconds, agents):
    """After each end, look at everyone who may have waited for it."""
    rank = ranks(subtasks)
    unmet = {each.id: set(each.needs) for each in subtasks}
    ready = [(-rank[name], order, name) for order, (name, needs) in enumerate(unmet.items()) if not needs]
    heapify(ready)
    running, now = [], 0.0
    while ready or running:
        while ready and len(running) < agents:
            name = heappop(ready)[2]
            heappush(running, (now + seconds[name], name))
        now, done = heappop(running)
        for order, (name, needs) in enumerate(unmet.items()):
            if done in needs:
                needs.discard(done)
                if not needs:
                    heappush(ready, (-rank[name], order, name))
    return now


@st.composite
def graphs(draw):
    size = draw(st.integers(1, 9))
    made = []
    for number in range(size):
        needs = draw(st.lists(st.integers(0, number - 1), max_size=4)) if number else []
        made.append(
            subtask(f"s{number}", [f"s{need}" for need in needs], weight=draw(st.sampled_from([0.5, 1.0, 3.0])))
        )
    return draw(st.permutations(made))


@given(graphs(), st.data(), st.integers(1, 4))
def test_the_estimated_time_is_what_its_plain_definition_says(subtasks, data, agents):
    seconds = {each.id: data.draw(st.sampled_from([0.0, 1.0, 2.5, 7.0])) for each in subtasks}
    assert makespan(subtasks, seconds, agents) == plain_makespan(subtasks, seconds, agents)


def test_an_end_looks_only_at_those_who_waited_for_it(monkeypatch):
    looked = []

    class Counted(list):
        def __iter__(self):
            looked.append(len(self))
            return super().__iter__()

    real = forecast.dependents_of
    monkeypatch.setattr(
        forecast, "dependents_of", lambda subtasks: {name: Counted(each) for name, each in real(subtasks).items()}
    )
    chain = [subtask("s0"), *(subtask(f"s{n}", [f"s{n - 1}"]) for n in range(1, 300))]
    assert makespan(chain, {each.id: 1.0 for each in chain}, 4) == 300.0
    assert sum(looked) == 299
