"""What counts: figures of a run, computed from journal entries alone."""
