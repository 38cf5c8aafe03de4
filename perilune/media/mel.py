"""Samples → log-mel frames exactly as published Whisper makes them (arXiv 2212.04356), at once or in pieces.

Frames of 400 samples (a periodic Hann window) every 160, centred, with the ends mirrored; power of their spectrum;
slaney's mel filters up to 8 kHz; log10, nothing below −10. Then the quietest is raised to a floor and all become
(x + 4) / 4. Published, the floor is eight below the loudest of the whole clip: a stream cannot know that, so it names a
fixed one, and a frame then depends on nothing but its own 25 ms.

Legend: T samples, F frames, M mel bins, S = 201 frequencies of the spectrum, W those of one filter after the other.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from perilune.config_audio import HOP_LENGTH, SAMPLE_RATE
from perilune.errors import MediaError

N_FFT = 400
MARGIN = N_FFT // 2
LOWEST_POWER = 1e-10
CLIP_RANGE = 8.0  # published: what is so far below the loudest is silence
# Frames are always made so many together: sums then have one order, and a frame the same bits in whatever pieces.
BLOCK_FRAMES = 16
BLOCK_STEP = BLOCK_FRAMES * HOP_LENGTH
BLOCK_SAMPLES = BLOCK_STEP - HOP_LENGTH + N_FFT


def log_mel(samples_T: np.ndarray, bins: int = 80, floor: float | None = None) -> np.ndarray:
    """float32 [T] at 16 kHz → float32 [T // 160, bins]. Without a floor it is eight below the loudest, as published."""
    power = LogPower(bins)
    log_FM = np.concatenate([power.feed(samples_T), power.finish()])
    if floor is None:
        floor = float(log_FM.max(initial=-np.inf)) - CLIP_RANGE
    return scaled(log_FM, floor)


def scaled(log_FM: np.ndarray, floor: float) -> np.ndarray:
    """What the encoder takes: raised to the floor, then moved to about ±1."""
    return (np.maximum(log_FM, np.float32(floor)) + np.float32(4.0)) / np.float32(4.0)


class LogPower:
    """log10 of the mel power, from sound in pieces of any size; the frames are the same however it is cut."""

    def __init__(self, bins: int):
        self.bins = bins
        self.heard = 0  # samples
        self._done = 0  # frames
        self._ahead_T = np.zeros(0, np.float32)  # what later frames still need, from the first one's window on

    def feed(self, samples_T: np.ndarray) -> np.ndarray:
        """float32 [F, M]: the blocks of frames that are complete now, none as long as there are none."""
        was, self.heard = self.heard, self.heard + samples_T.shape[0]
        self._ahead_T = np.concatenate([self._ahead_T, samples_T.astype(np.float32, copy=False)])
        if self.heard <= MARGIN:
            return self._joined([])
        if was <= MARGIN:
            self._ahead_T = np.concatenate([self._ahead_T[MARGIN:0:-1], self._ahead_T])
        blocks = []
        for begin in range(0, self._ahead_T.shape[0] - BLOCK_SAMPLES + 1, BLOCK_STEP):
            blocks.append(_block(self._ahead_T[begin : begin + BLOCK_SAMPLES], self.bins))
        self._ahead_T = self._ahead_T[len(blocks) * BLOCK_STEP :].copy()
        self._done += len(blocks) * BLOCK_FRAMES
        return self._joined(blocks)

    def finish(self) -> np.ndarray:
        """The rest: 160 samples a frame in all, the last window filled up with the mirrored end."""
        missing = self.heard // HOP_LENGTH - self._done
        if missing == 0:
            return self._joined([])
        if self.heard <= MARGIN:
            raise MediaError(f"{self.heard} samples are too few to mirror; fill them up to {MARGIN + 1} with zeros")
        self._done += missing
        mirrored_T = self._ahead_T[-2 : -MARGIN - 2 : -1]
        rest_T = np.concatenate([self._ahead_T, mirrored_T, np.zeros(BLOCK_SAMPLES, np.float32)])
        starts = range(0, missing * HOP_LENGTH, BLOCK_STEP)
        return self._joined([_block(rest_T[at : at + BLOCK_SAMPLES], self.bins) for at in starts])[:missing]

    def _joined(self, blocks: list[np.ndarray]) -> np.ndarray:
        return np.concatenate([np.zeros((0, self.bins), np.float32), *blocks])


def _block(samples_T: np.ndarray, bins: int) -> np.ndarray:
    """BLOCK_SAMPLES samples → float32 [BLOCK_FRAMES, M]; in float64, since silence is a small rest of large sums."""
    frames_FT = np.lib.stride_tricks.sliding_window_view(samples_T, N_FFT)[::HOP_LENGTH]
    spectrum_FS = np.fft.rfft(frames_FT * _window())
    power_FS = spectrum_FS.real**2 + spectrum_FS.imag**2
    sources_W, weights_W, starts_M = _bands(bins)
    power_FM = np.add.reduceat(power_FS[:, sources_W] * weights_W, starts_M, axis=1)
    return np.log10(np.maximum(power_FM, LOWEST_POWER)).astype(np.float32)


@cache
def _window() -> np.ndarray:
    return np.hanning(N_FFT + 1)[:-1]


@cache
def mel_filters(bins: int) -> np.ndarray:
    """Triangles of equal area, evenly spaced on slaney's mel scale from 0 to 8 kHz: float64 [S, M]."""
    edges = _hertz(np.linspace(0.0, _mel(SAMPLE_RATE / 2), bins + 2))
    frequencies_S1 = np.linspace(0.0, SAMPLE_RATE / 2, N_FFT // 2 + 1)[:, None]
    low, peak, high = edges[:-2], edges[1:-1], edges[2:]
    rising_SM, falling_SM = (frequencies_S1 - low) / (peak - low), (high - frequencies_S1) / (high - peak)
    return np.maximum(0.0, np.minimum(rising_SM, falling_SM)) * 2.0 / (high - low)


@cache
def _bands(bins: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The filters without what they leave out: the frequencies of one after the other, their weights, and where each
    filter begins."""
    filters_SM = mel_filters(bins)
    bands = [np.flatnonzero(filter_S) for filter_S in filters_SM.T]
    bands = [band if band.size else np.zeros(1, int) for band in bands]
    starts_M = np.cumsum([0, *(band.size for band in bands[:-1])])
    weights = [filters_SM[band, m] for m, band in enumerate(bands)]
    return np.concatenate(bands), np.concatenate(weights), starts_M


# Slaney's scale: three mels for 200 Hz up to 1 kHz (mel 15), then 27 mels for each factor of 6.4.
_BREAK_HERTZ, _BREAK_MEL, _LOG_STEP = 1000.0, 15.0, np.log(6.4) / 27.0


def _mel(hertz: float) -> float:
    """Of a frequency above the break."""
    return float(_BREAK_MEL + np.log(hertz / _BREAK_HERTZ) / _LOG_STEP)


def _hertz(mel: np.ndarray) -> np.ndarray:
    above = _BREAK_HERTZ * np.exp(_LOG_STEP * (mel - _BREAK_MEL))
    return np.where(mel < _BREAK_MEL, mel * 200.0 / 3.0, above)
