"""Uploads: what they are, what they say and what they cost; hostile ones end nothing and cost little."""

import hashlib
import io
import socket
import zipfile
from urllib.parse import urlsplit

import httpx
import pytest
from app_page import Browser, paged, refused
from served import tiny_model
from tiny_models import memory_config
from tiny_senses import picture, sensing_model, sound

from perilune.app import extract_worker, files, kept_files
from perilune.documents.names import header_text

OUTSIDE = (
    "..",
    "a/../b.txt",
    "..\\b.txt",
    "/etc/passwd",
    "C:\\notes\\a.txt",
    "c:/a",
    "//host/a",
    "a//b",
    "a/",
    "./a",
    "a/ /b",
)
OUTSIDE += ("a\nb.txt", "a\0b", "a/\u202eb.txt", "a/" * 33 + "b", "x" * 256 + "/b", "ab/" * 17 + "x" * 500)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("files"), context=8192)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def address(model, folder):
    with paged(model, folder) as at:
        yield at


@pytest.fixture
def one(address):
    with Browser(address) as made:
        yield made


def zipped(entries, compression=zipfile.ZIP_DEFLATED):
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return held.getvalue()


def lines_of(one, file, **asked):
    return one.get(f"/files/{file}/text", params=asked).json()


def test_a_text_is_kept_counted_and_told_by_lines(one, model, folder):
    said = "".join(f"line {number}\r\n" for number in range(1, 1001))
    made = one.upload("long.txt", said.encode())
    assert (made["name"], made["kind"], made["bytes"]) == ("long.txt", "text", len(said))
    read = said.replace("\r", "")
    assert made["tokens"] == len(model.tokenizer.encode(header_text("long.txt") + read))
    (part,) = made["parts"]
    assert (part["name"], part["lines"], part["bytes"]) == ("long.txt", 1000, len(read))
    assert one.get(f"/files/{made['id']}").json() == made and not made["stored"]
    some = lines_of(one, made["id"], **{"from": 998, "to": 1003})
    told = {"name": "long.txt", "from": 998, "total": 1000, "cut": []}
    assert some == {**told, "lines": ["line 998", "line 999", "line 1000"]}
    assert len(lines_of(one, made["id"])["lines"]) == 400
    answer = one.get(f"/files/{made['id']}/content")
    assert answer.content == said.encode() and answer.headers["x-content-type-options"] == "nosniff"
    assert (
        "attachment" in answer.headers["content-disposition"] and "sandbox" in answer.headers["content-security-policy"]
    )
    assert (folder / "page" / "files" / hashlib.sha256(said.encode()).hexdigest()).exists()


@pytest.mark.parametrize("said", ["BM is a magazine", "ID3 tags", "caff", "RIFF....WEBP", "%P", "日本"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_text_is_a_text_whatever_it_begins_with(one, said, encoding):
    made = one.upload("a.txt", said.encode(encoding))
    assert made["kind"] == "text" and lines_of(one, made["id"])["lines"] == [said]


def test_files_of_a_folder_keep_their_paths_and_lie_nowhere_under_them(one, folder):
    names = ["work/a/x.py", "work/b/x.py", "work\\c\\x.py", "w/" * 32 + "x.py", "日" * 255 + "/" + "本" * 255]
    made = [one.upload(name, f"this = {number}".encode()) for number, name in enumerate(names)]
    shown = [name.replace("\\", "/") for name in names]
    assert [file["name"] for file in made] == [file["parts"][0]["name"] for file in made] == shown
    assert lines_of(one, made[1]["id"], part="work/b/x.py")["lines"] == ["this = 1"]
    assert 'filename="x.py"' in one.get(f"/files/{made[0]['id']}/content").headers["content-disposition"]
    assert not [path for path in folder.rglob("*") if path.name in ("work", "w", "x.py")]
    chat = one.made("/chats")["id"]
    message = one.said(chat, "Which one?", files=[file["id"] for file in made[:2]])
    assert [part["name"] for part in message["content"][1:]] == shown[:2]


def test_equal_bytes_lie_there_once_and_go_with_the_last_file(one, folder):
    path = folder / "page" / "files" / hashlib.sha256(b"the same bytes").hexdigest()
    first, second = (one.upload(name, b"the same bytes")["id"] for name in ("a.txt", "b.txt"))
    assert one.delete(f"/files/{first}").json()["deleted"] and path.exists()
    assert one.delete(f"/files/{second}").json()["deleted"] and not path.exists()
    refused(one.get(f"/files/{first}"), 404)


def test_a_file_that_a_chat_uses_is_not_deleted_alone(one):
    file, chat = one.upload("used.txt", b"in use")["id"], one.made("/chats")["id"]
    one.said(chat, files=[file])
    assert refused(one.delete(f"/files/{file}"), 409, "uses this file")["code"] == "in_use"
    one.delete(f"/chats/{chat}")
    refused(one.get(f"/files/{file}"), 404)


def test_a_text_stands_in_the_prompt_of_a_model_without_a_memory(one, model):
    file, chat = one.upload("poem.txt", b"Moon, moon.\n")["id"], one.made("/chats")["id"]
    message = one.said(chat, "What is it about?", files=[file])
    reply, _ = one.replied(chat, message["id"], max_tokens=8)
    said = [{"role": "user", "content": "What is it about?\nFile: poem.txt\nMoon, moon.\n"}]
    wanted = model.chat(said, max_tokens=8, temperature=0, thinking=False)
    assert "".join(part["text"] for part in reply["content"]) == wanted.content
    assert reply["meta"]["meter"]["prompt_tokens"] == wanted.usage.prompt_tokens


def test_a_text_that_is_too_long_is_refused_with_both_numbers_and_never_cut(one):
    made, chat = one.upload("long.txt", b"word " * 4000), one.made("/chats")["id"]
    message = one.said(chat, files=[made["id"]])
    error = refused(
        one.post(f"/chats/{chat}/replies", json={"parent": message["id"]}), 400, f"{made['tokens']:,} tokens"
    )
    assert error["code"] == "context_length_exceeded" and "8,192" in error["message"]


def test_sources_come_in_a_zip_and_what_is_left_out_is_told(one):
    made = one.upload(
        "src.zip",
        zipped(
            {
                "src/b.py": "b = 1\n",
                "src/a.py": "a = 1\nA = 2",
                "src/": "",
                "src/.env": "SECRET=1",
                "src/node_modules/x.js": "x",
                "src/logo.png": b"\x89PNG",
                "src/data": b"\0\1\2",
                "src/latin.txt": "é".encode("latin-1"),
                "src/empty.txt": "",
            }
        ),
    )
    assert made["kind"] == "archive" and [part["name"] for part in made["parts"]] == ["src/a.py", "src/b.py"]
    assert {one["name"]: one["reason"] for one in made["left_out"]} == {
        "src/.env": "hidden",
        "src/data": "binary",
        "src/empty.txt": "empty",
        "src/latin.txt": "no UTF-8 text",
        "src/logo.png": "binary",
        "src/node_modules/x.js": "tool folder",
    }
    assert made["tokens"] == sum(part["tokens"] for part in made["parts"])
    assert lines_of(one, made["id"], part="src/b.py")["lines"] == ["b = 1"]
    assert lines_of(one, made["id"])["lines"] == ["a = 1", "A = 2"]
    refused(one.get(f"/files/{made['id']}/text", params={"part": "src/.env"}), 404)


def test_names_that_lead_out_of_an_archive_are_only_left_out(one, folder):
    names = ["../../evil.txt", "/etc/evil.txt", "a/../../evil.txt", "..\\evil.txt", "C:\\evil.txt", "C:evil.txt"]
    made = one.upload("slip.zip", zipped({**dict.fromkeys(names, "evil"), "good.txt": "good"}))
    assert [part["name"] for part in made["parts"]] == ["good.txt"]
    assert {one["reason"] for one in made["left_out"]} == {"its name leads out of the archive"}
    assert not [path for path in folder.rglob("*") if "evil" in path.name]
    forged = one.upload("forged.zip", zipped({"a\n\u202efile.txt": "x"}))
    assert forged["parts"][0]["name"] == "a\ufffd\ufffdfile.txt"


def test_bombs_are_refused_before_they_are_unpacked(one, folder):
    part = b"\0" * (extract_worker.MOST_PART + 1)
    refused(one.post("/files", params={"name": "bomb.zip"}, content=zipped({"a.txt": part})), 400, "more than")
    many = {f"{number}.txt": b" a" * (extract_worker.MOST_PART // 2) for number in range(5)}
    refused(one.post("/files", params={"name": "many.zip"}, content=zipped(many)), 400, "more than")
    nested = zipped({"inner.zip": zipped({"a.txt": b"x" * 1000})})
    refused(one.post("/files", params={"name": "nested.zip"}, content=nested), 400, "no text to read")
    assert not list((folder / "page" / "files").glob("*.part"))
    assert one.upload("after.txt", b"alive")["tokens"]


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("a.txt", b"", "empty"),
        ("a.txt", b"\xff\xfe\xfd\x00\xd8", "utf-16"),
        ("a.txt", b"text \x00 and more", "not text"),
        ("a.txt", b"\xe9t\xe9", "UTF-8"),
        ("a.pdf", b"%PDF-1.7\nbroken", "cannot be read"),
        ("a.zip", b"PK\x03\x04broken", "cannot be read"),
        ("a.docx", b"PK\x03\x04broken", "cannot be read"),
        ("a.epub", b"PK\x03\x04", "save it as PDF"),
        ("", b"x", "name must be"),
        ("x" * 300, b"x", "name must be"),
        *((name, b"x", "name must be") for name in OUTSIDE),
    ],
)
def test_files_that_cannot_be_read_are_refused(one, folder, name, data, told):
    before = sorted((folder / "page" / "files").iterdir())
    refused(one.post("/files", params={"name": name}, content=data), 400, told)
    assert sorted((folder / "page" / "files").iterdir()) == before


def pdf(*pages):
    """A small PDF with a line of text on each page."""
    kids = " ".join(f"{3 + 2 * i} 0 R" for i in range(len(pages)))
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", f"<< /Type /Pages /Count {len(pages)} /Kids [{kids}] >>"]
    font = "<< /Font << /F << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>"
    for index, said in enumerate(pages):
        stream = f"BT /F 12 Tf 72 720 Td ({said}) Tj ET"
        at = f"{4 + 2 * index} 0 R"
        objects.append(f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources {font} /Contents {at} >>")
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    out, places = "%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    size = len(objects) + 1
    end = f"trailer << /Size {size} /Root 1 0 R >>\nstartxref\n{len(out)}\n%%EOF\n"
    return f"{out}xref\n0 {size}\n0000000000 65535 f \n{table}{end}".encode()


def test_a_pdf_is_read_page_by_page(one):
    pytest.importorskip("pypdf")
    made = one.upload("two.pdf", pdf("Rent is 900.", "Ends in May."))
    assert made["kind"] == "pdf"
    assert lines_of(one, made["id"])["lines"] == ["[page 1]", "Rent is 900.", "", "[page 2]", "Ends in May.", ""]
    refused(one.post("/files", params={"name": "scan.pdf"}, content=pdf("")), 400, "pictures of text")


def test_without_the_extra_one_error_says_what_to_install(one, monkeypatch, tmp_path):
    (tmp_path / "pypdf.py").write_text("raise ModuleNotFoundError('gone', name='pypdf')")
    monkeypatch.syspath_prepend(tmp_path)
    answer = one.post("/files", params={"name": "two.pdf"}, content=pdf("Rent is 900."))
    refused(answer, 400, "pip install 'perilune[documents]'")


def test_media_are_weighed_as_the_model_takes_them(tmp_path, one, monkeypatch):
    monkeypatch.setenv("PERILUNE_STORE", str(tmp_path / "store"))
    shown, heard = picture(1), sound(440)
    unseen = one.upload("a.png", shown)
    assert (unseen["kind"], unseen["tokens"]) == ("picture", None) and "no eyes" in unseen["problem"]
    chat = one.made("/chats")["id"]
    message = one.said(chat, files=[unseen["id"]])
    refused(one.post(f"/chats/{chat}/replies", json={"parent": message["id"]}), 400, "a.png: this model has no eyes")
    model = sensing_model(tmp_path / "model", memory_config(segment=128))
    with paged(model, tmp_path / "state") as at, Browser(at) as two:
        state = two.get("/state").json()["model"]
        assert state["sees"] and state["hears"] and state["reads"]
        image, audio = two.upload("a.txt", shown), two.upload("b", heard)
        assert (image["kind"], audio["kind"]) == ("picture", "sound")
        served = [two.get(f"/files/{one['id']}/content").headers["content-type"] for one in (image, audio)]
        assert served == ["image/png", "audio/wav"]
        chat = two.made("/chats")["id"]
        message = two.said(chat, "What is it?", files=[image["id"], audio["id"]])
        reply, _ = two.replied(chat, message["id"], max_tokens=6)
        parts = [{"type": "image", "image": shown}, {"type": "audio", "audio": heard}]
        said = [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, *parts]}]
        wanted = model.chat(said, max_tokens=6, temperature=0, thinking=False)
        assert "".join(part["text"] for part in reply["content"]) == wanted.content
        assert wanted.media_tokens == (image["tokens"], audio["tokens"])
        refused(two.post("/files", params={"name": "x"}, content=b"\x89PNG\r\n\x1a\nbroken"), 400)
        text = two.upload("pumps.txt", b"pump 7 is red\n" * 30)
        message = two.said(chat, "Which one?", reply["id"], files=[text["id"]])
        reply, _ = two.replied(chat, message["id"], max_tokens=6)
        assert reply["state"] == "done" and reply["meta"]["meter"]["prompt_tokens"] > text["tokens"] + image["tokens"]


def test_uploads_are_bounded_while_they_come(one, folder, monkeypatch):
    def endless():
        for _ in range(100):
            yield b"x" * 10_000

    monkeypatch.setattr(files, "MOST_FILE_BYTES", 100_000)
    refused(one.post("/files", params={"name": "a.txt"}, content=endless()), 413, "larger than")
    monkeypatch.setattr(kept_files, "MOST_FILES", 0)
    assert one.post("/files", params={"name": "a.txt"}, content=b"x").status_code == 507
    assert not list((folder / "page" / "files").glob("*.part"))


def test_a_full_disk_is_told(model, tmp_path, monkeypatch):
    monkeypatch.setattr(kept_files.KeptFiles, "room", lambda self: 10)
    with paged(model, tmp_path) as at, Browser(at) as one:
        assert one.post("/files", params={"name": "a.txt"}, content=b"x" * 11).status_code == 507


def test_an_upload_that_stops_is_given_up(one, folder, monkeypatch):
    monkeypatch.setattr(files, "IDLE_SECONDS", 0.1)
    at = urlsplit(str(one.base_url))
    with socket.create_connection((at.hostname, at.port), timeout=30) as sent:
        head = "POST /app/api/files?name=a.txt HTTP/1.1\r\nhost: localhost\r\nx-perilune: 1\r\n"
        sent.sendall(f"{head}content-length: 100\r\n\r\nabc".encode())
        assert sent.recv(100).startswith(b"HTTP/1.1 400")
    assert not list((folder / "page" / "files").glob("*.part"))


def test_a_long_line_is_shown_in_part_and_said_to_be(one):
    made = one.upload("wide.txt", b"x" * (files.MOST_LINE + 5) + b"\nshort")
    some = lines_of(one, made["id"])
    assert some["cut"] == [1] and [len(line) for line in some["lines"]] == [files.MOST_LINE, 5]
    for asked in ({"from": 0}, {"from": 5, "to": 4}, {"to": files.MOST_LINES + 1}, {"from": "9" * 30}):
        assert one.get(f"/files/{made['id']}/text", params=asked).status_code == 400


def test_what_nothing_used_for_long_goes_at_the_next_start(model, tmp_path, monkeypatch):
    with paged(model, tmp_path) as at, Browser(at) as one:
        lost, used = one.upload("lost.txt", b"lost")["id"], one.upload("used.txt", b"used")["id"]
        one.said(one.made("/chats")["id"], files=[used])
    (tmp_path / "page" / "files" / "half.part").write_bytes(b"half an upload")
    monkeypatch.setattr(kept_files, "UNUSED_SECONDS", -1)
    with paged(model, tmp_path) as at, Browser(at) as one:
        refused(one.get(f"/files/{lost}"), 404)
        assert one.get(f"/files/{used}/content").content == b"used"
        names = {path.name for path in (tmp_path / "page" / "files").iterdir()}
        assert names == {hashlib.sha256(b"used").hexdigest()}


def test_a_download_needs_no_header_but_a_session(one):
    made = one.upload("a.txt", b"plain")
    assert httpx.get(f"{one.base_url}/files/{made['id']}/content".replace("//files", "/files")).content == b"plain"
