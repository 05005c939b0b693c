"""How sure a figure is: intervals, tests, fits and refusals. Pure functions of numbers; no journal, no backend, no screen.

`values` holds what the answers look like and imports nothing heavy: views and commands may import it at the top. So may
`proportions` and `pareto`, which are plain arithmetic. Every other module imports numpy and scipy, half a second together, and is
imported by the function that needs it (`measure.scaling` shows how), so that a command without statistics does not pay for them.

Three habits hold throughout:

- What cannot be said is a value with its reason (`Refusal`, or an `Interval` without bounds), never an exception and never a zero.
- The unit of resampling is what was drawn independently: a whole run, a subtask, a family of subtasks. Never a line or a request.
- Randomness is a seed that the caller gives, and the same seed gives the same answer.

Why these methods and not their neighbours, with the coverage that was measured: `docs/decisions/0008-statistics.md`.
"""
