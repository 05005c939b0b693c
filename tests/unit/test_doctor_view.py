"""Findings as people see them: nothing is lost at any width, and what others wrote cannot steer a terminal."""

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from orchestrator.core.values import Usage
from orchestrator.views.doctor import AnnouncedLimit, Answer, Finding, FindingsTable, answer_text, finding_line

FINDINGS = [
    Finding(topic="machine", name="git", state="ok", detail="2.39.5; 2.34 or newer is needed"),
    Finding(topic="machine", name="sandbox", state="warning", detail="none in this version", advice="take care"),
    Finding(topic="backend", name="a-backend-with-quite-a-long-name", state="missing", detail="[b]no key[/b]"),
]


def drawn(width):
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None, legacy_windows=False)
    console.print(FindingsTable(FINDINGS))
    return console.file.getvalue()


@pytest.mark.parametrize("width", [12, 20, 40, 71, 72, 100, 200])
def test_at_every_width_all_is_told_and_nothing_is_wider(width):
    lines = drawn(width).splitlines()
    assert max(map(len, lines)) <= width
    told = re.sub(r"\s", "", "".join(lines))
    for finding in FINDINGS:
        for part in (finding.state, finding.detail, finding.advice):
            if width >= 20:
                assert all(word in told for word in part.split())


def test_a_pipe_gets_each_finding_on_one_line_with_its_advice():
    assert finding_line(FINDINGS[1]) == "warning  machine sandbox: none in this version → take care"


@given(st.text(), st.text(), st.text())
def test_whatever_others_wrote_a_finding_is_one_line_that_steers_nothing(name, detail, advice):
    line = finding_line(Finding(topic="live", name=name, state="missing", detail=detail, advice=advice))
    assert line.startswith("missing  live")
    assert len(line.splitlines()) == 1
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", line)


def test_an_answer_says_who_how_fast_how_much_and_within_which_limits():
    limits = (AnnouncedLimit(name="requests", limit=50, remaining=49), AnnouncedLimit(name="tokens", limit=40_000))
    answer = Answer(latency_s=0.84, usage=Usage(input_tokens=12, output_tokens=3), model="m-1", limits=limits)
    expected = "m-1 answered in 0.84 s; 12 tokens in, 3 out; limits: 50 requests/min (49 left), 40.0k tokens/min"
    assert answer_text(answer) == expected
    silent = Answer(latency_s=2.0, usage=Usage(input_tokens=None, output_tokens=None))
    assert answer_text(silent) == "a model that gave no name answered in 2.0 s; ? tokens in, ? out; no limits announced"
