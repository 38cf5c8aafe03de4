"""The data manifest of a model: each source with licence, credit, hashes and share; JSON and NOTICE text."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from perilune.corpus.media_sources import media_source
from perilune.corpus.sources import Licensed, source
from perilune.errors import ConfigError

TOOL_NAME = "perilune.tasks and perilune.train.mixture"


@dataclass(frozen=True)
class Entry:
    """One source as it went into the corpus. Hashes are of the files as read. Pictures, sounds and clips have no
    tokens; their pieces count as documents."""

    name: str
    title: str
    kind: str  # "licensed" or "synthetic"
    licence: str
    attribution: str
    url: str
    language: str
    files: dict[str, str]
    documents: int
    tokens: int
    trained_tokens: int
    share: float


@dataclass(frozen=True)
class Manifest:
    """What a model was trained on. `tokens_seen` counts every row of every step, repeats included."""

    tokens_packed: int
    tokens_seen: int
    passes: float
    tokenizer_sha256: str
    seed: int
    entries: tuple[Entry, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False) + "\n"

    def notice(self) -> str:
        """The credits the licences ask for, one line per source."""
        kinds = "text, pictures, sounds and clips" if any(not entry.tokens for entry in self.entries) else "text"
        lines = [f"The model nano was trained on openly licensed {kinds}, with thanks to:", ""]
        lines += [
            f"- {entry.title} ({entry.licence}): {entry.attribution}. {entry.url}"
            for entry in self.entries
            if entry.kind == "licensed"
        ]
        made = sum(entry.share for entry in self.entries if entry.kind == "synthetic")
        lines += [
            "",
            f"About {made:.0%} of the tokens were written by the generators of this project ({TOOL_NAME}).",
        ]
        return "\n".join(lines) + "\n"

    def write(self, out: Path) -> None:
        (out / "data_manifest.json").write_text(self.to_json(), encoding="utf-8")
        (out / "NOTICE.data.txt").write_text(self.notice(), encoding="utf-8")


def build_manifest(index: dict[str, Any], tokens_seen: int) -> Manifest:
    """From the index of a packed corpus and the number of tokens the run has read."""
    if not index.get("sources"):
        raise ConfigError("the packed corpus names no sources: pack it again")
    packed = sum(about["tokens"] for about in index["sources"].values())
    entries = tuple(_entry(name, about, packed) for name, about in index["sources"].items())
    entries += tuple(_media_entry(name, about) for name, about in index.get("media", {}).items())
    passes = round(tokens_seen / packed, 4)
    return Manifest(packed, tokens_seen, passes, index["tokenizer_sha256"], index["seed"], entries)


def _entry(name: str, about: dict[str, Any], packed: int) -> Entry:
    counts = (
        about["documents"],
        about["tokens"],
        about["trained_tokens"],
        round(about["tokens"] / packed, 5),
    )
    if name.startswith("generated"):
        title, credit = name.replace("_", " "), "perilune contributors"
        return Entry(name, title, "synthetic", "Apache-2.0", credit, "", "en", {}, *counts)
    return _licensed(source(name), about["files"], counts)


def _media_entry(name: str, about: dict[str, Any]) -> Entry:
    return _licensed(media_source(name), about["files"], (about["pieces"], 0, 0, 0.0))


def _licensed(origin: Licensed, files: dict[str, str], counts: tuple[int, int, int, float]) -> Entry:
    credit = origin.licence, origin.attribution, origin.url
    return Entry(origin.name, origin.title, "licensed", *credit, "en", files, *counts)
