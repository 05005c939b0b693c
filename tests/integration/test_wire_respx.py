"""respx with the SDKs' HTTP library: it patches httpx only, so without the SDK's own bridge a "mocked" test goes out.

The bridge works for a whole process, hence a process of its own here.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAM = """
import httpx2
httpx2.alias_httpx()
import asyncio
import respx
from orchestrator.core.errors import BackendError
from orchestrator.ports import Meter
from tests.fakes_backends import prompt_for
from tests.integration.wire import APIS
from tests.unit.test_api_replies import claude

async def main():
    with respx.mock(assert_all_called=True) as router:
        route = router.post("https://api.anthropic.com/v1/messages")
        route.side_effect = [
            httpx2.Response(429, headers={"retry-after": "7"}, json={"error": {"type": "rate_limit_error"}}),
            httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=claude()),
        ]
        async with APIS["messages"].over("https://api.anthropic.com") as model:
            try:
                await model.complete(prompt_for(), Meter())
            except BackendError as error:
                print(error.kind, error.retry_after_s)
            print((await model.complete(prompt_for(), Meter())).text, route.call_count)

asyncio.run(main())
"""


def test_respx_sees_the_sdks_requests_through_the_bridge():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.splitlines() == ["rate_limit 7.0", "hi 2"], done.stderr
