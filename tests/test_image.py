"""Pictures: every mode of pixel comes out right, and bad files end in one clear error."""

import io
import json
import os
import re
import struct
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_patches import picture

from perilune.errors import MediaError
from perilune.media import image as image_module
from perilune.media.image import decode_image, image_item, image_tokens, load_image
from perilune.media.settings import MediaConfig
from perilune.text.media import MediaQueue

SHARED = Path(os.environ.get("PERILUNE_SHARED", "/nowhere")) / "data"
FORMATS = ["PNG", "JPEG", "WEBP", "GIF", "BMP"]


def written(image, kind="PNG", **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width, height, depth, colour, content, *before):
    """A PNG with any header at all."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(before) + chunk(b"IDAT", content) + chunk(b"IEND", b"")
    )


def pixels(source):
    return np.asarray(decode_image(io.BytesIO(source))).astype(int)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_read_from_bytes_and_from_a_file(kind, tmp_path):
    original = picture(61, 43)
    data = written(original, kind)
    path = tmp_path / "any.name"
    path.write_bytes(data)
    patches = load_image(data)
    assert (patches.pixels_PCSS == load_image(path).pixels_PCSS).all()
    assert (patches.pixels_PCSS == load_image(str(path)).pixels_PCSS).all()
    assert patches.grid == (1, 4, 6) and patches.tokens == image_tokens(61, 43) == 6
    assert np.abs(pixels(data) - np.asarray(original)).mean() < (1 if kind in ("PNG", "BMP") else 25)


def test_the_item_of_a_picture_expands_its_prompt():
    item = image_item(load_image(written(picture(100, 60))))
    assert item == {"type": "image", "tokens": 12}
    assert MediaQueue([item]).take("image", "messages[0]")[0].pads == 12


def test_a_small_tower_gets_small_pictures():
    config = MediaConfig(in_patch_limit=64, patch_limit_on_one_side=16)
    patches = load_image(written(picture(640, 480)), config)
    assert patches.tokens == image_tokens(640, 480, config) < 30


def test_pixels_keep_their_place():
    marked = np.zeros((30, 50, 3), np.uint8)
    marked[3, 40] = (255, 0, 51)
    patches = load_image(written(Image.fromarray(marked)))
    patch = patches.pixels_PCSS[40 // 14]
    assert patch[:, 3, 40 % 14] == pytest.approx([1, -1, -0.6])
    assert (patches.pixels_PCSS > -1).sum() == 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_turned_upright(orientation):
    upright = picture(40, 24)
    turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # what a camera did, as numbers of Image.Transpose
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(turns[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    for kind in ("PNG", "WEBP"):
        data = written(stored, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
        assert (pixels(data) == np.asarray(upright)).all()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b"\0" * 9]
)
def test_a_damaged_note_on_the_picture_does_not_spoil_it(exif):
    assert pixels(written(picture(20, 10), "JPEG", exif=exif)).shape == (10, 20, 3)


def test_transparency_shows_white():
    clear = np.zeros((4, 6, 4), np.uint8)
    clear[:, :2] = (200, 0, 0, 255)
    clear[:, 2:4] = (0, 0, 0, 128)
    found = pixels(written(Image.fromarray(clear)))
    assert (found[:, :2] == (200, 0, 0)).all()
    assert (np.abs(found[:, 2:4] - 127) <= 1).all()
    assert (found[:, 4:] == 255).all()
    grey = Image.fromarray(clear).convert("LA")
    assert (pixels(written(grey))[:, 4:] == 255).all()


def test_palettes_and_single_transparent_colours():
    paletted = Image.new("P", (4, 2), 1)
    paletted.putpalette([0, 0, 0, 10, 200, 30])
    paletted.putpixel((0, 0), 0)
    for kind in ("PNG", "GIF"):
        found = pixels(written(paletted, kind, transparency=0))
        assert (found[0, 0] == 255).all() and (found[0, 1] == (10, 200, 30)).all()
        assert (pixels(written(paletted, kind))[0, 0] == 0).all()
    plain = Image.new("RGB", (4, 2), (10, 200, 30))
    plain.putpixel((0, 0), (1, 2, 3))
    found = pixels(written(plain, transparency=(1, 2, 3)))
    assert (found[0, 0] == 255).all() and (found[0, 1] == (10, 200, 30)).all()


@pytest.mark.parametrize("mode", ["1", "L"])
def test_grey_and_black_and_white(mode):
    grey = Image.linear_gradient("L").convert(mode)
    found = pixels(written(grey))
    assert (found == np.asarray(grey.convert("L"))[:, :, None]).all()


def test_sixteen_bits_keep_their_high_byte():
    values = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    assert pixels(written(Image.fromarray(values)))[0, :, 0].tolist() == [0, 0, 1, 128, 255]
    row = b"\0" + struct.pack(">6H", 256, 32768, 65535, 0, 511, 512)
    assert pixels(png(2, 1, 16, 2, zlib.compress(row)))[0].tolist() == [[1, 128, 255], [0, 1, 2]]


def test_inks_become_colours():
    inks = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    assert (np.abs(pixels(written(inks, "JPEG", quality=95)) - (255, 0, 0)) < 8).all()


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_the_first_frame_of_an_animation(kind):
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue", "green")]
    data = written(frames[0], kind, save_all=True, append_images=frames[1:], duration=100, lossless=True)
    assert (np.abs(pixels(data) - (255, 0, 0)) < 3).all()


@pytest.mark.parametrize(
    ("width", "height", "tokens"), [(1, 1, 1), (65_000, 1, 256), (1, 65_000, 256), (65_000, 2, 256)]
)
def test_tiny_and_thin_pictures(width, height, tokens):
    patches = load_image(written(Image.new("RGB", (width, height), "white")))
    assert patches.tokens == tokens == patches.pixels_PCSS.shape[0] // 4


@pytest.mark.parametrize(
    ("width", "height", "wanted"),
    [
        (60_000, 60_000, "pixels"),
        (8193, 8193, "at most 67,108,864"),
        (66_000, 1, "65,535"),
        (2**31 - 1, 2**31 - 1, "pixels"),
    ],
)
def test_a_bomb_is_refused_by_its_header(width, height, wanted):
    """Well over the limits; its content would be gigabytes, but the header is enough to refuse it."""
    with pytest.raises(MediaError, match=wanted):
        load_image(png(width, height, 8, 2, zlib.compress(bytes(1 << 20))))


def test_a_bomb_in_a_note_is_refused():
    note = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100 << 20)))
    profile = chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(100 << 20)))
    pixel = zlib.compress(b"\0\1\2\3")
    assert pixels(png(1, 1, 8, 2, pixel)).tolist() == [[[1, 2, 3]]]
    for bomb in (note, profile):
        try:
            assert pixels(png(1, 1, 8, 2, pixel, bomb)).tolist() == [[[1, 2, 3]]]
        except MediaError as error:
            assert "damaged" in str(error)


@pytest.mark.parametrize(("width", "height"), [(0, 1), (1, 0), (0, 0)])
def test_no_pixels_are_no_picture(width, height):
    with pytest.raises(MediaError):
        load_image(png(width, height, 8, 2, zlib.compress(b"")))


@pytest.mark.parametrize("kind", FORMATS)
def test_a_cut_file_is_an_error_or_lacks_nothing(kind):
    data = written(picture(50, 40), kind)
    whole = pixels(data)
    for end in range(1, len(data), max(1, len(data) // 60)):
        try:
            assert (pixels(data[:end]) == whole).all(), f"{end} of {len(data)} bytes gave another picture"
        except MediaError as error:
            assert "PNG, JPEG, WebP, GIF or BMP" in str(error)
    with pytest.raises(MediaError):
        load_image(data[: len(data) // 2])


@given(st.sampled_from(FORMATS), st.data())
@settings(max_examples=150, deadline=None)
def test_damage_gives_a_picture_or_one_error_without_addresses(kind, data):
    damaged = bytearray(written(picture(40, 30), kind))
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        patches = load_image(bytes(damaged))
        assert np.isfinite(patches.pixels_PCSS).all()
    except MediaError as error:
        assert not re.search(r"0x[0-9a-f]{4}|/|\\", str(error))


@pytest.mark.parametrize(
    "data",
    [
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"This is text.\n" * 99,
        b"\0" * 999,
        b"%PDF-1.7",
        b"GIF89a",
        b"\x89PNG\r\n\x1a\n",
    ],
)
def test_what_is_no_picture_is_refused_whatever_its_name(data, tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(data)
    for source in (data, path):
        with pytest.raises(MediaError, match="PNG, JPEG, WebP, GIF or BMP"):
            load_image(source)


@pytest.mark.parametrize("kind", ["TIFF", "PPM", "ICO", "TGA", "PCX"])
def test_formats_that_few_need_are_not_opened(kind):
    with pytest.raises(MediaError, match="is not a PNG, JPEG, WebP, GIF or BMP file"):
        load_image(written(picture(16, 16), kind))


def test_sources_that_hold_nothing(tmp_path, monkeypatch):
    (tmp_path / "empty.png").touch()
    for source in (b"", tmp_path / "empty.png"):
        with pytest.raises(MediaError, match="empty"):
            load_image(source)
    for source in (tmp_path / "absent.png", tmp_path, "a\0b", "x" * 5000):
        with pytest.raises(MediaError) as caught:
            load_image(source)
        assert str(tmp_path) not in str(caught.value) and len(str(caught.value)) < 200
    with pytest.raises(MediaError, match="bytes or the path"):
        load_image(bytearray(b"x"))
    monkeypatch.setattr(image_module, "MAX_BYTES", 100)
    with pytest.raises(MediaError, match="at most 100"):
        load_image(written(picture(50, 50)))


def test_a_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(MediaError, match="no file"):
        load_image(tmp_path / "pipe.png")


@pytest.mark.parametrize("folder", ["grocery_photos", "trashnet_photos", "noto_emoji", "storybook_images"])
def test_real_pictures(folder):
    archives = sorted((SHARED / folder).glob("*.tar"))
    if not archives:
        pytest.skip("no pictures: PERILUNE_SHARED is not set")
    with tarfile.open(archives[0]) as archive:
        members = [member for member in archive.getmembers() if member.name.endswith((".jpg", ".png"))]
        assert json.loads(archive.extractfile("index.jsonl").readline())
        for member in members[:: len(members) // 25]:
            data = archive.extractfile(member).read()
            with Image.open(io.BytesIO(data)) as opened:
                width, height = opened.size
            patches = load_image(data)
            assert patches.tokens == image_tokens(width, height)
            assert patches.pixels_PCSS.min() >= -1 and patches.pixels_PCSS.max() <= 1
            assert patches.pixels_PCSS.std() > 0.01
