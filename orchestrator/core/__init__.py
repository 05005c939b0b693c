"""What thinks: values, events, the state machine, the decisions. Pure; no clock, no disk, no randomness."""
