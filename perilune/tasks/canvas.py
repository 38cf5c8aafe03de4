"""What drawn pictures are made of: grounds, colours, shapes, fonts, and pictures pasted on pictures."""

import math
import random
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from perilune.tasks.task import chance, pick

RGB = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

SIZE = 112
COLOURS: dict[str, RGB] = {
    "red": (220, 35, 35),
    "green": (30, 160, 60),
    "blue": (40, 80, 220),
    "yellow": (245, 210, 30),
    "orange": (250, 135, 20),
    "purple": (140, 50, 180),
    "pink": (250, 130, 180),
    "brown": (125, 75, 35),
    "black": (20, 20, 20),
    "grey": (140, 140, 140),
}
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "diamond")
# Pillow brings the first; the others are used where the system has them.
_FONT_FILES = (
    "DejaVuSans.ttf",
    "DejaVuSans-Bold.ttf",
    "DejaVuSerif.ttf",
    "DejaVuSansMono.ttf",
    "DejaVuSerif-Italic.ttf",
    "LiberationSans-Regular.ttf",
    "LiberationSerif-Regular.ttf",
)


def shade(rng: random.Random, colour: str, spread: int = 14) -> RGB:
    """A named colour, each time a little different."""
    red, green, blue = (min(255, max(0, c + rng.randint(-spread, spread))) for c in COLOURS[colour])
    return red, green, blue


def ground(rng: random.Random) -> RGB:
    """White, or a pale tint that no drawn colour comes near."""
    if chance(rng, 0.5):
        return 255, 255, 255
    return rng.randint(225, 255), rng.randint(225, 255), rng.randint(225, 255)


def blank(rng: random.Random, width: int = SIZE, height: int = SIZE) -> Image.Image:
    return Image.new("RGB", (width, height), ground(rng))


def pixels(image: Image.Image) -> np.ndarray:
    return np.array(image.convert("RGB"))


def draw_shape(image: Image.Image, shape: str, x: float, y: float, radius: float, fill: RGB, turn: float = 0) -> None:
    """A shape centred at (x, y) within `radius`; `turn` in degrees, clockwise."""
    pen = ImageDraw.Draw(image)
    box = (x - radius, y - radius, x + radius, y + radius)
    if shape == "circle":
        pen.ellipse(box, fill=fill)
    elif shape == "ring":
        pen.ellipse(box, outline=fill, width=max(2, round(radius * 0.38)))
    else:
        pen.polygon(outline(shape, x, y, radius, turn), fill=fill)


def outline(shape: str, x: float, y: float, radius: float, turn: float = 0) -> list[tuple[float, float]]:
    """The corners of a shape with straight sides; angles run clockwise from the top."""
    if shape == "star":
        polar = [(36 * i, 1.0 if i % 2 == 0 else 0.42) for i in range(10)]
    elif shape == "cross":
        inner, outer = math.degrees(math.atan(1 / 3)), math.hypot(1, 1 / 3) * 0.95
        corners = [(-inner, outer), (inner, outer), (45, math.sqrt(2) / 3 * 0.95)]
        polar = [(angle + 90 * i, far) for i in range(4) for angle, far in corners]
    elif shape == "triangle":
        polar = [(120 * i, 1.0) for i in range(3)]
    else:
        polar = [(90 * i + (45 if shape == "square" else 0), 1.0) for i in range(4)]
    return [
        (
            x + radius * far * math.sin(math.radians(angle + turn)),
            y - radius * far * math.cos(math.radians(angle + turn)),
        )
        for angle, far in polar
    ]


@lru_cache(maxsize=512)
def _font(file: str | None, size: int) -> Font | None:
    if file is None:
        return ImageFont.load_default(size)
    try:
        return ImageFont.truetype(file, size)
    except OSError:
        return None


@lru_cache
def _font_files() -> tuple[str | None, ...]:
    return (None, *(file for file in _FONT_FILES if _font(file, 16) is not None))


def font(rng: random.Random, size: int) -> Font:
    """One of the fonts at hand; with the same fonts installed the same one for the same draw."""
    found = _font(pick(rng, _font_files()), size)
    return found if found is not None else ImageFont.load_default(size)


def text_size(text: str, with_font: Font) -> tuple[int, int]:
    left, top, right, bottom = with_font.getbbox(text)
    return math.ceil(right - left), math.ceil(bottom - top)


def write_centred(image: Image.Image, text: str, x: float, y: float, with_font: Font, fill: RGB) -> None:
    ImageDraw.Draw(image).text((x, y), text, font=with_font, fill=fill, anchor="mm" if _scales(with_font) else None)


def _scales(with_font: Font) -> bool:
    return isinstance(with_font, ImageFont.FreeTypeFont)


def fitting(rng: random.Random, text: str, width: int, largest: int, smallest: int = 10) -> Font:
    """A font in which `text` is at most `width` wide, no larger than `largest`."""
    state = rng.getstate()
    for size in range(largest, smallest, -2):
        rng.setstate(state)
        candidate = font(rng, size)
        if text_size(text, candidate)[0] <= width:
            return candidate
    rng.setstate(state)
    return font(rng, smallest)


def stamp(image: Image.Image, picture_HWC: np.ndarray, x: float, y: float, size: int) -> None:
    """A picture (RGB, or RGBA with its alpha) pasted centred at (x, y), its longer side `size`."""
    picture = Image.fromarray(picture_HWC)
    scale = size / max(picture.size)
    picture = picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))))
    corner = (round(x - picture.width / 2), round(y - picture.height / 2))
    image.paste(picture, corner, picture if picture.mode == "RGBA" else None)


def enlarged(image_HWC: np.ndarray, size: int) -> np.ndarray:
    """A small picture at `size` pixels, its edges smooth."""
    return np.asarray(Image.fromarray(image_HWC).resize((size, size), Image.Resampling.BICUBIC))
