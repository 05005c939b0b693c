"""Recording a model and replaying it: the same answers, and a clear word where there is none."""

import asyncio
import json

import pytest

from orchestrator.backends.recordings.exchanges import request_digest
from orchestrator.backends.recordings.folder import Recording
from orchestrator.backends.recordings.recorder import RecordingModel
from orchestrator.backends.recordings.replay import NewRequest, ReplayModel
from orchestrator.backends.resilience import ResilienceSettings, ResilientModel
from orchestrator.backends.sessions.editing import EditingBackend
from orchestrator.backends.sessions.tools import ToolBackend
from orchestrator.backends.stub.model import StubModel
from orchestrator.backends.stub.profile import ANSWER_ERRORS, StubProfile
from orchestrator.core.chat import Completion, Message, Tool, ToolCall, ToolResult, after
from orchestrator.core.errors import BackendError, EnvironmentFault
from orchestrator.core.prompt import Selection, build_prompt
from orchestrator.core.values import FailedTry, Subtask, Usage, Verdict
from orchestrator.ports import Meter
from tests.fakes_backends import FakeClock, MemoryWorkspace, ScriptedModel, busy, generation_of, prompt_for

SOURCE = "def f(x):\n    return x + 1\n"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "recording"


def recording(model, folder, clock=None, secrets=()):
    return RecordingModel(model, Recording.create(folder, secrets), clock or FakeClock())


def replaying(folder, clock=None, time_scale=0.0):
    return ReplayModel(Recording.open(folder), clock or FakeClock(), time_scale)


def stub(clock=None, **fields):
    return StubModel(StubProfile(**fields), clock or FakeClock())


def whole(text, **fields):
    return Completion(text=text, stop_reason="end_turn", usage=Usage(requests=1), **fields)


async def answers(model, *prompts):
    return [await model.complete(prompt, Meter()) for prompt in prompts]


async def refusal(model, prompt):
    with pytest.raises(BackendError) as caught:
        await model.complete(prompt, Meter())
    return caught.value


async def test_a_replay_gives_the_answers_of_the_recorded_model(folder):
    prompts = [prompt_for({"f.py": SOURCE}, subtask=name) for name in "abcdefgh"]
    prompts = [prompt.model_copy(update={"system": f"system {number}"}) for number, prompt in enumerate(prompts)]
    fields = dict.fromkeys(ANSWER_ERRORS[:-1], 1 / 8)
    recorded = await answers(recording(stub(**fields), folder), *prompts)
    replayed = await answers(replaying(folder), *reversed(prompts))
    assert replayed[::-1] == recorded
    assert len({each.stop_reason for each in recorded}) > 1


async def test_calls_opaque_text_and_half_characters_come_back_as_they_were(folder):
    calls = (ToolCall(id="c1", name="read", arguments={"path": "é", "deep": [{"x": None}, 1.5]}, problem="odd"),)
    given = whole("\ud83d half", calls=calls, opaque='{"signature": "é"}')
    await answers(recording(ScriptedModel(given), folder), prompt_for())
    (replayed,) = await answers(replaying(folder), prompt_for())
    assert replayed.model_copy(update={"usage": given.usage}) == given


async def test_usage_is_as_recorded_and_nobody_can_think_that_it_was_paid_now(folder):
    usage = Usage(requests=1, input_tokens=7, output_tokens=None, cost_usd=0.25)
    given = whole("x").model_copy(update={"usage": usage})
    await answers(recording(ScriptedModel(given), folder), prompt_for())
    (replayed,) = await answers(replaying(folder), prompt_for())
    assert replayed.usage == usage.model_copy(update={"is_simulated": True})


async def test_two_answers_to_one_request_come_in_their_order_and_the_last_again(folder):
    await answers(recording(ScriptedModel("one", "two"), folder), prompt_for(), prompt_for())
    assert sorted(path.name[16:] for path in folder.iterdir()) == ["-1.json", "-2.json"]
    replayed = await answers(replaying(folder), *[prompt_for()] * 4)
    assert [each.text for each in replayed] == ["one", "two", "two", "two"]


async def test_more_than_nine_answers_keep_their_order(folder):
    texts = [str(number) for number in range(12)]
    await answers(recording(ScriptedModel(*texts), folder), *[prompt_for()] * 12)
    assert [each.text for each in await answers(replaying(folder), *[prompt_for()] * 12)] == texts


async def test_going_on_with_a_recording_keeps_what_is_there(folder):
    await answers(recording(ScriptedModel("one"), folder), prompt_for())
    await answers(recording(ScriptedModel("two"), folder), prompt_for())
    assert [each.text for each in await answers(replaying(folder), *[prompt_for()] * 2)] == ["one", "two"]


@pytest.mark.parametrize(
    "kind", ["rate_limit", "overloaded", "transient", "auth", "billing", "invalid_request", "context_too_long"]
)
async def test_an_error_is_recorded_and_raised_again(folder, kind):
    error = await refusal(recording(ScriptedModel(busy(kind, 7.5)), folder), prompt_for())
    again = await refusal(replaying(folder), prompt_for())
    assert (str(again), again.kind, again.retry_after_s) == (str(error), kind, 7.5)


async def test_what_was_turned_away_and_repeated_is_turned_away_and_repeated_again(folder):
    def resilient(model):
        return ResilientModel(model, ResilienceSettings(first_wait_s=0), FakeClock())

    await answers(resilient(recording(ScriptedModel(busy(), busy(), "done"), folder)), prompt_for())
    replayed = replaying(folder)
    (completion,) = await answers(resilient(replayed), prompt_for())
    assert completion.text == "done"
    assert len(Recording.open(folder)) == 3


async def test_a_replay_takes_no_time_or_the_recorded_time_and_its_meter_moves(folder):
    clock = FakeClock()
    await answers(recording(stub(clock), folder, clock), prompt_for({"f.py": SOURCE}))
    took_s = clock.now() - 1_000
    for scale in (0.0, 0.5, 1.0):
        clock, meter = FakeClock(), Meter(output_tokens=100)
        completion = await replaying(folder, clock, scale).complete(prompt_for({"f.py": SOURCE}), meter)
        assert clock.now() - 1_000 == pytest.approx(scale * took_s)
        assert meter.output_tokens == 100 + completion.usage.output_tokens
        assert max(clock.sleeps, default=0) <= 0.25


async def test_a_recorded_backend_leaves_the_same_change(folder):
    files = {"f.py": SOURCE.encode()}
    first, changed = await generation_of(EditingBackend(recording(stub(), folder), FakeClock()), files)
    again, replayed = await generation_of(EditingBackend(replaying(folder), FakeClock()), files)
    assert first.failure is again.failure is None
    assert changed.files == replayed.files != files


async def test_many_answers_to_one_request_at_once_do_not_overwrite_each_other(folder):
    async def late(prompt, meter):
        await asyncio.sleep(0.001)
        return str(len(model.prompts))

    model = ScriptedModel(*[late] * 40)
    keepers = [recording(model, folder) for _ in range(4)]  # as four processes would
    async with asyncio.TaskGroup() as group:
        for place in range(40):
            group.create_task(keepers[place % 4].complete(prompt_for(), Meter()))
    assert sorted(int(path.stem[17:]) for path in folder.iterdir()) == list(range(1, 41))
    assert len(await answers(replaying(folder), *[prompt_for()] * 40)) == 40


async def test_a_caller_that_went_away_does_not_lose_what_was_answered(folder, monkeypatch):
    keeper = recording(ScriptedModel("paid for"), folder)
    task = asyncio.ensure_future(keeper.complete(prompt_for(), Meter()))
    while not keeper._model.prompts:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(10):
        while not list(folder.glob("*.json")):
            await asyncio.sleep(0.01)
    assert [each.text for each in await answers(replaying(folder), prompt_for())] == ["paid for"]


async def test_an_exchange_that_cannot_be_kept_says_so_and_leaves_nothing(folder):
    keeper = recording(ScriptedModel("x"), folder)
    folder.rmdir()
    with pytest.raises(EnvironmentFault, match=r"cannot record in .*: No such file"):
        await keeper.complete(prompt_for(), Meter())


def test_a_request_is_what_the_model_sees_and_neither_who_asks_nor_what_is_opaque():
    prompt = prompt_for({"f.py": SOURCE})
    digest = request_digest(prompt)
    same = [
        prompt_for({"f.py": SOURCE}, seed=9, draw=3, attempt=4, subtask="other"),
        prompt_for({"g.py": "files and writable repeat the text"}),
        prompt.model_copy(update={"messages": (prompt.messages[0].model_copy(update={"opaque": "{}"}),)}),
    ]
    assert {request_digest(each) for each in same} == {digest}
    other = [
        prompt.model_copy(update={"system": "another"}),
        prompt.model_copy(update={"max_output_tokens": 5}),
        prompt.model_copy(update={"response_schema": {}}),
        prompt.model_copy(update={"tools": (Tool(name="t", description="", parameters={}),)}),
        after(prompt, [Message(role="assistant", text="x")]),
        prompt_for({"f.py": SOURCE}, text="do it!"),
    ]
    assert len({digest, *map(request_digest, other)}) == len(other) + 1


def test_the_digest_of_a_request_is_the_same_in_every_version():
    call = ToolCall(id="c1", name="read", arguments={"b": [1, 2.5, None], "a": {"é": "\ud83d"}})
    prompt = prompt_for(
        text="do “it”",
        tools=(Tool(name="read", description="Reads.", parameters={"type": "object", "properties": {}}),),
        response_schema={"type": "object"},
    )
    turns = [
        Message(role="assistant", text="", calls=(call,)),
        Message(role="user", results=(ToolResult(call="c1", text="x = 1"),)),
    ]
    assert request_digest(after(prompt, turns)) == "62620ca9e133c90c93ea47682a56644f9b864513edf5108f93bf4fc4a9df5b3c"


def told(feedback, attempt=1, instruction="Wait 0.25s."):
    subtask = Subtask(id="s", title="t", instruction=instruction, writable=("f.py",))
    failed = [FailedTry.of(attempt, "check_failed", feedback)]
    return build_prompt(subtask, Selection(), [], failed, prompt_for().draw)


def test_what_no_two_runs_of_a_check_have_alike_does_not_make_another_request():
    report = (
        "E  assert <f.F object at 0x{address}> == 2\n{folder}/test_f0/x.txt:3: no\n{rule} 1 failed in {time}s {rule}"
    )
    one = report.format(address="7f0011aabb", folder="/tmp/pytest-of-a/pytest-1", rule="=====", time="0.12")
    two = report.format(address="7fccddee00", folder="/var/x/orchestrate-gate-z/tmp", rule="====", time="10.07")
    assert request_digest(told(one)) == request_digest(told(two, attempt=2))
    assert request_digest(told(one)) != request_digest(told(one.replace("1 failed", "2 failed")))

    def ran(text):
        return after(prompt_for(), [Message(role="user", results=(ToolResult(call="c", text=text),))])

    assert request_digest(ran(one)) == request_digest(ran(two))


async def test_a_session_with_tools_is_replayed_though_its_checks_take_another_time(folder):
    def ask(name, **arguments):
        call = ToolCall(id=f"c-{name}", name=name, arguments=arguments)
        return Completion(text="", stop_reason="tool_use", usage=Usage(requests=1), calls=(call,))

    async def session(model, took):
        feedback = f"E  assert 1 == 2 in {took}s"
        workspace = MemoryWorkspace(
            {"a.py": b"x = 1\n"}, lambda files: Verdict(passed=False, reason="check_failed", feedback=feedback)
        )
        prompt = prompt_for(writable=["a.py"])
        generation = await ToolBackend(model, FakeClock()).generate(prompt, workspace, Meter())
        return generation.failure, workspace.files, len(generation.exchanges)

    change = ask("edit_file", path="a.py", search="x = 1\n", replace="x = 2\n")
    script = ScriptedModel(ask("read_file", path="a.py"), change, ask("run_checks"), "Done.")
    recorded = await session(recording(script, folder), 0.12)
    assert recorded == (None, {"a.py": b"x = 2\n"}, 4)
    assert await session(replaying(folder), 11.5) == recorded


def test_a_time_in_what_is_asked_for_does_make_another_request():
    assert request_digest(told("no", instruction="Wait 0.25s.")) != request_digest(told("no", instruction="Wait 9s."))
    assert request_digest(prompt_for(text="in 1.5s")) != request_digest(prompt_for(text="in 2.5s"))


async def test_a_new_request_says_which_it_is_who_asked_and_what_differs_from_the_closest(folder):
    near = prompt_for({"f.py": SOURCE}, subtask="one", text="Write the first of it.")
    far = prompt_for(subtask="one", text="Something else").model_copy(update={"system": "another"})
    await answers(recording(ScriptedModel("a", "b", "c"), folder), near, far, prompt_for(subtask="two"))
    replayed = replaying(folder)
    asked = prompt_for(subtask="one", attempt=3, text="Write the next of it.", seed=8)
    error = await refusal(replayed, asked)
    digest = request_digest(asked)
    assert error.kind == "not_recorded"
    assert not error.is_retryable
    for part in (digest[:16], "subtask 'one', attempt 3", "among the 3", str(folder), f"{request_digest(near)[:16]}-1"):
        assert part in str(error)
    assert "turn 1 (user) from line 1 on (22 characters recorded, 21 now)" in str(error)
    assert "'Write the first of it.'" in str(error)
    assert "'Write the next of it.'" in str(error)
    assert "system" not in str(error)
    assert replayed.new == [NewRequest(digest, "one", 3)]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"system": "system\nmore"},
            "the system text from line 1 on (6 characters recorded, 11 now): recorded it ends",
        ),
        ({"tools": ()}, "the tools (read is gone)"),
        ({"tools": (Tool(name="read", description="new", parameters={}),)}, "the tools (read is described otherwise)"),
        ({"max_output_tokens": 5}, "the limit on output tokens: 16,000 recorded, 5 now"),
        ({"response_schema": {"type": "object"}}, "the schema of the answer"),
    ],
    ids=["system", "tool gone", "tool changed", "limit", "schema"],
)
async def test_each_part_of_a_request_that_differs_is_named(folder, change, told):
    prompt = prompt_for(tools=(Tool(name="read", description="Reads.", parameters={}),))
    await answers(recording(ScriptedModel("x"), folder), prompt)
    message = str(await refusal(replaying(folder), prompt.model_copy(update=change)))
    assert told in message
    assert message.count(" recorded") <= 4


async def test_a_difference_in_a_file_that_is_shown_names_the_file(folder):
    def shown(**files):
        bodies = "".join(
            f'<file path="{path}.py" access="writable">\n{text}\n</file>\n\n' for path, text in files.items()
        )
        return prompt_for(text=f"{bodies}# Subtask: {len(files)}\n\nDo it.")

    await answers(recording(ScriptedModel("x"), folder), shown(a="x = 1", b="y = 1"))
    message = str(await refusal(replaying(folder), shown(a="x = 1", b="y = 2")))
    assert 'from line 6 on in <file path="b.py" access="writable"> (' in message
    assert " on in <file" not in str(await refusal(replaying(folder), shown(a="x = 1", b="y = 1", c="")))


async def test_a_conversation_that_goes_another_way_is_told_by_its_first_differing_turn(folder):
    def talk(*texts):
        roles = ("assistant", "user") * 3
        return after(prompt_for(), [Message(role=role, text=text) for role, text in zip(roles, texts, strict=False)])

    talks = [talk(), talk("a", "b"), talk("a", "b", "c", "d")]
    await answers(recording(ScriptedModel(*"123"), folder), *talks)
    message = str(await refusal(replaying(folder), talk("a", "b", "c", "other", "e", "f")))
    assert "turn 5 (user)" in message
    assert "the number of turns: 5 recorded, 7 now" in message
    assert "turn 6" not in message


async def test_a_subtask_of_which_nothing_is_recorded_is_told_of_which_there_is(folder):
    await answers(recording(ScriptedModel(*"1" * 12), folder), *(prompt_for(subtask=f"s{n:02}") for n in range(12)))
    message = str(await refusal(replaying(folder), prompt_for(subtask="new", text="new")))
    assert "of this subtask nothing is recorded, only of 's00', 's01'" in message
    assert "and 4 more" in message


async def test_a_request_whose_recording_was_redacted_says_that(folder):
    key = "the-key-of-this-account"
    await answers(recording(ScriptedModel("x"), folder, secrets=[key]), prompt_for(text=f"use {key}"))
    assert "only what was redacted" in str(await refusal(replaying(folder), prompt_for(text="use [redacted]")))
    assert [each.text for each in await answers(replaying(folder), prompt_for(text=f"use {key}"))] == ["x"]
    knowing = ReplayModel(Recording.open(folder, [key]), FakeClock())
    message = str(await refusal(knowing, prompt_for(text=f"use {key} twice")))
    assert "now …'[redacted] twice'" in message
    assert key not in message


async def test_a_replay_is_called_one(folder):
    await answers(recording(stub(name="the-model"), folder), prompt_for({"f.py": SOURCE}))
    assert replaying(folder).name == "replay of the-model"


async def test_an_exchange_is_written_for_people_too(folder):
    await answers(recording(ScriptedModel("naïve"), folder), prompt_for({"f.py": SOURCE}, subtask="one", seed=3))
    (path,) = folder.iterdir()
    body = json.loads(path.read_text())
    assert list(body)[:6] == ["format", "digest", "model", "when", "duration_s", "prompt"]
    assert body["digest"].startswith(path.stem[:16])
    assert body["when"] == "1970-01-01T00:16:40.000+00:00"
    assert body["prompt"]["draw"] == {"seed": 3, "subtask": "one", "attempt": 1, "draw": 1}
    assert not {"files", "writable"} & set(body["prompt"])
    assert "naïve" in path.read_text()
    assert (body["completion"]["stop_reason"], body["error"]) == ("end_turn", None)
