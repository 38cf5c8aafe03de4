"""Routing traces: what is written is what was routed, and replays of policies whose outcome is known."""

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from perilune.api.trace import KIND, Step, Trace, read_trace, read_traces, recording
from perilune.bench.cache import POLICIES, replay_all
from perilune.cli.app import app
from perilune.engine.runner import Runner
from perilune.errors import RequestError
from perilune.model.checkpoint import load_transformer
from perilune.model.moe import MoE
from perilune.synth import synthesize


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return synthesize("tiny", tmp_path_factory.mktemp("trace") / "m", seed=5).directory


@pytest.mark.parametrize("cache", [None, 1 << 20], ids=["mapped", "streamed"])
def test_a_trace_holds_every_token_of_every_layer_and_changes_nothing(directory, tmp_path, cache):
    model = load_transformer(directory, expert_cache=cache)
    runner, ids = Runner(model), [5, 6, 7, 8, 9]
    state = runner.new_state()
    wanted = [runner.extend(ids, state), torch.from_numpy(runner.decode([3], [state]))]
    with recording(model, tmp_path / "t"):
        state = runner.new_state()
        found = [runner.extend(ids, state), torch.from_numpy(runner.decode([3], [state]))]
    assert all(a.equal(b) for a, b in zip(wanted, found, strict=True))
    trace = read_trace(tmp_path / "t")
    assert trace.tokens == 6 and len(trace.steps) == 2 * len(trace.layers)
    last = trace.steps[len(trace.layers) - 1]
    moe = next(block.mlp for block in reversed(model.blocks) if isinstance(block.mlp, MoE))
    assert last.experts_TK.tolist() == moe.last_routing.ids_TK.tolist()
    assert moe.observe is None


def test_what_passes_a_layer_together_is_one_step(directory, tmp_path, monkeypatch):
    """However many pieces attention cuts a prompt into, its experts are gone through once."""
    monkeypatch.setattr("perilune.model.model.PIECE", 2)
    model = load_transformer(directory)
    runner = Runner(model)
    with recording(model, tmp_path / "t"):
        runner.extend([5, 6, 7, 8, 9], runner.new_state())
    trace = read_trace(tmp_path / "t")
    assert [len(step.experts_TK) for step in trace.steps] == [5] * len(trace.layers)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no routing trace"),
        ("{}", "no routing trace"),
        ("[1]", "line 1 is not a JSON object"),
        ("GOOD\n{", "line 2 is not a JSON object"),
        ('GOOD\n{"layer": 9, "experts": [[0, 1]]}', "line 2: a step needs a layer"),
        ('GOOD\n{"layer": 1, "experts": [[0, 8]]}', "line 2: a step needs"),
        ('GOOD\n{"layer": 1, "experts": [[0]]}', "line 2: a step needs"),
        ('GOOD\n{"layer": 1, "experts": [["a", {}]]}', "line 2: a step needs"),
    ],
)
def test_what_is_no_trace_is_refused(tmp_path, text, says):
    head = json.dumps({"kind": KIND, "experts": 8, "per_token": 2, "layers": [1]})
    (tmp_path / "t").write_text(text.replace("GOOD", head))
    with pytest.raises(RequestError, match=says):
        read_trace(tmp_path / "t")


def trace_of(rows, experts=100):
    return Trace(experts, 1, (1,), [Step(1, np.array([[row]])) for row in rows])


def rates(rows, slots):
    return {r.policy: r.hit_rate for r in replay_all(trace_of(rows), [slots / 100])}


def test_policies_do_what_they_are_called():
    loop = rates([0, 1, 2, 3] * 50, 3)
    assert loop["recency"] == 0.0 and loop["pinned"] == loop["clairvoyant"] == 0.75
    assert all(rate == 1.0 for rate in rates([0, 1, 2, 3] * 50, 4).values())
    favourite = rates([x for i in range(200) for x in (7, 10 + i % 80)], 2)
    assert all(favourite[name] == pytest.approx(0.5, abs=0.01) for name in ("recency", "frequency", "clairvoyant"))
    moving = rates([i // 20 for i in range(400)], 2)
    assert moving["recency"] == moving["clairvoyant"] == 0.95 and moving["pinned"] == 0.0
    rng = np.random.default_rng(0)
    drawn = rates((rng.zipf(1.3, 4000) % 100).tolist(), 10)
    assert max(drawn.values()) == drawn["clairvoyant"] > drawn["fading"] > drawn["recency"] > 0


def test_uses_that_fade_keep_something_where_a_token_uses_more_than_there_is_room_for():
    rng = np.random.default_rng(1)
    steps = [Step(layer, (rng.zipf(1.5, (1, 4)) % 40)) for _ in range(400) for layer in range(4)]
    few = {r.policy: r.hit_rate for r in replay_all(Trace(40, 4, (0, 1, 2, 3), steps), [8 / 160])}
    assert few["recency"] < 0.05 < 0.2 < few["fading"] < few["clairvoyant"]


def test_the_commands_write_and_replay_a_trace(tmp_path):
    path = tmp_path / "t"
    run = CliRunner().invoke(app, ["chat", "hello", "--max-tokens", "4", "--trace", str(path)])
    assert run.exit_code == 0, run.output
    shown = CliRunner().invoke(app, ["bench", "cache", "--trace", str(path)])
    assert shown.exit_code == 0 and "clairvoyant" in shown.output
    told = json.loads(CliRunner().invoke(app, ["bench", "cache", "--trace", str(path), "--json"]).stdout)
    assert {row["policy"] for row in told["replays"]} == set(POLICIES) and told["tokens"] > 4
    assert CliRunner().invoke(app, ["bench", "cache", "--trace", str(tmp_path / "none")]).exit_code == 2


def test_traces_of_one_model_go_on_in_turn(tmp_path):
    line = {"layer": 1, "experts": [[0, 1]]}
    for name, experts in (("a", 8), ("b", 8), ("c", 9)):
        head = {"kind": KIND, "experts": experts, "per_token": 2, "layers": [1]}
        (tmp_path / name).write_text(f"{json.dumps(head)}\n{json.dumps(line)}\n")
    assert read_traces([tmp_path / "a", tmp_path / "b"]).tokens == 2
    with pytest.raises(RequestError, match="c is of another model than a"):
        read_traces([tmp_path / "a", tmp_path / "c"])
