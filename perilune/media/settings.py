"""What a vision tower takes in: patches, limits and sampling, as in the published preprocessor_config.json.

The published values are the defaults (K2.5 and K2.6 share them); a small tower has smaller limits.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from perilune.errors import ConfigError
from perilune.fields import Fields, read_json_object, show_value

FILE_NAME = "preprocessor_config.json"
MAX_FILE_BYTES = 1 << 20
MAX_PATCH_SIZE = 64
MAX_MERGE = 8
MAX_PATCHES = 1 << 17
MAX_PATCHES_ON_ONE_SIDE = 1 << 12
MAX_FPS = 60.0
MAX_FRAMES = 1 << 14
MAX_FRAMES_PER_CHUNK = 64
MAX_ENLARGED_SIDE = 1 << 10
TIMESTAMP_MODE = "hh:mm:ss.fff"
# The published file names these; no rule of ours follows another value.
_ONLY_NULL = ("fixed_output_tokens", "in_patch_limit_video")
_RANGES = {
    "patch_size": (1, MAX_PATCH_SIZE),
    "merge_kernel_size": (1, MAX_MERGE),
    "in_patch_limit": (1, MAX_PATCHES),
    "in_patch_limit_each_frame": (1, MAX_PATCHES),
    "patch_limit_on_one_side": (1, MAX_PATCHES_ON_ONE_SIDE),
    "temporal_merge_kernel_size": (1, MAX_FRAMES_PER_CHUNK),
    "enlarged_side": (0, MAX_ENLARGED_SIDE),
}


@dataclass(frozen=True)
class MediaConfig:
    """`media_proc_cfg`. Limits are in patches before merging; one token is merge_kernel_size² patches of a picture,
    or of up to temporal_merge_kernel_size frames of a clip.

    `enlarged_side` is perilune's own: a picture whose longer side has fewer pixels is enlarged, by the whole number
    that brings it there. 0 enlarges nothing, as published.
    """

    patch_size: int = 14
    merge_kernel_size: int = 2
    in_patch_limit: int = 16384
    in_patch_limit_each_frame: int = 4096
    patch_limit_on_one_side: int = 512
    temporal_merge_kernel_size: int = 4
    sample_fps: float = 2.0
    max_num_frames_each_video: int | None = None
    enlarged_side: int = 0
    image_mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    image_std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    def __post_init__(self) -> None:
        # Read as a file would be: one set of checks for values from code and from JSON.
        read = _read(Fields(("", asdict(self))))
        for name, value in read.items():
            object.__setattr__(self, name, value)
        if self.patch_limit_on_one_side % self.merge_kernel_size:
            raise ConfigError(
                f"patch_limit_on_one_side = {self.patch_limit_on_one_side} must be a multiple of "
                f"merge_kernel_size = {self.merge_kernel_size}"
            )

    @property
    def token_side(self) -> int:
        """Pixels along one side of a token."""
        return self.patch_size * self.merge_kernel_size

    @property
    def longest_side(self) -> int:
        """Pixels along the longest side of a resized picture."""
        return self.patch_limit_on_one_side * self.patch_size

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> MediaConfig:
        """From the content of a preprocessor_config.json; what is absent has its published value."""
        name, table = Fields(("", raw)).table("media_proc_cfg")
        if table is None:
            raise ConfigError(f"{FILE_NAME} has no {name}; it must hold the patch limits, as the published file does")
        part = Fields((name + ".", table))
        for field in _ONLY_NULL:
            if part.present(field):
                part.refuse(f"{name}.{field}", part.find(field)[1], "null")
        part.word("timestamp_mode", choices=(TIMESTAMP_MODE,), default=TIMESTAMP_MODE)
        return cls(**_read(part))

    @classmethod
    def load(cls, directory: str | Path) -> MediaConfig:
        return cls.from_dict(read_json_object(Path(directory) / FILE_NAME, MAX_FILE_BYTES))

    @classmethod
    def of(cls, directory: Path | None) -> MediaConfig:
        """As a model's directory says, else as published."""
        return cls.load(directory) if directory and (directory / FILE_NAME).is_file() else PUBLISHED

    def to_dict(self) -> dict[str, Any]:
        """The published spelling; from_dict gives the same settings back."""
        written = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        if not self.enlarged_side:
            del written["enlarged_side"]
        return {"media_proc_cfg": written | dict.fromkeys(_ONLY_NULL) | {"timestamp_mode": TIMESTAMP_MODE}}


def _read(part: Fields) -> dict[str, Any]:
    plain: dict[str, Any] = {field.name: field.default for field in fields(MediaConfig)}
    sizes = {name: part.integer(name, low=low, high=high, default=plain[name]) for name, (low, high) in _RANGES.items()}
    return sizes | {
        "sample_fps": part.number("sample_fps", low=1e-3, high=MAX_FPS, default=plain["sample_fps"]),
        "max_num_frames_each_video": part.optional_integer("max_num_frames_each_video", low=1, high=MAX_FRAMES),
        "image_mean": _channels(part, "image_mean", low=0.0),
        "image_std": _channels(part, "image_std", low=1e-3),
    }


def _channels(part: Fields, field: str, low: float) -> tuple[float, ...]:
    """Three numbers, or one that stands for all three."""
    name, value = part.find(field)
    value = 0.5 if value is None else value
    numbers = list(value) if isinstance(value, list | tuple) else [value] * 3
    fine = len(numbers) == 3 and all(type(n) in (int, float) and math.isfinite(n) and low <= n <= 1 for n in numbers)
    if not fine:
        raise ConfigError(f"{name} = {show_value(value)} is not possible here; it must be 3 numbers from {low:g} to 1")
    return tuple(float(n) for n in numbers)


PUBLISHED = MediaConfig()
