"""Random-weight checkpoints of a published shape, in the published layout, written as a stream.

For trying the whole road at full width without the weights. Same shape, layers and seed → same bytes: every
tensor has its own generator, seeded by the seed and the tensor's name.
"""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist

import numpy as np

from perilune.config import LinearAttentionConfig, ModelConfig
from perilune.errors import ConfigError, WeightsError
from perilune.text.specials import SPECIAL_COUNT
from perilune.text.vocabulary import filler_tokens, write_vocabulary
from perilune.weights.audio_names import audio_tensors
from perilune.weights.files import INDEX_NAME, SINGLE_NAME
from perilune.weights.names import expected_tensors
from perilune.weights.vision_names import vision_tensors
from perilune.weights.write import MAX_SHARD_BYTES, CheckpointWriter, Declared

CHUNK_BYTES = 16 << 20
SPARE_DISK_BYTES = 1 << 30
MIN_SHARDS = 4
BALANCE_BIAS_STD = 0.01
# The standard deviation of a nibble that is uniform over -8..7.
UNIFORM_NIBBLE_STD = math.sqrt((16**2 - 1) / 12)
TOKENIZER_FILES = ("tiktoken.model", "tokenizer_config.json", "generation_config.json")
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Synthesized:
    directory: Path
    config: ModelConfig
    tensors: int
    bytes: int
    shards: int


def synthesize(
    shape: str | ModelConfig,
    out: str | Path,
    *,
    layers: int | None = None,
    seed: int = 0,
    tokenizer: str | Path | None = None,
    progress: Progress | None = None,
) -> Synthesized:
    """Write a random checkpoint of a named shape (or a config) into out, which must not hold a model yet.

    layers keeps only the first ones; without a tokenizer directory to copy from, a filler vocabulary is written;
    progress(bytes done, bytes in all, tensor name) follows the writing.
    """
    config = ModelConfig.preset(shape) if isinstance(shape, str) else shape
    config = config if layers is None else first_layers(config, layers)
    out, source = Path(out), None if tokenizer is None else Path(tokenizer)
    if not 0 <= seed < 1 << 64:
        raise ConfigError(f"seed = {seed} must be from 0 to 2**64 - 1")
    if source is not None and not (source / "tiktoken.model").is_file():
        raise ConfigError(f"{source} has no tiktoken.model to copy")
    declared = declare(config)
    total = sum(tensor.nbytes for tensor in declared.values())
    _check_target(out, total)
    shard_bytes = min(MAX_SHARD_BYTES, math.ceil(total / MIN_SHARDS))
    done = 0
    with CheckpointWriter(out, declared, max_shard_bytes=shard_bytes) as writer:
        for name, tensor in declared.items():
            at = 0
            for block in _blocks(config, name, tensor, seed):
                writer.write_part(name, at, block)
                at, done = at + block.nbytes, done + block.nbytes
                if progress is not None:
                    progress(done, total, name)
    _write_tokenizer(config, source, out)
    (out / "config.json").write_text(config.to_json(), encoding="utf-8")
    return Synthesized(out, config, len(declared), total, len(list(out.glob("*.safetensors"))))


def first_layers(config: ModelConfig, layers: int) -> ModelConfig:
    """The same shape cut after its first layers."""
    if not 1 <= layers <= config.num_hidden_layers:
        raise ConfigError(f"layers = {layers} must be from 1 to {config.num_hidden_layers}, as many as the shape has")
    linear = config.linear_attention
    if linear is not None:
        linear = LinearAttentionConfig(
            kda_layers=tuple(i for i in linear.kda_layers if i <= layers),
            full_attn_layers=tuple(i for i in linear.full_attn_layers if i <= layers),
            num_heads=linear.num_heads,
            head_dim=linear.head_dim,
            short_conv_kernel_size=linear.short_conv_kernel_size,
        )
    dense = min(config.first_k_dense_replace, layers)
    return replace(config, num_hidden_layers=layers, first_k_dense_replace=dense, linear_attention=linear)


def declare(config: ModelConfig) -> dict[str, Declared]:
    """Every tensor with the dtype it has in the published files."""
    table = {name: Declared(_dtype(name), tensor.shape) for name, tensor in expected_tensors(config).items()}
    if config.tie_word_embeddings:
        del table[f"{config.tensor_prefix}lm_head.weight"]
    if config.vision is not None:
        vision = vision_tensors(config.vision, config.hidden_size)
        table |= {name: Declared("BF16", shape) for name, shape in vision.items()}
    if config.audio is not None:
        audio = audio_tensors(config.audio, config.hidden_size)
        table |= {name: Declared("BF16", shape) for name, shape in audio.items()}
    return table


def _dtype(name: str) -> str:
    if name.endswith((".weight_packed", ".weight_shape")):
        return "I32"
    return "F32" if name.endswith((".e_score_correction_bias", ".A_log", ".dt_bias")) else "BF16"


def _check_target(out: Path, total: int) -> None:
    for name in (SINGLE_NAME, INDEX_NAME, "config.json"):
        if (out / name).exists():
            raise WeightsError(f"{out} already holds a model ({name}); give an empty directory")
    try:
        out.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(out).free
    except OSError as error:
        raise WeightsError(f"{out} cannot be made: {error.strerror or error}") from error
    if free < total + SPARE_DISK_BYTES:
        raise WeightsError(
            f"this checkpoint needs {total / 1e9:.1f} GB and {SPARE_DISK_BYTES / 1e9:.1f} GB to spare, "
            f"but {out} has {free / 1e9:.1f} GB free; ask for fewer layers"
        )


def _write_tokenizer(config: ModelConfig, source: Path | None, out: Path) -> None:
    """A copy of the given one, or a filler of the right size, so that the directory takes text."""
    ranks = config.vocab_size - SPECIAL_COUNT
    if source is None:
        if ranks >= 256:
            write_vocabulary(out, filler_tokens(ranks))
        return
    for name in TOKENIZER_FILES:
        if (source / name).is_file() and source.resolve() != out.resolve():
            shutil.copyfile(source / name, out / name)


def bfloat16_bits(values: np.ndarray) -> np.ndarray:
    """float32 → bfloat16 bit patterns, rounded to nearest even."""
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def _normal_table(std: float) -> np.ndarray:
    """65,536 equally likely values of a normal distribution: two random bytes pick one, which is fast."""
    grid = NormalDist(0.0, std)
    half = np.array([grid.inv_cdf((i + 0.5) / 65536) for i in range(32768, 65536)], dtype=np.float32)
    return bfloat16_bits(np.concatenate([-half[::-1], half]))


_TABLES: dict[float, np.ndarray] = {}


def _table(std: float) -> np.ndarray:
    if std not in _TABLES:
        _TABLES[std] = _normal_table(std)
    return _TABLES[std]


def _generator(name: str, seed: int) -> np.random.SFC64:
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=16).digest()
    return np.random.SFC64(int.from_bytes(digest, "little"))


def _blocks(config: ModelConfig, name: str, tensor: Declared, seed: int) -> Iterator[np.ndarray]:
    """The tensor's bytes in pieces of bounded size."""
    source = _generator(name, seed)
    if name.endswith(".weight_packed"):
        yield from _random_words(source, tensor.nbytes)
    elif name.endswith(".weight_shape"):
        yield np.array(_logical_shape(config, name), dtype=np.int32)
    elif name.endswith(".weight_scale"):
        yield _scales(source, config, math.prod(tensor.shape))
    elif tensor.dtype == "F32":
        yield _small_vector(source, name, math.prod(tensor.shape))
    elif "norm" in name.split(".")[-2]:
        is_bias = name.endswith(".bias")
        yield bfloat16_bits(np.full(tensor.shape, 0.0 if is_bias else 1.0))
    else:
        table = _table(config.initializer_range)
        for words in _random_words(source, tensor.nbytes):
            yield table[words.view(np.uint16)]


def _random_words(source: np.random.SFC64, nbytes: int) -> Iterator[np.ndarray]:
    for begin in range(0, nbytes, CHUNK_BYTES):
        size = min(CHUNK_BYTES, nbytes - begin)
        words = source.random_raw(-(-size // 8))
        yield words.view(np.uint8)[:size]


def _logical_shape(config: ModelConfig, name: str) -> tuple[int, int]:
    hidden, width = config.hidden_size, config.moe_intermediate_size
    down = name.endswith((".down_proj.weight_shape", ".w2.weight_shape"))
    return (hidden, width) if down else (width, hidden)


def _scales(source: np.random.SFC64, config: ModelConfig, count: int) -> np.ndarray:
    """Scales that give the nibbles, uniform over -8..7, the standard deviation of every other weight."""
    spread = np.random.Generator(source).uniform(0.9, 1.1, count)
    return bfloat16_bits(spread * (config.initializer_range / UNIFORM_NIBBLE_STD))


def _small_vector(source: np.random.SFC64, name: str, count: int) -> np.ndarray:
    generator = np.random.Generator(source)
    if name.endswith(".A_log"):
        return np.log(generator.uniform(1.0, 16.0, count)).astype(np.float32)
    return (generator.standard_normal(count) * BALANCE_BIAS_STD).astype(np.float32)
