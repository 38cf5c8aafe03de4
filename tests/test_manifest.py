"""The data manifest: every source with its licence and credit, shares that add up, and the NOTICE text."""

import json

import pytest

from perilune.errors import ConfigError
from perilune.train.manifest import build_manifest


def index():
    counts = {"documents": 10, "trained_tokens": 50, "cut_tokens": 0}
    return {
        "tokenizer_sha256": "ab" * 32,
        "seed": 0,
        "sources": {
            "generated": {**counts, "tokens": 600, "files": {}},
            "stories_cc_by": {**counts, "tokens": 300, "files": {"stories_train.jsonl.xz": "cd" * 32}},
            "gsm8k": {**counts, "tokens": 100, "files": {"gsm8k_train.jsonl.xz": "ef" * 32}},
        },
    }


def test_shares_and_passes():
    manifest = build_manifest(index(), tokens_seen=2500)
    assert manifest.passes == 2.5
    assert sum(entry.share for entry in manifest.entries) == pytest.approx(1.0)
    stories = next(e for e in manifest.entries if e.name == "stories_cc_by")
    assert (stories.licence, stories.kind, stories.share) == ("CC BY 4.0", "licensed", 0.3)
    assert stories.files == {"stories_train.jsonl.xz": "cd" * 32}


def test_notice_credits_every_licensed_source():
    notice = build_manifest(index(), 1000).notice()
    assert "African Storybook" in notice and "OpenAI" in notice and "MIT" in notice
    assert "60%" in notice


def test_files_are_written(tmp_path):
    build_manifest(index(), 1000).write(tmp_path)
    saved = json.loads((tmp_path / "data_manifest.json").read_text())
    assert saved["tokens_packed"] == 1000 and len(saved["entries"]) == 3
    assert (tmp_path / "NOTICE.data.txt").read_text().startswith("The model nano was trained")


def test_an_index_without_sources_is_refused():
    with pytest.raises(ConfigError, match="pack it again"):
        build_manifest({"sources": {}}, 1)


def test_pictures_and_sounds_are_credited_beside_the_text():
    media = {"noto_emoji": {"pieces": 1454, "files": {"noto_emoji_128.tar": "ab" * 32}}}
    manifest = build_manifest({**index(), "media": media}, 1000)
    emoji = manifest.entries[-1]
    assert (emoji.documents, emoji.tokens, emoji.files) == (1454, 0, media["noto_emoji"]["files"])
    assert sum(entry.share for entry in manifest.entries) == pytest.approx(1.0)
    assert "text, pictures, sounds and clips" in manifest.notice() and "Noto Emoji, Google" in manifest.notice()
