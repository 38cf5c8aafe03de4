"""A published directory ↔ a Transformer. Loading maps the files and copies nothing; saving streams tensor by tensor.

Legend: E experts, F expert width, D hidden; a table row holds the six addresses of one expert.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from perilune.config import ModelConfig
from perilune.errors import ConfigError
from perilune.model.fused import fuse
from perilune.model.model import Transformer
from perilune.model.moe import Experts, Int4Experts, MoE, StoredExperts
from perilune.model.placed import PlacedExperts, Placement, check_placeable
from perilune.model.quantised import BACKBONES, is_quantised, quantise
from perilune.model.streamed import StreamedExperts
from perilune.weights import int4
from perilune.weights.device_slots import DeviceSlots
from perilune.weights.expert_layout import tensor_names
from perilune.weights.experts import ExpertStore
from perilune.weights.files import Checkpoint, open_checkpoint
from perilune.weights.names import (
    PROJECTIONS,
    check_stored_shapes,
    check_tensors,
    expected_tensors,
    expert_prefix,
    is_ignored,
    our_name,
    published_name,
)
from perilune.weights.write import MAX_SHARD_BYTES, CheckpointWriter

INT4_MODES = ("float", "int8", "unpacked")
STORED_NAMES = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}
# Published with full precision: the bias decides between near ties, decays multiply over hundreds of tokens.
FULL_PRECISION = ("e_score_correction_bias", ".A_log", ".dt_bias")


def load_transformer(
    directory: str | Path,
    *,
    int4_mode: str = "float",
    expert_cache: int | None = None,
    backbone: str = "bf16",
    checkpoint: Checkpoint | None = None,
    placement: Placement | None = None,
) -> Transformer:
    """Open a model directory for inference.

    `int4_mode` says how INT4 experts compute: "int8" rounds activations to int8 per group of 32, "float" keeps
    them exact, "unpacked" expands the weights to float32 (the definition; needs eight times the memory).
    `expert_cache` (bytes) streams INT4 experts through a cache of that size; without it they are mapped.
    `backbone` ("int8", "int4") makes what every token uses smaller in memory, at a cost in exactness.
    `checkpoint` is that of the directory, where it has been opened already. `placement` puts what every token uses, and
    some routed experts, on a GPU (placed.py); the embedding stays in the files, unless it is the head as well.
    Raises ConfigError or WeightsError before any large read.
    """
    if int4_mode not in INT4_MODES:
        raise ConfigError(f"int4 = {int4_mode!r} must be one of {', '.join(INT4_MODES)}")
    if backbone not in BACKBONES:
        raise ConfigError(f"backbone = {backbone!r} must be one of {', '.join(BACKBONES)}")
    config = ModelConfig.load(directory)
    if placement is not None:
        check_placeable(config, backbone)
    with torch.device("meta"):
        model = Transformer(config)
    checkpoint = checkpoint or open_checkpoint(directory)
    check_tensors(config, checkpoint)
    check_stored_shapes(config, checkpoint)
    for name in checkpoint.names():
        if ".experts." in name or is_ignored(name, config):
            continue
        ours, tensor = our_name(name, config), checkpoint.tensor(name)
        if backbone != "bf16" and is_quantised(ours, tensor.shape):
            quantise(model, ours, tensor, backbone)
            checkpoint.forget(name)
        elif placement is None or (ours == "embed_tokens.weight" and not config.tie_word_embeddings):
            assign(model, ours, tensor)
        else:
            assign(model, ours, tensor.to(placement.device))
            checkpoint.forget(name)
    if config.tie_word_embeddings:
        model.lm_head.weight = model.embed_tokens.weight
    store = None
    if expert_cache is not None:
        if config.quantization is None or int4_mode == "unpacked":
            raise ConfigError("only INT4 experts can be streamed; this model's are floats")
        store = ExpertStore(checkpoint, config, expert_cache)
    moes = {layer: block.mlp for layer, block in enumerate(model.blocks) if isinstance(block.mlp, MoE)}
    for layer, moe in moes.items():
        if store is not None:
            moe.experts = StreamedExperts(config, store, layer, int4_mode)
        else:
            moe.experts = _stored_experts(checkpoint, config, layer, int4_mode)
    if placement is not None:
        model.rotary.device = placement.device
        slots = DeviceSlots(config, placement.slots, placement.device, len(moes)) if placement.slots else None
        for layer, moe in moes.items():
            moe.experts = PlacedExperts(moe.experts, slots, layer)
    model.eval()
    model.fused = fuse(model)
    return model


def expert_store(model: Transformer) -> ExpertStore | None:
    """What the routed experts of an opened model are streamed from; None where they are in memory."""
    return next((module.store for module in model.modules() if isinstance(module, StreamedExperts)), None)


def device_slots(model: Transformer) -> DeviceSlots | None:
    """What an opened model's routed experts on a GPU lie in; None where none do."""
    return next((module.slots for module in model.modules() if isinstance(module, PlacedExperts)), None)


def assign(model: nn.Module, name: str, tensor: Tensor) -> None:
    """Puts a stored tensor in its place as it lies; buffers become float32."""
    path, leaf = name.rsplit(".", 1)
    module = model.get_submodule(path)
    if leaf in module._buffers:
        module._buffers[leaf] = tensor.float()
    else:
        setattr(module, leaf, nn.Parameter(tensor, requires_grad=False))


def _stored_experts(checkpoint: Checkpoint, config: ModelConfig, layer: int, int4_mode: str) -> nn.Module:
    if config.quantization is None or int4_mode == "unpacked":
        return StoredExperts(float_experts(checkpoint, config, layer))
    names = [tensor_names(config, layer, expert) for expert in range(config.n_routed_experts)]
    rows = [[checkpoint.raw(name)[0] for name in of_expert] for of_expert in names]
    return Int4Experts(config, torch.tensor(rows, dtype=torch.int64), checkpoint, int4_mode)


def float_experts(checkpoint: Checkpoint, config: ModelConfig, layer: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Gate, up and down of every expert of a layer as floats."""
    read = _triple if config.quantization is None else _unpacked_triple
    return [read(checkpoint, _prefixes(config, layer, e)) for e in range(config.n_routed_experts)]


def _prefixes(config: ModelConfig, layer: int, expert: int) -> list[str]:
    return [expert_prefix(config, layer, expert, projection) for projection in PROJECTIONS]


def _triple(checkpoint: Checkpoint, prefixes: list[str]) -> tuple[Tensor, Tensor, Tensor]:
    gate_FD, up_FD, down_DF = (checkpoint.tensor(p + "weight") for p in prefixes)
    return gate_FD, up_FD, down_DF


def _unpacked_triple(checkpoint: Checkpoint, prefixes: list[str]) -> tuple[Tensor, Tensor, Tensor]:
    gate_FD, up_FD, down_DF = (
        int4.dequantize(checkpoint.tensor(p + "weight_packed"), checkpoint.tensor(p + "weight_scale")) for p in prefixes
    )
    return gate_FD, up_FD, down_DF


def save_checkpoint(
    directory: str | Path,
    model: Transformer,
    *,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    metadata: dict[str, str] | None = None,
) -> None:
    """Write config.json and shards in the published layout of the model's family; experts on the INT4 grid where
    the config has one. What the config says the model sees and hears with must be there."""
    config, directory = model.config, Path(directory)
    needed = config.senses
    if set(needed) != set(model.senses):
        has = ", ".join(sorted(model.senses)) or "no sense"
        raise ConfigError(f"config.json names {', '.join(sorted(needed)) or 'no sense'}, but the model has {has}")
    for name, sense in model.senses.items():
        if sense.config != needed[name]:
            raise ConfigError(f"the {name} that config.json tells of is not the one that the model has")
        if sense.hidden_size != config.hidden_size:
            told = f"{name} makes tokens that are {sense.hidden_size} wide; this model takes {config.hidden_size}"
            raise ConfigError(told)
    declared = {
        name: (_stored_dtype(config, name), expected.shape)
        for name, expected in expected_tensors(config).items()
        if not (config.tie_word_embeddings and name.endswith("lm_head.weight"))
    }
    sensed = {name: tensor for sense in model.senses.values() for name, tensor in sense.named_parameters()}
    declared |= {name: (STORED_NAMES[config.dtype], tuple(tensor.shape)) for name, tensor in sensed.items()}
    with CheckpointWriter(directory, declared, max_shard_bytes=max_shard_bytes, metadata=metadata) as writer:
        for name, tensor in _published_tensors(model):
            if name in declared:
                writer.write(name, tensor)
        for name, tensor in sensed.items():
            writer.write(name, tensor.detach().to(getattr(torch, config.dtype)))
    text = json.dumps(config.to_dict(), indent=2, ensure_ascii=False)
    (directory / "config.json").write_text(text + "\n", encoding="utf-8")


def _stored_dtype(config: ModelConfig, name: str) -> str:
    if name.endswith(("weight_packed", "weight_shape")):
        return "I32"
    if name.endswith("weight_scale"):
        return "BF16"
    return "F32" if name.endswith(FULL_PRECISION) else STORED_NAMES[config.dtype]


def _published_tensors(model: Transformer) -> Iterator[tuple[str, Tensor]]:
    config = model.config
    dtype = getattr(torch, config.dtype)
    for name, tensor in model.state_dict().items():
        if ".experts." not in name:
            yield published_name(name, config), tensor.to(torch.float32 if name.endswith(FULL_PRECISION) else dtype)
    for layer, block in enumerate(model.layers):
        if isinstance(block.mlp, MoE):
            yield from _published_experts(config, layer, _float_triples(block.mlp.experts))


def _float_triples(experts: nn.Module) -> Iterator[tuple[Tensor, ...]]:
    if isinstance(experts, Experts):
        fused = (experts.w_gate_EFD, experts.w_up_EFD, experts.w_down_EDF)
        return zip(*fused, strict=True)
    if isinstance(experts, StoredExperts):
        return iter(experts.weights)
    raise ConfigError('INT4 experts cannot be saved again; open the model with int4_mode="unpacked"')


def _published_experts(
    config: ModelConfig, layer: int, triples: Iterator[tuple[Tensor, ...]]
) -> Iterator[tuple[str, Tensor]]:
    for expert, triple in enumerate(triples):
        for projection, weight in zip(PROJECTIONS, triple, strict=True):
            prefix = expert_prefix(config, layer, expert, projection)
            if config.quantization is None:
                yield prefix + "weight", weight.to(getattr(torch, config.dtype))
                continue
            q, scale = int4.quantize(weight)
            yield prefix + "weight_packed", int4.pack(q)
            yield prefix + "weight_scale", scale
            yield prefix + "weight_shape", torch.tensor(weight.shape, dtype=torch.int32)
