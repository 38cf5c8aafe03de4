"""The licensed sources: complete credits, and clean, split items where the data is at hand."""

import os
import re

import pytest

from perilune.corpus.readers import clean, exchange, sentences
from perilune.corpus.sources import SOURCES, data_root, source
from perilune.corpus.split import is_held_out
from perilune.errors import ConfigError

needs_data = pytest.mark.skipif(
    not os.environ.get("PERILUNE_SHARED"), reason="PERILUNE_SHARED names no folder with the licensed data"
)
QUICK = ("stories_cc_by", "chatterbot_corpus", "personality_chat", "dolly_subset", "snips_nlu", "clinc150")


def test_every_source_has_licence_credit_and_address():
    assert len({s.name for s in SOURCES}) == len(SOURCES)
    for origin in SOURCES:
        assert origin.licence and origin.attribution and origin.files
        assert origin.url.startswith("https://")
        assert origin.share in ("language", "chat")


def test_unknown_source_and_missing_folder_say_what_would_be_right(monkeypatch, tmp_path):
    with pytest.raises(ConfigError, match="stories_cc_by"):
        source("books")
    monkeypatch.delenv("PERILUNE_SHARED", raising=False)
    with pytest.raises(ConfigError, match="PERILUNE_SHARED"):
        data_root()
    monkeypatch.setenv("PERILUNE_SHARED", str(tmp_path))
    with pytest.raises(ConfigError, match="no folder"):
        data_root()


def test_about_two_percent_are_held_out():
    held_out = sum(is_held_out("stories", str(i)) for i in range(20_000))
    assert 300 < held_out < 500
    assert is_held_out("stories", "17") == is_held_out("stories", "17")


def test_cleaning():
    assert clean(" “It’s  fine” – he said… ") == '"It\'s fine" - he said...'
    assert sentences("One. Two? Three") == ["One.", "Two?", "Three"]
    assert exchange("q", "a", "because")[1]["reasoning_content"] == "because"


@needs_data
@pytest.mark.parametrize("name", QUICK)
def test_items_are_well_formed_and_split(name):
    origin = source(name)
    trained, held_out = list(origin.items(data_root())), list(origin.items(data_root(), held_out=True))
    assert trained and held_out
    assert not {i.key for i in trained} & {i.key for i in held_out}
    for item in trained[:200]:
        assert (item.text is None) != (not item.messages)
        for message in item.messages:
            assert message["role"] in ("user", "assistant")
            assert message["content"] or message.get("tool_calls")
        assert not re.search("[“”’]", item.text or "")
    assert all(len(digest) == 64 for digest in origin.sha256(data_root()).values())
