# ruff: noqa: S101 - tests assert
"""What every `Backend` promises, as tests. Inherit from `BackendContract`, say how to make one, and run pytest."""

import asyncio
from collections.abc import Mapping

import pytest

from orchestrator.core.chat import Prompt
from orchestrator.core.prompt import Manner
from orchestrator.core.values import digest_of
from orchestrator.ports import Backend, Generation, Meter
from orchestrator.testing.fakes import MemoryWorkspace, prompt_for
from orchestrator.testing.loops import closing, on_a_loop

# Longer than any attempt, and far from any time of day.
_LONG_S = 1_000_000.0


class BackendContract:
    """The promises of a backend. A subclass, named `Test…`, says how to `make` one; the rest may stay.

    Each test gets a fresh backend. It is made on a running loop, and closed where it has an `aclose`.
    """

    is_deterministic = False
    """True where the same prompt leaves the same change every time."""

    is_all_or_nothing = False
    """True where a failed attempt leaves the workspace as it was. Nobody looks at it then, so this is a matter of taste."""

    limit_s = 60.0
    """Seconds that one test may take."""

    files: Mapping[str, bytes] = {"f.py": b"def f(x):\n    return x + 1\n"}
    """What is in the workspace, all of it shown and writable; text, in UTF-8."""

    def make(self) -> Backend:
        """A fresh backend that leaves a change in `files`."""
        raise NotImplementedError("say how to make the backend: `def make(self): return MyBackend(…)`")

    def make_failing(self) -> Mapping[str, Backend]:
        """Fresh backends whose attempts fail, by how they do; empty where that cannot be arranged in a test."""
        return {}

    def prompt(self) -> Prompt:
        """What the backend is asked."""
        return prompt_for({path: content.decode() for path, content in self.files.items()}, text="Improve this.")

    @on_a_loop
    async def test_it_has_a_name_and_says_how_its_prompts_are_to_be_written(self) -> None:
        """Reports and trailers name the backend; its manner decides what of the repository a prompt shows."""
        async with closing(self.make()) as backend:
            assert isinstance(backend.name, str)
            assert backend.name.strip()
            assert isinstance(backend.manner, Manner)

    @on_a_loop
    async def test_without_a_failure_there_is_a_change_in_the_workspace(self) -> None:
        """What a backend says it did counts for nothing: the patch is read from the workspace."""
        generation, workspace = await self._generated(self.make())
        assert generation.failure is None
        assert (await workspace.patch()).changes

    @on_a_loop
    async def test_a_failed_attempt_is_an_outcome_with_feedback(self) -> None:
        """An exception would end the run; the next attempt is told the feedback."""
        failing = self.make_failing()
        if not failing:
            pytest.skip("there is no `make_failing`")
        for how, backend in failing.items():
            generation, workspace = await self._generated(backend)
            assert generation.failure is not None, how
            assert generation.failure.feedback, how
            assert not self.is_all_or_nothing or workspace.files == workspace.before, how

    @on_a_loop
    async def test_usage_is_the_sum_of_the_exchanges_and_every_text_is_kept(self) -> None:
        """A budget counts usage, `show` prints exchanges: they must not tell two stories. Without exchanges usage stands alone."""
        for how, backend in {"without a failure": self.make(), **self.make_failing()}.items():
            generation, _ = await self._generated(backend)
            if generation.exchanges:
                _require_one_story(generation, how)

    @on_a_loop
    async def test_times_count_from_the_start_of_the_attempt(self) -> None:
        """Every second of a run is accounted for; a time of day would be many years of work."""
        for how, backend in {"without a failure": self.make(), **self.make_failing()}.items():
            generation, _ = await self._generated(backend)
            times = [(each.started_s, each.duration_s) for each in generation.exchanges]
            times += [(each.started_s, each.duration_s) for each in generation.spans]
            assert all(0 <= value < _LONG_S for pair in times for value in pair), how

    @on_a_loop
    async def test_two_attempts_at_once_do_not_meet(self) -> None:
        """One object serves all agents, each with a workspace of its own."""
        workspaces = [MemoryWorkspace(self.files), MemoryWorkspace(self.files)]
        async with closing(self.make()) as backend, asyncio.TaskGroup() as group:
            for workspace in workspaces:
                group.create_task(_attempted(backend, self.prompt(), workspace))
        for workspace in workspaces:
            assert workspace.files != workspace.before

    @on_a_loop
    async def test_an_attempt_that_is_dropped_lets_go_and_the_next_is_made(self) -> None:
        """A run that is stopped cancels `generate`: it ends then, and the backend stays of use."""
        async with closing(self.make()) as backend:
            async with asyncio.TaskGroup() as group:
                task = group.create_task(_attempted(backend, self.prompt(), MemoryWorkspace(self.files)))
                await asyncio.sleep(0)
                task.cancel()
            workspace = MemoryWorkspace(self.files)
            generation = await backend.generate(self.prompt(), workspace, Meter())
        assert generation.failure is None
        assert workspace.files != workspace.before

    @on_a_loop
    async def test_the_same_draw_leaves_the_same_change(self) -> None:
        """Where that can be promised, a run repeats."""
        if not self.is_deterministic:
            pytest.skip("it is not deterministic")
        _, first = await self._generated(self.make())
        _, second = await self._generated(self.make())
        assert first.files == second.files

    async def _generated(self, made: Backend) -> tuple[Generation, MemoryWorkspace]:
        workspace = MemoryWorkspace(self.files)
        async with closing(made) as backend:
            return await backend.generate(self.prompt(), workspace, Meter()), workspace


async def _attempted(backend: Backend, prompt: Prompt, workspace: MemoryWorkspace) -> None:
    await backend.generate(prompt, workspace, Meter())


def _require_one_story(generation: Generation, how: str) -> None:
    usage, exchanges = generation.usage, generation.exchanges
    assert usage.requests == sum(exchange.usage.requests for exchange in exchanges), how
    outputs = [exchange.usage.output_tokens for exchange in exchanges]
    known = [tokens for tokens in outputs if tokens is not None]
    assert usage.output_tokens == (sum(known) if len(known) == len(outputs) else None), how
    for exchange in exchanges:
        for digest in filter(None, (exchange.prompt, exchange.reply)):
            assert digest_of(generation.bodies[digest]) == digest, how
