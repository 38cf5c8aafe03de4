"""Office files as they are read: by lines, with marks of sheets and slides; hostile ones are one clear error each."""

import io
import zipfile

import docx
import openpyxl
import pptx
import pytest
from pptx.util import Inches

from perilune.app import extract_office
from perilune.app.extract import OLD_OFFICE, kind_of_file, texts_of
from perilune.errors import DocumentError

OPEN = "application/vnd.oasis.opendocument."
SPACES = " ".join(
    f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{space}:1.0"'
    for name, space in (
        ("office", "office"),
        ("text", "text"),
        ("table", "table"),
        ("draw", "drawing"),
        ("presentation", "presentation"),
    )
)
KINDS = {"odt": "text", "ods": "spreadsheet", "odp": "presentation"}
BOMB = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
BOMB = f'<!DOCTYPE x [<!ENTITY e0 "{"ha" * 50}">{BOMB}]>'


def lines(tmp_path, name, data):
    """The lines of an upload."""
    (texts, left), made = read(tmp_path, name, data)
    assert [text.name for text in texts] == [name] and not left and made == [texts[0].path]
    return texts[0].path.read_text().split("\n")[:-1]


def read(tmp_path, name, data):
    path, folder = tmp_path / "upload", tmp_path / "made"
    path.write_bytes(data)
    folder.mkdir(exist_ok=True)
    made = texts_of(path, name, kind_of_file(path, name), lambda: folder / "one")
    return made, list(folder.iterdir())


def refused(tmp_path, name, data, told):
    with pytest.raises(DocumentError, match=told):
        read(tmp_path, name, data)
    assert not (tmp_path / "made").exists() or not list((tmp_path / "made").iterdir())


def saved(document):
    held = io.BytesIO()
    document.save(held)
    return held.getvalue()


def zipped(parts):
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as package:
        for name, data in parts.items():
            package.writestr(name, data)
    return held.getvalue()


def replaced(data, name, change):
    """The same package with a part changed."""
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        parts = {one: package.read(one) for one in package.namelist()}
    return zipped({**parts, name: change(parts[name])})


def opened(form, body, before="", manifest="<manifest/>"):
    """An OpenDocument file as a program lays it out, with this body."""
    kind = KINDS[form]
    content = f"<office:document-content {SPACES}><office:body><office:{kind}>{body}</office:{kind}></office:body>"
    return zipped(
        {
            "mimetype": OPEN + kind,
            "META-INF/manifest.xml": manifest,
            "content.xml": f'<?xml version="1.0"?>{before}{content}</office:document-content>',
        }
    )


def letter():
    document = docx.Document()
    document.add_paragraph("The contract\nends in May.")
    table = document.add_table(rows=1, cols=2)
    table.cell(0, 0).text, table.cell(0, 1).text = "rent", "900\nor less"
    return saved(document)


def book():
    made = openpyxl.Workbook()
    made.active.title = "Sums"
    made.active.append(["a", 1, None, 2.5])
    made.active["A4"] = "two\nlines"
    made.create_sheet("Empty")
    made.create_sheet("More")["B3"] = "b"
    return saved(made)


def deck():
    made = pptx.Presentation()
    first = made.slides.add_slide(made.slide_layouts[1])
    first.shapes.title.text = "The old mill"
    first.placeholders[1].text = "Seven pumps\nCleaned\vin spring"
    first.notes_slide.notes_text_frame.text = "Say that pump 7 is red."
    made.slides.add_slide(made.slide_layouts[6])  # a blank one, which still counts
    third = made.slides.add_slide(made.slide_layouts[6])
    group = third.shapes.add_group_shape()
    group.shapes.add_textbox(0, 0, Inches(1), Inches(1)).text_frame.text = "in a group"
    table = third.shapes.add_table(2, 2, 0, 0, Inches(4), Inches(1)).table
    for place, said in {(0, 0): "pump", (0, 1): "code", (1, 0): "7", (1, 1): "48\n21"}.items():
        table.cell(*place).text = said
    return saved(made)


def test_paragraphs_and_tables_of_a_docx_are_lines(tmp_path):
    assert lines(tmp_path, "contract.docx", letter()) == ["The contract ends in May.", "rent\t900 or less"]


def test_a_row_of_an_xlsx_is_a_line_below_its_sheet(tmp_path):
    told = ["[sheet Sums]", "a\t1\t\t2.5", "", "", "two lines", "[sheet More]", "", "", "\tb"]
    assert lines(tmp_path, "sums.xlsx", book()) == told


def test_a_pptx_is_read_slide_by_slide_with_tables_groups_and_notes(tmp_path):
    assert lines(tmp_path, "mill.pptx", deck()) == [
        *("[slide 1]", "The old mill", "Seven pumps", "Cleaned in spring", "[notes]", "Say that pump 7 is red."),
        *("[slide 3]", "in a group", "pump\tcode", "7\t48 21"),
    ]


def test_an_odt_is_read_paragraph_by_paragraph(tmp_path):
    body = """
      <office:forms><text:p>a form</text:p></office:forms>
      <text:tracked-changes><text:changed-region><text:p>deleted</text:p></text:changed-region></text:tracked-changes>
      <text:h text:outline-level="1">Rent</text:h>
      <text:p>The <text:span>rent</text:span> is<text:s text:c="3"/>900<text:tab/>a
        month<text:line-break/>at most<text:note><text:note-citation>1</text:note-citation><text:note-body><text:p>From
        May.</text:p></text:note-body></text:note>.<office:annotation><text:p>unheard</text:p></office:annotation></text:p>
      <text:section><text:list><text:list-item><text:p>first</text:p></text:list-item>
        <text:list-item><text:p>second</text:p></text:list-item></text:list></text:section>
      <text:p/>
      <!-- no text -->
      <table:table><table:table-header-rows><table:table-row><table:table-cell><text:p>a</text:p><text:p>b</text:p>
        </table:table-cell><table:covered-table-cell/><table:table-cell><text:p>c</text:p></table:table-cell>
        </table:table-row></table:table-header-rows></table:table>
      <text:p>last<draw:frame><draw:text-box><text:p>in a box</text:p></draw:text-box></draw:frame></text:p>"""
    assert lines(tmp_path, "rent.odt", opened("odt", body)) == [
        *("Rent", "The rent is   900\ta month at most.", "From May."),
        *("first", "second", "", "a b\t\tc", "last", "in a box"),
    ]


def test_a_row_of_an_ods_is_a_line_below_its_sheet(tmp_path):
    cell = "<table:table-cell{}><text:p>{}</text:p></table:table-cell>".format
    blank = '<table:table-cell table:number-columns-repeated="{}"/>'.format
    row = '<table:table-row table:number-rows-repeated="{}">{}</table:table-row>'.format
    numbers = '<table:table-cell office:value="2.5"/>'
    body = "".join(
        [
            '<table:table table:name="Sums">',
            row(1, cell("", "a") + blank(2) + numbers + blank(16380)),
            row(2, blank(16384)),
            row(2, cell(' table:number-columns-repeated="2"', "same")),
            row(1_048_571, blank(16384)),
            '</table:table><table:table table:name="Empty">',
            row(1_048_576, blank(16384)),
            "</table:table>",
        ]
    )
    told = ["[sheet Sums]", "a\t\t\t2.5", "", "", "same\tsame", "same\tsame"]
    assert lines(tmp_path, "sums.ods", opened("ods", body)) == told


def test_an_odp_is_read_slide_by_slide_with_notes(tmp_path):
    box = "<draw:frame><draw:text-box><text:p>{}</text:p></draw:text-box></draw:frame>".format
    table = "<table:table><table:table-row><table:table-cell><text:p>7</text:p></table:table-cell></table:table-row>"
    notes = f"<presentation:notes><draw:page-thumbnail/>{box('Say it.')}</presentation:notes>"
    body = "".join(
        [
            f"<draw:page>{box('The old mill')}{box('')}<draw:g>{box('in a group')}</draw:g>{notes}</draw:page>",
            "<draw:page/>",
            f"<draw:page><draw:frame>{table}</table:table></draw:frame></draw:page>",
        ]
    )
    told = ["[slide 1]", "The old mill", "in a group", "[notes]", "Say it.", "[slide 3]", "7"]
    assert lines(tmp_path, "mill.odp", opened("odp", body)) == told


MADE = {
    "docx": (letter, "word/document.xml"),
    "xlsx": (book, "xl/worksheets/sheet1.xml"),
    "pptx": (deck, "ppt/slides/slide1.xml"),
    **{form: (lambda form=form: opened(form, "<text:p>a</text:p>"), "content.xml") for form in KINDS},
}


@pytest.mark.parametrize("form", MADE)
def test_entities_are_never_written_out(tmp_path, form):
    make, part = MADE[form]

    def bomb(xml):
        head, text = xml.split(b"?>", 1) if b"?>" in xml else (b"<?xml version='1.0'", xml)
        first = text.index(b">", text.rindex(b"<", 0, text.index(b"</")))
        return head + b"?>" + BOMB.encode() + text[: first + 1] + b"&e11;" + text[first + 1 :]

    refused(tmp_path, f"a.{form}", replaced(make(), part, bomb), "cannot be read")


@pytest.mark.parametrize("form", MADE)
def test_what_unpacks_to_too_much_is_refused_before_it_is_opened(tmp_path, form):
    make, part = MADE[form]
    data = replaced(make(), part, lambda xml: xml + b" " * (extract_office.MOST_XML + 1))
    assert len(data) < 1 << 20
    refused(tmp_path, f"a.{form}", data, "it unpacks to .* bytes")


@pytest.mark.parametrize("form", MADE)
@pytest.mark.parametrize("share", [0.2, 0.9])
def test_a_truncated_file_is_refused(tmp_path, form, share):
    data = MADE[form][0]()
    refused(tmp_path, f"a.{form}", data[: int(len(data) * share)], "cannot be read")


@pytest.mark.parametrize("form", MADE)
def test_a_file_under_another_forms_name_is_refused_with_its_own(tmp_path, form):
    other = "docx" if form != "docx" else "odt"
    refused(tmp_path, f"a.{other}", MADE[form][0](), f"it is no .{other} file: it is a .{form} file")
    refused(tmp_path, f"a.{form}", zipped({"notes.txt": "plain"}), f"it is no .{form} file: it is something else")


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("a.odt", zipped({"mimetype": OPEN + "text"}), "it has no META-INF/manifest.xml"),
        ("a.odt", zipped({"mimetype": OPEN + "text", "META-INF/manifest.xml": ""}), "it has no content.xml"),
        ("a.odt", opened("odt", "<text:p/>", manifest="<encryption-data/>"), "locked with a password"),
        ("a.odt", opened("odt", "<text:p> </text:p>"), "holds no text"),
        ("a.odt", opened("odt", "<text:p>&a;</text:p>", '<!DOCTYPE x [<!ENTITY a "b">]>'), "document type"),
        ("a.docx", saved(docx.Document()), "holds no text"),
        ("a.xlsx", saved(openpyxl.Workbook()), "holds no text"),
        ("a.pptx", saved(pptx.Presentation()), "holds no text"),
        ("a.odp", opened("odp", "<draw:page/>"), "holds no text"),
        ("a.odt", opened("odt", "<text:list>" * 5000 + "</text:list>" * 5000), "cannot be read"),
        ("a.odt", replaced(opened("odt", ""), "content.xml", lambda xml: xml.replace(b":text>", b":x>")), "no text;"),
        ("a.docx", OLD_OFFICE + bytes(100), "locked with a password, or of a form before Office 2007"),
        ("a.ppt", OLD_OFFICE + bytes(100), "save it as one of .docx"),
    ],
)
def test_what_cannot_be_read_says_why(tmp_path, name, data, told):
    refused(tmp_path, name, data, told)


def cells(rows=1, columns=1, text="x"):
    cell = f'<table:table-cell table:number-columns-repeated="{columns}"><text:p>{text}</text:p></table:table-cell>'
    row = f'<table:table-row table:number-rows-repeated="{rows}">{cell}</table:table-row>'
    return f'<table:table table:name="S">{row}</table:table>'


@pytest.mark.parametrize(
    ("form", "body", "told"),
    [
        ("ods", cells(rows=10**9), "the sheet S has more than 1,100,000 rows"),
        ("ods", cells(rows=10**9, text=""), "the sheet S has more than 1,100,000 rows"),
        ("ods", cells(columns=10**9), "more than 16,384 columns"),
        ("ods", cells(rows=10**6, columns=16_000, text="long " * 100), "bytes of text; send a part"),
        ("odt", cells(rows=10**9), "a table has more than 1,100,000 rows"),
        ("odp", "<draw:page/>" * 10_001, "10,001 slides"),
        ("ods", "<table:table/>" * 10_001, "10,001 sheets"),
        ("odt", "<text:p>" + '<text:s text:c="999999999"/>' * 100_000 + "</text:p>", "bytes of text"),
    ],
)
def test_counts_that_a_file_names_are_bounded(tmp_path, form, body, told):
    refused(tmp_path, f"a.{form}", opened(form, body), told)


def test_a_file_without_its_type_is_read_as_what_its_name_says(tmp_path):
    body = "<office:text><text:p>plain</text:p></office:text>"
    content = f"<office:document-content {SPACES}><office:body>{body}</office:body></office:document-content>"
    data = zipped({"META-INF/manifest.xml": "", "content.xml": content})
    assert lines(tmp_path, "a.odt", data) == ["plain"]


def test_memory_that_a_file_needs_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("perilune.app.extract.MOST_WORKER_BYTES", 400 << 20)
    body = "<text:p><text:span/></text:p>" * 3_000_000
    refused(tmp_path, "a.odt", opened("odt", body), "or more than 400 MiB when opened")
