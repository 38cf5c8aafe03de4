"""What the tutor knows of a learner: seen, edited, bounded, and nobody else's."""

import json
from contextlib import contextmanager

import pytest
from app_page import Browser, paged, refused
from served import KEYS, tiny_model

from perilune.app import tutor


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tutor")
    with paged(tiny_model(folder / "model"), folder / "state", keys=KEYS) as at:
        yield at


@contextmanager
def at(address, key):
    with Browser(address) as made:
        made.post("/session", json={"key": key})
        yield made


def test_a_learner_sees_and_edits_what_is_kept(address):
    with at(address, KEYS[0]) as one, at(address, KEYS[1]) as other:
        assert one.get("/tutor").json() == tutor.EMPTY
        one.patch("/tutor", json={"subjects": ["algebra"], "mastery": {"fractions": 0.4}})
        changed = one.patch("/tutor", json={"mastery": {"fractions": 0.9}}).json()
        assert changed == {"subjects": ["algebra"], "plan": {}, "mastery": {"fractions": 0.9}}
        assert one.get("/tutor").json() == changed and other.get("/tutor").json() == tutor.EMPTY


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"subjects": {}}, "subjects must be a JSON list"),
        ({"plan": []}, "plan must be a JSON object"),
        ({"owner": "x"}, "unknown field"),
        ({"plan": json.loads('{"a":' * 20 + "1" + "}" * 20)}, "deeper than 16 levels"),
    ],
)
def test_wrong_notes_are_refused(address, body, told):
    with at(address, KEYS[1]) as other:
        refused(other.patch("/tutor", json=body), 400, told)
        assert other.get("/tutor").json() == tutor.EMPTY


def test_notes_are_bounded_in_all(address):
    half = "x" * (tutor.MOST_BYTES * 2 // 3)
    with at(address, KEYS[1]) as other:
        refused(other.patch("/tutor", json={"subjects": [half, half]}), 413)
        assert other.patch("/tutor", json={"subjects": [half]}).status_code == 200
        refused(other.patch("/tutor", json={"plan": {"a": half}}), 400, "at most")
        other.patch("/tutor", json={"subjects": []})
