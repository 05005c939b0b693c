"""The simulated service's batch endpoints, as the providers' own SDKs see them."""

import json

import anthropic
import httpx2
import openai
import pytest

from orchestrator.stub_server import Fault, FaultPlan
from tests.integration.batch_wire import Upper
from tests.integration.wire import KEY, service


def plain_http():
    return httpx2.AsyncClient(transport=httpx2.AsyncHTTPTransport(verify=False))


def claude(server):
    return anthropic.AsyncAnthropic(api_key=KEY, base_url=server.url, max_retries=0, http_client=plain_http())


def gpt(server):
    return openai.AsyncOpenAI(api_key=KEY, base_url=server.openai_url, max_retries=0, http_client=plain_http())


def asked(*texts, **changes):
    return [
        {
            "custom_id": f"id-{number}",
            "params": {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": text}], **changes},
        }
        for number, text in enumerate(texts)
    ]


def line(custom_id="one", **changes):
    whole = {"custom_id": custom_id, "method": "POST", "url": "/v1/responses", "body": {"model": "m", "input": "hi"}}
    return json.dumps({**whole, **changes}).encode()


async def created(client, content):
    file = await client.files.create(file=("in.jsonl", content), purpose="batch")
    return await client.batches.create(input_file_id=file.id, endpoint="/v1/responses", completion_window="24h")


async def test_the_messages_sdk_reads_a_batch_from_beginning_to_end():
    async with (
        service(Upper(), batch_s=0.0, sessions={"batch": FaultPlan(nth={2: Fault(kind="no_headers")})}) as server,
        claude(server) as client,
    ):
        batch = await client.messages.batches.create(requests=asked("one", "two", "too long"))
        assert batch.processing_status == "in_progress"
        assert batch.request_counts.processing == 3
        batch = await client.messages.batches.retrieve(batch.id)
        assert batch.processing_status == "ended"
        assert batch.request_counts.to_dict() == {
            "processing": 0,
            "succeeded": 1,
            "errored": 1,
            "canceled": 0,
            "expired": 1,
        }
        results = {each.custom_id: each.result async for each in await client.messages.batches.results(batch.id)}
        assert results["id-0"].message.content[0].text == "ONE"
        assert results["id-1"].type == "expired"
        assert results["id-2"].error.error.type == "invalid_request_error"
        assert [each.id async for each in client.messages.batches.list()] == [batch.id]


async def test_the_openai_sdk_reads_a_batch_from_beginning_to_end():
    async with (
        service(Upper(), batch_s=0.0, sessions={"batch": FaultPlan(nth={2: Fault(kind="no_headers")})}) as server,
        gpt(server) as client,
    ):
        lines = [line("a"), line("b"), line("c", body={"model": "m", "input": "too long"})]
        batch = await created(client, b"\n".join(lines) + b"\n")
        assert batch.status == "in_progress"
        batch = await client.batches.retrieve(batch.id)
        assert (batch.status, batch.request_counts.completed, batch.request_counts.failed) == ("expired", 1, 2)
        output = (await client.files.content(batch.output_file_id)).text.splitlines()
        errors = (await client.files.content(batch.error_file_id)).text.splitlines()
        assert [json.loads(each)["custom_id"] for each in output] == ["a"]
        assert [json.loads(each)["custom_id"] for each in errors] == ["c", "b"]
        assert json.loads(errors[0])["response"]["status_code"] == 400
        assert json.loads(errors[1])["error"]["code"] == "batch_expired"
        assert [each.id async for each in client.batches.list()] == [batch.id]
        assert (await client.files.content(batch.input_file_id)).text.startswith(lines[0].decode())


async def test_a_batch_that_is_cancelled_works_at_nothing():
    async with service(Upper(), batch_s=60.0) as server:
        async with claude(server) as client:
            batch = await client.messages.batches.create(requests=asked("one", "two"))
            assert (await client.messages.batches.cancel(batch.id)).processing_status == "ended"
            kinds = [each.result.type async for each in await client.messages.batches.results(batch.id)]
            assert kinds == ["canceled", "canceled"]
        async with gpt(server) as client:
            batch = await created(client, line())
            batch = await client.batches.cancel(batch.id)
            assert (batch.status, batch.output_file_id) == ("cancelled", None)
            errors = (await client.files.content(batch.error_file_id)).text
            assert json.loads(errors)["error"]["code"] == "batch_cancelled"


@pytest.mark.parametrize(
    "requests",
    [
        [],
        asked("one") + asked("two"),
        [{"custom_id": "not allowed: ü", "params": {}}],
        [{"params": {}}],
        "no list",
    ],
)
async def test_a_batch_of_messages_without_ids_of_their_own_is_refused(requests):
    async with service(Upper()) as server, claude(server) as client:
        with pytest.raises(anthropic.BadRequestError):
            await client.messages.batches.create(requests=requests)
        assert not server.batches.store.batches


async def test_a_faulty_request_of_a_batch_of_messages_errors_alone():
    async with service(Upper(), batch_s=0.0) as server, claude(server) as client:
        batch = await client.messages.batches.create(requests=[*asked("one"), {"custom_id": "bad", "params": {}}])
        results = {each.custom_id: each.result async for each in await client.messages.batches.results(batch.id)}
        assert {name: result.type for name, result in results.items()} == {"id-0": "succeeded", "bad": "errored"}


@pytest.mark.parametrize(
    ("content", "codes"),
    [
        (line("a") + b"\nno json\n" + line("b"), [("invalid_json_line", 2)]),
        (line("a") + b"\n" + line("a"), [("duplicate_custom_id", 2)]),
        (line("a", url="/v1/chat/completions"), [("url_mismatch", 1)]),
        (b"", [("empty_file", None)]),
    ],
)
async def test_a_faulty_line_fails_its_whole_batch(content, codes):
    async with service(Upper(), batch_s=60.0) as server, gpt(server) as client:
        batch = await client.batches.retrieve((await created(client, content)).id)
        assert batch.status == "failed"
        assert [(each.code, each.line) for each in batch.errors.data] == codes
        assert batch.output_file_id is None


async def test_what_is_not_there_is_not_found():
    async with service(Upper()) as server:
        async with claude(server) as client:
            for call in (client.messages.batches.retrieve, client.messages.batches.cancel):
                with pytest.raises(anthropic.NotFoundError):
                    await call("msgbatch_none")
        async with gpt(server) as client:
            for call in (client.batches.retrieve, client.files.content, client.files.retrieve):
                with pytest.raises(openai.NotFoundError):
                    await call("none")
            with pytest.raises(openai.BadRequestError):
                await client.batches.create(input_file_id="no", endpoint="/v1/responses", completion_window="24h")
            with pytest.raises(openai.BadRequestError):
                await client.files.create(file=("in.jsonl", b"x"), purpose="assistants")


@pytest.mark.parametrize(
    "content_type",
    ["multipart/form-data", "multipart/form-data; boundary=", "text/plain", "\x7f", "multipart/form-data; boundary=x"],
)
async def test_an_upload_that_is_no_form_is_refused(content_type):
    async with service(Upper()) as server, plain_http() as client:
        for body in (
            b"",
            b"--x\r\n\r\n\r\n--x--",
            b"--x\r\ncontent-disposition: form-data; name=file\r\n",
            bytes(range(256)),
        ):
            answer = await client.post(
                f"{server.openai_url}/files", content=body, headers={"content-type": content_type}
            )
            assert answer.status_code == 400
