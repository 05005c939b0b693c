"""Fakes for backends: a workspace in memory, a clock that jumps, a model that plays a script."""

from orchestrator.core.chat import Completion, Draw, Message, Prompt, ShownFile, estimate_tokens
from orchestrator.core.errors import BackendError
from orchestrator.core.values import FileChange, Patch, Usage, Verdict, digest_of
from orchestrator.ports import Meter


class FakeClock:
    """Time passes only by sleeping; what was slept is kept."""

    def __init__(self, now=1_000.0):
        self.time = now
        self.sleeps = []

    def now(self):
        return self.time

    async def sleep(self, seconds):
        self.sleeps.append(seconds)
        self.time += seconds


class MemoryWorkspace:
    """A `CheckedWorkspace` of a mapping; counts how often it was written. `verdict` is a function of its files."""

    def __init__(self, files=None, verdict=lambda files: Verdict(passed=True, reason="passed")):
        self.verdict = verdict
        self.base = "base"
        self.before = dict(files or {})
        self.files = dict(files or {})
        self.writes = 0

    async def paths(self):
        return sorted(self.files)

    async def read(self, paths):
        return {path: self.files[path] for path in paths if path in self.files}

    async def write(self, files):
        self.writes += 1
        for path, content in files.items():
            if content is None:
                self.files.pop(path, None)
            else:
                self.files[path] = content

    async def patch(self):
        changes = tuple(
            FileChange(
                path=path,
                old_mode="100644" if path in self.before else None,
                new_mode="100644" if path in self.files else None,
                old_blob=digest_of(self.before[path]) if path in self.before else None,
                new_blob=digest_of(self.files[path]) if path in self.files else None,
            )
            for path in sorted({*self.before, *self.files})
            if self.before.get(path) != self.files.get(path)
        )
        return Patch(base="base", commit="commit", tree="tree", changes=changes)

    async def check(self):
        return self.verdict(self.files)


class ScriptedModel:
    """Answers with the next item of a script: a text, a `Completion`, an error to raise, or a coroutine function to await."""

    name = "scripted"

    def __init__(self, *script):
        self.script = list(script)
        self.prompts = []

    async def complete(self, prompt, meter):
        self.prompts.append(prompt)
        item = self.script.pop(0)
        if isinstance(item, BaseException):
            raise item
        if callable(item):
            item = await item(prompt, meter)
        if isinstance(item, Completion):
            return item
        tokens = estimate_tokens(item)
        meter.output_tokens += tokens
        usage = Usage(requests=1, input_tokens=estimate_tokens(prompt.text), output_tokens=tokens, cost_usd=0.5)
        return Completion(text=item, stop_reason="end_turn", usage=usage)


def prompt_for(files=None, *, subtask="one", seed=0, draw=1, attempt=1, writable=None, text="do it", **fields):
    """A prompt that shows files; all of them writable unless said otherwise."""
    files = files or {}
    writable = tuple(files) if writable is None else tuple(writable)
    shown = tuple(ShownFile(path=path, text=text_, is_writable=path in writable) for path, text_ in files.items())
    return Prompt(
        system="system",
        messages=(Message(role="user", text=text),),
        draw=Draw(seed=seed, subtask=subtask, attempt=attempt, draw=draw),
        files=shown,
        writable=writable or ("new.py",),
        **fields,
    )


def busy(kind="overloaded", retry_after_s=None):
    return BackendError("busy", kind=kind, retry_after_s=retry_after_s)


async def generation_of(backend, files, prompt=None):
    """Run a backend over a memory workspace; return what it says and the workspace."""
    workspace = MemoryWorkspace(files)
    prompt = prompt or prompt_for({path: content.decode("utf-8", "replace") for path, content in files.items()})
    return await backend.generate(prompt, workspace, Meter()), workspace
