"""The tensors of a model that hears, an addition to the K2.6 layout beside `vision_tower.*` and `mm_projector.*`.

`audio_tower.*` is Whisper's published `encoder.*`, name for name: conv1, conv2, layers.N.{self_attn_layer_norm,
self_attn.{q,k,v,out}_proj, final_layer_norm, fc1, fc2} and layer_norm, all with a weight and a bias except the k_proj,
which has no bias. `embed_positions.weight` may be left out: its sinusoids are known.
`audio_projector.*` is laid out as the published mm_projector: pre_norm over the joined frames, proj.0, GELU, proj.2.
"""

from __future__ import annotations

from collections.abc import Iterator

from perilune.config_audio import AudioConfig

AUDIO_PREFIXES = ("audio_tower.", "audio_projector.")
POSITIONS = "embed_positions.weight"
TAPS = 3  # of both convolutions


def _pair(name: str, *shape: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


def _block(width: int, inner: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from _pair("self_attn_layer_norm", width)
    for name in ("q_proj", "v_proj", "out_proj"):
        yield from _pair(f"self_attn.{name}", width, width)
    yield "self_attn.k_proj.weight", (width, width)
    yield from _pair("final_layer_norm", width)
    yield from _pair("fc1", inner, width)
    yield from _pair("fc2", width, inner)


def encoder_tensors(audio: AudioConfig) -> dict[str, tuple[int, ...]]:
    """Name → shape of Whisper's encoder, without a prefix and without the positions."""
    width = audio.d_model
    table = dict(_pair("conv1", width, audio.num_mel_bins, TAPS)) | dict(_pair("conv2", width, width, TAPS))
    for layer in range(audio.encoder_layers):
        table |= {f"layers.{layer}.{name}": shape for name, shape in _block(width, audio.encoder_ffn_dim)}
    return table | dict(_pair("layer_norm", width))


def audio_tensors(audio: AudioConfig, hidden_size: int) -> dict[str, tuple[int, ...]]:
    """Name → shape of everything that hearing adds to a model directory."""
    tower, projector = AUDIO_PREFIXES
    joined = audio.frames_per_token * audio.d_model
    table = {tower + name: shape for name, shape in encoder_tensors(audio).items()}
    table |= dict(_pair(f"{projector}pre_norm", joined))
    table |= dict(_pair(f"{projector}proj.0", hidden_size, joined))
    return table | dict(_pair(f"{projector}proj.2", hidden_size, hidden_size))
