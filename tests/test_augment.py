"""Augmentation: sizes, ranges and what must not change; the same generator gives the same result."""

import numpy as np
import pytest

from perilune.tasks import augment
from perilune.tasks.sounds import tone


def rng():
    return np.random.default_rng(7)


def dot(x, y):
    image = np.full((60, 80, 3), 250, np.uint8)
    image[y - 3 : y + 3, x - 3 : x + 3] = 10
    return image


def centre(image):
    rows, columns = np.nonzero(image[:, :, 0] < 128)
    return columns.mean(), rows.mean()


def pitch(samples):
    return np.fft.rfft(samples * np.hanning(len(samples))).__abs__().argmax() * 16_000 / len(samples)


def test_a_shaken_picture_moves_within_its_limits_and_uncovers_its_edge_colour():
    for seed in range(20):
        moved = augment.shake(dot(40, 30), np.random.default_rng(seed), shift=0.1)
        x, y = centre(moved)
        assert abs(x - 40) <= 10 and abs(y - 30) <= 8
        assert moved.shape == (60, 80, 3)
        assert moved[0, 0, 0] == moved[-1, -1, 0] == 250


def test_only_where_it_is_allowed_is_a_picture_mirrored():
    still = {"turn": 0.0, "scale": (1.0, 1.0), "shift": 0.0}
    sides = {
        flip: {
            centre(augment.shake(dot(20, 30), np.random.default_rng(s), flip=flip, **still))[0] < 40 for s in range(20)
        }
        for flip in (False, True)
    }
    assert sides == {False: {True}, True: {True, False}}


def test_a_turn_turns_by_its_degrees():
    image = augment.shake(dot(60, 30), _Fixed(angle=90), turn=90, scale=(1.0, 1.0), shift=0.0)
    x, y = centre(image)
    assert x == pytest.approx(40, abs=1) and abs(y - 30) == pytest.approx(20, abs=1)


class _Fixed:
    """A generator that always draws the upper end."""

    def __init__(self, angle):
        self.angle = angle

    def uniform(self, low, high, size=None):
        return high if size is None else np.full(size, high)

    def random(self):
        return 0.9


def test_crops_keep_their_share_and_light_keeps_the_shape():
    image = np.zeros((40, 60, 3), np.uint8)
    for seed in range(10):
        height, width = augment.crop(image, np.random.default_rng(seed), 0.75).shape[:2]
        assert 30 <= height <= 40 and 45 <= width <= 60
    assert augment.light(np.zeros((3, 8, 9, 3), np.uint8), rng()).shape == (3, 8, 9, 3)


def test_faster_is_shorter_and_higher():
    samples = tone(500, 1.0)
    fast = augment.speed(samples, 1.1)
    assert len(fast) == pytest.approx(16_000 / 1.1, abs=2)
    assert pitch(fast) == pytest.approx(550, abs=3)


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.3])
def test_another_tempo_keeps_the_pitch_and_the_loudness(factor):
    samples = tone(500, 1.0)
    changed = augment.tempo(samples, factor)
    assert len(changed) == pytest.approx(16_000 / factor, abs=2)
    assert pitch(changed) == pytest.approx(500, abs=3)
    middle = slice(4_000, -4_000)
    assert np.abs(changed[middle]).max() == pytest.approx(np.abs(samples[middle]).max(), rel=0.1)


def voice(hertz, resonance):
    """A sound of many overtones, loudest about its resonance."""
    return sum(tone(k * hertz, 1.0) / (1 + ((k * hertz - resonance) / 250) ** 2) for k in range(1, 7_000 // hertz))


@pytest.mark.parametrize("factor", [0.85, 1.0, 1.18])
def test_another_throat_moves_resonances_and_keeps_the_pitch(factor):
    samples = 0.1 * voice(150, 1500)
    changed = augment.throat(samples, factor)
    power = np.abs(np.fft.rfft(changed[2_000:-2_000] * np.hanning(12_000))) ** 2
    hertz = np.arange(len(power)) * 16_000 / 12_000
    assert (power * hertz).sum() / power.sum() == pytest.approx(1500 * factor, rel=0.06)
    off = np.abs(hertz / 150 - np.round(hertz / 150)) > 0.1
    assert power[off].sum() < 0.01 * power.sum(), "all of it stands at overtones of the same pitch"
    assert len(changed) == len(samples)
    if factor == 1.0:
        assert np.abs(changed - samples)[1_000:-1_000].max() < 1e-3


def test_a_click_keeps_its_place_at_another_tempo():
    click = np.zeros(16_000, np.float32)
    click[8_000] = 1.0
    assert np.abs(augment.tempo(click, 1.25)).argmax() == pytest.approx(6_400, abs=augment.FRAME)


def test_another_microphone_changes_tones_by_a_few_decibels_and_may_lose_some():
    samples = sum(tone(pitch, 0.5) for pitch in range(300, 7_900, 200))
    before = np.abs(np.fft.rfft(samples))[150::100]
    lost = 0
    for seed in range(20):
        after = np.abs(np.fft.rfft(augment.equalised(samples, np.random.default_rng(seed))))[150::100]
        change_db = 20 * np.log10(after / before)
        assert change_db.max() < 11 and (change_db > -11).sum() > 20
        lost += bool((change_db < -20).any())
    assert 3 < lost < 15


def test_noise_is_added_at_its_ratio():
    samples = tone(500, 1.0)
    added = augment.mixed(samples, augment.noise(16_000, rng()), 20.0) - samples
    ratio = 20 * np.log10(np.sqrt(np.mean(samples**2)) / np.sqrt(np.mean(added**2)))
    assert ratio == pytest.approx(20, abs=0.1)


def test_the_telephone_loses_high_tones_only():
    high, low = augment.telephone(tone(6000, 0.5)), augment.telephone(tone(1000, 0.5))
    assert np.abs(high[1000:-1000]).max() < 0.02
    assert np.abs(low).max() > 0.45


def test_a_room_rings_after_the_sound():
    click = np.zeros(8_000, np.float32)
    click[100] = 1.0
    ringing = augment.room(click, rng())
    assert ringing[100] == pytest.approx(1, abs=1e-3)
    assert np.abs(ringing[200:600]).max() > 5 * np.abs(ringing[5_000:]).max()
    assert np.abs(ringing[:100]).max() < 1e-5


def test_a_recording_stays_in_range_and_silence_stays_silent():
    for seed in range(30):
        generator = np.random.default_rng(seed)
        heard = augment.recorded(tone(440, 0.5), generator, lambda: tone(90, 0.3))
        assert heard.dtype == np.float32 and np.abs(heard).max() <= 1.0
        assert len(heard) >= 16_000 * 0.5 / 1.26 / 1.26
        silent = augment.recorded(np.zeros(4_000, np.float32), generator)
        assert np.isfinite(silent).all() and np.abs(silent).max() < 1e-6


def test_the_same_generator_gives_the_same_bytes():
    image = np.random.default_rng(1).integers(0, 255, (50, 40, 3)).astype(np.uint8)
    assert augment.photo(image, rng()).tobytes() == augment.photo(image, rng()).tobytes()
    samples = tone(440, 0.5)
    assert augment.recorded(samples, rng()).tobytes() == augment.recorded(samples, rng()).tobytes()
