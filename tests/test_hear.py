"""Sound to tokens: a clip at once, and the same bits in whatever pieces it comes."""

import os
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sounds import noise
from tiny_hearing import CHUNKED, random_hearing

from perilune.config_audio import AudioConfig
from perilune.errors import ConfigError
from perilune.media.audio import load_audio
from perilune.media.mel import log_mel
from perilune.model.hear import HearingStream, hear, mel_frames

SHARED = os.environ.get("PERILUNE_SHARED")
WHOLE = AudioConfig(32, 1, 4, 48, max_source_positions=48)


def streamed(hearing, samples_T, sizes):
    stream, at, tokens = HearingStream(hearing), 0, []
    for size in sizes:
        tokens.append(stream.feed(samples_T[at : at + size]))
        at += size
    return torch.cat([*tokens, stream.feed(samples_T[at:]), stream.finish()])


@pytest.mark.parametrize("samples", [1, 1280, 2561, 20_000, 25_600])
@pytest.mark.parametrize("sizes", [[], [1] * 300, [160] * 70, [2560, 2560], [1999, 0, 7, 12_345]])
def test_pieces_of_any_size_give_the_same_bits(samples, sizes):
    hearing, samples_T = random_hearing(), noise(samples)
    whole_NC = hear(hearing, samples_T)
    assert torch.equal(streamed(hearing, samples_T, sizes), whole_NC)


@pytest.mark.parametrize("samples", [2560, 20_000, 40_000])
def test_a_stream_hears_what_training_hears(samples):
    hearing, samples_T = random_hearing(), noise(samples)
    tokens_NC = hear(hearing, samples_T)
    with torch.inference_mode():
        trained_NC = hearing(mel_frames(hearing.config, samples_T)[None])[0, : len(tokens_NC)]
    assert (tokens_NC - trained_NC).abs().max() < 1e-5


def test_clips_of_a_training_batch_do_not_change_one_another():
    hearing = random_hearing()
    clips = [mel_frames(hearing.config, noise(samples, seed)) for seed, samples in enumerate((2000, 9000, 20_000))]
    longest = max(map(len, clips))
    batch_BFM = torch.stack([torch.nn.functional.pad(c, (0, 0, 0, longest - len(c)), value=3.0) for c in clips])
    with torch.inference_mode():
        for clip_FM, tokens_NC in zip(clips, hearing(batch_BFM), strict=True):
            alone_NC = hearing(clip_FM[None])[0]
            assert (tokens_NC[: len(alone_NC)] - alone_NC).abs().max() < 1e-5


@pytest.mark.parametrize("audio", [CHUNKED, WHOLE])
def test_a_clip_takes_as_many_tokens_as_its_seconds_say(audio):
    hearing = random_hearing(audio)
    for samples in (0, 1, 160, 1280, 1281, 15_360, 15_361, 31_000):
        tokens_NC = hear(hearing, noise(samples))
        assert tokens_NC.shape == (audio.num_tokens(samples / 16000), 16)
        assert tokens_NC.isfinite().all()


def test_what_comes_later_changes_nothing_that_was_told():
    hearing = random_hearing()
    one_T, other_T = noise(20_000), noise(20_000)
    other_T[12_000:] = noise(8000, seed=9)
    told = [HearingStream(hearing).feed(samples_T[:12_000]) for samples_T in (one_T, other_T)]
    assert torch.equal(*told) and len(told[0]) == 8
    assert torch.equal(hear(hearing, one_T)[:8], hear(hearing, other_T)[:8])


def test_the_published_setting_hears_pieces_of_its_length_by_themselves():
    hearing = random_hearing(WHOLE)
    samples_T = noise(2 * 15_360 + 5000)
    tokens_NC = hear(hearing, samples_T)
    for piece in range(3):
        part_T = samples_T[piece * 15_360 : (piece + 1) * 15_360]
        mel_FM = log_mel(np.pad(part_T, (0, 15_360 - len(part_T))))
        with torch.inference_mode():
            expected_NC = hearing(torch.from_numpy(mel_FM)[None])[0]
        part_NC = tokens_NC[12 * piece : 12 * piece + 12]
        assert (part_NC - expected_NC[: len(part_NC)]).abs().max() < 1e-5


def test_a_tower_that_hears_all_at_once_cannot_stream():
    with pytest.raises(ConfigError, match=r"audio_config\.chunk_seconds would let it stream"):
        HearingStream(random_hearing(WHOLE))


def test_the_number_of_threads_changes_no_bit():
    before, outputs = torch.get_num_threads(), []
    hearing = random_hearing(replace(CHUNKED, d_model=192, encoder_ffn_dim=768))
    for threads in (1, 3):
        torch.set_num_threads(threads)
        outputs.append(hear(hearing, noise(40_000)))
    torch.set_num_threads(before)
    assert torch.equal(*outputs)


@pytest.mark.skipif(not SHARED, reason="PERILUNE_SHARED names no folder with recorded clips")
def test_a_spoken_order_becomes_tokens():
    path = Path(SHARED or "") / "data" / "spoken_commands_coffee" / "coffee_train.tar"
    with tarfile.open(path) as archive:
        member = next(m for m in archive.getmembers() if m.name.endswith(".ogg"))
        file = archive.extractfile(member)
        assert file is not None
        samples_T = load_audio(file.read())
    hearing = random_hearing()
    tokens_NC = streamed(hearing, samples_T, [1600] * 10)
    assert len(tokens_NC) == CHUNKED.num_tokens(len(samples_T) / 16000)
    assert torch.equal(tokens_NC, hear(hearing, samples_T))
