"""Which addresses on the network may be read: the spelling of a URL, the host, and the number that its name stands for.

A URL is taken apart once, and the connection is made with those parts: there is no second parser that could see another
host in it. What a name stands for is looked up once, and only a number that belongs to the public network is good.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from perilune.errors import MediaError, RequestError
from perilune.fields import show_value

LONGEST_URL = 4096
DEFAULT_PORTS = {"http": 80, "https": 443}
Network = IPv4Network | IPv6Network

_PRINTABLE = re.compile(r"[!-\[\]-~]+")  # ASCII without spaces and the backslash, which some parsers take for a slash
_HOST = re.compile(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*(:[0-9]{1,5})?")
# IPv6 addresses that stand for an IPv4 one, which is their last 32 bits.
_EMBEDDED = (ip_network("::ffff:0:0/96"), ip_network("64:ff9b::/96"))
_GLOBAL_V6 = ip_network("2000::/3")
# Not on the public network, or not what it seems, though not every version of Python says so: protocols' own numbers,
# 6to4's relays, the service address that a large provider has among public ones; Teredo, examples, 6to4.
_NEVER_V4 = ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32")
_NEVER_V6 = ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
_NEVER = tuple(ip_network(network) for network in (*_NEVER_V4, *_NEVER_V6))


@dataclass(frozen=True)
class Host:
    """A host that may be asked: an exact name, or with `*.` every name below it; a port beside the usual ones."""

    name: str
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Host:
        """From "example.org", "*.example.org" or "example.org:8443"; raises RequestError."""
        if not _HOST.fullmatch(text.lower()) or len(text) > 255:
            raise RequestError(f"{show_value(text)} is no host; write example.org, *.example.org or example.org:8443")
        name, _, port = text.lower().partition(":")
        if port and not 1 <= int(port) <= 65535:
            raise RequestError(f"{show_value(text)}: a port is a number from 1 to 65535")
        return cls(name, int(port) if port else None)

    def covers(self, address: Address) -> bool:
        usual = DEFAULT_PORTS[address.scheme]
        if address.port != (self.port or usual):
            return False
        return address.host.endswith(self.name[1:]) if self.name.startswith("*.") else address.host == self.name


@dataclass(frozen=True)
class Address:
    """A URL in the parts that a connection needs; `target` is its path with the query."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        return self.host if self.port == DEFAULT_PORTS[self.scheme] else f"{self.host}:{self.port}"


def read_url(url: str, hosts: Collection[Host]) -> Address:
    """The parts of a URL that may be asked. Raises MediaError."""
    if len(url) > LONGEST_URL or not _PRINTABLE.fullmatch(url):
        raise MediaError(
            f"an address has up to {LONGEST_URL} printable ASCII characters without spaces and backslashes"
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise MediaError(f"{show_value(url)} is no address") from None
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise MediaError(f"{show_value(url)} is no address that is fetched from; it begins with https:// or http://")
    if "@" in parts.netloc:
        raise MediaError("an address with a user name or a password in it is not fetched from")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    address = Address(parts.scheme, parts.hostname, port or DEFAULT_PORTS[parts.scheme], target)
    if port == 0 or not any(host.covers(address) for host in hosts):
        told = show_value(address.authority)
        raise MediaError(
            f"nothing is fetched from {told}: this server does not allow that host; send a data URL instead"
        )
    return address


def check_number(number: str, allowed: Iterable[Network] = ()) -> None:
    """Raises MediaError unless a number ("93.184.216.34") is one of the public network, or of those `allowed`."""
    found = ip_address(number.partition("%")[0])
    if any(found in network for network in allowed):
        return
    inner: IPv4Address | IPv6Address = found
    if any(found in network for network in _EMBEDDED):
        inner = IPv4Address(int(found) & 0xFFFF_FFFF)
    strange = inner.is_multicast or inner.is_reserved or any(inner in network for network in _NEVER)
    outside = isinstance(inner, IPv6Address) and inner not in _GLOBAL_V6
    if strange or outside or not inner.is_global:
        raise MediaError("nothing is fetched from there: the host's address is not one of the public network")
