"""A published directory → what it hears with: a model's own tower and projector, or the encoder of a Whisper.

Weights become float32: a tower hears many frames at once, so that arithmetic takes longer than reading them.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from perilune.config import MAX_CONFIG_BYTES, ModelConfig
from perilune.config_audio import AudioConfig, audio_from_fields
from perilune.errors import ConfigError
from perilune.fields import Fields, read_json_object, show_value
from perilune.model.checkpoint import assign
from perilune.model.hearing import AudioTower, Hearing, Positions
from perilune.weights.audio_names import AUDIO_PREFIXES, POSITIONS, audio_tensors, encoder_tensors
from perilune.weights.files import Checkpoint, open_checkpoint
from perilune.weights.names import Expected, check_part

# Of WhisperForConditionalGeneration, and of WhisperModel by itself.
WHISPER_PREFIXES = ("model.encoder.", "encoder.")


def load_hearing(directory: str | Path, checkpoint: Checkpoint | None = None) -> Hearing:
    """The tower and the projector of a model directory, for inference; the text model is not read.

    `checkpoint` is that of the directory, where it has been opened already. Raises ConfigError where the model does not
    hear, WeightsError where its tensors are not those that audio_config asks for.
    """
    config = ModelConfig.load(directory)
    if config.audio is None:
        raise ConfigError(f"the model in {directory} does not hear: its config.json has no audio_config")
    with torch.device("meta"):
        hearing = Hearing(config.audio, config.hidden_size)
    tables = {name: Expected(shape) for name, shape in audio_tensors(config.audio, config.hidden_size).items()}
    tables |= _positions(config.audio, AUDIO_PREFIXES[0])
    _fill(hearing, hearing.audio_tower, checkpoint or open_checkpoint(directory), AUDIO_PREFIXES, "", tables)
    return hearing.eval()


def load_whisper_encoder(directory: str | Path) -> AudioTower:
    """The encoder of a published Whisper directory, for inference; its decoder is not read."""
    raw = read_json_object(Path(directory) / "config.json", MAX_CONFIG_BYTES)
    if raw.get("model_type") != "whisper":
        raise ConfigError(f"model_type = {show_value(raw.get('model_type'))} is no Whisper; it must be 'whisper'")
    audio = audio_from_fields(Fields(("", raw)))
    with torch.device("meta"):
        tower = AudioTower(audio)
    checkpoint = open_checkpoint(directory)
    full, alone = WHISPER_PREFIXES
    prefix = full if any(name.startswith(full) for name in checkpoint.names()) else alone
    table = {prefix + name: Expected(shape) for name, shape in encoder_tensors(audio).items()}
    _fill(tower, tower, checkpoint, prefix, prefix, table | _positions(audio, prefix))
    return tower.eval()


def _positions(audio: AudioConfig, prefix: str) -> dict[str, Expected]:
    return {prefix + POSITIONS: Expected((audio.max_source_positions, audio.d_model), optional=True)}


def _fill(
    module: nn.Module,
    tower: AudioTower,
    checkpoint: Checkpoint,
    prefix: str | tuple[str, ...],
    dropped: str,
    table: dict[str, Expected],
) -> None:
    """Every tensor of the table is checked and put in its place, under its name without `dropped`."""
    check_part(checkpoint, prefix, table)
    tower.embed_positions = Positions(tower.config.max_source_positions, tower.config.d_model)
    for name in checkpoint.kinds().keys() & table.keys():
        assign(module, name.removeprefix(dropped), checkpoint.tensor(name).float())
