"""The settings of a session with tools: what bounds it as a whole, what bounds one result, what it is given."""

from pydantic import Field

from orchestrator.core.values import Value


class ToolSettings(Value):
    """How long one session may work, and how much it is shown.

    The limits of a session are looked at between its turns, so the last turn may go beyond one.
    """

    max_turns: int = Field(default=40, ge=1, description="Requests to the model in one session at most.")
    max_session_tokens: int = Field(
        default=1_000_000, gt=0, description="Tokens of a session, input and output of all its requests together."
    )
    max_session_s: float = Field(
        default=1_800.0, gt=0, description="Seconds that a session may take, its waiting included."
    )
    max_calls: int = Field(default=32, ge=1, description="Calls of one answer that are run; further ones are refused.")
    max_context_tokens: int = Field(
        default=60_000,
        gt=0,
        description="Estimated tokens of one request above which old results are left out of it. The results of one "
        "answer come to half of it at most, all together.",
    )
    max_result_chars: int = Field(
        default=20_000, ge=1_000, description="Characters of one tool's result; what is longer comes in parts."
    )
    run_checks: bool = Field(default=True, description="Whether the model may run the subtask's checks for itself.")
    max_checks: int = Field(default=5, ge=1, description="How often it may run them in one session.")
    max_search_s: float = Field(
        default=5.0, gt=0, description="Seconds that one search by a regular expression may take before it is ended."
    )
    show_files: bool = Field(
        default=False,
        description="Whether the first prompt shows the files; else it names them, to be read when needed.",
    )
