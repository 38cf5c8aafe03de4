"""Conversations with pictures, sounds and clips for training: rows of tokens, and what stands at their placeholders.

Examples are made as they are needed (tasks/shown_families.py) and packed end to end into rows; their media go through
the towers, which learn with the decoder.

Legend: B rows, T tokens, N rows of media, D hidden, P patches, S side of a patch, F mel frames, M mel bins.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from perilune.config import ModelConfig
from perilune.config_audio import AudioConfig
from perilune.corpus.speech import has_speech
from perilune.errors import ConfigError
from perilune.media.audio import audio_item
from perilune.media.decoded import Decoded, to_clip, to_patches
from perilune.media.image import image_item
from perilune.media.patches import Patches
from perilune.media.settings import MediaConfig
from perilune.media.video import video_item
from perilune.model.hear import mel_frames
from perilune.model.hearing import Hearing
from perilune.model.model import Transformer
from perilune.model.vision import Vision
from perilune.model.vision_together import seen_together
from perilune.tasks.shown import Shown
from perilune.tasks.shown_families import FAMILIES, shown
from perilune.text.chat import render
from perilune.text.tokenizer import Tokenizer
from perilune.train.packed import Batch

ROW = 1024  # tokens, more or less
LONGEST_EXAMPLE = 4096  # tokens; longer ones are left out
PAST_THE_END = -1  # segment of what fills a row up
FILLED = 1.3
SEEDS = 1 << 40
Slot = tuple[int, bool, int]  # id, whether it is learned, segment


@dataclass(frozen=True)
class Heard:
    """The mel frames [F, M] of a sound, filled up to whole chunks, and how many tokens are its own."""

    mel_FM: Tensor
    tokens: int


@dataclass(frozen=True)
class Seen:
    """Patches [P, 3, S, S] of a picture or of a clip's chunk: frames, rows and columns of them."""

    pixels_P3SS: Tensor
    grid: tuple[int, int, int]


@dataclass(frozen=True)
class Prepared:
    """The tokens of one conversation, and its media in order."""

    slots: list[Slot]
    pieces: list[Seen | Heard]


@dataclass(frozen=True)
class ShownBatch:
    """Rows of conversations, and their media in order: the patches of a picture or of a clip's chunk, or a sound."""

    rows: Batch
    media: tuple[Seen | Heard, ...]


class ShownRows:
    """The examples of each step: a pure function of the seed, the step and the thread."""

    def __init__(
        self,
        root: Path,
        tokenizer: Tokenizer,
        config: ModelConfig,
        limits: MediaConfig,
        count: int,
        seed: int,
        speech: Path | None = None,
        only: Mapping[str, float] | None = None,
    ):
        """`count` examples a batch, of the families in `only` with their weights, or of all with their own; `speech` is
        a folder in which synthetic speech is kept. Raises ConfigError for a family that is not there."""
        self.weights = only or {family.name: family.weight for family in FAMILIES}
        unknown = set(self.weights) - {family.name for family in FAMILIES}
        if unknown:
            raise ConfigError(f"families of conversations with media: none is called {', '.join(sorted(unknown))}")
        self.root, self.tokenizer, self.limits, self.count = root, tokenizer, limits, count
        self.seed, self.speech, self.audio = seed, speech, config.audio

    @cached_property
    def families(self) -> tuple[list[str], list[float]]:
        """Names and weights of what can be made here."""
        speaks = has_speech()
        made = [f.name for f in FAMILIES if f.name in self.weights and (speaks or not f.needs_speech)]
        return made, [self.weights[name] for name in made]

    def batch(self, step: int, part: int) -> ShownBatch:
        rng = random.Random(f"{self.seed}:shown:{step}:{part}")
        names = rng.choices(*self.families, k=self.count)
        made = [self._example(index, name, rng) for index, name in enumerate(names)]
        rows = _even([each for each in made if len(each.slots) <= LONGEST_EXAMPLE])
        media = tuple(piece for row in rows for each in row for piece in each.pieces)
        return ShownBatch(_packed([[slot for each in row for slot in each.slots] for row in rows]), media)

    def _example(self, index: int, name: str, rng: random.Random) -> Prepared:
        example = shown(name, rng.randrange(SEEDS), False, self.root, self.speech)
        items, pieces = prepare(example, self.limits, self.audio)
        # Half of them as where reasoning is on: it ends at once, for what is seen needs none.
        options = {"tokenizer": self.tokenizer, "thinking": rng.random() < 0.5, "add_generation_prompt": False}
        made = render(example.messages, None, media=items, **options)
        return Prepared(list(zip(made.ids, [False, *made.mask[1:]], [index] * len(made.ids), strict=True)), pieces)


def _even(examples: list[Prepared]) -> list[list[Prepared]]:
    """As few rows of ROW tokens as may do, filled evenly: what is filled up costs as much as what is learned."""
    tokens = sum(len(each.slots) for each in examples)
    rows: list[list[Prepared]] = [[] for _ in range(max(1, -(-tokens // ROW)))]
    lengths = [0] * len(rows)
    for each in sorted(examples, key=lambda each: len(each.slots), reverse=True):
        shortest = lengths.index(min(lengths))
        rows[shortest].append(each)
        lengths[shortest] += len(each.slots)
    return rows


def _packed(rows: list[list[Slot]]) -> Batch:
    longest = max(len(row) for row in rows)
    filled = [row + [(0, False, PAST_THE_END)] * (longest - len(row)) for row in rows]
    ids, mask, segments = (np.array([[slot[i] for slot in row] for row in filled]) for i in range(3))
    return Batch.of((ids.astype(np.int64), mask.astype(bool), segments.astype(np.int32)))


def prepare(example: Shown, limits: MediaConfig, audio: AudioConfig | None) -> tuple[list[dict], list[Seen | Heard]]:
    """How the media of an example stand in the prompt, and what the towers take for them."""
    items, pieces = [], []
    for medium in example.media:
        given = Decoded(medium.kind, medium.data, medium.rate)
        if medium.kind == "audio":
            assert audio is not None, "a model that is shown sounds has an audio_config"
            items.append(audio_item(medium.data, audio))
            pieces.append(Heard(mel_frames(audio, medium.data), items[-1]["tokens"]))
        elif medium.kind == "video":
            clip = to_clip(given, limits)
            items.append(video_item(clip))
            pieces += [_seen(chunk) for chunk in clip.chunks()]
        else:
            patches = to_patches(given, limits)
            items.append(image_item(patches))
            pieces.append(_seen(patches))
    return items, pieces


def _seen(patches: Patches) -> Seen:
    return Seen(torch.from_numpy(patches.pixels_PCSS), patches.grid)


def media_rows(model: Transformer, media: tuple[Seen | Heard, ...]) -> Tensor | None:
    """What stands at the placeholders of a batch, in order: float32 [N, D]; None where there is none."""
    seen = {i: medium for i, medium in enumerate(media) if isinstance(medium, Seen)}
    heard = {i: medium for i, medium in enumerate(media) if isinstance(medium, Heard)}
    made: dict[int, Tensor] = {}
    for group in _alike({i: len(item.pixels_P3SS) for i, item in seen.items()}):
        made |= zip(group, _see(model.senses, [seen[i] for i in group]), strict=True)
    for group in _alike({i: len(sound.mel_FM) for i, sound in heard.items()}):
        made |= zip(group, _hear(model.senses, [heard[i] for i in group]), strict=True)
    return torch.cat([made[i].float() for i in range(len(media))]) if made else None


def _see(senses: nn.ModuleDict, items: list[Seen]) -> list[Tensor]:
    vision = senses["vision"]
    assert isinstance(vision, Vision)
    return seen_together(vision, torch.cat([item.pixels_P3SS for item in items]), [item.grid for item in items])


def _hear(senses: nn.ModuleDict, sounds: list[Heard]) -> list[Tensor]:
    """What comes after a sound's own chunks changes nothing."""
    hearing = senses["hearing"]
    assert isinstance(hearing, Hearing)
    mel_BFM = pad_sequence([sound.mel_FM for sound in sounds], batch_first=True)
    return [tokens_ND[: sound.tokens] for sound, tokens_ND in zip(sounds, hearing(mel_BFM), strict=True)]


def _alike(lengths: dict[int, int]) -> Iterator[list[int]]:
    """Groups of places that go through a tower together: the longest has at most FILLED times the shortest's length."""
    group: list[int] = []
    for place in sorted(lengths, key=lambda place: lengths[place]):
        if group and lengths[place] > FILLED * lengths[group[0]]:
            yield group
            group = []
        group.append(place)
    if group:
        yield group
