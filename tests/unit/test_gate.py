"""The gate: a bad patch is a verdict, a broken gate is an error, and no key reaches a command."""

import sys

import pytest

from orchestrator.core.errors import GateError
from orchestrator.core.values import Check, GateSettings
from orchestrator.engine.clock import SystemClock
from orchestrator.gate.feedback import MAX_CHARS, MAX_LINES, excerpt
from orchestrator.gate.pipeline import CommandGate


def gate(**settings):
    return CommandGate(GateSettings(**settings), SystemClock(), path="/usr/bin:/bin")


def check(name, code, **more):
    return Check(name=name, argv=("python", "-c", code), **more)


async def test_checks_run_in_order_and_the_first_that_fails_ends_it(tmp_path):
    judged = await gate().judge(tmp_path, [check("one", "pass"), check("two", "assert 1 == 2"), check("three", "pass")])
    verdict = judged.verdict
    assert (verdict.passed, verdict.reason) == (False, "check_failed")
    assert [(each.name, each.passed) for each in verdict.checks] == [("one", True), ("two", False)]
    assert "AssertionError" in verdict.feedback
    assert b"AssertionError" in judged.bodies[verdict.checks[1].output]


async def test_what_passes_says_how_it_was_confined(tmp_path):
    verdict = (await gate().judge(tmp_path, [check("one", "pass")])).verdict
    assert verdict.passed
    assert verdict.sandbox == "none"


async def test_a_check_that_hangs_is_a_verdict(tmp_path):
    verdict = (await gate().judge(tmp_path, [check("slow", "import time; time.sleep(60)", timeout_s=0.5)])).verdict
    assert verdict.reason == "timeout"
    assert "0.5 s" in verdict.feedback


async def test_a_command_that_does_not_exist_is_a_broken_gate_and_says_what_to_do(tmp_path):
    with pytest.raises(GateError, match="'no-such-linter'.*install it"):
        await gate().judge(tmp_path, [Check(name="lint", argv=("no-such-linter", "."))])


async def test_no_key_of_the_caller_reaches_a_check(tmp_path, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-secret")
    code = "import os; print(sorted(os.environ)); assert 'ANTHROPIC_API_KEY' not in os.environ"
    judged = await gate(env={"MODE": "ci"}).judge(
        tmp_path, [check("env", code + "; assert os.environ['MODE'] == 'ci'")]
    )
    assert judged.verdict.passed, judged.bodies


async def test_home_is_a_folder_of_its_own_that_is_gone_afterwards(tmp_path):
    code = "import os, pathlib; p = pathlib.Path.home(); print(p); assert p.is_dir()"
    judged = await gate().judge(tmp_path, [check("home", code)])
    home = next(iter(judged.bodies.values())).decode().strip()
    assert judged.verdict.passed
    assert not (tmp_path.__class__(home)).exists()


async def test_python_means_the_configured_interpreter(tmp_path):
    judged = await gate().judge(tmp_path, [check("which", "import sys; print(sys.executable)")])
    assert next(iter(judged.bodies.values())).decode().strip() == sys.executable
    with pytest.raises(GateError, match="/no/such/python"):
        await gate(python="/no/such/python").judge(tmp_path, [check("which", "pass")])


async def test_a_set_up_that_fails_is_a_broken_gate(tmp_path):
    with pytest.raises(GateError, match=r"'build' exited 3[\s\S]*no compiler"):
        await gate(setup=(check("build", "import sys; print('no compiler'); sys.exit(3)"),)).prepare(tmp_path)


PYTEST_OUTPUT = b"""\
============================= test session starts ==============================
collected 12 items
tests/test_tax.py ..F.........                                           [100%]
=================================== FAILURES ===================================
________________________________ test_rounding _________________________________

    def test_rounding():
>       assert tax(100) == 19
E       assert 20 == 19
E        +  where 20 = tax(100)

tests/test_tax.py:8: AssertionError
=========================== short test summary info ============================
FAILED tests/test_tax.py::test_rounding - assert 20 == 19
"""


def test_feedback_is_the_failing_test_and_its_assertion_and_little_else():
    shown = excerpt(PYTEST_OUTPUT)
    assert "assert 20 == 19" in shown
    assert "test_rounding" in shown
    assert "test session starts" not in shown


def test_feedback_is_bounded_and_cannot_steer_a_terminal():
    noisy = b"\x1b[31m" + b"error: " + b"y" * 100_000 + b"\n" + b"\n".join(b"E   line %d" % n for n in range(500))
    shown = excerpt(noisy)
    assert len(shown) <= MAX_CHARS + 1
    assert len(shown.splitlines()) <= MAX_LINES + 1
    assert "\x1b" not in shown


def test_when_no_line_stands_out_the_end_is_shown():
    assert excerpt(b"\n".join(b"step %d" % n for n in range(100))).splitlines()[-1] == "step 99"
