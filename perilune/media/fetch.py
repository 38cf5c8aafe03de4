"""Media from other machines, from hosts that were allowed one by one: what comes is bounded in bytes and in time.

Every address on the way, redirects too, is read, looked up and checked anew, and the connection goes to the very number
that was checked: nobody answers differently in between. No proxy, no cookie, no compression.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import urljoin

from perilune.errors import MediaError
from perilune.fields import show_value
from perilune.media.address import Address, Host, Network, check_number, read_url
from perilune.media.kinds import HEAD_BYTES, check_format

CONNECT_SECONDS = 5.0
SECONDS = 60.0  # for everything: redirects, waiting and reading; only the system's look-up of a name has its own limit
MOST_REDIRECTS = 3
MOST_NUMBERS = 4  # of a host that are tried
READ_BYTES = 64 << 10
REDIRECTS = (301, 302, 303, 307, 308)

Resolve = Callable[[str, int], Sequence[str]]  # a host's name and the port → its numbers


def system_numbers(host: str, port: int) -> list[str]:
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class Remote:
    """Fetches from `hosts` alone. The other arguments are for tests and odd networks: how names are looked up, networks
    that count as public, whom to trust, how long to wait."""

    def __init__(
        self,
        hosts: Iterable[str],
        *,
        resolve: Resolve = system_numbers,
        allowed: Sequence[Network] = (),
        trust: ssl.SSLContext | None = None,
        seconds: float = SECONDS,
    ):
        self.hosts = tuple(Host.parse(host) for host in hosts)
        self._resolve, self._allowed, self._seconds = resolve, tuple(allowed), seconds
        self._trust = trust or ssl.create_default_context()

    def get(self, url: str, kind: str, most: int, seconds: float = SECONDS) -> bytes:
        """The bytes of a picture, sound or clip, at most `most` of them, within `seconds`. Raises MediaError."""
        seconds = min(seconds, self._seconds)
        end = time.monotonic() + seconds
        try:
            for _ in range(MOST_REDIRECTS + 1):
                address = read_url(url, self.hosts)
                with self._connected(address, end) as line:
                    response = _asked(_Line(line, end), address)
                    if response.status not in REDIRECTS:
                        return _read(response, kind, most)
                    url = urljoin(url, response.headers.get("location", ""))
        except TimeoutError:
            raise MediaError(f"the address did not answer in full within {seconds:.3g} seconds") from None
        except ssl.SSLCertVerificationError:
            raise MediaError("the host has no certificate that is trusted") from None
        except (OSError, http.client.HTTPException, ValueError):
            raise MediaError("the address did not answer as the web does, or the connection broke off") from None
        raise MediaError(f"the address leads to another more than {MOST_REDIRECTS} times")

    def _connected(self, address: Address, end: float) -> socket.socket:
        try:
            numbers = list(dict.fromkeys(self._resolve(address.host, address.port)))
        except (OSError, UnicodeError):
            numbers = []
        for number in numbers:
            check_number(number, self._allowed)
        line = None
        for number in numbers[:MOST_NUMBERS]:
            wait = min(CONNECT_SECONDS, _left(end))
            try:
                line = socket.create_connection((number, address.port), wait)
                break
            except OSError:
                continue
        if line is None:
            raise MediaError(f"the host {show_value(address.authority)} cannot be reached")
        if address.scheme == "http":
            return line
        try:
            return self._trust.wrap_socket(line, server_hostname=address.host)
        except BaseException:
            line.close()
            raise


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _asked(line: _Line, address: Address) -> http.client.HTTPResponse:
    asking = http.client.HTTPConnection(address.host, address.port)
    asking.auto_open = 0  # it has this connection, and makes none of its own
    asking.sock = line  # pyrefly: ignore
    headers = {"host": address.authority, "accept": "*/*", "accept-encoding": "identity", "user-agent": "perilune"}
    asking.request("GET", address.target, headers={**headers, "connection": "close"})
    return asking.getresponse()


def _read(response: http.client.HTTPResponse, kind: str, most: int) -> bytes:
    if response.status != 200:
        raise MediaError(f"the address answered with status {response.status}")
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise MediaError("the answer is compressed, though it was not to be")
    too_large = MediaError(f"the {kind} is larger than {most:,} bytes, which is the most that is fetched")
    if response.length is not None and response.length > most:
        raise too_large
    made = bytearray(response.read(HEAD_BYTES))
    check_format(bytes(made), kind)  # what is none is not read to its end
    while len(made) <= most and (piece := response.read(READ_BYTES)):
        made += piece
    if len(made) > most:
        raise too_large
    if response.length:
        raise http.client.IncompleteRead(b"")
    return bytes(made)


class _Line:
    """A connection as http.client wants it; all waiting on it ends at one time, however slow the other side is."""

    def __init__(self, line: socket.socket, end: float):
        self._line, self._end = line, end

    def sendall(self, data: Any) -> None:
        self._line.settimeout(_left(self._end))
        self._line.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Timed(self._line, self._end))

    def close(self) -> None:
        """The answer is still being read; whoever opened the connection closes it."""


class _Timed(io.RawIOBase):
    def __init__(self, line: socket.socket, end: float):
        self._line, self._end = line, end

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._line.settimeout(_left(self._end))
        return self._line.recv_into(buffer)
