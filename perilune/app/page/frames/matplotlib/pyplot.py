"""A small part of matplotlib.pyplot for the page's Python, which has neither matplotlib nor numpy: it draws SVG.

There are plot, scatter, bar, barh, hist and pie; title, xlabel, ylabel, legend, grid, xlim and ylim; figure, subplots
(one axes), gca, gcf, show, savefig (which shows: nothing is kept here) and close; and axes with the same, by the names
they have there. Axes are linear; values are numbers or words. Anything else raises an error that says what there is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import __main__

from .drawing import DASHES, MARKERS, draw

MOST_POINTS = 8_000  # of a figure: what a program shows is cut beyond 200,000 characters
MOST_BINS = 1_000
DPI = 100
CYCLE = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf")
NAMED = ("blue", "orange", "green", "red", "purple", "brown", "pink", "gray", "olive", "cyan")
TAB = {f"tab:{name}": color for name, color in zip(NAMED, CYCLE, strict=True)}
LETTERS = {"b": "blue", "g": "green", "r": "red", "c": "darkcyan", "m": "darkmagenta", "y": "olive", "k": "black"}
COLOR = re.compile(r"#[0-9a-fA-F]{3,8}|[a-zA-Z]{1,30}")
LINES = (*DASHES, "None", "")
SHORT = {"c": "color", "lw": "linewidth", "ls": "linestyle", "ms": "markersize"}
CORNERS = ("best", "upper right", "upper left", "lower right", "lower left")
CALLS = {name: name for name in ("plot", "scatter", "bar", "barh", "hist", "pie", "legend", "grid")}
CALLS |= {name: f"set_{name}" for name in ("title", "xlabel", "ylabel", "xlim", "ylim")}
FIGURES = ("figure", "subplots", "gca", "gcf", "show", "savefig", "tight_layout", "close")
__all__ = [*CALLS, *FIGURES]


def _options(call: str, given: dict[str, Any], **known: Any) -> dict[str, Any]:
    given = {SHORT.get(name, name): value for name, value in given.items()}
    for name in given:
        if name not in known:
            raise TypeError(f"{call}() has no {name} in this page's small pyplot; it takes {', '.join(known)}")
    return known | given


def _listed(values: Any) -> list[Any]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        return [values]
    return list(values)


def _numbers(values: Any, what: str) -> list[float]:
    try:
        return [float(value) for value in _listed(values)]
    except (TypeError, ValueError):
        raise TypeError(f"{what} must be numbers, got {str(values)[:60]!r}") from None


def _color(value: Any, fallback: str) -> str:
    if value is None:
        return fallback
    text = str(value)
    if text in TAB:
        return TAB[text]
    if re.fullmatch(r"C\d+", text):
        return CYCLE[int(text[1:]) % len(CYCLE)]
    if not COLOR.fullmatch(text):
        raise ValueError(f"a color is a name such as 'red' or 'tab:blue', '#rrggbb' or 'C0', got {str(value)[:60]!r}")
    return LETTERS.get(text, text)


def _format(text: str) -> dict[str, Any]:
    """ "r--o" is a red dashed line with dots, in any order."""
    line = next((one for one in ("--", "-.", "-", ":") if one in text), "")
    rest = text.replace(line, "", 1)
    color = next((one for one in rest if one in LETTERS), None)
    marker = rest.replace(color or "", "", 1)
    if marker and marker not in MARKERS:
        raise ValueError(
            f"a format is a color ({''.join(LETTERS)}), a line and a marker, as in 'r--o'; got {text[:60]!r}"
        )
    return {"color": color, "linestyle": line or ("" if marker else "-"), "marker": marker}


class Drawn:
    """One thing on the axes. `points` go with a line or markers; `boxes` are (left, bottom, right, top)."""

    def __init__(self, points: list[tuple[float, float]], boxes: list[tuple[float, ...]], **style: Any):
        self.points, self.boxes, self.style = points, boxes, style

    def __repr__(self) -> str:
        return f"<{self.style['call']} of {len(self.points) + len(self.boxes)}>"


class Axes:
    """What is drawn, in the order in which it was asked for."""

    def __init__(self) -> None:
        self.drawn: list[Drawn] = []
        self.slices: list[tuple[float, str, str, str]] = []  # share, colour, label, text inside
        self.names: dict[str, list[str]] = {"x": [], "y": []}
        self.limits: dict[str, tuple[float | None, float | None]] = {"x": (None, None), "y": (None, None)}
        self.texts = {"title": "", "xlabel": "", "ylabel": ""}
        self.corner, self.lines = "", False

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"this page's small pyplot has no {name} of axes; there are {', '.join(CALLS.values())}")

    def plot(self, *args: Any, **named: Any) -> list[Drawn]:
        """plot(y), plot(x, y) or plot(x, y, "r--o")"""
        args, fmt = (args[:-1], args[-1]) if len(args) > 1 and isinstance(args[-1], str) else (args, "")
        if not 1 <= len(args) <= 2:
            raise TypeError('plot() takes plot(y), plot(x, y) or plot(x, y, "r--o"), one line at a time')
        style = _options("plot", named, label="", linewidth=1.8, markersize=6, alpha=1, **_format(fmt))
        y = args[-1]
        x = args[0] if len(args) == 2 else range(len(_listed(y)))
        return [self._draw("plot", self._pairs("plot", x, y), [], style)]

    def scatter(self, x: Any, y: Any, **named: Any) -> Drawn:
        style = _options("scatter", named, label="", color=None, s=36, marker="o", alpha=1)
        style |= {"linestyle": "", "linewidth": 1.8, "markersize": math.sqrt(_numbers(style.pop("s"), "s")[0])}
        return self._draw("scatter", self._pairs("scatter", x, y), [], style)

    def bar(self, x: Any, height: Any, width: float = 0.8, **named: Any) -> Drawn:
        style = _options("bar", named, label="", color=None, alpha=1)
        pairs = self._pairs("bar", x, height)
        return self._draw("bar", [], [(x - width / 2, min(0, h), x + width / 2, max(0, h)) for x, h in pairs], style)

    def barh(self, y: Any, width: Any, height: float = 0.8, **named: Any) -> Drawn:
        style = _options("barh", named, label="", color=None, alpha=1)
        pairs = [(y, w) for w, y in self._pairs("barh", width, y)]
        return self._draw("barh", [], [(min(0, w), y - height / 2, max(0, w), y + height / 2) for y, w in pairs], style)

    def hist(self, values: Any, bins: Any = 10, **named: Any) -> tuple[list[int], list[float], Drawn]:
        """`bins` is how many, or their edges. Gives counts, edges and what was drawn."""
        style = _options("hist", named, label="", color=None, alpha=1)
        numbers = [value for value in _numbers(values, "values") if math.isfinite(value)]
        if isinstance(bins, int):
            if not numbers or not 1 <= bins <= MOST_BINS:
                raise ValueError(f"hist() needs values, and bins from 1 to {MOST_BINS}")
            low, high = min(numbers), max(numbers)
            low, high = (low, high) if low < high else (low - 0.5, high + 0.5)
            edges = [low + (high - low) * n / bins for n in range(bins + 1)]
        else:
            edges = _numbers(bins, "bins")
        counts = [sum(a <= value < b for value in numbers) for a, b in pairwise(edges)]
        if counts:
            counts[-1] += sum(value == edges[-1] for value in numbers)
        boxes = [(a, 0, b, count) for (a, b), count in zip(pairwise(edges), counts, strict=True)]
        return counts, edges, self._draw("hist", [], boxes, style)

    def pie(self, x: Any, **named: Any) -> None:
        style = _options("pie", named, labels=None, colors=None, autopct=None)
        values = _numbers(x, "x")
        total = sum(values)
        if not total > 0 or min(values) < 0 or len(values) > MOST_POINTS:
            raise ValueError("pie() needs numbers of 0 and more, not all of them 0")
        labels, colors = style["labels"] or [""] * len(values), style["colors"] or CYCLE
        for n, value in enumerate(values):
            inside = style["autopct"] % (100 * value / total) if style["autopct"] else ""
            self.slices.append((value / total, _color(colors[n % len(colors)], CYCLE[0]), str(labels[n]), inside))

    def set_title(self, text: Any) -> None:
        self.texts["title"] = str(text)

    def set_xlabel(self, text: Any) -> None:
        self.texts["xlabel"] = str(text)

    def set_ylabel(self, text: Any) -> None:
        self.texts["ylabel"] = str(text)

    def set_xlim(self, left: Any = None, right: Any = None) -> None:
        self._limit("x", left, right)

    def set_ylim(self, bottom: Any = None, top: Any = None) -> None:
        self._limit("y", bottom, top)

    def grid(self, visible: bool = True) -> None:
        self.lines = bool(visible)

    def legend(self, labels: Iterable[Any] = (), **named: Any) -> None:
        """Shows what has a label; `labels` are given to what was drawn, in turn."""
        for one, label in zip(self.drawn, labels, strict=False):
            one.style["label"] = str(label)
        self.corner = _options("legend", named, loc="best")["loc"]
        if self.corner not in CORNERS:
            raise ValueError(f"loc must be one of {', '.join(CORNERS)}, got {str(self.corner)[:60]!r}")

    def _limit(self, axis: str, low: Any, high: Any) -> None:
        low, high = low if isinstance(low, tuple | list) else (low, high)
        if low is not None and high is not None and not low < high:
            raise ValueError(f"{axis}lim must rise, got {low} to {high}")
        self.limits[axis] = (low, high)

    def _pairs(self, call: str, x: Any, y: Any) -> list[tuple[float, float]]:
        xs, ys = self._values("x", x), self._values("y", y)
        if len(ys) == 1 < len(xs) and call in ("bar", "barh"):
            ys *= len(xs)
        if len(xs) != len(ys):
            raise ValueError(f"{call}() needs as many x as y, got {len(xs)} and {len(ys)}")
        return list(zip(xs, ys, strict=True))

    def _values(self, axis: str, values: Any) -> list[float]:
        """Numbers as they are; words become 0, 1, 2 …, and stand at the axis."""
        listed = [values] if isinstance(values, str) else _listed(values)
        if not listed or not all(isinstance(value, str) for value in listed):
            return _numbers(listed, axis)
        names = self.names[axis]
        names += [name for name in dict.fromkeys(listed) if name not in names]
        return [float(names.index(name)) for name in listed]

    def _draw(self, call: str, points: list[tuple[float, float]], boxes: list[Any], style: dict[str, Any]) -> Drawn:
        before = sum(len(one.points) + len(one.boxes) for one in self.drawn)
        if before + len(points) + len(boxes) > MOST_POINTS:
            raise ValueError(f"a figure may have {MOST_POINTS:,} points here; draw every second or tenth of them")
        if style.get("linestyle", "-") not in LINES or (style.get("marker") or "o") not in MARKERS:
            raise ValueError(f"linestyle is one of {', '.join(DASHES)} and None, marker one of {', '.join(MARKERS)}")
        own = CYCLE[sum(one.style["call"] == call for one in self.drawn) % len(CYCLE)]
        colors = style["color"] if isinstance(style["color"], list | tuple) else [style["color"]]
        self.drawn.append(Drawn(points, boxes, **style, call=call, colors=[_color(one, own) for one in colors]))
        return self.drawn[-1]


class Figure:
    """A drawing of one axes."""

    def __init__(self, figsize: Sequence[float] = (6.4, 4.8)):
        width, height = _numbers(figsize, "figsize")
        if not (1 <= width <= 30 and 1 <= height <= 30):
            raise ValueError(f"figsize must be from 1 to 30 inches, got {width:g} x {height:g}")
        self.size, self.axes, self.shown = (width * DPI, height * DPI), Axes(), False

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"this page's small pyplot has no {name} of figures; use those of its axes")

    def tight_layout(self) -> None:
        """It is."""

    def savefig(self, name: Any, **named: Any) -> None:
        """Shows the figure: nothing is kept here."""
        self.shown = True
        __main__.display(self)  # of the page's worker

    def show(self) -> None:
        if not self.shown and (self.axes.drawn or self.axes.slices):
            self.savefig("")

    def _repr_svg_(self) -> str:
        return draw(self.axes, *self.size)


_current: list[Figure] = []


def figure(num: Any = None, figsize: Sequence[float] = (6.4, 4.8), **named: Any) -> Figure:
    """A new figure; the one before is shown."""
    _options("figure", named, dpi=None, tight_layout=None, layout=None)
    made = Figure(figsize)
    show()
    _current.append(made)
    return made


def gcf() -> Figure:
    return _current[-1] if _current else figure()


def gca() -> Axes:
    return gcf().axes


def subplots(nrows: int = 1, ncols: int = 1, **named: Any) -> tuple[Figure, Axes]:
    if (nrows, ncols) != (1, 1):
        raise ValueError("subplots() has one axes in this page's small pyplot; make a figure() for each drawing")
    made = figure(**named)
    return made, made.axes


def show(**named: Any) -> None:
    """Shows the figure and begins anew."""
    while _current:
        _current.pop().show()


def savefig(name: Any, **named: Any) -> None:
    gcf().savefig(name)


def tight_layout() -> None:
    """It is."""


def close(which: Any = None) -> None:
    """Lets go of what was not shown."""
    _current.clear()


def __getattr__(name: str) -> Any:
    """plot(…) is gca().plot(…), and so on."""
    if name in CALLS:
        return lambda *args, **named: getattr(gca(), CALLS[name])(*args, **named)
    raise AttributeError(f"this page's small pyplot has no {name}; there are {', '.join(__all__)}")
