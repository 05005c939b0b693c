"""Group testing: whatever is bad is found, whatever is good gets in, and it takes no more gates than promised."""

from math import ceil, log2

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.merge_queue import MergeQueue


def integrate(names, bad, max_batch):
    """Drive a queue to its end: a batch fails when a bad one is in it. Returns merged, culprits, and gates used."""
    queue = MergeQueue(max_batch=max_batch)
    for name in names:
        queue.add(name)
    merged, culprits, gates = [], [], 0
    while (batch := queue.peek()) is not None:
        assert len(batch) <= max_batch
        queue.take(batch)
        gates += 1
        if bad.isdisjoint(batch):
            merged += batch
        elif (culprit := queue.bisect(batch)) is not None:
            culprits.append(culprit)
    return merged, culprits, gates


sizes = st.integers(1, 60)


@given(sizes, st.sets(st.integers(0, 59)), st.integers(1, 20))
def test_all_good_ones_are_merged_once_and_all_bad_ones_named_once(size, bad, max_batch):
    names = list(range(size))
    merged, culprits, _ = integrate(names, bad, max_batch)
    assert sorted(merged) == [name for name in names if name not in bad]
    assert sorted(culprits) == [name for name in names if name in bad]


@given(st.integers(1, 64), st.data())
def test_one_culprit_costs_at_most_two_gates_a_level(size, data):
    bad = data.draw(st.integers(0, size - 1))
    _, _, gates = integrate(list(range(size)), {bad}, size)
    assert gates <= 2 * ceil(log2(size)) + 1


@given(sizes)
def test_when_all_are_good_they_keep_their_order(size):
    assert integrate(list(range(size)), set(), 16)[0] == list(range(size))


def test_suspects_are_never_mixed_with_newcomers():
    queue = MergeQueue(max_batch=8)
    for name in "abcd":
        queue.add(name)
    queue.take(queue.peek())
    queue.bisect(("a", "b", "c", "d"))
    queue.add("new")
    assert queue.peek() == ("a", "b")
    queue.take(("a", "b"))
    assert queue.peek() == ("c", "d")
    queue.take(("c", "d"))
    assert queue.peek() == ("new",)
