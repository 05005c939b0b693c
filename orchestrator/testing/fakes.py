"""Stand-ins for what is around a backend: a workspace in memory, a clock that jumps, a model that plays a script, a prompt."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TypedDict, Unpack

from orchestrator.core.chat import Completion, Draw, Message, Prompt, ShownFile, Tool, estimate_tokens
from orchestrator.core.values import CommitId, FileChange, Patch, TreeId, Usage, Verdict, digest_of
from orchestrator.ports import Meter

_BASE = CommitId("base")
Files = Mapping[str, bytes]
Answer = str | Completion
Line = Answer | BaseException | Callable[[Prompt, Meter], Awaitable[Answer]]


def _passes(_: Files) -> Verdict:
    return Verdict(passed=True, reason="passed")


class JumpingClock:
    """A `Clock` on which time passes only by sleeping, which takes none. `sleeps` are the seconds slept, in order."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.time = now
        self.sleeps: list[float] = []

    def now(self) -> float:
        """Seconds since the epoch, as this clock has it."""
        return self.time

    async def sleep(self, seconds: float) -> None:
        """Let that many seconds pass, at once."""
        self.sleeps.append(seconds)
        self.time += seconds


class MemoryWorkspace:
    """A `CheckedWorkspace` of a mapping. `before` and `files` are what was there and what is, `writes` counts the calls of `write`.

    `verdict` is what `check` says of the files.
    """

    def __init__(self, files: Files | None = None, verdict: Callable[[Files], Verdict] = _passes) -> None:
        self.verdict = verdict
        self.base = _BASE
        self.before = dict(files or {})
        self.files = dict(files or {})
        self.writes = 0

    async def paths(self) -> Sequence[str]:
        """Every file, sorted."""
        return sorted(self.files)

    async def read(self, paths: Iterable[str]) -> Files:
        """Those of the paths that exist."""
        return {path: self.files[path] for path in paths if path in self.files}

    async def write(self, files: Mapping[str, bytes | None]) -> None:
        """Put whole files; None removes one."""
        self.writes += 1
        for path, content in files.items():
            if content is None:
                self.files.pop(path, None)
            else:
                self.files[path] = content

    async def patch(self) -> Patch:
        """The change against what was there."""
        paths = sorted({*self.before, *self.files})
        changes = tuple(self._change(path) for path in paths if self.before.get(path) != self.files.get(path))
        return Patch(base=self.base, commit=CommitId("commit"), tree=TreeId("tree"), changes=changes)

    async def check(self) -> Verdict:
        """What `verdict` says."""
        return self.verdict(self.files)

    def _change(self, path: str) -> FileChange:
        old, new = self.before.get(path), self.files.get(path)
        return FileChange(
            path=path,
            old_mode=None if old is None else "100644",
            new_mode=None if new is None else "100644",
            old_blob=None if old is None else digest_of(old),
            new_blob=None if new is None else digest_of(new),
        )


class ScriptedModel:
    """A `ChatModel` that plays a script: each line is a text, a `Completion`, an error to raise, or a coroutine function to ask.

    `prompts` are those that it got.
    """

    name = "scripted"

    def __init__(self, *script: Line) -> None:
        self.script = list(script)
        self.prompts: list[Prompt] = []

    async def complete(self, prompt: Prompt, meter: Meter) -> Completion:
        """Play the next line."""
        self.prompts.append(prompt)
        line = self.script.pop(0)
        if isinstance(line, BaseException):
            raise line
        answer = line if isinstance(line, str | Completion) else await line(prompt, meter)
        if isinstance(answer, Completion):
            return answer
        tokens = estimate_tokens(answer)
        meter.output_tokens += tokens
        usage = Usage(requests=1, input_tokens=estimate_tokens(prompt.text), output_tokens=tokens, cost_usd=0.5)
        return Completion(text=answer, stop_reason="end_turn", usage=usage)


class PromptFields(TypedDict, total=False):
    """What else a prompt may have; see `Draw` for the first four, `Prompt` for the rest."""

    subtask: str
    seed: int
    draw: int
    attempt: int
    writable: Iterable[str]
    tools: tuple[Tool, ...]
    response_schema: Mapping[str, object] | None
    max_output_tokens: int


def prompt_for(
    files: Mapping[str, str] | None = None, *, text: str = "do it", **fields: Unpack[PromptFields]
) -> Prompt:
    """A prompt that asks for `text` and shows files; all of them are writable unless `writable` says otherwise."""
    shown = files or {}
    rest: dict[str, object] = dict(fields)
    draw = {"seed": 0, "subtask": "one"} | {name: rest.pop(name) for name in Draw.model_fields if name in rest}
    writable = tuple(fields.get("writable", shown))
    made = {
        "system": "system",
        "messages": (Message(role="user", text=text),),
        "draw": draw,
        "files": tuple(ShownFile(path=path, text=body, is_writable=path in writable) for path, body in shown.items()),
    }
    return Prompt.model_validate({**made, **rest, "writable": writable or ("new.py",)})
