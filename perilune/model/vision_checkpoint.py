"""A published directory → what it sees with. The text model is not read.

Weights stay mapped as they lie (BF16 where published), as those of the text model do: the kernels read them so, and
widening them first would be no faster.
"""

from __future__ import annotations

from pathlib import Path

import torch

from perilune.config import ModelConfig
from perilune.errors import ConfigError
from perilune.model.checkpoint import assign
from perilune.model.vision import Vision
from perilune.weights.files import Checkpoint, open_checkpoint
from perilune.weights.names import Expected, check_part
from perilune.weights.vision_names import VISION_PREFIXES, our_vision_name, vision_tensors


def load_vision(directory: str | Path, checkpoint: Checkpoint | None = None) -> Vision:
    """The tower and the projector of a model directory, for inference.

    `checkpoint` is that of the directory, where it has been opened already. Raises ConfigError where the model does not
    see, WeightsError where its tensors are not those that vision_config asks for.
    """
    config = ModelConfig.load(directory)
    if config.vision is None:
        raise ConfigError(f"the model in {directory} does not see: its config.json has no vision_config")
    checkpoint = checkpoint or open_checkpoint(directory)
    stored = {our_vision_name(name): name for name in checkpoint.kinds() if name.startswith(VISION_PREFIXES)}
    tensors = vision_tensors(config.vision, config.hidden_size)
    check_part(checkpoint, VISION_PREFIXES, {stored.get(name, name): Expected(s) for name, s in tensors.items()})
    with torch.device("meta"):
        vision = Vision(config.vision, config.hidden_size)
    for name in tensors:
        assign(vision, name, checkpoint.tensor(stored[name]))
    return vision.eval()
