"""For all tests: no connection leaves this machine. A test that tries one fails, even where the code swallows the error."""

import ipaddress
import socket
from collections.abc import Iterator

import pytest

_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def is_local(address: object) -> bool:
    """A path (AF_UNIX), or a host and port on loopback; a name is local only as `localhost`."""
    if isinstance(address, str | bytes):
        return True
    if not isinstance(address, tuple) or not isinstance(address[0], str):
        return False
    host = address[0].partition("%")[0]
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@pytest.fixture(autouse=True)
def _no_connection_off_loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    tried = []

    def guarded(connect):
        def connecting(self, address):
            if self.family != socket.AF_UNIX and not is_local(address):
                tried.append(address)
                raise PermissionError(f"a test tried to connect to {address!r}")
            return connect(self, address)

        return connecting

    def resolving(host, *args, real=socket.getaddrinfo, **kwargs):
        # Asking a name server is a connection too, made below Python's sockets.
        name = host.decode() if isinstance(host, bytes) else host
        if name is not None and name != "" and not is_local((name, 0)) and not _is_address(name):
            tried.append(name)
            raise socket.gaierror(socket.EAI_NONAME, f"a test tried to look up {name!r}")
        return real(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", guarded(socket.socket.connect))
    monkeypatch.setattr(socket.socket, "connect_ex", guarded(socket.socket.connect_ex))
    monkeypatch.setattr(socket, "getaddrinfo", resolving)
    for name in _PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    yield
    assert not tried, f"this test tried to reach {tried}; it must stay on loopback"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
