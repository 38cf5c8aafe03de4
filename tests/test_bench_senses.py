"""`perilune bench senses` on small towers: the figures fit one another, and transformers does the same work."""

import json
import sys

import numpy as np
import pytest
import torch
from tiny_hearing import CHUNKED, random_hearing
from tiny_models import tiny_transformer, write_model
from tiny_senses import sensing_model
from tiny_vision import CLIPS, random_pixels, random_vision
from typer.testing import CliRunner

import perilune
from perilune.bench import senses, senses_peer
from perilune.bench.senses import bench_senses, with_fresh_senses
from perilune.cli.app import app
from perilune.config_audio import AudioConfig
from perilune.errors import RequestError
from perilune.media.patches import Patches
from perilune.model.hear import hear
from perilune.presets import NANO_AUDIO, NANO_VISION


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(senses, "SIDES", (56, 28))
    monkeypatch.setattr(senses, "SECONDS", 1.0)
    monkeypatch.setattr(senses, "PAUSE", 0.0)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return sensing_model(tmp_path_factory.mktemp("model")).directory


def test_all_that_goes_in_is_measured_and_the_figures_fit_one_another(directory):
    result = bench_senses(perilune.load(directory), repeats=2)
    told = {one.what: one for one in result.encoded}
    assert list(told) == [
        "picture of 56 x 56",
        "8 frames of 56 x 56",
        "picture of 28 x 28",
        "8 frames of 28 x 28",
        "1 s of sound",
        "1 s of sound in pieces of 0.1 s",
    ]
    assert [one.tokens for one in result.encoded] == [4, 8, 1, 2, 13, 13]
    assert all(0 < one.fastest <= one.milliseconds <= one.slowest and not one.peers for one in result.encoded)
    assert told["1 s of sound"].real_time_factor == pytest.approx(told["1 s of sound"].milliseconds / 1e3)
    assert result.first_word is not None and result.first_word.tokens == 13
    assert 0 < result.first_word.fastest <= result.first_word.milliseconds
    assert "from the end of speech to the first word" in result.to_text()


def test_the_command_runs_transformers_in_turn_and_prints_json(directory):
    pytest.importorskip("transformers", reason="the peer needs the dev extra")
    words = ["bench", "senses", "-m", str(directory), "--repeats", "1", "--against-transformers", "--json"]
    told = json.loads(CliRunner().invoke(app, words).stdout)
    peers = [[peer["name"] for peer in one["peers"]] for one in told["encoded"]]
    assert peers == [["float32", "bfloat16"]] * 4 + [["float32"], []]
    for one in told["encoded"]:
        for peer in one["peers"]:
            assert peer["ratio"] == pytest.approx(peer["milliseconds"] / one["milliseconds"])


def test_the_peer_that_sees_gives_the_same_rows():
    pytest.importorskip("transformers", reason="the peer needs the dev extra")
    vision = random_vision()
    clip = Patches(random_pixels([CLIPS[0]]).numpy(), CLIPS[0], 6)
    with torch.inference_mode():
        (ours_TC,) = vision(torch.from_numpy(clip.pixels_PCSS), [clip.grid])
    peers = senses_peer.vision_peers(vision)
    assert (peers["float32"]([clip])[0] - ours_TC).abs().max() < 1e-5
    assert 1e-4 < (peers["bfloat16"]([clip])[0] - ours_TC).abs().max() < 0.3


def test_the_peer_that_hears_gives_the_same_rows_where_ours_hears_all_at_once():
    pytest.importorskip("transformers", reason="the peer needs the dev extra")
    samples_T = np.random.default_rng(0).uniform(-0.3, 0.3, 15_000).astype(np.float32)
    whole = random_hearing(AudioConfig(32, 1, 4, 48, max_source_positions=48))
    assert (senses_peer.hearing_peer(whole, 15_000)(samples_T) - hear(whole, samples_T)).abs().max() < 1e-3
    chunked = random_hearing(CHUNKED)
    assert senses_peer.hearing_peer(chunked, 15_000)(samples_T).shape == hear(chunked, samples_T).shape


def test_a_seeing_model_is_written_as_published(tmp_path):
    vision = random_vision()
    written = perilune.load(senses_peer.write_seeing(tmp_path, vision))
    assert written.config.vision == vision.config and written.config.hidden_size == vision.hidden_size


def test_a_text_model_gets_fresh_towers_of_nanos_shape(tmp_path):
    model = with_fresh_senses(perilune.load(write_model(tmp_path, tiny_transformer())))
    assert model.config.vision == NANO_VISION and model.config.audio == NANO_AUDIO
    result = bench_senses(model, repeats=1)
    assert len(result.encoded) == 6 and result.first_word is not None


def test_what_cannot_be_measured_is_refused(tmp_path, directory, monkeypatch):
    with pytest.raises(RequestError, match="repeats must be from 1 to 1000, got 0"):
        bench_senses(perilune.load(directory), repeats=0)
    with pytest.raises(RequestError, match=r"neither sees nor hears; give one whose config\.json has"):
        bench_senses(perilune.load(write_model(tmp_path, tiny_transformer())), repeats=1)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(RequestError, match=r"pip install 'perilune\[dev\]'"):
        bench_senses(perilune.load(directory), repeats=1, against=True)
