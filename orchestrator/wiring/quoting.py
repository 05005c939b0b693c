"""What an attempt may cost at most, said before the run starts: from the sizes of the files that its prompts will show.

It is where allowances begin (`core.bill`), and no promise: a subtask that needs more says so when it asks.
"""

from collections.abc import Mapping, Sequence

from orchestrator.backends.tariffs import Tariff, most_usd
from orchestrator.core.globs import select_sorted
from orchestrator.core.prompt import MAX_ALL_FEEDBACK_CHARS
from orchestrator.core.skills import Skill
from orchestrator.core.spec import PlanSpec
from orchestrator.core.values import Allowance, Quote, Subtask

# The rules, the format of answers, what a provider wraps around a request: in bytes, of which a token has at least one.
_AROUND = 12_000
_LOOKED_AT = 200
# Four characters a token is how a budget for context is kept, and a character has up to four bytes; source has about one.
_BYTES_OF_CONTEXT_TOKEN = 5
_NAMED_PATHS = 1_000
# A plan, two corrections of it, and one request that breaks off.
_PLAN_REQUESTS = 4


def quote_for(
    subtasks: Sequence[Subtask],
    sizes: Mapping[str, int],
    skills: Mapping[str, Skill],
    *,
    tariff: Tariff,
    output_tokens: int,
    requests: int,
) -> Quote:
    """Quote for the largest of the subtasks. `sizes` gives the bytes of each file, `requests` those of a session at most."""
    paths = sorted(sizes)
    # Ten thousand subtasks are alike enough for some of them to speak for all.
    step = max(1, len(subtasks) // _LOOKED_AT)
    inputs = max((_most_bytes(subtask, paths, sizes, skills) for subtask in subtasks[::step]), default=_AROUND)
    return _quote(tariff, inputs, output_tokens, requests)


def quote_for_plan(plan: PlanSpec, sizes: Mapping[str, int], *, tariff: Tariff, output_tokens: int) -> Quote:
    """Quote where a model is to propose the subtasks: for its own question, which is as large as theirs will be."""
    shown = plan.context_tokens * _BYTES_OF_CONTEXT_TOKEN
    named = sum(len(path) + 1 for path in sorted(sizes)[:_NAMED_PATHS])
    inputs = _AROUND + shown + named + len(plan.model_dump_json())
    return _quote(tariff, inputs, output_tokens, _PLAN_REQUESTS)


def _quote(tariff: Tariff, inputs: int, output_tokens: int, requests: int) -> Quote:
    cost = most_usd(tariff, inputs, output_tokens)
    tokens = inputs + output_tokens
    return Quote(
        request=Allowance(cost_usd=cost, tokens=tokens),
        session=Allowance(cost_usd=None if cost is None else cost * requests, tokens=tokens * requests),
    )


def _most_bytes(subtask: Subtask, paths: Sequence[str], sizes: Mapping[str, int], skills: Mapping[str, Skill]) -> int:
    shown = {path for glob in (*subtask.writable, *subtask.context) for path in select_sorted(paths, glob)}
    files = min(sum(sizes[path] for path in shown), subtask.context_tokens * _BYTES_OF_CONTEXT_TOKEN)
    named = sum(len(path) for path in shown)
    told = len(subtask.instruction.encode("utf-8", "backslashreplace")) + MAX_ALL_FEEDBACK_CHARS
    return _AROUND + files + named + told + sum(len(skills[name].body.encode()) for name in subtask.skills)
