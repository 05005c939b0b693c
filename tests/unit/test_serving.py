"""From options to a service: shares, limits, pace, and what of a long life is kept."""

import asyncio

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.errors import EnvironmentFault, SpecError
from orchestrator.wiring import serving
from orchestrator.wiring.serving import (
    ServiceOptions,
    address_of,
    open_service,
    parse_faults,
    prepare_service,
    serve_until,
    summary_of_service,
)
from orchestrator.wiring.surroundings import Surroundings


def prepared(root, **options):
    (root / "configs").mkdir(exist_ok=True)
    (root / "configs" / "mine.yaml").write_text("backend: stub\nttft_s: 3\ntokens_per_s: 50\ntime_scale: 0.5\n")
    return prepare_service(Surroundings({}, root), ServiceOptions(**{"profile": "mine", **options}))


def test_the_service_streams_at_the_profiles_pace_unless_told_otherwise(tmp_path):
    settings = prepared(tmp_path).settings
    assert (settings.ttft_s, settings.tokens_per_s) == (1.5, 100)
    assert prepared(tmp_path, tokens_per_s=7.0).settings.tokens_per_s == 7
    (tmp_path / "server.yaml").write_text("ttft_s: 0.25\n")
    settings = prepared(tmp_path, config=tmp_path / "server.yaml").settings
    assert (settings.ttft_s, settings.tokens_per_s) == (0.25, 100)
    instant = prepared(tmp_path, profile="stub-instant").settings
    assert (instant.ttft_s, instant.tokens_per_s) == (0, None)


@given(st.lists(st.text(max_size=20) | st.from_regex(r"(auth|reset|atuh)=[-.0-9en]{0,5}", fullmatch=True), max_size=4))
def test_whatever_is_written_for_faults_is_shares_or_a_line_for_each_mistake(texts):
    try:
        shares = parse_faults(texts)
    except SpecError as refused:
        lines, shares = refused.problems, {}
    else:
        lines = []
    assert len(lines) + len(shares) <= len(texts)
    assert all(line.startswith("--fault ") for line in lines)
    assert all(0 <= share <= 1 for share in shares.values())


def test_shares_that_fit_by_a_rounding_error_are_taken(tmp_path):
    settings = prepared(tmp_path, faults=("auth=0.1", "reset=0.2", "html=0.7"), seed=5).settings
    assert settings.faults.shares == {"auth": 0.1, "reset": 0.2, "html": 0.7}
    assert settings.faults.seed == 5
    with pytest.raises(SpecError, match="add up to"):
        prepared(tmp_path, faults=("auth=0.1", "reset=0.2", "html=0.71"))


def test_settings_without_a_model_are_refused(tmp_path):
    (tmp_path / "server.yaml").write_text("ttft_s: 1\nmodels: []\n")
    with pytest.raises(SpecError, match=r"server.yaml:2: `models`"):
        prepared(tmp_path, config=tmp_path / "server.yaml")


async def test_what_requests_said_is_let_go_of_and_still_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(serving, "_FORGET_EVERY_S", 0.01)
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x" * 1000}]}
    stopped = asyncio.Event()
    async with open_service(prepared(tmp_path, profile="stub-instant"), 0) as server, asyncio.TaskGroup() as tasks:
        tasks.create_task(serve_until(stopped, server))
        async with httpx2.AsyncClient(trust_env=False) as client:
            answers = [await client.post(f"{address_of(server).url}/v1/messages", json=body) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200] * 3
        while any(seen.body for seen in server.requests):
            await asyncio.sleep(0.01)
        summary = summary_of_service(server)
        stopped.set()
    assert (summary.requests, summary.connections, summary.statuses) == (3, 1, {"200": 3})
    assert summary.input_tokens > 600


async def test_a_port_that_cannot_be_had_is_an_environment_fault(tmp_path):
    service = prepared(tmp_path)
    async with open_service(service, 0) as server:
        with pytest.raises(EnvironmentFault, match="in use; give another with --port"):
            async with open_service(service, server.port):
                pass
