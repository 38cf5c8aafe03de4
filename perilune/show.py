"""What a model directory holds: parameters, bytes by kind and dtype, context, cache. Reads headers only."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from perilune.api.budget import conversation_tokens
from perilune.api.sense_room import sense_room, stored_weights
from perilune.config import ModelConfig
from perilune.media.settings import MediaConfig
from perilune.weights.audio_names import AUDIO_PREFIXES
from perilune.weights.files import Checkpoint, open_checkpoint
from perilune.weights.header import DTYPE_BYTES, Kind, collector_off
from perilune.weights.names import is_extra_layer
from perilune.weights.vision_names import VISION_PREFIXES

CACHE_BYTES_PER_NUMBER = 2
ROUTED = "routed experts"
VISION = "vision"
HEARING = "hearing"
EXTRA = "extra prediction layers"
NOT_TEXT = (VISION, HEARING, EXTRA)


@dataclass(frozen=True)
class Part:
    """One line of a table: everything of one kind, or of one dtype."""

    name: str
    tensors: int
    parameters: int
    bytes: int


@dataclass(frozen=True)
class File:
    name: str
    bytes: int


@dataclass(frozen=True)
class Summary:
    """Counts of parameters are logical (an INT4 word holds eight); bytes are what lies on disk.

    active_parameters is what one token of text passes through, the embedding table counted whole.
    kv_bytes_per_token is the latent cache in bfloat16, all layers together. With a chunk memory that is what a token of
    the conversation takes; one that is read takes read_bytes_per_token. state_bytes is what a sequence takes at any
    length: the float32 states of its recurrent layers. sense_bytes is what a model takes of memory to see and hear.
    """

    directory: str
    model_type: str
    layers: int
    hidden_size: int
    vocab_size: int
    experts: int
    experts_per_token: int
    shared_experts: int
    context: int
    dtype: str
    quantization: str
    parameters: int
    active_parameters: int
    bytes: int
    kv_bytes_per_token: int
    read_bytes_per_token: int
    state_bytes: int
    sense_bytes: int
    kinds: tuple[Part, ...]
    dtypes: tuple[Part, ...]
    files: tuple[File, ...]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2)


def summarize(directory: str | Path) -> Summary:
    """Add up what the checked headers declare. Whether it is all that config.json asks for is loading's question."""
    directory = Path(directory)
    config = ModelConfig.load(directory)
    with collector_off():
        checkpoint = open_checkpoint(directory)
        counts = _count(config, checkpoint)
    kinds = _parts(counts, by_dtype=False)
    routed = sum(part.parameters for part in kinds if part.name == ROUTED)
    text = sum(part.parameters for part in kinds if part.name not in NOT_TEXT)
    chosen = routed * config.num_experts_per_tok // config.n_routed_experts if routed else 0
    latent_layers = sum(not config.is_kda_layer(layer) for layer in range(config.num_hidden_layers))
    return Summary(
        directory=str(directory),
        model_type=config.model_type,
        layers=config.num_hidden_layers,
        hidden_size=config.hidden_size,
        vocab_size=config.vocab_size,
        experts=config.n_routed_experts,
        experts_per_token=config.num_experts_per_tok,
        shared_experts=config.n_shared_experts,
        context=config.max_position_embeddings,
        dtype=config.dtype,
        quantization=_quantization(config),
        parameters=sum(part.parameters for part in kinds),
        active_parameters=text - routed + chosen,
        bytes=sum(part.bytes for part in kinds),
        kv_bytes_per_token=(config.kv_lora_rank + config.qk_rope_head_dim) * latent_layers * CACHE_BYTES_PER_NUMBER,
        read_bytes_per_token=_read_bytes(config),
        state_bytes=_state_bytes(config),
        sense_bytes=_sense_bytes(config, checkpoint),
        kinds=kinds,
        dtypes=_parts(counts, by_dtype=True),
        files=tuple(File(name, header.identity.size) for name, header in sorted(checkpoint.headers.items())),
    )


def _read_bytes(config: ModelConfig) -> int:
    """A float16 latent, int8 index keys and an int32 id."""
    memory = config.memory
    return 0 if memory is None else 2 * memory.latent_rank + memory.index_groups * memory.index_dim + 4


def _state_bytes(config: ModelConfig) -> int:
    """A matrix a head and the inputs of the short convolutions, in each recurrent layer."""
    linear = config.linear_attention
    if linear is None:
        return 0
    width = linear.num_heads * linear.head_dim
    return len(linear.kda_layers) * 4 * (width * linear.head_dim + 3 * width * (linear.short_conv_kernel_size - 1))


def _sense_bytes(config: ModelConfig, checkpoint: Checkpoint) -> int:
    """As `perilune chat --ram` sets them aside, with room for its usual context."""
    limits, tokens = MediaConfig.of(checkpoint.directory), conversation_tokens(config, None)
    return sense_room(config, limits, tokens, stored_weights(checkpoint, config)).total


def _quantization(config: ModelConfig) -> str:
    if config.quantization is None:
        return "none"
    return f"INT{config.quantization.num_bits} in groups of {config.quantization.group_size}, routed experts"


def kind_of(name: str, config: ModelConfig) -> str:
    """Which part of the model a published tensor belongs to."""
    if ".experts." in name:
        kind = ROUTED
    elif name.startswith(VISION_PREFIXES):
        return VISION
    elif name.startswith(AUDIO_PREFIXES):
        return HEARING
    elif ".self_attn." in name:
        kind = "attention"
    elif ".shared_experts." in name:
        kind = "shared experts"
    elif ".mlp.gate." in name or ".block_sparse_moe.gate." in name:
        kind = "routers"
    elif ".mlp." in name:
        kind = "dense feed-forward"
    elif name.endswith("embed_tokens.weight"):
        kind = "embeddings"
    elif name.endswith("lm_head.weight"):
        kind = "head"
    else:
        kind = "norms"
    return EXTRA if is_extra_layer(name, config) else kind


def _count(config: ModelConfig, checkpoint: Checkpoint) -> list[tuple[str, str, Kind, int]]:
    """(part of the model, last word of the name, kind, how many); experts are counted at C speed."""
    kinds = checkpoint.kinds()
    experts = [name for name in kinds if ".experts." in name]
    ids = list(map(id, map(kinds.__getitem__, experts)))
    sample = dict(zip(ids, experts, strict=True))
    lines = [(sample[key], count) for key, count in Counter(ids).items()]
    lines += [(name, 1) for name in kinds if ".experts." not in name]
    return [(kind_of(name, config), name.rpartition(".")[2], kinds[name], count) for name, count in lines]


def _parts(counts: list[tuple[str, str, Kind, int]], by_dtype: bool) -> tuple[Part, ...]:
    totals: dict[str, list[int]] = {}
    for part, role, (dtype, shape), count in counts:
        numbers = math.prod(shape)
        line = totals.setdefault(dtype if by_dtype else part, [0, 0, 0])
        line[0] += count
        line[1] += count * _logical(role, numbers)
        line[2] += count * numbers * DTYPE_BYTES[dtype]
    parts = [Part(name, *line) for name, line in totals.items()]
    return tuple(sorted(parts, key=lambda part: (-part.bytes, part.name)))


def _logical(role: str, numbers: int) -> int:
    """Scales and stored shapes describe parameters, they are none."""
    return {"weight_packed": 8 * numbers, "weight_scale": 0, "weight_shape": 0, "inv_freq": 0}.get(role, numbers)


def human(number: float, unit: str = "", step: int = 1000) -> str:
    """1026408232448 → "1.03 T": three digits and a letter."""
    letters = ["", "K", "M", "B" if not unit else "G", "T"]
    index = 0
    # 999.5 would be written with four digits, so it already takes the next letter.
    while number >= step * 0.9995 and index < len(letters) - 1:
        number, index = number / step, index + 1
    digits = f"{number:.0f}" if index == 0 or number >= 999.5 else f"{number:.3g}"
    return f"{digits} {letters[index]}{unit}".strip()


def as_table(summary: Summary) -> RenderableType:
    """For people: a few lines of facts, then bytes by kind and by dtype."""
    facts = Table.grid(padding=(0, 2))
    for label, value in _facts(summary):
        facts.add_row(Text(label, style="bold"), value)
    return Group(facts, "", _part_table("kind", summary.kinds), "", _part_table("dtype", summary.dtypes))


def _facts(s: Summary) -> list[tuple[str, str]]:
    experts = f"{s.experts} routed, {s.experts_per_token} per token, {s.shared_experts} shared" if s.experts else "none"
    return [
        ("model", f"{s.model_type}, {s.layers} layers, hidden {s.hidden_size}, vocabulary {s.vocab_size}"),
        ("parameters", f"{human(s.parameters)} in all, {human(s.active_parameters)} active per token"),
        ("experts", experts),
        ("context", f"{s.context} tokens"),
        ("cache", f"{s.kv_bytes_per_token} bytes per token in bfloat16"),
        *([("memory", f"{s.read_bytes_per_token} bytes per token that is read")] if s.read_bytes_per_token else []),
        *([("state", f"{human(s.state_bytes, 'B')} per sequence at any length")] if s.state_bytes else []),
        *([("senses", f"{human(s.sense_bytes, 'B')} of memory, towers included")] if s.sense_bytes else []),
        ("quantisation", s.quantization),
        ("on disk", f"{human(s.bytes, 'B')} in {len(s.files)} file{'s' * (len(s.files) != 1)}"),
    ]


def _part_table(title: str, parts: tuple[Part, ...]) -> Table:
    table = Table(title, *("tensors", "parameters", "bytes"), box=None, padding=(0, 2))
    for column in table.columns[1:]:
        column.justify = "right"
    for part in parts:
        table.add_row(part.name, str(part.tensors), human(part.parameters), human(part.bytes, "B"))
    return table
