"""A small model that sees and hears, with weights at random, and small pictures and sounds for it."""

import io
from dataclasses import replace

import numpy as np
import soundfile
from PIL import Image
from tiny_hearing import CHUNKED, random_hearing
from tiny_models import TOKENIZER, memory_config, write_model
from tiny_vision import TOWER, random_vision

import perilune
from perilune.model.model import Transformer
from perilune.text import specials as sp

SEED = 5


def sensing_model(folder, base=None):
    """From a directory; without another base with a chunk memory, so that its prompts go through listen."""
    config = replace(
        base or memory_config(),
        vision=TOWER,
        audio=CHUNKED,
        media_placeholder_token_id=TOKENIZER.special_id(sp.MEDIA_PAD),
    )
    made = Transformer(config)
    made.init_weights(SEED)
    made.senses["vision"] = random_vision(hidden=config.hidden_size)
    made.senses["hearing"] = random_hearing(hidden=config.hidden_size)
    return perilune.load(write_model(folder, made))


def picture(shade: int, size=(56, 40)) -> bytes:
    held = io.BytesIO()
    Image.linear_gradient("L").resize(size).point(lambda v: (v + shade) % 256).convert("RGB").save(held, "PNG")
    return held.getvalue()


def sound(pitch: float, seconds: float = 0.5) -> bytes:
    held, time = io.BytesIO(), np.arange(int(16_000 * seconds)) / 16_000
    soundfile.write(held, 0.3 * np.sin(2 * np.pi * pitch * time), 16_000, format="WAV")
    return held.getvalue()
