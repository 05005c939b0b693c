"""What `stub-server` says when it starts and when it ends: where it is, how to use it, and what it did."""

from collections.abc import Mapping, Sequence

from orchestrator.core.values import Value
from orchestrator.views.text import count, one_line, plural


class Address(Value):
    """Where the service listens: `url` for Anthropic's clients, `openai_url` for OpenAI's; `pid` is whom to signal."""

    url: str
    openai_url: str
    pid: int


class ServiceSummary(Value):
    """What a service did. `statuses` counts requests by status, with `none` for those that got no answer."""

    requests: int
    statuses: Mapping[str, int]
    faults: Mapping[str, int]
    input_tokens: int
    output_tokens: int
    connections: int


def opening_lines(address: Address, model: str) -> Sequence[str]:
    """How to use a service that has just started."""
    return (
        f"A simulated model service at {address.url}, on this machine only. It takes any key. Ctrl-C ends it.",
        "",
        "For clients of either provider:",
        f"  export ANTHROPIC_BASE_URL={address.url} ANTHROPIC_API_KEY=any",
        f"  export OPENAI_BASE_URL={address.openai_url} OPENAI_API_KEY=any",
        "",
        "For orchestrate, in configs/local.yaml, then: orchestrate doctor local --live",
        "  backend: claude               # or openai, openai-compatible",
        f"  model: {one_line(model)}",
        f"  base_url: {address.url}   # for openai and openai-compatible: {address.openai_url}",
        "  api_key_env: null",
        "  is_simulated: true",
    )


def closing_lines(summary: ServiceSummary) -> Sequence[str]:
    """What a service did until its end."""
    counted = f"{plural(summary.requests, 'request')} over {plural(summary.connections, 'connection')}"
    tokens = f"{count(summary.input_tokens)} tokens in, {count(summary.output_tokens)} out (counted from the texts)"
    statuses = _listed(
        {"without an answer" if status == "none" else status: n for status, n in summary.statuses.items()}
    )
    faults = _listed(summary.faults)
    return (counted, f"status: {statuses or '–'}", f"faults injected: {faults or 'none'}", tokens)


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} × {name}" for name, number in counts.items())
