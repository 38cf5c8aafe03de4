"""Small changes to pictures and sounds that leave their meaning alone: for training only.

Axes: H height, W width, C colours, S samples. All randomness comes from the generator that is given.
"""

from collections.abc import Callable

import numpy as np
import soxr
from PIL import Image

from perilune.corpus.media import SAMPLE_RATE

Generator = np.random.Generator
TELEPHONE_RATE = 8_000
LOUDNESS = 0.012, 0.95  # of peaks: people record far more softly than at half the range
FRAME, STEP = 512, 128  # samples that a change of tempo or throat takes at a time, and from one to the next
HANN = np.hanning(FRAME + 1)[:-1].astype(np.float32)
SMOOTH = 28  # cepstral coefficients below the period of any voice


def edge_colour(image_HWC: np.ndarray) -> tuple[int, ...]:
    """The median colour of the border: what a moved picture uncovers."""
    border = np.concatenate([image_HWC[0], image_HWC[-1], image_HWC[:, 0], image_HWC[:, -1]])
    return tuple(int(value) for value in np.median(border, axis=0))


def shake(
    image_HWC: np.ndarray,
    rng: Generator,
    turn: float = 8.0,
    scale: tuple[float, float] = (0.88, 1.1),
    shift: float = 0.06,
    flip: bool = False,
) -> np.ndarray:
    """Turned by up to `turn` degrees, scaled, shifted by a share of its size; mirrored only where `flip` allows."""
    height, width = image_HWC.shape[:2]
    angle, size = np.deg2rad(rng.uniform(-turn, turn)), rng.uniform(*scale)
    move_x, move_y = rng.uniform(-shift, shift, 2) * (width, height)
    mirror = -1.0 if flip and rng.random() < 0.5 else 1.0
    cos, sin = np.cos(angle) / size, np.sin(angle) / size
    x, y = width / 2, height / 2
    # Pillow maps each output point back to where its colour comes from.
    row_x = (mirror * cos, mirror * sin, x - mirror * (cos * (x + move_x) + sin * (y + move_y)))
    row_y = (-sin, cos, y + sin * (x + move_x) - cos * (y + move_y))
    moved = Image.fromarray(image_HWC).transform(
        (width, height),
        Image.Transform.AFFINE,
        (*row_x, *row_y),
        resample=Image.Resampling.BILINEAR,
        fillcolor=edge_colour(image_HWC),
    )
    return np.asarray(moved)


def crop(image_HWC: np.ndarray, rng: Generator, least: float = 0.75) -> np.ndarray:
    """A part with at least the share `least` of each side, at its own size."""
    height, width = image_HWC.shape[:2]
    share = rng.uniform(least, 1.0)
    rows, columns = max(1, round(height * share)), max(1, round(width * share))
    top, left = rng.integers(0, height - rows + 1), rng.integers(0, width - columns + 1)
    return image_HWC[top : top + rows, left : left + columns]


def light(image_HWC: np.ndarray, rng: Generator, strength: float = 1.0) -> np.ndarray:
    """Another brightness and contrast, and a little noise; works on a clip [F, H, W, C] as well."""
    contrast = 1 + strength * rng.uniform(-0.2, 0.2)
    bright = strength * rng.uniform(-20, 20)
    changed = (image_HWC.astype(np.float32) - 128) * np.float32(contrast) + np.float32(128 + bright)
    if rng.random() < 0.5:
        changed += rng.standard_normal(image_HWC.shape, dtype=np.float32) * np.float32(strength * rng.uniform(1, 7))
    return np.clip(changed, 0, 255).astype(np.uint8)


def photo(image_HWC: np.ndarray, rng: Generator) -> np.ndarray:
    """What a photo of things may go through: cropped, turned a little, mirrored, lit otherwise."""
    return light(shake(crop(image_HWC, rng), rng, flip=True), rng)


def speed(samples_S: np.ndarray, factor: float) -> np.ndarray:
    """Faster and higher by `factor`, as a tape is."""
    return soxr.resample(samples_S, SAMPLE_RATE * factor, SAMPLE_RATE, quality="MQ")


def _framed(samples_S: np.ndarray, factor: float = 1.0, ahead: int = 0) -> np.ndarray:
    """Spectra of windows that lie STEP * factor apart, with silence before and after: complex [windows, bins]."""
    padded_S = np.pad(samples_S, (FRAME, 2 * FRAME))
    starts = np.arange(0, len(padded_S) - FRAME - STEP, STEP * factor).astype(int)
    return np.fft.rfft(padded_S[starts[:, None] + np.arange(FRAME) + ahead] * HANN)


def _joined(spectra: np.ndarray, count: int, factor: float = 1.0) -> np.ndarray:
    """Windows STEP apart laid over each other again: float32 [count]."""
    made_S = np.zeros(STEP * len(spectra) + FRAME)
    for index, frame in enumerate(np.fft.irfft(spectra, FRAME) * HANN):
        made_S[index * STEP : index * STEP + FRAME] += frame
    edge = int(FRAME / factor)
    return (made_S[edge : edge + count] / 1.5).astype(np.float32)


def tempo(samples_S: np.ndarray, factor: float) -> np.ndarray:
    """Faster by `factor` at the same pitch: a phase vocoder (Flanagan and Golden, 1966)."""
    if len(samples_S) < 2 * FRAME:
        return samples_S
    there, after = _framed(samples_S, factor), _framed(samples_S, factor, STEP)
    turned = np.cumsum(np.angle(after[:-1]) - np.angle(there[:-1]), axis=0)
    phase = np.angle(there[:1]) + np.concatenate([np.zeros_like(turned[:1]), turned])
    return _joined(np.abs(there) * np.exp(1j * phase), int(len(samples_S) / factor), factor)


def throat(samples_S: np.ndarray, factor: float) -> np.ndarray:
    """Resonances higher by `factor` at the same pitch, as in a shorter throat: each spectrum's smooth part (its first
    cepstral coefficients) is stretched."""
    if len(samples_S) < 2 * FRAME:
        return samples_S
    spectra = _framed(samples_S)
    cepstra = np.fft.irfft(np.log(np.abs(spectra) + 1e-6), FRAME)
    cepstra[:, SMOOTH : 1 - SMOOTH] = 0.0
    smooth = np.fft.rfft(cepstra).real
    place = np.minimum(np.arange(smooth.shape[1]) / factor, smooth.shape[1] - 1.0)
    below, share = np.floor(place).astype(int), place % 1
    above = np.minimum(below + 1, smooth.shape[1] - 1)
    stretched = smooth[:, below] * (1 - share) + smooth[:, above] * share
    return _joined(spectra * np.exp(np.clip(stretched - smooth, -4.0, 4.0)), len(samples_S))


def equalised(samples_S: np.ndarray, rng: Generator) -> np.ndarray:
    """Another microphone or mouth: gains of up to 10 dB that change smoothly over frequency, at times with a gap."""
    spectrum = np.fft.rfft(samples_S)
    place = np.sqrt(np.linspace(0.0, 1.0, len(spectrum)))  # low frequencies tell more
    gain_db = np.interp(place, np.linspace(0.0, 1.0, 8), rng.uniform(-10, 10, 8))
    if rng.random() < 0.4:
        begin = rng.uniform(0.0, 0.85)
        gain_db[(place >= begin) & (place < begin + rng.uniform(0.03, 0.15))] = -60.0
    return np.fft.irfft(spectrum * 10 ** (gain_db / 20), len(samples_S)).astype(np.float32)


def level(samples_S: np.ndarray, peak: float) -> np.ndarray:
    loudest = float(np.abs(samples_S).max(initial=0.0))
    return samples_S * np.float32(peak / loudest) if loudest > 1e-4 else samples_S


def mixed(samples_S: np.ndarray, other_S: np.ndarray, ratio_db: float) -> np.ndarray:
    """`other_S`, repeated or cut to the length, added `ratio_db` below the sound."""
    loud, quiet = float(np.sqrt(np.mean(samples_S**2))), float(np.sqrt(np.mean(other_S**2)))
    if loud < 1e-5 or quiet < 1e-5:
        return samples_S
    repeated_S = np.resize(other_S, len(samples_S))
    return samples_S + repeated_S * np.float32(loud / quiet * 10 ** (-ratio_db / 20))


def noise(count: int, rng: Generator) -> np.ndarray:
    """Hiss, or the same with weak high tones."""
    hiss_S = rng.standard_normal(count, dtype=np.float32)
    if rng.random() < 0.5:
        return hiss_S
    kernel = np.ones(int(rng.integers(2, 12)), np.float32)
    return np.convolve(hiss_S, kernel / len(kernel), mode="same").astype(np.float32)


def room(samples_S: np.ndarray, rng: Generator) -> np.ndarray:
    """A short echo that dies away: the sound convolved with decaying noise of 0.05 to 0.25 s."""
    length = int(SAMPLE_RATE * rng.uniform(0.05, 0.25))
    decay_S = np.exp(-6.0 * np.arange(length) / length) * rng.standard_normal(length) * rng.uniform(0.05, 0.2)
    decay_S[0] = 1.0
    size = 1 << (len(samples_S) + length).bit_length()
    spectrum = np.fft.rfft(samples_S, size) * np.fft.rfft(decay_S, size)
    return np.fft.irfft(spectrum, size)[: len(samples_S)].astype(np.float32)


def telephone(samples_S: np.ndarray) -> np.ndarray:
    """Without what lies above 4 kHz."""
    narrow_S = soxr.resample(samples_S, SAMPLE_RATE, TELEPHONE_RATE, quality="LQ")
    return soxr.resample(narrow_S, TELEPHONE_RATE, SAMPLE_RATE, quality="LQ")


def quiet_around(samples_S: np.ndarray, rng: Generator, longest: float = 0.4) -> np.ndarray:
    """Up to `longest` seconds of silence before and after."""
    before, after = (int(seconds * SAMPLE_RATE) for seconds in rng.uniform(0, longest, 2))
    return np.pad(samples_S, (before, after))


def recorded(
    samples_S: np.ndarray,
    rng: Generator,
    background: Callable[[], np.ndarray] | None = None,
    pace: tuple[float, float] = (0.8, 1.25),
) -> np.ndarray:
    """What a recording may go through: another voice, pace, microphone, room, line, noise, loudness; peaks stay within
    -1..1. A `pace` of one keeps the pitch, too."""
    if pace != (1.0, 1.0):
        samples_S = speed(samples_S, rng.uniform(*pace))
        if rng.random() < 0.5:
            samples_S = tempo(samples_S, rng.uniform(*pace))
        if rng.random() < 0.5:
            samples_S = throat(samples_S, rng.uniform(0.85, 1.18))
        if rng.random() < 0.7:
            samples_S = equalised(samples_S, rng)
    samples_S = quiet_around(samples_S, rng)
    if rng.random() < 0.25:
        samples_S = room(samples_S, rng)
    if rng.random() < 0.5:
        samples_S = mixed(samples_S, noise(len(samples_S), rng), rng.uniform(8, 40))
    if background is not None and rng.random() < 0.2:
        samples_S = mixed(samples_S, background(), rng.uniform(8, 25))
    if rng.random() < 0.2:
        samples_S = telephone(samples_S)
    return level(samples_S, float(np.exp(rng.uniform(*np.log(LOUDNESS))))).astype(np.float32)
