"""From a reply to a change: what is written, what fails how, and what is kept of it."""

import pytest

from orchestrator.backends.sessions.editing import EditingBackend
from orchestrator.core.chat import Completion
from orchestrator.core.errors import BackendError
from orchestrator.core.paths import UnsafePath
from orchestrator.core.values import Allowance, Span, Usage, digest_of
from orchestrator.ports import Meter
from tests.fakes_backends import FakeClock, MemoryWorkspace, ScriptedModel, busy, generation_of, prompt_for

FILES = {"a.py": b"x = 1\n", "b.py": b"y = 1\n"}


def block(path, search, replace):
    return f"{path}\n<<<<<<< SEARCH\n{search}=======\n{replace}>>>>>>> REPLACE\n"


GOOD = block("a.py", "x = 1\n", "x = 2\n") + "\n" + block("b.py", "y = 1\n", "y = 2\n")
MISFIT = block("a.py", "x = 1\n", "x = 2\n") + "\n" + block("b.py", "y = 7\n", "y = 2\n")


def backend(*script, corrections=0, clock=None):
    model = ScriptedModel(*script)
    return EditingBackend(model, clock or FakeClock(), corrections=corrections), model


async def failure_of(*script, corrections=0):
    generation, workspace = await generation_of(backend(*script, corrections=corrections)[0], FILES)
    assert workspace.writes == 0
    return generation.failure


async def test_a_reply_becomes_a_change_written_at_once():
    generation, workspace = await generation_of(backend(GOOD)[0], FILES)
    assert generation.failure is None
    assert workspace.files == {"a.py": b"x = 2\n", "b.py": b"y = 2\n"}
    assert workspace.writes == 1


async def test_the_texts_of_a_request_are_kept_by_digest():
    prompt = prompt_for({"a.py": "x = 1\n"})
    generation, _ = await generation_of(backend(GOOD)[0], FILES, prompt)
    (exchange,) = generation.exchanges
    assert generation.bodies == {exchange.prompt: prompt.text.encode(), exchange.reply: GOOD.encode()}
    assert exchange.prompt == digest_of(prompt.text.encode())
    assert exchange.stop_reason == "end_turn"
    assert generation.usage == exchange.usage


async def test_a_misfit_writes_nothing_and_says_what_did_not_fit():
    failure = await failure_of(MISFIT)
    assert failure.reason == "edit_does_not_apply"
    assert "b.py" in failure.feedback


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("no blocks at all", "malformed_reply"),
        (block("a.py", "x = 1\n", "x = 1\n"), "no_change"),
        (block("../a.py", "", "x = 1\n"), "edit_does_not_apply"),
        (block("/etc/passwd", "", "x = 1\n"), "edit_does_not_apply"),
        (block(".git/hooks/pre-commit", "", "x = 1\n"), "edit_does_not_apply"),
        (Completion(text="I cannot.", stop_reason="refusal", usage=Usage()), "refused"),
        (Completion(text=GOOD, stop_reason="max_tokens", usage=Usage()), "truncated"),
        (Completion(text=GOOD, stop_reason="tool_use", usage=Usage()), "malformed_reply"),
        (busy("overloaded"), "backend_unavailable"),
        (busy("context_too_long"), "context_too_long"),
        (busy("rate_limit"), "rate_limited"),
        (busy("not_recorded"), "not_recorded"),
    ],
)
async def test_each_way_to_fail_has_its_reason_and_feedback(reply, reason):
    failure = await failure_of(reply)
    assert failure.reason == reason
    assert failure.feedback


@pytest.mark.parametrize("kind", ["auth", "billing", "unknown_model", "invalid_request"])
async def test_what_concerns_every_subtask_stops_the_run_and_what_it_cost_is_told(kind):
    generation, _ = await generation_of(backend("no block", busy(kind), corrections=1)[0], FILES)
    assert (generation.failure.reason, generation.fault.kind) == ("stopped", kind)
    assert generation.usage.cost_usd == 0.5


async def test_paths_that_are_not_writable_are_left_to_the_gate():
    prompt = prompt_for({"a.py": "x = 1\n"}, writable=["other.py"])
    generation, workspace = await generation_of(backend(GOOD)[0], FILES, prompt)
    assert generation.failure is None
    assert workspace.files["a.py"] == b"x = 2\n"


async def test_a_correction_asks_again_within_the_attempt_and_counts_both_requests():
    subject, model = backend(MISFIT, GOOD, corrections=1)
    generation, workspace = await generation_of(subject, FILES)
    assert generation.failure is None
    assert workspace.files["b.py"] == b"y = 2\n"
    assert len(generation.exchanges) == generation.usage.requests == 2
    assert generation.usage.cost_usd == 1.0
    assert [message.role for message in model.prompts[1].messages] == ["user", "assistant", "user"]
    assert "y = 7" not in workspace.files["b.py"].decode()
    assert "Block 2 of 2 (b.py)" in model.prompts[1].messages[2].text


async def test_corrections_end():
    subject, model = backend(MISFIT, MISFIT, MISFIT, corrections=1)
    generation, _ = await generation_of(subject, FILES)
    assert generation.failure.reason == "edit_does_not_apply"
    assert len(model.prompts) == 2


def costing(outcome, **failed):
    """What a request is that goes through, or not, after others failed."""

    async def answered(prompt, meter):
        meter.failed += Usage(**failed)
        if isinstance(outcome, BackendError):
            raise outcome
        return Completion(text=outcome, stop_reason="end_turn", usage=Usage(requests=1, input_tokens=10))

    return answered


async def test_usage_before_an_outage_is_kept():
    generation, _ = await generation_of(backend(MISFIT, costing(busy(), requests=1), corrections=1)[0], FILES)
    assert generation.failure.reason == "backend_unavailable"
    assert generation.usage.requests == 2
    assert generation.usage.cost_usd == 0.5
    assert generation.exchanges[1].reply is None


async def test_what_failed_requests_may_have_cost_is_taken_over_and_belongs_to_the_request_they_were_made_for():
    lost = {"requests": 2, "unknown_requests": 1, "unknown_tokens": 70, "unknown_cost_usd": 0.25}
    for script in ([costing(GOOD, **lost)], [costing(busy("stall"), **lost)]):
        generation, _ = await generation_of(backend(*script)[0], FILES)
        usage = generation.usage
        assert (usage.unknown_requests, usage.unknown_tokens, usage.unknown_cost_usd) == (1, 70, 0.25)
        assert usage.requests == (3 if generation.failure is None else 2)
        assert usage == generation.exchanges[0].usage


async def test_nothing_is_counted_that_nobody_counted():
    generation, _ = await generation_of(backend(busy("stall"))[0], FILES)
    assert generation.usage == Usage()
    assert len(generation.exchanges) == 1


async def test_a_budget_that_is_used_up_says_what_was_needed():
    needed = Allowance(cost_usd=2.0, tokens=5)
    failure = await failure_of(BackendError("no money", kind="budget", needed=needed))
    assert (failure.reason, failure.needed) == ("budget", needed)


async def test_a_path_that_the_workspace_refuses_is_feedback():
    class Refusing(MemoryWorkspace):
        async def write(self, files):
            raise UnsafePath("'a.py' cannot be a file and a folder at once")

    generation = await backend(GOOD)[0].generate(prompt_for(), Refusing(FILES), Meter())
    assert generation.failure.reason == "edit_does_not_apply"
    assert generation.failure.feedback == "Nothing was applied: 'a.py' cannot be a file and a folder at once."


async def test_a_correction_is_stored_as_what_is_new_in_it():
    subject, model = backend(MISFIT, GOOD, corrections=1)
    generation, _ = await generation_of(subject, FILES)
    first, second = (generation.bodies[each.prompt].decode() for each in generation.exchanges)
    assert first == model.prompts[0].text
    assert second.startswith(f"(continues {digest_of(first.encode())})\n\n## assistant\n{MISFIT}")
    assert second.endswith(model.prompts[1].messages[2].text)


async def test_times_count_from_the_start_of_the_effect_and_waits_are_no_part_of_a_request():
    clock = FakeClock(now=5_000.0)

    async def slow(prompt, meter):
        began = clock.now()
        await clock.sleep(3)
        meter.waits.append(Span(name="backoff", started_s=began, duration_s=3))
        await clock.sleep(2)
        return Completion(text=GOOD, stop_reason="end_turn", usage=Usage(requests=1))

    generation, _ = await generation_of(backend(slow, clock=clock)[0], FILES)
    assert generation.spans[0] == Span(name="backoff", started_s=0, duration_s=3)
    assert generation.spans[1].name == "edit"
    assert (generation.exchanges[0].started_s, generation.exchanges[0].duration_s) == (3, 2)


async def test_a_reply_with_half_a_character_is_kept_and_refused():
    generation, workspace = await generation_of(backend(block("a.py", "x = 1\n", "\ud83d\n"))[0], FILES)
    assert generation.failure.reason == "malformed_reply"
    assert workspace.writes == 0


async def test_files_the_prompt_did_not_show_can_be_edited_by_exact_quotation():
    workspace = MemoryWorkspace(FILES)
    generation = await backend(GOOD)[0].generate(prompt_for(writable=["a.py"]), workspace, Meter())
    assert generation.failure is None
