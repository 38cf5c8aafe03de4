"""The page's endpoints are described, and requests made from the description, right or wrong, break nothing."""

from collections import Counter

import httpx
import pytest
import schemathesis
from app_page import Browser, paged
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from served import tiny_model

from perilune.app.mount import Page
from perilune.app.openapi import PATHS
from perilune.server.app import make_app
from perilune.server.kept import Kept

EXAMPLES = 8  # of each operation and mode
FAST = settings(
    max_examples=EXAMPLES,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("openapi"))


@pytest.fixture(scope="module")
def address(model, tmp_path_factory):
    with paged(model, tmp_path_factory.mktemp("state")) as at:
        yield at


def test_every_route_is_described(model, tmp_path):
    kept = Kept(tmp_path)
    app, plain = make_app(model, "tiny", kept=kept, page=Page), make_app(model, "tiny", kept=kept)
    there = {(route.path, method) for route in app.routes for method in route.methods}
    there -= {(route.path, method) for route in plain.routes for method in route.methods}
    described = {(path, method.upper()) for path, told in PATHS.items() for method in told}
    assert {(path.replace(":path", ""), method) for path, method in there if method != "HEAD"} == described
    assert not [route.path for route in plain.routes if "/app" in route.path]
    kept.close()


def can_be_wrong(told):
    """A name is any text; what a change must carry, and what is asked of a list, can be something else."""
    return "requestBody" in told or any(one["in"] != "path" for one in told.get("parameters", []))


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["right", "wrong"])
def test_no_request_made_from_the_description_is_a_fault_of_the_server(address, mode):
    statuses = Counter()
    schema = schemathesis.openapi.from_url(address + "/openapi.json")
    for operation in (found.ok() for found in schema.get_all_operations()):
        told = PATHS.get(operation.path, {}).get(operation.method)
        if told is None or (mode is GenerationMode.NEGATIVE and not can_be_wrong(told)):
            continue

        @FAST
        @given(case=operation.as_strategy(generation_mode=mode))
        def run(case):
            statuses[case.call(timeout=60).status_code] += 1

        run()
    assert statuses.total() > 100 and not [status for status in statuses if status >= 500], statuses
    with Browser(address) as one:
        chat = one.made("/chats")["id"]
        assert one.replied(chat, one.said(chat)["id"], max_tokens=1)[0]["state"] == "done"


def test_answers_without_a_body_need_none(address):
    with httpx.Client(base_url=address + "/app/api", headers={"x-perilune": "1"}) as client:
        assert client.post("/chats").status_code == 201
        assert client.post("/replies/none/stop").status_code == 404
