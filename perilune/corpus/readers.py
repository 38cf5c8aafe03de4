"""One reader per licensed source: rows of its file → items of plain text or chat messages, cleaned."""

import json
import lzma
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PLAIN = str.maketrans(
    {"“": '"', "”": '"', "‘": "'", "’": "'", "…": "...", "–": "-", "—": "-", "\u00a0": " ", "\ufeff": ""}
)
_SPACES = re.compile(r"[ \t]+")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'])")


@dataclass(frozen=True)
class Item:
    """One piece of a source. `key` decides held-out or not; exactly one of `text` and `messages` is set."""

    key: str
    text: str | None = None
    messages: tuple[dict[str, Any], ...] = ()
    tools: tuple[dict[str, Any], ...] = ()


def rows(path: Path) -> Iterator[dict[str, Any]]:
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def clean(text: str) -> str:
    """Plain quotes and dashes, single spaces: a small vocabulary should not pay for typography."""
    return _SPACES.sub(" ", unicodedata.normalize("NFC", text).translate(_PLAIN)).strip()


def sentences(text: str) -> list[str]:
    return [s for s in _SENTENCE_END.split(text) if s]


def words(text: str) -> int:
    return text.count(" ") + 1


def exchange(question: str, answer: str, reasoning: str | None = None) -> tuple[dict[str, Any], ...]:
    reply: dict[str, Any] = {"role": "assistant", "content": answer}
    if reasoning is not None:
        reply["reasoning_content"] = reasoning
    return ({"role": "user", "content": question}, reply)


def stories(path: Path) -> Iterator[Item]:
    for row in rows(path):
        pages = [clean(page.replace("\n", " ")) for page in row["pages"]]
        body = "\n".join(page for page in pages if page)
        if words(body) >= 40:
            yield Item(row["id"], text=f"{clean(row['title'])}\n\n{body}")


def wikipedia_openings(path: Path) -> Iterator[Item]:
    """The first paragraph, four sentences at most; not those full of names, numbers or other scripts."""
    for row in rows(path):
        opening = (
            clean(re.sub(r"\([^()]*\)", "", row["text"].split("\n\n", 1)[0])).replace(" ,", ",").replace(" .", ".")
        )
        text = " ".join(sentences(opening)[:4])
        letters = sum(c.isascii() and (c.isalpha() or c == " ") for c in text)
        if not 20 <= words(text) <= 120 or letters < 0.94 * len(text):
            continue
        capitals = sum(w[:1].isupper() for w in text.split())
        if capitals <= 0.22 * words(text):
            yield Item(row["title"], text=text)


def dialogues(path: Path) -> Iterator[Item]:
    """Two speakers, a line each: plain text, not chat, for the model has no cinema evenings to tell of."""
    for number, row in enumerate(rows(path)):
        turns = [clean(turn) for turn in row["turns"]]
        if not turns or any(words(turn) > 35 or not turn.isascii() for turn in turns):
            continue
        lines = [f"{'AB'[i % 2]}: {turn}" for i, turn in enumerate(turns)]
        yield Item(f"{number}:{turns[0]}", text="\n".join(lines))


CHATTERBOT_CATEGORIES = (
    "computers",
    "conversations",
    "food",
    "greetings",
    "humor",
    "science",
    "tech_support",
    "history",
)


def chatterbot(path: Path) -> Iterator[Item]:
    seen: set[str] = set()
    for row in rows(path):
        turns = [clean(turn) for turn in row["turns"]]
        key = "\n".join(turns)
        if row["category"] not in CHATTERBOT_CATEGORIES or key in seen or len(turns) % 2 or words(key) > 120:
            continue
        seen.add(key)
        roles = ("user", "assistant")
        yield Item(turns[0], messages=tuple({"role": roles[i % 2], "content": turn} for i, turn in enumerate(turns)))


PERSONALITIES = ("caring", "professional")
QUESTIONS_PER_ANSWER = 12
# What the model says of its name, makers and abilities comes from perilune.tasks.about alone.
_OF_ITSELF = re.compile(
    r"\b(your name|who are you|made you|create[ds]? you|programmed|designer|functions|boss|am I talking)",
    re.I,
)
_RUDE = re.compile(
    r"\b(sex|suck|fuck|shit|bitch|ass|damn|hell|naked|kill|die|drunk|idiot|stupid|dumb|ugly|crap|hot)\w*",
    re.I,
)


def personality(path: Path) -> Iterator[Item]:
    """Few questions per answer: of about 90 answers per personality a model would parrot each."""
    for row in rows(path):
        if row["personality"] not in PERSONALITIES:
            continue
        if any(_OF_ITSELF.search(question) for question in row["questions"]):
            continue
        good = [q for q in map(clean, row["questions"]) if q and "=" not in q and not _RUDE.search(q)]
        for question in good[:QUESTIONS_PER_ANSWER]:
            yield Item(question, messages=exchange(question, clean(row["answer"])))


_NEEDS_PASSAGE = re.compile(
    r"\b(passage|paragraph|text|article|following|given|above|below|"
    r"provided|extract|list of|classify|tweet)\b",
    re.I,
)


def dolly(path: Path) -> Iterator[Item]:
    """Short questions and answers; what asks about a passage is dropped, because the passages are missing."""
    for row in rows(path):
        question, answer = clean(row["instruction"]), clean(row["response"])
        if _NEEDS_PASSAGE.search(question) or not question.isascii() or not answer.isascii():
            continue
        if words(question) <= 16 and 3 <= words(answer) <= 45 and "http" not in answer:
            yield Item(question, messages=exchange(question, answer))


def gsm8k(path: Path) -> Iterator[Item]:
    """Short problems; the worked answer is the reasoning, the last line the reply."""
    for row in rows(path):
        steps, _, result = row["answer"].partition("\n#### ")
        steps = clean(re.sub(r"<<[^<>]*>>", "", steps))
        question = clean(row["question"])
        if words(question) <= 45 and words(steps) <= 45 and question.isascii() and steps.isascii():
            yield Item(question, messages=exchange(question, f"The answer is {result.strip()}.", steps))


TOPICS = (
    "animal",
    "food",
    "plant",
    "body",
    "object",
    "artifact",
    "substance",
    "person",
    "phenomenon",
    "time",
    "location",
)


def definitions(path: Path) -> Iterator[Item]:
    """One plain definition per noun: of its meanings, the one of the most tangible kind."""
    best: dict[str, tuple[int, str]] = {}
    for row in rows(path):
        kind, _, topic = row["topic"].partition(".")
        word, meaning = row["words"][0], clean(re.split(r"[;(]", row["def"][0])[0])
        if kind != "noun" or topic not in TOPICS or not re.fullmatch(r"(?!.*ing$)[a-z]{3,12}", word):
            continue
        if not 4 <= words(meaning) <= 18 or not meaning.isascii():
            continue
        rank = TOPICS.index(topic)
        if word not in best or rank < best[word][0]:
            best[word] = (rank, meaning)
    for word, (_, meaning) in best.items():
        countable = meaning.startswith(("a ", "an ", "any ", "the ", "one ", "someone", "something", "either"))
        named = f"{'an' if word[0] in 'aeiou' else 'a'} {word}" if countable else word
        answer = f"{named[0].upper()}{named[1:]} is {meaning}."
        yield Item(word, messages=exchange(f"What is {named}?", answer))


SNIPS_TOOLS: dict[str, tuple[str, str]] = {
    "AddToPlaylist": ("add_to_playlist", "Add a song or an artist to a playlist"),
    "BookRestaurant": ("book_restaurant", "Book a table at a restaurant"),
    "GetWeather": ("get_weather_report", "Get the weather for a place and a time"),
    "PlayMusic": ("play_music", "Play music"),
    "RateBook": ("rate_book", "Rate a book"),
    "SearchCreativeWork": ("search_creative_work", "Find a creative work by its name"),
    "SearchScreeningEvent": ("search_screening_event", "Find out where and when a film is shown"),
}
SNIPS_SLOTS: dict[str, tuple[str, ...]] = {
    "AddToPlaylist": ("artist", "entity_name", "music_item", "playlist", "playlist_owner"),
    "BookRestaurant": (
        "city",
        "cuisine",
        "party_size_number",
        "restaurant_name",
        "restaurant_type",
        "state",
        "timeRange",
    ),
    "GetWeather": ("city", "condition_description", "condition_temperature", "country", "state", "timeRange"),
    "PlayMusic": ("album", "artist", "genre", "music_item", "playlist", "service", "track", "year"),
    "RateBook": ("best_rating", "object_name", "object_type", "rating_unit", "rating_value"),
    "SearchCreativeWork": ("object_name", "object_type"),
    "SearchScreeningEvent": (
        "location_name",
        "movie_name",
        "movie_type",
        "object_location_type",
        "timeRange",
    ),
}


def snips_tool(intent: str) -> dict[str, Any]:
    name, description = SNIPS_TOOLS[intent]
    properties = {_snake(slot): {"type": "string"} for slot in SNIPS_SLOTS[intent]}
    parameters = {"type": "object", "properties": properties}
    return {
        "type": "function",
        "function": {"name": name, "description": description, "parameters": parameters},
    }


def snips(path: Path) -> Iterator[Item]:
    """Spoken-style requests as one tool call; only those whose every slot the declared tool has."""
    for row in rows(path):
        intent, text = row["intent"], clean(row["text"])
        slots = {_snake(slot): clean(value) for slot, value in row["slots"]}
        known = {_snake(slot) for slot in SNIPS_SLOTS[intent]}
        if not slots or not set(slots) <= known or not text.isascii() or any(v not in text for v in slots.values()):
            continue
        name = SNIPS_TOOLS[intent][0]
        call = {
            "id": f"functions.{name}:0",
            "type": "function",
            "function": {"name": name, "arguments": json.dumps(slots, ensure_ascii=False)},
        }
        reply = {"role": "assistant", "content": "", "tool_calls": [call]}
        yield Item(text, messages=({"role": "user", "content": text}, reply), tools=(snips_tool(intent),))


def out_of_scope(path: Path) -> Iterator[Item]:
    """Requests that no tool fits: bare user turns; perilune.tasks.tools says how they are answered."""
    for row in rows(path):
        text = clean(row["text"])
        if row["intent"] == "oos" and text.isascii():
            yield Item(text, messages=({"role": "user", "content": text},))


def _snake(slot: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", slot).lower()
