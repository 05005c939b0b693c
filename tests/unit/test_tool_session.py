"""A session with tools from its first question to its end: how it works, how it ends, what it records."""

import asyncio

import pytest

from orchestrator.backends.metered import MeteredModel
from orchestrator.backends.sessions.context import context_tokens
from orchestrator.backends.sessions.tool_settings import ToolSettings
from orchestrator.backends.sessions.tools import ToolBackend
from orchestrator.backends.tariffs import NoTariff
from orchestrator.core.chat import Completion, ToolCall
from orchestrator.core.errors import BackendError, GateError
from orchestrator.core.values import Allowance, Usage, Verdict, digest_of
from orchestrator.ports import Meter
from tests.fakes_backends import FakeClock, MemoryWorkspace, ScriptedModel, busy, prompt_for

FILES = {"a.py": b"x = 1\n", "b.py": b"y = 1\n"}


def calls(*made, stop_reason="tool_use", text="", usage=None, opaque=""):
    """An answer that calls tools, given as `(name, arguments)`."""
    usage = usage or Usage(requests=1, input_tokens=100, output_tokens=10, cost_usd=0.5)
    tool_calls = tuple(ToolCall(id=f"c{n}", name=name, arguments=given) for n, (name, given) in enumerate(made))
    return Completion(text=text, stop_reason=stop_reason, usage=usage, calls=tool_calls, opaque=opaque)


def read(path="a.py"):
    return ("read_file", {"path": path})


def edit(old, new, path="a.py"):
    return ("edit_file", {"path": path, "search": f"x = {old}\n", "replace": f"x = {new}\n"})


CHECK = ("run_checks", {})
CHANGE = calls(edit(1, 2))
DONE = "Done: x is 2."


class Session:
    """A session that was run: what it came to, and what it left."""

    def __init__(self, *script, verdict=None, left=None, writable=("*.py",), max_output_tokens=16_000, **settings):
        self.clock = FakeClock(now=5_000.0)
        self.model = ScriptedModel(*script)
        self.workspace = MemoryWorkspace(FILES, **({} if verdict is None else {"verdict": verdict}))
        self.meter = Meter(given=left, left=left)
        metered = MeteredModel(self.model, NoTariff())
        self.backend = ToolBackend(metered, self.clock, ToolSettings(**settings), max_output_tokens=max_output_tokens)
        self.prompt = prompt_for(writable=writable)

    async def run(self):
        self.generation = await self.backend.generate(self.prompt, self.workspace, self.meter)
        return self

    @property
    def failure(self):
        return self.generation.failure

    def results(self, turn):
        """What the model was told after a turn, from 1."""
        return [(result.text, result.is_error) for result in self.model.prompts[turn].messages[-1].results]


async def run(*script, **settings):
    return await Session(*script, **settings).run()


# --- the way it works


async def test_it_reads_changes_checks_corrects_and_ends():
    def verdict(files):
        is_right = files["a.py"] == b"x = 3\n"
        return Verdict(passed=is_right, reason="passed" if is_right else "check_failed", feedback="assert x == 3")

    session = await run(
        calls(read(), text="I look first."),
        calls(edit(1, 2), CHECK),
        calls(edit(2, 3)),
        calls(CHECK),
        DONE,
        verdict=verdict,
    )
    assert session.failure is None
    assert session.workspace.files["a.py"] == b"x = 3\n"
    assert session.results(1) == [("     1\tx = 1", False)]
    assert session.results(2) == [
        ("edited a.py", False),
        ("assert x == 3\n\n(runs of the checks left: 4)", False),
    ]
    assert session.results(4) == [("passed", False)]
    assert session.meter.note == ""


async def test_each_request_is_the_one_before_with_the_answer_and_its_results():
    session = await run(calls(read(), text="I look first.", opaque='{"thought": 1}'), CHANGE, DONE)
    first, second, third = session.model.prompts
    assert [tool.name for tool in first.tools][:2] == ["list_files", "read_file"]
    assert first.tools == second.tools == third.tools
    assert second.messages[:1] == first.messages
    assert third.messages[:3] == second.messages
    answer, told = second.messages[1:]
    assert (answer.role, answer.text, answer.opaque) == ("assistant", "I look first.", '{"thought": 1}')
    assert (told.role, told.text, [result.call for result in told.results]) == ("user", "", ["c0"])


async def test_reads_of_one_turn_run_together_and_keep_their_order():
    class Meeting(MemoryWorkspace):
        waiting = 0

        async def read(self, paths):
            self.waiting += 1
            while self.waiting < 2:
                await asyncio.sleep(0)
            return await super().read(paths)

    session = Session(calls(read("a.py"), read("b.py")), DONE)
    session.workspace = Meeting(FILES)
    async with asyncio.timeout(5):
        await session.run()
    assert [text for text, _ in session.results(1)] == ["     1\tx = 1", "     1\ty = 1"]


async def test_a_read_sees_the_writes_before_it_and_not_those_after_it():
    session = await run(calls(read(), edit(1, 2), read(), edit(2, 3)), DONE)
    assert [text for text, _ in session.results(1)] == ["     1\tx = 1", "edited a.py", "     1\tx = 2", "edited a.py"]


async def test_calls_are_run_whatever_the_server_says_of_why_the_answer_ended():
    session = await run(calls(edit(1, 2), stop_reason="end_turn"), DONE)
    assert session.failure is None
    assert session.workspace.files["a.py"] == b"x = 2\n"


async def test_a_bad_call_is_answered_and_the_session_goes_on():
    session = await run(
        calls(("rm", {}), ("read_file", {}), edit(7, 8), ("write_file", {"path": "/x", "content": ""})), CHANGE, DONE
    )
    assert [is_error for _, is_error in session.results(1)] == [True] * 4
    assert session.failure is None
    assert session.workspace.writes == 1


async def test_calls_beyond_the_limit_of_one_answer_are_not_run_and_the_model_is_told():
    session = await run(calls(read(), edit(1, 2), edit(2, 3), read()), DONE, max_calls=2)
    assert session.workspace.files["a.py"] == b"x = 2\n"
    refused = ("not run: too many calls in one answer; ask again for what you need", True)
    assert session.results(1) == [("     1\tx = 1", False), ("edited a.py", False), refused, refused]
    assert "2 calls in one" in session.backend.manner.answer


async def test_the_last_turn_runs_no_more_calls_than_any_other():
    session = await run(calls(*(edit(number, number + 1) for number in range(1, 9))), max_turns=1, max_calls=3)
    assert session.workspace.files["a.py"] == b"x = 4\n"


async def test_no_number_of_readings_makes_a_request_longer_than_the_context():
    usage = Usage(requests=1, input_tokens=None, output_tokens=None)
    many = calls(*(read(f"{number}.py") for number in range(100)), usage=usage)
    session = Session(many, many, many, DONE, max_calls=100, max_session_tokens=10**9)
    session.workspace.files |= {f"{number}.py": b"line\n" * 5_000 for number in range(100)}
    await session.run()
    assert len(session.model.prompts) == 4
    assert all(context_tokens(prompt) <= 60_000 for prompt in session.model.prompts)
    for turn in (1, 2, 3):
        texts = [text for text, _ in session.results(turn)]
        assert texts[0].startswith("     1\tline\n")
        assert texts[-1].startswith("[left out: read_file 99.py")


async def test_nothing_is_written_outside_of_what_is_writable():
    session = await run(calls(edit(1, 2)), DONE, writable=("b.py",))
    assert session.workspace.writes == 0
    assert session.failure.reason == "no_change"


@pytest.mark.parametrize(("show_files", "shows"), [(False, "paths"), (True, "files")])
def test_its_prompts_name_files_or_show_them(show_files, shows):
    manner = Session(show_files=show_files, max_output_tokens=5_000).backend.manner
    assert (manner.shows, manner.max_output_tokens) == (shows, 5_000)
    assert "run_checks" in manner.answer
    assert "40 turns" in manner.answer
    assert "run_checks" not in Session(run_checks=False).backend.manner.answer


# --- the ways it ends


@pytest.mark.parametrize(
    "script", [[DONE], [calls(read()), DONE], [calls(edit(7, 8)), DONE], [CHANGE, calls(edit(2, 1)), DONE]]
)
async def test_an_end_without_a_change_is_a_failure_that_quotes_the_last_words(script):
    session = await run(*script)
    assert session.failure.reason == "no_change"
    assert DONE in session.failure.feedback


async def test_a_refusal_ends_it_and_nothing_is_handed_in():
    session = await run(CHANGE, Completion(text="I cannot.", stop_reason="refusal", usage=Usage(requests=1)))
    assert session.failure.reason == "refused"
    assert "I cannot." in session.failure.feedback


async def test_calls_of_an_answer_that_was_cut_off_are_not_run():
    session = await run(calls(edit(1, 2), stop_reason="max_tokens", opaque="{}"), calls(edit(1, 3)), DONE)
    assert session.workspace.files["a.py"] == b"x = 3\n"
    told = session.model.prompts[1].messages
    assert "cut off" in told[-1].text
    assert [(result.call, result.is_error) for result in told[-1].results] == [("c0", True)]
    assert told[-2].calls[0].id == "c0"
    assert session.failure is None


async def test_an_answer_cut_off_before_it_called_anything_is_not_sent_back_empty():
    session = await run(Completion(text=" ", stop_reason="max_tokens", usage=Usage(), opaque="{}"), CHANGE, DONE)
    answer, told = session.model.prompts[1].messages[1:]
    assert (answer.text, answer.opaque, answer.calls) == ("(nothing)", "", ())
    assert (told.results, "cut off" in told.text) == ((), True)


CUT = calls(edit(1, 2), stop_reason="max_tokens")


async def test_two_answers_cut_off_in_a_row_end_it():
    session = await run(CHANGE, CUT, CUT)
    assert session.failure.reason == "truncated"
    session = await run(CUT, CHANGE, CUT, calls(edit(2, 3)), DONE)
    assert session.failure is None


async def test_an_announced_call_that_is_not_there_is_asked_for_again():
    session = await run(calls(), CHANGE, DONE)
    assert "holds none" in session.model.prompts[1].messages[-1].text
    assert session.failure is None
    assert (await run(calls(), calls())).failure.reason == "malformed_reply"


@pytest.mark.parametrize(
    "settings", [{"max_turns": 3}, {"max_session_tokens": 330}, {"max_session_s": 6.0}], ids=["turns", "tokens", "time"]
)
async def test_at_a_limit_a_change_is_handed_in_and_without_one_the_session_has_failed(settings):
    async def slowly(answer, session):
        await session.clock.sleep(2)
        return answer

    def paced(*answers):
        session = Session(**settings)
        session.model.script = [lambda _, __, answer=answer: slowly(answer, session) for answer in answers]
        return session

    reads = await paced(calls(read()), calls(read()), calls(read()), DONE).run()
    assert reads.failure.reason == "session_limit"
    assert "before anything was changed" in reads.failure.feedback
    assert len(reads.model.prompts) == 3
    changed = await paced(calls(read()), CHANGE, calls(read()), DONE).run()
    assert changed.failure is None
    assert len(changed.model.prompts) == 3
    undone = await paced(CHANGE, calls(edit(2, 1)), calls(read()), DONE).run()
    assert undone.failure.reason == "session_limit"
    cut = await paced(CHANGE, calls(read()), CUT, DONE).run()
    assert cut.failure.reason == "session_limit"
    assert "cut off" in cut.failure.feedback


async def test_what_the_last_turn_writes_counts_and_nothing_else_of_it_is_run():
    session = Session(calls(edit(1, 2), CHECK), max_turns=1, verdict=lambda files: pytest.fail("was checked"))
    await session.run()
    assert session.failure is None
    assert session.workspace.files["a.py"] == b"x = 2\n"


async def test_a_model_that_repeats_a_failing_call_is_ended_by_the_limit():
    session = await run(*[calls(edit(7, 8))] * 50, max_turns=6)
    assert session.failure.reason == "session_limit"
    assert len(session.model.prompts) == 6


async def test_the_model_is_warned_once_two_turns_before_the_end():
    session = await run(*[calls(read())] * 9, max_turns=5)
    warned = [prompt.messages[-1].text for prompt in session.model.prompts]
    assert [bool(text) for text in warned[1:]] == [False, False, True, False]
    assert warned[3].startswith("2 turns left.")


async def test_the_model_is_warned_when_the_tokens_run_out():
    session = await run(*[calls(read())] * 9, max_session_tokens=550)
    assert [prompt.messages[-1].text[:7] for prompt in session.model.prompts[1:]] == ["", "", "2 turns", ""]


async def test_unknown_usage_does_not_switch_the_limit_on_tokens_off():
    unknown = Usage(requests=1, input_tokens=None, output_tokens=None, cost_usd=None)
    session = await run(*[calls(read(), usage=unknown)] * 30, max_session_tokens=10_000)
    assert session.failure.reason == "session_limit"
    assert len(session.model.prompts) < 30
    assert session.generation.usage.input_tokens is None


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("rate_limit", "rate_limited"),
        ("overloaded", "backend_unavailable"),
        ("stall", "backend_unavailable"),
        ("context_too_long", "context_too_long"),
        ("not_recorded", "not_recorded"),
    ],
)
async def test_a_request_that_fails_ends_it(kind, reason):
    session = await run(CHANGE, busy(kind))
    assert session.failure.reason == reason
    assert session.meter.note == ""


def growing(*script, **settings):
    """A session whose model reads a long file at each turn."""
    usage = Usage(requests=1, input_tokens=None, output_tokens=None)
    session = Session(*(calls(read("long.py"), usage=usage) if line is None else line for line in script), **settings)
    session.workspace.files["long.py"] = b"line\n" * 3_000
    return session


async def test_a_conversation_that_is_too_long_for_the_model_goes_on_with_half_of_it():
    session = await growing(None, None, None, busy("context_too_long"), *[None] * 6, CHANGE, DONE).run()
    assert session.failure is None
    assert session.workspace.files["a.py"] == b"x = 2\n"
    refused, *later = session.model.prompts[3:]
    assert [message.role for message in later[0].messages] == [message.role for message in refused.messages]
    assert all(context_tokens(prompt) <= context_tokens(refused) / 2 for prompt in later)
    assert len(session.generation.exchanges) == len(session.model.prompts) == 12


async def test_one_answer_whose_results_were_too_long_for_the_model_is_shown_with_less_of_them():
    session = await growing(None, busy("context_too_long"), CHANGE, DONE).run()
    assert session.failure is None
    refused, again = session.model.prompts[1:3]
    assert context_tokens(again) < context_tokens(refused)
    assert "ask for it alone" in session.results(2)[0][0]


@pytest.mark.parametrize("between", [[], [None]])
async def test_a_conversation_that_is_too_long_twice_ends_and_says_what_to_do_differently(between):
    too_long = busy("context_too_long")
    session = await growing(None, None, CHANGE, too_long, *between, too_long, DONE).run()
    assert session.failure.reason == "context_too_long"
    assert "Read less at a time" in session.failure.feedback
    assert len(session.model.prompts) == 5 + len(between)


async def test_what_cannot_be_made_shorter_is_not_asked_again():
    session = await run(busy("context_too_long"), DONE)
    assert session.failure.reason == "context_too_long"
    assert "Read less" not in session.failure.feedback
    assert len((await run(CHANGE, busy("context_too_long"), DONE)).model.prompts) == 2


async def test_what_concerns_every_subtask_stops_the_run_and_what_it_cost_is_told():
    generation = (await run(CHANGE, busy("auth"))).generation
    assert (generation.failure.reason, generation.fault.kind) == ("stopped", "auth")
    assert generation.usage.cost_usd == 0.5


async def test_when_the_budget_is_used_up_a_change_is_handed_in():
    needed = Allowance(cost_usd=1.0, tokens=9)

    def broke():
        return BackendError("no money", kind="budget", needed=needed)

    assert (await run(CHANGE, broke())).failure is None
    session = await run(calls(read()), broke())
    assert (session.failure.reason, session.failure.needed) == ("budget", needed)
    assert (await run(CHANGE, CUT, broke())).failure.reason == "budget"


async def test_the_allowance_of_the_attempt_ends_it_in_the_same_way():
    usage = Usage(requests=1, input_tokens=14_000, output_tokens=1_000)
    session = await run(*[calls(read(), usage=usage)] * 9, left=Allowance(tokens=45_000))
    assert session.failure.reason == "budget"
    assert session.failure.needed.tokens > session.meter.given.tokens > session.meter.left.tokens > 0


@pytest.mark.parametrize("made", [[CHECK], [read(), read("b.py")]])
async def test_what_is_broken_outside_is_raised_as_it_is(made):
    class Broken(MemoryWorkspace):
        async def check(self):
            raise GateError("the gate is broken")

        async def read(self, paths):
            raise GateError("the gate is broken")

    session = Session(calls(*made))
    session.workspace = Broken(FILES)
    with pytest.raises(GateError):
        await session.run()
    assert session.meter.note == ""


@pytest.mark.parametrize("where", ["model", "read", "check", "again"])
async def test_cancelling_leaves_no_task_behind(where):
    reached = asyncio.Event()

    async def forever(*_):
        reached.set()
        await asyncio.Event().wait()

    session = Session(forever if where == "model" else calls(read(), read("b.py")) if where == "read" else calls(CHECK))
    if where == "again":
        session = growing(None, busy("context_too_long"), forever)
    if where == "read":
        session.workspace.read = forever
    if where == "check":
        session.workspace.check = forever
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(session.run())
        await reached.wait()
        assert session.meter.note.startswith("turn 2" if where == "again" else "turn 1")
        running.cancel()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert session.meter.note == ""


# --- what is recorded


async def test_every_request_is_recorded_with_its_usage_and_they_add_up():
    usages = [Usage(requests=1, input_tokens=n, output_tokens=1, cost_usd=0.25) for n in (100, 200, 300)]
    answers = [calls(read(), usage=usages[0]), calls(edit(1, 2), usage=usages[1])]
    done = Completion(text=DONE, stop_reason="end_turn", usage=usages[2])
    generation = (await run(*answers, done)).generation
    assert [exchange.usage for exchange in generation.exchanges] == usages
    assert generation.usage == usages[0] + usages[1] + usages[2]
    assert [exchange.stop_reason for exchange in generation.exchanges] == ["tool_use", "tool_use", "end_turn"]


async def test_a_prompt_that_goes_on_is_stored_as_what_is_new_in_it():
    session = await run(calls(read(), text="I look first."), CHANGE, DONE)
    generation = session.generation
    first, second, third = (generation.bodies[each.prompt].decode() for each in generation.exchanges)
    assert first == session.model.prompts[0].text
    assert second.startswith(
        f"(continues {digest_of(first.encode())})\n\n## assistant\nI look first.\n\n### call c0 read_file\n"
    )
    assert second.endswith("## user\n### result c0\n     1\tx = 1")
    assert third.startswith(f"(continues {digest_of(second.encode())})\n\n## assistant\n### call c0 edit_file")
    assert "I look first." not in third


async def test_a_reply_is_stored_with_its_calls():
    generation = (await run(calls(read(), text="I look first."), CHANGE, DONE)).generation
    replies = [generation.bodies[each.reply].decode() for each in generation.exchanges]
    assert replies[0] == 'I look first.\n\n### call c0 read_file\n{"path": "a.py"}'
    assert replies[2] == DONE
    for digest, body in generation.bodies.items():
        assert digest_of(body) == digest


async def test_a_conversation_that_grew_too_long_is_shortened_and_stored_whole_again():
    body = "\n".join(f"line {number}" for number in range(900))
    writes = [calls(("write_file", {"path": f"n{number}.py", "content": f"{number}{body}"})) for number in range(12)]
    unknown = Usage(requests=1, input_tokens=None, output_tokens=None)
    writes = [answer.model_copy(update={"usage": unknown}) for answer in writes]
    session = await run(*writes, DONE, max_context_tokens=12_000)
    assert session.failure is None
    stored = [session.generation.bodies[each.prompt].decode() for each in session.generation.exchanges]
    whole = [number for number, text in enumerate(stored) if not text.startswith("(continues ")]
    assert whole[0] == 0
    assert 1 < len(whole) < 6
    assert all(stored[number] == session.model.prompts[number].text for number in whole)
    assert all(len(prompt.text) < 4 * 12_000 for prompt in session.model.prompts)
    assert "characters left out to keep the context small" in session.model.prompts[-1].text


async def test_the_ratio_of_the_last_answer_decides_when_a_conversation_is_too_long():
    heavy = Usage(requests=1, input_tokens=9_000, output_tokens=1)
    session = Session(*[calls(read("long.py"), usage=heavy)] * 6, DONE, max_context_tokens=10_000)
    session.workspace.files["long.py"] = b"x" * 12_000
    await session.run()
    assert any("left out to keep the context small" in prompt.text for prompt in session.model.prompts)


async def test_failed_requests_are_counted_with_the_request_that_they_were_made_for():
    async def after_two_failures(prompt, meter):
        meter.failed += Usage(requests=2, unknown_requests=1, unknown_tokens=50)
        return CHANGE

    generation = (await run(after_two_failures, DONE)).generation
    assert (generation.usage.requests, generation.usage.unknown_requests, generation.usage.unknown_tokens) == (4, 1, 50)
    assert generation.usage.requests == sum(exchange.usage.requests for exchange in generation.exchanges)
    generation = (await run(calls(read()), busy("stall"))).generation
    assert (generation.usage.requests, generation.usage.unknown_requests) == (2, 1)
    assert generation.exchanges[1].reply is None


async def test_time_goes_to_the_model_the_tools_and_the_checks():
    session = Session(None, None, DONE)

    async def answered(answer):
        await session.clock.sleep(3)
        return answer

    async def check():
        await session.clock.sleep(20)
        return Verdict(passed=True, reason="passed")

    async def write(files, inner=session.workspace.write):
        await session.clock.sleep(1)
        await inner(files)

    session.workspace.check, session.workspace.write = check, write
    session.model.script[:2] = [lambda *_: answered(CHANGE), lambda *_: answered(calls(read(), edit(2, 3), CHECK))]
    generation = (await session.run()).generation
    assert [(each.started_s, each.duration_s) for each in generation.exchanges] == [(0, 3), (4, 3), (28, 0)]
    spans = [(span.name, span.started_s, span.duration_s) for span in generation.spans]
    assert spans == [("tools", 3, 1), ("tools", 7, 0), ("tools", 7, 1), ("checks", 8, 20)]


async def test_what_goes_on_is_shown_in_a_few_words():
    notes = []

    class Noting(MemoryWorkspace):
        async def read(self, paths):
            notes.append(session.meter.note)
            return await super().read(paths)

    long = f"src/{'long' * 20}.py"
    session = Session(calls(read()), calls(("delete_file", {"path": long})), calls(read("a\x1b[2J")), DONE)
    session.workspace = Noting(FILES)
    session.prompt = prompt_for(writable=("**",))
    await session.run()
    assert notes[0] == "turn 1: read_file a.py"
    assert notes[1].startswith("turn 2: delete_file src/longlong")
    assert all(len(note) <= 40 and note.isprintable() for note in notes)
