"""What a picture, a sound or a clip is, and a licensed source of them: its pieces, decoded when first asked for.

Axes: H height, W width, C colours (3, or 4 with alpha), S samples, F frames.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from perilune.corpus.sources import Licensed

Kind = Literal["image", "audio", "video"]

SAMPLE_RATE = 16_000
# What decoded pieces may take in memory; the one used longest ago makes room.
MAX_CACHED_BYTES = 768 << 20
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, eq=False)
class Medium:
    """`data`: an image uint8 [H, W, 3], a sound float32 [S] (mono, 16 kHz, -1..1), a clip uint8 [F, H, W, 3].

    `rate` is a clip's frames a second.
    """

    kind: Kind
    data: np.ndarray
    rate: float = 0.0


class _Decoded:
    """Decoded arrays in memory, read-only, at most `limit` bytes of them."""

    def __init__(self, limit: int):
        self._limit, self._bytes, self._lock = limit, 0, Lock()
        self._kept: OrderedDict[int, tuple[Any, np.ndarray]] = OrderedDict()

    def get(self, owner: Any, decode: Callable[[], np.ndarray]) -> np.ndarray:
        with self._lock:
            found = self._kept.get(id(owner))
            if found is not None:
                self._kept.move_to_end(id(owner))
                return found[1]
        array = decode()
        array.flags.writeable = False
        with self._lock:
            if id(owner) not in self._kept:
                # The owner is kept as well, so that no other object can take its id.
                self._kept[id(owner)] = (owner, array)
                self._bytes += array.nbytes
            while self._bytes > self._limit and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1][1].nbytes
        return array


_DECODED = _Decoded(MAX_CACHED_BYTES)


@dataclass(frozen=True, eq=False)
class Piece:
    """One picture, sound or clip of a source.

    Pieces of one `group` (a speaker, a story, shots of one thing) are all trained on, or all held out.
    """

    group: str
    label: str
    decode: Callable[[], np.ndarray]
    about: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    rate: float = 0.0

    @property
    def array(self) -> np.ndarray:
        """Compact and read-only: uint8 [H, W, C] or [F, H, W, 3], or int16 [S] at 16 kHz."""
        return _DECODED.get(self, self.decode)


@dataclass(frozen=True)
class MediaSource(Licensed):
    """A data set of pictures, sounds or clips. `holds_out` tells which groups are kept from training."""

    kind: Kind
    reader: Callable[[Path], list[Piece]]
    holds_out: Callable[[str], bool]

    def pieces(self, root: Path, held_out: bool = False) -> tuple[Piece, ...]:
        """The pieces that are trained on, or the held-out ones, in the order of the files."""
        return _split(self, root)[held_out]

    def labelled(self, root: Path, held_out: bool = False) -> Mapping[str, tuple[Piece, ...]]:
        """The same by label, so that each label can be drawn as often as another."""
        return _by_label(self, root, held_out)


@lru_cache
def _split(source: MediaSource, root: Path) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    pieces = [piece for path in source.paths(root) for piece in source.reader(path)]
    kept = [source.holds_out(piece.group) for piece in pieces]
    trained = tuple(piece for piece, keep in zip(pieces, kept, strict=True) if not keep)
    return trained, tuple(piece for piece, keep in zip(pieces, kept, strict=True) if keep)


@lru_cache
def _by_label(source: MediaSource, root: Path, held_out: bool) -> Mapping[str, tuple[Piece, ...]]:
    found: dict[str, list[Piece]] = {}
    for piece in source.pieces(root, held_out):
        found.setdefault(piece.label, []).append(piece)
    return MappingProxyType({label: tuple(pieces) for label, pieces in found.items()})


def sound(array_S: np.ndarray) -> np.ndarray:
    """int16 samples as float32 in -1..1."""
    return array_S.astype(np.float32) / np.float32(32768)
