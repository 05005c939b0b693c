"""The log of a run: append-only, durable, the only truth."""
