"""What a throughput is made of, and why two of them differ: exact where it is known, said where it is not."""

import io
import json
from math import log

import pytest
from rich.console import Console

from orchestrator.core.events import PatchProposed, RunFinished
from orchestrator.core.values import Usage
from orchestrator.measure.bounds import bounds_of
from orchestrator.measure.identity import (
    Explanation,
    counterforce,
    explain,
    identity_of,
    largest_cause,
    piece_behind,
)
from orchestrator.measure.stack import decompose, stack_of
from orchestrator.views.identity import explanation_view, sentence
from orchestrator.views.stack import PIECES, identity_line, rate, stack_view
from tests.simulation import patch_of, subtask
from tests.unit.test_stack import begun, gate, judged, merged, one_subtask, parallel, serial, started
from tests.unit.test_summary import HISTORY, journal


def drawn(renderable, width=100):
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None, legacy_windows=False)
    console.print(renderable)
    return console.file.getvalue()


def answered(history, **usage):
    """The same history, in which every patch cost that much."""
    told = {"usage": Usage(**usage)}
    return [
        entry.model_copy(update={"event": entry.event.model_copy(update=told)})
        if isinstance(entry.event, PatchProposed)
        else entry
        for entry in history
    ]


def test_the_factors_of_a_history_that_can_be_checked_by_hand():
    found = identity_of(HISTORY)
    assert (found.agents, found.busy_share) == (2, pytest.approx(24 / 34))
    assert (found.output_tokens, found.tokens_per_s) == (600, pytest.approx(600 / 24))
    assert (found.retained_lines, found.lines_per_token) == (2, pytest.approx(2 / 600))
    assert found.lines_per_hour == pytest.approx(3600 * 2 / 17)
    assert found.why_unknown == ""


@pytest.mark.parametrize(
    ("history", "why"),
    [
        (HISTORY[:1], "took no time"),
        (HISTORY[:3], "no attempt took any time"),
        (answered(HISTORY, output_tokens=None), "did not say how many tokens"),
    ],
)
def test_a_factor_that_is_not_known_is_said_to_be_unknown(history, why):
    found = identity_of(history)
    assert why in found.why_unknown
    assert found.lines_per_token is None
    assert found.why_unknown in identity_line(found)
    told = explain(history, HISTORY)
    assert told.log_ratio is None
    assert any(why in problem for problem in told.problems)
    assert why in drawn(explanation_view(told))
    assert why in drawn(explanation_view(explain(HISTORY, history)))


def test_attempts_that_wrote_nothing_are_not_divided_by():
    silent = answered(parallel("a", "b"), output_tokens=0)
    found = identity_of(silent)
    assert (found.tokens_per_s, found.lines_per_token) == (0, None)
    assert "no output tokens" in found.why_unknown


def test_a_run_that_retained_nothing_has_no_logarithm_and_no_ratio():
    nothing = journal(*begun(subtask("a"), agents=1), (0, started("a")), (4, HISTORY[7].event))
    told = explain(nothing, parallel("a", "b"))
    assert (told.ratio, told.log_ratio) == (None, None)
    assert told.problems == ("run a: it retained no lines, so its throughput is 0",)
    assert "one by one" in sentence(told)
    back = explain(parallel("a", "b"), nothing)
    assert (back.ratio, back.log_ratio) == (0, None)
    assert "has no share" in sentence(back)


def test_the_logarithms_of_the_factors_add_up_to_that_of_the_ratio():
    told = explain(serial("a", "b", "c"), parallel("a", "b", "c"))
    assert told.ratio == pytest.approx(21 / 9)
    assert told.log_ratio == pytest.approx(log(21 / 9))
    assert sum(factor.share for factor in told.factors) == pytest.approx(1)
    assert told.factors[0].ratio == 3


def test_the_largest_cause_goes_with_the_change_and_what_worked_against_it_is_named_too():
    told = explain(serial("a", "b", "c"), parallel("a", "b", "c"))
    assert largest_cause(told).name == "agents"
    assert counterforce(told).name == "busy_share"
    # Where the serial run judged and integrated, this one has slots that wait for it.
    assert piece_behind(told, counterforce(told)).name == "gate"
    text = sentence(told)
    assert "Run b retains 2.33 × the lines an hour of run a." in text
    assert "The largest cause is agents, × 3.00" in text
    assert "Against it works busy share" in text
    assert "own subtask at the gate, 0.0 % → 22.2 % of the slot time" in text
    assert largest_cause(explain(parallel("a", "b", "c"), serial("a", "b", "c"))).name == "agents"


def test_a_run_explains_itself_by_nothing():
    told = explain(HISTORY, HISTORY)
    assert (told.ratio, told.log_ratio, told.differences) == (1, 0, ())
    assert largest_cause(told) is None
    assert [factor.share for factor in told.factors] == [None] * 4
    assert "nearly the same" in sentence(told)


def test_what_else_differs_between_the_runs_is_said():
    first = parallel("a", "b")
    other = first[0].event.model_copy(
        update={"spec_digest": "e", "base": "0123456789abcdef", "seed": 7, "is_simulated": False, "backend": "claude"}
    )
    second = [first[0].model_copy(update={"event": other}), *first[1:-1]]
    second.append(first[-1].model_copy(update={"event": RunFinished(reason="drained")}))
    told = explain(first, second)
    assert [each.what for each in told.differences] == ["task", "base", "backend", "seed", "simulation", "end"]
    shown = drawn(explanation_view(told))
    assert "seed: 0 and 7" in shown
    assert "base and 0123456789\n" in shown.replace(" \n", "\n")
    assert "(a is simulated)" in shown


def test_runs_that_merged_as_many_others_are_not_called_the_same():
    only = [*begun(subtask("a"), subtask("b"), agents=2), (0, started("a")), (0, started("b"))]
    runs = []
    for name in "ab":
        told = [(4, PatchProposed(subtask=name, attempt=1, patch=patch_of(name), usage=Usage(output_tokens=9)))]
        told += [(4, gate(name)), (5, judged(name))]
        runs.append(journal(*only, *told, *one_subtask(name, -1)[4:5], (7, merged(1, name))))
    told = explain(*runs)
    assert [(each.what, each.a, each.b) for each in told.differences] == [("merged", "1 of 2", "1 of 2, others")]


@pytest.mark.parametrize("width", [30, 40, 60, 100])
def test_everything_can_be_read_in_a_narrow_terminal(width):
    runs = (serial("a", "b", "c"), parallel("a", "b", "c"))
    told = explain(*runs)
    stack = stack_of(runs[1])
    shown = drawn(explanation_view(told), width)
    shown += drawn(
        stack_view(stack, decompose(stack, stack_of(runs[0])), bounds_of(runs[1]), identity_of(runs[1])), width
    )
    assert max(map(len, shown.splitlines())) <= width
    flat = " ".join(shown.split())
    assert "simulated" in flat
    assert "× 3.00" in flat
    assert "2.33 speedup" in flat
    assert "3.00" in flat


def test_the_stack_says_what_is_not_measured():
    stack = stack_of(HISTORY)
    shown = drawn(stack_view(stack, None, bounds_of(HISTORY), identity_of(HISTORY)))
    assert "T(1) is not measured" in shown
    assert "a bound, no forecast" in " ".join(shown.split())
    assert "(simulated)" in shown
    assert drawn(stack_view(stack_of(HISTORY[:1]), None, bounds_of(HISTORY[:1]), identity_of(HISTORY[:1]))) != ""
    assert set(PIECES) == {piece.name for piece in stack.pieces}


def test_an_explanation_can_be_written_and_read_back():
    told = explain(serial("a"), parallel("a", "b"))
    assert Explanation.model_validate(json.loads(told.model_dump_json())) == told


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.0, "0"), (0.07713, "0.0771"), (4.0, "4.00"), (123.4, "123"), (12345.6, "12,346")],
)
def test_rates_have_three_digits(value, text):
    assert rate(value) == text
