"""What a model asks of a machine: bytes read and sums made for each token, out of its config alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

from perilune.api.budget import context_bytes, context_tokens, conversation_tokens, work_bytes
from perilune.api.gpu import CONTEXTS, beside_bytes
from perilune.api.sense_room import SenseRoom, sense_room, tower_bytes
from perilune.config import ModelConfig
from perilune.media.settings import PUBLISHED, MediaConfig
from perilune.model.quantised import is_quantised, quantised_bytes
from perilune.weights.audio_names import audio_tensors
from perilune.weights.names import expected_tensors, our_name
from perilune.weights.vision_names import vision_tensors

SIZES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Needs:
    """Bytes and multiply-adds. `backbone` is what every token reads; the embedding table, of which a token reads one
    row, stands apart. An expert is gate, up and down together."""

    backbone: int
    embedding: int
    backbone_sums: int
    expert: int
    expert_sums: int
    experts: int  # of a layer
    per_token: int
    moe_layers: int
    work: int  # memory beside the weights
    context: int  # memory for conversations
    gpu_beside: tuple[int, ...]  # both, on a GPU that holds the backbone, for fewer and fewer tokens
    senses: SenseRoom  # memory to see and hear with
    kept_as: str = "bf16"  # the backbone

    @property
    def all_experts(self) -> int:
        return self.expert * self.experts * self.moe_layers

    @property
    def experts_a_token(self) -> int:
        """Bytes of routed experts that one token uses."""
        return self.expert * self.per_token * self.moe_layers

    @property
    def total(self) -> int:
        """Bytes in memory where everything finds room."""
        return self.backbone + self.embedding + self.all_experts

    def distinct(self, tokens: int) -> float:
        """How many of a layer's experts so many tokens use, if they choose evenly: an upper bound."""
        if not self.experts:
            return 0.0
        return self.experts * (1 - (1 - self.per_token / self.experts) ** tokens)


def needs_of(
    config: ModelConfig, kept_as: str = "bf16", limits: MediaConfig = PUBLISHED, text_only: bool = False
) -> Needs:
    """Counted over the published tensors, with the backbone as "bf16", "int8" or "int4". `limits` are those of its
    pictures; `text_only` leaves out what the model sees and hears with."""
    number = SIZES[config.dtype]
    backbone = embedding = sums = expert_bytes = expert_sums = 0
    for name, tensor in expected_tensors(config).items():
        count = math.prod(tensor.shape)
        if ".mlp.experts." in name:
            expert_bytes += count * _expert_number(name, number)
            # Eight 4-bit weights lie in a word of the packed form.
            expert_sums += count * 8 if name.endswith("weight_packed") else count if name.endswith(".weight") else 0
        elif name.endswith("embed_tokens.weight") and not config.tie_word_embeddings:
            embedding += count * number
        else:
            small = kept_as != "bf16" and is_quantised(our_name(name, config), tensor.shape)
            backbone += quantised_bytes(tensor.shape, kept_as) if small else count * number
            sums += count if len(tensor.shape) > 1 else 0
    moe_layers = sum(config.is_moe_layer(i) for i in range(config.num_hidden_layers))
    experts = config.n_routed_experts if moe_layers else 0
    every = max(1, experts * moe_layers)
    return Needs(
        backbone=backbone,
        embedding=embedding,
        backbone_sums=sums,
        expert=expert_bytes // every,
        expert_sums=expert_sums // every,
        experts=experts,
        per_token=config.num_experts_per_tok if moe_layers else 0,
        moe_layers=moe_layers,
        work=work_bytes(config),
        context=context_bytes(config, context_tokens(config, None)),
        gpu_beside=tuple(beside_bytes(config, context_tokens(config, tokens)) for tokens in CONTEXTS),
        senses=sense_room(config, limits, conversation_tokens(config, None), {} if text_only else _towers(config)),
        kept_as=kept_as,
    )


def _towers(config: ModelConfig) -> dict[str, int]:
    """Bytes of the towers in memory."""
    tensors: dict[str, tuple[int, ...]] = {}
    if config.vision is not None:
        tensors |= vision_tensors(config.vision, config.hidden_size)
    if config.audio is not None:
        tensors |= audio_tensors(config.audio, config.hidden_size)
    return tower_bytes(config, {name: (math.prod(shape), SIZES[config.dtype]) for name, shape in tensors.items()})


def _expert_number(name: str, number: int) -> int:
    """Bytes of one stored number; the shapes that stand beside packed weights are not read."""
    if name.endswith("weight_shape"):
        return 0
    return 4 if name.endswith("weight_packed") else 2 if name.endswith("weight_scale") else number
