"""Projects: a name, standing instructions, files; what they are for a reply, and who sees them."""

import pytest
from app_page import Browser, paged, refused
from served import KEYS, tiny_model

from perilune.app import projects


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("projects"), context=4096)


@pytest.fixture
def address(model, tmp_path):
    with paged(model, tmp_path, keys=KEYS) as at:
        yield at


@pytest.fixture
def one(address):
    with Browser(address) as made:
        yield made.signed_in(KEYS[0])


def test_a_project_is_made_changed_listed_and_deleted(one):
    file = one.upload("a.txt", b"text")["id"]
    made = one.made("/projects", name="Taxes", instructions="Be exact.", files=[file, file])
    assert (made["name"], made["instructions"], made["files"]) == ("Taxes", "Be exact.", [file])
    assert one.get(f"/projects/{made['id']}").json() == made
    changed = one.patch(f"/projects/{made['id']}", json={"name": "Taxes 2026", "instructions": ""}).json()
    assert (changed["name"], changed["instructions"], changed["files"]) == ("Taxes 2026", "", [file])
    second = one.made("/projects", name="Moon")
    assert [project["id"] for project in one.get("/projects").json()["projects"]] == [second["id"], made["id"]]
    chat = one.made("/chats", project=made["id"], title="in it")["id"]
    one.made("/chats", title="not in it")
    listed = one.get("/chats", params={"project": made["id"]}).json()["chats"]
    assert [found["title"] for found in listed] == ["in it"]
    assert one.delete(f"/projects/{made['id']}").json()["deleted"]
    refused(one.get(f"/projects/{made['id']}"), 404)
    refused(one.get(f"/files/{file}"), 404)
    assert one.get(f"/chats/{chat}").json()["project"] is None


def test_a_chat_moves_into_a_project_and_out_of_it(one):
    project, chat = one.made("/projects", name="x")["id"], one.made("/chats")["id"]
    assert one.patch(f"/chats/{chat}", json={"project": project}).json()["project"] == project
    assert one.patch(f"/chats/{chat}", json={"title": "t"}).json()["project"] == project
    assert one.patch(f"/chats/{chat}", json={"project": None}).json()["project"] is None


def test_files_leave_a_project_and_stay_where_a_chat_has_them(one):
    first, second = (one.upload(name, name.encode())["id"] for name in ("a.txt", "b.txt"))
    project = one.made("/projects", name="x", files=[first, second])["id"]
    chat = one.made("/chats")["id"]
    one.said(chat, files=[second])
    assert one.patch(f"/projects/{project}", json={"files": []}).json()["files"] == []
    refused(one.get(f"/files/{first}"), 404)
    assert one.get(f"/files/{second}").status_code == 200


def test_instructions_and_files_stand_before_everything(one, model):
    file = one.upload("facts.txt", b"The moon is far.")["id"]
    project = one.made("/projects", name="x", instructions="Be exact.", files=[file])["id"]
    chat = one.made("/chats", project=project)["id"]
    message = one.said(chat, "How far?")
    reply, _ = one.replied(chat, message["id"], max_tokens=6, system="Be brief.")
    said = [
        {"role": "system", "content": "Be exact.\n\nBe brief."},
        {"role": "user", "content": "File: facts.txt\nThe moon is far.\nHow far?"},
    ]
    wanted = model.chat(said, max_tokens=6, temperature=0, thinking=False)
    assert "".join(part["text"] for part in reply["content"]) == wanted.content


def test_nobody_sees_or_changes_anothers_project(one, address):
    project = one.made("/projects", name="secret")["id"]
    with Browser(address) as other:
        other.signed_in(KEYS[1])
        for method in ("GET", "PATCH", "DELETE"):
            refused(other.request(method, f"/projects/{project}", json={} if method == "PATCH" else None), 404)
        refused(other.post("/chats", json={"project": project}), 404)
        chat = other.made("/chats")["id"]
        refused(other.patch(f"/chats/{chat}", json={"project": project}), 404)
        assert other.get("/projects").json()["projects"] == []
        assert other.get("/chats", params={"project": project}).json()["chats"] == []


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, "name is missing"),
        ({"name": ""}, "name"),
        ({"name": "x" * (projects.LONGEST_NAME + 1)}, "name"),
        ({"name": "x", "instructions": "x" * (projects.LONGEST_INSTRUCTIONS + 1)}, "instructions"),
        ({"name": "x", "files": "a"}, "files must be a list"),
        ({"name": "x", "files": [1]}, "files must be a list"),
        ({"name": "x", "files": [""] * (projects.MOST_FILES + 1)}, "files must be a list"),
        ({"name": "x", "files": ["x" * 100]}, "each of files"),
        ({"name": "x", "owner": "me"}, "unknown field 'owner'"),
    ],
)
def test_wrong_projects_are_refused(one, body, told):
    refused(one.post("/projects", json=body), 400, told)
    assert one.get("/projects").json()["projects"] == []


def test_a_project_that_names_a_missing_file_is_not_made(one):
    refused(one.post("/projects", json={"name": "x", "files": ["none"]}), 404)
    project = one.made("/projects", name="x")["id"]
    refused(one.patch(f"/projects/{project}", json={"name": "y", "files": ["none"]}), 404)
    assert one.get(f"/projects/{project}").json()["name"] == "x"


def test_projects_are_bounded(one, monkeypatch):
    monkeypatch.setattr(projects, "MOST_PROJECTS", 1)
    one.made("/projects", name="x")
    assert one.post("/projects", json={"name": "y"}).status_code == 507
