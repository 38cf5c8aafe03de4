"""Log-mel frames against transformers, and the same frames from sound in any pieces."""

import numpy as np
import pytest
from sounds import noise, tone

from perilune.errors import MediaError
from perilune.media.mel import BLOCK_FRAMES, LogPower, log_mel, mel_filters, scaled

transformers = pytest.importorskip("transformers", reason="parity needs the dev extra")
SOUNDS = {
    "noise": noise(16000),
    "loud noise": noise(30 * 16000, loudness=3.0),
    "sine": tone(16000, seconds=3.1)[:, 0],
    "sine in silence": np.concatenate([np.zeros(8000, np.float32), tone(16000)[:, 0], np.zeros(9001, np.float32)]),
    "silence": np.zeros(16000, np.float32),
    "shortest": noise(201),
    "odd end": noise(16159),
}


def published(samples_T, bins):
    extract = transformers.WhisperFeatureExtractor(feature_size=bins)
    found = extract(samples_T, sampling_rate=16000, padding="do_not_pad", return_tensors="np")
    return found["input_features"][0].T


@pytest.mark.parametrize("bins", [80, 128])
@pytest.mark.parametrize("sound", SOUNDS)
def test_frames_match_transformers(sound, bins):
    samples_T = SOUNDS[sound]
    expected_FM = published(samples_T, bins)
    mine_FM = log_mel(samples_T, bins)
    assert mine_FM.dtype == np.float32 and mine_FM.shape == expected_FM.shape == (len(samples_T) // 160, bins)
    assert np.abs(mine_FM - expected_FM).max() < 1e-4


@pytest.mark.parametrize("bins", [80, 128])
def test_filters_match_transformers(bins):
    from transformers.audio_utils import mel_filter_bank

    assert np.allclose(
        mel_filters(bins), mel_filter_bank(201, bins, 0.0, 8000.0, 16000, "slaney", "slaney"), atol=1e-15
    )


def in_pieces(samples_T, sizes, bins=80):
    power, at, frames = LogPower(bins), 0, []
    for size in sizes:
        frames.append(power.feed(samples_T[at : at + size]))
        at += size
    return np.concatenate([*frames, power.feed(samples_T[at:]), power.finish()])


@pytest.mark.parametrize("sizes", [[1] * 500, [160] * 90, [200, 1, 1], [201], [7, 0, 5000, 399, 1], [16159], []])
def test_pieces_of_any_size_give_the_same_bits(sizes):
    for samples_T in (noise(16159), noise(2560 * 5), noise(399)):
        assert np.array_equal(in_pieces(samples_T, sizes), in_pieces(samples_T, []))


def test_frames_come_as_soon_as_their_block_is_complete():
    power = LogPower(80)
    needed = (BLOCK_FRAMES - 1) * 160 + 200
    assert power.feed(noise(needed - 1)).shape == (0, 80)
    assert power.feed(noise(1)).shape == (BLOCK_FRAMES, 80)


def test_a_fixed_floor_makes_a_frame_independent_of_what_is_far_from_it():
    quiet_T = noise(16000, loudness=0.01)
    loud_T = np.concatenate([quiet_T, noise(16000, seed=1, loudness=5.0)])
    assert np.array_equal(log_mel(quiet_T, floor=-7.0)[:90], log_mel(loud_T, floor=-7.0)[:90])
    assert not np.array_equal(log_mel(tone(16000)[:, 0])[:90], log_mel(tone(16000)[:, 0] * 100)[:90])
    assert log_mel(np.zeros(1600, np.float32), floor=-7.0).max() == scaled(np.float32([-7.0]), -9.0)[0] == -0.75


def test_where_the_floor_is_the_published_one_both_settings_agree():
    samples_T = noise(16000)
    power_FM = in_pieces(samples_T, [])
    assert np.array_equal(log_mel(samples_T), log_mel(samples_T, floor=float(power_FM.max()) - 8.0))


@pytest.mark.parametrize("samples", [160, 200])
def test_too_few_samples_to_mirror_are_refused(samples):
    with pytest.raises(MediaError, match="fill them up to 201 with zeros"):
        log_mel(noise(samples))


def test_less_than_a_frame_is_no_frame():
    assert log_mel(noise(0)).shape == log_mel(noise(159)).shape == (0, 80)
