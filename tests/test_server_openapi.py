"""The description of the server says all that is there, and requests made from it, right or wrong, break nothing."""

from collections import Counter

import httpx
import jsonschema
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from served import served, tiny_model

from perilune.api import anthropic, embeddings, openai, responses
from perilune.server.app import make_app
from perilune.server.kept import Kept
from perilune.server.openapi import CHAT_FIELDS, EMBEDDING_FIELDS, MESSAGE_FIELDS, PAGE, PATHS, RESPONSE_FIELDS

EXAMPLES = 12  # of each operation and mode
CHECKS = list(HealthCheck)
FAST = settings(
    max_examples=EXAMPLES, deadline=None, phases=[Phase.generate], suppress_health_check=CHECKS, derandomize=True
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("openapi"))


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    made = Kept(tmp_path_factory.mktemp("openapi") / "state")
    yield made
    made.close()


@pytest.fixture(scope="module")
def address(model, kept):
    with served(model, kept=kept) as at:
        yield at


def test_every_route_and_every_field_is_described(model, kept):
    app = make_app(model, "tiny", kept=kept)
    routes = {}
    for route in app.routes:
        routes.setdefault(route.path.replace(":path", ""), set()).update(route.methods - {"HEAD"})
    assert routes == {path: {method.upper() for method in told} for path, told in PATHS.items()}
    assert set(CHAT_FIELDS) == openai.KNOWN and set(MESSAGE_FIELDS) == anthropic.KNOWN
    assert set(RESPONSE_FIELDS) == responses.KNOWN and set(EMBEDDING_FIELDS) == embeddings.KNOWN


def test_without_a_folder_there_are_no_files(model):
    with served(model) as at:
        told = httpx.get(at + "/openapi.json").json()
    assert "/v1/files" not in told["paths"] and "/v1/chat/completions" in told["paths"]


def test_requests_that_are_answered_fit_the_description(address):
    schema = httpx.get(address + "/openapi.json").json()["paths"]["/v1/chat/completions"]["post"]["requestBody"]
    body = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2, "n": 2, "stop": ["x"]}
    assert httpx.post(address + "/v1/chat/completions", json=body, timeout=60).status_code == 200
    jsonschema.validate(body, schema["content"]["application/json"]["schema"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**body, "temperature": 3}, schema["content"]["application/json"]["schema"])


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["right", "wrong"])
def test_no_request_made_from_the_description_is_a_fault_of_the_server(address, mode):
    statuses = Counter()
    schema = schemathesis.openapi.from_url(address + "/openapi.json")
    for operation in (found.ok() for found in schema.get_all_operations()):
        takes = PATHS[operation.path][operation.method]
        if mode is GenerationMode.NEGATIVE and "requestBody" not in takes and takes.get("parameters") is not PAGE:
            continue  # nothing about it could be wrong: a name is any text

        @FAST
        @given(case=operation.as_strategy(generation_mode=mode))
        def run(case):
            if isinstance(case.body, dict) and mode is GenerationMode.POSITIVE and case.path != "/v1/embeddings":
                case.body["max_output_tokens" if "input" in case.body else "max_tokens"] = 2
            statuses[case.call(timeout=60).status_code] += 1

        run()
    assert statuses.total() > 100 and not [status for status in statuses if status >= 500]
    assert statuses[200] > 20 or mode is GenerationMode.NEGATIVE
