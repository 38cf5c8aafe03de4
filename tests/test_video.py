"""Clips: the published sampling, whole files of many kinds, and hostile ones that end nothing but their decoder."""

import io
import os
import tarfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from test_patches import picture

from perilune.errors import MediaError
from perilune.media import decoder_pipe, decoders
from perilune.media.patches import cut, fit, resize
from perilune.media.settings import PUBLISHED, MediaConfig
from perilune.media.video import Clip, load_clip, sample_indices, video_item
from perilune.text.media import MediaQueue

SHARED = Path(os.environ.get("PERILUNE_SHARED", "/nowhere")) / "data"


def shade(index, width=64, height=48):
    """A frame that tells its index by its shade of grey, after compression too."""
    return np.full((height, width, 3), 20 + 3 * index, np.uint8)


def written(frames, kind="mp4", codec="libx264", fps=30, pixel_format="yuv420p", turn=0, **options):
    out = io.BytesIO()
    with av.open(out, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=Fraction(fps), options=options)
        stream.width, stream.height, stream.pix_fmt = frames[0].shape[1], frames[0].shape[0], pixel_format
        if codec in ("libvpx", "mpeg4"):
            stream.bit_rate = 4_000_000
        if turn:
            stream.set_display_rotation(turn)
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return out.getvalue()


def shades(clip):
    return [round((float(frame.mean()) - 20) / 3) for frame in clip.frames]


@pytest.mark.parametrize(
    ("count", "fps", "indices"),
    [
        (1, 30.0, [0]),
        (2, 30.0, [0]),
        (77, 30.0, [0, 19, 38, 57, 76]),
        (10, 2.0, list(range(10))),
        (10, 1.0, list(range(10))),
        (8, 4.0, [0, 2, 5, 7]),  # evenly spaced by 7/3
        (75, 25.0, [0, 15, 30, 44, 59, 74]),
        (300, 29.97, [0, 16, 31, 47, 63, 79, 94, 110, 126, 142, 157, 173, 189, 205, 220, 236, 252, 268, 283, 299]),
        (5, 4.0, [0, 4]),  # 2.5 frames are 2: half to even
        (7, 4.0, [0, 2, 4, 6]),  # 3.5 frames are 4
    ],
)
def test_the_published_sampling(count, fps, indices):
    assert sample_indices(count, fps, PUBLISHED) == indices


def test_sampling_of_other_settings():
    assert sample_indices(100, 10.0, MediaConfig(max_num_frames_each_video=3)) == [0, 50, 99]
    assert sample_indices(20, 10.0, MediaConfig(sample_fps=5.0)) == [0, 2, 4, 6, 8, 11, 13, 15, 17, 19]


@pytest.mark.parametrize(
    ("kind", "codec", "pixel_format"),
    [
        ("mp4", "libx264", "yuv420p"),
        ("mov", "libx264", "yuv444p"),
        ("matroska", "libx265", "yuv420p10le"),
        ("webm", "libvpx", "yuv420p"),
        ("webm", "libvpx-vp9", "yuv420p"),
        ("webm", "libsvtav1", "yuv420p"),
        ("avi", "mpeg4", "yuv420p"),
        ("mpegts", "mpeg2video", "yuv420p"),
        ("mpeg", "mpeg1video", "yuv420p"),
        ("flv", "libx264", "yuv420p"),
    ],
)
def test_clips_of_many_kinds(kind, codec, pixel_format, tmp_path):
    data = written([shade(index) for index in range(50)], kind, codec, 25, pixel_format)
    clip = load_clip(data)
    assert shades(clip) == pytest.approx([0, 16, 33, 49], abs=1)
    assert clip.seconds == pytest.approx((0, 16 / 25, 33 / 25, 49 / 25))
    assert {frame.shape for frame in clip.frames} == {(48, 64, 3)}
    path = tmp_path / "any.name"
    path.write_bytes(data)
    assert all((one == two).all() for one, two in zip(load_clip(path).frames, clip.frames, strict=True))


def test_the_item_of_a_clip_has_chunks_of_four_frames_with_the_time_of_the_first():
    clip = load_clip(written([shade(index % 50, 100, 60) for index in range(100)], fps=20))
    assert len(clip.frames) == 10
    item = video_item(clip)
    assert [chunk["tokens"] for chunk in item["chunks"]] == [12, 12, 12]
    assert [chunk["timestamp"] for chunk in item["chunks"]] == [0, 44 / 20, 88 / 20]
    blocks = MediaQueue([item]).take("video", "messages[0]")
    assert [(block.before, block.pads) for block in blocks] == [
        ("00:00:00.000", 12),
        ("00:00:02.200", 12),
        ("00:00:04.400", 12),
    ]
    grids = [(chunk.grid, chunk.tokens, len(chunk.pixels_PCSS)) for chunk in clip.chunks()]
    assert grids == [((4, 6, 8), 12, 192), ((4, 6, 8), 12, 192), ((2, 6, 8), 12, 96)]


def test_frames_are_resized_as_pictures_are():
    frame = np.asarray(picture(1500, 900))
    data = written([frame], codec="libx264rgb", kind="matroska", pixel_format="rgb24", qp="0")
    clip = load_clip(data)
    size = fit(1500, 900, PUBLISHED.in_patch_limit_each_frame, PUBLISHED)
    assert size != (1500, 900)
    assert (clip.frames[0] == resize(Image.fromarray(frame), size)).all()
    (chunk,) = clip.chunks()
    assert (chunk.pixels_PCSS == cut([resize(Image.fromarray(frame), size)], PUBLISHED).pixels_PCSS).all()


def test_a_small_tower_gets_small_frames_and_few():
    config = MediaConfig(in_patch_limit_each_frame=16, max_num_frames_each_video=3)
    clip = load_clip(written([shade(index, 320, 240) for index in range(60)]), config)
    assert clip.tokens_per_chunk <= 9 and shades(clip) == [0, 30, 59]


@pytest.mark.parametrize("size", [(2, 2), (34, 2), (130, 18)])
def test_one_frame_and_odd_sizes(size):
    clip = load_clip(written([shade(30, *size)]))
    assert shades(clip) == [30] and clip.seconds == (0.0,) and clip.frames[0].shape == (size[1], size[0], 3)


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_phone_held_upright_films_upright(turn):
    frame = shade(0)
    frame[:24, :32] = 250  # the corner at the top left
    clip = load_clip(written([frame], turn=turn))
    wanted = np.rot90(frame, turn // 90)
    assert clip.frames[0].shape == wanted.shape
    assert np.abs(clip.frames[0].astype(int) - wanted).mean() < 5


def test_an_animated_gif_is_a_clip_too():
    frames = [Image.fromarray(shade(index)) for index in range(20)]
    out = io.BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:], duration=100)
    clip = load_clip(out.getvalue())
    assert shades(clip) == [0, 6, 13, 19] and clip.seconds == pytest.approx((0, 0.6, 1.3, 1.9))


def test_frames_that_change_their_size_take_that_of_the_first():
    parts = [written([shade(index, *size)] * 30, "mpegts", fps=30) for index, size in ((5, (64, 48)), (60, (128, 96)))]
    clip = load_clip(b"".join(parts))
    assert {frame.shape for frame in clip.frames} == {(48, 64, 3)}
    assert shades(clip)[0] == 5 and shades(clip)[-1] == 60


def with_empty_packets():
    """MPEG-4 has packets that say "nothing new": 60 frames, and 15 of those."""
    out = io.BytesIO()
    data = io.BytesIO(written([shade(index) for index in range(60)], "avi", "mpeg4"))
    with av.open(data) as source, av.open(out, "w", format="avi") as container:
        stream, place = container.add_stream_from_template(source.streams.video[0]), 0
        for index, packet in enumerate(source.demux(video=0)):
            nothing_new = [b"\0\0\1\xb6\x50\x5f"] * (index % 4 == 3)
            for content in [bytes(packet), *nothing_new] if packet.size else []:
                copy = av.Packet(content)
                copy.stream, copy.time_base, copy.is_keyframe = stream, packet.time_base, packet.is_keyframe
                copy.pts = copy.dts = place
                container.mux(copy)
                place += 1
    return out.getvalue()


def test_packets_without_a_picture_are_not_counted():
    """Frames are chosen among those that are there."""
    data = with_empty_packets()
    with av.open(io.BytesIO(data)) as container:
        assert sum(packet.size > 0 for packet in container.demux(video=0)) == 75
    with av.open(io.BytesIO(data)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert 60 <= len(frames) < 75
    clip = load_clip(data)
    chosen = sample_indices(len(frames), 30.0, PUBLISHED)
    assert clip.seconds == pytest.approx([index / 30 for index in chosen])
    assert all((frames[index] == frame).all() for index, frame in zip(chosen, clip.frames, strict=True))


def sound_only():
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (sound_only(), "no video stream"),
        (b"", "empty"),
        (b"\0", "cannot be read"),
        (b"just a text\n" * 99, "cannot be read"),
        (np.random.default_rng(0).bytes(1 << 16), "cannot be read"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n", "cannot be read"),
        (b"ffconcat version 1.0\nfile 'other.mp4'\n", "cannot be read"),
        (b"YUV4MPEG2 W64 H48 F30:1\nFRAME\n" + bytes(64 * 48 * 3 // 2), "cannot be read"),
        (written([shade(1)], "matroska", "ffv1"), "codec is ffv1"),
    ],
    ids=["sound", "nothing", "a-zero", "text", "noise", "playlist", "list", "unlisted-container", "unlisted-codec"],
)
def test_what_is_no_clip_is_refused(data, wanted):
    with pytest.raises(MediaError, match=wanted):
        load_clip(data)


@pytest.mark.parametrize("kind", ["mp4", "matroska", "mpegts", "avi"])
def test_a_cut_clip_is_refused_or_shorter(kind):
    data = written(
        [np.asarray(picture(160, 120, index)) for index in range(30)], kind, "mpeg4" if kind == "avi" else "libx264"
    )
    for share in (0.03, 0.5, 0.97):
        try:
            clip = load_clip(data[: int(len(data) * share)])
            assert 1 <= len(clip.frames) <= 2
        except MediaError as error:
            assert "/" not in str(error) and "0x" not in str(error)


def test_damage_gives_a_clip_or_one_error():
    data = written([np.asarray(picture(64, 48, index)) for index in range(20)])
    random = np.random.default_rng(3)
    for _ in range(12):
        damaged = bytearray(data)
        for place in random.integers(0, len(data), 12):
            damaged[place] = random.integers(0, 256)
        try:
            assert len(load_clip(bytes(damaged), seconds=60).frames) <= 20
        except MediaError as error:
            assert "0x" not in str(error)


def test_frames_beyond_the_limits_are_refused_before_they_are_decoded():
    data = bytearray(written([shade(1)], "avi", "mjpeg", pixel_format="yuvj420p"))
    header, start_of_frame = data.index(b"strf") + 12, data.index(b"\xff\xc0") + 5
    data[header : header + 8] = (10_000).to_bytes(4, "little") + (8_000).to_bytes(4, "little")
    data[start_of_frame : start_of_frame + 4] = (8_000).to_bytes(2, "big") + (10_000).to_bytes(2, "big")
    with pytest.raises(MediaError, match="or more than 35,651,584 pixels"):
        load_clip(bytes(data))


def test_more_frames_than_are_looked_at(monkeypatch):
    data = written([shade(index) for index in range(60)], fps=2)
    monkeypatch.setattr(decoder_pipe, "MAX_FRAMES", 50)
    with pytest.raises(MediaError, match="at most 50"):
        load_clip(data)


def test_a_very_long_clip_is_refused():
    data = written([shade(1), shade(2), shade(3)], fps=Fraction(1, 20_000))
    with pytest.raises(MediaError, match="at most 14,400 s"):
        load_clip(data)


def test_a_decoder_that_takes_too_long_is_ended():
    data = written([shade(index) for index in range(60)])
    with pytest.raises(MediaError, match=r"more than 0\.001 s"):
        load_clip(data, seconds=0.001)


def test_a_decoder_that_takes_too_much_memory_ends_alone(monkeypatch):
    data = written([shade(index) for index in range(60)])
    monkeypatch.setattr(decoders, "MAX_PROCESS_BYTES", 32 << 20)
    with pytest.raises(MediaError, match=r"memory|without an answer"):
        load_clip(data)
    monkeypatch.undo()
    assert len(load_clip(data).frames) == 4


def test_real_clips():
    archives = sorted((SHARED / "video_intel").glob("*.tar"))
    if not archives:
        pytest.skip("no clips: PERILUNE_SHARED is not set")
    with tarfile.open(archives[0]) as archive:
        for name, frames, tokens in (("asl_again.mkv", 5, 414), ("car-detection.mp4", 60, 60)):
            clip = load_clip(archive.extractfile(name).read())
            assert isinstance(clip, Clip) and len(clip.frames) == frames and clip.tokens_per_chunk == tokens
            assert np.abs(clip.frames[0].astype(int) - clip.frames[-1]).mean() > 0.5
