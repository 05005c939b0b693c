"""What a person sees: figures and states as text, computed from the journal."""
