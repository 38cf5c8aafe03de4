"""Small towers that hear, and a small Whisper of transformers, with lively weights, norms and biases."""

import pytest
import torch

from perilune.config_audio import AudioConfig
from perilune.model.hearing import Hearing
from perilune.model.tower_init import init_hearing

CHUNKED = AudioConfig(
    d_model=32,
    encoder_layers=2,
    encoder_attention_heads=4,
    encoder_ffn_dim=48,
    max_source_positions=24,
    frames_per_token=4,
    chunk_seconds=0.16,
    left_chunks=2,
    mel_floor=-7.0,
)


def random_hearing(audio=CHUNKED, hidden=16, seed=3):
    hearing = Hearing(audio, hidden)
    init_hearing(hearing, seed)
    generator = torch.Generator().manual_seed(seed)
    for name, weight in hearing.named_parameters():
        if name.endswith("bias") or "norm" in name:
            weight.data += torch.randn(weight.shape, generator=generator) * 0.2
    return hearing


def random_mel(frames, bins=80, seed=5, batch=1):
    return torch.randn(batch, frames, bins, generator=torch.Generator().manual_seed(seed))


def random_whisper(directory, whole=False, dtype=torch.float32, **changes):
    """Saved as transformers saves it; returns its encoder in float32."""
    sizes = dict(
        d_model=48,
        encoder_layers=3,
        encoder_attention_heads=4,
        encoder_ffn_dim=80,
        decoder_layers=1,
        decoder_attention_heads=4,
        decoder_ffn_dim=16,
        max_source_positions=60,
        vocab_size=64,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        init_std=0.2,
    )
    transformers = pytest.importorskip("transformers", reason="parity needs the dev extra")
    torch.manual_seed(7)
    config = transformers.WhisperConfig(**{**sizes, **changes})
    kind = transformers.WhisperForConditionalGeneration if whole else transformers.WhisperModel
    model = kind(config).eval()
    for name, weight in model.named_parameters():
        if name.endswith("bias") or "norm" in name:
            weight.data += torch.randn_like(weight) * 0.2
    model = model.to(dtype)
    model.save_pretrained(directory)
    return (model.model if whole else model).encoder.float()
