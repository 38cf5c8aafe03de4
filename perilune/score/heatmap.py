"""Accuracy as a heat map: coloured blocks in the terminal, and a picture."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from rich.console import Group
from rich.text import Text

from perilune.score.exact import TaskScore

# YlGnBu of ColorBrewer (Cynthia Brewer, Apache-2.0) without its darkest steps: pale is none, deep blue is all.
COLOURS = ("ffffd9", "edf8b1", "c7e9b4", "7fcdbb", "41b6c4", "1d91c0", "225ea8", "253494")
SHADES = " ░▒▓█"  # the same without colour
INK, FAINT, PAPER = (34, 40, 49), (110, 118, 129), (255, 255, 255)
EMPTY = (235, 237, 240)
# In pixels; everything is drawn large enough for a page.
CELL_W, CELL_H, GAP, EDGE = 132, 64, 4, 48
TITLE_SIZE, LABEL_SIZE, CELL_SIZE = 34, 26, 28
BAR_W, BAR_STEPS = 28, 64


@dataclass(frozen=True)
class Grid:
    """Counts by row and column. A cell that nothing was asked in stays empty."""

    title: str
    row_title: str
    column_title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[TaskScore, ...], ...]


def colour(share: float) -> tuple[int, int, int]:
    """Linear between the steps of the colour map."""
    place = min(max(share, 0.0), 1.0) * (len(COLOURS) - 1)
    low = min(int(place), len(COLOURS) - 2)
    pairs = (tuple(int(COLOURS[i][j : j + 2], 16) for j in (0, 2, 4)) for i in (low, low + 1))
    red, green, blue = (round(a + (b - a) * (place - low)) for a, b in zip(*pairs, strict=True))
    return red, green, blue


def ink_on(background: tuple[int, int, int]) -> tuple[int, int, int]:
    """Dark on light and light on dark, by the eye's weights of red, green and blue."""
    red, green, blue = background
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else PAPER


def terminal(grid: Grid) -> Group:
    """Each cell says its percentage; a block before it keeps the map readable where there is no colour."""
    widest = max(len(name) for name in (*grid.rows, grid.row_title))
    lines = [Text(grid.title, style="bold")]
    lines.append(Text.assemble((grid.row_title.ljust(widest), "dim"), *(f"{name:>7} " for name in grid.columns)))
    for name, row in zip(grid.rows, grid.cells, strict=True):
        line = Text(name.rjust(widest))
        for score in row:
            line.append_text(_cell(score))
        lines.append(line)
    lines.append(Text(f"{'':{widest}} {grid.column_title}; each cell: percent right", style="dim"))
    return Group(*lines)


def _cell(score: TaskScore) -> Text:
    if not score.total:
        return Text("      - ")
    shade = SHADES[min(len(SHADES) - 1, int(score.share * (len(SHADES) - 1) + 0.5))]
    back, (red, green, blue) = colour(score.share), ink_on(colour(score.share))
    style = f"rgb({red},{green},{blue}) on rgb({back[0]},{back[1]},{back[2]})"
    return Text(f" {shade * 2}{100 * score.share:4.0f} ", style=style)


def picture(grid: Grid) -> Image.Image:
    """The same as a picture: labelled axes, percentages in the cells, a scale beside them."""
    title, label, inside = (ImageFont.load_default(size) for size in (TITLE_SIZE, LABEL_SIZE, CELL_SIZE))
    left = EDGE + LABEL_SIZE + 24 + round(max(label.getlength(name) for name in grid.rows)) + 16
    top = EDGE + TITLE_SIZE + 36
    width, height = len(grid.columns) * CELL_W, len(grid.rows) * CELL_H
    below = 16 + LABEL_SIZE + 18 + LABEL_SIZE + EDGE
    across = max(left + width + 40 + BAR_W + 90 + EDGE, round(title.getlength(grid.title)) + 2 * EDGE)
    image = Image.new("RGB", (across, top + height + below), PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((EDGE, EDGE), grid.title, INK, title)
    for i, name in enumerate(grid.columns):
        draw.text((left + (i + 0.5) * CELL_W, top + height + 16), name, INK, label, anchor="ma")
    draw.text((left + width / 2, top + height + 16 + LABEL_SIZE + 18), grid.column_title, FAINT, label, anchor="ma")
    for j, (name, row) in enumerate(zip(grid.rows, grid.cells, strict=True)):
        draw.text((left - 16, top + (j + 0.5) * CELL_H), name, INK, label, anchor="rm")
        for i, score in enumerate(row):
            _draw_cell(draw, left + i * CELL_W, top + j * CELL_H, score, inside)
    _upright(image, grid.row_title, EDGE, top + height // 2, label)
    _scale(draw, left + width + 40, top, height, label)
    return image


def save(grid: Grid, path: Path) -> None:
    picture(grid).save(path, format="PNG", optimize=True)


def _draw_cell(
    draw: ImageDraw.ImageDraw,
    x: int,
    y: int,
    score: TaskScore,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    fill = colour(score.share) if score.total else EMPTY
    draw.rounded_rectangle((x, y, x + CELL_W - GAP, y + CELL_H - GAP), radius=6, fill=fill)
    said = f"{100 * score.share:.0f}" if score.total else "-"
    draw.text((x + (CELL_W - GAP) / 2, y + (CELL_H - GAP) / 2), said, ink_on(fill), font, anchor="mm")


def _upright(
    image: Image.Image, text: str, x: int, middle: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> None:
    """Text that runs upwards, its left edge at x."""
    left, top, right, bottom = font.getbbox(text)
    strip = Image.new("RGB", (round(right - left) + 4, round(bottom - top) + 8), PAPER)
    ImageDraw.Draw(strip).text((2 - left, 4 - top), text, FAINT, font)
    turned = strip.rotate(90, expand=True)
    image.paste(turned, (x, max(0, middle - turned.height // 2)))


def _scale(
    draw: ImageDraw.ImageDraw, x: int, top: int, height: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> None:
    step = (height - GAP) / BAR_STEPS
    for i in range(BAR_STEPS):
        y = top + i * step
        draw.rectangle((x, y, x + BAR_W, y + step), fill=colour(1 - (i + 0.5) / BAR_STEPS))
    for share in (0.0, 0.5, 1.0):
        draw.text((x + BAR_W + 12, top + (1 - share) * (height - GAP)), f"{share:.0%}", FAINT, font, anchor="lm")
