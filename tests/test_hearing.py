"""The audio tower: parity with Whisper's encoder, and the chunked setting, masked and step by step."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sounds import noise, tone
from tiny_hearing import CHUNKED, random_hearing, random_mel, random_whisper

from perilune.config_audio import AudioConfig
from perilune.media.mel import log_mel
from perilune.model.hear import mel_frames
from perilune.model.hearing import AudioTower, Hearing, sinusoids
from perilune.model.hearing_checkpoint import load_whisper_encoder
from perilune.model.tower_init import init_hearing
from perilune.presets import NANO_AUDIO

transformers = pytest.importorskip("transformers", reason="parity needs the dev extra")


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("bins", [80, 128])
def test_the_tower_matches_the_encoder_of_transformers(tmp_path, whole, bins):
    theirs = random_whisper(tmp_path, whole, num_mel_bins=bins)
    ours = load_whisper_encoder(tmp_path)
    mel_BFM = random_mel(120, bins, batch=2)
    with torch.inference_mode():
        expected_BTD = theirs(mel_BFM.transpose(1, 2)).last_hidden_state
        assert (ours(mel_BFM) - expected_BTD).abs().max() < 1e-4
    assert expected_BTD.std() > 0.3


@pytest.mark.parametrize("seconds", [0.5, 3.1, 30.0])
def test_sound_is_heard_as_transformers_hears_it(tmp_path, seconds):
    theirs = random_whisper(tmp_path, max_source_positions=1500)
    ours = load_whisper_encoder(tmp_path)
    samples_T = noise(round(16000 * seconds)) + tone(16000, seconds)[:, 0]
    extracted = transformers.WhisperFeatureExtractor()(samples_T, sampling_rate=16000, return_tensors="pt")
    mel_FM = torch.from_numpy(log_mel(np.pad(samples_T, (0, 480_000 - len(samples_T)))))
    with torch.inference_mode():
        expected_BTD = theirs(extracted["input_features"]).last_hidden_state
        assert (ours(mel_FM[None]) - expected_BTD).abs().max() < 1e-4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_stored_with_half_precision_are_read_exactly(tmp_path, dtype):
    theirs = random_whisper(tmp_path, whole=True, dtype=dtype)
    ours = load_whisper_encoder(tmp_path)
    mel_BFM = random_mel(120)
    with torch.inference_mode():
        assert (ours(mel_BFM) - theirs(mel_BFM.transpose(1, 2)).last_hidden_state).abs().max() < 1e-4


def test_positions_are_whispers():
    config = transformers.WhisperConfig(
        d_model=48, max_source_positions=30, encoder_layers=1, encoder_attention_heads=4
    )
    theirs = transformers.models.whisper.modeling_whisper.WhisperEncoder(config)
    assert (sinusoids(30, 48) - theirs.embed_positions.weight).abs().max() < 1e-6


def stepped(tower, mel_BFM):
    state = tower.new_state(mel_BFM.shape[0])
    chunks = mel_BFM.split(2 * tower.config.chunk_frames, 1)
    return torch.cat([tower.step(chunk, state) for chunk in chunks], 1)


@pytest.mark.parametrize("left_chunks", [0, 1, 2, 100])
@pytest.mark.parametrize("chunks", [1, 2, 3, 7])
def test_steps_are_the_masked_whole(left_chunks, chunks):
    """Seven chunks are more than there are positions: they go round."""
    tower = random_hearing(replace(CHUNKED, left_chunks=left_chunks)).audio_tower
    mel_BFM = random_mel(16 * chunks, batch=2)
    with torch.inference_mode():
        whole_BTD, steps_BTD = tower(mel_BFM), stepped(tower, mel_BFM)
    assert whole_BTD.shape == steps_BTD.shape == (2, 8 * chunks, 32)
    assert (whole_BTD - steps_BTD).abs().max() < 1e-5


def test_gradients_of_steps_are_those_of_the_masked_whole():
    hearing = random_hearing()
    mel_BFM, tower = random_mel(64), hearing.audio_tower
    grads = []
    for hear in (tower, lambda mel_BFM: stepped(tower, mel_BFM)):
        tower.zero_grad()
        hear(mel_BFM).square().sum().backward()
        grads.append([weight.grad.clone() for weight in tower.parameters() if weight.grad is not None])
    assert len(grads[0]) == len(list(tower.parameters()))
    for mine, expected in zip(*grads, strict=True):
        assert (mine - expected).abs().max() < 1e-4 * max(1.0, expected.abs().max().item())


def reaches(tower, changed, frames=112):
    """Encoder frames that a change of one mel frame changes."""
    mel_BFM = random_mel(frames)
    other_BFM = mel_BFM.clone()
    other_BFM[:, changed] += 1.0
    with torch.inference_mode():
        differs_T = (tower(mel_BFM) != tower(other_BFM)).any(2)[0]
    return torch.nonzero(differs_T)[:, 0].tolist()


def test_a_chunked_tower_hears_its_chunk_and_those_before_it():
    """The mel frame is in chunk 3 (frames 24 to 31); each layer carries it on by as many chunks as a frame sees."""
    one = random_hearing(replace(CHUNKED, encoder_layers=1, left_chunks=1)).audio_tower
    assert reaches(one, 52) == list(range(24, 40))
    assert reaches(one, 63) == list(range(24, 48))  # the convolution reaches the first frame of chunk 4
    two = random_hearing(replace(CHUNKED, encoder_layers=2, left_chunks=1)).audio_tower
    assert reaches(two, 52) == list(range(24, 48))
    none = random_hearing(replace(CHUNKED, left_chunks=0)).audio_tower
    assert reaches(none, 52) == list(range(24, 32))


def test_the_published_tower_hears_everything():
    whole = AudioConfig(32, 1, 4, 48, max_source_positions=56)
    assert reaches(random_hearing(whole).audio_tower, 52) == list(range(56))


def test_a_stream_may_begin_at_any_position():
    tower = random_hearing().audio_tower
    mel_BFM = random_mel(48)
    with torch.inference_mode():
        assert torch.equal(tower(mel_BFM, first=24), tower(mel_BFM))
        assert not torch.equal(tower(mel_BFM, first=8), tower(mel_BFM))
        state = tower.new_state()
        state.frames = 16
        steps_BTD = torch.cat([tower.step(chunk, state) for chunk in mel_BFM.split(16, 1)], 1)
        assert (steps_BTD - tower(mel_BFM, first=16)).abs().max() < 1e-5


def test_frames_become_tokens_of_the_decoders_width():
    hearing = random_hearing()
    x_BTD = hearing.audio_tower(random_mel(32))
    projector = hearing.audio_projector
    tokens_BNC = hearing(random_mel(32))
    assert tokens_BNC.shape == (1, 4, 16)
    second_J = torch.cat([x_BTD[0, 4], x_BTD[0, 5], x_BTD[0, 6], x_BTD[0, 7]])
    normed_J = torch.nn.functional.layer_norm(
        second_J, (128,), projector.pre_norm.weight, projector.pre_norm.bias, eps=1e-5
    )
    assert (projector.proj(normed_J) - tokens_BNC[0, 1]).abs().max() < 1e-5


def test_what_a_tower_cannot_hear_is_refused():
    whole = AudioTower(AudioConfig(32, 1, 4, 48, max_source_positions=8))
    with pytest.raises(ValueError, match="18 mel frames; this tower hears at most 16 at once"):
        whole(random_mel(18))
    with pytest.raises(ValueError, match="hears 30 s at once"):
        whole.new_state()
    for frames in (0, 7):
        with pytest.raises(ValueError, match="their number must be even and above 0"):
            whole(random_mel(frames))
    tower = random_hearing().audio_tower
    with pytest.raises(ValueError, match="14 mel frames: a chunk of this tower has 16"):
        tower.step(random_mel(14), tower.new_state())


def test_fresh_weights_are_a_function_of_the_seed_and_give_tokens_of_ordinary_size():
    one, same, other = (Hearing(NANO_AUDIO, 256) for _ in range(3))
    for hearing, seed in ((one, 1), (same, 1), (other, 2)):
        init_hearing(hearing, seed)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.audio_tower.conv1.weight, other.audio_tower.conv1.weight)
    with torch.inference_mode():
        assert 0.2 < one(random_mel(128)).std() < 2.0


def test_a_small_tower_learns_to_tell_two_pitches_apart():
    hearing, random = random_hearing(), np.random.default_rng(0)
    low, high = (random.uniform(*pitches, 8) for pitches in ((200, 600), (1200, 3000)))
    clips = [tone(16000, 0.16, hertz=hertz)[:, 0] + noise(2560, int(hertz), 0.02) for hertz in (*low, *high)]
    mel_BFM = torch.stack([mel_frames(hearing.config, samples_T) for samples_T in clips])
    labels_B = torch.arange(16) // 8
    optimiser = torch.optim.Adam(hearing.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        loss = torch.nn.functional.cross_entropy(hearing(mel_BFM).mean(1)[:, :2], labels_B)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 < losses[0]
