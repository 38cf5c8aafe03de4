"""Begin a run with the weights of a model folder: every weight of the same name and shape is taken over.

Layers of a new kind that take the place of old ones begin at a size at which the old stream can hear them.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from perilune.config import ModelConfig
from perilune.model.checkpoint import float_experts
from perilune.model.delta import KimiDeltaAttention
from perilune.model.model import Transformer
from perilune.model.moe import Experts
from perilune.weights.audio_names import AUDIO_PREFIXES
from perilune.weights.files import open_checkpoint
from perilune.weights.names import our_name
from perilune.weights.vision_names import VISION_PREFIXES

PROBE_TOKENS = 256
HEARD = 0.15  # size of a fresh layer's output over that of the stream it is added to


@torch.no_grad()
def begin_with(model: Transformer, directory: str | Path) -> list[str]:
    """Returns the names of the weights that stay fresh, because the folder has none that fits."""
    found = _weights(directory)
    fresh = []
    for name, weight in model.state_dict().items():
        given = found.get(name)
        if given is None or given.shape != weight.shape:
            fresh.append(name)
        else:
            weight.copy_(given)
    _raise_fresh(model, set(fresh))
    return fresh


def _raise_fresh(model: Transformer, fresh: set[str]) -> None:
    """Scale the output norm of fresh recurrent layers, measured on a row of random tokens."""
    generator = torch.Generator().manual_seed(0)
    ids_BT = torch.randint(0, model.config.vocab_size, (1, PROBE_TOKENS), generator=generator)
    x_BTD, packing = model.embed(ids_BT), model.packing(ids_BT, None)
    for i, block in enumerate(model.blocks):
        layer = block.self_attn
        if isinstance(layer, KimiDeltaAttention) and f"layers.{i}.self_attn.o_proj.weight" in fresh:
            y_BTD = layer(block.input_layernorm(x_BTD))[0]
            layer.o_norm.weight.mul_(max(1.0, HEARD * float(x_BTD.norm() / y_BTD.norm())))
        x_BTD = block(x_BTD, packing)


def _weights(directory: str | Path) -> dict[str, Tensor]:
    """All weights of a folder by our names, experts as floats; the folder may be of another shape or edition."""
    config, checkpoint = ModelConfig.load(directory), open_checkpoint(directory)
    weights = {our_name(n, config): checkpoint.tensor(n) for n in checkpoint.names() if ".experts." not in n}
    for sense, prefixes in (("vision", VISION_PREFIXES), ("hearing", AUDIO_PREFIXES)):
        weights |= {f"senses.{sense}.{n}": checkpoint.tensor(n) for n in checkpoint.names() if n.startswith(prefixes)}
    names = [name for name, _ in Experts(config).named_parameters()]
    for layer in filter(config.is_moe_layer, range(config.num_hidden_layers)):
        triples = float_experts(checkpoint, config, layer)
        for name, parts in zip(names, zip(*triples, strict=True), strict=True):
            weights[f"layers.{layer}.mlp.experts.{name}"] = torch.stack(parts)
    return weights
