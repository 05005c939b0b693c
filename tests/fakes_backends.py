"""Fakes for backends. Those that others need for their tests too are shipped in `orchestrator.testing`."""

from orchestrator.core.errors import BackendError
from orchestrator.ports import Meter
from orchestrator.testing import JumpingClock as FakeClock
from orchestrator.testing import MemoryWorkspace, ScriptedModel, prompt_for

__all__ = ["FakeClock", "MemoryWorkspace", "ScriptedModel", "busy", "generation_of", "prompt_for"]


def busy(kind="overloaded", retry_after_s=None):
    return BackendError("busy", kind=kind, retry_after_s=retry_after_s)


async def generation_of(backend, files, prompt=None):
    """Run a backend over a memory workspace; return what it says and the workspace."""
    workspace = MemoryWorkspace(files)
    prompt = prompt or prompt_for({path: content.decode("utf-8", "replace") for path, content in files.items()})
    return await backend.generate(prompt, workspace, Meter()), workspace
