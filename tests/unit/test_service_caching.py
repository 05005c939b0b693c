"""The simulated cache by itself: what may be read, when, and for how long; and never more than was sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.chat import estimate_tokens
from orchestrator.stub_server.caching import Block, PromptCache, automatic, marked

LONG = "x" * 8_000


def blocks(*texts, marks=()):
    return [Block(text, index in marks) for index, text in enumerate(texts)]


def test_what_was_written_is_read_for_its_lifetime_from_the_last_use_on():
    cache, prefixes = PromptCache(300.0), marked("m", blocks(LONG, marks=[0]), 1024)
    assert cache.read(prefixes, 0.0) == 0
    cache.write(prefixes, 0.0)
    assert cache.read(prefixes, 299.0) == 2_000
    assert cache.read(prefixes, 598.0) == 2_000
    assert cache.read(prefixes, 898.0) == 0


def test_nothing_is_there_before_it_was_written():
    cache, prefixes = PromptCache(300.0), marked("m", blocks(LONG, marks=[0]), 1024)
    assert [cache.read(prefixes, 0.0) for _ in range(8)] == [0] * 8


@pytest.mark.parametrize(("chars", "cached"), [(4 * 1_023, 0), (4 * 1_024, 1_024)])
def test_short_prefixes_are_neither_written_nor_read(chars, cached):
    cache, prefixes = PromptCache(300.0), marked("m", blocks("x" * chars, marks=[0]), 1_024)
    cache.write(prefixes, 0.0)
    assert cache.read(prefixes, 1.0) == prefixes.paid_tokens == cached


@pytest.mark.parametrize(
    "other", [marked("m", blocks(LONG + "y", marks=[0]), 1024), marked("n", blocks(LONG, marks=[0]), 1024)]
)
def test_another_text_or_another_model_reads_nothing(other):
    cache = PromptCache(300.0)
    cache.write(marked("m", blocks(LONG, marks=[0]), 1024), 0.0)
    assert cache.read(other, 1.0) == 0


def test_the_longest_prefix_is_read_and_the_rest_written_up_to_the_last_mark():
    cache = PromptCache(300.0)
    first = marked("m", blocks(LONG, "a" * 400, marks=[0, 1]), 1024)
    second = marked("m", blocks(LONG, "a" * 400, "b" * 400, "c" * 400, "d" * 400, marks=[0, 1, 3]), 1024)
    assert (cache.read(first, 0.0), first.paid_tokens) == (0, 2_100)
    cache.write(first, 0.0)
    assert (cache.read(second, 1.0), second.paid_tokens) == (2_100, 2_300)


@pytest.mark.parametrize(("between", "read"), [(18, 2_000), (19, 0)])
def test_a_mark_is_looked_back_from_for_twenty_blocks(between, read):
    cache = PromptCache(300.0)
    cache.write(marked("m", blocks(LONG, marks=[0]), 1024), 0.0)
    texts = [LONG, *(f"block {number}" for number in range(between)), "end"]
    assert cache.read(marked("m", blocks(*texts, marks=[len(texts) - 1]), 1024), 1.0) == read


@pytest.mark.parametrize(("same", "read"), [(4_095, 0), (4_096, 1_024), (4_607, 1_024), (4_608, 1_152), (8_000, 1_920)])
def test_without_marks_steps_of_128_tokens_are_read_from_1024_on(same, read):
    cache = PromptCache(300.0)
    cache.write(automatic("m", LONG, 1_024), 0.0)
    assert cache.read(automatic("m", LONG[:same] + "y" * 4_000, 1_024), 1.0) == read
    assert automatic("m", LONG, 1_024).paid_tokens == 0


texts = st.lists(st.text("ab", max_size=40), min_size=1, max_size=8)


@given(st.lists(st.tuples(st.floats(0, 400), texts, st.integers(0, 7), st.booleans()), max_size=20))
def test_no_request_reads_more_than_an_earlier_one_wrote_or_than_it_sends(history):
    cache, now, written = PromptCache(300.0), 0.0, []
    for after, parts, mark, is_automatic in history:
        now += after
        text = "".join(parts)
        if is_automatic:
            prefixes = automatic("m", text, 4)
        else:
            prefixes = marked("m", blocks(*parts, marks=[mark % len(parts)]), 4)
        read = cache.read(prefixes, now)
        assert 0 <= read <= estimate_tokens(text)
        if read:
            assert any(wrote.startswith(text[: 4 * read - 3]) for wrote in written)
        cache.write(prefixes, now)
        assert cache.read(prefixes, now) >= prefixes.paid_tokens
        written.append(text)
