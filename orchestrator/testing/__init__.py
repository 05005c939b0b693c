"""For the tests of a backend of your own: what every chat model and every backend promises, as classes to inherit from.

    from orchestrator.testing import ChatModelContract

    class TestMine(ChatModelContract):
        def make(self):
            return MyModel(…)

The program holds its own backends to the same classes. What such tests need besides is here too: a workspace in memory, a
clock that jumps, a model that plays a script, a prompt. Nothing of this is imported by the program itself.
"""

try:
    import pytest
except ModuleNotFoundError as _missing:
    raise ImportError(
        "orchestrator.testing is for tests with pytest, which is not installed; install it: `pip install pytest`"
    ) from _missing

# Only what is rewritten says in a failing assertion what it saw.
pytest.register_assert_rewrite("orchestrator.testing.backend_contract", "orchestrator.testing.chat_model_contract")

from orchestrator.testing.backend_contract import BackendContract  # noqa: E402 - rewritten from here on
from orchestrator.testing.chat_model_contract import ChatModelContract  # noqa: E402
from orchestrator.testing.fakes import JumpingClock, MemoryWorkspace, ScriptedModel, prompt_for  # noqa: E402

__all__ = [
    "BackendContract",
    "ChatModelContract",
    "JumpingClock",
    "MemoryWorkspace",
    "ScriptedModel",
    "prompt_for",
]
