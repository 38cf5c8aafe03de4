"""Files and batches with OpenAI's SDK: what was acknowledged is there, also after the process was killed."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import httpx
import openai
import pytest
from served import KEYS, client_of, served, until
from tiny_models import tiny_transformer, write_model

from perilune import load
from perilune.cli.serve import kept_of
from perilune.errors import RequestError
from perilune.server import files, kept
from perilune.server.kept import FullError, Kept


def request(i, **body):
    asked = {"messages": [{"role": "user", "content": f"number {i}"}], "max_tokens": 6, "temperature": 0, **body}
    return json.dumps({"custom_id": f"r{i}", "method": "POST", "url": "/v1/chat/completions", "body": asked})


def lines_of(*requests):
    return ("\n".join(requests) + "\n").encode()


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    made = tmp_path_factory.mktemp("kept")
    write_model(made, tiny_transformer())
    return made


@pytest.fixture(scope="module")
def model(directory):
    return load(directory)


def ended(client, batch):
    until(lambda: client.batches.retrieve(batch.id).status in ("completed", "failed", "cancelled"), 60)
    return client.batches.retrieve(batch.id)


def test_a_file_comes_back_as_it_was_and_belongs_to_its_key(address):
    client, other, data = client_of(address), client_of(address, KEYS[1]), os.urandom(3_000_000)
    made = client.files.create(file=("a/../b.bin", data), purpose="user_data")
    assert (made.bytes, made.purpose, client.files.retrieve(made.id).filename) == (
        len(data),
        "user_data",
        made.filename,
    )
    assert client.files.content(made.id).read() == data
    answer = httpx.get(f"{address}/v1/files/{made.id}/content", headers={"authorization": f"Bearer {KEYS[0]}"})
    assert (
        answer.headers["x-content-type-options"] == "nosniff" and "attachment" in answer.headers["content-disposition"]
    )
    for call in (other.files.retrieve, other.files.content, other.files.delete):
        with pytest.raises(openai.NotFoundError, match="no file is called"):
            call(made.id)
    assert [f.id for f in client.files.list()] == [made.id] and not list(other.files.list())
    assert client.files.delete(made.id).deleted and not list(client.files.list())


def test_long_lists_come_in_pages(address):
    client = client_of(address)
    made = [client.files.create(file=(f"{i}.txt", b"x"), purpose="batch").id for i in range(5)]
    assert [f.id for f in client.files.list(limit=2)] == made[::-1]  # the SDK turns the pages


def test_a_batch_answers_as_the_model_does_and_tells_what_it_could_not(address, model):
    client = client_of(address)
    source = client.files.create(file=("in.jsonl", lines_of(request(0), request(1, temperature=9))), purpose="batch")
    batch = client.batches.create(
        input_file_id=source.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"a": "b"}
    )
    done = ended(client, batch)
    assert (done.status, done.metadata) == ("completed", {"a": "b"})
    counts = done.request_counts
    assert (counts.total, counts.completed, counts.failed) == (2, 1, 1)
    (answer,) = map(json.loads, client.files.content(done.output_file_id).text.splitlines())
    wanted = model.chat([{"role": "user", "content": "number 0"}], max_tokens=6, temperature=0)
    assert answer["response"]["body"]["choices"][0]["message"]["content"] == wanted.content
    (failed,) = map(json.loads, client.files.content(done.error_file_id).text.splitlines())
    assert failed["custom_id"] == "r1" and "temperature" in failed["error"]["message"]
    assert [b.id for b in client.batches.list()] == [batch.id]
    with pytest.raises(openai.BadRequestError, match="completed already"):
        client.batches.cancel(batch.id)


def test_a_batch_can_be_cancelled_and_keeps_its_answers(address):
    client = client_of(address)
    source = client.files.create(
        file=("in.jsonl", lines_of(*(request(i, max_tokens=300) for i in range(60)))), purpose="batch"
    )
    batch = client.batches.create(input_file_id=source.id, endpoint="/v1/chat/completions", completion_window="24h")
    until(lambda: client.batches.retrieve(batch.id).status == "in_progress")
    assert client.batches.cancel(batch.id).status == "cancelling"
    done = ended(client, batch)
    assert done.status == "cancelled" and done.request_counts.completed < 60


def test_a_file_that_is_no_batch_fails_with_its_line(address):
    client = client_of(address)
    source = client.files.create(file=("in.jsonl", lines_of(request(0), "{")), purpose="batch")
    batch = client.batches.create(input_file_id=source.id, endpoint="/v1/chat/completions", completion_window="24h")
    assert "line 2 is not JSON" in ended(client, batch).errors.data[0].message


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"endpoint": "/v1/embeddings"}, "endpoint must be"),
        ({"completion_window": "1h"}, "completion_window must be"),
        ({"input_file_id": "file-none"}, "names no file"),
        ({"metadata": 5}, "metadata must be"),
    ],
)
def test_wrong_batches_are_refused(address, fields, told):
    body = {"input_file_id": "x", "endpoint": "/v1/chat/completions", "completion_window": "24h", **fields}
    answer = httpx.post(f"{address}/v1/batches", json=body, headers={"x-api-key": KEYS[0]})
    assert answer.status_code == 400 and told in answer.json()["error"]["message"]


def test_wrong_uploads_are_refused(address, monkeypatch):
    def post(told, status=400, **given):
        answer = httpx.post(f"{address}/v1/files", headers={"x-api-key": KEYS[0], **given.pop("headers", {})}, **given)
        assert answer.status_code == status and told in answer.json()["error"]["message"]

    post("multipart/form-data", json={"file": "x"})
    post("field called file", data={"purpose": "batch"}, files={"other": b"x"})
    post("purpose must be", data={"purpose": "fun"}, files={"file": b"x"})
    post("cannot be read", content=b"--a\r\nnonsense", headers={"content-type": "multipart/form-data"})
    post("cannot be read", data={"purpose": "batch"}, files=[("file", b"x"), ("file", b"y")])
    monkeypatch.setattr(files, "MOST_FILE_BYTES", 1000)
    monkeypatch.setattr(files, "FORM_BYTES", 1000)
    post("larger than", 413, data={"purpose": "batch"}, files={"file": b"x" * 5000})
    for limit in ("0", "x", "9" * 50, "²"):
        answer = httpx.get(f"{address}/v1/files", params={"limit": limit}, headers={"x-api-key": KEYS[0]})
        assert answer.status_code == 400


def test_room_is_bounded(model, tmp_path):
    small = Kept(tmp_path, most_bytes=1000)
    with served(model, kept=small) as at:
        client = client_of(at)
        client.files.create(file=("a", b"x" * 900), purpose="batch")
        with pytest.raises(openai.InternalServerError, match="no room") as caught:
            client.files.create(file=("b", b"x" * 200), purpose="batch")
        assert caught.value.status_code == 507 and len(list((tmp_path / "files").iterdir())) == 1
    small.close()


def test_the_number_of_records_is_bounded(place, monkeypatch):
    monkeypatch.setattr(kept, "MOST_RECORDS", 1)
    place.put("batch", "", {"id": "a"})
    with pytest.raises(FullError):
        place.put("batch", "", {"id": "b"})
    place.put("batch", "", {"id": "a", "status": "completed"})  # what is there already can still change
    assert place.get("batch", "", "a")["status"] == "completed"


def test_one_server_a_folder(place):
    with pytest.raises(RequestError, match="another server uses"):
        Kept(place.folder)


def test_what_is_kept_of_a_model_is_found_again_at_another_port(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PERILUNE_STATE", str(tmp_path))
    first = kept_of(None, "nano", 8000)
    second = kept_of(None, "nano", 8001)
    assert first.folder == tmp_path / "nano" and second.folder == tmp_path / "nano-8001"
    assert str(second.folder) in capsys.readouterr().err
    first.close()
    second.close()
    again = kept_of(None, "nano", 8002)
    assert again.folder == tmp_path / "nano" and not capsys.readouterr().err
    again.close()
    told = kept_of(tmp_path / "mine", "nano", 8000)
    assert told.folder == tmp_path / "mine"
    told.close()


def test_bytes_without_a_record_are_swept(tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "file-1.part-2").write_bytes(b"half")
    Kept(tmp_path).close()
    assert not list((tmp_path / "files").iterdir())


def started(directory, state):
    words = [sys.executable, "-m", "perilune", "serve", "--model", str(directory), "--port", "0", "--name", "m"]
    words += ["--state", str(state)]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    address = re.search(r"http://\S+/v1", process.stderr.readline())
    assert address, "the server did not start"
    return process, address.group()


KILLS = 4


def busy(client, uploads, responses):
    """Uploads and asks until the server is gone; what was acknowledged is written down."""
    rng = random.Random(len(uploads))
    with suppress(openai.APIConnectionError, openai.APITimeoutError):
        while True:
            data = rng.randbytes(rng.randrange(1, 300_000))
            uploads[client.files.create(file=("x", data), purpose="user_data").id] = data
            before = next(reversed(responses)) if len(responses) % 2 else None
            made = client.responses.create(model="m", input="hi", max_output_tokens=3, previous_response_id=before)
            responses[made.id] = made.output_text


def test_nothing_acknowledged_is_lost_when_the_process_is_killed(directory, model, tmp_path):
    """A batch that runs, files and responses that are being kept, killed at random moments."""
    rng, count, uploads, responses = random.Random(1), 40, {}, {}
    process, address = started(directory, tmp_path)
    client = openai.OpenAI(base_url=address, api_key="none", max_retries=0)
    source = client.files.create(file=("in.jsonl", lines_of(*map(request, range(count)))), purpose="batch")
    batch = client.batches.create(input_file_id=source.id, endpoint="/v1/chat/completions", completion_window="24h")
    for _ in range(KILLS):
        worker = threading.Thread(target=busy, args=(client, uploads, responses))
        worker.start()
        time.sleep(rng.random())
        process.send_signal(signal.SIGKILL)
        process.wait()
        worker.join()
        client.close()
        process.stderr.close()
        process, address = started(directory, tmp_path)
        client = openai.OpenAI(base_url=address, api_key="none", max_retries=0)
        assert client.files.retrieve(source.id).bytes == source.bytes
        assert all(client.files.content(name).read() == data for name, data in list(uploads.items())[-9:])
        assert all(client.responses.retrieve(name).output_text == text for name, text in list(responses.items())[-9:])
    done = ended(client, batch)
    assert (done.status, done.request_counts.completed) == ("completed", count)
    answers = [json.loads(line) for line in client.files.content(done.output_file_id).text.splitlines()]
    said = {a["custom_id"]: a["response"]["body"]["choices"][0]["message"]["content"] for a in answers}
    for i in range(0, count, 7):
        wanted = model.chat([{"role": "user", "content": f"number {i}"}], max_tokens=6, temperature=0)
        assert said[f"r{i}"] == wanted.content
    assert len(answers) == count and len(uploads) > KILLS and len(responses) > KILLS
    client.close()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) in (0, -signal.SIGTERM)
    process.stderr.close()
