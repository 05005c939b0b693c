from dataclasses import dataclass, field
from orchestrator.core.events import Outcome
from orchestrator.ports import Bodies
@dataclass(frozen=True, slots=True)
class Occurrence:
    at: float
    outcome: Outcome
    bodies: Bodies = field(default_factory=dict)
