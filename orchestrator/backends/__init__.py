"""Who does the work: chat models, the wrappers that make them backends, the simulated one."""
