"""Sound files of every kind to 16 kHz mono, and what is no sound, damaged or too much refused with one clear error."""

import io
import os
import tarfile
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from sounds import FORMATS, encoded, noise, tone

from perilune.errors import MediaError
from perilune.media.audio import MAX_FILE_BYTES, load_audio
from perilune.media.sound_file import BLOCK, MAX_CHANNELS

SHARED = os.environ.get("PERILUNE_SHARED")
CLIPS = {
    "spoken_digits_fsdd": ("fsdd_train.tar", 0.1, 3.0),
    "speech_commands_sample": ("sc_train.tar", 0.3, 1.1),
    "spoken_commands_coffee": ("coffee_train.tar", 0.5, 15.0),
    "sounds_esc10": ("esc10_train.tar", 4.9, 5.1),
}


def loudness(samples_T, hertz):
    """The amplitude of a sine of that frequency in the middle of a sound at 16 kHz."""
    middle_T = samples_T[4000:12000]
    turns_T = np.exp(-2j * np.pi * hertz * np.arange(8000) / 16000)
    return abs(2 * (middle_T * turns_T).mean())


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("channels", [1, 2])
def test_every_format_becomes_mono_at_16_khz(form, channels):
    data = encoded(form, tone(48000, channels=channels), 48000)
    samples_T = load_audio(data)
    assert samples_T.dtype == np.float32
    assert 16000 <= samples_T.shape[0] < 16000 * 1.09  # encoders may add silence at the end, up to a block or two
    assert loudness(samples_T, 440) == pytest.approx(0.5, abs=0.01)
    assert loudness(samples_T, 880) < 0.01


@pytest.mark.parametrize("rate", [4000, 8000, 11025, 16000, 22050, 44100, 96000, 384000])
def test_any_rate_keeps_pitch_and_length(rate):
    samples_T = load_audio(encoded("flac" if rate < 384000 else "wav", tone(rate, hertz=1000), rate))
    assert samples_T.shape[0] == 16000
    assert loudness(samples_T, 1000) == pytest.approx(0.5, abs=0.01)


def test_what_16_khz_cannot_hold_is_filtered_out_not_folded_back():
    samples_T = load_audio(encoded("wav", tone(48000, hertz=12000), 48000))
    assert np.abs(samples_T[1000:-1000]).max() < 1e-3


def test_channels_become_their_mean():
    samples_TC = np.concatenate([tone(16000), -tone(16000), tone(16000, hertz=1000)], 1)
    samples_T = load_audio(encoded("wav float", samples_TC, 16000))
    assert np.allclose(samples_T, samples_TC.mean(1), atol=1e-6)


def test_a_path_reads_what_its_bytes_read_whatever_it_is_called(tmp_path):
    for form, name in (("flac", "sound.wav"), ("wav", "sound.raw"), ("m4a", "sound.mp3"), ("mp3", "sound")):
        data = encoded(form, tone(44100), 44100)
        (tmp_path / name).write_bytes(data)
        assert np.array_equal(load_audio(tmp_path / name), load_audio(data))
        assert np.array_equal(load_audio(str(tmp_path / name)), load_audio(data))


def test_clipped_sound_is_sound():
    samples_T = load_audio(encoded("wav", np.sign(tone(16000)), 16000))
    assert np.abs(samples_T).max() <= 1.0
    assert loudness(samples_T, 440) == pytest.approx(4 / np.pi, abs=0.01)


def test_a_wav_that_was_written_into_a_pipe_is_read_to_its_end():
    data = encoded("wav", tone(16000), 16000)
    endless = data[:4] + b"\xff" * 4 + data[8:40] + b"\xff" * 4 + data[44:]
    assert np.array_equal(load_audio(endless), load_audio(data))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"Dear reader, I am a text.\n", "is no sound file that perilune knows"),
        (b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.wav\n", "is no sound file"),
        (b"ffconcat version 1.0\nfile /etc/hostname\n", "is no sound file"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 64, "is no sound file"),
        (b"RIFF\x10\0\0\0AVI LIST", "is no sound file"),
        (b"RIFF", "is no sound file"),
        (b"RIFF\x24\0\0\0WAVE", "is cut short: it has 12 bytes of 44"),
        (b"fLaC" + b"\0" * 100, "is damaged"),
        (b"OggS" + b"\0" * 100, "is damaged"),
        (b"ID3" + b"\0" * 100, "is damaged"),
        (b"\xff\xf1" + b"\0" * 100, "the sound "),
        (b"\0\0\0\x18ftypM4A \0\0\0\0" + b"\0" * 100, "the sound "),
        (b"\x1aE\xdf\xa3" + b"\0" * 100, "is damaged"),
    ],
)
def test_what_is_no_sound_is_refused(data, message):
    with pytest.raises(MediaError, match=message):
        load_audio(data)


def test_no_samples_are_no_sound():
    with pytest.raises(MediaError, match="the sound holds no samples"):
        load_audio(encoded("wav", np.zeros((0, 1), np.float32), 16000))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, 32767.0])
def test_numbers_that_are_no_sound_are_refused(value):
    samples_TC = tone(16000)
    samples_TC[15999] = value
    with pytest.raises(MediaError, match="must be finite and within ±1"):
        load_audio(encoded("wav float", samples_TC, 16000))


CUT = [form for form in FORMATS if form != "ogg opus"]  # of which nothing says how long it is


@pytest.mark.parametrize("form", CUT)
def test_a_file_that_is_cut_short_is_refused(form):
    data = encoded(form, tone(48000, seconds=3.0), 48000)
    with pytest.raises(MediaError, match=r"cut short|damaged|no samples"):
        load_audio(data[: len(data) * 2 // 3])


@pytest.mark.parametrize("form", FORMATS)
def test_damage_is_a_media_error_or_still_a_sound(form):
    data = encoded(form, tone(16000, seconds=0.5), 16000)
    for seed in range(20):
        random = np.random.default_rng(seed)
        damaged = bytearray(data)
        reach = random.choice([64, 256, len(damaged)])
        for place in random.integers(12, min(reach, len(damaged)), 12):
            damaged[place] = random.integers(256)
        try:
            samples_T = load_audio(bytes(damaged))
        except MediaError:
            continue
        assert samples_T.dtype == np.float32 and np.isfinite(samples_T).all()


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_too_long_is_refused(form):
    with pytest.raises(MediaError, match=r"at most 0\.5 s are heard|goes on after 0\.5 s"):
        load_audio(encoded(form, tone(16000), 16000), max_seconds=0.5)


def test_a_header_that_hides_the_length_does_not_get_past_the_limit():
    data = encoded("wav", tone(16000, seconds=20.0), 16000)
    endless = data[:4] + b"\xff" * 4 + data[8:40] + b"\xff" * 4 + data[44:]
    with pytest.raises(MediaError, match=r"at most 10 s|goes on after 10 s"):
        load_audio(endless, max_seconds=10.0)


def test_decoding_stops_at_the_limit_where_no_header_tells_the_length():
    live = encoded("webm", tone(48000, seconds=20.0), 48000, live="1")
    assert load_audio(live).shape == (16000 * 20,)
    with pytest.raises(MediaError, match="goes on after 10 s"):
        load_audio(live, max_seconds=10.0)


@pytest.mark.parametrize(
    ("rate", "channels", "message"),
    [
        (100, 1, "has 100 samples a second; wanted are 4000 to 384000"),
        (500_000, 1, "has 500000 samples a second"),
        (16000, MAX_CHANNELS + 1, "has 33 channels; wanted are 1 to 32"),
    ],
)
def test_odd_rates_and_channels_are_refused(rate, channels, message):
    with pytest.raises(MediaError, match=message):
        load_audio(encoded("wav", tone(rate, seconds=0.1, channels=channels), rate))


def test_only_files_are_opened_and_only_up_to_a_size(tmp_path):
    for path in (tmp_path, tmp_path / "none.wav", Path("/dev/zero")):
        with pytest.raises(MediaError, match="is not a file"):
            load_audio(path)
    with (tmp_path / "large.wav").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(MediaError, match=r"^large\.wav has 536870913 bytes; at most 536870912 are read"):
        load_audio(tmp_path / "large.wav")


def test_a_video_without_sound_and_too_many_streams_are_refused():
    for count, message in ((0, "holds no sound, only other streams"), (65, "holds 66 streams; at most 64")):
        buffer = io.BytesIO()
        with av.open(buffer, "w", format="matroska") as container:
            video = container.add_stream("mjpeg", rate=1, width=16, height=16, pix_fmt="yuvj420p")
            for _ in range(count):
                container.add_stream("pcm_s16le", rate=16000, layout="mono")
            picture = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
            container.mux(video.encode(picture.reformat(format="yuvj420p")))
        with pytest.raises(MediaError, match=message):
            load_audio(buffer.getvalue())


def test_blocks_leave_no_seams():
    samples_TC = noise(3 * BLOCK + 17)[:, None]
    buffer = io.BytesIO()
    soundfile.write(buffer, samples_TC, 16000, format="WAV", subtype="FLOAT")
    assert np.array_equal(load_audio(buffer.getvalue()), samples_TC[:, 0])


@pytest.mark.skipif(not SHARED, reason="PERILUNE_SHARED names no folder with recorded clips")
@pytest.mark.parametrize("folder", CLIPS)
def test_recorded_clips_are_heard(folder):
    name, shortest, longest = CLIPS[folder]
    with tarfile.open(Path(SHARED or "") / "data" / folder / name) as archive:
        members = [m for m in archive.getmembers() if m.name.endswith((".flac", ".ogg"))][::50]
        clips = [load_audio(file.read()) for m in members if (file := archive.extractfile(m))]
    assert len(clips) >= 4
    for samples_T in clips:
        assert shortest <= samples_T.shape[0] / 16000 <= longest
        assert 1e-3 < np.abs(samples_T).max() <= 1.5
