import math
import random

from perilune.weights.worth import FADE, FadingUses


def at(worths: FadingUses, layers: int, key, times: int = 1) -> None:
    """So many tokens later the key is used."""
    for _ in range(layers * times):
        worths.next_layer()
    worths.use(key)


def anyone(_) -> bool:
    return True


def test_uses_fade_as_they_are_defined_to():
    """The plain form: every use counts FADE to the power of the tokens since; the least sum goes first."""
    rng, layers = random.Random(3), 4
    for _ in range(20):
        worths, uses, held = FadingUses(layers), {}, set()
        for now in range(300):
            worths.next_layer()
            key = (rng.randrange(layers), int(rng.paretovariate(0.7)) % 30)
            if key not in held and len(held) == 8:
                plain = {k: sum(FADE ** ((now - t) / layers) for t in uses[k]) for k in held}
                gone = worths.least(anyone)
                assert gone in held and plain[gone] <= min(plain.values()) * (1 + 1e-9)
                held.remove(gone)
            held.add(key)
            uses.setdefault(key, []).append(now)
            worths.use(key)


def test_what_is_in_use_stays_and_is_asked_about_again():
    worths = FadingUses(1)
    for expert in range(3):
        at(worths, 1, (0, expert))
    assert worths.least(lambda key: key == (0, 2)) == (0, 2)
    assert worths.least(lambda key: False) is None
    assert worths.least(anyone) == (0, 0) and worths.least(anyone) == (0, 1) and worths.least(anyone) is None


def test_a_guess_is_held_like_a_use_until_it_was_wrong():
    worths = FadingUses(1)
    at(worths, 1, (0, 0))
    at(worths, 1, (0, 1))
    worths.guess((0, 2))
    worths.unguess((0, 3))  # nobody holds it
    worths.unguess((0, 2))
    assert worths.least(anyone) == (0, 2)
    worths.guess((0, 2))
    assert worths.least(anyone) == (0, 0)


def test_what_left_is_remembered_and_what_is_forgotten_does_not_grow():
    worths = FadingUses(1)
    for _ in range(5):
        at(worths, 1, (0, 7))
    worths.drop((0, 7))
    at(worths, 1, (0, 1))
    worths.use((0, 7))
    assert worths.least(anyone) == (0, 1)
    for _ in range(10_000):
        at(worths, 1, (0, 7))
    assert len(worths._heap) < 100


def test_uses_are_counted_without_holding_and_the_least_worth_is_known():
    worths = FadingUses(1, fade=0.5)
    assert worths.lowest() == math.inf
    assert worths.count((0, 1), 4) == 2.0 and (0, 1) not in worths
    worths.use((0, 2))
    worths.keep((0, 1))
    assert worths.lowest() == 0.0 and len(worths) == 2
    worths.use((0, 2))
    assert worths.lowest() == 1.0
    assert worths.least(anyone) == (0, 2) and worths.lowest() == 2.0
