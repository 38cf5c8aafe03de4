"""`perilune bench senses`: how fast a model sees and hears here, and how soon it answers what was said.

Each figure goes from what a decoder gives (pixels, samples) to rows of the language model; preprocessing is also told
by itself. Pictures and frames are cut to the model's own limits, so that a small model sees less of a large one.

`against` runs the same weights in transformers in turn with ours. Theirs get the patches that ours makes, as its own
preprocessing needs torchvision, and compute in float32 or in bfloat16; ours reads weights as they are stored, with
sums in float32. Sound goes through Whisper's feature extractor and encoder of the same size over the same seconds: all
its frames see one another, where a chunked tower's see their chunk and some before it.

The first word comes after the last piece of a sound: the rest of it is heard, the whole prompt is read, one token is
written. The pause by which `perilune listen` knows that a turn has ended comes on top.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from perilune.api.model import Model
from perilune.api.senses import Senses, heard
from perilune.bench import senses_peer
from perilune.bench.beside import Pass, side_by_side
from perilune.bench.machine import describe
from perilune.config_audio import SAMPLE_RATE
from perilune.errors import RequestError
from perilune.media.image import patches_of
from perilune.media.parts import MediaItem
from perilune.media.patches import Patches, cut, fit, resize
from perilune.model.hear import HearingStream, hear, mel_frames
from perilune.model.hearing import Hearing
from perilune.model.tower_init import fresh_senses
from perilune.presets import NANO_AUDIO, NANO_VISION
from perilune.text import specials as sp

SIDES = (448, 112)  # pixels
FRAMES = 8
SECONDS = 10.0
PIECE = 1600  # samples: a tenth of a second, as a microphone gives them
QUESTION = "What is said?"
PAUSE = 0.05  # seconds in which the threads of the last contender come to rest
MAX_REPEATS = 1000
OURS, BEFORE = "perilune", "preprocessing"


@dataclass(frozen=True)
class Peer:
    name: str
    milliseconds: float
    ratio: float  # its median by ours: above 1 it is slower


@dataclass(frozen=True)
class Encoded:
    """One kind of item. Milliseconds are medians, those of preprocessing are part of the whole."""

    what: str
    tokens: int
    milliseconds: float
    fastest: float
    slowest: float
    preprocessing_milliseconds: float | None = None
    real_time_factor: float | None = None  # seconds of work for a second of sound
    peers: list[Peer] = field(default_factory=list)

    def to_text(self) -> str:
        told = (
            f"{self.what}: {self.milliseconds:.1f} ms ({self.fastest:.1f} to {self.slowest:.1f}), {self.tokens} tokens"
        )
        if self.preprocessing_milliseconds is not None:
            told += f", preprocessing {self.preprocessing_milliseconds:.1f} ms of it"
        if self.real_time_factor is not None:
            told += f", real-time factor {self.real_time_factor:.4f}"
        peers = [f"  transformers, {p.name}: {p.milliseconds:.1f} ms, {p.ratio:.2f} times ours" for p in self.peers]
        return "\n".join([told, *peers])


@dataclass(frozen=True)
class FirstWord:
    """From the end of speech to the first token, in milliseconds; `tokens` of the sound."""

    tokens: int
    milliseconds: float
    fastest: float
    slowest: float

    def to_text(self) -> str:
        return (
            f"from the end of speech to the first word: {self.milliseconds:.1f} ms "
            f"({self.fastest:.1f} to {self.slowest:.1f}), {self.tokens} tokens of sound"
        )


@dataclass(frozen=True)
class SensesResult:
    encoded: list[Encoded]
    first_word: FirstWord | None  # None where the model does not hear as it goes
    machine: dict[str, Any] = field(default_factory=describe)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def to_text(self) -> str:
        threads = self.machine["threads"]["torch"]
        parts = [*self.encoded, *([self.first_word] if self.first_word else [])]
        return "\n".join([*(part.to_text() for part in parts), f"  {self.machine['cpu']}, {threads} threads"])


def bench_senses(model: Model, *, repeats: int, against: bool = False) -> SensesResult:
    """Random pixels and samples: speed does not depend on them. Raises RequestError for a model without senses."""
    if not 1 <= repeats <= MAX_REPEATS:
        raise RequestError(f"repeats must be from 1 to {MAX_REPEATS}, got {repeats}")
    senses = model.senses
    if not senses.has:
        raise RequestError("this model neither sees nor hears; give one whose config.json has vision or audio_config")
    if against:
        senses_peer.check_installed()
    encoded = _seeing(senses, repeats, against) if "vision" in senses.has else []
    if "hearing" not in senses.has:
        return SensesResult(encoded, None)
    encoded += _hearing(senses.hearing(), repeats, against)
    streams = senses.hearing().config.is_chunked
    return SensesResult(encoded, _first_word(model, repeats) if streams else None)


def with_fresh_senses(model: Model) -> Model:
    """A text model with towers of nano's shape and weights at random: as fast as trained ones."""
    tokenizer, transformer = model.tokenizer, model.transformer
    assert tokenizer is not None, "what stands for a picture in a prompt is a token"
    placeholder = tokenizer.special_id(sp.MEDIA_PAD)
    config = replace(model.config, vision=NANO_VISION, audio=NANO_AUDIO, media_placeholder_token_id=placeholder)
    made = fresh_senses(config, 0)
    made["vision"].bfloat16()
    transformer.config = config
    transformer.senses.update({name: sense.eval() for name, sense in made.items()})
    return Model(transformer, tokenizer, defaults=model.defaults)


def _seeing(senses: Senses, repeats: int, against: bool) -> list[Encoded]:
    vision, limits = senses.vision(), senses.limits
    peers = senses_peer.vision_peers(vision) if against else {}

    @torch.inference_mode()
    def look(items: Sequence[Patches]) -> list[Tensor]:
        return [vision(torch.from_numpy(item.pixels_PCSS), [item.grid])[0] for item in items]

    encoded = []
    for side in SIDES:
        images = [Image.fromarray(pixels) for pixels in _pixels(side)]

        def image(image: Image.Image = images[0]) -> list[Patches]:
            return [patches_of(image, limits)]

        def clip(images: list[Image.Image] = images) -> list[Patches]:
            size = fit(*images[0].size, limits.in_patch_limit_each_frame, limits)
            frames, step = [resize(image, size) for image in images], limits.temporal_merge_kernel_size
            return [cut(frames[at : at + step], limits) for at in range(0, FRAMES, step)]

        for what, prepare in ((f"picture of {side} x {side}", image), (f"{FRAMES} frames of {side} x {side}", clip)):
            tokens = sum(item.tokens for item in prepare())
            runs = {name: _both(prepare, peer) for name, peer in peers.items()}
            encoded.append(_encoded(what, tokens, {OURS: _both(prepare, look), BEFORE: prepare, **runs}, repeats))
    return encoded


def _both(prepare: Callable[[], list[Patches]], look: senses_peer.Look) -> Pass:
    return lambda: look(prepare())


def _hearing(hearing: Hearing, repeats: int, against: bool) -> list[Encoded]:
    audio, samples_T = hearing.config, _samples(0)
    tokens = audio.num_tokens(SECONDS)
    passes: dict[str, Pass] = {OURS: lambda: hear(hearing, samples_T), BEFORE: lambda: mel_frames(audio, samples_T)}
    if against:
        peer = senses_peer.hearing_peer(hearing, samples_T.shape[0])
        passes["float32"] = lambda: peer(samples_T)
    encoded = [_encoded(f"{SECONDS:g} s of sound", tokens, passes, repeats, SECONDS)]
    if audio.is_chunked:
        pieces = {OURS: lambda: _streamed(HearingStream(hearing))}
        what = f"{SECONDS:g} s of sound in pieces of {PIECE / SAMPLE_RATE:g} s"
        encoded.append(_encoded(what, tokens, pieces, repeats, SECONDS))
    return encoded


def _streamed(stream: HearingStream) -> Tensor:
    return torch.cat([*map(stream.feed, _pieces(0)), stream.finish()])


def _encoded(
    what: str, tokens: int, passes: Mapping[str, Pass], repeats: int, seconds_of_sound: float | None = None
) -> Encoded:
    seconds = side_by_side(passes, repeats, PAUSE)
    median = {name: statistics.median(times) for name, times in seconds.items()}
    ours = median.pop(OURS)
    before = median.pop(BEFORE, None)
    return Encoded(
        what=what,
        tokens=tokens,
        milliseconds=1e3 * ours,
        fastest=1e3 * min(seconds[OURS]),
        slowest=1e3 * max(seconds[OURS]),
        preprocessing_milliseconds=None if before is None else 1e3 * before,
        real_time_factor=None if seconds_of_sound is None else ours / seconds_of_sound,
        peers=[Peer(name, 1e3 * theirs, theirs / ours) for name, theirs in median.items()],
    )


def _first_word(model: Model, repeats: int) -> FirstWord:
    """Another sound each time: none is found in the prefix cache."""
    times = [1e3 * _answer(model, seed) for seed in range(repeats + 1)][1:]
    tokens = model.senses.hearing().config.num_tokens(SECONDS)
    return FirstWord(tokens, statistics.median(times), min(times), max(times))


def _answer(model: Model, seed: int) -> float:
    stream = model.senses.listen()
    rows = [stream.feed(piece_T) for piece_T in _pieces(seed)]
    began = time.perf_counter()
    sound = MediaItem("audio", heard(torch.cat([*rows, stream.finish()])), "the sound")
    content = [sound.part, {"type": "text", "text": QUESTION}]
    model.chat([{"role": "user", "content": content}], thinking=False, temperature=0.0, max_tokens=1)
    return time.perf_counter() - began


def _pixels(side: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (FRAMES, side, side, 3), np.uint8)


def _samples(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.3, 0.3, round(SECONDS * SAMPLE_RATE)).astype(np.float32)


def _pieces(seed: int) -> list[np.ndarray]:
    samples_T = _samples(seed)
    return [samples_T[at : at + PIECE] for at in range(0, samples_T.shape[0], PIECE)]
