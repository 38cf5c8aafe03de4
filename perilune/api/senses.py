"""What a model sees and hears of a conversation: its media → how they stand in the prompt, and their rows.

Counting needs no tower; towers are loaded when the first rows are wanted. Rows are kept for a while by content, since
every turn of a conversation sends its pictures again. One item is always computed alone: it has the same bits in any
company, and takes no more memory than was set aside for the largest (sense_room.py).
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from perilune.api.sense_room import KEPT_BYTES, most_clip_bytes, most_seconds
from perilune.errors import ContextError, MediaError, MessageError, WeightsError
from perilune.media.audio import audio_item
from perilune.media.decoded import Decoded, to_clip, to_patches, to_samples
from perilune.media.image import image_item
from perilune.media.parts import LACKS, Known, Medium
from perilune.media.patches import Patches, cut
from perilune.media.settings import MediaConfig
from perilune.media.source import Source
from perilune.media.video import video_item
from perilune.model.hear import HearingStream, hear
from perilune.model.hearing import Hearing
from perilune.model.hearing_checkpoint import load_hearing
from perilune.model.media_rows import MediaRows
from perilune.model.model import Transformer
from perilune.model.vision import Vision
from perilune.model.vision_checkpoint import load_vision


@dataclass(frozen=True)
class Perceived(Known):
    """One item: how it stands in the prompt, what each of its blocks is known by, and their rows, a tensor [n, D] for
    each, or how those are made."""

    item: dict[str, Any]
    digests: tuple[bytes, ...]
    rows: list[Tensor] | Callable[[], list[Tensor]]

    @property
    def digest(self) -> bytes:
        """What the whole is known by."""
        return b"".join(self.digests)

    @property
    def tokens(self) -> int:
        return sum(block["tokens"] for block in self.item.get("chunks", [self.item]))


@dataclass(frozen=True, eq=False)
class SeenChunk:
    """A chunk of a clip that has been looked at: when it begins, its number of frames, and its rows [n, D]."""

    seconds: float
    frames: int
    digest: bytes
    rows_nD: Tensor


class Senses:
    """The towers of one model and what they have lately seen and heard."""

    def __init__(
        self, model: Transformer, directory: Path | None, tokens: int, has: Collection[str] | None = None
    ) -> None:
        """`tokens` is the longest conversation; `has` names the senses that are used (None: all of the model's)."""
        self._model, self._directory, self._tokens = model, directory, tokens
        self.has = set(model.config.senses if has is None else has)
        self._lock = threading.Lock()
        self._at_work = threading.Lock()  # held while an item passes a tower
        self._kept: OrderedDict[bytes, list[Tensor]] = OrderedDict()

    def perceive(self, media: Sequence[Medium]) -> list[Perceived]:
        """The media of a conversation in their order. Raises MediaError, which names the part, and ContextError for
        more than a conversation holds, before the rest is decoded."""
        perceived, spent = [], 0
        for medium in media:
            perceived.append(self._perceive(medium))
            spent += perceived[-1].tokens
            if spent > self._tokens:
                raise ContextError(
                    f"{medium.where}: up to here pictures and sounds take {spent} tokens, but this model's context "
                    f"holds {self._tokens}; send fewer or smaller ones"
                )
        return perceived

    def rows(self, perceived: Iterable[Perceived], ids: Sequence[int], placeholder: int) -> MediaRows | None:
        """Rows for the placeholders of a rendered prompt, which stand there block by block in the same order."""
        places = np.flatnonzero(np.asarray(ids) == placeholder)
        made, at = [], 0
        for one in perceived:
            for rows_nD, digest in zip(self._rows_of(one), one.digests, strict=True):
                made.append((int(places[at]), rows_nD, digest))
                at += len(rows_nD)
        assert at == len(places), "a prompt has as many placeholders as its media have rows"
        return MediaRows.of(made)

    def listen(self) -> HearingStream:
        """Hears sound as it comes in. Raises MessageError for a model without ears."""
        if "hearing" not in self.has:
            raise MessageError(f"this model has {LACKS['hearing']}; listen with one that has")
        return HearingStream(self.hearing())

    def look(self, frames: Sequence[np.ndarray], seconds: float) -> SeenChunk:
        """One chunk of a clip, frames as a `Clip` has them; it passes the tower as any item does. Raises MessageError
        for a model without eyes."""
        if "vision" not in self.has:
            raise MessageError(f"this model has {LACKS['vision']}; watch with one that has")
        digest = _digest("video", frames)
        one = Perceived({}, (digest,), lambda: [self._look(cut(frames, self.limits))])
        return SeenChunk(seconds, len(frames), digest, self._rows_of(one)[0])

    def _perceive(self, medium: Medium) -> Perceived:
        if isinstance(medium.source, Perceived):
            return medium.source
        assert not isinstance(medium.source, Known)
        try:
            return self._decoded(medium.kind, medium.source)
        except MediaError as error:
            raise MediaError(f"{medium.where}: {error}") from None

    def _decoded(self, kind: str, source: Source | Decoded) -> Perceived:
        if kind == "audio":
            audio = self._model.config.audio
            assert audio is not None
            samples_T = to_samples(source, most_seconds(audio, self._tokens))
            return Perceived(
                audio_item(samples_T, audio),
                (_digest(kind, [samples_T]),),
                lambda: [hear(self.hearing(), samples_T)],
            )
        if kind == "video":
            clip = to_clip(source, self.limits, most_clip_bytes(self.limits, self._tokens))
            return Perceived(
                video_item(clip),
                tuple(_digest(kind, frames) for frames in clip.grouped()),
                lambda: [self._look(patches) for patches in clip.chunks()],
            )
        patches = to_patches(source, self.limits)
        return Perceived(image_item(patches), (_digest(kind, [patches.pixels_PCSS]),), lambda: [self._look(patches)])

    @cached_property
    def limits(self) -> MediaConfig:
        """How pictures are cut: as the model's directory says, else as published."""
        return MediaConfig.of(self._directory)

    def _rows_of(self, one: Perceived) -> list[Tensor]:
        if isinstance(one.rows, list):
            return one.rows
        if (rows := self._recall(one)) is not None:
            return rows
        with self._at_work:
            if (rows := self._recall(one)) is None:  # whoever was at work may have seen the same
                rows = one.rows()
                with self._lock:
                    self._kept[one.digest] = rows
                    while len(self._kept) > 1 and self._kept_bytes() > KEPT_BYTES:
                        self._kept.popitem(last=False)
        return rows

    def _recall(self, one: Perceived) -> list[Tensor] | None:
        with self._lock:
            if one.digest in self._kept:
                self._kept.move_to_end(one.digest)
            return self._kept.get(one.digest)

    def _kept_bytes(self) -> int:
        return sum(rows.nbytes for kept in self._kept.values() for rows in kept)

    @torch.inference_mode()
    def _look(self, patches: Patches) -> Tensor:
        return self.vision()(torch.from_numpy(patches.pixels_PCSS), [patches.grid])[0]

    def vision(self) -> Vision:
        vision = self._tower("vision", load_vision)
        assert isinstance(vision, Vision)
        return vision

    def hearing(self) -> Hearing:
        hearing = self._tower("hearing", load_hearing)
        assert isinstance(hearing, Hearing)
        return hearing

    def _tower(self, name: str, load: Callable[[Path], nn.Module]) -> nn.Module:
        with self._lock:
            if name not in self._model.senses:
                if self._directory is None:
                    raise WeightsError(f"this model was not loaded from a directory, so its {name} cannot be loaded")
                self._model.senses[name] = load(self._directory)
            return self._model.senses[name]


def heard(rows_nD: Tensor) -> Perceived:
    """Sound that a HearingStream has heard, float32 [n, D], to stand in a message without being heard again."""
    digest = _digest("heard", [rows_nD.numpy()])
    return Perceived({"type": "audio", "tokens": len(rows_nD)}, (digest,), [rows_nD])


def seen(chunks: Sequence[SeenChunk]) -> Perceived:
    """The chunks of a clip, to stand in a message as the clip would, without being looked at again."""
    told = [{"timestamp": chunk.seconds, "tokens": len(chunk.rows_nD)} for chunk in chunks]
    rows = [chunk.rows_nD for chunk in chunks]
    return Perceived({"type": "video", "chunks": told}, tuple(chunk.digest for chunk in chunks), rows)


def _digest(kind: str, arrays: Iterable[np.ndarray]) -> bytes:
    """What was seen or heard, whatever file it came in."""
    made = hashlib.blake2b(kind.encode(), digest_size=32)
    for array in arrays:
        made.update(repr(array.shape).encode())
        made.update(np.ascontiguousarray(array).data)
    return made.digest()
