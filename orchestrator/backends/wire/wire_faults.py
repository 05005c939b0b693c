"""The faults below the SDKs: what the HTTP library, the decoders and the operating system raise, and what each means.

One table for both SDKs, since both stand on httpx2. A class counts as mapped when it or a class it derives from is in the
table; the roots are left out on purpose, so that a test can tell a new exception that nobody has thought about.
"""

import json
from collections.abc import Mapping

import httpx2

from orchestrator.core.errors import BackendFault

WIRE_FAULTS: Mapping[type[Exception], tuple[BackendFault, str]] = {
    httpx2.TimeoutException: ("transient", "a connection timed out"),
    httpx2.NetworkError: ("transient", "the connection failed"),
    httpx2.ProxyError: ("transient", "the proxy failed"),
    httpx2.UnsupportedProtocol: ("invalid_request", "base_url is not http or https"),
    httpx2.LocalProtocolError: ("invalid_request", "the request cannot be sent"),
    httpx2.RemoteProtocolError: ("transient", "the connection broke off"),
    httpx2.DecodingError: ("malformed_response", "the answer cannot be decoded"),
    httpx2.TooManyRedirects: ("invalid_request", "base_url redirects without end"),
    httpx2.SSEError: ("malformed_response", "the answer is no stream of events"),
    httpx2.HTTPStatusError: ("transient", "the service failed"),
    httpx2.InvalidURL: ("invalid_request", "base_url is no URL"),
    httpx2.CookieConflict: ("malformed_response", "the answer's cookies contradict each other"),
    httpx2.StreamError: ("transient", "the stream is closed"),
    json.JSONDecodeError: ("malformed_response", "the answer holds broken JSON"),
    UnicodeEncodeError: ("invalid_request", "the prompt holds half a character, which no request can carry"),
    UnicodeDecodeError: ("malformed_response", "the answer is not UTF-8"),
    RecursionError: ("malformed_response", "the answer is nested too deeply"),
    OSError: ("transient", "the connection failed"),
}
UNSENT: tuple[type[Exception], ...] = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
    httpx2.LocalProtocolError,
    httpx2.InvalidURL,
    UnicodeEncodeError,
)
"""What happens before anything of a request was sent."""
WIRE_ERRORS: tuple[type[Exception], ...] = (httpx2.HTTPError, *WIRE_FAULTS)


def fault_in(
    table: Mapping[type[Exception], tuple[BackendFault, str]], error: BaseException
) -> tuple[BackendFault, str]:
    """The kind and the words for an exception: of its class, or of the nearest one that it derives from."""
    for kind in type(error).__mro__:
        if issubclass(kind, Exception) and kind in table:
            return table[kind]
    return "transient", f"unknown failure {type(error).__name__}"


def is_unsent(error: BaseException) -> bool:
    """Whether an exception, or one that caused it, happened before anything was sent."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UNSENT):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
