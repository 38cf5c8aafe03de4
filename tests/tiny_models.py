"""Small real models for tests of the engine and what stands on it; a vocabulary of bytes and specials."""

from __future__ import annotations

import base64
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import torch

from perilune.config import LinearAttentionConfig, MemoryConfig, ModelConfig
from perilune.model.checkpoint import save_checkpoint
from perilune.model.model import Transformer
from perilune.presets import preset
from perilune.text.tokenizer import Tokenizer

TOKENIZER = Tokenizer({bytes([byte]): byte for byte in range(256)})


def tiny_transformer(seed: int = 1, context: int = 512, spread: float = 0.15) -> Transformer:
    """A dense layer and two MoE layers in float32; `spread` is wide enough that replies are not constant."""
    config = replace(
        preset("tiny"),
        quantization=None,
        dtype="float32",
        max_position_embeddings=context,
        initializer_range=spread,
    )
    model = Transformer(config)
    model.init_weights(seed)
    return model.eval()


def chain_transformer(*chains: str, context: int = 512) -> Transformer:
    """A real network that recites: after each token of a chain the next one, at its end <|im_end|>.

    Layers add nothing to one-hot embeddings and the head maps a token to its successor: it can have only one.
    """
    config = replace(
        preset("tiny"),
        quantization=None,
        dtype="float32",
        hidden_size=512,
        num_hidden_layers=1,
        n_routed_experts=0,
        first_k_dense_replace=1,
        max_position_embeddings=context,
    )
    model = Transformer(config)
    successor = {}
    for chain in chains:
        ids = [*TOKENIZER.encode(chain, special=True), TOKENIZER.eos]
        for here, there in pairwise(ids):
            assert successor.setdefault(here, there) == there, f"{here} has two successors"
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.fill_(1.0 if "norm" in name else 0.0)
        model.embed_tokens.weight.copy_(torch.eye(512))
        model.lm_head.weight[TOKENIZER.eos, :] = 1.0
        for here, there in successor.items():
            model.lm_head.weight[:, here] = 0.0
            model.lm_head.weight[there, here] = 2.0
    return model.eval()


def write_model(directory: Path, model: Transformer, tokenizer: bool = True) -> Path:
    """The model as a directory that `load` takes."""
    directory.mkdir(exist_ok=True)
    save_checkpoint(directory, model)
    if tokenizer:
        lines = [base64.b64encode(bytes([byte])) + b" %d\n" % byte for byte in range(256)]
        (directory / "tiktoken.model").write_bytes(b"".join(lines))
    return directory


def prompt(length: int, seed: int = 0, vocab: int = 512) -> tuple[int, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(0, vocab, (length,), generator=generator).tolist())


def memory_config(context: int = 4096, vocab: int = 512, **memory: object) -> ModelConfig:
    """Two layers that read and two that ask, small enough for tests; <|im_assistant|> begins reading."""
    sizes = dict(
        num_read_layers=2,
        chunk_size=16,
        top_k=3,
        window=32,
        segment=64,
        overlap=16,
        latent_rank=24,
        index_dim=16,
        query_rank=8,
        copy_dim=16,
        renew=4,
        answer_token_id=TOKENIZER.special_id("<|im_assistant|>"),
    )
    return replace(
        preset("tiny"),
        model_type="perilune",
        vocab_size=vocab,
        num_hidden_layers=4,
        linear_attention=LinearAttentionConfig((1, 2), (3, 4), num_heads=2, head_dim=16, gate="sigmoid"),
        memory=MemoryConfig(**{**sizes, **memory}),
        quantization=None,
        dtype="float32",
        max_position_embeddings=context,
        initializer_range=0.15,
        eos_token_ids=(TOKENIZER.eos,),
    )


def memory_transformer(seed: int = 1, **memory: object) -> Transformer:
    model = Transformer(memory_config(**memory))
    model.init_weights(seed)
    return model.eval()
