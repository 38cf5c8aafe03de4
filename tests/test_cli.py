"""The command line: every verb on a small real model, through typer's runner and once as a real process."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from tiny_models import chain_transformer, tiny_transformer, write_model
from typer.testing import CliRunner

from perilune.cli import app
from perilune.text import specials as sp

CALL = f"{sp.SECTION_BEGIN}{sp.CALL_BEGIN}f:0{sp.ARGUMENT_BEGIN}{{}}{sp.CALL_END}{sp.SECTION_END}"
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]


@pytest.fixture(scope="module")
def reciting(tmp_path_factory):
    model = chain_transformer(f"{sp.THINK}abc{sp.END_THINK}xyz")
    return str(write_model(tmp_path_factory.mktemp("cli") / "reciting", model))


@pytest.fixture(scope="module")
def random(tmp_path_factory):
    return str(write_model(tmp_path_factory.mktemp("cli") / "random", tiny_transformer()))


def run(*words: str, stdin: str | None = None):
    return CliRunner().invoke(app, list(words), input=stdin)


def answer(*words: str, stdin: str | None = None) -> str:
    result = run(*words, stdin=stdin)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*words: str, stdin: str | None = None) -> str:
    result = run(*words, stdin=stdin)
    assert result.exit_code == 2 and "Traceback" not in result.output
    return result.stderr


def test_one_question_one_answer(reciting):
    assert answer("chat", "hello", "--model", reciting) == "xyz\n"


def test_the_question_may_come_on_stdin(reciting):
    assert answer("chat", "-m", reciting, stdin="hello") == "xyz\n"


def test_bytes_on_stdin_that_are_no_text_are_refused(reciting):
    result = CliRunner().invoke(app, ["chat", "-m", reciting], input=b"hi \xff")
    assert result.exit_code == 2 and "stdin is not utf-8 text" in result.stderr


def test_json_has_the_whole_reply(reciting):
    reply = json.loads(answer("chat", "hello", "-m", reciting, "--json", "--temperature", "0"))
    assert (reply["reasoning"], reply["content"], reply["finish_reason"]) == ("abc", "xyz", "stop")
    assert reply["tool_calls"] == []
    assert reply["usage"]["completion_tokens"] == 7
    assert reply["usage"]["total_tokens"] == reply["usage"]["prompt_tokens"] + 7
    assert reply["timings"]["decode_tokens_per_second"] > 0


def test_options_reach_the_model(reciting):
    reply = json.loads(answer("chat", "hello", "-m", reciting, "--json", "--max-tokens", "2"))
    assert (reply["reasoning"], reply["finish_reason"]) == ("ab", "length")
    longer = json.loads(answer("chat", "hello", "-m", reciting, "--json", "--system", "Be brief."))
    assert longer["usage"]["prompt_tokens"] > reply["usage"]["prompt_tokens"]
    stopped = json.loads(answer("chat", "hello", "-m", reciting, "--json", "--stop", "y"))
    assert stopped["content"] == "x"


def test_without_thinking(tmp_path):
    model = str(write_model(tmp_path / "m", chain_transformer(f"{sp.END_THINK}xyz")))
    reply = json.loads(answer("chat", "hello", "-m", model, "--no-thinking", "--json"))
    assert (reply["reasoning"], reply["content"]) == ("", "xyz")


def test_tools_are_declared_and_calls_printed(tmp_path):
    model = str(write_model(tmp_path / "m", chain_transformer(f"{sp.THINK}{sp.END_THINK}{CALL}")))
    (tmp_path / "tools.json").write_text(json.dumps(TOOLS))
    words = ["chat", "hello", "-m", model, "--tools", str(tmp_path / "tools.json")]
    assert answer(*words) == "→ f({})\n"
    reply = json.loads(answer(*words, "--json"))
    function = {"name": "f", "arguments": "{}"}
    assert reply["tool_calls"] == [{"id": "functions.f:0", "type": "function", "function": function}]
    assert reply["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("text", ["{", '{"a": 1}', "[1]", "[" * 5000], ids=["cut", "object", "number", "deep"])
def test_broken_tools_files_are_refused(reciting, tmp_path, text):
    (tmp_path / "tools.json").write_text(text)
    assert "--tools" in refused("chat", "hi", "-m", reciting, "--tools", str(tmp_path / "tools.json"))
    assert "No such file" in refused("chat", "hi", "-m", reciting, "--tools", str(tmp_path / "none.json"))


def test_generate_continues_text_and_ids(random):
    words = ["generate", "-m", random, "--max-tokens", "5", "--seed", "1", "--json"]
    text = json.loads(answer(*words, "ab"))
    ids = json.loads(answer(*words, "--ids", "97, 98"))
    assert text["ids"] == ids["ids"] and len(ids["ids"]) == 5 and text["text"] == ids["text"]
    assert json.loads(answer(*words, stdin="ab"))["ids"] == ids["ids"]


def test_generate_prints_ids_where_there_is_no_tokenizer(tmp_path):
    bare = str(write_model(tmp_path / "bare", tiny_transformer(), tokenizer=False))
    printed = answer("generate", "--ids", "1,2", "-m", bare, "--max-tokens", "3", "--temperature", "0")
    assert len(printed.strip().split(",")) == 3
    assert "needs a tokenizer" in refused("generate", "text", "-m", bare)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["chat", "hi", "--temperature", "9"], "temperature must be a number from 0 to 2"),
        (["chat", "hi", "--top-p", "0"], "top_p must be"),
        (["chat", "hi", "--seed", "-1"], "seed must be"),
        (["chat", "hi", "--ram", "lots"], "16GiB"),
        (["chat", "hi", "--threads", "0"], "threads must be"),
        (["chat", "hi", "--int4", "int3"], "float, int8"),
        (["chat", "hi", "--max-tokens", "100000"], "context holds 512"),
        (["chat", " "], "nothing was asked"),
        (["generate", "--ids", "1,x"], "--ids takes token ids"),
        (["generate", "--ids", "9999"], "outside this model's vocabulary of 512"),
        (["bench", "decode", "--batch", "0"], "batch must be from 1"),
        (["bench", "prefill", "--prompt", "5000"], "context of 512"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_values_are_one_line_that_teaches(random, words, says):
    error = refused(*words, "--model", random)
    assert says in error and error.startswith("perilune: ") and error.count("\n") == 1


def test_a_missing_model_is_one_line():
    assert "there is no model" in refused("chat", "hi", "--model", "/nowhere")
    assert "there is no model" in refused("show", "/nowhere")


def test_unknown_options_are_refused():
    assert "No such option" in refused("chat", "--temprature", "1")


def test_show_adds_up(random):
    summary = json.loads(answer("show", random, "--json"))
    assert summary["layers"] == 3 and summary["parameters"] > summary["active_parameters"] > 0
    assert "perilune, 3 layers" in answer("show", random)


def test_synth_writes_what_show_reads(tmp_path):
    out = str(tmp_path / "made")
    assert "tensors" in answer("synth", "tiny", "--layers", "2", "--seed", "1", "--out", out)
    assert json.loads(answer("show", out, "--json"))["layers"] == 2
    assert "no shape is called 'huge'" in refused("synth", "huge", "--out", str(tmp_path / "other"))


def test_synth_does_not_read_a_neighbour_of_the_file_named(random, tmp_path):
    refused("synth", f"{random}/other-config.json", "--out", str(tmp_path / "new"))
    assert not (tmp_path / "new").exists()


def test_bench_prints_a_result_for_people_and_programs(random):
    words = ["bench", "decode", "-m", random, "--tokens", "3", "--prompt", "4", "--repeats", "1"]
    assert "tokens/s" in answer(*words)
    assert json.loads(answer(*words, "--json"))["tokens_per_second"] > 0
    prefill = answer("bench", "prefill", "-m", random, "--prompt", "8", "--repeats", "1", "--json")
    assert json.loads(prefill)["what"] == "prefill"


def test_the_demo_answers_and_says_how_to_go_on(reciting):
    shown = answer("demo", "--model", reciting)
    assert "bear" in shown and "xyz" in shown and "tokens/s" in shown and "perilune chat" in shown


def test_version_names_what_it_stands_on():
    assert answer("version").startswith("perilune 0.") and "torch 2." in answer("version")


def test_as_a_real_process(reciting):
    words = [sys.executable, "-m", "perilune", "chat", "--model", reciting, "--json"]
    done = subprocess.run(words, input="hello", capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and json.loads(done.stdout)["content"] == "xyz"
    words = [sys.executable, "-m", "perilune", "chat", "hi", "--model", "/nowhere"]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and done.stdout == ""
