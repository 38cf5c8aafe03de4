"""Wrong keys, counted for each address they come from: whoever guesses waits, and nobody else does.

There is no limit for all addresses together. It would let one attacker lock everybody out, and it would protect little:
keys can be tried at /v1, too, and what keeps them safe is their length. Behind a proxy an address is what the server
(uvicorn) takes from x-forwarded-for: of a proxy on this machine, or of those that FORWARDED_ALLOW_IPS names.
"""

from __future__ import annotations

import ipaddress
import math
import threading
from collections import OrderedDict, deque
from time import monotonic

MOST_WRONG, WRONG_SECONDS = 10, 60.0  # keys that are wrong from one address, in so many seconds
MOST_ADDRESSES = 10_000  # that are remembered; the one whose last try is oldest is forgotten first
IPV6_HOST_BITS = 64  # of an address, which its owner chooses at will


class WrongKeys:
    """Wrong tries of the last WRONG_SECONDS, by address."""

    def __init__(self) -> None:
        self._tries: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait(self, address: str, right: bool) -> int:
        """Whole seconds until a try of this address is looked at, be it right or not; 0 when it is looked at now, and
        counted if it is wrong."""
        now = monotonic()
        with self._lock:
            self._forget(now)
            tries = self._tries.get(address, deque(maxlen=MOST_WRONG))
            if len(tries) == MOST_WRONG and tries[0] > now - WRONG_SECONDS:
                return math.ceil(tries[0] + WRONG_SECONDS - now)
            if not right:
                tries.append(now)
                self._tries[address] = tries
                self._tries.move_to_end(address)
        return 0

    def _forget(self, now: float) -> None:
        while self._tries:
            address, tries = next(iter(self._tries.items()))
            if len(self._tries) < MOST_ADDRESSES and tries[-1] > now - WRONG_SECONDS:
                return
            del self._tries[address]


def address_of(host: str | None) -> str:
    """What tells one client from others: an IPv4 address, or the network of an IPv6 address. What is neither, such as
    a local socket or what a proxy made up, is one client."""
    try:
        address = ipaddress.ip_address(host or "")
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return f"{int(address) >> IPV6_HOST_BITS:x}"
        address = address.ipv4_mapped
    return str(address)
