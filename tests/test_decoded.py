"""What is decoded already gives what its file gives, under the same caps, and is refused in other forms."""

import io
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from PIL import Image
from test_video import written

from perilune.errors import MediaError, MessageError
from perilune.media import parts
from perilune.media.decoded import Decoded, to_clip, to_patches, to_samples
from perilune.media.parts import gather
from perilune.media.settings import PUBLISHED
from perilune.media.video import load_clip

PIXELS = np.random.default_rng(1).integers(0, 256, (45, 61, 3), np.uint8)
SAMPLES = np.random.default_rng(2).uniform(-1, 1, 5000).astype(np.float32)


def png() -> bytes:
    held = io.BytesIO()
    Image.fromarray(PIXELS).save(held, "PNG")
    return held.getvalue()


def wav() -> bytes:
    held = io.BytesIO()
    soundfile.write(held, SAMPLES, 16_000, format="WAV", subtype="FLOAT")
    return held.getvalue()


def test_pixels_give_the_patches_of_their_file():
    ours, theirs = to_patches(Decoded("image", PIXELS), PUBLISHED), to_patches(png(), PUBLISHED)
    assert (ours.pixels_PCSS == theirs.pixels_PCSS).all() and (ours.grid, ours.tokens) == (theirs.grid, theirs.tokens)


def test_samples_are_those_of_their_file():
    assert (to_samples(Decoded("audio", SAMPLES)) == to_samples(wav())).all()


def test_frames_give_the_clip_of_their_file():
    frames = [np.full((48, 64, 3), shade, np.uint8) for shade in range(0, 200, 10)]
    file = written(frames, "matroska", "mpeg4", fps=8)
    chosen, every = to_clip(file, PUBLISHED), load_clip(file, replace(PUBLISHED, sample_fps=8.0))
    ours = to_clip(Decoded("video", np.stack(every.frames), 8.0), PUBLISHED)
    assert ours.seconds == chosen.seconds and len(chosen.frames) == 5 < len(every.frames) == 20
    assert all((one == other).all() for one, other in zip(ours.frames, chosen.frames, strict=True))


@pytest.mark.parametrize(
    ("kind", "data", "rate", "told"),
    [
        ("picture", PIXELS, 0.0, "one of image, audio, video, not 'picture'"),
        ("image", PIXELS.astype(np.float32), 0.0, r"must be uint8 \[H, W, 3\]; got float32 \[45, 61, 3\]"),
        ("image", PIXELS[:, :, 0], 0.0, r"got uint8 \[45, 61\]"),
        ("image", PIXELS[:0], 0.0, r"got uint8 \[0, 61, 3\]"),
        ("audio", SAMPLES[:, None], 0.0, r"must be finite float32 \[T\], mono"),
        ("audio", np.array([0.0, np.nan], np.float32), 0.0, "must be finite"),
        ("video", PIXELS[None], 0.0, "with its frames a second"),
        ("video", [PIXELS], 2.0, "got no array"),
    ],
)
def test_arrays_of_another_form_are_refused(kind, data, rate, told):
    with pytest.raises(MediaError, match=told):
        Decoded(kind, data, rate)


def test_a_part_takes_what_is_decoded_as_its_own_kind(monkeypatch):
    made = Decoded("image", PIXELS)
    (found,) = gather([{"role": "user", "content": [made.part]}], {"vision"})[1]
    assert found.source is made and found.kind == "image"
    for word in ("audio", "video_url", "file"):
        with pytest.raises(MessageError, match=rf"content\[0\].{word} holds decoded image"):
            gather([{"role": "user", "content": [{"type": word, word: made}]}], {"vision", "hearing"})
    monkeypatch.setitem(parts.MAX_ITEM_BYTES, "image", PIXELS.nbytes - 1)
    with pytest.raises(MediaError, match=r"content\[0\]: the decoded image has 8,235 bytes"):
        gather([{"role": "user", "content": [made.part]}], {"vision"})
