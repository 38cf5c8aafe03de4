"""A branch of a chat as a model is asked: its messages, and the files that are read before them.

Texts are read into the chunk memory where the model has one, and stand in the prompt where it has none. Nothing is cut:
what does not fit is refused, with both numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perilune.app.kept_files import KeptFiles
from perilune.app.reading import Documents
from perilune.documents.names import clean_name, header_text
from perilune.errors import ContextError, MediaError, RequestError
from perilune.fields import show_value
from perilune.media.parts import KEPT, Fetch

MEDIA = {"picture": "image", "sound": "audio", "clip": "video"}  # kinds of files, and what they are in a prompt

Row = dict[str, Any]


@dataclass(frozen=True)
class Conversation:
    """`documents` are the ids of files to be read first, with so many tokens together; `fetch` knows the others."""

    messages: list[Row]
    documents: tuple[str, ...]
    tokens: int
    fetch: Fetch


def conversation(
    owner: str, branch: Sequence[Row], system: str, before: Sequence[str], files: KeptFiles, documents: Documents
) -> Conversation:
    """`before` are the ids of files that go before all messages. Raises Missing for files that are gone, and
    ContextError where texts alone are more than the context."""
    named = [part["file"] for message in branch for part in message["content"] if part["type"] == "file"]
    known = {name: files.get(owner, name) for name in dict.fromkeys([*before, *named])}
    for file in known.values():
        if file["problem"]:
            raise RequestError(f"{file['name']}: {file['problem']}")
    texts = [name for name, file in known.items() if file["kind"] not in MEDIA]
    tokens = sum(known[name]["tokens"] for name in texts)
    if tokens > documents.model.context_length:
        room = documents.model.context_length
        raise ContextError(f"the files have {tokens:,} tokens, but this model's context holds {room:,}; leave some out")
    shown = _Shown(known, files, inline=not documents.reads)
    messages: list[Row] = [{"role": "system", "content": system}] if system else []
    for index, message in enumerate(branch):
        content = shown.content(message["content"], before if index == 0 else ())
        messages.append({"role": message["role"], "content": content})
    paths = {name: files.path(file["hash"]) for name, file in known.items() if file["kind"] in MEDIA}
    return Conversation(messages, tuple(texts) if documents.reads else (), tokens, _gate(paths))


class _Shown:
    """Parts of messages as parts of a prompt; a file's text stands where it is first named."""

    def __init__(self, known: dict[str, Row], files: KeptFiles, inline: bool):
        self.known, self.files, self.inline = known, files, inline
        self._said: set[str] = set()

    def content(self, parts: Sequence[Row], before: Sequence[str]) -> str | list[Row]:
        told = [one for name in before for one in self._file(name)]
        for part in parts:
            told += [{"type": "text", "text": part["text"]}] if part["type"] == "text" else self._file(part["file"])
        if all(part["type"] == "text" for part in told):
            return "\n".join(part["text"] for part in told)
        return told

    def _file(self, name: str) -> list[Row]:
        kind = MEDIA.get(self.known[name]["kind"])
        if kind is not None:
            return [{"type": kind, kind: KEPT + name}]
        if not self.inline or name in self._said:
            return []
        self._said.add(name)
        texts = (inlined(part, self.files.path(part["hash"])) for part in self.files.parts(name))
        return [{"type": "text", "text": text} for text in texts]


def inlined(part: Row, path: Path) -> str:
    """A text as it stands in a prompt."""
    return header_text(clean_name(part["name"])) + path.read_text("utf-8")


def _gate(paths: dict[str, Path]) -> Fetch:
    def fetch(kind: str, place: str) -> Path:
        found = paths.get(place.removeprefix(KEPT))
        if found is None:
            raise MediaError(f"no file is called {show_value(place)} here")
        return found

    return fetch
