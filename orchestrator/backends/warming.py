"""Siblings that share a prefix: one request warms the provider's prompt cache, the rest read it.

A provider can only read a prefix from its cache once the request that writes it has begun to answer. Eight agents that start at
the same moment would each write it, at a surcharge, and none would read. So the first request with a prefix goes ahead; the
others wait until its output begins, and then go together. Where the first one fails, the next takes its place.
"""

import asyncio
from dataclasses import dataclass

from pydantic import Field

from orchestrator.core.chat import Completion, Prompt, estimate_tokens
from orchestrator.core.values import Digest, Value, digest_of
from orchestrator.ports import ChatModel, Clock, Meter

_LOOK_S = 0.05


class CacheSettings(Value):
    """When siblings wait for one of them to warm the cache."""

    stagger: bool = Field(default=True, description="Whether they wait at all.")
    from_tokens: int = Field(
        default=1_024, gt=0, description="The shortest prefix, in estimated tokens, that the provider caches."
    )
    lifetime_s: float = Field(default=300.0, gt=0, description="Seconds after its last use that a prefix stays cached.")
    max_wait_s: float = Field(default=30.0, gt=0, description="Seconds to wait for the first one at most.")


@dataclass(slots=True)
class _Prefix:
    """One prefix: when it was last known to be in the cache, and what those wait for who wait while somebody warms it."""

    used_at: float | None = None
    opening: asyncio.Event | None = None


class WarmingModel:
    """A `ChatModel` around a `ChatModel`. It stands outside of the rate limiter: whoever waits here holds no slot."""

    def __init__(self, model: ChatModel, settings: CacheSettings, clock: Clock) -> None:
        self._model = model
        self._settings = settings
        self._clock = clock
        self._prefixes: dict[Digest, _Prefix] = {}

    @property
    def name(self) -> str:
        """The inner model's name."""
        return self._model.name

    async def complete(self, prompt: Prompt, meter: Meter) -> Completion:
        """Ask at once, or after a sibling's answer has begun. Raises what the inner model raises."""
        prefix = self._prefix(prompt)
        if prefix is None:
            return await self._model.complete(prompt, meter)
        if prefix.opening is not None:
            meter.note = "waits for the prompt cache"
            with meter.queued("prompt_cache", self._clock):
                # Where the one that went ahead has failed, another may be ahead by now.
                while prefix.opening is not None:
                    await prefix.opening.wait()
        if self._is_cold(prefix):
            return await self._warm(prefix, prompt, meter)
        completion = await self._model.complete(prompt, meter)
        prefix.used_at = self._clock.now()
        return completion

    def _prefix(self, prompt: Prompt) -> _Prefix | None:
        tools = "\n".join(f"{tool.name} {tool.description}" for tool in prompt.tools)
        text = f"{tools}\n{prompt.system}"
        if not self._settings.stagger or estimate_tokens(text) < self._settings.from_tokens:
            return None
        return self._prefixes.setdefault(digest_of(text.encode("utf-8", "backslashreplace")), _Prefix())

    def _is_cold(self, prefix: _Prefix) -> bool:
        return prefix.used_at is None or self._clock.now() - prefix.used_at > self._settings.lifetime_s

    async def _warm(self, prefix: _Prefix, prompt: Prompt, meter: Meter) -> Completion:
        opening = prefix.opening = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as tasks:
                watching = tasks.create_task(self._watch(prefix, opening, meter))
                try:
                    completion = await self._model.complete(prompt, meter)
                finally:
                    watching.cancel()
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            self._open(prefix, opening)
        prefix.used_at = self._clock.now()
        return completion

    async def _watch(self, prefix: _Prefix, opening: asyncio.Event, meter: Meter) -> None:
        """Let the others go when the output of the first one begins, or when they have waited long enough."""
        before, began, queued_s = meter.output_tokens, self._clock.now(), meter.queued_s
        while meter.output_tokens == before:
            waited_s = self._clock.now() - began - (meter.queued_s - queued_s)
            if waited_s >= self._settings.max_wait_s and not meter.is_queued:
                break
            await self._clock.sleep(_LOOK_S)
        prefix.used_at = self._clock.now()
        self._open(prefix, opening)

    def _open(self, prefix: _Prefix, opening: asyncio.Event) -> None:
        if prefix.opening is opening:
            prefix.opening = None
        opening.set()
