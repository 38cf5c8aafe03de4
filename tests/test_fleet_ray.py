"""Replicas on Ray: `perilune serve --ray 2` with nano; one is killed under load, all are replaced, all end at last."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest
from served import until

from perilune.errors import RequestError, WeightsError
from perilune.fleet import ray_processes
from perilune.fleet.ray_processes import ADDRESS, cluster, threads_each
from perilune.fleet.serve import share_of

CHAT = "/v1/chat/completions"
NANO = Path(ray_processes.__file__).parents[1] / "models" / "nano"
CLIENTS = 8


def replicas_of(server):
    """The processes of replicas that a server has started, from /proc."""
    found, parents = {}, {}
    for entry in Path("/proc").iterdir():
        try:
            pid = int(entry.name)
            parents[pid] = int(re.search(r"PPid:\s+(\d+)", (entry / "status").read_text()).group(1))
            found[pid] = (entry / "cmdline").read_bytes().startswith(b"ray::Server")
        except (OSError, ValueError):
            continue

    def is_ours(pid):
        return pid == server.pid or (pid in parents and is_ours(parents[pid]))

    return {pid for pid, is_replica in found.items() if is_replica and is_ours(pid)}


@pytest.fixture
def started(tmp_path):
    if find_spec("ray") is None:
        pytest.skip("ray is not installed")
    if not Path("/proc").is_dir() or (os.cpu_count() or 1) < 2:
        pytest.skip("needs /proc and two cores")
    command = [sys.executable, "-m", "perilune", "serve", "--ray", "2", "--port", "0", "--state", str(tmp_path)]
    env = {name: value for name, value in os.environ.items() if name not in (ADDRESS, "PERILUNE_API_KEY")}
    with (tmp_path / "said").open("w+") as said:
        # A session of its own: nothing that it starts can outlive the test.
        running = subprocess.Popen(command, stdout=said, stderr=said, env=env, start_new_session=True)
        try:
            told = re.compile(r"served at (http://127\.0\.0\.1:\d+)/v1")
            text = (tmp_path / "said").read_text
            until(lambda: told.search(text()) or running.poll() is not None, 120)
            assert told.search(text()), text()
            yield running, told.search(text()).group(1)
        finally:
            running.kill()
            running.wait()


def asked(who, tokens, **fields):
    said = [{"role": "user", "content": f"Tell me a story about {who}. " + f"{who} is very nice. " * 4}]
    return {"messages": said, "max_tokens": tokens, "temperature": 0, "ignore_eos": True, **fields}


def stream(http, who, all_began):
    """The replica that answered, and whether its reply was whole; fails where it is neither that nor an error event."""
    with http.stream("POST", CHAT, json=asked(who, 120, stream=True)) as answer:
        lines = answer.iter_lines()
        told = [next(lines)]
        all_began.wait(60)
        told += [line for line in lines if line.startswith("data: ")]
    assert answer.status_code == 200 and told.pop() == "data: [DONE]"
    last = json.loads(told[-1].removeprefix("data: "))
    if "error" in last:
        assert "was lost" in last["error"]["message"]
        return answer.headers["x-perilune-replica"], False
    assert last["choices"][0]["finish_reason"] == "length"
    return answer.headers["x-perilune-replica"], True


def ready(http):
    return set(re.findall(r'fleet_open{replica="([\d.]+)"}', http.get("/metrics").text))


def test_a_replica_killed_under_load_costs_its_own_replies_only(started):
    server, address = started
    with httpx.Client(base_url=address, timeout=60) as http, ThreadPoolExecutor(CLIENTS) as team:
        names = [f"Anna{i}" for i in range(CLIENTS)]
        first, processes = ready(http), replicas_of(server)
        assert len(first) == len(processes) == 2
        all_began = threading.Barrier(CLIENTS + 1)
        streams = [team.submit(stream, http, who, all_began) for who in names]
        all_began.wait(60)
        os.kill(min(processes), signal.SIGKILL)
        ended = [one.result(120) for one in streams]
        (lost,), (stayed,) = ({name for name, whole in ended if whole is kind} for kind in (False, True))
        assert {lost, stayed} == first

        answers = list(team.map(lambda who: http.post(CHAT, json=asked(who, 8)), names))
        assert {answer.status_code for answer in answers} == {200}
        assert lost not in {answer.headers["x-perilune-replica"] for answer in answers}

        until(lambda: len(ready(http)) == 2, 60)
        second = ready(http)
        assert stayed in second and lost not in second and len(replicas_of(server)) == 2
        turns = [{http.post(CHAT, json=asked(who, 2)).headers["x-perilune-replica"] for _ in range(3)} for who in names]
        assert all(len(where) == 1 for where in turns)

        server.send_signal(signal.SIGHUP)
        while ready(http) & second:
            assert http.post(CHAT, json=asked("Ben", 2)).status_code == 200
        until(lambda: len(replicas_of(server)) == 2 and not replicas_of(server) & processes, 60)
        left = replicas_of(server)
    server.send_signal(signal.SIGTERM)
    assert server.wait(60) == 0
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in left))


@pytest.mark.parametrize(
    ("cores", "replicas", "each"),
    [([2], 2, 1), ([16], 3, 5), ([16, 16], 2, 16), ([16, 16], 3, 8), ([16, 4], 2, 8), ([2], 3, 0), ([], 1, 0)],
)
def test_cores_are_shared_out(cores, replicas, each):
    assert threads_each(cores, replicas) == each


def test_what_has_no_room_is_refused_before_anything_starts(monkeypatch):
    monkeypatch.delenv(ADDRESS, raising=False)
    cores = os.cpu_count()
    for replicas, threads in ((cores + 1, None), (2, cores)):
        with pytest.raises(RequestError, match=f"no room for {replicas} replicas"), cluster(replicas, threads):
            pass
    with pytest.raises(WeightsError, match=r"and one more while they are replaced; .* too little"):
        share_of("100MB", 2, NANO, {})
    with pytest.raises(RequestError, match="GiB free"):
        share_of("900TB", 2, NANO, {})
    assert share_of(6 << 30, 2, NANO, {}) == 2 << 30
    monkeypatch.setenv(ADDRESS, "auto")
    with pytest.raises(RequestError, match="for all replicas of the cluster"):
        share_of("auto", 2, NANO, {})


def test_without_ray_it_is_said_how_to_install_it(monkeypatch):
    monkeypatch.setattr(ray_processes, "NEEDED", ("a_module_that_nobody_has",))
    with pytest.raises(RequestError, match=r"pip install 'perilune\[ray\]'"), cluster(1, 1):
        pass
