"""How the memory for a model is split: weights that every token uses, the conversation, senses, a cache of experts.

Mapped weights are counted as if they were read once, since every token reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from perilune.api.free_memory import available_memory, own_memory
from perilune.api.locate import parse_bytes
from perilune.api.sense_room import SenseRoom, sense_room, stored_weights
from perilune.config import ModelConfig
from perilune.engine.cache import PrefixCache
from perilune.errors import WeightsError
from perilune.media.settings import MediaConfig
from perilune.model.quantised import BACKBONES, is_quantised, quantised_bytes
from perilune.weights.expert_layout import slot_bytes
from perilune.weights.files import Checkpoint
from perilune.weights.header import TensorInfo
from perilune.weights.names import is_ignored, our_name

WORK_BYTES = 512 << 20  # Python, torch and the kernels
STREAMED_CHUNK = 4096  # tokens of a prompt that go through each layer together
CHUNK_WIDTHS = 7  # hidden widths of floats for each token of a chunk: the stream, its norm, outputs, their sums
CONTEXT_TOKENS = 8192
AUTO_SHARE = 0.9


@dataclass(frozen=True)
class MemorySplit:
    """Bytes. `experts` is what all routed experts take; `cache` is what is there for them. `context` holds
    `context_tokens` of running conversations, and as much of finished ones; it is 0 where they lie on a GPU."""

    budget: int
    backbone: int
    context: int
    work: int
    experts: int
    cache: int
    slots: int
    moe_layers: int
    experts_per_layer: int
    context_tokens: int
    senses: SenseRoom = field(default_factory=SenseRoom)

    @property
    def streamed(self) -> bool:
        """Whether experts come from disk while the model runs; otherwise all of them find room."""
        return self.cache < self.experts

    def __str__(self) -> str:
        parts = [f"{gib(self.backbone)} weights that every token uses"]
        if self.streamed:
            held = self.slots / max(1, self.moe_layers)
            parts.append(
                f"{gib(self.cache)} expert cache ({held:.1f} of {self.experts_per_layer} a layer; all take "
                f"{gib(self.experts)})"
            )
        else:
            parts.append(f"{gib(self.experts)} experts, all of them")
        if self.context:
            parts.append(f"{gib(self.context)} context ({self.context_tokens:,} tokens)")
        parts.append(f"{gib(self.work)} for the work")
        if self.senses.weights:
            towers = gib(sum(self.senses.weights.values()))
            parts.append(f"{gib(self.senses.total)} to {self.senses.verb} ({towers} weights)")
        return f"memory {gib(self.budget)}: " + " · ".join(parts)


def memory_budget(ram: int | str) -> int:
    """Bytes of "16GiB" and the like; "auto" is most of what there is. A budget counts the whole process, and so what it
    holds already."""
    return int(AUTO_SHARE * (available_memory() + own_memory())) if ram == "auto" else parse_bytes(ram)


def split_memory(
    checkpoint: Checkpoint,
    config: ModelConfig,
    budget: int,
    context: int | None = None,
    backbone: str = "bf16",
    beside_gpu: bool = False,
    text_only: bool = False,
) -> MemorySplit:
    """How `budget` bytes are shared out, with room for `context` tokens of conversations (None: CONTEXT_TOKENS), which
    lie on the GPU, with what every token uses, `beside_gpu`, and for what the model sees and hears unless it is
    `text_only`; raises WeightsError where the model cannot run in them at all."""
    used, embedding, experts = weight_bytes(checkpoint, config, backbone)
    # A prompt touches few rows of the embedding, though whole pages around each.
    used = (0 if beside_gpu else used) + embedding // 8
    moe_layers = moe_layer_count(config)
    tokens = context_tokens(config, context)
    work, kept = work_bytes(config), 0 if beside_gpu else context_bytes(config, tokens)
    weights = {} if text_only else stored_weights(checkpoint, config)
    senses = sense_room(config, MediaConfig.of(checkpoint.directory), conversation_tokens(config, context), weights)
    fixed = used + work + kept + senses.total
    room, cache, slots = budget - fixed, experts, 0
    if room < experts:
        streams = config.quantization is not None and experts > 0
        slot = slot_bytes(checkpoint, config) if streams else 0
        least = config.num_experts_per_tok * slot if streams else experts
        if room < least:
            smaller = () if beside_gpu else BACKBONES[BACKBONES.index(backbone) + 1 :]
            whole = weight_bytes(checkpoint, config, backbone)[0]
            saved = {name: whole - weight_bytes(checkpoint, config, name)[0] for name in smaller}
            raise _too_little(budget, used, work, kept, least, saved, senses)
        slots = room // slot
        cache = slots * slot
    return MemorySplit(
        budget=budget,
        backbone=used,
        context=kept,
        work=work,
        experts=experts,
        cache=cache,
        slots=slots,
        moe_layers=moe_layers,
        experts_per_layer=config.n_routed_experts,
        context_tokens=tokens,
        senses=senses,
    )


def weight_bytes(checkpoint: Checkpoint, config: ModelConfig, backbone: str = "bf16") -> tuple[int, int, int]:
    """Bytes of what every token uses, of an embedding that is not the head as well, and of all routed experts."""
    sizes = {
        name: _size(info, our_name(name, config), backbone)
        for name, info in checkpoint.tensors.items()
        if not is_ignored(name, config)
    }
    experts = sum(size for name, size in sizes.items() if ".experts." in name)
    embedding = sum(size for name, size in sizes.items() if name.endswith("embed_tokens.weight"))
    apart = 0 if config.tie_word_embeddings else embedding
    return sum(sizes.values()) - experts - apart, apart, experts


def moe_layer_count(config: ModelConfig) -> int:
    return sum(config.is_moe_layer(i) for i in range(config.num_hidden_layers))


def context_tokens(config: ModelConfig, asked: int | None) -> int:
    """Tokens of conversations that there must be room for."""
    return min(CONTEXT_TOKENS if asked is None else asked, config.max_position_embeddings)


def conversation_tokens(config: ModelConfig, asked: int | None) -> int:
    """The longest conversation: a chunk memory takes what the room for context does not."""
    return config.max_position_embeddings if config.memory else context_tokens(config, asked)


def _size(info: TensorInfo, name: str, backbone: str) -> int:
    if backbone != "bf16" and is_quantised(name, info.shape):
        return quantised_bytes(info.shape, backbone)
    return info.end - info.begin


def work_bytes(config: ModelConfig) -> int:
    """What a running model needs beside its weights and conversations."""
    # Keys and values, padded to the width of keys, are expanded for all tokens that a piece of the chunk attends to.
    expanded = 2 * config.num_attention_heads * (config.qk_nope_head_dim + config.qk_rope_head_dim)
    return WORK_BYTES + STREAMED_CHUNK * 4 * (CHUNK_WIDTHS * config.hidden_size + expanded)


def context_bytes(config: ModelConfig, tokens: int) -> int:
    """Room for running conversations of so many tokens, and for as much of finished ones."""
    return 2 * token_bytes(config) * tokens


def token_bytes(config: ModelConfig) -> int:
    """What a token of a conversation leaves behind: float32 rows of every layer."""
    return 4 * config.cache_width * config.num_hidden_layers


def prefix_cache(context: int) -> PrefixCache:
    """Room for finished conversations: half of the bytes set aside for context; the running one has the other half."""
    return PrefixCache(max_bytes=context // 2)


def _too_little(
    budget: int, weights: int, work: int, context: int, experts: int, saved: Mapping[str, int], senses: SenseRoom
) -> WeightsError:
    needed = weights + work + context + experts + senses.total
    routed = f", the fewest experts {gib(experts)}" if experts else ""
    ways = [f"{gib(needed - size)} with backbone {name}" for name, size in saved.items() if size > 0]
    sensed = f", what it needs to {senses.verb} {gib(senses.total)}" if senses.weights else ""
    without = f"; {gib(senses.total)} less with text_only, which leaves that out" if senses.weights else ""
    return WeightsError(
        f"ram = {gib(budget)} is too little: the weights that this model always uses take {gib(weights)}, the work "
        f"around them {gib(work)}, conversations {gib(context)}{sensed}{routed}; give at least "
        + ", or ".join([gib(needed), *ways])
        + without
    )


def gib(size: int) -> str:
    return f"{size / 2**30:.2f} GiB"
