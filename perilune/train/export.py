"""From a run to a model folder in the published layout: INT4 experts, tokenizer, manifest and model card."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from perilune.config import ModelConfig
from perilune.errors import ConfigError
from perilune.media.settings import FILE_NAME as PREPROCESSOR
from perilune.model.checkpoint import save_checkpoint
from perilune.model.model import Transformer
from perilune.model.tower_init import fresh_senses
from perilune.text.ranks import CONFIG_FILE, RANKS_FILE
from perilune.train import snapshot
from perilune.train.loop import DATA_INDEX
from perilune.train.manifest import Manifest, build_manifest
from perilune.train.recipe import NANO_LIMITS


def export_run(run: Path, out: Path, tokenizer: Path | None = None) -> Path:
    """Write the newest checkpoint of `run` into `out`."""
    found = snapshot.checkpoints(run / "checkpoints")
    if not found:
        raise ConfigError(f"{run} holds no checkpoint: train first")
    saved = snapshot.load(found[-1])
    settings = saved.meta["settings"]
    model = Transformer(ModelConfig.from_dict(saved.meta["model"]))
    model.senses.update(fresh_senses(model.config, seed=0))
    model.load_state_dict(saved.room("model"))
    save_checkpoint(out, model, metadata={"step": str(saved.meta["step"])})
    if model.config.vision is not None:
        (out / PREPROCESSOR).write_text(json.dumps(NANO_LIMITS.to_dict(), indent=2) + "\n")
    _copy_tokenizer(Path(settings["tokenizer"]) if tokenizer is None else tokenizer, out)
    (out / "generation_config.json").write_text(json.dumps(_generation(model.config), indent=2) + "\n")
    index = json.loads((run / DATA_INDEX).read_text(encoding="utf-8"))
    tokens = saved.meta["step"] * settings["rows"] * index["context"]
    manifest = build_manifest(index, tokens)
    manifest.write(out)
    (out / "README.md").write_text(_card(saved, model, manifest, _last_held_out(run)), encoding="utf-8")
    return out


def _copy_tokenizer(source: Path, out: Path) -> None:
    if not (source / RANKS_FILE).is_file():
        raise ConfigError(f"{source} holds no {RANKS_FILE}: say where the tokenizer is now")
    for path in (source / RANKS_FILE, source / CONFIG_FILE):
        if path.is_file() and path.resolve() != (out / path.name).resolve():
            shutil.copyfile(path, out / path.name)


def _generation(config: ModelConfig) -> dict[str, Any]:
    return {
        "bos_token_id": config.bos_token_id,
        "eos_token_id": list(config.eos_token_ids),
        "pad_token_id": config.pad_token_id,
        "temperature": 0.6,
        "top_p": 0.95,
        "do_sample": True,
    }


def _last_held_out(run: Path) -> float | None:
    """The newest held-out loss of the run's metrics."""
    path = run / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    losses = [record["held_out"] for record in map(json.loads, lines) if "held_out" in record]
    return losses[-1] if losses else None


def _card(saved: snapshot.Saved, model: Transformer, manifest: Manifest, held_out: float | None) -> str:
    config, settings = model.config, saved.meta["settings"]
    total = sum(weight.numel() for weight in model.parameters())
    measured = "not measured" if held_out is None else f"{held_out:.3f} nats a token"
    rows = "\n".join(
        f"| {e.title} | {e.licence} | {e.documents:,} | {e.tokens:,} | {e.share:.1%} |" for e in manifest.entries
    )
    return f"""---
license: apache-2.0
language: en
library_name: perilune
---
# {settings["model"] if settings["model"] == "nano" else "A model trained with perilune"}

A small decoder with the structure of Kimi K2.6: latent attention, a router over {config.n_routed_experts}
experts ({config.num_experts_per_tok} a token, {config.n_shared_experts} shared), chat template and tools as
published.{_memory_lines(config)}
It knows short chat, simple stories, questions about a given passage, small sums and tool calls; it is no
source of facts, and it speaks English only.{_senses_line(config)}

| | |
|---|---|
| weights | {total / 1e6:.1f} M, {_active(model) / 1e6:.1f} M of them for a token; routed experts in INT4 |
| layers, width, context in training | {config.num_hidden_layers}, {config.hidden_size}, 1,024 |
| steps, tokens of text and chat | {saved.meta["step"]:,}, {manifest.tokens_seen:,} ({manifest.passes:.2f} passes) |
{_asking_row(saved)}{_shown_row(saved)}| optimiser | Muon; AdamW for embedding, head and vectors |
| highest rate | {settings["lr"]} |
| held-out loss | {measured} |

Trained by `runs/nano.sh` of perilune. Credits of all sources: NOTICE.data.txt; hashes: data_manifest.json.

| source | licence | documents | tokens | share |
|---|---|---|---|---|
{rows}
"""


def _memory_lines(config: ModelConfig) -> str:
    memory = config.memory
    if memory is None:
        return ""
    return f"""
Its first {memory.num_read_layers} layers (Kimi Delta Attention) read; a chunk memory keeps what they read, up to
{config.max_position_embeddings:,} tokens, and the layers above choose the {memory.top_k} chunks of
{memory.chunk_size} tokens that a question needs."""


def _senses_line(config: ModelConfig) -> str:
    if config.vision is None or config.audio is None:
        return ""
    return " It sees pictures and clips and hears sounds of the kinds\nnamed below, and says little about others."


def _asking_row(saved: snapshot.Saved) -> str:
    """Documents made for reading and asking, where the run had them."""
    settings = saved.meta["settings"]
    tokens = settings.get("ask_tokens", 0) * settings["threads"] * saved.meta["step"]
    begun = " (this run began with the weights of an earlier one)" if settings.get("start") else ""
    return f"| generated tokens read and asked about | {tokens:,}{begun} |\n" if tokens else ""


def _shown_row(saved: snapshot.Saved) -> str:
    """Conversations with media, where the run had them."""
    settings = saved.meta["settings"]
    count = settings.get("shown", 0) * settings["threads"] * saved.meta["step"]
    return f"| conversations with pictures, sounds and clips | {count:,} |\n" if count else ""


def _active(model: Transformer) -> int:
    """Weights that one token uses: all but the experts it does not choose."""
    config, count = model.config, 0
    for name, weight in model.named_parameters():
        share = config.num_experts_per_tok / config.n_routed_experts if ".experts." in name else 1
        count += round(weight.numel() * share)
    return count
