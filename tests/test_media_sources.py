"""The media sources: complete credits, clean labels, whole groups on one side, late decoding."""

import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from perilune.corpus import media_labels as labels
from perilune.corpus.media import Piece, _Decoded, sound
from perilune.corpus.media_readers import rows
from perilune.corpus.media_sources import MEDIA_SOURCES, media_index, media_source
from perilune.corpus.sources import data_root
from perilune.errors import ConfigError

needs_data = pytest.mark.skipif(
    not os.environ.get("PERILUNE_SHARED"), reason="PERILUNE_SHARED names no folder with the licensed data"
)
SOURCE = pytest.mark.parametrize("origin", MEDIA_SOURCES, ids=lambda s: s.name)
NOTICE = (Path(__file__).resolve().parents[1] / "NOTICE").read_text(encoding="utf-8")


@SOURCE
def test_every_source_is_credited_in_the_notice(origin):
    assert origin.licence and origin.files
    assert f"- {origin.title} ({origin.licence}): {origin.attribution}" in NOTICE
    assert origin.url in NOTICE


def test_an_unknown_source_says_which_there_are():
    with pytest.raises(ConfigError, match="noto_emoji"):
        media_source("photos")


@needs_data
@SOURCE
def test_no_group_stands_on_both_sides_and_both_have_pieces(origin):
    trained, held_out = origin.pieces(data_root()), origin.pieces(data_root(), held_out=True)
    assert not {p.group for p in trained} & {p.group for p in held_out}
    assert 0.03 < len(held_out) / (len(trained) + len(held_out)) < 0.3
    assert sum(map(len, origin.labelled(data_root()).values())) == len(trained)


@needs_data
def test_speakers_and_folds_are_held_out_whole():
    assert {p.group for p in media_source("spoken_digits_fsdd").pieces(data_root(), True)} == {"theo"}
    assert {p.group for p in media_source("sounds_esc10").pieces(data_root(), True)} == {"fold 4"}
    for name in ("spoken_digits_fsdd", "speech_commands_sample", "trashnet_photos", "fashion_mnist"):
        origin = media_source(name)
        assert set(origin.labelled(data_root(), True)) == set(origin.labelled(data_root())), name


@needs_data
@SOURCE
def test_pieces_decode_to_compact_arrays_that_cannot_be_changed(origin):
    pieces = origin.pieces(data_root())
    for piece in (pieces[0], pieces[len(pieces) // 2], pieces[-1]):
        array = piece.array
        assert array is piece.array
        assert not array.flags.writeable
        if origin.kind == "audio":
            assert array.dtype == np.int16 and array.ndim == 1
            assert 0.1 < len(array) / 16_000 < 15
        else:
            assert array.dtype == np.uint8 and array.shape[-1] in (3, 4)
            assert array.ndim == (4 if origin.kind == "video" else 3)
            assert (piece.rate > 0) == (origin.kind == "video")


@needs_data
def test_labels_are_plain_words():
    for origin in MEDIA_SOURCES:
        if origin.name in ("storybook_images", "omniglot_small"):
            continue
        for label in origin.labelled(data_root()):
            assert label.isascii() and "_" not in label and label == label.strip(), label


def test_pictographs_have_simple_names_or_none():
    def name(text, group="Objects"):
        return labels.pictograph({"name": text, "group": group})

    assert name("owl", "Animals & Nature") == "an owl"
    assert name("cat face", "Animals & Nature") == "a cat"
    assert name("flag Greece", "Flags") == "the flag of Greece"
    assert name("sunglasses") == "sunglasses"
    assert name("four o’clock", "Travel & Places") == "four o'clock"
    assert name("bouquet of roses") == "a bouquet of roses"
    assert name("family man, woman, boy", "People & Body") is None
    assert name("play button", "Symbols") is None


def test_orders_are_one_phrase_of_their_slots():
    slots = labels.order(
        {"coffeeDrink": "iced mocha", "size": "large", "milkAmount": " soy milk", "sugarAmount": "sugar"}
    )
    assert labels.order_phrase(slots) == "a large iced mocha with soy milk and sugar"
    assert labels.order_phrase({"drink": "americano"}) == "an americano"


def test_decoded_arrays_stay_within_their_bound():
    kept, calls = _Decoded(limit=250), []

    def decode(number):
        calls.append(number)
        return np.full(100, number, np.uint8)

    owners = [Piece(str(i), "", lambda: np.zeros(1)) for i in range(4)]
    for number in (0, 1, 0, 2, 0, 1):
        assert kept.get(owners[number], lambda n=number: decode(n))[0] == number
    assert calls == [0, 1, 2, 1]
    assert kept._bytes <= 250


def test_sound_is_in_its_range():
    assert sound(np.array([-32768, 0, 16384], np.int16)).tolist() == [-1.0, 0.0, 0.5]


def test_an_archive_without_an_index_is_refused(tmp_path):
    path = tmp_path / "empty.tar"
    tarfile.open(path, "w").close()
    with pytest.raises(ConfigError, match=r"index\.jsonl"):
        list(rows(path))


@needs_data
def test_the_record_of_a_run_counts_what_teaches():
    index = media_index(data_root())
    assert set(index) == {source.name for source in MEDIA_SOURCES}
    emoji = media_source("noto_emoji")
    assert index["noto_emoji"]["pieces"] == len(emoji.pieces(data_root())) > 1000
    assert index["noto_emoji"]["files"] == emoji.sha256(data_root())
