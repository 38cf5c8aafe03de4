"""Synthetic speech for training: two programs that speak, their voices, and a bounded folder of what they have said.

espeak-ng computes its voices; the four of flite are cut from recordings of people, so they are nearer to what a model
will hear. espeak-ng is GPL-3: it is called, not linked, and neither it nor its audio goes into a release.
"""

import hashlib
import shutil
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import soxr

from perilune.corpus.media import SAMPLE_RATE
from perilune.corpus.split import is_held_out
from perilune.errors import ConfigError
from perilune.tasks.vocabulary import table

PROGRAM = "espeak-ng"
FLITE = "flite"
MAX_TEXT = 1_000
MAX_SECONDS = 60
MAX_CACHE_BYTES = 4 << 30
TIMEOUT_SECONDS = 30
_WAV_HEADER = 44
_SIZES: dict[Path, int] = {}

# British English is "en": under its other name "en-gb" the program drops the variant.
ACCENTS = (
    "en-us",
    "en-us",
    "en",
    "en-gb-scotland",
    "en-gb-x-rp",
    "en-gb-x-gbcwmd",
    "en-029",
    "en-us-nyc",
)
# Those that a listener understands: no whisper, no robots.
VARIANTS = tuple(
    table(
        """
        m1 m2 m3 m4 m5 m6 m7 m8 f1 f2 f3 f4 f5 klatt klatt2 klatt3 adam Alex Alicia Andrea Andy Annie belinda
        benjamin boris david ed edward Gene Henrique Hugo Jacky john linda Marco max Michael Mike norbert pablo
        paul quincy robert steph steph2 travis victor zac grandma grandpa
        """
    )
)
HELD_OUT_VOICES_ONE_IN = 8
FLITE_VOICES = ("awb", "kal16", "rms", "slt")


@dataclass(frozen=True)
class Voice:
    """Who speaks, how fast (words a minute), how high (0–99) and with what pause between words (10 ms).

    A voice of flite has FLITE for its accent, and no pauses of its own.
    """

    accent: str = "en-us"
    variant: str = "m1"
    speed: int = 165
    pitch: int = 50
    gap: int = 0

    @property
    def program(self) -> str:
        return FLITE if self.accent == FLITE else PROGRAM

    def arguments(self) -> list[str]:
        """What the program is told about the voice."""
        if self.program == FLITE:
            hertz, stretch = 70 + 1.8 * self.pitch, 170 / self.speed
            pace = ["--setf", f"int_f0_target_mean={hertz:.1f}", "--setf", f"duration_stretch={stretch:.3f}"]
            return ["-voice", self.variant, *pace]
        voice = f"{self.accent}+{self.variant}"
        return ["-v", voice, "-s", str(self.speed), "-p", str(self.pitch), "-g", str(self.gap)]

    def command(self, text: str) -> tuple[list[str], bytes]:
        """Arguments and input that make the program write a WAV file of `text` to its output."""
        if self.program == FLITE:
            if self.variant not in FLITE_VOICES:  # the program would take another voice and say nothing of it
                raise ConfigError(f"{FLITE} has no voice {self.variant!r}; there are {', '.join(FLITE_VOICES)}")
            return [*self.arguments(), "-o", "/dev/stdout", "-t", text], b""
        return [*self.arguments(), "-b", "1", "--stdin", "--stdout"], text.encode()


@lru_cache
def variants(held_out: bool) -> tuple[str, ...]:
    """The speakers of the training set, or those kept from it."""
    return tuple(name for name in VARIANTS if is_held_out("espeak-ng", name, HELD_OUT_VOICES_ONE_IN) == held_out)


def has_speech() -> bool:
    return shutil.which(PROGRAM) is not None


@lru_cache
def has_flite() -> bool:
    return shutil.which(FLITE) is not None


def speak(text: str, voice: Voice, cache: Path | None = None) -> np.ndarray:
    """`text` spoken: float32 [S], mono, 16 kHz. The same text and voice always give the same samples.

    `cache` is a folder of raw int16 files; when it holds MAX_CACHE_BYTES, what is new is not kept.
    Raises ConfigError where the program is missing or refuses the voice.
    """
    if not text.strip() or len(text) > MAX_TEXT:
        raise ConfigError(f"a text to speak has 1 to {MAX_TEXT} characters, this one has {len(text.strip())}")
    if cache is None:
        return _as_float(_synthesise(text, voice))
    name = hashlib.sha256("\0".join([*voice.arguments(), text]).encode()).hexdigest()[:40]
    path = cache / name[:2] / name
    if path.is_file():
        return _as_float(np.fromfile(path, dtype="<i2"))
    samples_S = _synthesise(text, voice)
    _keep(path, samples_S, cache)
    return _as_float(samples_S)


def _synthesise(text: str, voice: Voice) -> np.ndarray:
    name = voice.program
    program = shutil.which(name)
    if program is None:
        raise ConfigError(f"{name} is not installed: spoken tasks need it (on Debian: apt install {name})")
    arguments, given = voice.command(text)
    command = [program, *arguments]
    try:
        result = subprocess.run(command, input=given, capture_output=True, timeout=TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise ConfigError(f"{name} took more than {TIMEOUT_SECONDS} s for a text of {len(text)} characters") from error
    wav = result.stdout
    if result.returncode or wav[:4] != b"RIFF" or len(wav) <= _WAV_HEADER:
        raise ConfigError(f"{name} cannot speak as {voice}: {result.stderr.decode(errors='replace').strip()}")
    # Both write to a pipe, so the lengths in the header are not true; the rate is.
    rate = int.from_bytes(wav[24:28], "little")
    body = wav[_WAV_HEADER : len(wav) - len(wav) % 2]
    samples_S = soxr.resample(np.frombuffer(body, "<i2").astype(np.float32), rate, SAMPLE_RATE)
    samples_S = samples_S[: MAX_SECONDS * SAMPLE_RATE]
    return np.clip(np.rint(samples_S), -32768, 32767).astype("<i2")


def _keep(path: Path, samples_S: np.ndarray, cache: Path) -> None:
    if _cached_bytes(cache) + samples_S.nbytes > MAX_CACHE_BYTES:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # Another process may write the same file: each writes its own and the last rename wins.
    part = path.with_suffix(f".{hashlib.sha256(samples_S.tobytes()).hexdigest()[:8]}.part")
    samples_S.tofile(part)
    part.replace(path)
    _SIZES[cache] += samples_S.nbytes


def _cached_bytes(cache: Path) -> int:
    """Counted once a process; after that, what this process adds is added to it."""
    if cache not in _SIZES:
        _SIZES[cache] = sum(file.stat().st_size for file in cache.rglob("*") if file.is_file())
    return _SIZES[cache]


def _as_float(samples_S: np.ndarray) -> np.ndarray:
    return samples_S.astype(np.float32) / np.float32(32768)
