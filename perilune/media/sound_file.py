"""A sound's file → mono float32 samples at 16 kHz, in blocks, so that memory stays bounded whatever a file says.

What a file is, its first bytes decide: WAV, AIFF, CAF, FLAC, Ogg and MP3 go to libsndfile; MP4 (m4a), WebM and
Matroska, and bare AAC to FFmpeg, which is told the format: left to guess, it would also take playlists that name other
files. Channels become their mean, rates are changed by soxr. It runs in a decoder's process (decoder_worker.py).

Legend: T samples of one channel, C channels.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import BinaryIO, cast

import av
import numpy as np
import soundfile
import soxr

from perilune.config_audio import SAMPLE_RATE
from perilune.errors import MediaError

MAX_CHANNELS = 32
MIN_RATE, MAX_RATE = 4_000, 384_000
MAX_STREAMS = 64
MAX_PEAK = 16.0  # floats may pass full scale a little; integers written as floats pass it by far
BLOCK = 1 << 16
HEAD_BYTES = 28
# What begins with its length, so that a missing end is seen.
TOLD_LENGTH = {(form, b"WAVE") for form in (b"RIFF", b"RIFX", b"RF64")} | {(b"FORM", b"AIFF"), (b"FORM", b"AIFC")}
KNOWN = "WAV, AIFF, CAF, FLAC, Ogg, MP3, MP4 (m4a), WebM, AAC"
# Who writes a WAV into a pipe does not know its length, and says something like this.
STREAMED_LENGTH = 0x7FFF_0000
UNKNOWN_SAMPLES = 1 << 60
# Containers tell a duration that priming samples and rounding blur.
LEEWAY_SECONDS = 0.25


@dataclass(frozen=True)
class _Sound:
    """An opened file: what its header says, and its samples float32 [T, C] block by block."""

    rate: int
    channels: int
    announced: int | None
    leeway: float
    blocks: Iterator[np.ndarray]


def decode_sound(file: BinaryIO, max_seconds: float) -> np.ndarray:
    """float32 [T] at 16,000 samples a second. A MediaError says what the sound does or is: "is cut short"."""
    try:
        with ExitStack() as stack:
            sound = _opened(file, file.seek(0, os.SEEK_END), stack)
            _check(sound, max_seconds)
            return _decode(sound, max_seconds)
    except (soundfile.SoundFileError, av.FFmpegError, ValueError, OSError) as error:
        raise MediaError(f"is damaged and cannot be decoded as sound ({_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    """What a decoder says, without the name it knows the file by."""
    said = getattr(error, "strerror", None) or getattr(error, "error_string", None) or str(error)
    return (said or type(error).__name__).splitlines()[0][:120].rstrip(". ")


def _opened(file: BinaryIO, size: int, stack: ExitStack) -> _Sound:
    file.seek(0)
    head = file.read(HEAD_BYTES)
    file.seek(0)
    form, kind, second = head[:4], head[8:12], head[1] if len(head) > 1 else 0
    if (form, kind) in TOLD_LENGTH:
        length = int.from_bytes(head[4:8], "little" if form == b"RIFF" else "big")
        if form == b"RF64":
            length = int.from_bytes(head[20:28], "little")
        if size + 1 < length + 8 and length < STREAMED_LENGTH:
            raise MediaError(f"is cut short: it has {size} bytes of {length + 8}; send the whole file")
        return _sndfile(file, stack)
    if form in (b"fLaC", b"OggS", b"caff") or form[:3] == b"ID3":
        return _sndfile(file, stack)
    if head[4:8] == b"ftyp":
        return _ffmpeg(file, "mov", stack)
    if form == b"\x1aE\xdf\xa3":
        return _ffmpeg(file, "matroska", stack)
    if head[:1] == b"\xff" and second & 0xF6 == 0xF0:  # AAC's frames have no layer, MP3's have one
        return _ffmpeg(file, "aac", stack)
    if head[:1] == b"\xff" and second & 0xE0 == 0xE0:
        return _sndfile(file, stack)
    raise MediaError(f"is no sound file that perilune knows; wanted is one of {KNOWN}")


class _Plain:
    """A file as libsndfile sees it: without a name, which it would take for a hint, and staying where it is when asked
    to go before its beginning, as damaged files ask."""

    def __init__(self, file: BinaryIO):
        self.read, self.tell, self._file = file.read, file.tell, file

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError):
            return self._file.tell()


def _sndfile(file: BinaryIO, stack: ExitStack) -> _Sound:
    sound = stack.enter_context(soundfile.SoundFile(cast(BinaryIO, _Plain(file))))
    announced = sound.frames if sound.frames < UNKNOWN_SAMPLES else None

    def blocks() -> Iterator[np.ndarray]:
        while (block_TC := sound.read(BLOCK, dtype="float32", always_2d=True)).shape[0]:
            yield block_TC

    return _Sound(sound.samplerate, sound.channels, announced, 0.0, blocks())


def _ffmpeg(file: BinaryIO, form: str, stack: ExitStack) -> _Sound:
    container = stack.enter_context(av.open(file, "r", format=form, metadata_errors="replace"))
    if len(container.streams) > MAX_STREAMS:
        raise MediaError(f"holds {len(container.streams)} streams; at most {MAX_STREAMS} are read")
    if not container.streams.audio:
        raise MediaError("holds no sound, only other streams")
    stream = container.streams.audio[0]
    if stream.codec_context is None:
        raise MediaError("holds sound in a codec that FFmpeg does not know")
    rate, seconds = stream.rate, None
    if stream.duration is not None and stream.time_base is not None:
        seconds = float(stream.duration * stream.time_base)
    elif container.duration is not None:
        seconds = container.duration / av.time_base

    def blocks() -> Iterator[np.ndarray]:
        # Interleaved: of more than eight channels apart, PyAV reads planes that are not there.
        to_floats = av.AudioResampler(format="flt")
        for frame in container.decode(stream):
            for part in to_floats.resample(frame):
                yield part.to_ndarray().reshape(-1, part.layout.nb_channels)

    announced = None if seconds is None else round(seconds * rate)
    return _Sound(rate, stream.channels, announced, LEEWAY_SECONDS, blocks())


def _check(sound: _Sound, max_seconds: float) -> None:
    """What the header says, before anything is decoded."""
    if not MIN_RATE <= sound.rate <= MAX_RATE:
        raise MediaError(f"has {sound.rate} samples a second; wanted are {MIN_RATE} to {MAX_RATE}")
    if not 1 <= sound.channels <= MAX_CHANNELS:
        raise MediaError(f"has {sound.channels} channels; wanted are 1 to {MAX_CHANNELS}")
    if sound.announced is not None and sound.announced > max_seconds * sound.rate:
        raise MediaError(f"is {sound.announced / sound.rate:.0f} s long; at most {max_seconds:g} s are heard")


def _decode(sound: _Sound, max_seconds: float) -> np.ndarray:
    change = soxr.ResampleStream(sound.rate, SAMPLE_RATE, 1, dtype="float32")
    parts, heard = [], 0
    for block_TC in sound.blocks:
        heard += block_TC.shape[0]
        if heard > max_seconds * sound.rate:
            raise MediaError(f"goes on after {max_seconds:g} s; no more are heard")
        if block_TC.shape[1] != sound.channels:
            raise MediaError("changes its number of channels on the way; encode it anew")
        peak = np.abs(block_TC).max(initial=0.0)
        if not peak <= MAX_PEAK:
            wanted = "its numbers must be finite and within ±1, so scale them"
            raise MediaError(f"holds a sample of size {peak:g}; {wanted}")
        mono_T = np.ascontiguousarray(block_TC.mean(1, dtype=np.float32))
        parts.append(change.resample_chunk(mono_T))
    if heard == 0:
        raise MediaError("holds no samples")
    missing = (sound.announced or 0) - heard
    if missing > sound.leeway * sound.rate:
        raise MediaError(f"is cut short: {missing / sound.rate:.2f} s are missing at its end; send the whole file")
    return np.concatenate([*parts, change.resample_chunk(np.zeros(0, np.float32), last=True)])
