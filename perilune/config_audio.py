"""How a model hears: the settings of its audio encoder, under Whisper's published names, and of what joins it on.

An addition to the K2.6 layout, `audio_config` in config.json; without it a model is deaf and its files are as before.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from perilune.errors import ConfigError
from perilune.fields import Fields

SAMPLE_RATE = 16_000
HOP_LENGTH = 160  # samples from one mel frame to the next
FRAME_SAMPLES = 2 * HOP_LENGTH  # an encoder frame is two mel frames: 20 ms
FRAMES_A_SECOND = SAMPLE_RATE // FRAME_SAMPLES
MEL_BINS = (80, 128)
MAX_WIDTH = 1 << 14
MAX_LAYERS = 256
MAX_POSITIONS = 1 << 16
MAX_LEFT_CHUNKS = 1 << 10


def _require(good: bool, message: str) -> None:
    if not good:
        raise ConfigError(f"audio_config.{message}")


@dataclass(frozen=True)
class AudioConfig:
    """Whisper's encoder, and `frames_per_token` of its frames (20 ms each) joined into one token of the decoder.

    Without `chunk_seconds` the encoder is the published one: it hears max_source_positions frames (30 s) at once. With
    it the encoder hears as it goes: convolutions look back only, a frame sees its own chunk and `left_chunks` before
    it, and positions go round after max_source_positions. A stream has no loudest moment, so it needs `mel_floor`: the
    log10 of the mel power below which everything is silence (published: eight below the loudest, see media/mel.py).
    """

    d_model: int
    encoder_layers: int
    encoder_attention_heads: int
    encoder_ffn_dim: int
    num_mel_bins: int = 80
    max_source_positions: int = 1500
    frames_per_token: int = 4
    chunk_seconds: float | None = None
    left_chunks: int = 0
    mel_floor: float | None = None

    def __post_init__(self) -> None:
        for name in ("d_model", "encoder_layers", "encoder_attention_heads", "encoder_ffn_dim", "frames_per_token"):
            _require(getattr(self, name) > 0, f"{name} = {getattr(self, name)} must be at least 1")
        heads, positions = self.encoder_attention_heads, self.max_source_positions
        _require(self.num_mel_bins in MEL_BINS, f"num_mel_bins = {self.num_mel_bins} must be 80 or 128")
        _require(
            self.d_model % heads == 0 and self.d_model % 2 == 0 and self.d_model > 2,
            f"d_model = {self.d_model} must be even, above 2 and a multiple of encoder_attention_heads = {heads}",
        )
        _require(
            positions > 0 and positions % self.frames_per_token == 0,
            f"max_source_positions = {positions} must be a multiple of frames_per_token = {self.frames_per_token}",
        )
        _require(
            (self.chunk_seconds is None) == (self.mel_floor is None),
            "chunk_seconds and mel_floor belong together: set both to hear as it goes, or neither",
        )
        if self.chunk_seconds is None:
            _require(self.left_chunks == 0, f"left_chunks = {self.left_chunks} needs chunk_seconds")
            return
        frames = self.chunk_seconds * FRAMES_A_SECOND
        _require(
            abs(frames - round(frames)) < 1e-6 and 0 < round(frames) <= positions,
            f"chunk_seconds = {self.chunk_seconds:g} must be whole frames of {1 / FRAMES_A_SECOND:g} s, "
            f"at most max_source_positions = {positions} of them",
        )
        _require(
            positions % round(frames) == 0 and round(frames) % self.frames_per_token == 0,
            f"chunk_seconds = {self.chunk_seconds:g} is {round(frames)} frames: it must be a multiple of "
            f"frames_per_token = {self.frames_per_token} and divide max_source_positions = {positions}",
        )

    @property
    def is_chunked(self) -> bool:
        return self.chunk_seconds is not None

    @property
    def chunk_frames(self) -> int:
        """Encoder frames that are heard together: those of a chunk, or all positions."""
        return self.max_source_positions if self.chunk_seconds is None else round(self.chunk_seconds * FRAMES_A_SECOND)

    @property
    def chunk_samples(self) -> int:
        """Sound is filled up with silence to a multiple of this."""
        return self.chunk_frames * FRAME_SAMPLES

    @property
    def token_samples(self) -> int:
        return self.frames_per_token * FRAME_SAMPLES

    def num_tokens(self, seconds: float) -> int:
        """How many tokens so many seconds of sound take in a prompt: one for each begun frames_per_token · 20 ms.

        12.5 a second at the usual four frames: (samples − 1) // 1280 + 1, as Kimi-Audio counts.
        """
        if not math.isfinite(seconds) or seconds < 0:
            raise ValueError(f"{seconds} is no length of a sound; it must be finite and not negative")
        return -(-round(seconds * SAMPLE_RATE) // self.token_samples)


def read_audio_config(fields: Fields) -> AudioConfig | None:
    """The audio encoder of a model that hears, or none."""
    name, raw = fields.table("audio_config")
    return audio_from_fields(Fields((name + ".", raw))) if raw else None


def audio_from_fields(part: Fields) -> AudioConfig:
    """From Whisper's own config.json or from an audio_config."""
    part.word("activation_function", choices=("gelu",), default="gelu")
    if part.flag("scale_embedding", default=False):
        raise ConfigError(
            f"{part.places[0][0]}scale_embedding = true is not supported; the published encoders have false"
        )
    sizes = {
        "d_model": MAX_WIDTH,
        "encoder_layers": MAX_LAYERS,
        "encoder_attention_heads": MAX_WIDTH,
        "encoder_ffn_dim": MAX_WIDTH,
    }
    chunked = part.present("chunk_seconds")
    floored = part.present("mel_floor")
    return AudioConfig(
        **{name: part.integer(name, low=1, high=high) for name, high in sizes.items()},
        num_mel_bins=part.integer("num_mel_bins", low=1, high=1024, default=80),
        max_source_positions=part.integer("max_source_positions", low=1, high=MAX_POSITIONS, default=1500),
        frames_per_token=part.integer("frames_per_token", low=1, high=MAX_POSITIONS, default=4),
        chunk_seconds=part.number("chunk_seconds", low=0.02, high=3600.0) if chunked else None,
        left_chunks=part.integer("left_chunks", low=0, high=MAX_LEFT_CHUNKS, default=0),
        mel_floor=part.number("mel_floor", low=-10.0, high=10.0) if floored else None,
    )


def audio_dict(audio: AudioConfig) -> dict[str, Any]:
    return {name: value for name, value in asdict(audio).items() if value is not None}
