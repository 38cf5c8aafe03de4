"""What a program has already decoded, in place of a file: the same pixels and samples give the same rows.

Axes: F frames, H and W pixels, T samples of one channel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from perilune.errors import MediaError
from perilune.media.audio import MAX_SECONDS, load_audio
from perilune.media.image import load_image, patches_of
from perilune.media.patches import Patches, fit, resize
from perilune.media.settings import MediaConfig
from perilune.media.source import Source
from perilune.media.video import MAX_CLIP_BYTES, Clip, load_clip, sample_indices

_WANTED = {
    "image": "uint8 [H, W, 3]",
    "audio": "finite float32 [T], mono at 16,000 samples a second",
    "video": "uint8 [F, H, W, 3] with its frames a second",
}


@dataclass(frozen=True, eq=False)
class Decoded:
    """`data`: an image uint8 [H, W, 3], a sound float32 [T] (mono, 16 kHz, full scale ±1), a clip uint8 [F, H, W, 3].

    `rate` is a clip's frames a second. Stands where a path or bytes stand in a content part: {"type": "image",
    "image": Decoded("image", pixels)}. Raises MediaError for arrays of another form.
    """

    kind: str
    data: np.ndarray
    rate: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in _WANTED:
            raise MediaError(f"what is decoded is one of {', '.join(_WANTED)}, not {self.kind!r}")
        if not self._fits():
            got = f"{self.data.dtype} {list(self.data.shape)}" if isinstance(self.data, np.ndarray) else "no array"
            raise MediaError(f"decoded {self.kind} must be {_WANTED[self.kind]}; got {got}")

    @property
    def part(self) -> dict[str, Any]:
        """The content part that stands for it in a message."""
        return {"type": self.kind, self.kind: self}

    def _fits(self) -> bool:
        data = self.data
        if not isinstance(data, np.ndarray) or not data.size:
            return False
        if self.kind == "audio":
            return data.dtype == np.float32 and data.ndim == 1 and bool(np.isfinite(data).all())
        moves = self.kind == "video"
        pixels = data.dtype == np.uint8 and data.ndim == 3 + moves and data.shape[-1] == 3
        return pixels and (not moves or (math.isfinite(self.rate) and self.rate > 0))


def to_patches(given: Source | Decoded, config: MediaConfig) -> Patches:
    """The patches of a picture."""
    if not isinstance(given, Decoded):
        return load_image(given, config)
    return patches_of(Image.fromarray(given.data), config)


def to_samples(given: Source | Decoded, max_seconds: float = MAX_SECONDS) -> np.ndarray:
    """A sound as float32 [T]; a file is decoded up to `max_seconds`."""
    return given.data if isinstance(given, Decoded) else load_audio(given, max_seconds=max_seconds)


def to_clip(given: Source | Decoded, config: MediaConfig, max_bytes: int = MAX_CLIP_BYTES) -> Clip:
    """The frames of a clip that are looked at, of a file `max_bytes` of them; of decoded ones those its file's decoder
    would choose."""
    if not isinstance(given, Decoded):
        return load_clip(given, config, max_bytes=max_bytes)
    chosen = sample_indices(len(given.data), given.rate, config)
    size = fit(given.data.shape[2], given.data.shape[1], config.in_patch_limit_each_frame, config)
    frames = tuple(resize(Image.fromarray(given.data[i]), size) for i in chosen)
    return Clip(frames, tuple(i / given.rate for i in chosen), config)
