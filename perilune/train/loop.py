"""The training loop: batches in, checkpoints out; resuming continues bit for bit.

Everything a step does depends only on the weights, the optimiser's state and the step number; where a memory is asked,
also on the bank of chunks from earlier steps, which is not saved and fills again after a resume.
Axes: B rows, T tokens, N trained tokens, D width, L MoE layers, E experts.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from perilune.config import ModelConfig
from perilune.corpus.media_sources import media_index
from perilune.corpus.sources import data_root
from perilune.errors import ConfigError
from perilune.model.model import Transformer
from perilune.model.tower_init import fresh_senses
from perilune.text.tokenizer import Tokenizer
from perilune.train import snapshot
from perilune.train.ahead import batches, moved
from perilune.train.asking import AskBatch, AskRows, Bank, ask_loss
from perilune.train.balance import expert_counts, health, sequence_loss, take_routings, update_biases
from perilune.train.loss import head_loss
from perilune.train.naming import naming_loss
from perilune.train.optim import Optimizer
from perilune.train.packed import Batch, Packed
from perilune.train.recipe import NANO_LIMITS, TrainConfig, check_resume, resolve_model
from perilune.train.replicas import Replicas
from perilune.train.report import Report, describe_run, write_json
from perilune.train.samples import sample_replies
from perilune.train.schedule import Schedule
from perilune.train.seeing import ShownBatch, ShownRows, media_rows
from perilune.train.start import begin_with

HELD_OUT_BATCHES = 4
DATA_INDEX = "data_index.json"  # the packed corpus' index and that of the media, kept with the run


def token_loss(model: Transformer, batch: Batch, z_weight: float = 0.0, media_ND: Tensor | None = None) -> Tensor:
    """Summed loss of the trained tokens; the head only runs for them. `media` stand at the placeholders of the rows."""
    chosen_N = torch.where(batch.mask_BT.flatten())[0]
    target_N = batch.target_BT.flatten()[chosen_N]
    x_BTD, middle_BTD = model.trunk(batch.ids_BT, batch.segments_BT, media_ND)
    if model.copy_head is None:
        x_ND = x_BTD.flatten(0, 1).index_select(0, chosen_N)
        return head_loss(model.norm(x_ND), model.lm_head.weight, target_N, z_weight)
    y_BTD = model.norm(x_BTD)
    pointing = model.pointing(y_BTD, middle_BTD, batch.ids_BT, batch.segments_BT)
    copied = pointing.log_keep.flatten()[chosen_N], pointing.log_copy(batch.target_BT).flatten()[chosen_N]
    return head_loss(y_BTD.flatten(0, 1)[chosen_N], model.lm_head.weight, target_N, z_weight, copied)


@dataclass(frozen=True)
class Lessons:
    """What one step learns from: packed rows, and for each thread documents with questions, and media."""

    rows: Batch | None
    asked: tuple[AskBatch, ...]
    shown: tuple[ShownBatch, ...]


class Trainer:
    """Model, twins, optimiser and data of a run, and what one step does with them."""

    def __init__(self, config: TrainConfig):
        self.config = config
        self.device = torch.device(config.device)
        self.packed = Packed.open(config.data, total_steps=config.steps)
        self.tokenizer = Tokenizer.load(config.tokenizer)
        check_vocabulary(self.packed, self.tokenizer)
        self.model_config = resolve_model(config, self.tokenizer.n_vocab)
        torch.manual_seed(config.seed)
        self.model = Transformer(self.model_config)
        self.model.init_weights(config.seed)
        self.model.senses.update(fresh_senses(self.model_config, config.seed))
        if config.start:
            begin_with(self.model, config.start)
        self.model.move(self.device)
        choose_learners(self.model, config.learn)
        self.asking = ask_rows(config, self.model_config, self.tokenizer)
        self.showing = shown_rows(config, self.model_config, self.tokenizer)
        self.banks = [Bank(config.ask_bank) for _ in range(config.threads)]
        self.replicas = Replicas(self.model, config.threads)
        self.optimizer = Optimizer(
            self.model,
            heads=self.model_config.num_attention_heads,
            weight_decay=config.weight_decay,
            adamw_ratio=config.adamw_ratio,
            bfloat16=config.bfloat16,
            executor=self.replicas.executor,
        )
        self.schedule = Schedule(config.lr, config.steps, config.warmup, config.decay_share)

    @property
    def settings(self) -> dict[str, Any]:
        """What a checkpoint and the run's record say about the run."""
        return {
            "settings": self.config.to_dict(),
            "model": self.model_config.to_dict(),
            "data": self.packed.fingerprint,
        }

    def make(self, step: int) -> Lessons:
        """What a step learns from: a function of the step alone, for whichever process calls it."""
        parts = range(self.config.threads)
        return Lessons(
            Batch.of(self.packed.batch(step, self.config.rows)) if self.config.rows else None,
            tuple(self.asking.batch(step, i) for i in parts) if self.asking else (),
            tuple(self.showing.batch(step, i) for i in parts) if self.showing else (),
        )

    def step(self, step: int, made: Lessons) -> dict[str, float]:
        """One update from what `make` makes for this step; `step` counts finished steps."""
        config = self.config
        if step >= config.qat_start:
            self.replicas.show_quantized()
        packed = self._packed_rows(made.rows) if made.rows else {}
        asked = self.replicas.run(lambda twin, i: self._ask_part(twin, i, made.asked[i])) if made.asked else []
        shown = self.replicas.run(lambda twin, i: self._shown_part(twin, made.shown[i])) if made.shown else []
        self.replicas.collect_gradients()
        norm = self.optimizer.clip(config.clip)
        lr = self.schedule.lr(step)
        self.optimizer.step(lr)
        self.optimizer.zero_grad()
        return {**packed, **_means(asked), **_means(shown), "lr": lr, "grad_norm": norm}

    def _packed_rows(self, rows: Batch) -> dict[str, float]:
        """Gradients of the step's packed rows, and the experts' balance moved by how often each was chosen."""
        config = self.config
        batch = moved(rows, self.device)
        parts = self.replicas.run(lambda twin, i: self._part(twin, batch.share(i, config.threads), batch.trained))
        counts_LE = torch.stack([counts for _, counts in parts]).sum(0)
        update_biases(self.model, counts_LE, config.bias_rate)
        return {"loss": sum(loss for loss, _ in parts) / max(1, batch.trained), **health(counts_LE)}

    def _part(self, twin: Transformer, batch: Batch, trained: int) -> tuple[float, Tensor]:
        """Forward and backward of one thread's rows: summed loss and expert counts."""
        config = self.config
        loss = token_loss(twin, batch, config.z_weight)
        routings = take_routings(twin)
        balance = sequence_loss(routings, batch.ids_BT.shape[0]) / config.threads
        (loss / max(1, trained) + config.balance_weight * balance).backward()
        return float(loss.detach()), expert_counts(routings, self.model_config.n_routed_experts)

    def _ask_part(self, twin: Transformer, part: int, asked: AskBatch) -> dict[str, float]:
        """Forward and backward of one thread's documents and questions."""
        config, batch = self.config, moved(asked, self.device)
        options = {"learn_lower": config.ask_lower, "top_k": config.ask_chunks}
        made = ask_loss(twin, batch, self.banks[part].pages, **options)
        if config.ask_bank:
            self.banks[part].add(made.pages)
        mean = made.replies / max(1, batch.trained)
        finding = config.select_weight * (made.selection + made.spans)
        ((config.ask_weight * mean + finding) / config.threads).backward()
        take_routings(twin)  # questions are few and alike: experts are balanced on the packed rows
        return {
            "ask": float(mean.detach()),
            "select": float(made.selection.detach()),
            "span": float(made.spans.detach()),
        } | made.shares

    def _shown_part(self, twin: Transformer, shown: ShownBatch) -> dict[str, float]:
        """Forward and backward of one thread's conversations with media."""
        config, batch = self.config, moved(shown, self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.bfloat16):
            media_ND = media_rows(twin, batch.media)
        if config.naming:
            mean = naming_loss(twin, batch.rows, media_ND)
        else:
            loss = token_loss(twin, batch.rows, config.z_weight, media_ND)
            mean = loss / max(1, batch.rows.trained)
        (config.shown_weight * mean / config.threads).backward()
        take_routings(twin)  # as for questions
        return {"shown": float(mean.detach())}

    def held_out_loss(self) -> float:
        """Mean loss of the first held-out batches, on the weights the twins see."""
        with torch.no_grad():
            return sum(self._held_out_batch(i) for i in range(HELD_OUT_BATCHES)) / HELD_OUT_BATCHES

    def _held_out_batch(self, index: int) -> float:
        rows = self.config.rows or self.config.threads
        batch = moved(Batch.of(self.packed.held_out(index * rows, rows)), self.device)

        def part(twin: Transformer, i: int) -> float:
            with torch.no_grad():
                return float(token_loss(twin, batch.share(i, self.config.threads)))

        return sum(self.replicas.run(part)) / max(1, batch.trained)


def check_cuda() -> None:
    if not torch.cuda.is_available():
        raise ConfigError('device = "cuda", but torch sees no GPU here; a run on the CPU takes device = "cpu"')


def choose_learners(model: Transformer, learn: str) -> None:
    """Only weights whose names begin with one of the given beginnings learn."""
    beginnings = tuple(part.strip() for part in learn.split(",") if part.strip())
    if not beginnings:
        return
    for name, weight in model.named_parameters():
        weight.requires_grad_(name.startswith(beginnings))
    if not any(weight.requires_grad for weight in model.parameters()):
        raise ConfigError(f"learn = {learn!r} names no weight of the model")


def ask_rows(config: TrainConfig, model: ModelConfig, tokenizer: Tokenizer) -> AskRows | None:
    if not config.ask_tokens:
        return None
    if model.memory is None:
        raise ConfigError("ask_tokens are read into a chunk memory, but the model's config has no memory_config")
    size, sizes = model.memory.chunk_size, (config.ask_tokens, config.ask_questions)
    return AskRows(data_root(), tokenizer, config.seed, size, *sizes)


def shown_rows(config: TrainConfig, model: ModelConfig, tokenizer: Tokenizer) -> ShownRows | None:
    if not config.shown:
        return None
    if model.vision is None or model.audio is None:
        raise ConfigError("shown needs a model that sees and hears: its config has no vision_config or no audio_config")
    speech = Path(config.speech) if config.speech else None
    sizes = (config.shown, config.seed)
    return ShownRows(data_root(), tokenizer, model, NANO_LIMITS, *sizes, speech, config.shown_families)


def _means(parts: list[dict[str, float]]) -> dict[str, float]:
    """Each value's mean over the threads."""
    return {name: sum(part[name] for part in parts) / len(parts) for name in (parts[0] if parts else ())}


def train(config: TrainConfig) -> Path:
    """Run, or go on with the run in `config.out`; returns the newest checkpoint."""
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_num_threads(1)
    if config.device == "cuda":
        check_cuda()
        torch.set_float32_matmul_precision("high")  # products of ten bits, sums of float32
    try:
        return _train(config)
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)


def _train(config: TrainConfig) -> Path:
    trainer, out = Trainer(config), Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    start = _resume(trainer, out)
    write_json(out / "run.json", describe_run(trainer.settings))
    media = {"media": media_index(data_root())} if trainer.showing else {}
    write_json(out / DATA_INDEX, {**trainer.packed.index, **media})
    report = Report(out, config.steps, start)
    step = start
    try:
        with stop_signals() as stop:
            ahead = batches(trainer.make, step, config.steps, config.workers)
            while step < config.steps and not stop.is_set():
                values = trainer.step(step, next(ahead))
                step += 1
                report.advance(step, trainer.config.rows * trainer.packed.context)
                _look(trainer, report, step, values)
                if config.minutes and report.seconds > config.minutes * 60:
                    stop.set()
                if step % config.save_every == 0 and step < config.steps and not stop.is_set():
                    _save(trainer, out, step)
        if step > start:
            _save(trainer, out, step)
        report.line(f"stopped at step {step} of {config.steps}: {out}")
    finally:
        report.close()
        trainer.replicas.close()
    return snapshot.checkpoints(out / "checkpoints")[-1]


def _look(trainer: Trainer, report: Report, step: int, values: dict[str, float]) -> None:
    """Metrics, held-out loss and samples when their turn has come."""
    config, last = trainer.config, step == trainer.config.steps
    if step % config.eval_every == 0 or last:
        values = {**values, "held_out": trainer.held_out_loss()}
    if step % config.log_every == 0 or "held_out" in values:
        report.metrics(step, values)
    if config.prompts and (step % config.sample_every == 0 or last):
        report.samples(step, sample_replies(trainer.replicas.twins[0], trainer.tokenizer, config.prompts))


def _save(trainer: Trainer, out: Path, step: int) -> None:
    snapshot.save(out / "checkpoints", step, trainer.model, trainer.optimizer, trainer.settings)


def _resume(trainer: Trainer, out: Path) -> int:
    found = snapshot.checkpoints(out / "checkpoints")
    if not found:
        return 0
    saved = snapshot.load(found[-1])
    check_resume(TrainConfig.from_dict(saved.meta["settings"]), trainer.config, int(saved.meta["step"]))
    if saved.meta["data"] != trainer.packed.fingerprint:
        raise ConfigError(f"{found[-1]} was trained on other data than {trainer.config.data} holds now")
    return snapshot.restore(saved, trainer.model, trainer.optimizer)


def check_vocabulary(packed: Packed, tokenizer: Tokenizer) -> None:
    if packed.index["tokenizer_sha256"] != tokenizer.sha256:
        raise ConfigError("the data was packed with another tokenizer: pack it again with this one")


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets, so that a run ends between two steps with its state saved."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
