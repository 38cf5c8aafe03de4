"""The audio tower and its projector: log-mel frames in, tokens of the decoder's width out.

The tower is Whisper's encoder (arXiv 2212.04356), tensors under its published names: two convolutions, sinusoidal
positions, pre-norm blocks, a last norm. In the published setting a frame sees all 30 s. In the chunked setting it sees
its own chunk and some before it, and the convolutions look back only, so that a tower can hear while somebody speaks:
`forward` with a mask is the definition and what training runs, `step` hears the next chunks on a state. The projector
joins successive frames into one token.

Legend: B batch, F mel frames, M mel bins, T encoder frames (F / 2), D width of the tower, H heads, K head width,
L frames of earlier chunks, S those and the present ones, N tokens (T / frames_per_token), J joined width, C width of
the decoder, P positions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from perilune.config_audio import AudioConfig
from perilune.model.layers import LayerNorm, SteadyBiasedLinear, SteadyLinear, attend, steady_erf_gelu, steady_linear
from perilune.weights.audio_names import TAPS

LONGEST_WAVE = 10_000.0


def sinusoids(positions: int, width: int) -> Tensor:
    """Whisper's positions: sines of falling frequency, then their cosines. float32 [P, D]"""
    half = width // 2
    waves = torch.exp(torch.arange(half) * (-math.log(LONGEST_WAVE) / (half - 1)))
    angle_PW = torch.arange(positions)[:, None] * waves
    return torch.cat([angle_PW.sin(), angle_PW.cos()], 1)


@dataclass
class Past:
    """Keys and values of one layer for earlier chunks: float32 [B, L, D], None at the beginning."""

    k_BLD: Tensor | None = None
    v_BLD: Tensor | None = None

    def join(self, k_BTD: Tensor, v_BTD: Tensor, keep: int) -> tuple[Tensor, Tensor]:
        """Those of the past and the present; the last `keep` of them are the past of the next chunk."""
        if self.k_BLD is not None and self.v_BLD is not None:
            k_BTD, v_BTD = torch.cat([self.k_BLD, k_BTD], 1), torch.cat([self.v_BLD, v_BTD], 1)
        first = max(0, k_BTD.shape[1] - keep)
        self.k_BLD, self.v_BLD = k_BTD[:, first:], v_BTD[:, first:]
        return k_BTD, v_BTD


@dataclass
class TowerState:
    """What a chunked tower keeps of what it has heard: the last inputs of both convolutions, and a Past a layer."""

    mel_BFM: Tensor
    frame_BFD: Tensor
    layers: list[Past]
    frames: int = 0  # encoder frames heard so far


class Convolution(nn.Module):
    """Three taps over time as one product, so that it has the bits of every other product."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, channels, TAPS))
        self.bias = nn.Parameter(torch.empty(width))

    def forward(self, x_BFM: Tensor, stride: int = 1) -> Tensor:
        """[B, F, M] → [B, (F - 3) // stride + 1, D]; whoever calls puts what stands around x to its ends."""
        windows_BTM3 = x_BFM.unfold(1, TAPS, stride)
        return steady_linear(windows_BTM3.flatten(2), self.weight.flatten(1)) + self.bias


class AudioAttention(nn.Module):
    """Softmax attention with as many keys as queries; the keys have no bias, as published."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q_proj = SteadyBiasedLinear(width, width)
        self.k_proj = SteadyLinear(width, width)
        self.v_proj = SteadyBiasedLinear(width, width)
        self.out_proj = SteadyBiasedLinear(width, width)

    def forward(self, x_BTD: Tensor, mask_TT: Tensor | None, past: Past | None, chunk: int, keep: int) -> Tensor:
        """With a `past`, frames come in whole chunks, each of which sees itself and up to `keep` frames before it."""
        q_BTD, k_BTD, v_BTD = self.q_proj(x_BTD), self.k_proj(x_BTD), self.v_proj(x_BTD)
        if past is None:
            return self.out_proj(self._attend(q_BTD, k_BTD, v_BTD, mask_TT))
        k_BSD, v_BSD = past.join(k_BTD, v_BTD, keep)
        before = k_BSD.shape[1] - q_BTD.shape[1]
        heard = []
        for begin in range(0, q_BTD.shape[1], chunk):
            end = begin + chunk
            seen = slice(max(0, before + begin - keep), before + end)
            heard.append(self._attend(q_BTD[:, begin:end], k_BSD[:, seen], v_BSD[:, seen]))
        return self.out_proj(torch.cat(heard, 1))

    def _attend(self, q_BTD: Tensor, k_BSD: Tensor, v_BSD: Tensor, mask_TS: Tensor | None = None) -> Tensor:
        q_BHTK, k_BHSK, v_BHSK = (
            x_BTD.unflatten(2, (self.heads, -1)).transpose(1, 2) for x_BTD in (q_BTD, k_BSD, v_BSD)
        )
        return attend(q_BHTK, k_BHSK, v_BHSK, mask_TS).transpose(1, 2).flatten(2)


class AudioBlock(nn.Module):
    """x + attention(norm(x)), then x + fc2(gelu(fc1(norm(x))))."""

    def __init__(self, audio: AudioConfig):
        super().__init__()
        self.self_attn_layer_norm = LayerNorm(audio.d_model)
        self.self_attn = AudioAttention(audio.d_model, audio.encoder_attention_heads)
        self.final_layer_norm = LayerNorm(audio.d_model)
        self.fc1 = SteadyBiasedLinear(audio.d_model, audio.encoder_ffn_dim)
        self.fc2 = SteadyBiasedLinear(audio.encoder_ffn_dim, audio.d_model)
        self.chunk, self.keep = audio.chunk_frames, audio.chunk_frames * audio.left_chunks

    def forward(self, x_BTD: Tensor, mask_TT: Tensor | None, past: Past | None = None) -> Tensor:
        x_BTD = x_BTD + self.self_attn(self.self_attn_layer_norm(x_BTD), mask_TT, past, self.chunk, self.keep)
        return x_BTD + self.fc2(steady_erf_gelu(self.fc1(self.final_layer_norm(x_BTD))))


class Positions(nn.Module):
    def __init__(self, positions: int, width: int):
        super().__init__()
        self.weight: Tensor
        self.register_buffer("weight", sinusoids(positions, width), persistent=False)


class AudioTower(nn.Module):
    """Whisper's encoder; the chunked setting of AudioConfig makes it hear as it goes."""

    def __init__(self, audio: AudioConfig):
        super().__init__()
        self.config = audio
        self.conv1 = Convolution(audio.num_mel_bins, audio.d_model)
        self.conv2 = Convolution(audio.d_model, audio.d_model)
        self.embed_positions = Positions(audio.max_source_positions, audio.d_model)
        self.layers = nn.ModuleList(AudioBlock(audio) for _ in range(audio.encoder_layers))
        self.layer_norm = LayerNorm(audio.d_model)

    @property
    def blocks(self) -> list[AudioBlock]:
        return [block for block in self.layers if isinstance(block, AudioBlock)]

    def forward(self, mel_BFM: Tensor, first: int = 0) -> Tensor:
        """float32 [B, F, M], F even → [B, F / 2, D]. A chunked tower takes any F and may begin at position `first`:
        where a stream goes round is one place among many to training that draws it."""
        frames = mel_BFM.shape[1] // 2
        if mel_BFM.shape[1] % 2 or not frames:
            raise ValueError(f"{mel_BFM.shape[1]} mel frames: their number must be even and above 0")
        if not self.config.is_chunked and first + frames > self.config.max_source_positions:
            most = 2 * self.config.max_source_positions
            raise ValueError(f"{mel_BFM.shape[1]} mel frames; this tower hears at most {most} at once")
        if self.config.is_chunked:
            x_BFD = steady_erf_gelu(self.conv1(F.pad(mel_BFM, (0, 0, TAPS - 1, 0))))
        else:
            x_BFD = steady_erf_gelu(self.conv1(F.pad(mel_BFM, (0, 0, 1, 1))))
        # An even number of frames never reaches what would be padded on the right: this looks back in both settings.
        x_BTD = steady_erf_gelu(self.conv2(F.pad(x_BFD, (0, 0, 1, 0)), stride=2))
        x_BTD = x_BTD + self._positions(first, frames)
        mask_TT = self._mask(frames) if self.config.is_chunked else None
        for block in self.blocks:
            x_BTD = block(x_BTD, mask_TT)
        return self.layer_norm(x_BTD)

    def new_state(self, batch: int = 1) -> TowerState:
        """Nothing heard yet; only a chunked tower can hear step by step."""
        if not self.config.is_chunked:
            raise ValueError("this tower hears 30 s at once; audio_config.chunk_seconds would let it stream")
        zeros = self.embed_positions.weight.new_zeros
        mel_BFM = zeros(batch, TAPS - 1, self.config.num_mel_bins)
        frame_BFD = zeros(batch, 1, self.config.d_model)
        return TowerState(mel_BFM, frame_BFD, [Past() for _ in self.layers])

    def step(self, mel_BFM: Tensor, state: TowerState) -> Tensor:
        """The next chunks, float32 [B, 2 · T, M] → [B, T, D], T a multiple of chunk_frames; the state moves on with
        them. A chunk has the same bits alone and with others."""
        chunk, frames = self.config.chunk_frames, mel_BFM.shape[1] // 2
        if not frames or mel_BFM.shape[1] % (2 * chunk):
            raise ValueError(f"{mel_BFM.shape[1]} mel frames: a chunk of this tower has {2 * chunk}")
        x_BFD = steady_erf_gelu(self.conv1(torch.cat([state.mel_BFM, mel_BFM], 1)))
        x_BTD = steady_erf_gelu(self.conv2(torch.cat([state.frame_BFD, x_BFD], 1), stride=2))
        state.mel_BFM, state.frame_BFD = mel_BFM[:, 1 - TAPS :], x_BFD[:, -1:]
        x_BTD = x_BTD + self._positions(state.frames, frames)
        state.frames += frames
        for block, past in zip(self.blocks, state.layers, strict=True):
            x_BTD = block(x_BTD, None, past)
        return self.layer_norm(x_BTD)

    def _positions(self, first: int, frames: int) -> Tensor:
        table_PD = self.embed_positions.weight
        return table_PD[torch.arange(first, first + frames, device=table_PD.device) % table_PD.shape[0]]

    def _mask(self, frames: int) -> Tensor:
        """True where a frame (row) sees another: in its chunk and the left_chunks before it. bool [T, T]"""
        chunk_T = torch.arange(frames, device=self.embed_positions.weight.device) // self.config.chunk_frames
        back_TT = chunk_T[:, None] - chunk_T
        return (back_TT >= 0) & (back_TT <= self.config.left_chunks)


class AudioProjector(nn.Module):
    """frames_per_token successive frames become one token: joined, normed, two layers with GELU between them."""

    def __init__(self, audio: AudioConfig, hidden_size: int):
        super().__init__()
        self.frames = audio.frames_per_token
        joined = self.frames * audio.d_model
        self.pre_norm = LayerNorm(joined)
        self.proj = nn.Sequential(
            SteadyBiasedLinear(joined, hidden_size), nn.GELU(), SteadyBiasedLinear(hidden_size, hidden_size)
        )

    def forward(self, x_BTD: Tensor) -> Tensor:
        """[B, T, D], T a multiple of frames_per_token → [B, N, C]."""
        x_BNJ = x_BTD.unflatten(1, (-1, self.frames)).flatten(2)
        first, _, second = self.proj
        return second(steady_erf_gelu(first(self.pre_norm(x_BNJ))))


class Hearing(nn.Module):
    """Tower and projector, under the names they have in a model directory."""

    def __init__(self, audio: AudioConfig, hidden_size: int):
        super().__init__()
        self.config, self.hidden_size = audio, hidden_size
        self.audio_tower = AudioTower(audio)
        self.audio_projector = AudioProjector(audio, hidden_size)

    def forward(self, mel_BFM: Tensor, first: int = 0) -> Tensor:
        """Whole clips, for training: log-mel frames float32 [B, F, M] → [B, N, C]. Clips of a chunked tower are made
        equally long with any frames, once each has been filled up to whole chunks: later chunks change nothing."""
        return self.audio_projector(self.audio_tower(mel_BFM, first))
