"""Keys: where they are looked for, what is said when they are not there, and that nobody else ever sees them."""

import logging
import os
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path

import pytest

from orchestrator.backends.wire.api_settings import ClaudeSettings, OpenAICompatibleSettings, OpenAISettings
from orchestrator.core.errors import EnvironmentFault
from orchestrator.wiring import keys
from orchestrator.wiring.keys import find_key, key_advice, missing_key

KEY = "sk-test-0123456789abcdef"
PATH = {"PATH": os.defpath}


def claude(**settings):
    return ClaudeSettings(model="some-model", **settings)


def printing(code):
    return claude(api_key_command=(sys.executable, "-c", code))


def key_of(settings, env=PATH):
    return find_key(settings, env, "configs/mine.yaml").get_secret_value()


def fault_of(settings, env=PATH):
    with pytest.raises(EnvironmentFault) as caught:
        find_key(settings, env, "configs/mine.yaml")
    return caught.value


@pytest.mark.parametrize(
    ("settings", "variable"),
    [
        (claude(), "ANTHROPIC_API_KEY"),
        (OpenAISettings(model="m"), "OPENAI_API_KEY"),
        (OpenAICompatibleSettings(model="m", base_url="http://localhost/v1", api_key_env="MY_KEY"), "MY_KEY"),
    ],
)
def test_the_key_is_in_the_variable_that_the_configuration_names(settings, variable):
    assert key_of(settings, {variable: f"  {KEY}\n"}) == KEY
    for env, words in (({}, "is not set"), ({variable: " \n"}, "is empty")):
        said = str(fault_of(settings, env))
        for part in (f"${variable} {words}", f"export {variable}=", "`api_key_command: [", "configs/mine.yaml"):
            assert part in said


def test_a_server_that_asks_for_no_key_gets_none():
    for settings in (claude(api_key_env=None), OpenAICompatibleSettings(model="m", base_url="http://localhost/v1")):
        assert find_key(settings, {"ANTHROPIC_API_KEY": KEY, "OPENAI_API_KEY": KEY}) is None
        assert missing_key(settings, {}) == ""


def test_a_command_goes_before_the_variable_and_gives_its_first_line():
    settings = printing(f"print('  {KEY}  '); print('more')")
    assert key_of(settings, {**PATH, "ANTHROPIC_API_KEY": "another"}) == KEY


def test_a_command_that_fails_never_falls_back_to_another_accounts_key():
    assert "code 3" in str(fault_of(printing("raise SystemExit(3)"), {**PATH, "ANTHROPIC_API_KEY": KEY}))


def test_a_command_is_no_shell_line():
    settings = claude(api_key_command=("printf", "%s", "$HOME;`id`|x"))
    assert key_of(settings, {**PATH, "HOME": "/nowhere"}) == "$HOME;`id`|x"


def test_a_command_has_the_callers_environment_an_empty_stdin_and_a_group_of_its_own():
    code = "import os, sys; print(os.environ['VAULT'], repr(sys.stdin.read()), os.getpgid(0) == os.getpid())"
    assert key_of(printing(code), {"VAULT": "v"}) == "v '' True"


def test_what_a_failing_command_says_on_stderr_is_shown_and_what_it_prints_is_not():
    code = f"import sys; print('{KEY}'); print('vault is\\x1b[31m locked', file=sys.stderr); sys.exit(1)"
    said = str(fault_of(printing(code)))
    assert "vault is locked" in said
    assert "correct `api_key_command` in configs/mine.yaml" in said
    assert KEY not in said


def test_a_key_that_comes_on_both_streams_is_not_shown_either():
    code = f"import sys; print('{KEY}'); print('debug: got {KEY}!', file=sys.stderr); sys.exit(1)"
    said = str(fault_of(printing(code)))
    assert "debug: got …!" in said
    assert KEY not in said


@pytest.mark.parametrize("code", ["pass", "print(); print('second')", "print('  \\t')"])
def test_an_empty_first_line_is_no_key(code):
    assert "printed no key" in str(fault_of(printing(code)))


def test_a_command_that_cannot_be_started_is_named_by_its_first_word_alone(tmp_path):
    for program in ("no-such-command", str(tmp_path), "nul\0"):
        settings = claude(api_key_command=(program, "an-argument-that-may-be-secret"))
        said = str(fault_of(settings))
        assert "cannot be started" in said
        assert "argument" not in said
    assert "'no-such-command' is not on the PATH" in missing_key(claude(api_key_command=("no-such-command",)), PATH)
    assert "correct `api_key_command`" in key_advice(claude(api_key_command=("no-such-command",)), "x.yaml")


def test_a_command_that_hangs_is_stopped_with_its_children(tmp_path, monkeypatch):
    monkeypatch.setattr(keys, "COMMAND_LIMIT_S", 1.0)
    note = tmp_path / "pid"
    code = (
        "import subprocess, sys, time; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
        f"open({str(note)!r}, 'w').write(str(child.pid)); print('{KEY}', flush=True); time.sleep(60)"
    )
    began = time.monotonic()
    said = str(fault_of(printing(code)))
    assert "did not end within 1 s" in said
    assert KEY not in said
    assert time.monotonic() - began < 20
    assert is_gone(int(note.read_text()))


def test_a_daemon_that_a_command_leaves_behind_is_not_waited_for(tmp_path):
    note = tmp_path / "pid"
    code = (
        "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
        f"open({str(note)!r}, 'w').write(str(child.pid)); print('{KEY}')"
    )
    began = time.monotonic()
    try:
        assert key_of(printing(code)) == KEY
        assert time.monotonic() - began < 20
    finally:
        with suppress(ProcessLookupError):
            os.kill(int(note.read_text()), 9)


def test_more_output_than_a_pipe_holds_does_not_stop_a_command():
    code = f"import sys; print('{KEY}'); print('x' * 500_000); print('y' * 500_000, file=sys.stderr)"
    assert key_of(printing(code)) == KEY


def test_a_key_is_in_no_error_and_in_no_log(caplog):
    caplog.set_level(logging.DEBUG)
    assert KEY not in repr(find_key(printing(f"print('{KEY}')"), PATH))
    error = fault_of(printing(f"print('{KEY}'); raise SystemExit('no')"))
    shown = "".join(traceback.format_exception(error)) + repr(error) + str(vars(error)) + str(error.args)
    assert KEY not in shown.replace(f"print('{KEY}')", "")  # the traceback shows this test's own line
    assert error.__cause__ is None
    assert error.__context__ is None
    assert KEY not in caplog.text


def is_gone(pid):
    """A killed orphan may stay for an instant, or for ever as a zombie where nobody reaps: both are gone."""
    for _ in range(200):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False
