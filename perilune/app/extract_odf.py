"""OpenDocument files → lines, as those of Microsoft's forms: paragraphs of an .odt, rows of an .ods, slides of an .odp.

All text lies in one part, content.xml, which is read here with the parser of the other forms' libraries (lxml), without
entities. Libraries for these files write out every row that is said to be repeated, be it a billion times.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from itertools import chain, repeat
from typing import Any, BinaryIO

from perilune.app.extract_office import MOST_COLUMNS, MOST_ROWS, MOST_SHEETS, MOST_SLIDES, check_count, marked, one_line
from perilune.errors import DocumentError

MOST_CONTENT = 128 << 20  # bytes of content.xml; a tree takes some ten times as much
MOST_SPACES = 1000  # that stand for one sign of several
MOST_MANIFEST = 1 << 20

OFFICE, TEXT, TABLE, DRAWN, SHOWN = (
    f"{{urn:oasis:names:tc:opendocument:xmlns:{space}:1.0}}"
    for space in ("office", "text", "table", "drawing", "presentation")
)
NOTES = SHOWN + "notes"
PARAGRAPHS = {TEXT + "p", TEXT + "h"}
CELLS = {TABLE + "table-cell", TABLE + "covered-table-cell"}  # the second lies below a merged one
# Comments, and what tracked changes have deleted, are no part of what a document says.
SILENT = {OFFICE + "annotation", OFFICE + "forms", TEXT + "tracked-changes", TEXT + "ruby-text"}
_BLANKS = re.compile(r"[ \t\r\n]+")  # of any length are one in XML; text:s and text:tab stand for others


def odt_lines(file: BinaryIO) -> Iterator[str]:
    """Paragraphs and rows of tables in their order; footnotes and text boxes follow the paragraph they hang on."""
    yield from _blocks(_body(file, "text"))


def ods_lines(file: BinaryIO) -> Iterator[str]:
    """Rows below the mark of their sheet: row 7 is the seventh line there."""
    sheets = _body(file, "spreadsheet").findall(TABLE + "table")
    check_count(sheets, MOST_SHEETS, "sheets")
    for sheet in sheets:
        yield from marked(f"sheet {one_line(sheet.get(TABLE + 'name', ''))}", _rows(sheet))


def odp_lines(file: BinaryIO) -> Iterator[str]:
    """Slides below the mark with their number: the texts of all shapes, then the notes."""
    slides = _body(file, "presentation").findall(DRAWN + "page")
    check_count(slides, MOST_SLIDES, "slides")
    for number, slide in enumerate(slides, 1):
        notes = chain.from_iterable(map(_blocks, slide.findall(NOTES)))
        yield from marked(f"slide {number}", chain(filter(str.strip, _blocks(slide)), marked("notes", notes)))


def _body(file: BinaryIO, kind: str) -> Any:
    """The element that holds all text of a document."""
    from lxml import etree

    with zipfile.ZipFile(file) as package:
        if b"encryption-data" in _part(package, "META-INF/manifest.xml", MOST_MANIFEST):
            raise DocumentError("it is locked with a password; unlock it first")
        content = _part(package, "content.xml", MOST_CONTENT)
    root = etree.fromstring(content, etree.XMLParser(resolve_entities=False, no_network=True))
    if root.getroottree().docinfo.doctype:
        raise DocumentError("its content.xml declares a document type, which no Office program writes")
    body = root.find(f"{OFFICE}body/{OFFICE}{kind}")
    if body is None:
        raise DocumentError(f"its content.xml holds no {kind}; it is damaged")
    return body


def _part(package: zipfile.ZipFile, name: str, most: int) -> bytes:
    if name not in package.namelist():
        raise DocumentError(f"it has no {name}; it is damaged, or no OpenDocument file")
    with package.open(name) as part:
        data = part.read(most + 1)
    if len(data) > most:
        raise DocumentError(f"its {name} has more than {most:,} bytes")
    return data


def _blocks(element: Any) -> Iterator[str]:
    """The paragraphs and the rows of tables in an element, whatever lies between; notes of slides stand apart."""
    for child in element:
        if child.tag in PARAGRAPHS:
            aside: list[Any] = []
            yield "".join(_said(child, aside))
            yield from chain.from_iterable(map(_blocks, aside))
        elif child.tag == TABLE + "table":
            yield from _bounded(_rows(child))
        elif child.tag not in SILENT and child.tag != NOTES:
            yield from _blocks(child)


def _said(element: Any, aside: list[Any]) -> Iterator[str]:
    """The text of a paragraph; what only hangs on it (a footnote, a text box) comes into `aside`."""
    yield _BLANKS.sub(" ", element.text or "")
    for child in element:
        if child.tag == TEXT + "s":
            yield " " * min(_count(child, TEXT + "c"), MOST_SPACES)
        elif child.tag in (TEXT + "tab", TEXT + "line-break"):
            yield "\t" if child.tag.endswith("tab") else " "
        elif child.tag == TEXT + "note" or str(child.tag).startswith(DRAWN):
            aside.append(child)
        elif child.tag not in SILENT and isinstance(child.tag, str):
            yield from _said(child, aside)
        yield _BLANKS.sub(" ", child.tail or "")


def _rows(table: Any) -> Iterator[str]:
    """A line for each row, as often as it is repeated."""
    for child in table:
        if child.tag == TABLE + "table-row":
            yield from repeat(_row(child), _count(child, TABLE + "number-rows-repeated"))
        elif child.tag in (TABLE + "table-header-rows", TABLE + "table-rows", TABLE + "table-row-group"):
            yield from _rows(child)


def _row(row: Any) -> str:
    cells, blank = list[str](), 0
    for cell in row:
        if cell.tag not in CELLS:
            continue
        said, count = _cell(cell), _count(cell, TABLE + "number-columns-repeated")
        if not said:
            blank += count
            continue
        if len(cells) + blank + count > MOST_COLUMNS:
            raise DocumentError(f"a row of a table has more than {MOST_COLUMNS:,} columns")
        cells += [""] * blank + [said] * count
        blank = 0
    return "\t".join(cells)


def _cell(cell: Any) -> str:
    """What it shows, or its value where a program wrote no more than that."""
    return one_line(" ".join(_blocks(cell))) or one_line(cell.get(OFFICE + "value", ""))


def _count(element: Any, name: str) -> int:
    return max(1, int(element.get(name, "1")[:18]))


def _bounded(rows: Iterator[str]) -> Iterator[str]:
    for count, row in enumerate(rows):
        if count >= MOST_ROWS:
            raise DocumentError(f"a table has more than {MOST_ROWS:,} rows")
        yield row
