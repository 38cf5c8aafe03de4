"""The same towers in transformers, for parity and for `perilune bench senses --against-transformers`.

A seeing model is written in the published layout, which transformers reads itself; Whisper's encoder takes the tensors
of ours by name. transformers is no dependency: only the functions that build a peer import it.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from perilune.config import ModelConfig
from perilune.config_audio import SAMPLE_RATE
from perilune.errors import RequestError
from perilune.media.patches import Patches
from perilune.model.checkpoint import save_checkpoint
from perilune.model.hearing import Hearing
from perilune.model.model import Transformer
from perilune.model.vision import Vision

PLACEHOLDER = 300
Look = Callable[[Sequence[Patches]], list[Tensor]]


def check_installed() -> None:
    try:
        import transformers  # noqa: F401
    except ImportError:
        raise RequestError("--against-transformers needs transformers: pip install 'perilune[dev]'") from None


def vision_peers(vision: Vision) -> dict[str, Look]:
    """Tower and projector by the type that transformers computes in; `Patches` of each item → rows [T, C] of each."""
    import transformers

    stored = "bfloat16" if vision.mm_projector.pre_norm.weight.dtype == torch.bfloat16 else "float32"
    peers: dict[str, Look] = {}
    with tempfile.TemporaryDirectory() as folder:
        write_seeing(Path(folder), vision, stored)
        for dtype in (torch.float32, torch.bfloat16):
            whole = transformers.Kimi_K25ForConditionalGeneration.from_pretrained(folder, dtype=dtype)
            peers[str(dtype).removeprefix("torch.")] = _look(whole.model.eval(), dtype)
    return peers


def _look(theirs: torch.nn.Module, dtype: torch.dtype) -> Look:
    @torch.inference_mode()
    def look(items: Sequence[Patches]) -> list[Tensor]:
        pixels = torch.cat([torch.from_numpy(item.pixels_PCSS) for item in items]).to(dtype)
        grids = torch.tensor([item.grid for item in items])
        merged = theirs.vision_tower(pixels, grid_thw=grids).pooler_output  # type: ignore
        rows_TC = theirs.mm_projector(merged).reshape(sum(item.tokens for item in items), -1)  # type: ignore
        return list(rows_TC.float().split([item.tokens for item in items]))

    return look


def hearing_peer(hearing: Hearing, samples: int) -> Callable[[np.ndarray], Tensor]:
    """Whisper's feature extractor and encoder in float32 for clips of `samples`, with as many positions as ours hears
    frames, and our projector behind it: float32 [T] → [N, C]. Where ours hears in chunks its frames see all others,
    and its convolutions look ahead, so that it is the same work or a little more, and other numbers."""
    import transformers
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    audio = hearing.config
    filled = samples + -samples % audio.chunk_samples
    sizes = {
        name: getattr(audio, name)
        for name in ("d_model", "encoder_layers", "encoder_attention_heads", "encoder_ffn_dim", "num_mel_bins")
    }
    frames = filled // audio.chunk_samples * audio.chunk_frames
    encoder = WhisperEncoder(transformers.WhisperConfig(**sizes, max_source_positions=frames)).eval()
    missing = encoder.load_state_dict(hearing.audio_tower.state_dict(), strict=False)
    assert missing.missing_keys == ["embed_positions.weight"] and not missing.unexpected_keys  # a function of the sizes
    extractor = transformers.WhisperFeatureExtractor(feature_size=audio.num_mel_bins)

    @torch.inference_mode()
    def hear(samples_T: np.ndarray) -> Tensor:
        filled_T = np.pad(samples_T, (0, filled - samples_T.shape[0]))
        told = extractor(
            filled_T, sampling_rate=SAMPLE_RATE, return_tensors="pt", padding="do_not_pad", truncation=False
        )
        rows_BNC = hearing.audio_projector(encoder(told["input_features"]).last_hidden_state)
        return rows_BNC[0, : audio.num_tokens(samples_T.shape[0] / SAMPLE_RATE)]

    return hear


def write_seeing(directory: Path, vision: Vision, dtype: str = "float32") -> Path:
    """A tiny text model and what it sees with, in the published layout of K2.6; transformers reads the directory."""
    config = replace(
        ModelConfig.preset("tiny"),
        model_type="kimi_k25",
        hidden_size=vision.hidden_size,
        quantization=None,
        dtype=dtype,
        vision=vision.config,
        media_placeholder_token_id=PLACEHOLDER,
    )
    model = Transformer(config)
    model.init_weights(1)
    model.senses["vision"] = vision
    save_checkpoint(directory, model)
    raw = config.to_dict()
    for name in list(raw["vision_config"]):  # transformers has names of its own for sizes that are not the published
        raw["vision_config"][name.removeprefix("vt_").removeprefix("init_")] = raw["vision_config"][name]
    raw |= {"projection_hidden_size": vision.config.vt_hidden_size, "image_token_id": PLACEHOLDER}
    raw["video_token_id"] = PLACEHOLDER + 1
    (directory / "config.json").write_text(json.dumps(raw))
    return directory
