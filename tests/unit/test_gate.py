"""The gate: a bad patch is a verdict, a broken gate is an error, and no key reaches a command."""

import sys
import tempfile
import time

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


# --- checks that misbehave end in a verdict, never in an error ---

NEST = "d = os.open(os.environ['TMPDIR'], os.O_RDONLY)\nfor _ in range(1500):\n os.mkdir('d', dir_fd=d); d, o = os.open('d', os.O_RDONLY, dir_fd=d), d; os.close(o)"
WRITER = """
if os.fork() == 0:
    os.setsid()
    os.chdir(os.environ["TMPDIR"])
    end = time.monotonic() + 20
    n = 0
    while time.monotonic() < end and n < 20_000:
        n += 1
        open(f"f{n}", "w").close()
time.sleep(0.1)
"""
WRECK = (
    "import shutil; t = os.environ['TMPDIR']; shutil.rmtree(t); open(t, 'w').close(); os.chmod(os.path.dirname(t), 0)"
)


@pytest.mark.parametrize("code", [NEST, WRITER, WRECK], ids=["nested", "writer", "wrecked"])
async def test_whatever_a_check_does_to_its_temporary_folder_the_gate_goes_on_and_leaves_nothing(
    tmp_path, monkeypatch, code
):
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tree").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    after = check("after", "import os; assert os.listdir(os.environ['TMPDIR']) == []")
    verdict = (await gate().judge(tmp_path / "tree", [check("wild", f"import os, time\n{code}"), after])).verdict
    assert verdict.passed, verdict.feedback
    assert list((tmp_path / "tmp").iterdir()) == []


def script(tree, text="#!/bin/sh\nexit 0\n", mode=0o755):
    (tree / "run.sh").write_text(text)
    (tree / "run.sh").chmod(mode)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda tree: (tree / "run.sh").unlink(), "No such file"),
        (lambda tree: (tree / "run.sh").chmod(0o644), "Permission denied"),
        (lambda tree: script(tree, "#!/no/such/interpreter\n"), "No such file"),
        (lambda tree: script(tree, "no interpreter\n"), "Exec format"),
        (lambda tree: ((tree / "run.sh").unlink(), (tree / "run.sh").mkdir()), "Permission denied"),
        (lambda tree: ((tree / "run.sh").unlink(), (tree / "run.sh").symlink_to("run.sh")), "symbolic link"),
    ],
    ids=["deleted", "not-executable", "bad-shebang", "no-shebang", "folder", "loop"],
)
async def test_a_patch_that_breaks_a_command_of_its_tree_fails_its_check(tmp_path, spoil, says):
    command = Check(name="own", argv=("./run.sh",))
    script(tmp_path)
    assert (await gate().judge(tmp_path, [command])).verdict.passed
    spoil(tmp_path)
    verdict = (await gate().judge(tmp_path, [command])).verdict
    assert verdict.reason == "check_failed"
    assert "cannot start './run.sh'" in verdict.feedback
    assert says in verdict.feedback


async def test_a_command_outside_of_the_tree_that_is_missing_is_a_broken_gate(tmp_path):
    (tmp_path / "tree").mkdir()
    for outside in ("../run.sh", "/no/such/run.sh", "sub/../../run.sh"):
        with pytest.raises(GateError, match="cannot start"):
            await gate().judge(tmp_path / "tree", [Check(name="own", argv=(outside,))])


async def test_a_set_up_command_of_the_tree_that_is_missing_is_a_broken_gate(tmp_path):
    with pytest.raises(GateError, match="cannot start"):
        await gate(setup=(Check(name="own", argv=("./run.sh",)),)).prepare(tmp_path)


async def test_a_check_that_removes_the_tree_fails_the_next_one(tmp_path):
    (tmp_path / "tree").mkdir()
    wipe = check("wipe", "import os; os.rmdir(os.getcwd())")
    verdict = (await gate().judge(tmp_path / "tree", [wipe, check("next", "pass")])).verdict
    assert (verdict.reason, [each.passed for each in verdict.checks]) == ("check_failed", [True, False])
    assert "removed the working tree" in verdict.feedback


# --- feedback keeps the line that decides ---

NOISE = {
    "warnings": [f"/lib/x.py:{n}: DeprecationWarning: old thing {n}" for n in range(30)],
    "passing": [f"test_{n} (tests.T) expected failure {n} … ok" for n in range(30)],
    "expected": [f"test_{n} (tests.T) ... expected failure" for n in range(30)],
    "pytest": [f"tests/test_a.py::test_expected_{n} PASSED   [ {n}%]" for n in range(30)],
    "hints": [f"the server said it expected {n}" for n in range(30)],
    "errors": [f"src/a.py:{n}:1: error: not this one {n} {'x' * 280}" for n in range(200)],
}
DECISIVE = {
    "value": ["ValueError: the important line"],
    "assertion": ["AssertionError: 3 != 4"],
    "pytest": ["E       assert 3 == 4"],
    "summary": ["FAILED tests/test_a.py::test_b - assert 3 == 4"],
    "own": [
        "Traceback (most recent call last):",
        '  File "a.py", line 3, in f',
        "    sell()",
        "shop.OutOfStock: none left",
    ],
    "warning-as-error": [
        "Traceback (most recent call last):",
        '  File "a.py", line 3',
        "DeprecationWarning: raised, not shown",
    ],
}


@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("decisive", DECISIVE)
@pytest.mark.parametrize("comes", ["first", "last"])
def test_the_decisive_line_is_shown_whatever_the_noise(noise, decisive, comes):
    lines = [*NOISE[noise], *DECISIVE[decisive]] if comes == "last" else [*DECISIVE[decisive], *NOISE[noise]]
    shown = excerpt("\n".join(lines).encode())
    assert DECISIVE[decisive][-1] in shown
    assert len(shown) <= MAX_CHARS
    if noise in ("warnings", "passing", "expected", "pytest"):
        assert not set(NOISE[noise]) & set(shown.splitlines()[1:-1])


def test_of_too_many_failures_the_first_and_the_last_are_shown_and_the_rest_counted():
    shown = excerpt(b"\n".join(b"E   line %d" % n for n in range(500))).splitlines()
    assert (shown[0], shown[-1]) == ("E   line 0", "E   line 499")
    assert "… 476 more lines like it …" in shown


def test_one_endless_line_takes_no_time():
    started = time.monotonic()
    excerpt(b"w" * 262_144 + b"\n" + b"a." * 131_072 + b"\n" + b"\x1b]" * 50_000)
    assert time.monotonic() - started < 2
