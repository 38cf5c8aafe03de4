"""The page's files as they lie in a folder, and what they may do in a browser."""

import gzip

import httpx
import pytest
from served import served, tiny_model

from perilune.app import mount
from perilune.app.static import Static
from perilune.server.kept import Kept

INDEX = b"<!doctype html><title>a page</title>"
FILES = {
    "index.html": INDEX,
    "js/main.js": b"console.log(1)",
    "vendor/marked-1.0.0/marked.js": b"//",
    "frames/python.html": b"<p>",
    "fonts/a.woff2": b"wOF2",
}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("static")
    for name, data in FILES.items():
        path = folder / "page" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (folder / "secret.txt").write_bytes(b"not for the web")
    (folder / "page" / "link.txt").symlink_to(folder / "secret.txt")
    kept, patch = Kept(folder / "state"), pytest.MonkeyPatch()
    patch.setattr(mount, "Static", lambda: Static(folder / "page"))
    options = {"kept": kept, "page": mount.Page, "keys": ("a-key-of-this-test",)}
    with served(tiny_model(folder / "model"), **options) as at, httpx.Client(base_url=at) as made:
        yield made
    kept.close()
    patch.undo()


@pytest.mark.parametrize("path", ["/", "/app", "/app/", "/app/index.html"])
def test_the_page_is_at_the_root_for_everybody(client, path):
    answer = client.get(path)
    assert (answer.status_code, answer.content) == (200, INDEX)
    policy = answer.headers["content-security-policy"]
    for rule in ("default-src 'self'", "script-src 'self';", "object-src 'none'", "frame-ancestors 'none'"):
        assert rule in policy
    assert "unsafe" not in policy and answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-type"] == "text/html; charset=utf-8"


def test_files_have_types_and_are_sent_again_only_when_they_changed(client):
    first = client.get("/app/js/main.js")
    assert first.headers["content-type"] == "text/javascript; charset=utf-8"
    assert first.headers["cache-control"] == "no-cache"
    again = client.get("/app/js/main.js", headers={"if-none-match": f'W/{first.headers["etag"]}, "x"'})
    assert (again.status_code, again.content) == (304, b"")
    assert "immutable" in client.get("/app/vendor/marked-1.0.0/marked.js").headers["cache-control"]
    assert client.get("/app/fonts/a.woff2").headers["content-type"] == "font/woff2"
    with client.stream("GET", "/app/js/main.js", headers={"accept-encoding": "gzip"}) as packed:
        assert gzip.decompress(b"".join(packed.iter_raw())) == b"console.log(1)"


def test_frames_run_scripts_without_an_origin_and_reach_only_files(client):
    answer = client.get("/app/frames/python.html")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts;") and "allow-same-origin" not in policy
    base = str(client.base_url).rstrip("/")
    assert f"connect-src {base}/app/vendor/ {base}/app/frames/;" in policy
    forged = client.get("/app/frames/python.html", headers={"host": "a.example; script-src *"})
    assert "a.example" not in forged.headers.get("content-security-policy", "")
    loaded = client.get("/app/vendor/marked-1.0.0/marked.js", headers={"origin": "null"})
    assert loaded.status_code == 200 and loaded.headers["access-control-allow-origin"] == "*"
    refused = client.get("/app/api/state", headers={"origin": "null"})
    assert refused.status_code == 403 and "access-control-allow-origin" not in refused.headers


@pytest.mark.parametrize(
    "path",
    [
        "/app/../secret.txt",
        "/app/%2e%2e/secret.txt",
        "/app/js/..%2f..%2f..%2fsecret.txt",
        "/app//etc/passwd",
        "/app/js",
        "/app/link.txt",
        "/app/none.js",
        "/app/%00",
        "/app/a%00.js",
        "/app/\\..\\secret.txt",
        "/app/" + "x" * 5000,
    ],
)
def test_nothing_else_is_told(client, path):
    answer = client.get(path, headers={"authorization": "Bearer a-key-of-this-test"})
    assert answer.status_code == 404 and b"not for the web" not in answer.content
    assert client.get(path).status_code == 401


def test_a_file_is_only_read(client):
    for method in ("POST", "PUT", "DELETE"):
        assert client.request(method, "/app/js/main.js").status_code in (401, 405)
    assert client.head("/app/js/main.js").status_code == 200
