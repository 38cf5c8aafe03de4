"""A clip → frames by the published sampling, and its patches chunk by chunk.

Frames are evenly spaced, sample_fps of them a second (all, where the clip has fewer); up to
temporal_merge_kernel_size in a row make a chunk, which begins with the time of its first frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from perilune.media.decoder_pipe import read_frames
from perilune.media.decoders import decode_apart
from perilune.media.patches import Patches, cut, token_grid
from perilune.media.settings import PUBLISHED, MediaConfig
from perilune.media.source import Source, open_source

MAX_BYTES = 1 << 30
MAX_SECONDS = 4 * 3600
DECODE_SECONDS = 300.0
# About 900 frames of the largest published size, which is 230,000 tokens: about the published context.
MAX_CLIP_BYTES = 2 << 30


@dataclass(frozen=True)
class Clip:
    """Sampled frames, uint8 [H, W, 3] of one size and already resized, and the second at which each is seen."""

    frames: tuple[np.ndarray, ...]
    seconds: tuple[float, ...]
    config: MediaConfig

    @property
    def starts(self) -> range:
        """The place of each chunk's first frame."""
        return range(0, len(self.frames), self.config.temporal_merge_kernel_size)

    @property
    def tokens_per_chunk(self) -> int:
        height, width = self.frames[0].shape[:2]
        rows, columns = token_grid(width, height, self.config)
        return rows * columns

    def chunks(self) -> Iterator[Patches]:
        """The patches of one chunk after the other; they are four times as large as the frames, so not all at once."""
        for frames in self.grouped():
            yield cut(frames, self.config)

    def grouped(self) -> Iterator[tuple[np.ndarray, ...]]:
        """The frames of one chunk after the other."""
        for start in self.starts:
            yield self.frames[start : start + self.config.temporal_merge_kernel_size]


def load_clip(
    source: Source,
    config: MediaConfig = PUBLISHED,
    seconds: float = DECODE_SECONDS,
    max_bytes: int = MAX_CLIP_BYTES,
) -> Clip:
    """The sampled frames of a clip (bytes or a path), `max_bytes` of them, decoded in a process of its own within
    `seconds`.

    A MediaError says what is wrong: no clip, no pictures in it, a damaged file, or a size beyond a limit.
    """
    max_bytes = min(max_bytes, MAX_CLIP_BYTES)
    with open_source(source, MAX_BYTES, "the clip") as file:
        job = {"kind": "video", "config": asdict(config), "max_bytes": max_bytes}
        decoded = decode_apart(file, "the clip", job, seconds, partial(read_frames, max_bytes=max_bytes))
    return Clip(tuple(decoded.frames), tuple(index / decoded.fps for index in decoded.indices), config)


def video_item(clip: Clip) -> dict[str, Any]:
    """The clip as an item of `render(..., media=[...])`."""
    tokens = clip.tokens_per_chunk
    return {"type": "video", "chunks": [{"timestamp": clip.seconds[start], "tokens": tokens} for start in clip.starts]}


def sample_indices(count: int, fps: float, config: MediaConfig) -> list[int]:
    """Which of `count` frames are looked at: evenly spaced from the first to the last, rounded half to even."""
    wanted = max(round(count * min(config.sample_fps, fps) / fps), 1)
    if config.max_num_frames_each_video is not None:
        wanted = min(wanted, config.max_num_frames_each_video)
    return np.linspace(0, count - 1, min(wanted, count)).round().astype(int).tolist()
