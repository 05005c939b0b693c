"""How hard the properties are tried: `make property` tries many more examples than an everyday run."""

from hypothesis import settings

settings.register_profile("everyday", max_examples=100, deadline=None)
settings.register_profile("thorough", max_examples=2000, deadline=None)
settings.load_profile("everyday")
