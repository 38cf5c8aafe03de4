"""Synthetic speech to write down or to answer: sentences, requests, numbers, digits, command words."""

import random
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np

from perilune.corpus.media import Medium
from perilune.corpus.media_sources import media_source
from perilune.corpus.readers import sentences
from perilune.corpus.sources import source
from perilune.corpus.speech import ACCENTS, FLITE, FLITE_VOICES, Voice, has_flite, speak, variants
from perilune.tasks import sounds
from perilune.tasks.about import about
from perilune.tasks.facts import fact
from perilune.tasks.printed import common_words
from perilune.tasks.shown import Draw, ShownFamily, Told, wordings
from perilune.tasks.task import Example, chance, pick
from perilune.tasks.toolset import TOOLS
from perilune.tasks.vocabulary import ANIMALS, COLOURS, FOODS, NAMES, PLACES

WRITE = wordings(
    "What is said?",
    "Write down what you hear.",
    "What does the voice say?",
    "Write what is said.",
    "Transcribe the recording.",
    "What did the speaker say?",
    "Put this speech into text.",
    "Which sentence do you hear?",
    "Tell me the words of the recording.",
    "Write this down, please.",
    "What do you hear?",
    "Turn the speech into text.",
    "Type what the voice says.",
    "Which words are spoken?",
    "Please transcribe this.",
)
NUMBER = wordings(
    "Which number do you hear?",
    "Write the number in figures.",
    "What number is said?",
    "Which number does the voice say?",
    "What number was spoken?",
    "Tell me the number you hear.",
    "Listen. Which number is it?",
    "Write down the number.",
    "What is the spoken number?",
    "Name the number in the recording.",
)
SHORTEST, LONGEST = 2, 12
MAX_SENTENCES = 60_000
LARGEST_DIGITS = 3
_PLAIN = re.compile(r"[A-Za-z ,.?!']+")
_SPEAKER = re.compile(r"^[AB]: ")


def voice(draw: Draw) -> Voice:
    """A speaker of this side at any pace and pitch; half of those to train on are voices of people, if they can be."""
    rng = draw.rng
    gap = rng.randint(0, 8) if chance(rng, 0.2) else 0
    accent, variant = pick(rng, ACCENTS), pick(rng, variants(draw.held_out))
    if draw.trains and chance(rng, 0.5) and has_flite():
        accent, variant = FLITE, pick(rng, FLITE_VOICES)
    return Voice(accent, variant, rng.randint(120, 210), rng.randint(25, 75), gap)


def said(draw: Draw, text: str) -> np.ndarray:
    return speak(text, voice(draw), draw.speech_cache)


def _recorded(draw: Draw, samples_S: np.ndarray) -> Medium:
    """The voice sets the pace, so the recording keeps it."""
    return draw.recorded(samples_S, (0.9, 1.12))


@lru_cache
def real_sentences(name: str, root: Path, held_out: bool) -> tuple[str, ...]:
    """Sentences of two to twelve plain words from a source of text; those of the other side are left out."""
    found: dict[str, None] = {}
    for item in source(name).items(root, held_out):
        for line in (item.text or "").splitlines():
            for sentence in sentences(_SPEAKER.sub("", line)):
                good = _PLAIN.fullmatch(sentence) and sentence[0].isupper() and sentence[-1] in ".?!"
                if good and SHORTEST <= len(sentence.split()) <= LONGEST:
                    found[sentence] = None
        if len(found) >= MAX_SENTENCES:
            break
    trained = set(real_sentences(name, root, False)) if held_out else set()
    return tuple(sentence for sentence in found if sentence not in trained)


def request(rng: random.Random) -> str:
    """What people ask an assistant for, where it has no figures."""
    while not _PLAIN.fullmatch(text := pick(rng, TOOLS).case(rng)[0]):
        pass
    return text


def plain_sentence(rng: random.Random) -> str:
    """A sentence of a simple grammar: wide in words, narrow in form."""
    name, animal, colour, food, place = (pick(rng, words) for words in (NAMES, ANIMALS, COLOURS, FOODS, PLACES))
    forms = (
        f"{name} has a {colour} {animal}.",
        f"The {animal} likes {food}.",
        f"{name} lives in {place}.",
        f"My name is {name} and I am from {place}.",
        f"The {colour} {animal} sleeps under the tree.",
        f"We eat {food} with {name} today.",
        f"Is the {animal} {colour}?",
        f"Please give the {food} to {name}.",
        f"Where is the {animal} of {name}?",
        f"{name} and {pick(rng, NAMES)} go to {place}.",
    )
    return pick(rng, forms)


def sentence(draw: Draw) -> Told:
    """Mostly from stories and talk, else requests, sentences of the grammar or a string of words."""
    lot = draw.rng.random()
    if lot < 0.6:
        name = "stories_cc_by" if lot < 0.3 else "self_dialogue"
        text = pick(draw.rng, real_sentences(name, draw.root, draw.held_out))
    elif lot < 0.75:
        text = draw.fresh(lambda: request(draw.rng))
    elif lot < 0.9:
        text = draw.fresh(lambda: plain_sentence(draw.rng))
    else:
        words = " ".join(draw.choose(common_words(draw.root)) for _ in range(draw.rng.randint(2, 5)))
        text = f"{words[0].upper()}{words[1:]}."
    return Told(draw.around(draw.ask(WRITE), _recorded(draw, said(draw, text))), text, text)


def number(draw: Draw) -> Told:
    text = draw.number(LARGEST_DIGITS)
    return Told(draw.around(draw.ask(NUMBER), _recorded(draw, said(draw, text))), f"{text}.", text)


def digit(draw: Draw) -> Told:
    """One digit: of real recordings there are few speakers."""
    digit = draw.rng.randrange(10)
    medium = _recorded(draw, said(draw, sounds.DIGIT_WORDS[digit]))
    return Told(draw.around(draw.ask(sounds.DIGIT), medium), f"The digit is {digit}.", str(digit))


def digits(draw: Draw) -> Told:
    """Two to six digits: in one breath, as a list, or each as a sentence of its own."""
    digits = [draw.rng.randrange(10) for _ in range(draw.rng.randint(2, 6))]
    between = pick(draw.rng, (" ", ", ", ". "))
    medium = _recorded(draw, said(draw, between.join(sounds.DIGIT_WORDS[digit] for digit in digits)))
    answer = " ".join(map(str, digits))
    return Told(draw.around(draw.ask(sounds.DIGITS), medium), f"{answer}.", answer)


def word(draw: Draw) -> Told:
    """One word: half of the time one of the thirty command words, of which there are few real recordings."""
    commands = tuple(media_source("speech_commands_sample").labelled(draw.root))
    text = pick(draw.rng, commands) if chance(draw.rng, 0.5) else draw.choose(common_words(draw.root))
    medium = _recorded(draw, said(draw, text))
    return Told(draw.around(draw.ask(sounds.WORD), medium), f'The word is "{text}".', f'"{text}"')


def question(draw: Draw) -> Told:
    """A question that is only heard, and its answer: what a spoken request to the model is."""
    makers: tuple[Callable[[random.Random], Example], ...] = (fact, about)
    while True:
        example = pick(draw.rng, makers)(draw.rng)
        if len(example.messages) == 2 and example.answer and _PLAIN.fullmatch(example.question):
            break
    reply = str(example.messages[-1]["content"])
    return Told((_recorded(draw, said(draw, example.question)),), reply, example.answer)


FAMILIES = (
    ShownFamily("speech", sentence, 1.5, needs_speech=True),
    ShownFamily("speech_number", number, 0.8, needs_speech=True),
    ShownFamily("speech_digit", digit, 0.6, needs_speech=True),
    ShownFamily("speech_digits", digits, 0.6, needs_speech=True),
    ShownFamily("speech_word", word, 1.6, needs_speech=True),
    ShownFamily("speech_question", question, 1.0, needs_speech=True),
)
