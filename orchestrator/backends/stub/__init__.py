"""The simulated model: what it answers, how it goes wrong, how often."""
