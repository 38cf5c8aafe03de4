"""A picture file → patches: checked before it is decoded, turned upright, put on white, resized and cut.

Up to there it happens in a decoder's process (decoders.py); only the pixels come back, and are cut here.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from perilune.errors import MediaError
from perilune.media.decoder_pipe import read_frames
from perilune.media.decoders import decode_apart
from perilune.media.patches import Patches, cut, fit, resize, token_grid
from perilune.media.settings import PUBLISHED, MediaConfig
from perilune.media.source import Source, open_source

# Read at all: others have large decoders that few need (TIFF, HEIF), or none that is part of Pillow.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
MAX_BYTES = 64 << 20
MAX_PIXELS = 1 << 26
MAX_SIDE = (1 << 16) - 1
DECODE_SECONDS = 60.0

_WANTED = "a PNG, JPEG, WebP, GIF or BMP file"
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def load_image(source: Source, config: MediaConfig = PUBLISHED) -> Patches:
    """The patches of a picture (bytes or a path), by the published preprocessing.

    A MediaError says what is wrong: an unknown format, a damaged or cut file, or a size beyond the limits above.
    """
    job = {"kind": "image", "config": asdict(config)}
    with open_source(source, MAX_BYTES, "the picture") as file:
        found = decode_apart(file, "the picture", job, DECODE_SECONDS, partial(read_frames, max_bytes=3 * MAX_PIXELS))
    return cut(found.frames, config)


def patches_of(image: Image.Image, config: MediaConfig) -> Patches:
    """The patches of an upright RGB picture."""
    return cut([resize(image, fit(*image.size, config.in_patch_limit, config))], config)


def image_tokens(width: int, height: int, config: MediaConfig = PUBLISHED) -> int:
    """Tokens of an upright picture of this size, without decoding it."""
    rows, columns = token_grid(*fit(width, height, config.in_patch_limit, config), config)
    return rows * columns


def image_item(patches: Patches) -> dict[str, Any]:
    """The picture as an item of `render(..., media=[...])`."""
    return {"type": "image", "tokens": patches.tokens}


def decode_image(file: BinaryIO) -> Image.Image:
    """The picture in RGB, upright (EXIF), over white where it is transparent; the first frame of an animation.

    What decoders run; load_image is for everyone else.
    """
    try:
        with Image.open(file, formats=FORMATS) as image:
            _check_pixels(*image.size)
            image.load()
            return _upright(_rgb(image), image)
    except MediaError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise MediaError(f"the picture has too many pixels; at most {MAX_PIXELS:,} are decoded") from None
    except Image.UnidentifiedImageError:
        raise MediaError(f"the picture is not {_WANTED}, whatever its name says") from None
    except MemoryError:
        raise
    # A decoder raises whatever a damaged file makes it raise, and its text may hold an address: it is not told on.
    except Exception:
        raise MediaError(f"the picture is damaged or ends too early; it must be {_WANTED} that is whole") from None


def _check_pixels(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise MediaError(f"the picture is {width} × {height} pixels; it must have at least one")
    if width > MAX_SIDE or height > MAX_SIDE:
        raise MediaError(f"the picture is {width:,} × {height:,} pixels; a side may have at most {MAX_SIDE:,}")
    if width * height > MAX_PIXELS:
        raise MediaError(f"the picture is {width:,} × {height:,} pixels; at most {MAX_PIXELS:,} are decoded")


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # 16-bit grey, where Pillow would cut off instead of scaling; 16-bit colours lose their low byte as well.
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _upright(image: Image.Image, opened: Image.Image) -> Image.Image:
    try:
        turn = _UPRIGHT.get(opened.getexif().get(_ORIENTATION, 1))
    except Exception:  # a damaged note on the picture does not spoil the picture
        turn = None
    return image if turn is None else image.transpose(turn)
