"""Which replica answers: conversations stay where they are, loads stay near the mean, nothing grows without end."""

import math
import random

import pytest

from perilune.fleet.routing import MOST_PIECES, PIECE, SPREAD, Asked, PrefixRouter, asked_of

IDLE = {"a": 0, "b": 0, "c": 0}


def talk(*said, **fields):
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[i % 2], "content": one} for i, one in enumerate(said)], **fields}


def test_a_conversation_stays_where_it_began_and_others_spread():
    router = PrefixRouter()
    first = [router.choose(asked_of(talk(f"hello from {i}")), IDLE) for i in range(6)]
    assert sorted(first) == ["a", "a", "b", "b", "c", "c"]
    for turns in (3, 5, 7):
        said = [[f"hello from {i}", *(f"turn {n} of {i}" for n in range(turns - 1))] for i in range(6)]
        assert [router.choose(asked_of(talk(*one)), IDLE) for one in said] == first


def test_the_longest_known_prefix_goes_before_a_shorter_one():
    router = PrefixRouter()
    shared = {"system": "s" * 3000}
    mine, other = asked_of(talk("mine", **shared)), asked_of(talk("other", **shared))
    router.choose(mine, {"a": 0})
    router.choose(other, {"b": 0})  # the system prompt was served by b last
    assert router.choose(asked_of(talk("new", **shared)), IDLE) == "b"
    assert router.choose(asked_of(talk("mine", "yes", "and now?", **shared)), IDLE) == "a"


def test_a_small_known_part_draws_nobody():
    router, loads = PrefixRouter(), {"a": 1, "b": 0}
    router.choose(asked_of(talk("hi there")), {"a": 0})
    assert router.choose(asked_of(talk("hi there", "hello", "go on")), loads) == "a"
    assert router.choose(asked_of(talk("hi there", "hello", "x" * 10_000)), loads) == "b"


@pytest.mark.parametrize("seed", range(5))
def test_nobody_is_given_more_than_its_bound(seed):
    """However popular a conversation is, and whoever leaves in between."""
    rng, router, loads = random.Random(seed), PrefixRouter(), dict.fromkeys("abcd", 0)
    for _ in range(500):
        chosen = router.choose(asked_of(talk("the same for all")), loads)
        assert loads[chosen] + 1 <= math.ceil(SPREAD * (sum(loads.values()) + 1) / len(loads))
        loads[chosen] += 1
        while rng.random() < 0.45 and sum(loads.values()):
            busy = rng.choice([name for name in loads if loads[name]])
            loads[busy] -= 1


def test_a_busy_replica_gives_its_conversation_away_and_it_stays_there():
    router, asked = PrefixRouter(), asked_of(talk("hello"))
    assert router.choose(asked, {"a": 0}) == "a"
    assert router.choose(asked, {"a": 5, "b": 0}) == "b"
    assert router.choose(asked, {"a": 0, "b": 0}) == "b"


def test_who_is_gone_is_asked_no_more():
    router = PrefixRouter()
    chosen = router.choose(asked_of(talk("hello")), IDLE)
    rest = {name: 0 for name in IDLE if name != chosen}
    assert router.choose(asked_of(talk("hello")), rest) in rest


def test_keys_of_caches_and_users_draw_what_has_no_prefix_in_common():
    router = PrefixRouter()
    for name, value in (("prompt_cache_key", "k"), ("user", "u")):
        assert router.choose(asked_of(talk(f"about {name}", **{name: value})), {"b": 0}) == "b"
        again = [router.choose(asked_of(talk(f"{name} {i}", **{name: value})), IDLE) for i in range(4)]
        assert again == ["b"] * 4
    assert router.choose(asked_of(talk("x", prompt_cache_key="k"), owner="somebody else"), {"a": 0, "b": 1}) == "a"


def test_the_same_turn_is_known_in_other_spellings():
    plain = {"role": "user", "content": "hello"}
    parts = {"content": [{"text": "hello", "type": "text", "cache_control": {"type": "ephemeral"}}], "role": "user"}
    assert asked_of({"messages": [plain]}) == asked_of({"messages": [parts]})
    assert asked_of({"input": "hello"}) == asked_of({"input": [plain]}) == asked_of({"messages": [plain]})
    assert asked_of({"messages": [plain]}) != asked_of({"messages": [plain]}, owner="another")
    assert asked_of(talk("ab", "c")) != asked_of(talk("a", "bc"))


def test_a_text_is_known_up_to_where_it_differs():
    book = "".join(random.Random(0).choices("abcdef ", k=10 * PIECE))
    one, two = (asked_of(talk(f"{book} {question}?")) for question in ("who", "why"))
    same = [a == b for (a, _), (b, _) in zip(one.prefixes, two.prefixes, strict=True)]
    assert same == [True] * 10 + [False]
    assert [share for _, share in one.prefixes] == sorted(share for _, share in one.prefixes)
    assert one.prefixes[-1][1] == 1


@pytest.mark.parametrize("body", [{}, {"messages": None}, {"messages": 5}, {"input": [[], {}, None]}, {"user": 3}])
def test_odd_bodies_go_somewhere(body):
    assert PrefixRouter().choose(asked_of(body), IDLE) in IDLE


def test_deep_and_long_requests_are_bounded():
    deep = 0
    for _ in range(100_000):
        deep = [deep]
    assert asked_of({"messages": [deep]}).prefixes
    assert len(asked_of(talk("x" * (PIECE * (MOST_PIECES + 10)))).prefixes) == MOST_PIECES


def test_what_is_known_is_bounded_and_beginnings_stay():
    router, asked = PrefixRouter(most_known=4), Asked(tuple((bytes([i]), (i + 1) / 10) for i in range(10)))
    router.choose(asked, {"b": 0})
    assert len(router._known) == 4 and set(router._known) == {bytes([i]) for i in range(4)}
