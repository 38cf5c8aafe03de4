"""The page's small pyplot, outside of a browser: what it draws, what it refuses, and that labels are never markup."""

import math
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from xml.etree import ElementTree

import pytest

import perilune

FOLDER = Path(perilune.__file__).parent / "app" / "page" / "frames" / "matplotlib"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def plt(monkeypatch):
    """A module of its own, in a package of another name: the real matplotlib may be installed."""
    spec = spec_from_file_location("small_plots", FOLDER / "__init__.py", submodule_search_locations=[str(FOLDER)])
    monkeypatch.setitem(sys.modules, "small_plots", module_from_spec(spec))
    for name in ("small_plots.pyplot", "small_plots.drawing"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    from small_plots import pyplot

    shown = []
    monkeypatch.setattr(sys.modules["__main__"], "display", lambda figure: shown.append(drawn(figure)), raising=False)
    pyplot.test_shown = shown
    yield pyplot
    for name in ("small_plots.pyplot", "small_plots.drawing"):
        sys.modules.pop(name, None)


def drawn(figure):
    return ElementTree.fromstring(figure._repr_svg_())


def words(root):
    return [one.text for one in root.iter(f"{SVG}text")]


def inside(root, tag):
    return list(root.find(f"{SVG}g").iter(SVG + tag))


def test_a_line_goes_through_its_points_and_breaks_where_there_is_no_number(plt):
    plt.plot([0, 1, 2, 3, 4], [0, 1, math.nan, 1, 2], "g--o")
    plt.xlim(0, 4)
    plt.ylim(0, 2)
    line, dots = inside(drawn(plt.gcf()), "path")
    assert line.get("d") == "M70.0,424.0L207.5,232.0M482.5,232.0L620.0,40.0"
    assert line.get("stroke") == "green" and line.get("stroke-dasharray") == "6 3"
    assert dots.get("d").count("M") == 4 and dots.get("stroke-width") == "6"


def test_bars_stand_on_zero_and_words_at_the_axis(plt):
    plt.bar(["one", "two"], [1, -2], color=["r", "C1"])
    up, down = inside(root := drawn(plt.gcf()), "rect")
    assert float(up.get("y")) + float(up.get("height")) == pytest.approx(float(down.get("y")), abs=0.05)
    assert float(down.get("height")) == pytest.approx(2 * float(up.get("height")), rel=1e-3)
    assert (up.get("fill"), down.get("fill")) == ("red", "#ff7f0e") and {"one", "two"} <= set(words(root))


def test_a_histogram_counts_every_value_once(plt):
    counts, edges, _ = plt.hist([0, 1, 1, 2, 10], bins=5)
    assert counts == [3, 1, 0, 0, 1] and edges == [0, 2, 4, 6, 8, 10]
    assert plt.hist([1, 2, 3, 9], bins=[1, 2, 3])[0] == [1, 2]
    assert plt.hist([4, 4], bins=2)[0] == [0, 2]


def test_slices_have_their_share_and_their_labels(plt):
    plt.pie([3, 1], labels=["a", "b"], autopct="%.0f%%")
    root = drawn(plt.gcf())
    assert len(list(root.iter(f"{SVG}path"))) == 2 and {"75%", "25%", "a", "b"} <= set(words(root))


def test_every_figure_is_shown_once_in_turn(plt):
    _, axes = plt.subplots(figsize=(3, 2))
    axes.barh(["a"], [1])
    axes.set_title("first")
    plt.figure()
    plt.scatter([1], [2])
    plt.title("second")
    plt.legend(["dots"], loc="lower left")
    plt.savefig("a.png")
    plt.show()
    plt.show()
    assert [words(root)[0] for root in plt.test_shown] == ["first", "second"]
    assert "dots" in words(plt.test_shown[1]) and plt.test_shown[0].get("width") == "300"


@pytest.mark.parametrize("place", ["title", "xlabel", "ylabel", "label", "names"])
def test_labels_are_never_markup(plt, place):
    label = "</text><script>alert(1)</script>"
    plt.bar([label] if place == "names" else [1], [1], label=label if place == "label" else "")
    plt.legend()
    if place in ("title", "xlabel", "ylabel"):
        getattr(plt, place)(label)
    root = drawn(plt.gcf())
    assert label in words(root) and not list(root.iter(f"{SVG}script"))


@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        (lambda plt: plt.semilogy([1]), AttributeError, "has no semilogy; there are plot, scatter"),
        (lambda plt: plt.gca().twinx(), AttributeError, "has no twinx of axes; there are plot"),
        (lambda plt: plt.gcf().add_subplot(111), AttributeError, "use those of its axes"),
        (lambda plt: plt.plot([1], zorder=3), TypeError, "has no zorder .* takes label"),
        (lambda plt: plt.subplots(2, 2), ValueError, "one axes"),
        (lambda plt: plt.plot([1, 2], [1]), ValueError, "as many x as y, got 2 and 1"),
        (lambda plt: plt.plot([1], "q"), ValueError, "a format is a color"),
        (lambda plt: plt.plot([1], color="url(x)"), ValueError, "a color is a name"),
        (lambda plt: plt.plot([1], marker="*"), ValueError, "marker one of o"),
        (lambda plt: plt.plot(range(8001)), ValueError, "8,000 points"),
        (lambda plt: plt.hist(["a"]), TypeError, "must be numbers"),
        (lambda plt: plt.hist([1], bins=10**9), ValueError, "bins from 1 to 1000"),
        (lambda plt: plt.pie([-1, 2]), ValueError, "0 and more"),
        (lambda plt: plt.xlim(2, 1), ValueError, "must rise"),
        (lambda plt: plt.figure(figsize=(1e9, 1)), ValueError, "1 to 30 inches"),
        (lambda plt: plt.legend(loc="outside"), ValueError, "loc must be one of"),
    ],
)
def test_what_is_not_there_says_what_is(plt, call, error, told):
    with pytest.raises(error, match=told):
        call(plt)
