"""Questions about real sentences: one part of what somebody wrote is asked for, in the rest of its words.

No template made the sentence, so values are such as people write: "two hundred crowns", "the third of October". A
sentence is only taken where simple rules of English find a part that can be asked for.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

from perilune.tasks.lookup_types import Lookup, Question, fair, prose_filler, question
from perilune.tasks.task import capital, chance, pick


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


FEWEST, MOST = 5, 22  # words of a sentence
LONGEST_VALUE = 6  # words
TRIES = 24  # pieces of text looked at for each sentence wanted
PLAIN = re.compile(r"[A-Z][^\n|()\[\]\"“”{}<>=*_;:?!]+\.")
NUMBER = re.compile(r"\d+([,.]\d+)*%?")
YEAR = re.compile(r"(1[0-9]|20)\d\d")
NUMERALS = _set(
    "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen "
    "nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand dozens hundreds thousands"
)
UNEVEN = re.compile(r"[,.]$|, (?![A-Z])|^(and|or|that|which|be|do) ")
AUXILIARIES = _set("was is were are has had can will would could should may must does did")
PREPOSITIONS = _set(
    "about above across after against along among around as at before behind below beneath beside between beyond by "
    "during for from in inside into like near of off on onto over through to toward towards under until upon with "
    "within without"
)
MODALS = _set("can will would could should may must did")
ADVERBS = _set("also always already even ever finally first just later never not now often once only soon still then")
LITTLE = ADVERBS | _set("a an the its his her their of that then very")
PLACES = _set("above across behind below beneath beside between beyond inside near over under")
STARTS_LOW = _set(
    "a all an and another as at because both but by during each every few first for from he her his i if in it its "
    "many most my next no on one only other our several since so some such that the their then there these they this "
    "those three to today two under until we when while with you your"
)
PRONOUNS = _set("he she it they this these that those there i we you who which what and but so if when while as")
_IRREGULAR = (
    "went/go took/take found/find made/make gave/give came/come became/become began/begin wrote/write saw/see "
    "said/say told/tell held/hold kept/keep left/leave led/lead lost/lose met/meet paid/pay ran/run rose/rise "
    "sold/sell sent/send spent/spend stood/stand taught/teach thought/think won/win built/build bought/buy "
    "brought/bring caught/catch chose/choose drew/draw drove/drive fell/fall felt/feel flew/fly fought/fight "
    "froze/freeze got/get grew/grow knew/know lay/lie spoke/speak sank/sink sang/sing sat/sit slept/sleep "
    "struck/strike swam/swim threw/throw wore/wear broke/break bore/bear heard/hear hid/hide"
)
IRREGULAR = {past: plain for past, _, plain in (pair.partition("/") for pair in _IRREGULAR.split())}
LEADS = ("", "", "", "", "Please answer: ", "Short question: ", "From the text: ", "I wonder: ", "Tell me: ")


def sentences(rng: random.Random, needles: int, text: Callable[[], str]) -> Lookup | None:
    """`text` gives the next piece of real text. None where too little of it could be asked for."""
    found: list[tuple[str, str, str]] = []
    for _ in range(TRIES * needles):
        if len(found) == needles:
            break
        sentence = text().strip()
        made = asked_of(rng, sentence)
        if made is not None and all(made[1] not in other and sentence != other for other, _, _ in found):
            found.append((sentence, *made))
    questions = (question(text, (value,), (i,)) for i, (_, text, value) in enumerate(found))
    kept = tuple(asked for asked in questions if fair(asked) and not _elsewhere(asked, found))
    return Lookup("sentences", tuple(s for s, _, _ in found), kept, prose_filler(rng)) if kept else None


def _elsewhere(asked: Question, found: Sequence[tuple[str, str, str]]) -> bool:
    """Whether a later sentence holds the value too."""
    return any(asked.values[0] in sentence for i, (sentence, _, _) in enumerate(found) if i not in asked.needles)


def asked_of(rng: random.Random, sentence: str) -> tuple[str, str] | None:
    """A question about one part of the sentence, and that part; None where no rule fits."""
    if not PLAIN.fullmatch(sentence):
        return None
    words = sentence[:-1].split()
    if not FEWEST <= len(words) <= MOST:
        return None
    if words[0].lower() in PRONOUNS or words[0].lower() in PREPOSITIONS or words[0].endswith((",", "ly")):
        return None
    words[0] = words[0].lower() if words[0].lower() in STARTS_LOW else words[0]
    rules = [_tail, _tail, _subject, _object, _object, _copula, _number, _owner]
    rng.shuffle(rules)
    for rule in rules:
        made = rule(rng, words)
        if made is None:
            continue
        asked, value = " ".join(made[0]), " ".join(made[1])
        value = value if value in sentence else capital(value)
        if value in sentence and len(made[1]) <= LONGEST_VALUE and not UNEVEN.search(value):
            return _said(rng, asked), value
    return None


Made = tuple[list[str], list[str]] | None  # the words of the question, and of the value


def _verb(words: Sequence[str]) -> tuple[int, str, str] | None:
    """Where the first finite verb seems to stand, its auxiliary in a question, and its form after that."""
    for i, word in enumerate(words[:9]):
        if i and word in AUXILIARIES:
            return i, word, ""
        if i and word in IRREGULAR:
            return i, "did", IRREGULAR[word]
        if i and len(word) > 4 and word.endswith("ed") and word.islower():
            return i, "did", _plain(word)
    return None


def _plain(past: str) -> str:
    """ "carried" → "carry", "stopped" → "stop", "used" → "use"; near enough where English is not so simple."""
    stem = past[:-2]
    if stem.endswith("i"):
        return stem[:-1] + "y"
    if len(stem) > 3 and stem[-1] == stem[-2] and stem[-1] not in "lsz":
        return stem[:-1]
    return stem + "e" if stem[-1] in "cgsuvz" or re.search(r"[^aeiou][aiou][dklmrt]$", stem) else stem


def _inverted(lead: list[str], words: list[str], verb: tuple[int, str, str]) -> list[str]:
    i, auxiliary, form = verb
    return [*lead, auxiliary, *words[:i], *([form] if form else []), *words[i + 1 :]]


def _tail(rng: random.Random, words: list[str]) -> Made:
    """What stands after a preposition, up to the end: "where", "to whom", or the sentence broken off before it."""
    verb = _verb(words)
    if verb is None:
        return None
    first = max(3, verb[0] + 1, len(words) - LONGEST_VALUE - 1)
    places = [i for i in range(first, len(words) - 1) if words[i] in PREPOSITIONS]
    if not places:
        return None
    place = pick(rng, places)
    if words[place] == "to" and words[place + 1] not in STARTS_LOW and words[place + 1].islower():
        return None  # an infinitive, most likely
    head, by, value = words[:place], words[place], words[place + 1 :]
    if by in PLACES and chance(rng, 0.5):
        return _inverted(["where"], head, verb), [by, *value]
    named = value[0][0].isupper()
    if YEAR.fullmatch(value[0]) and len(value) == 1:
        asks = pick(rng, (["when"], [by, "which", "year"], ["what", "year"]))
    elif by in ("in", "at", "near", "on", "from") and named and chance(rng, 0.5):
        asks = pick(rng, (["where"], [by, "which", "place"], [by, "where"]))
    else:
        asks = [by, pick(rng, ("whom", "which", "what") if named else ("what", "what", "which"))]
    if chance(rng, 0.15):
        return [*head, *asks], value
    if len(asks) == 2 and asks[0] == by and chance(rng, 0.5):
        return [*_inverted(asks[1:], head, verb), by], value
    return _inverted(asks, head, verb), value


def _subject(rng: random.Random, words: list[str]) -> Made:
    """ "who", "what", "which" alone, or "which" with the last word of what did it."""
    verb = _verb(words)
    if verb is None or any("," in word for word in words[: verb[0]]):
        return None
    subject, rest = words[: verb[0]], words[verb[0] :]
    if words[0] == "how" or subject[-1] in ADVERBS:
        return None
    if len(subject) > 1 and words[0] in ("the", "a", "an", "one") and subject[-1].islower() and chance(rng, 0.3):
        return ["which", subject[-1], *rest], subject
    named = words[0][0].isupper() or words[0] in ("her", "his", "my")
    return [pick(rng, ("who", "what") if named else ("what", "which", "who")), *rest], subject


def _object(rng: random.Random, words: list[str]) -> Made:
    """What stands after the verb, up to the end or to a word that opens something else, which is then in the question:
    whatever is asked for ends where the question says more, and nowhere before."""
    verb = _verb(words)
    if verb is None or verb[1] not in MODALS:
        return None
    i, auxiliary, form = verb
    start = i + 1 if form else i + 2
    first = words[start : start + 1]
    if not first or first[0] in PREPOSITIONS | ADVERBS | PRONOUNS | {"to", "not", "be", "have"}:
        return None
    said = [form] if form else words[i + 1 : i + 2]
    stops = [j for j in range(start + 1, len(words)) if words[j] in PREPOSITIONS]
    end = pick(rng, [*stops[:2], len(words)])
    if words[end - 1].endswith(","):
        return None
    return ["what", auxiliary, *words[:i], *said, *words[end:]], words[start:end]


def _owner(rng: random.Random, words: list[str]) -> Made:
    """ "Marta's tea was cold" → "Whose tea was cold?" """
    verb = _verb(words)
    if verb is None:
        return None
    owned = next((i for i in range(min(verb[0], 4)) if words[i].endswith("'s")), None)
    if owned is None or owned + 1 >= verb[0]:
        return None
    return ["whose", *words[owned + 1 :]], [*words[:owned], words[owned].removesuffix("'s")]


def _copula(rng: random.Random, words: list[str]) -> Made:
    verb = _verb(words)
    if verb is None or verb[1] not in ("is", "was", "are", "were"):
        return None
    return [pick(rng, ("what", "what", "who", "how")), verb[1], *words[: verb[0]]], words[verb[0] + 1 :]


def _number(rng: random.Random, words: list[str]) -> Made:
    """A number, in digits or words, with or without what it counts; no year."""
    places = [i for i, w in enumerate(words) if i > 1 and _counts(w)]
    verb = _verb(words)
    if not places or verb is None or verb[0] >= places[0]:
        return None
    i = pick(rng, places)
    if any(_counts(word) for word in (words[i - 1], *words[i + 1 : i + 2])):
        return None  # a part of a longer number
    counted = words[i + 1 : i + 2]
    if not counted or not counted[0].isalpha():
        return _inverted(["what", "number"], words[:i] + words[i + 1 :], verb), words[i : i + 1]
    asks = ["how", pick(rng, ("many", "many", "much")), *counted]
    return _inverted(asks, words[:i] + words[i + 2 :], verb), words[i : i + (2 if chance(rng, 0.4) else 1)]


def _counts(word: str) -> bool:
    return word in NUMERALS or bool(NUMBER.fullmatch(word) and not YEAR.fullmatch(word))


def _said(rng: random.Random, asked: str) -> str:
    """Some questions drop little words, some have a lead, some are written carelessly. Words that carry a meaning stay:
    without them a part of the answer would be as good as the whole."""
    words = [word.rstrip(",") if chance(rng, 0.7) else word for word in asked.split()]
    if chance(rng, 0.35):
        words = [word for i, word in enumerate(words) if i < 2 or word not in LITTLE or chance(rng, 0.5)]
    lead = pick(rng, LEADS)
    said = " ".join(words) + ("" if chance(rng, 0.1) else "?")
    return lead + (said if chance(rng, 0.1) else capital(said))
