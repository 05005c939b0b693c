"""orchestrator: split a task, let subagents work in parallel, gate every result, integrate, and measure what it brought."""

__version__ = "0.1.0"
