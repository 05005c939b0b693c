"""From a chat model to a backend: one reply of edits, or a loop of tool calls."""
