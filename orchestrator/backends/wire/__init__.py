"""What all model APIs have in common: settings, one streamed request, its events, and what may go wrong with it."""
