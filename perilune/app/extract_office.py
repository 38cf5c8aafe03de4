"""Office files → lines: paragraphs of a .docx, rows of an .xlsx, slides of a .pptx. A line is what a citation names, so
a paragraph or a row of a table is one line, and sheets and slides begin with a mark that says which they are.

An Office file is a zip of parts. What it would unpack to is looked at before a library opens it.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, BinaryIO

from perilune.errors import DocumentError

MOST_PARTS = 100_000  # files in the zip
MOST_UNPACKED = 1 << 30  # bytes of all of them
MOST_XML = 256 << 20  # bytes of those that are XML
MOST_SHEETS = MOST_SLIDES = 10_000
MOST_ROWS, MOST_COLUMNS = 1_100_000, 16_384
FOLDERS = {"word/": "docx", "xl/": "xlsx", "ppt/": "pptx"}  # where the parts of each form lie
OPEN_DOCUMENT = "application/vnd.oasis.opendocument."
OPEN_FORMS = {"text": "odt", "spreadsheet": "ods", "presentation": "odp"}
MOST_TYPE = 200  # bytes that say which form an OpenDocument file has
XML = (".xml", ".rels")


def check_package(file: BinaryIO, form: str) -> None:
    """Refuses what would unpack to too much, and what is another form than its name says; the file is at its start
    again."""
    with zipfile.ZipFile(file) as package:
        entries = package.infolist()
        if len(entries) > MOST_PARTS:
            raise DocumentError(f"it holds {len(entries):,} parts; at most {MOST_PARTS:,} are opened")
        total = sum(entry.file_size for entry in entries)  # zipfile gives no more of an entry than it promises
        xml = sum(entry.file_size for entry in entries if entry.filename.endswith(XML))
        if total > MOST_UNPACKED or xml > MOST_XML:
            most = f"at most {MOST_UNPACKED >> 20:,} MiB, {MOST_XML >> 20:,} MiB of them XML, are opened"
            raise DocumentError(f"it unpacks to {total:,} bytes, {xml:,} of them XML; {most}")
        found = _form_of(package, form)
    file.seek(0)
    if found != form:
        told = f"a .{found} file; give it that name" if found else "something else, or damaged"
        raise DocumentError(f"it is no .{form} file: it is {told}")


def _form_of(package: zipfile.ZipFile, wanted: str) -> str | None:
    """Which form it is. One whose parts lie where no Office program puts them may be what is wanted."""
    names = set(package.namelist())
    if "mimetype" in names:
        with package.open("mimetype") as part:
            said = part.read(MOST_TYPE).decode("ascii", "replace").strip()
        return OPEN_FORMS.get(said.removeprefix(OPEN_DOCUMENT).removesuffix("-template"))
    for folder, form in FOLDERS.items():
        if any(name.startswith(folder) for name in names):
            return form
    return wanted if "[Content_Types].xml" in names or "content.xml" in names else None


def one_line(text: str) -> str:
    """A text as a cell or a line: every run of blanks and line ends is one blank."""
    return " ".join(text.split())


def marked(mark: str, lines: Iterable[str]) -> Iterator[str]:
    """The mark in brackets, then the lines up to the last one that says something; nothing where none does."""
    blank, begun = 0, False
    for count, line in enumerate(lines):
        if count >= MOST_ROWS:
            raise DocumentError(f"the {mark} has more than {MOST_ROWS:,} rows or lines")
        if not line.strip():
            blank += 1
            continue
        if not begun:
            yield f"[{mark}]"
        yield from ("" for _ in range(blank))
        yield line
        blank, begun = 0, True


def docx_lines(file: BinaryIO) -> Iterator[str]:
    """Paragraphs and rows of tables in their order."""
    import docx
    from docx.table import Table

    for block in docx.Document(file).iter_inner_content():  # pyrefly: ignore
        if isinstance(block, Table):
            yield from ("\t".join(one_line(cell.text) for cell in row.cells) for row in block.rows)
        else:
            yield block.text.replace("\n", " ")


def xlsx_lines(file: BinaryIO) -> Iterator[str]:
    """Rows below the mark of their sheet: row 7 is the seventh line there."""
    import openpyxl

    sheets = openpyxl.load_workbook(file, read_only=True, data_only=True).worksheets
    check_count(sheets, MOST_SHEETS, "sheets")
    for sheet in sheets:
        rows = sheet.iter_rows(values_only=True, max_col=MOST_COLUMNS)
        said = ("\t".join("" if value is None else one_line(str(value)) for value in row).rstrip() for row in rows)
        yield from marked(f"sheet {one_line(sheet.title)}", said)


def pptx_lines(file: BinaryIO) -> Iterator[str]:
    """Slides below the mark with their number: the texts of all shapes, then the notes."""
    import pptx

    slides = pptx.Presentation(file).slides  # pyrefly: ignore
    check_count(slides, MOST_SLIDES, "slides")
    for number, slide in enumerate(slides, 1):
        yield from marked(f"slide {number}", chain(_shapes(slide.shapes), marked("notes", _notes(slide))))


def _shapes(shapes: Any) -> Iterator[str]:
    """The paragraphs and rows of shapes from the backmost to the foremost, which is the order in which they are read
    aloud, too; of groups from within."""
    for shape in shapes:
        if hasattr(shape, "shapes"):
            yield from _shapes(shape.shapes)
        elif getattr(shape, "has_table", False):
            yield from ("\t".join(one_line(cell.text) for cell in row.cells) for row in shape.table.rows)
        elif shape.has_text_frame:
            yield from filter(None, (one_line(paragraph.text) for paragraph in shape.text_frame.paragraphs))


def _notes(slide: Any) -> Iterator[str]:
    frame = slide.notes_slide.notes_text_frame if slide.has_notes_slide else None
    if frame is not None:
        yield from (one_line(paragraph.text) for paragraph in frame.paragraphs)


def check_count(things: Any, most: int, what: str) -> None:
    if len(things) > most:
        raise DocumentError(f"it has {len(things):,} {what}; at most {most:,} are read")
