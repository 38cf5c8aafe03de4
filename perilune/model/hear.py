"""Sound → tokens of the decoder's width: a whole clip at once, or piece by piece as it comes in.

Legend: T samples at 16 kHz, F mel frames, M mel bins, N tokens, C width of the decoder.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from perilune.config_audio import SAMPLE_RATE, AudioConfig
from perilune.errors import ConfigError
from perilune.media.mel import LogPower, log_mel, scaled
from perilune.model.hearing import Hearing

CHUNKS_TOGETHER = 16  # pass a tower at once; memory is set aside for so many


def mel_frames(audio: AudioConfig, samples_T: np.ndarray) -> Tensor:
    """The log-mel frames [F, M] of a clip, filled up with silence to whole chunks of the tower: what training takes."""
    samples_T = np.pad(samples_T, (0, -samples_T.shape[0] % audio.chunk_samples))
    return torch.from_numpy(log_mel(samples_T, audio.num_mel_bins, audio.mel_floor))


@torch.inference_mode()
def hear(hearing: Hearing, samples_T: np.ndarray) -> Tensor:
    """A clip as float32 [N, C], N = num_tokens of its seconds. A tower that hears 30 s at once takes a longer clip in
    pieces of 30 s, each by itself."""
    if hearing.config.is_chunked:
        stream = HearingStream(hearing)
        return torch.cat([stream.feed(samples_T), stream.finish()])
    step = hearing.config.chunk_samples
    pieces = [samples_T[at : at + step] for at in range(0, samples_T.shape[0], step)]
    tokens = [hearing(mel_frames(hearing.config, piece_T)[None])[0] for piece_T in pieces]
    whole_NC = torch.cat([torch.zeros(0, hearing.hidden_size), *tokens])
    return whole_NC[: hearing.config.num_tokens(samples_T.shape[0] / SAMPLE_RATE)]


class HearingStream:
    """Hears with a chunked tower while sound comes in. Whatever the pieces, chunks are the same, and so their bits."""

    def __init__(self, hearing: Hearing):
        if hearing.config.mel_floor is None:
            raise ConfigError("this model hears 30 s at once; audio_config.chunk_seconds would let it stream")
        self._hearing, self._floor = hearing, hearing.config.mel_floor
        self._power = LogPower(hearing.config.num_mel_bins)
        self._state = hearing.audio_tower.new_state()
        self._ahead_FM = torch.zeros(0, hearing.config.num_mel_bins)
        self._told = 0  # tokens

    @torch.inference_mode()
    def feed(self, samples_T: np.ndarray) -> Tensor:
        """float32 [N, C]: the tokens of the chunks that are complete now, none as long as there are none."""
        return self._tokens(self._power.feed(samples_T))

    @torch.inference_mode()
    def finish(self) -> Tensor:
        """The rest: the last chunk is filled up with silence, and its tokens after the end are left out."""
        heard = self._power.heard
        silence_T = np.zeros(-heard % self._hearing.config.chunk_samples, np.float32)
        log_FM = np.concatenate([self._power.feed(silence_T), self._power.finish()])
        missing = self._hearing.config.num_tokens(heard / SAMPLE_RATE) - self._told
        return self._tokens(log_FM)[:missing]

    def _tokens(self, log_FM: np.ndarray) -> Tensor:
        mel_FM = torch.cat([self._ahead_FM, torch.from_numpy(scaled(log_FM, self._floor))])
        frames = 2 * self._hearing.config.chunk_frames
        whole = len(mel_FM) - len(mel_FM) % frames
        together = mel_FM[:whole].split(CHUNKS_TOGETHER * frames) if whole else ()
        tokens, self._ahead_FM = [self._chunks(chunks_FM) for chunks_FM in together], mel_FM[whole:]
        self._told += sum(map(len, tokens))
        return torch.cat([torch.zeros(0, self._hearing.hidden_size), *tokens])

    def _chunks(self, mel_FM: Tensor) -> Tensor:
        x_BTD = self._hearing.audio_tower.step(mel_FM[None], self._state)
        return self._hearing.audio_projector(x_BTD)[0]
