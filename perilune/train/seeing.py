"""Conversations with pictures, sounds and clips for training: rows of tokens, and what stands at their placeholders.

Examples are made as they are needed (tasks/shown_families.py) and packed end to end into one row; their media go
through the towers, which learn with the decoder.

Legend: B rows, T tokens, N rows of media, D hidden, P patches, S side of a patch, F mel frames, M mel bins.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from perilune.config import ModelConfig
from perilune.config_audio import AudioConfig
from perilune.corpus.speech import has_speech
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
from perilune.tasks.shown import Shown
from perilune.tasks.shown_families import FAMILIES, shown
from perilune.text.chat import render
from perilune.text.tokenizer import Tokenizer
from perilune.train.packed import Batch

LONGEST_ROW = 4096  # tokens; examples that do not fit any more are left out
SEEDS = 1 << 40


@dataclass(frozen=True)
class Heard:
    """The mel frames [F, M] of a sound, filled up to whole chunks, and how many tokens are its own."""

    mel_FM: Tensor
    tokens: int


@dataclass(frozen=True)
class ShownBatch:
    """One row of conversations, and its media in order: the patches of a picture or of a clip's chunk, or a sound."""

    rows: Batch
    media: tuple[Patches | Heard, ...]


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
    ):
        """`count` examples a batch; `speech` is a folder in which synthetic speech is kept."""
        self.root, self.tokenizer, self.limits, self.count = root, tokenizer, limits, count
        self.seed, self.speech, self.audio = seed, speech, config.audio

    @cached_property
    def families(self) -> tuple[list[str], list[float]]:
        """Names and weights of what can be made here."""
        speaks = has_speech()
        made = [family for family in FAMILIES if speaks or not family.needs_speech]
        return [family.name for family in made], [family.weight for family in made]

    def batch(self, step: int, part: int) -> ShownBatch:
        rng = random.Random(f"{self.seed}:shown:{step}:{part}")
        names = rng.choices(*self.families, k=self.count)
        ids: list[int] = []
        mask: list[bool] = []
        segments: list[int] = []
        media: list[Patches | Heard] = []
        for index, name in enumerate(names):
            example = shown(name, rng.randrange(SEEDS), False, self.root, self.speech)
            items, pieces = prepare(example, self.limits, self.audio)
            options = {"tokenizer": self.tokenizer, "thinking": False, "add_generation_prompt": False}
            made = render(example.messages, None, media=items, **options)
            if len(ids) + len(made.ids) > LONGEST_ROW + 1:
                continue
            ids += made.ids
            mask += [False, *made.mask[1:]]
            segments += [index] * len(made.ids)
            media += pieces
        row = np.asarray([ids], np.int64), np.asarray([mask]), np.asarray([segments], np.int32)
        return ShownBatch(Batch.of(row), tuple(media))


def prepare(example: Shown, limits: MediaConfig, audio: AudioConfig | None) -> tuple[list[dict], list[Patches | Heard]]:
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
            pieces += clip.chunks()
        else:
            patches = to_patches(given, limits)
            items.append(image_item(patches))
            pieces.append(patches)
    return items, pieces


def media_rows(model: Transformer, media: tuple[Patches | Heard, ...]) -> Tensor | None:
    """What stands at the placeholders of a batch, in order: [N, D]; None where there is none."""
    seen = iter(_seen(model.senses, [m for m in media if isinstance(m, Patches)]))
    heard = iter(_heard(model.senses, [m for m in media if isinstance(m, Heard)]))
    made = [next(seen) if isinstance(m, Patches) else next(heard) for m in media]
    return torch.cat(made) if made else None


def _seen(senses: nn.ModuleDict, patches: list[Patches]) -> list[Tensor]:
    if not patches:
        return []
    vision = senses["vision"]
    assert isinstance(vision, Vision)
    pixels_P3SS = torch.from_numpy(np.concatenate([p.pixels_PCSS for p in patches]))
    return vision(pixels_P3SS, [p.grid for p in patches])


def _heard(senses: nn.ModuleDict, sounds: list[Heard]) -> Iterator[Tensor]:
    """All sounds together, as long as the longest; what comes after a sound's own chunks changes nothing."""
    if not sounds:
        return
    hearing = senses["hearing"]
    assert isinstance(hearing, Hearing)
    longest = max(len(s.mel_FM) for s in sounds)
    mel_BFM = torch.stack([nn.functional.pad(s.mel_FM, (0, 0, 0, longest - len(s.mel_FM))) for s in sounds])
    for tokens_ND, sound in zip(hearing(mel_BFM), sounds, strict=True):
        yield tokens_ND[: sound.tokens]


def fresh_senses(config: ModelConfig, seed: int) -> dict[str, nn.Module]:
    """The towers that a config names, with fresh weights."""
    made: dict[str, Vision | Hearing] = {}
    if config.vision is not None:
        made["vision"] = Vision(config.vision, config.hidden_size)
    if config.audio is not None:
        made["hearing"] = Hearing(config.audio, config.hidden_size)
    for sense in made.values():
        sense.init_weights(seed)
    return dict(made)
