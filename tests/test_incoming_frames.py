"""Frames at the pace at which a clip plays, on a clock that tests move, and a camera that FFmpeg draws."""

import sys
import time

import pytest
from test_video import shade, with_empty_packets, written

from perilune.errors import MediaError
from perilune.media import incoming_frames
from perilune.media.decoder_pipe import Frame
from perilune.media.incoming_frames import Camera, camera, playing
from perilune.media.settings import MediaConfig
from perilune.media.video import load_clip

DRAWN = "testsrc=size=64x48:rate=20,realtime"


class Clock:
    """Time passes when somebody sleeps, or is told to."""

    def __init__(self, monkeypatch):
        self.now = 50.0
        monkeypatch.setattr(incoming_frames, "monotonic", lambda: self.now)
        monkeypatch.setattr(incoming_frames, "sleep", self.sleep)

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


@pytest.fixture
def drawn(monkeypatch):
    """A camera for every system: FFmpeg's own test picture."""
    monkeypatch.setattr(incoming_frames, "CAMERAS", {sys.platform: ("lavfi", {}, "{}")})


def clip_of(frames, fps=20):
    return written([shade(index % 70) for index in range(frames)], fps=fps)


def taken(source):
    frames = []
    while not source.ended:
        frame = source.take(wait=True)
        frames += [] if frame is None else [frame]
    return frames


def shade_frames(count):
    return [Frame(index, 2.0, shade(index)) for index in range(count)]


@pytest.mark.parametrize("fast", [False, True])
def test_a_clip_gives_the_frames_it_has_as_a_file_and_takes_as_long_as_it_plays(clock, fast):
    data = clip_of(47)
    whole = load_clip(data)
    with playing(data, fast=fast) as source:
        frames = taken(source)
    assert tuple(frame.seconds for frame in frames) == whole.seconds
    assert all((one.pixels_HWC == two).all() for one, two in zip(frames, whole.frames, strict=True))
    assert clock.now == pytest.approx(50 if fast else 50 + whole.seconds[-1])


def test_what_has_not_been_shown_cannot_be_taken(clock):
    with playing(clip_of(60)) as source:
        first = source.take(wait=False)
        assert first.seconds == 0 and source.take(wait=False) is None and source.behind == 0
        clock.now += 1.3
        assert source.behind == pytest.approx(0.7) and source.due(0.6) == pytest.approx(50.6)
        assert [source.take(wait=False).seconds for _ in range(2)] == pytest.approx([0.6, 1.2])
        assert source.take(wait=False) is None and not source.ended


def test_fast_a_clip_waits_for_whoever_watches(clock):
    with playing(clip_of(60), fast=True) as source:
        clock.now += 100
        assert source.behind == 0 and source.take(wait=False) is None
        assert source.take(wait=True).seconds == 0 and source.due(2.0) == clock.now


def test_a_clip_of_more_frames_than_are_held_at_once_can_be_watched():
    data = written([shade(index % 70, 16, 16) for index in range(16_400)], "avi", "mpeg4", fps=2)
    with pytest.raises(MediaError, match="at most 16,384 are"):
        load_clip(data)
    with playing(data, fast=True) as source:
        assert [frame.index for frame in taken(source)] == list(range(16_400))


@pytest.mark.parametrize(("width", "height"), [(640, 16), (16, 640), (240, 240), (2, 2)])
def test_frames_of_any_shape_stay_within_the_bytes_that_are_read(clock, width, height):
    config = MediaConfig(in_patch_limit_each_frame=6)
    with playing(written([shade(1, width, height)] * 2), config, fast=True) as source:
        assert len(taken(source)) == 1


def test_packets_without_a_picture_are_told(clock):
    with playing(with_empty_packets()) as source:
        assert len(taken(source)) == 4 and source.recounted
    with playing(clip_of(10)) as source:
        taken(source)
        assert not source.recounted


def test_what_is_no_clip_is_refused_before_and_while_it_plays(tmp_path, clock):
    (tmp_path / "notes.txt").write_text("no clip, by no means")
    for source, told in ((tmp_path / "notes.txt", "this is no video"), (tmp_path / "none.mp4", "there is no file")):
        with pytest.raises(MediaError, match=told), playing(source):
            pass
    data = clip_of(60)
    with pytest.raises(MediaError, match="cannot be read"), playing(data[: len(data) // 2]):
        pass


def test_a_decoder_that_is_ended_gives_one_error(monkeypatch, tmp_path):
    monkeypatch.setattr(incoming_frames, "MAX_SECONDS", -incoming_frames.SPARE_SECONDS + 0.001)
    with pytest.raises(MediaError, match="took more than"), playing(clip_of(60)) as source:
        taken(source)


def test_a_camera_is_sampled_by_the_clock_and_ends_when_nobody_watches(drawn):
    config = MediaConfig(sample_fps=10.0, in_patch_limit_each_frame=6)
    with camera(DRAWN, config) as source:
        frames = []
        while len(frames) < 4:
            frames += [frame for frame in (source.take(wait=True),) if frame is not None]
        assert not source.ended and source.lost == 0
    assert frames[0].index == 0 and all(frame.fps == 10.0 for frame in frames)
    assert [frame.index for frame in frames] == sorted({frame.index for frame in frames})
    assert {frame.pixels_HWC.shape for frame in frames} == {(33, 45, 3)}
    assert frames[0].pixels_HWC.std() > 10


def test_a_camera_ends_after_the_longest_time_it_is_watched(drawn, monkeypatch):
    monkeypatch.setattr(incoming_frames, "MAX_CAMERA_SECONDS", 0.6)
    with camera(DRAWN) as source:
        assert taken(source)[0].index == 0 and source.ended


def test_what_comes_while_too_much_waits_is_lost_and_counted(monkeypatch, clock):
    monkeypatch.setattr(incoming_frames, "MAX_WAITING", 3)
    source = Camera(iter(shade_frames(5)))
    while not source._done:
        time.sleep(0.001)
    assert source.lost == 2 and not source.ended
    clock.now += 1.25
    assert source.behind == pytest.approx(1.25)
    assert [source.take(wait=True).index for _ in range(3)] == [0, 1, 2]
    assert source.ended and source.behind == 0 and source.take(wait=True) is None


def test_an_error_of_a_camera_comes_after_its_frames():
    def failing():
        yield from shade_frames(2)
        raise MediaError("the plug was pulled")

    source = Camera(failing())
    with pytest.raises(MediaError, match="the plug was pulled"):
        taken(source)


def test_a_camera_that_is_not_there_is_named(monkeypatch, tmp_path):
    named = f"{tmp_path}/none"
    with pytest.raises(MediaError, match=f"the camera {named} cannot be read: "), camera(named) as source:
        taken(source)
    with pytest.raises(MediaError, match="name has at most 1,000 letters, got 20,000"), camera("c" * 20_000):
        pass
    few = MediaConfig(max_num_frames_each_video=8)
    with pytest.raises(MediaError, match="this model takes 8 frames of a clip"), camera("0", few):
        pass
    monkeypatch.setattr(sys, "platform", "plan9")
    with pytest.raises(MediaError, match="not on plan9; give a file: --file CLIP"), camera("0"):
        pass


def test_a_camera_that_gives_no_pictures_is_refused(drawn):
    with (
        pytest.raises(MediaError, match="the camera sine cannot be read: it gives no pictures"),
        camera("sine") as source,
    ):
        taken(source)
