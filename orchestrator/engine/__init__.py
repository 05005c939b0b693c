"""What drives: the loop that journals a decision, acts on it, and journals the answer."""
