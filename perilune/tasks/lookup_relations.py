"""What a needle tells about its subject: nouns such as "access code", each with the kinds of value that fit it."""

import random
from dataclasses import dataclass

from perilune.tasks.lookup_values import KINDS
from perilune.tasks.task import pick

CODES = (
    "digits3",
    "digits4",
    "digits5",
    "digits6",
    "digits7",
    "digits8",
    "number",
    "serial",
    "mixed",
    "hex",
    "made_up",
)
ANYTHING = (*CODES, "digits1", "digits2", "digits9", "digits10", "uuid", "phrase", "word", "letters")
WORDY = ("phrase", "phrase", "phrase", "word", "made_up", "mixed", "letters")

TRAIN: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        CODES,
        "access code | entry code | door code | PIN | locker number | serial number | badge number | order number | "
        "ticket number | room code | alarm code | release code | service code | maintenance code | booking code | "
        "inventory number | customer number | catalogue number | lot number | tracking code | member number",
    ),
    (
        ANYTHING,
        "code | number | key | value | token | identifier | tag | label | mark | sign | entry | reference",
    ),
    (
        WORDY,
        "password | passphrase | watchword | access phrase | motto | nickname | slogan | keyword | greeting",
    ),
    (("clock",), "opening time | departure time | arrival time | meeting time | starting time | alarm time"),
    (("date", "date", "year", "weekday", "month"), "deadline | birthday | delivery date | due date | day of the visit"),
    (("year", "digits4"), "year of construction | first year"),
    (("person", "made_up"), "owner | keeper | manager | teacher | builder | designer | captain | neighbour | doctor"),
    (("town", "made_up"), "home town | birthplace | destination | next stop | place of origin"),
    (("street", "spot"), "address | location | position | storage place | parking place"),
    (("colour",), "colour | paint | flag colour"),
    (("animal", "made_up"), "mascot | favourite animal | pet"),
    (("food",), "favourite dish | daily meal"),
    (("amount",), "price | rent | fee | budget | debt | salary"),
    (("measure", "percent"), "capacity | limit | level | setting | reading | output"),
    (("mass",), "weight | load"),
    (("distance",), "length | height | distance | width"),
    (("ip",), "IP address | network address"),
    (("version",), "version | firmware version"),
    (("phone", "digits4"), "phone number | extension | emergency number"),
    (("email",), "email | contact address"),
    (("path",), "source file | settings file"),
    (("uuid", "hex"), "id | session id | hash | device id | record id"),
    (("thing", "phrase"), "hiding object | gift | prize | cargo | lost item"),
    (("spelled",), "crew | stock | supply | duration | interval | reserve | harvest | waiting time | term"),
    (
        ("phrase", "thing", "word"),
        "topic | title | reason | cause | theme | name | ingredient | weapon | material | tool",
    ),
    (("person", "made_up"), "author | winner | leader | witness | friend | guardian | patron | rival | heir | guest"),
    (
        ("town", "made_up", "spot"),
        "meeting point | branch | harbour | hiding place | residence | camp | source | venue",
    ),
    (("date", "clock", "weekday"), "time of repair | next visit | end of the lease | start of work | last change"),
    (("uuid", "number", "hex"), "secret identifier | unique key | signature | seal | checksum | transaction number"),
    (("email", "phone", "ip", "path"), "contact | endpoint | folder | link | mailbox | backup place | report file"),
)
HELD_OUT: tuple[tuple[tuple[str, ...], str], ...] = (
    (CODES, "vault combination | licence plate | gate cipher | account digits | lock sequence | voucher | invoice no"),
    (("digits7", "digits7", "number"), "special magic number"),
    (("uuid",), "special magic uuid"),
    (("word", "made_up"), "special magic word"),
    (WORDY, "codename | callsign | war cry | secret line | signature tune | alias"),
    (("clock",), "curfew | boarding hour | high tide"),
    (("date", "year"), "expiry | founding day | anniversary"),
    (("person",), "curator | landlord | sponsor | godmother"),
    (("town",), "headquarters | port of call"),
    (("spot", "street"), "berth | whereabouts"),
    (("animal",), "emblem"),
    (("amount",), "toll | ransom | monthly bill"),
    (("measure",), "depth | payload | radius"),
    (("ip",), "host | gateway"),
    (("phone",), "hotline"),
    (("path",), "log destination"),
    (("phrase", "thing"), "souvenir | trophy"),
)


@dataclass(frozen=True)
class Relation:
    noun: str
    kinds: tuple[str, ...]

    @property
    def plural(self) -> str:
        first, of, rest = self.noun.partition(" of ")
        if first.endswith("y") and first[-2] not in "aeiou":
            first = f"{first[:-1]}ies"
        else:
            first += "es" if first.endswith(("s", "x", "ch", "sh")) else "s"
        return first + of + rest


def _read(groups: tuple[tuple[tuple[str, ...], str], ...]) -> tuple[tuple[Relation, ...], ...]:
    return tuple(tuple(Relation(noun, kinds) for noun in nouns.split(" | ")) for kinds, nouns in groups)


RELATIONS = {False: _read(TRAIN), True: _read(HELD_OUT)}


def relation(rng: random.Random, held_out: bool, room: int) -> tuple[Relation, str]:
    """A relation, and one kind of its values that has at least `room` different ones."""
    while True:
        groups = RELATIONS[held_out]
        # Half of the draws from the first three groups: open values are what most questions ask for.
        chosen = pick(rng, pick(rng, groups[:3] if rng.random() < 0.5 else groups))
        kind = pick(rng, chosen.kinds)
        if KINDS[kind].room >= room:
            return chosen, kind


def fitting(rng: random.Random, held_out: bool, kind: str) -> Relation:
    """A relation whose values may be of this kind."""
    return pick(rng, [known for group in RELATIONS[held_out] for known in group if kind in known.kinds])


def others(rng: random.Random, held_out: bool, known: Relation, count: int, room: int) -> list[tuple[Relation, str]]:
    """More relations of the same document, none of whose nouns contains or is contained in another."""
    found: list[tuple[Relation, str]] = []
    nouns = [known.noun]
    for _ in range(50 * count):
        chosen, kind = relation(rng, held_out, room)
        if len(found) < count and not any(chosen.noun in noun or noun in chosen.noun for noun in nouns):
            found.append((chosen, kind))
            nouns.append(chosen.noun)
    return found
