"""A simulated model service on loopback: both providers' wire formats, their limits, and all their faults, on schedule.

    a client's SDK or CLI → HTTP → limits → fault? → brain (any `ChatModel`) → the provider's own JSON or event stream

It is for tests, for trying out an agent CLI without a key, and for measuring what a rate limit does to N agents. It listens
on 127.0.0.1 only and knows no keys. Start it with `serving`.
"""

from orchestrator.stub_server.server import StubServer, serving
from orchestrator.stub_server.settings import Fault, FaultKind, FaultPlan, LaterLimits, RateLimits, ServerSettings

__all__ = ["Fault", "FaultKind", "FaultPlan", "LaterLimits", "RateLimits", "ServerSettings", "StubServer", "serving"]
