"""What seeing and hearing take of memory: the towers, and room for the largest item on its way through one.

Towers are opened when the first picture or sound comes; their room is set aside when the model is opened. One item at
a time passes a tower (api/senses.py), and no conversation has more of them than its context holds.

Legend: D width of a tower, F its feed-forward width, C width of the decoder.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from perilune.config import ModelConfig
from perilune.config_audio import SAMPLE_RATE, AudioConfig
from perilune.config_vision import VisionConfig
from perilune.media.audio import MAX_SECONDS
from perilune.media.decoders import MAX_DECODERS, USUAL_BYTES
from perilune.media.patches import most_tokens
from perilune.media.settings import MediaConfig
from perilune.model.hear import CHUNKS_TOGETHER
from perilune.weights.audio_names import AUDIO_PREFIXES
from perilune.weights.files import Checkpoint
from perilune.weights.header import DTYPE_BYTES
from perilune.weights.vision_names import VISION_PREFIXES

KEPT_BYTES = 256 << 20  # rows of items seen or heard lately
FLOAT = 4
PREFIXES = (*VISION_PREFIXES, *AUDIO_PREFIXES)
# Widths of floats for each place in a tower while a block runs: what tower and block were given, the stream, its norm;
# then in attention queries, keys and values before and after their bias, or turned; in the feed-forward its output, and
# what goes into GELU and comes out. One width is to spare.
ATTENTION_WIDTHS, STREAM_WIDTHS, INNER_WIDTHS = 11, 6, 2
SOUND_COPIES = 5  # of samples: as they came, filled up, and as mel frames in turn


@dataclass(frozen=True)
class SenseRoom:
    """Bytes. `weights` by the name of a sense, `item` for the largest one on its way through a tower, `rows` for what
    became of it and others, `decoders` for their processes as they usually are: one that takes more is the first that
    the system ends where memory runs out. All nothing for a model of text."""

    weights: Mapping[str, int] = field(default_factory=dict)
    item: int = 0
    rows: int = 0
    decoders: int = 0

    @property
    def total(self) -> int:
        return sum(self.weights.values()) + self.item + self.rows + self.decoders

    @property
    def verb(self) -> str:
        """What the model does with it: "see", "hear", or "see and hear"."""
        return " and ".join(word for name, word in (("vision", "see"), ("hearing", "hear")) if name in self.weights)


def sense_room(config: ModelConfig, limits: MediaConfig, tokens: int, weights: Mapping[str, int]) -> SenseRoom:
    """For a context of `tokens`; `weights` are the bytes of the towers that the model has."""
    if not weights:
        return SenseRoom()
    items = []
    if "vision" in weights and config.vision is not None:
        items.append(picture_bytes(config.vision, limits))
    if "hearing" in weights and config.audio is not None:
        items.append(sound_bytes(config.audio, tokens))
    # A prompt's rows: as they came from the tower, and joined.
    rows = KEPT_BYTES + 2 * tokens * config.hidden_size * FLOAT
    return SenseRoom(weights, max(items), rows, MAX_DECODERS * USUAL_BYTES)


def picture_bytes(vision: VisionConfig, limits: MediaConfig) -> int:
    """The largest picture, or chunk of a clip, on its way through the tower."""
    pixels = 3 * limits.patch_size**2
    return FLOAT * most_patches(limits) * (pixels + _widths(vision.vt_hidden_size, vision.vt_intermediate_size))


def most_patches(limits: MediaConfig) -> int:
    """Of a picture, or of the frames of a clip that are looked at together."""
    picture = most_tokens(limits.in_patch_limit, limits)
    frames = most_tokens(limits.in_patch_limit_each_frame, limits) * limits.temporal_merge_kernel_size
    return max(picture, frames) * limits.merge_kernel_size**2


def sound_bytes(audio: AudioConfig, tokens: int) -> int:
    """The longest sound that a context of `tokens` takes, as samples and mel frames, and the chunks of it that
    pass the tower together."""
    together = CHUNKS_TOGETHER if audio.is_chunked else 1
    heard = audio.chunk_frames * (together + audio.left_chunks)
    chunk = heard * _widths(audio.d_model, audio.encoder_ffn_dim)
    return FLOAT * (SOUND_COPIES * round(most_seconds(audio, tokens) * SAMPLE_RATE) + chunk)


def most_seconds(audio: AudioConfig, tokens: int) -> float:
    """Of a sound, where the context has so many tokens."""
    return min(MAX_SECONDS, tokens * audio.token_samples / SAMPLE_RATE)


def most_clip_bytes(limits: MediaConfig, tokens: int) -> int:
    """Of a clip's frames, where the context has so many tokens."""
    return tokens * limits.temporal_merge_kernel_size * 3 * limits.token_side**2


def stored_weights(checkpoint: Checkpoint, config: ModelConfig) -> dict[str, int]:
    """Bytes of the towers of a model directory, out of its headers."""
    kinds = ((name, kind) for name, kind in checkpoint.kinds().items() if name.startswith(PREFIXES))
    return tower_bytes(config, {name: (math.prod(shape), DTYPE_BYTES[dtype]) for name, (dtype, shape) in kinds})


def tower_bytes(config: ModelConfig, tensors: Mapping[str, tuple[int, int]]) -> dict[str, int]:
    """Bytes in memory of the towers that the config names, from the numbers of each tensor and the bytes of one as it
    is stored. What sees stays as it lies, what hears becomes float32."""
    sizes = dict.fromkeys(config.senses, 0)
    for name, (numbers, stored) in tensors.items():
        if "vision" in sizes and name.startswith(VISION_PREFIXES):
            sizes["vision"] += numbers * stored
        elif "hearing" in sizes and name.startswith(AUDIO_PREFIXES):
            sizes["hearing"] += numbers * FLOAT
    return sizes


def _widths(width: int, inner: int) -> int:
    """Floats for each place in a block."""
    return max(ATTENTION_WIDTHS * width, STREAM_WIDTHS * width + INNER_WIDTHS * inner)
