"""Fetching from real servers on this machine: good ones, and all that a hostile one can do.

They stand for hosts of the public network: the resolver is given, and their one number is allowed.
"""

import socket
import ssl
import subprocess
import time
from contextlib import contextmanager
from ipaddress import ip_network

import pytest
from raw_server import OK, PNG, Server, whole

from perilune.errors import MediaError
from perilune.media.fetch import MOST_REDIRECTS, Remote, system_numbers

HERE = ip_network("127.0.0.1/32")


def moved(to, status=302):
    return [f"HTTP/1.1 {status} Moved\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n".encode()]


@pytest.fixture
def server():
    with Server() as made:
        yield made


def remote(server, *hosts, resolve=None, **options):
    hosts = hosts or (f"pictures.example:{server.port}",)
    return Remote(hosts, resolve=resolve or (lambda host, port: ["127.0.0.1"]), allowed=[HERE], **options)


def get(server, path="/", most=1 << 20, kind="image", **options):
    return remote(server, **options).get(server.url(path), kind, most)


def endless(head, piece):
    yield head
    while True:
        yield piece


def slow(pieces):
    for piece in pieces:
        yield piece
        time.sleep(0.05)


def test_a_picture_comes_as_it_is_and_little_is_said(server, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    server.answers["/a.png?b=c"] = whole(head=b"content-type: text/html\r\nset-cookie: a=b\r\n")
    assert get(server, "/a.png?b=c") == PNG
    said = server.asked[0].lower()
    assert said.startswith("get /a.png?b=c http/1.1\r\n") and f"host: pictures.example:{server.port}\r\n" in said
    assert "accept-encoding: identity" in said and "cookie" not in said and "referer" not in said


def test_chunks_and_bodies_that_end_with_the_connection_are_read(server):
    server.answers["/chunked"] = [
        OK + b"transfer-encoding: chunked\r\n\r\n",
        b"%x\r\n" % len(PNG),
        PNG,
        b"\r\n0\r\n\r\n",
    ]
    server.answers["/open"] = [OK + b"\r\n", PNG]
    assert get(server, "/chunked") == get(server, "/open") == PNG


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed_by_hand(server, status):
    server.answers |= {"/": moved("/next", status), "/next": moved(server.url("/last", "b.example")), "/last": whole()}
    hosts = (f"pictures.example:{server.port}", f"b.example:{server.port}")
    assert remote(server, *hosts).get(server.url(), "image", 1 << 20) == PNG
    assert "host: b.example" in server.asked[2].lower()


def test_redirects_end(server):
    server.answers["/"] = moved("/")
    with pytest.raises(MediaError, match="leads to another more than 3 times"):
        get(server)
    assert len(server.asked) == MOST_REDIRECTS + 1


@pytest.mark.parametrize(
    ("to", "told"),
    [
        ("http://other.example/", "does not allow that host"),
        ("http://127.0.0.1/", "does not allow that host"),
        ("http://169.254.169.254/latest/meta-data/", "does not allow that host"),
        ("http://[::ffff:127.0.0.1]/", "does not allow that host"),
        ("http://private.example/", "not one of the public network"),
        ("file:///etc/passwd", "begins with https"),
        ("http://me@pictures.example/", "user name"),
        ("http://[", "did not answer as the web does"),
    ],
)
def test_redirects_are_checked_like_the_first_address(server, to, told):
    server.answers["/"] = moved(to)
    numbers = {"pictures.example": ["127.0.0.1"], "private.example": ["10.0.0.1"]}
    hosts = (f"pictures.example:{server.port}", "pictures.example", "private.example")
    with pytest.raises(MediaError, match=told):
        remote(server, *hosts, resolve=lambda host, port: numbers[host]).get(server.url(), "image", 1 << 20)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "numbers", [["10.0.0.1"], ["127.0.0.2"], ["127.0.0.1", "::1"], ["::ffff:127.0.0.1"], ["64:ff9b::7f00:1"]]
)
def test_a_name_that_stands_for_a_private_number_is_not_asked(server, numbers):
    with pytest.raises(MediaError, match="not one of the public network"):
        get(server, resolve=lambda host, port: numbers)
    assert not server.asked


@pytest.mark.parametrize(
    "name", ["127.0.0.1", "2130706433", "0x7f000001", "0x7f.1", "017700000001", "127.1", "0", "localhost"]
)
def test_a_private_number_in_any_spelling_is_not_asked_even_where_its_name_is_allowed(server, name):
    asking = Remote([f"{name}:{server.port}"])  # with the resolver of the system
    with pytest.raises(MediaError, match=r"not one of the public network|cannot be reached"):
        asking.get(server.url(host=name), "image", 1 << 20)
    assert not server.asked


def test_this_machine_s_own_name_is_private():
    assert {number.partition("%")[0] for number in system_numbers("localhost", 80)} <= {"127.0.0.1", "::1"}


def test_a_name_is_looked_up_once_so_that_its_answer_cannot_change(server):
    server.answers["/"] = whole()
    answers, asked = [["127.0.0.1"], ["10.0.0.1"], ["10.0.0.1"]], []

    def rebinding(host, port):
        asked.append(host)
        return answers[len(asked) - 1]

    asking = remote(server, resolve=rebinding)
    assert asking.get(server.url(), "image", 1 << 20) == PNG and len(asked) == 1
    with pytest.raises(MediaError, match="not one of the public network"):
        asking.get(server.url(), "image", 1 << 20)


def test_an_endless_body_ends_at_the_cap(server):
    server.answers["/"] = endless(OK + b"\r\n" + PNG, b"x" * 65536)
    with pytest.raises(MediaError, match="the image is larger than 1,000,000 bytes"):
        get(server, most=1_000_000)
    server.answers["/"] = endless(OK + b"transfer-encoding: chunked\r\n\r\n", b"1000\r\n" + PNG[:4096] + b"\r\n")
    with pytest.raises(MediaError, match="the image is larger than"):
        get(server, most=1_000_000)
    assert server.sent < 100 << 20


@pytest.mark.parametrize("length", [2_000_000, 10**18, 10**30])
def test_a_huge_declared_length_is_refused_at_once(server, length):
    server.answers["/"] = [OK + b"content-length: %d\r\n\r\n" % length]
    with pytest.raises(MediaError, match="the image is larger than 1,000,000 bytes"):
        get(server, most=1_000_000)


@pytest.mark.parametrize("most", [len(PNG) - 1, len(PNG)])
def test_the_cap_is_exact(server, most):
    server.answers["/"] = [OK + b"\r\n", PNG]
    if most == len(PNG):
        assert get(server, most=most) == PNG
    else:
        with pytest.raises(MediaError, match="larger than"):
            get(server, most=most)


@pytest.mark.parametrize(
    "pieces",
    [
        [OK + b"\r\n" + PNG, *[b"x"] * 40],
        [OK, *[b"a: b\r\n"] * 40],
        [bytes([c]) for c in OK * 20],
        [b"HTTP/1.1 100 Continue\r\n\r\n"] * 40,
        [b""] * 40,
    ],
    ids=["body", "headers", "letters", "continues", "silence"],
)
def test_whoever_is_slow_is_left(server, pieces):
    server.answers["/"] = slow(pieces)
    with pytest.raises(MediaError, match=r"did not answer in full within 0\.3 seconds"):
        get(server, seconds=0.3)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (whole(b"<html><script>"), "this is no image"),
        (whole(b"RIFF\x24\0\0\0WAVEfmt "), "this is no image that can be read, it is wav"),
        (whole(b""), "this is no image"),
        (whole(head=b"content-encoding: gzip\r\n"), "compressed"),
        ([b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"], "answered with status 404"),
        ([b"HTTP/1.1 206 Partial Content\r\n\r\n"], "answered with status 206"),
        ([OK + b"content-length: 9999\r\n\r\n" + PNG], "broke off"),
        ([OK + b"transfer-encoding: chunked\r\n\r\nzz\r\n"], "broke off"),
        ([b"SSH-2.0-OpenSSH_9.6\r\n"], "did not answer as the web does"),
        ([b""], "did not answer as the web does"),
        ([OK + b"a: b\r\n" * 1000], "did not answer as the web does"),
        ([OK + b"a: " + b"b" * 100_000], "did not answer as the web does"),
    ],
)
def test_what_is_no_picture_is_refused(server, answer, told):
    server.answers["/"] = answer
    with pytest.raises(MediaError, match=told):
        get(server)


def test_a_wrong_body_is_not_read_to_its_end(server):
    server.answers["/"] = endless(OK + b"\r\n", b"<html>" * 1000)
    with pytest.raises(MediaError, match="this is no image"):
        get(server, most=1 << 40)


def test_a_host_that_is_not_there(server):
    def unknown(host, port):
        raise socket.gaierror("unknown")

    for resolve in (unknown, lambda host, port: []):
        with pytest.raises(MediaError, match="cannot be reached"):
            get(server, resolve=resolve)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(MediaError, match="cannot be reached"):
        remote(server, f"a.example:{port}").get(f"http://a.example:{port}/", "image", 1000)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Of pictures.example, signed by itself; its key is made anew for every run."""
    folder = tmp_path_factory.mktemp("certificate")
    names = ["-subj", "/CN=pictures.example", "-addext", "subjectAltName=DNS:pictures.example"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    files = ["-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    try:
        subprocess.run(["openssl", "req", "-x509", *kind, *names, *files], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("needs the openssl program")
    return folder


@contextmanager
def served_safely(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    with Server(context) as made:
        made.answers["/"] = whole()
        yield made


def test_certificates_are_checked_against_the_name_that_was_asked_for(certificate):
    trust = ssl.create_default_context(cafile=certificate / "cert.pem")
    with served_safely(certificate) as server:
        asking = remote(server, f"*.example:{server.port}", trust=trust)
        assert asking.get(server.url(scheme="https"), "image", 1 << 20) == PNG
        with pytest.raises(MediaError, match="no certificate that is trusted"):
            asking.get(server.url(host="other.example", scheme="https"), "image", 1 << 20)
        with pytest.raises(MediaError, match="no certificate that is trusted"):
            remote(server).get(server.url(scheme="https"), "image", 1 << 20)
        with pytest.raises(MediaError, match="did not answer as the web does"):
            asking.get(server.url(scheme="http"), "image", 1 << 20)
        assert len(server.asked) == 1
