"""Axes as SVG: frame, ticks, lines, markers, boxes, slices and legend. Labels become text, never markup."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

LEFT, TOP, RIGHT, BOTTOM = 70, 40, 20, 56  # pixels around the axes
LETTER_PX = 7  # about the width of a letter
LINE_PX = 18
TICKS = 6
PAD = 0.05  # of the range of values, beside them
DASHES = {"-": "", "--": "6 3", ":": "1.5 3", "-.": "6 3 1.5 3"}
MARKERS = ("o", ".", "s", "x", "+", "^")
INK, PALE = "#222", "#ddd"

Element = ElementTree.Element


def draw(axes: Any, width: float, height: float) -> str:
    root = Element("svg", xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {width:g} {height:g}")
    root.attrib |= {"width": f"{width:g}", "height": f"{height:g}", "font-family": "sans-serif", "font-size": "12"}
    _add(root, "rect", width="100%", height="100%", fill="white")
    if axes.texts["title"]:
        _text(root, width / 2, TOP * 0.6, axes.texts["title"], size=15)
    if axes.slices:
        _pie(root, axes, width, height)
    else:
        _Frame(axes, width, height).draw(root)
    return ElementTree.tostring(root, encoding="unicode")


def _add(parent: Element, tag: str, **told: Any) -> Element:
    given = {
        name.replace("_", "-"): f"{value:.5g}" if isinstance(value, float) else str(value)
        for name, value in told.items()
    }
    return ElementTree.SubElement(parent, tag, given)


def _text(
    parent: Element, x: float, y: float, text: str, anchor: str = "middle", turn: float = 0, size: int = 12
) -> None:
    place = {"transform": f"rotate({turn:g} {x:.1f} {y:.1f})"} if turn else {}
    _add(parent, "text", x=x, y=y, text_anchor=anchor, font_size=size, fill=INK, **place).text = text


class _Frame:
    """Where values stand in pixels."""

    def __init__(self, axes: Any, width: float, height: float):
        self.axes, self.right, self.top = axes, width - RIGHT, TOP
        self.x, self.y = self._range("x"), self._range("y")
        names = axes.names["x"]
        longest = LETTER_PX * max((len(name) for name in names), default=0)
        self.turned = bool(names) and longest > (width - LEFT - RIGHT) / len(names)
        self.left = LEFT + min(120, max(0, LETTER_PX * max((len(name) for name in axes.names["y"]), default=0) - 40))
        self.bottom = height - BOTTOM - (min(110, longest * 0.7) if self.turned else 0)

    def _range(self, axis: str) -> tuple[float, float]:
        """Limits that were set, or those of the values and some room; boxes stand on their line."""
        side = 0 if axis == "x" else 1
        points = [point[side] for one in self.axes.drawn for point in one.points]
        boxes = [box[side + end] for one in self.axes.drawn for box in one.boxes for end in (0, 2)]
        values = [value for value in points + boxes if math.isfinite(value)] or [0.0, 1.0]
        low, high = min(values), max(values)
        pad = PAD * (high - low) or 0.5
        stand = [one for one in self.axes.drawn if one.boxes and (one.style["call"] == "barh") == (axis == "x")]
        given = self.axes.limits[axis]
        low = given[0] if given[0] is not None else low - (0 if stand and low == 0 else pad)
        high = given[1] if given[1] is not None else high + (0 if stand and high == 0 else pad)
        return (low, high) if low < high else (low - 0.5, low + 0.5)

    def at(self, x: float, y: float) -> tuple[float, float]:
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return self.left + across * (self.right - self.left), self.bottom - up * (self.bottom - self.top)

    def draw(self, root: Element) -> None:
        box = {"x": self.left, "y": self.top, "width": self.right - self.left, "height": self.bottom - self.top}
        self._ticks(root)
        _add(_add(_add(root, "defs"), "clipPath", id="inside"), "rect", **box)
        inside = _add(root, "g", clip_path="url(#inside)")
        for one in self.axes.drawn:
            self._boxes(inside, one)
            self._points(inside, one)
        _add(root, "rect", fill="none", stroke=INK, **box)
        middle = (self.left + self.right) / 2
        _text(root, middle, self.bottom + BOTTOM * 0.75 + (40 if self.turned else 0), self.axes.texts["xlabel"])
        _text(root, 18, (self.top + self.bottom) / 2, self.axes.texts["ylabel"], turn=-90)
        if self.axes.corner:
            self._legend(root)

    def _ticks(self, root: Element) -> None:
        for axis, (low, high) in (("x", self.x), ("y", self.y)):
            names = self.axes.names[axis]
            places = [float(n) for n in range(len(names)) if low <= n <= high] if names else _round_numbers(low, high)
            for place in places:
                x, y = self.at(place, self.y[0]) if axis == "x" else self.at(self.x[0], place)
                name = names[int(place)] if names else f"{place:.6g}"
                end = {"x2": x, "y2": self.top} if axis == "x" else {"x2": self.right, "y2": y}
                if self.axes.lines:
                    _add(root, "line", x1=x, y1=y, stroke=PALE, **end)
                tick = {"x2": x, "y2": y + 4} if axis == "x" else {"x2": x - 4, "y2": y}
                _add(root, "line", x1=x, y1=y, stroke=INK, **tick)
                if axis == "y":
                    _text(root, x - 7, y + 4, name, "end")
                else:
                    _text(root, x, y + 17, name, "end" if self.turned else "middle", -40 if self.turned else 0)

    def _boxes(self, parent: Element, one: Any) -> None:
        for n, (left, low, right, high) in enumerate(one.boxes):
            (x, y), (far, bottom) = self.at(left, high), self.at(right, low)
            color = one.style["colors"][n % len(one.style["colors"])]
            edge = {"stroke": "white", "stroke_width": 0.5} if one.style["call"] == "hist" else {}
            size = {"width": max(0.0, far - x), "height": max(0.0, bottom - y)}
            _add(parent, "rect", x=x, y=y, **size, fill=color, fill_opacity=one.style["alpha"], **edge)

    def _points(self, parent: Element, one: Any) -> None:
        """A path for the line, which a value that is no number breaks, and one for all markers."""
        style, places = one.style, [self.at(*point) if all(map(math.isfinite, point)) else None for point in one.points]
        told = {"stroke": style["colors"][0], "stroke_opacity": style["alpha"], "fill": "none"}
        if places and style["linestyle"] in DASHES:
            steps = [
                f"{'L' if before else 'M'}{place[0]:.1f},{place[1]:.1f}"
                for before, place in pairwise([None, *places])
                if place
            ]
            dash = DASHES[style["linestyle"]]
            dashed = {"stroke_dasharray": dash} if dash else {}
            line = {"stroke_width": style["linewidth"], "stroke_linejoin": "round", **dashed}
            _add(parent, "path", d="".join(steps), **told, **line)
        if places and style["marker"]:
            size = round(float(style["markersize"]) * (0.5 if style["marker"] == "." else 1), 1)
            shape, thick = _shape(style["marker"], size)
            path = "".join(f"M{place[0]:.1f},{place[1]:.1f}{shape}" for place in places if place)
            cap = "square" if style["marker"] == "s" else "round"
            _add(parent, "path", d=path, stroke_width=thick, stroke_linecap=cap, **told)

    def _legend(self, root: Element) -> None:
        shown = [one for one in self.axes.drawn if one.style["label"]]
        if not shown:
            return
        width = 40.0 + LETTER_PX * max(len(str(one.style["label"])) for one in shown)
        height = 8.0 + LINE_PX * len(shown)
        x = self.left + 8 if "left" in self.axes.corner else self.right - width - 8
        y = self.bottom - height - 8 if "lower" in self.axes.corner else self.top + 8.0
        _add(root, "rect", x=x, y=y, width=width, height=height, fill="white", fill_opacity=0.85, stroke=PALE, rx=3)
        for n, one in enumerate(shown):
            middle = y + 4 + LINE_PX * (n + 0.5)
            color, thick = one.style["colors"][0], 10 if one.boxes else 3
            _add(root, "line", x1=x + 8, x2=x + 28, y1=middle, y2=middle, stroke=color, stroke_width=thick)
            _text(root, x + 34, middle + 4, str(one.style["label"]), "start")


def _round_numbers(low: float, high: float) -> list[float]:
    """With steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * by for by in (1, 2, 5, 10) if power * by >= rough * 0.999)
    return [step * n for n in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _shape(marker: str, size: float) -> tuple[str, float]:
    """A path from a point, and how thick it is drawn."""
    half = size / 2
    return {
        "x": (f"m{-half:g},{-half:g}l{size:g},{size:g}m0,{-size:g}l{-size:g},{size:g}", 1.5),
        "+": (f"m{-half:g},0h{size:g}m{-half:g},{-half:g}v{size:g}", 1.5),
        "^": (f"m0,{-half:g}l{half:g},{size:g}h{-size:g}z", 1.5),
    }.get(marker, ("h0", size))


def _pie(root: Element, axes: Any, width: float, height: float) -> None:
    """From three o'clock against the clock."""
    x, y, radius, turn = width / 2, height / 2 + TOP / 4, min(width, height) * 0.36, 0.0
    for share, color, label, inside in axes.slices:
        begin, middle, end = (2 * math.pi * (turn + share * part) for part in (0, 0.5, 1))
        turn += share

        def place(angle: float, far: float = 1) -> tuple[float, float]:
            return x + far * radius * math.cos(angle), y - far * radius * math.sin(angle)

        if share > 0.9999:
            _add(root, "circle", cx=x, cy=y, r=radius, fill=color)
        else:
            (ax, ay), (bx, by) = place(begin), place(end)
            arc = f"A{radius:.1f},{radius:.1f} 0 {int(share > 0.5)} 0 {bx:.1f},{by:.1f}"
            _add(root, "path", d=f"M{x:.1f},{y:.1f}L{ax:.1f},{ay:.1f}{arc}z", fill=color, stroke="white")
        _text(root, *place(middle, 1.12), label, "start" if math.cos(middle) >= 0 else "end")
        _text(root, *place(middle, 0.6), inside)
