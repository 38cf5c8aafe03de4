"""--strict-k2: what the hosted service refuses is refused, and what it fixes is so."""

import httpx
import pytest
from served import served, tiny_model

from perilune.server.strict import strict_body

ASKED = [{"role": "user", "content": "hello"}]
OFF = {"thinking": {"type": "disabled"}}


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with served(tiny_model(tmp_path_factory.mktemp("strict")), strict_k2=True) as at:
        yield at


def tools(count=1, name="look"):
    return {"tools": [{"type": "function", "function": {"name": name}}] * count}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"temperature": 0.7}, "temperature 1.0 only, got 0.7"),
        ({"temperature": 1.0, **OFF}, "temperature 0.6 only"),
        ({"top_p": 1}, "top_p 0.95 only"),
        ({"n": 2}, "n 1 only"),
        ({"n": True}, "n "),
        ({"presence_penalty": 0.5}, "presence_penalty 0 only"),
        ({"frequency_penalty": -1}, "frequency_penalty 0 only"),
        ({"top_k": 5}, "no field 'top_k'"),
        ({"logit_bias": {}}, "no field 'logit_bias'"),
        ({"stop": ["a"] * 6}, "up to 5 stop strings"),
        ({"stop": "ä" * 17}, "32 bytes"),
        (tools(129), "up to 128 tools"),
        (tools(name="a.b"), "no tool called 'a.b'"),
    ],
)
def test_what_the_hosted_service_refuses(address, fields, told):
    answer = httpx.post(
        address + "/v1/chat/completions", json={"model": "tiny", "messages": ASKED, **fields}, timeout=60
    )
    assert answer.status_code == 400 and told in answer.json()["error"]["message"]


def test_what_it_takes_is_answered_with_what_it_fixes(address):
    body = {"model": "tiny", "messages": ASKED, "max_tokens": 4, **tools(), **OFF, "temperature": 0.6, "stop": ["x"]}
    assert httpx.post(address + "/v1/chat/completions", json=body, timeout=60).status_code == 200
    thinks = strict_body({"messages": ASKED})
    instant = strict_body({"messages": ASKED, **OFF})
    assert (thinks["temperature"], thinks["top_p"]) == (1.0, 0.95) and instant["temperature"] == 0.6
