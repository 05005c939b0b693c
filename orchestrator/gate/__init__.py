"""Who judges: the checks that a tree must pass."""
