"""Files in a browser: costs before sending, reading with progress, citations that open the place, recording."""

import pytest
from at_page import LIMIT, ask, replied
from playwright.sync_api import expect

DROP = """async ([name, text]) => {
    const data = new DataTransfer();
    data.items.add(new File([text], name));
    const target = document.querySelector('main');
    for (const type of ['dragover', 'drop']) {
        target.dispatchEvent(new DragEvent(type, { dataTransfer: data, bubbles: true, cancelable: true }));
    }
}"""
PASTE = """([name, text]) => {
    const data = new DataTransfer();
    if (name) data.items.add(new File([text], name));
    else data.setData('text/plain', text);
    const input = document.querySelector('.composer textarea');
    input.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true }));
}"""


def manual():
    """A text with one fact in it, and the line where it stands."""
    lines = [f"Paragraph {index}: the pumps of the old mill are cleaned every spring." for index in range(400)]
    lines[260] = "The maintenance code of pump 7 is 4821."
    return "\n".join(lines) + "\n", 261


def test_a_file_tells_its_cost_is_read_and_cited_and_the_citation_opens_it(page, size, shot, tmp_path):
    text, line = manual()
    path = tmp_path / "manual.txt"
    path.write_text(text)
    page.get_by_role("button", name="Add files").click()
    with page.expect_file_chooser() as chosen:
        page.get_by_role("menuitem", name="Choose files").click()
    chosen.value.set_files(path)
    item = page.locator(".shelf-item")
    expect(item).to_contain_text("tokens", timeout=LIMIT)
    expect(page.locator(".shelf > .hint")).to_contain_text("of 2,105,344 tokens")
    shot(page, f"files-{size}")
    ask(page, "What is the maintenance code of pump 7?")
    reply = replied(page)
    expect(page.locator(".shelf-item")).to_have_count(0)
    citation = reply.locator(".citation").first
    expect(citation).to_contain_text("manual.txt")
    shot(page, f"citations-{size}")
    citation.click()
    hit = page.locator(".line.hit")
    expect(hit.first).to_be_visible()
    marked = [int(one.locator("i").get_attribute("data-n")) for one in hit.all()]
    assert marked == list(range(marked[0], marked[-1] + 1))
    assert page.locator(".line.hit", has_text="pump").count() or line not in marked
    shot(page, f"viewer-{size}")
    page.keyboard.press("Escape")
    expect(page.locator(".panel")).to_be_hidden()
    # Read once: the same file again is known to have been read.
    page.get_by_role("button", name="Add files").click()
    with page.expect_file_chooser() as chosen:
        page.get_by_role("menuitem", name="Choose files").click()
    chosen.value.set_files(path)
    expect(page.locator(".shelf-item")).to_contain_text("read before", timeout=LIMIT)


def test_files_are_dropped_and_pasted_and_can_be_taken_back(page):
    page.evaluate(DROP, ["notes.md", "# Notes\n\nRain."])
    page.evaluate(PASTE, ["data.csv", "a,b\n1,2\n"])
    page.evaluate(PASTE, [None, "long text. " * 3000])
    items = page.locator(".shelf-item")
    expect(items).to_have_count(3)
    expect(items.nth(2)).to_contain_text("pasted.txt")
    expect(page.locator(".shelf-item progress")).to_have_count(0, timeout=LIMIT)
    expect(page.locator(".shelf > .hint")).to_contain_text("tokens")
    page.get_by_role("button", name="Remove notes.md").click()
    expect(items).to_have_count(2)
    items.locator("button.name").first.click()
    expect(page.locator(".text-view .line").first).to_contain_text("a,b")


@pytest.fixture
def mill(tmp_path):
    """A folder with two files of one name, and what tools leave behind."""
    text = manual()[0]
    files = {"pumps/notes.txt": text, "wheels/notes.txt": "Wheel 3 turns.\n", "node_modules/x.js": "x"}
    for name, said in files.items():
        path = tmp_path / "mill" / name
        path.parent.mkdir(parents=True)
        path.write_text(said)
    return tmp_path / "mill"


def test_a_folder_keeps_its_paths_from_the_shelf_to_the_citation(page, size, shot, mill):
    page.get_by_role("button", name="Add files").click()
    with page.expect_file_chooser() as chosen:
        page.get_by_role("menuitem", name="Choose a folder").click()
    chosen.value.set_files(mill)
    items = page.locator(".shelf-item .name")
    paths = ["mill/pumps/notes.txt", "mill/wheels/notes.txt"]
    expect(items).to_have_text(paths)
    expect(page.locator(".shelf-item progress")).to_have_count(0, timeout=LIMIT)
    shot(page, f"folder-{size}")
    ask(page, "What is the maintenance code of pump 7?")
    reply = replied(page)
    expect(page.locator(".message.user .file-chip .name")).to_have_text(paths)
    citation = reply.locator(".citation", has_text=paths[0]).first
    citation.click()
    expect(page.locator(".panel")).to_contain_text(paths[0])
    expect(page.locator(".line.hit").first).to_be_visible()


def test_a_folder_that_is_dropped_keeps_its_paths(watched, address, mill):
    page = watched.open(address)
    page.locator(".composer").wait_for()
    drag = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(mill)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        drag.send("Input.dispatchDragEvent", {"type": kind, "x": 700, "y": 300, "data": data})
    items = page.locator(".shelf-item .name")
    expect(items).to_have_text(["mill/pumps/notes.txt", "mill/wheels/notes.txt"])
    expect(page.locator(".shelf-item progress")).to_have_count(0, timeout=LIMIT)
    expect(page.locator(".shelf-item .fault")).to_have_count(0)


def test_what_a_model_cannot_take_is_said_before_sending(page):
    page.evaluate(
        "async () => { const blob = await new Promise((done) => document.createElement('canvas').toBlob(done));"
        "const data = new DataTransfer(); data.items.add(new File([blob], 'photo.png'));"
        "document.querySelector('main').dispatchEvent(new DragEvent('drop',"
        "{ dataTransfer: data, bubbles: true, cancelable: true })) }"
    )
    expect(page.locator(".shelf-item .fault")).to_contain_text("this model has", timeout=LIMIT)


def test_a_file_of_many_lines_opens_anywhere(watched, address, api):
    file = api.upload("long.txt", "".join(f"line {index + 1}\n" for index in range(100_000)).encode())
    page = watched.open(address)
    page.locator(".composer").wait_for()
    show = """async ([id, first]) => {
        const { TextView } = await import('/app/js/viewer.js');
        document.querySelector('.view').replaceChildren(new TextView(id, 'long.txt', [first, first + 2]).el);
    }"""
    for first in (1, 77_777, 99_998):
        page.evaluate(show, [file["id"], first])
        expect(page.locator(".line.hit")).to_have_count(3)
        expect(page.locator(".line.hit span").first).to_have_text(f"line {first}")
        expect(page.locator(".line.hit").first).to_be_in_viewport()
        assert page.locator(".line").count() < 250
    page.evaluate("() => { document.querySelector('.text-view').scrollTop = 50_000 * 22 }")
    expect(page.locator(".line span", has_text="line 50010").first).to_be_visible()


def test_the_microphone_becomes_a_wave_file(watched, address):
    page = watched.open(address)
    page.locator(".composer").wait_for()
    record = """async () => {
        const { microphoneButton } = await import('/app/js/microphone.js');
        const got = new Promise((resolve) => {
            const button = microphoneButton(([{ name, blob }]) => resolve([name, blob]));
            button.id = 'test-mic';
            document.querySelector('.compose-bar').prepend(button);
        });
        const button = document.getElementById('test-mic');
        button.click();
        await new Promise((resolve) => setTimeout(resolve, 1500));
        button.click();
        const [name, blob] = await got;
        return [name, [...new Uint8Array(await blob.arrayBuffer())]];
    }"""
    name, data = page.evaluate(record)
    data = bytes(data)
    assert name.endswith(".wav") and data[:4] == b"RIFF" and data[8:16] == b"WAVEfmt "
    assert int.from_bytes(data[24:28], "little") == 16_000
    samples = memoryview(data[44:]).cast("h")
    assert len(samples) > 4_000 and max(samples) > 500, "the fake device beeps"
