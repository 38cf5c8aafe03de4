"""What a training run is made of: its settings, and the shape of nano."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from perilune.config import LinearAttentionConfig, MemoryConfig, ModelConfig, QuantConfig, RopeConfig
from perilune.errors import ConfigError
from perilune.media.settings import MediaConfig
from perilune.presets import NANO_AUDIO, NANO_VISION
from perilune.text.specials import MEDIA_PAD, OFFSETS

PLACES = {name: offset for offset, name in OFFSETS.items()}  # of special tokens after the last plain one
# What nano's small tower looks at: pictures of up to 448 pixels squared, small ones enlarged, 32 s of a clip.
NANO_LIMITS = MediaConfig(
    in_patch_limit=1024,
    in_patch_limit_each_frame=256,
    patch_limit_on_one_side=64,
    max_num_frames_each_video=64,
    enlarged_side=112,
)

SAMPLE_PROMPTS = (
    "Hello! How are you today?",
    "What is 23 + 48?",
    "Tell me a short story about a dog.",
    "What is a violin?",
)

# These may change when a run is resumed; data and tokenizer are compared by content, not by their place.
FREE_TO_CHANGE = {
    "steps",
    "minutes",
    "log_every",
    "eval_every",
    "sample_every",
    "save_every",
    "prompts",
    "out",
    "data",
    "tokenizer",
    "start",
    "workers",
}


DEVICES = ("cpu", "cuda")


@dataclass(frozen=True)
class TrainConfig:
    """All settings of a run. A rate is per element: Muon's update is scaled to the size of AdamW's."""

    data: str  # a packed corpus
    tokenizer: str  # the folder with tiktoken.model
    out: str
    model: str = "nano"  # or "nano-senses", "nano-full" (full attention in every layer), or a path to a config.json
    start: str = ""  # a model folder whose fitting weights the run begins with
    steps: int = 2000
    rows: int = 8  # packed rows a step; 0 where only questions or media teach
    threads: int = 2  # rows are split over them; another number gives other last bits
    device: str = "cpu"  # or "cuda": one GPU, which takes one thread
    workers: int = 0  # processes that make what the next steps learn from; 0: each step makes its own
    bfloat16: bool = False  # towers, and Muon's own products, are multiplied in it; a processor may do so at once
    seed: int = 1
    lr: float = 0.01
    adamw_ratio: float = 0.5  # AdamW's rate over Muon's
    weight_decay: float = 0.1
    warmup: int = 50
    decay_share: float = 0.3
    clip: float = 1.0
    z_weight: float = 1e-5
    bias_rate: float = 1e-3
    balance_weight: float = 1e-4
    qat_from: float = 0.7  # share of the steps after which routed experts are on the INT4 grid
    learn: str = ""  # names of weights begin so, by commas, and only these learn; all where empty
    ask_tokens: int = 0  # read and asked about in each thread of a step, for models with a chunk memory
    ask_questions: int = 32  # about them
    ask_bank: int = 384  # chunks of earlier steps that are searched besides
    ask_chunks: int = 0  # read by each question, if not as many as the model's config says
    ask_lower: bool = True  # whether questions teach the layers that read, too
    ask_weight: float = 1.0  # of a reply token, against a token of the packed rows
    select_weight: float = 0.3  # of the selection's loss
    shown: int = 0  # conversations with media in each thread of a step, for models that see and hear
    shown_weight: float = 1.0  # of a token of their replies
    families: str = ""  # of conversations with media and their weights, as "digit:2,clothing:1"; all where empty
    naming: bool = False  # towers learn to lie near the words of the replies, without the decoder
    speech: str = ""  # a folder in which synthetic speech is kept
    minutes: float = 0.0  # save and stop after this wall-clock time; 0 = no limit
    log_every: int = 10
    eval_every: int = 200
    sample_every: int = 200
    save_every: int = 100
    prompts: tuple[str, ...] = SAMPLE_PROMPTS

    def __post_init__(self) -> None:
        for name in ("steps", "threads", "log_every", "eval_every", "sample_every", "save_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} = {getattr(self, name)} must be at least 1")
        if self.rows < 1 and not (self.rows == 0 and (self.ask_tokens or self.shown)):
            raise ConfigError(
                f"rows = {self.rows} must be at least 1 (or 0 with ask_tokens or shown, to learn from them alone)"
            )
        if self.rows % self.threads:
            raise ConfigError(f"rows = {self.rows} must be a multiple of threads = {self.threads}")
        if self.device not in DEVICES:
            raise ConfigError(f"device = {self.device!r} must be one of {', '.join(DEVICES)}")
        if self.device != "cpu" and self.threads != 1:
            raise ConfigError(f"threads = {self.threads}, but a GPU is kept busy by one: set threads = 1")
        for name in ("decay_share", "qat_from"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} = {getattr(self, name)} must be from 0 to 1")

    @property
    def shown_families(self) -> dict[str, float]:
        """Weights by name; a name alone weighs 1. Raises ConfigError for what is no weight."""
        made = {}
        for part in filter(None, (part.strip() for part in self.families.split(","))):
            name, _, weight = part.partition(":")
            try:
                made[name] = float(weight or 1)
            except ValueError:
                made[name] = 0.0
            if not 0 < made[name] < math.inf:
                raise ConfigError(f"families: {part!r} must be a name, or a name and a weight above 0, as in digit:2")
        return made

    @property
    def qat_start(self) -> int:
        return round(self.steps * self.qat_from)

    def to_dict(self) -> dict[str, Any]:
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> TrainConfig:
        unknown = sorted(set(raw) - {f.name for f in fields(cls)})
        if unknown:
            raise ConfigError(f"a training config has no setting {', '.join(unknown)}")
        settings: dict[str, Any] = {**raw, "prompts": tuple(raw.get("prompts", SAMPLE_PROMPTS))}
        return cls(**settings)


def check_resume(old: TrainConfig, new: TrainConfig, step: int) -> None:
    """Refuse a resume that would not continue the same run.

    Another number of steps is fine while neither decay nor quantisation-aware training has begun.
    """
    before, after = old.to_dict(), new.to_dict()
    changed = sorted(k for k in after if before.get(k) != after[k] and k not in FREE_TO_CHANGE)
    if changed:
        detail = ", ".join(f"{k} was {before.get(k)!r}, is {after[k]!r}" for k in changed)
        raise ConfigError(f"this run was started with other settings: {detail}. Use another --out to start anew.")
    if new.steps == old.steps:
        return
    stays = min(1 - new.decay_share, new.qat_from)
    if step > old.steps * stays:
        raise ConfigError(f"at step {step} of {old.steps} the end of the run has begun; steps cannot change now")
    if step > new.steps * stays:
        least = int(step / stays) + 1 if stays else step
        raise ConfigError(f"steps = {new.steps} would put step {step} inside the decay; take at least {least}")


def resolve_model(config: TrainConfig, n_vocab: int) -> ModelConfig:
    """The model's shape for a vocabulary of `n_vocab` ids, the 256 special ones included."""
    if config.model in SHAPES:
        return SHAPES[config.model](n_vocab)
    path = Path(config.model)
    model = ModelConfig.load(path if path.is_dir() else path.parent)
    if model.vocab_size != n_vocab:
        raise ConfigError(f"{path} has vocab_size {model.vocab_size}, but the data was packed with {n_vocab} ids")
    return model


def nano(n_vocab: int) -> ModelConfig:
    """The second nano: three layers read, a chunk memory, three layers ask; 18 M weights, 7 M of them for a token."""
    base = n_vocab - 256
    return ModelConfig(
        model_type="perilune",
        vocab_size=n_vocab,
        hidden_size=256,
        num_hidden_layers=6,
        num_attention_heads=4,
        intermediate_size=768,
        moe_intermediate_size=96,
        q_lora_rank=128,
        kv_lora_rank=64,
        qk_nope_head_dim=32,
        qk_rope_head_dim=16,
        v_head_dim=32,
        n_routed_experts=32,
        n_shared_experts=1,
        num_experts_per_tok=4,
        first_k_dense_replace=1,
        routed_scaling_factor=2.0,
        max_position_embeddings=(1 << 21) + (1 << 13),  # two million tokens read, and a conversation about them
        linear_attention=LinearAttentionConfig((1, 2, 3), (4, 5, 6), num_heads=4, head_dim=64, gate="sigmoid"),
        memory=MemoryConfig(num_read_layers=3, answer_token_id=base + 4),
        rope=RopeConfig(theta=10000.0),
        quantization=QuantConfig(),
        bos_token_id=base,
        eos_token_ids=(base + 2,),
        pad_token_id=base + 255,
    )


def nano_senses(n_vocab: int) -> ModelConfig:
    """nano with towers that see and hear: 6 M weights more."""
    placeholder = n_vocab - 256 + PLACES[MEDIA_PAD]
    return replace(nano(n_vocab), vision=NANO_VISION, audio=NANO_AUDIO, media_placeholder_token_id=placeholder)


SHAPES = {
    "nano": nano,
    "nano-senses": nano_senses,
    "nano-full": lambda n_vocab: nano(n_vocab).with_full_attention(),
}
