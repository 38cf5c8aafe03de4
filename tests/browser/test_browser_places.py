"""Projects, search, settings, export and import, running code, the model's mind, the tutor."""

import json
import re

from at_page import LIMIT, ask, chat_with, replied, settled
from playwright.sync_api import expect

from perilune.api import energy


def test_a_project_keeps_instructions_files_and_chats(page, api, size, shot):
    page.goto(page.url.split("#")[0] + "#/projects")
    page.get_by_role("button", name="New project").click()
    page.locator("dialog input").fill("The mill")
    page.get_by_role("button", name="Create").click()
    page.locator("textarea").first.fill("Answer in one sentence.")
    page.get_by_role("button", name="Add files").first.click()
    with page.expect_file_chooser() as chosen:
        page.get_by_role("menuitem", name="Choose files").click()
    chosen.value.set_files({"name": "mill.txt", "mimeType": "text/plain", "buffer": b"The mill was built in 1790.\n"})
    expect(page.locator(".column .shelf-item")).to_contain_text("tokens", timeout=LIMIT)
    expect(page.locator(".heading [role=status]")).to_have_text("Saved")
    shot(page, f"project-{size}")
    ask(page, "When was the mill built?")
    replied(page)
    project = api.get("/projects").json()["projects"][0]
    assert project["instructions"] == "Answer in one sentence." and len(project["files"]) == 1
    chats = api.get("/chats", params={"project": project["id"]}).json()["chats"]
    assert chats[0]["title"] == "When was the mill built?"
    page.goto(page.url.split("#")[0] + "#/projects")
    expect(page.locator(".card").first).to_contain_text("1 file")
    shot(page, f"projects-{size}")
    page.locator(".card").first.click()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.locator(".empty")).to_be_visible()
    assert api.get("/projects").json()["projects"] == []


def test_search_finds_words_and_marks_them(page, api, size, shot):
    chat_with(api, ["The lighthouse keeper counted seven <b>herons</b> at dawn."])
    page.goto(page.url.split("#")[0] + "#/search")
    page.locator("input[type=search]").fill("herons")
    expect(page.locator(".result mark").first).to_have_text("herons")
    expect(page.locator(".result").first).to_contain_text("<b>herons</b>")
    shot(page, f"search-{size}")
    page.locator(".result").first.click()
    expect(page.locator(".message.assistant")).to_contain_text("seven")
    page.go_back()
    expect(page.locator(".result").first).to_be_visible()


def test_a_chat_is_renamed_exported_and_deleted(watched, address, api):
    chat_with(api, ["A reply to keep."])
    page = watched.open(address)
    row = page.locator(".chats li").first
    row.hover()
    row.locator(".icon-button").click()
    page.get_by_role("menuitem", name="Rename").click()
    page.locator("dialog input").fill("Kept words")
    page.locator("dialog").get_by_role("button", name="Save").click()
    expect(row).to_contain_text("Kept words")
    row.hover()
    row.locator(".icon-button").click()
    with page.expect_download() as download:
        page.get_by_role("menuitem", name="Export as Markdown").click()
    assert "A reply to keep." in download.value.path().read_text()
    row.locator(".icon-button").click()
    page.get_by_role("menuitem", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.locator(".chats")).not_to_contain_text("Kept words")
    assert "Kept words" not in [one["title"] for one in api.get("/chats").json()["chats"]]


def test_settings_are_remembered_and_everything_goes_out_and_in(page, size, shot, tmp_path):
    if size == "phone":
        page.locator(".topbar .icon-button").first.click()
    page.locator(".sidebar footer .row").click()
    shot(page, f"settings-{size}")
    page.locator("dialog select").first.select_option("dark" if size == "desk" else "light")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark" if size == "desk" else "light")
    shot(page, f"settings-{size}-other")
    with page.expect_download() as download:
        page.get_by_role("button", name="Export everything").click()
    told = json.loads(download.value.path().read_text())
    assert told["form"] == "perilune history"
    small = {"form": told["form"], "version": told["version"], "chats": [{"title": f"Came in {size}", "messages": []}]}
    path = tmp_path / "in.json"
    path.write_text(json.dumps(small))
    with page.expect_file_chooser() as chosen:
        page.get_by_role("button", name="Import", exact=True).click()
    chosen.value.set_files(path)
    expect(page.locator(".chats")).to_contain_text(f"Came in {size}")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark" if size == "desk" else "light")


CODE = """Three programs.

```python
import math
print([round(math.sqrt(n), 2) for n in range(4)])
display(SVG('<svg xmlns="http://www.w3.org/2000/svg" height="140"><circle cx="4" cy="4" r="4"/></svg>'))
sum(range(10))
```

```python
while True: pass
```

```html
<h1>Hello</h1><script>
document.body.append(`origin ${origin}; `);
try { parent.document.title = "hacked" } catch (error) { document.body.append("parent closed; ") }
fetch("https://stranger.example/x").catch(() => document.body.append("net closed; "));
const change = {method: "POST", headers: {"x-perilune": "1"}};
fetch("/app/api/chats", change).catch(() => document.body.append("api closed; "));
try { localStorage.x = 1 } catch { document.body.append("storage closed; ") }
</script>
```
"""


def test_python_runs_and_pages_are_shown_where_nothing_else_can_be_reached(watched, address, api, size, shot):
    chat = chat_with(api, [CODE])
    before = api.get("/chats", params={"limit": 200}).json()["chats"]
    page = watched.open(address, size, path=f"/#/chat/{chat}")
    blocks = page.locator(".code")
    blocks.nth(0).get_by_role("button", name="Run").click()
    expect(blocks.nth(0).locator(".output-bar")).to_contain_text("Done", timeout=LIMIT)
    assert blocks.nth(0).locator(".output pre").inner_text().split("\n")[:2] == ["[0.0, 1.0, 1.41, 1.73]", "45"]
    expect(blocks.nth(0).frame_locator("iframe").locator("circle")).to_have_count(1)
    shot(page, f"python-{size}")
    blocks.nth(1).get_by_role("button", name="Run").click()
    expect(blocks.nth(1).locator(".output-bar")).to_contain_text("Running", timeout=LIMIT)
    blocks.nth(1).get_by_role("button", name="Stop").click()
    expect(blocks.nth(1).locator(".output-bar")).to_contain_text("Stopped")
    title = page.title()
    faults = list(watched.faults)
    blocks.nth(2).get_by_role("button", name="Show").click()
    body = blocks.nth(2).frame_locator("iframe").locator("body")
    for told in ("origin null", "parent closed", "net closed", "api closed", "storage closed"):
        expect(body).to_contain_text(told)
    assert page.title() == title
    assert len(api.get("/chats", params={"limit": 200}).json()["chats"]) == len(before)
    shot(page, f"preview-{size}")
    # The browser reports the frame's blocked request as one that was begun; it never left.
    watched.faults[:] = [one for one in watched.faults if one in faults or "stranger.example" not in one]


def test_the_mind_of_the_model_is_shown_word_by_word(page, size, shot):
    page.evaluate("localStorage.setItem('perilune.settings', JSON.stringify({mind: true, thinking: false}))")
    page.reload()
    ask(page, "Who are you?")
    reply = replied(page)
    if page.locator(".panel").is_hidden():
        reply.get_by_role("button", name="The model’s mind").click()
    words = page.locator(".words .word")
    expect(words.first).to_be_visible()
    text = reply.locator(".prose").inner_text()
    said = "".join(words.all_text_contents())
    assert " ".join(text.split())[:20] in " ".join(said.split())
    page.locator(".words").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert page.locator(".alternatives li").count() >= 5
    expect(page.locator(".word[aria-selected=true]")).to_have_count(1)
    page.locator(".token-detail summary").click()
    assert page.locator(".fired-table tr").count() >= 5
    assert "experts fired in" in page.locator(".expert-map").get_attribute("aria-label")
    shot(page, f"mind-{size}")
    page.keyboard.press("Escape")
    page.reload()
    page.locator(".message.assistant").get_by_role("button", name="The model’s mind").click()
    expect(page.locator(".words .word").first).to_be_visible()


def test_energy_is_shown_where_the_machine_counts_it_and_nowhere_else(watched, talking, tmp_path, monkeypatch, shot):
    page = watched.open(talking)
    for counted in (True, False):
        monkeypatch.setattr(energy, "POWERCAP", tmp_path / str(counted))
        counter = tmp_path / "True" / "intel-rapl:0" / "energy_uj"
        counter.parent.mkdir(parents=True, exist_ok=True)
        counter.write_text("100000000")
        page.goto(talking)
        settled(page, mind=True, thinking=False)
        ask(page, "Tell me a story about a bear.")
        expect(page.locator(".message.writing .prose")).not_to_be_empty(timeout=LIMIT)
        counter.with_name("new").write_text("107000000")
        counter.with_name("new").replace(counter)  # whoever reads it finds a number
        page.locator(".send").click()
        reply = replied(page)
        expect(reply.locator(".meter")).to_contain_text("tokens/s")
        for place in (reply.locator(".meter"), page.locator(".mind")):
            if counted:
                expect(place.locator(".energy")).to_have_text(re.compile(r"^7 J · [\d.,]+ J/token$"))
            else:
                expect(place.locator(".energy")).to_have_count(0)
        if counted:
            reply.hover()
            shot(page, "energy")
            page.reload()
            page.locator(".message.assistant").get_by_role("button", name="The model’s mind").click()
            expect(page.locator(".mind .energy")).to_contain_text("7 J")


def test_the_tutor_plans_asks_and_remembers(page, api, size, shot):
    page.goto(page.url.split("#")[0] + "#/tutor")
    shot(page, f"tutor-start-{size}")
    page.locator(".tutor-form input[type=text]").fill("Fractions")
    page.locator(".tutor-form select").select_option("some")
    page.get_by_role("button", name="Begin").click()
    page.locator("details textarea").fill("Halves\nQuarters\nAdding fractions")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".topics li")).to_have_count(3)
    shot(page, f"tutor-{size}")
    page.get_by_role("button", name="Practise", exact=True).click()
    replied(page)
    expect(page.locator(".coach")).to_contain_text("Halves")
    page.get_by_role("button", name="Hint 0/3").click()
    replied(page)
    expect(page.locator(".coach")).to_contain_text("Hint 1/3")
    shot(page, f"lesson-{size}")
    page.get_by_role("button", name="I knew it").click()
    expect(page.locator(".notice")).to_contain_text("Halves: 35% → 45%")
    page.locator(".coach a").click()
    expect(page.locator(".topics output").first).to_have_text("45%")
    page.locator(".topics input").nth(1).fill("80")
    page.reload()
    expect(page.locator(".topics output").nth(1)).to_have_text("80%")
    subject = api.get("/tutor").json()["subjects"][-1]
    assert subject["title"] == "Fractions"
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.locator(".tutor-form")).to_be_visible()
    assert api.get("/tutor").json()["subjects"] == []
