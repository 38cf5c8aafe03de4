"""A sound file → mono float32 samples at 16 kHz, decoded in a process of its own (decoders.py, sound_file.py).

What a file is, its first bytes decide, never its name.

Legend: T samples of one channel.
"""

from __future__ import annotations

from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from perilune.config_audio import SAMPLE_RATE, AudioConfig
from perilune.errors import MediaError
from perilune.media.decoder_pipe import Refused, read_samples
from perilune.media.decoders import decode_apart
from perilune.media.source import Source

MAX_FILE_BYTES = 512 << 20
MAX_SECONDS = 3600.0
DECODE_SECONDS = 300.0


def load_audio(
    source: Source, *, max_seconds: float = MAX_SECONDS, decode_seconds: float = DECODE_SECONDS
) -> np.ndarray:
    """The sound of a file, or of the bytes of one, as float32 [T] at 16,000 samples a second, full scale ±1.

    Raises MediaError for what is empty, no sound, damaged, cut short or above a limit; decoding stops after
    `max_seconds` of sound, and ends after `decode_seconds`.
    """
    name = "the sound" if isinstance(source, bytes) else Path(source).name
    read = partial(read_samples, max_samples=round((max_seconds + 1) * SAMPLE_RATE))
    with _open(source, name) as file:
        try:
            return decode_apart(file, name, {"kind": "audio", "max_seconds": max_seconds}, decode_seconds, read)
        except Refused as error:
            raise MediaError(f"{name} {error}") from None


def audio_item(samples_T: np.ndarray, audio: AudioConfig) -> dict[str, Any]:
    """The sound as an item of `render(..., media=[...])`."""
    return {"type": "audio", "tokens": audio.num_tokens(samples_T.shape[0] / SAMPLE_RATE)}


def _open(source: Source, name: str) -> BinaryIO:
    if not isinstance(source, bytes) and not Path(source).is_file():
        raise MediaError(f"{name} is not a file")
    size = len(source) if isinstance(source, bytes) else Path(source).stat().st_size
    if size == 0:
        raise MediaError(f"{name} is empty; wanted is a sound file")
    if size > MAX_FILE_BYTES:
        raise MediaError(f"{name} has {size} bytes; at most {MAX_FILE_BYTES} are read")
    try:
        return BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb", buffering=0)
    except OSError as error:
        raise MediaError(f"{name} cannot be read: {error.strerror}") from None
