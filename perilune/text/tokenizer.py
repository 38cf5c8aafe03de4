"""Byte-level BPE on the published ranks and split rules: text to ids and back, lossless for any bytes.

Text from outside is always plain: only `special=True` turns the spelling of a special token into its id.
"""

import codecs
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path

import tiktoken

from perilune.errors import TokenizerError
from perilune.text import specials
from perilune.text.ranks import (
    CONFIG_FILE,
    RANKS_FILE,
    check_ranks,
    check_special_names,
    read_ranks,
    read_special_names,
)

MAX_CHUNK_CHARS = 400_000
MAX_RUN_CHARS = 25_000

_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"
_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"
_LEAD = r"[^\r\n\p{L}\p{N}]?"
_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
SPLIT_PATTERN = "|".join(
    [
        r"\p{Han}+",
        f"{_LEAD}{_UPPER}*{_LOWER}+{_CONTRACTION}",
        f"{_LEAD}{_UPPER}+{_LOWER}*{_CONTRACTION}",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)

# For str patterns, \s of `re` is str.isspace: it holds U+001C to U+001F, which the pattern above excludes.
_RUNS = re.compile(r"\s+|\S+")
_NOT_UTF8 = re.compile("([\udc80-\udcff]+)")


class Tokenizer:
    """A vocabulary of n ranks followed by 256 special tokens."""

    def __init__(self, ranks: Mapping[bytes, int], special_names: Mapping[int, str] | None = None):
        """`special_names` is {id: name}; without it the published names stand at their offsets."""
        ordered = check_ranks(dict(ranks))
        self.base = len(ordered)
        self.n_vocab = self.base + specials.SPECIAL_COUNT
        if special_names is None:
            special_names = {self.base + offset: name for offset, name in specials.OFFSETS.items()}
        names = check_special_names(dict(special_names), self.base)
        special_ids = range(self.base, self.n_vocab)
        self.special: dict[str, int] = {names.get(i, specials.reserved_name(i)): i for i in special_ids}
        if len(self.special) != specials.SPECIAL_COUNT:
            raise TokenizerError("a special token is named like the reserved name of another id")
        self._byte_ids = [ordered[bytes([byte])] for byte in range(256)]
        self._pieces = [*ordered, *(name.encode() for name in self.special)]
        self._encoding = tiktoken.Encoding(
            "perilune",
            pat_str=SPLIT_PATTERN,
            mergeable_ranks=ordered,
            special_tokens=self.special,
            explicit_n_vocab=self.n_vocab,
        )

    @classmethod
    def load(cls, directory: str | Path) -> "Tokenizer":
        """Read `tiktoken.model` and, when it is there, `tokenizer_config.json`."""
        ranks = read_ranks(Path(directory) / RANKS_FILE)
        return cls(ranks, read_special_names(Path(directory) / CONFIG_FILE, len(ranks)))

    @property
    def ranks(self) -> dict[bytes, int]:
        return {piece: i for i, piece in enumerate(self._pieces[: self.base])}

    @property
    def bos(self) -> int:
        return self.base

    @property
    def eos(self) -> int:
        """The end of a turn, where generation stops."""
        return self.special_id(specials.IM_END)

    @property
    def pad(self) -> int:
        return self.n_vocab - 1

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Ids that end a reply: the turn end, and the older end of text."""
        return tuple(self.special[n] for n in (specials.IM_END, specials.EOS) if n in self.special)

    @cached_property
    def sha256(self) -> str:
        """A hash of every token in id order: equal hashes mean equal vocabularies."""
        digest = hashlib.sha256()
        for piece in self._pieces:
            digest.update(len(piece).to_bytes(4, "little") + piece)
        return digest.hexdigest()

    def special_id(self, name: str) -> int:
        if name not in self.special:
            raise TokenizerError(f"this vocabulary has no special token {name!r}")
        return self.special[name]

    def special_name(self, token_id: int) -> str | None:
        """The name of a special id; None for any other."""
        _check_id(token_id)
        return self._pieces[token_id].decode() if self.base <= token_id < self.n_vocab else None

    def encode(self, text: str | bytes, special: bool = False) -> list[int]:
        """Ids of a text; with `special` every special token spelled in it becomes its one id.

        Bytes that are not UTF-8 become one id each. A str with a lone surrogate has no bytes to keep,
        so it is refused.
        """
        if isinstance(text, bytes):
            return self._encode_bytes(text, special)
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise TokenizerError(
                f"the text has a lone surrogate (U+{ord(text[error.start]):04X}) at character {error.start};"
                " replace it or pass bytes"
            ) from None
        return self._encode_text(text, special)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; bytes that are not UTF-8 show as U+FFFD. `decode_bytes` loses nothing."""
        return self.decode_bytes(ids).decode(errors="replace")

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        return b"".join(map(self._piece, ids))

    def stream_decoder(self) -> "StreamDecoder":
        return StreamDecoder(self)

    def _encode_text(self, text: str, special: bool) -> list[int]:
        ids: list[int] = []
        for part in split_long(text):
            if special:
                ids += self._encoding.encode(part, allowed_special="all")
            else:
                ids += self._encoding.encode_ordinary(part)
        return ids

    def _encode_bytes(self, data: bytes, special: bool) -> list[int]:
        ids: list[int] = []
        for index, part in enumerate(_NOT_UTF8.split(data.decode(errors="surrogateescape"))):
            if index % 2:
                ids += [self._byte_ids[ord(char) - 0xDC00] for char in part]
            else:
                ids += self._encode_text(part, special)
        return ids

    def _piece(self, token_id: int) -> bytes:
        _check_id(token_id)
        if not 0 <= token_id < self.n_vocab:
            raise TokenizerError(f"token id {token_id} is not in the vocabulary of {self.n_vocab}")
        return self._pieces[token_id]


class StreamDecoder:
    """Decodes ids as they come and holds back the bytes of an unfinished character."""

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, ids: Iterable[int]) -> str:
        return self._utf8.decode(self._tokenizer.decode_bytes(ids))

    def finish(self) -> str:
        """What is left when no more ids come: U+FFFD for a character that never ended."""
        return self._utf8.decode(b"", final=True)


def _check_id(token_id: object) -> None:
    if not hasattr(token_id, "__index__"):  # an int, or the integer of an array library
        raise TokenizerError(f"a token id is a whole number, not {type(token_id).__name__}")


def split_long(text: str) -> Iterator[str]:
    """The published cuts before the split pattern, which is slow on very long runs.

    Chunks of 400,000 characters; in a chunk, a run of whitespace or of anything else is cut after every
    25,000 characters.
    """
    for start in range(0, len(text), MAX_CHUNK_CHARS):
        yield from _split_runs(text[start : start + MAX_CHUNK_CHARS])


def _split_runs(chunk: str) -> Iterator[str]:
    start = 0
    if _has_long_run(chunk):
        for run in _RUNS.finditer(chunk):
            for cut in range(run.start() + MAX_RUN_CHARS, run.end(), MAX_RUN_CHARS):
                yield chunk[start:cut]
                start = cut
    yield chunk[start:]


def _has_long_run(chunk: str) -> bool:
    """Cheap for ordinary text, where the walk over every run would cost as much as the encoding.

    Words are measured by `split`. A run of whitespace that is too long covers a multiple of the limit,
    so it is enough to measure around those.
    """
    if len(chunk) <= MAX_RUN_CHARS:
        return False
    if max(map(len, chunk.split()), default=0) > MAX_RUN_CHARS:
        return True
    for middle in range(0, len(chunk), MAX_RUN_CHARS):
        before = chunk[max(0, middle - MAX_RUN_CHARS) : middle]
        after = chunk[middle : middle + MAX_RUN_CHARS]
        spaces = len(before) - len(before.rstrip()) + len(after) - len(after.lstrip())
        if spaces > MAX_RUN_CHARS:
            return True
    return False
