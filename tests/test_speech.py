"""Synthetic speech: the same text and voice give the same samples, voices differ, the folder stays within its bound."""

import numpy as np
import pytest

from perilune.corpus import speech
from perilune.corpus.speech import FLITE, FLITE_VOICES, VARIANTS, Voice, has_flite, has_speech, speak, variants
from perilune.errors import ConfigError

needs_speech = pytest.mark.skipif(not has_speech(), reason="espeak-ng is not installed")
needs_flite = pytest.mark.skipif(not has_flite(), reason="flite is not installed")
TEXT = "The dog runs home."


def test_voices_stand_on_one_side():
    assert not set(variants(True)) & set(variants(False))
    assert set(variants(True)) | set(variants(False)) == set(VARIANTS)
    assert len(variants(True)) >= 3


def test_a_missing_program_is_named_with_what_to_do(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match="apt install espeak-ng"):
        speak(TEXT, Voice())


@needs_speech
def test_speech_is_mono_16_khz_and_the_same_each_time():
    samples = speak(TEXT, Voice())
    assert samples.dtype == np.float32 and samples.ndim == 1
    assert 0.8 < len(samples) / 16_000 < 3
    assert 0.1 < np.abs(samples).max() <= 1
    assert samples.tobytes() == speak(TEXT, Voice()).tobytes()


@needs_speech
def test_slower_is_longer_and_every_voice_its_own():
    assert len(speak(TEXT, Voice(speed=120))) > 1.3 * len(speak(TEXT, Voice(speed=210)))
    for accent in sorted(set(speech.ACCENTS)):
        spoken = {speak("Home.", Voice(accent, variant)).tobytes() for variant in VARIANTS[::7]}
        assert len(spoken) == len(VARIANTS[::7]), accent


@needs_speech
def test_texts_and_voices_that_cannot_be_spoken_are_refused():
    with pytest.raises(ConfigError, match="1 to 1000 characters"):
        speak("  ", Voice())
    with pytest.raises(ConfigError, match="1 to 1000 characters"):
        speak("a" * 1001, Voice())
    with pytest.raises(ConfigError, match="cannot speak"):
        speak(TEXT, Voice("xx-none"))


@needs_speech
def test_what_is_in_the_folder_is_not_said_again(tmp_path, monkeypatch):
    first = speak(TEXT, Voice(), tmp_path)
    assert len([f for f in tmp_path.rglob("*") if f.is_file()]) == 1
    monkeypatch.setenv("PATH", "")
    assert speak(TEXT, Voice(), tmp_path).tobytes() == first.tobytes()


@needs_speech
def test_a_full_folder_takes_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr(speech, "MAX_CACHE_BYTES", 1_000)
    assert len(speak(TEXT, Voice(), tmp_path)) > 500
    assert not [f for f in tmp_path.rglob("*") if f.is_file()]


@needs_flite
def test_voices_of_people_speak_too(tmp_path):
    spoken = [speak(TEXT, Voice(FLITE, name), tmp_path) for name in FLITE_VOICES]
    assert len({samples.tobytes() for samples in spoken}) == len(FLITE_VOICES)
    assert all(0.8 < len(samples) / 16_000 < 3 and np.abs(samples).max() > 0.1 for samples in spoken)
    assert spoken[0].tobytes() == speak(TEXT, Voice(FLITE, FLITE_VOICES[0])).tobytes()
    assert len(speak(TEXT, Voice(FLITE, "slt", speed=120))) > 1.3 * len(speak(TEXT, Voice(FLITE, "slt", speed=210)))


@needs_flite
def test_a_voice_that_flite_lacks_is_refused():
    with pytest.raises(ConfigError, match="no voice 'm1'"):
        speak(TEXT, Voice(FLITE, "m1"))
