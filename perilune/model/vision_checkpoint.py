"""A published directory → what it sees with. The text model is not read.

Weights become float32: a tower sees many patches at once, so that arithmetic takes longer than reading them.
"""

from __future__ import annotations

from pathlib import Path

import torch

from perilune.config import ModelConfig
from perilune.config_vision import read_vision_config
from perilune.errors import ConfigError
from perilune.model.checkpoint import assign
from perilune.model.vision import Vision
from perilune.weights.files import Checkpoint, open_checkpoint
from perilune.weights.names import Expected, check_part
from perilune.weights.vision_names import VISION_PREFIXES, vision_tensors


def load_vision(directory: str | Path, checkpoint: Checkpoint | None = None) -> Vision:
    """The tower and the projector of a model directory, for inference.

    `checkpoint` is that of the directory, where it has been opened already. Raises ConfigError where the model does not
    see, WeightsError where its tensors are not those that vision_config asks for.
    """
    config = ModelConfig.load(directory)
    if config.vision is None:
        raise ConfigError(f"the model in {directory} does not see: its config.json has no vision_config")
    with torch.device("meta"):
        vision = Vision(read_vision_config(config.vision), config.hidden_size)
    checkpoint = checkpoint or open_checkpoint(directory)
    table = {name: Expected(shape) for name, shape in vision_tensors(config.vision, config.hidden_size).items()}
    check_part(checkpoint, VISION_PREFIXES, table)
    for name in table:
        assign(vision, name, checkpoint.tensor(name).float())
    return vision.eval()
