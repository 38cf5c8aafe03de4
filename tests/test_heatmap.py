"""Heat maps: readable with and without colour, and a picture that opens and shows what was counted."""

import io

import pytest
from PIL import Image
from rich.console import Console

from perilune.score.exact import TaskScore
from perilune.score.heatmap import CELL_H, CELL_W, COLOURS, Grid, colour, ink_on, picture, save, terminal


def grid(rows=10, columns=6):
    names = tuple(f"{10 * i}-{10 * i + 10} %" for i in range(rows))
    lengths = ("4K", "32K", "128K", "512K", "1M", "2M")[:columns]

    def score(i, j):
        return TaskScore(names[i], (i * 3 + j * 5) % 11, 10) if i + j else TaskScore(names[i], 0, 0)

    cells = tuple(tuple(score(i, j) for j in range(columns)) for i in range(rows))
    return Grid("nano: needles found in a long text", "depth", "length in tokens", names, lengths, cells)


def shown(colours):
    out = io.StringIO()
    Console(file=out, width=120, force_terminal=colours, color_system="truecolor" if colours else None).print(
        terminal(grid())
    )
    return out.getvalue()


def test_the_terminal_map_says_every_number_without_colour():
    lines = shown(False).splitlines()
    assert "\x1b" not in "".join(lines) and "4K" in lines[1] and "2M" in lines[1]
    for line, name, row in zip(lines[2:], grid().rows, grid().cells, strict=False):
        assert name in line
        assert [part for part in line.split(name)[1].split() if part.strip("░▒▓█")] == [
            f"{100 * score.share:.0f}" if score.total else "-" for score in row
        ]
    assert "█" in "".join(lines) and "░" in "".join(lines)


def test_colours_go_to_the_terminal_where_it_has_them():
    assert "48;2;" in shown(True)


def test_the_colour_map_runs_from_pale_to_deep():
    def light(share):
        red, green, blue = colour(share)
        return 0.299 * red + 0.587 * green + 0.114 * blue

    lights = [light(i / 50) for i in range(51)]
    assert lights == sorted(lights, reverse=True)
    assert colour(0) == (255, 255, 217) and bytes(colour(1)).hex() == COLOURS[-1]
    assert ink_on(colour(0)) < ink_on(colour(1))


@pytest.mark.parametrize("rows, columns", [(10, 6), (1, 1), (13, 2)])
def test_the_picture_opens_and_has_a_cell_for_each_count(tmp_path, rows, columns):
    path = tmp_path / "map.png"
    made = grid(rows, columns)
    save(made, path)
    with Image.open(path) as opened:
        opened.load()
        assert opened.format == "PNG" and opened.mode == "RGB"
        assert opened.width > columns * CELL_W and opened.height > rows * CELL_H
        colours = {found for _, found in opened.getcolors(1 << 20)}
    for row in made.cells:
        for score in row:
            assert not score.total or colour(score.share) in colours


def test_the_picture_has_margins_on_all_sides():
    image = picture(grid())
    for box in ((0, 0, image.width, 20), (0, 0, 20, image.height), (image.width - 20, 0, *image.size)):
        assert image.crop(box).getcolors() == [(image.crop(box).width * image.crop(box).height, (255, 255, 255))]
