"""Wrong keys by address: who waits and how long, what an address is, and how many of them are remembered."""

import pytest

from perilune.app import wrong_keys
from perilune.app.wrong_keys import MOST_WRONG, WRONG_SECONDS, WrongKeys, address_of


@pytest.fixture
def clock(monkeypatch):
    """Seconds, as a list of one that can be set."""
    now = [1000.0]
    monkeypatch.setattr(wrong_keys, "monotonic", lambda: now[0])
    return now


def guess(wrong, address, count=MOST_WRONG):
    for _ in range(count):
        assert wrong.wait(address, right=False) == 0


def test_an_address_waits_until_its_oldest_try_is_a_minute_old(clock):
    wrong = WrongKeys()
    guess(wrong, "a", 1)
    clock[0] += 20
    guess(wrong, "a", MOST_WRONG - 1)
    assert wrong.wait("a", right=True) == wrong.wait("a", right=False) == WRONG_SECONDS - 20
    assert wrong.wait("b", right=True) == 0
    clock[0] += WRONG_SECONDS - 20
    assert wrong.wait("a", right=True) == 0
    guess(wrong, "a", 1)
    assert wrong.wait("a", right=True) == 20


def test_tries_while_waiting_do_not_make_the_wait_longer(clock):
    wrong = WrongKeys()
    guess(wrong, "a")
    clock[0] += WRONG_SECONDS - 1
    for _ in range(100):
        assert wrong.wait("a", right=False) == 1
    clock[0] += 1
    assert wrong.wait("a", right=True) == 0


def test_a_right_key_neither_counts_nor_forgives(clock):
    wrong = WrongKeys()
    guess(wrong, "a", MOST_WRONG - 1)
    for _ in range(100):
        assert wrong.wait("a", right=True) == 0
    guess(wrong, "a", 1)
    assert wrong.wait("a", right=True) == WRONG_SECONDS


def test_addresses_are_forgotten_with_time_and_above_their_cap_the_oldest_first(clock, monkeypatch):
    monkeypatch.setattr(wrong_keys, "MOST_ADDRESSES", 100)
    wrong = WrongKeys()
    guess(wrong, "first")
    for number in range(98):
        guess(wrong, f"other {number}", 1)
    assert wrong.wait("first", right=True) > 0
    for number in range(1000):
        guess(wrong, f"more {number}", 1)
        assert len(wrong._tries) <= 100
    assert wrong.wait("first", right=True) == 0
    clock[0] += WRONG_SECONDS
    assert wrong.wait("last", right=True) == 0 and not wrong._tries


def test_an_ipv6_network_is_one_client_and_so_is_everything_without_an_address():
    assert address_of("2001:db8:1:2::1") == address_of("2001:db8:1:2:ffff::9%eth0") != address_of("2001:db8:1:3::1")
    assert address_of("::ffff:192.0.2.1") == address_of("192.0.2.1") != address_of("192.0.2.2")
    assert address_of(None) == address_of("x" * 10_000) == address_of("unix:") == ""
