"""The licensed text sources: name, licence, credit and files of each, and the reader of its items.

The data itself stays outside the repository; the folder is named by the environment variable PERILUNE_SHARED.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from perilune.corpus import readers
from perilune.corpus.readers import Item
from perilune.corpus.split import is_held_out
from perilune.errors import ConfigError


@dataclass(frozen=True)
class Licensed:
    """What every openly licensed data set has: where its files lie, whose it is and how it may be used."""

    name: str
    title: str
    licence: str
    attribution: str
    url: str
    files: tuple[str, ...]

    def paths(self, root: Path) -> list[Path]:
        return [root / self.name / file for file in self.files]

    def sha256(self, root: Path) -> dict[str, str]:
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in self.paths(root)}


@dataclass(frozen=True)
class Source(Licensed):
    """A data set of text. `share` is "language" (plain text) or "chat" (messages)."""

    share: str
    reader: Callable[[Path], Iterator[Item]]

    def items(self, root: Path, held_out: bool = False) -> Iterator[Item]:
        """The training items, or the held-out ones."""
        for path in self.paths(root):
            for item in self.reader(path):
                if is_held_out(self.name, item.key) == held_out:
                    yield item


SOURCES: tuple[Source, ...] = (
    Source(
        "stories_cc_by",
        "African Storybook and Pratham Books StoryWeaver, children's stories",
        "CC BY 4.0",
        "African Storybook authors and illustrators; Pratham Books StoryWeaver (authors are named per story)",
        "https://github.com/global-asp/asp-source",
        ("stories_train.jsonl.xz",),
        "language",
        readers.stories,
    ),
    Source(
        "wikipedia_en_2019",
        "English Wikipedia, openings of pages, 2019",
        "CC BY-SA 3.0",
        "Wikipedia contributors",
        "https://en.wikipedia.org",
        ("wiki_train_0.jsonl.xz", "wiki_train_1.jsonl.xz"),
        "language",
        readers.wikipedia_openings,
    ),
    Source(
        "self_dialogue",
        "Self-dialogue Corpus",
        "BSD-3-Clause",
        "Self-dialogue Corpus (Fainberg et al. 2018)",
        "https://github.com/jfainberg/self_dialogue_corpus",
        ("self_dialogue_train.jsonl.xz",),
        "language",
        readers.dialogues,
    ),
    Source(
        "chatterbot_corpus",
        "chatterbot-corpus, English",
        "BSD-3-Clause",
        "chatterbot-corpus, Gunther Cox and contributors",
        "https://github.com/gunthercox/chatterbot-corpus",
        ("chatterbot_en.jsonl.xz",),
        "chat",
        readers.chatterbot,
    ),
    Source(
        "personality_chat",
        "Microsoft Personality Chat, English",
        "MIT",
        "Microsoft Corporation",
        "https://github.com/microsoft/botframework-cli",
        ("personality_chat_en.jsonl.xz",),
        "chat",
        readers.personality,
    ),
    Source(
        "dolly_subset",
        "databricks-dolly-15k, part",
        "CC BY-SA 3.0",
        "Databricks, Inc.",
        "https://github.com/databrickslabs/dolly",
        ("dolly_6400_train.jsonl.xz",),
        "chat",
        readers.dolly,
    ),
    Source(
        "gsm8k",
        "GSM8K, grade school mathematics",
        "MIT",
        "OpenAI",
        "https://github.com/openai/grade-school-math",
        ("gsm8k_train.jsonl.xz",),
        "chat",
        readers.gsm8k,
    ),
    Source(
        "open_english_wordnet",
        "Open English WordNet",
        "CC BY 4.0",
        "Open English WordNet; derived from Princeton WordNet",
        "https://github.com/globalwordnet/english-wordnet",
        ("wordnet.jsonl.xz",),
        "chat",
        readers.definitions,
    ),
    Source(
        "snips_nlu",
        "SNIPS custom intent engines",
        "CC0 1.0",
        "SNIPS (Sonos)",
        "https://github.com/sonos/nlu-benchmark",
        ("snips_train.jsonl.xz",),
        "chat",
        readers.snips,
    ),
    Source(
        "clinc150",
        "CLINC150, requests that no tool fits",
        "CC BY 3.0",
        "CLINC150 (Larson et al. 2019)",
        "https://github.com/clinc/oos-eval",
        ("clinc_train_val.jsonl.xz",),
        "chat",
        readers.out_of_scope,
    ),
)


def source(name: str) -> Source:
    for candidate in SOURCES:
        if candidate.name == name:
            return candidate
    raise ConfigError(f"no text source is called {name!r}; there are {', '.join(s.name for s in SOURCES)}")


def data_root() -> Path:
    """The folder that holds one folder per source."""
    shared = os.environ.get("PERILUNE_SHARED")
    if not shared:
        raise ConfigError("set PERILUNE_SHARED to the folder that holds data/ (one folder per source)")
    root = Path(shared) / "data"
    if not root.is_dir():
        raise ConfigError(f"PERILUNE_SHARED is {shared}, but there is no folder {root}")
    return root
