"""A budget of a dollar: whatever breaks off, whoever dies, a provider that bills to the last token never gets more.

A thousand seeded simulations of whole runs: the real core, driver, session, retries and meter, on virtual time, with a simulated
model that fails in every way. The provider bills the most that is defensible: every request that it began to answer, in full,
whether or not anybody was left to hear it; one that was cut off, up to the limit on its output.
"""

import asyncio
import random

import pytest

from orchestrator.backends.metered import MeteredModel
from orchestrator.backends.resilience import ResilienceSettings, ResilientModel
from orchestrator.backends.sessions.editing import EditingBackend
from orchestrator.backends.sessions.tools import ToolBackend
from orchestrator.backends.stub.model import StubModel
from orchestrator.backends.stub.profile import StubProfile
from orchestrator.backends.tariffs import FlatTariff, Prices, most_usd
from orchestrator.core.chat import estimate_tokens
from orchestrator.core.errors import BackendError
from orchestrator.core.events import AttemptFailed, PatchProposed, RunResumed
from orchestrator.core.fold import fold
from orchestrator.core.values import Allowance, Limits, Quote
from orchestrator.journal.memory import MemoryJournal
from orchestrator.ports import Meter
from tests.fakes_backends import MemoryWorkspace, prompt_for
from tests.simulation import Fate, Ledger, SimulatedEffects, begin, drive, patch_of, run_started, subtask
from tests.virtual_time import VirtualClock, run_virtually

INPUT_USD, OUTPUT_USD = 9.0, 45.0
PRICES = Prices(input_usd_per_million=INPUT_USD, output_usd_per_million=OUTPUT_USD)
TARIFF = FlatTariff(PRICES)
MAX_OUTPUT = 2_000
LIMIT_USD = 1.0
LIMIT_TOKENS = 60_000
SOURCE = "def double(x):\n    return x * 2\n" * 10


class Provider:
    """A model service that keeps the account. `billed_usd` outlives every process."""

    name = "provider"

    def __init__(self):
        self.billed_usd = 0.0
        self.billed_tokens = 0
        self.requests = 0
        self.model = None

    async def complete(self, prompt, meter):
        self.requests += 1
        try:
            completion = await self.model.complete(prompt, meter)
        except BackendError as error:
            if error.kind in {"transient", "stall", "malformed_response"}:
                self._bill_the_most(prompt)
            raise
        except BaseException:
            self._bill_the_most(prompt)
            raise
        self.billed_usd += completion.usage.cost_usd
        self.billed_tokens += completion.usage.total_tokens
        # What the program is told leaves the price to its own tariff, as a real API does.
        return completion.model_copy(update={"usage": completion.usage.model_copy(update={"cost_usd": None})})

    def _bill_the_most(self, prompt):
        self.billed_tokens += estimate_tokens(prompt.text) + prompt.max_output_tokens
        self.billed_usd += (estimate_tokens(prompt.text) * INPUT_USD + prompt.max_output_tokens * OUTPUT_USD) / 1e6


class PaidEffects(SimulatedEffects):
    """Generation by a session over a paid model; everything else simulated."""

    def __init__(self, subtasks, fates, ledger, provider, profile, *, has_tools):
        super().__init__(subtasks, fates, ledger)
        clock = VirtualClock()
        provider.model = StubModel(profile, clock)
        settings = ResilienceSettings(idle_s=20.0, deadline_s=300.0, patience_s=120.0)
        model = ResilientModel(MeteredModel(provider, TARIFF), settings, clock)
        self.backend = ToolBackend(model, clock) if has_tools else EditingBackend(model, clock, corrections=1)

    async def generate(self, job):
        name = job.subtask.id
        self.draws[name] = job.draw
        files = {f"{name}.py": SOURCE}
        prompt = prompt_for(
            files, subtask=name, seed=job.seed, draw=job.draw, attempt=job.attempt, max_output_tokens=MAX_OUTPUT
        )
        workspace = MemoryWorkspace({path: text.encode() for path, text in files.items()})
        made = await self.backend.generate(prompt, workspace, Meter.paid_from(job.allowance))
        if made.failure is not None:
            return AttemptFailed(subtask=name, attempt=job.attempt, failure=made.failure, usage=made.usage)
        return PatchProposed(subtask=name, attempt=job.attempt, patch=patch_of(name, job.base), usage=made.usage)


def quote():
    one = Allowance(cost_usd=most_usd(TARIFF, 6_000, MAX_OUTPUT), tokens=6_000 + MAX_OUTPUT)
    return Quote(request=one, session=Allowance(cost_usd=3 * one.cost_usd, tokens=3 * one.tokens))


def simulate(seed):
    """Run with a budget, dying at random moments; return the provider and the last state."""
    luck = random.Random(seed)
    profile = StubProfile(
        ttft_s=luck.uniform(0.1, 3),
        tokens_per_s=luck.choice([20, 100]),
        malformed_block=luck.choice([0, 0.2]),
        misplaced_edit=luck.choice([0, 0.2]),
        truncated=luck.choice([0, 0.1]),
        stall=luck.choice([0, 0.2]),
        stall_s=luck.choice([10.0, 60.0]),
        disconnect=luck.choice([0, 0.2]),
        overloaded=luck.choice([0, 0.1]),
        rate_limit=luck.choice([0, 0.1]),
        input_usd_per_million=INPUT_USD,
        output_usd_per_million=OUTPUT_USD,
    )
    subtasks = [subtask(f"s{n}") for n in range(luck.choice([2, 4, 8, 12]))]
    fates = {each.id: Fate(rejected=frozenset({1}) if luck.random() < 0.2 else frozenset()) for each in subtasks}
    ledger, provider = Ledger(), Provider()
    limits = Limits(agents=luck.choice([1, 4, 16]), cost_usd=LIMIT_USD)
    if luck.random() < 0.3:
        limits = limits.model_copy(update={"tokens": LIMIT_TOKENS})
    has_tools = luck.random() < 0.3
    entries = []
    for process in range(6):
        lives_s = luck.uniform(0.5, 60) if process < 5 else None
        journal = MemoryJournal(entries)

        async def live(journal=journal, entries=entries, lives_s=lives_s):
            effects = PaidEffects(subtasks, fates, ledger, provider, profile, has_tools=has_tools)
            if not entries:
                started = run_started(seed=seed).model_copy(update={"limits": limits, "quote": quote()})
                state = await begin(journal, started)
            else:
                await journal.append([(entries[-1].at, RunResumed(limits=limits, version="0"))], {})
                state = fold(journal.entries())
            async with asyncio.timeout(lives_s):
                await drive(journal, state, effects, VirtualClock())

        try:
            run_virtually(live())
        except TimeoutError:
            entries = surviving(list(journal.entries()), ledger)
        else:
            entries = list(journal.entries())
            break
    return provider, fold(entries)


def surviving(entries, ledger):
    """What a killed process leaves: the trunk is as the journal knows it."""
    merged = {patch.subtask for each in entries if each.event.kind == "batch_merged" for patch in each.event.merged}
    ledger.trunk[:] = [each for each in ledger.trunk if each[0] in merged]
    return entries


@pytest.mark.parametrize("block", range(10))
def test_a_dollar_is_never_overrun_in_a_thousand_runs_with_crashes(block):
    reached = completed = 0
    for seed in range(block * 100, block * 100 + 100):
        provider, state = simulate(seed)
        assert provider.billed_usd <= LIMIT_USD, f"seed {seed}: ${provider.billed_usd:.4f}"
        if state.limits.tokens is not None:
            assert provider.billed_tokens <= LIMIT_TOKENS, f"seed {seed}"
        assert provider.billed_usd <= state.bill.committed.cost_usd + 1e-9, f"seed {seed}"
        reached += state.finished in {"cost_limit", "token_limit"}
        completed += state.finished == "completed"
    # Both ends are met, or the simulation proves nothing.
    assert reached > 5
    assert completed > 5
