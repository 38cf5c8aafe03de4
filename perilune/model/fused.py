"""The fused decode step of an opened model: one kernel call a token instead of dozens of small ones a layer.

It is the fast form of `Transformer.decode`, whose plain path stays the definition. A model whose weights the kernel
cannot read in place (float experts, a backbone in INT4, group-limited routing, odd widths) keeps the plain one.

Legend: B sequences, D hidden, V vocabulary, P rotary pairs; NP layers by sequences in the cache table.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from perilune.kernels.decode_cpu import DecodePlan, LayerWeights, Matrix, Sizes
from perilune.kernels.tiles import BF16, FLOAT32, INT8
from perilune.model.attention import LATENT_NORM_EPS, LatentAttention
from perilune.model.layers import SwiGLU
from perilune.model.moe import Int4Experts, MoE
from perilune.model.quantised import QuantisedLinear
from perilune.model.state import SequenceState
from perilune.model.streamed import LookAhead, StreamedExperts

if TYPE_CHECKING:
    from perilune.model.model import Block, Transformer

AHEAD_WIDTH = 6  # experts a token that are read ahead
MOST_AT_ONCE = 1 << 16
READABLE = (torch.bfloat16, torch.float32)


def fuse(model: Transformer) -> FusedDecode | None:
    """The fused step of a model opened for inference, or None where only the plain path can run."""
    if any(type(block.self_attn) is not LatentAttention for block in model.blocks):
        return None
    moes = [block.mlp for block in model.blocks if isinstance(block.mlp, MoE)]
    if any(not isinstance(moe.experts, Int4Experts) for moe in moes):
        return None
    if any(isinstance(module, QuantisedLinear) and module.bits != 8 for module in model.modules()):
        return None
    weights = [w for w in model.parameters() if w.dim() == 2]
    if any(w.dtype not in READABLE or w.device.type != "cpu" or not w.is_contiguous() for w in weights):
        return None
    sizes = _sizes(model, moes)
    return None if sizes.unsupported() else FusedDecode(model, sizes)


def _sizes(model: Transformer, moes: list[MoE]) -> Sizes:
    c = model.config
    mode = next((moe.experts.mode for moe in moes if isinstance(moe.experts, Int4Experts)), "float")
    rotary = "none" if c.mla_use_nope else "interleaved" if c.rope_interleave else "halves"
    return Sizes(
        hidden=c.hidden_size,
        heads=c.num_attention_heads,
        q_lora_rank=c.q_lora_rank or 0,
        kv_lora_rank=c.kv_lora_rank,
        qk_nope=c.qk_nope_head_dim,
        qk_rope=c.qk_rope_head_dim,
        v_head=c.v_head_dim,
        vocab=c.vocab_size,
        experts=c.n_routed_experts if moes else 0,
        top_k=c.num_experts_per_tok if moes else 0,
        expert_width=c.moe_intermediate_size if moes else 0,
        n_group=c.n_group,
        norm_topk=c.norm_topk_prob,
        routed_scale=c.routed_scaling_factor,
        softmax_scale=c.softmax_scale,
        eps=c.rms_norm_eps,
        latent_eps=LATENT_NORM_EPS,
        rotary=rotary,
        mode=mode,
    )


class FusedDecode:
    """Holds the addresses of a model's weights and runs one token of B sequences through all layers."""

    def __init__(self, model: Transformer, sizes: Sizes):
        self.model = [model]  # in a list, so that the module does not register its owner as a child
        self.owned: list[Tensor] = []
        layers = [self._layer(block) for block in model.blocks]
        self.moes = {i: block.mlp for i, block in enumerate(model.blocks) if isinstance(block.mlp, MoE)}
        experts = {i: moe.experts for i, moe in self.moes.items()}
        self.streamed = [(i, e) for i, e in experts.items() if isinstance(e, StreamedExperts)]
        self.guesses = dict(self._guesses(model.blocks))
        # All experts of a step must be there at once; a batch that could need more goes in parts, with the same bits.
        self.most = self._slots() // model.config.num_experts_per_tok if self.streamed else MOST_AT_ONCE
        self.plan = DecodePlan(sizes, layers, self._vector(model.norm.weight), _matrix(model.lm_head))

    def __call__(self, ids_B: Tensor, states: list[SequenceState]) -> Tensor:
        """Logits [B, V]; writes one row of every layer's cache per sequence. The caller has reserved the room."""
        model = self.model[0]
        if len(states) > self.most:
            parts = range(0, len(states), self.most)
            return torch.cat([self(ids_B[i : i + self.most], states[i : i + self.most]) for i in parts])
        lengths = [state.length for state in states]
        cos_TP, sin_TP = model.rotary.up_to(max(lengths) + 1)
        caches_NP = np.array(
            [[state.latents[i].data_ptr() for state in states] for i in range(len(model.layers))], np.int64
        )
        step = self.plan.begin(
            model.embed(ids_B).numpy(),
            cos_TP[lengths].numpy(),
            sin_TP[lengths].numpy(),
            caches_NP,
            np.array(lengths, np.int64),
        )
        begin = 0
        for layer, moe in self.moes.items():
            streamed = moe.experts if isinstance(moe.experts, StreamedExperts) else None
            if streamed is None and moe.observe is None:
                continue
            step.run(begin, 2 * layer + 1)
            begin = 2 * layer + 1
            ids_BK, weights_BK = step.routed(layer)
            if moe.observe is not None:
                moe.observe(torch.from_numpy(ids_BK), torch.from_numpy(weights_BK))
            if streamed is not None:
                guess = self.guesses.get(layer, _no_guess)
                with streamed.arriving(np.unique(ids_BK).tolist(), partial(guess, step.x_BD)) as groups:
                    for group in groups:
                        step.open_experts(layer, group)
                    step.run(begin, begin + 1, opened=True)
                begin += 1
        step.run(begin, step.parts)
        return torch.from_numpy(step.logits_BV)

    def _slots(self) -> int:
        """Of the expert store, which all streamed layers share."""
        return len(self.streamed[0][1].store.slots)

    def _guesses(self, blocks: list[Block]) -> Iterator[tuple[int, LookAhead]]:
        """For each streamed layer but the last: what guesses the experts of the next one."""
        used = sum(experts.config.num_experts_per_tok for _, experts in self.streamed)
        # A cache that does not hold what two tokens use would lose to guesses what the next token reuses.
        if not self.streamed or self._slots() < 2 * used:
            return
        for (layer, _), (following, experts) in pairwise(self.streamed):
            norm, router = blocks[following].post_attention_layernorm, self.moes[following].gate
            yield layer, LookAhead(norm, router, experts, AHEAD_WIDTH)

    def _vector(self, weight: Tensor) -> int:
        """Address of a float32 copy; norms are small, and the kernel reads them as they are used."""
        self.owned.append(weight.detach().float().contiguous())
        return self.owned[-1].data_ptr()

    def _layer(self, block: Block) -> LayerWeights:
        a, mlp = block.self_attn, block.mlp
        assert isinstance(a, LatentAttention)
        has_lora = a.config.q_lora_rank is not None
        dense = mlp.shared_experts if isinstance(mlp, MoE) else mlp
        gate, up, down, inner = _swiglu(dense)
        return LayerWeights(
            input_norm=self._vector(block.input_layernorm.weight),
            q_a=_matrix(a.q_a_proj) if has_lora else None,
            q_norm=self._vector(a.q_a_layernorm.weight) if has_lora else 0,
            q_b=_matrix(a.q_b_proj if has_lora else a.q_proj),
            kv_a=_matrix(a.kv_a_proj_with_mqa),
            kv_norm=self._vector(a.kv_a_layernorm.weight),
            kv_b=_matrix(a.kv_b_proj),
            out=_matrix(a.o_proj),
            post_norm=self._vector(block.post_attention_layernorm.weight),
            router=_matrix(mlp.gate) if isinstance(mlp, MoE) else None,
            bias=self._vector(mlp.gate.e_score_correction_bias) if isinstance(mlp, MoE) else 0,
            gate=gate,
            up=up,
            down=down,
            inner=inner,
            experts=self._table(mlp) if isinstance(mlp, MoE) else 0,
        )

    def _table(self, moe: MoE) -> int:
        assert isinstance(moe.experts, Int4Experts)
        assert moe.experts.table_E6.is_contiguous()  # it is read in place, and streamed experts change it
        self.owned.append(moe.experts.table_E6)
        return self.owned[-1].data_ptr()


def _no_guess(x_BD: np.ndarray) -> None:
    """The last layer has no next one."""


def _matrix(module: nn.Module) -> Matrix:
    """Where the weight of a linear map lies and what it is kept as."""
    if isinstance(module, QuantisedLinear):
        return Matrix(module.words.data_ptr(), INT8)
    weight = module.weight
    assert isinstance(weight, Tensor)
    return Matrix(weight.data_ptr(), BF16 if weight.dtype == torch.bfloat16 else FLOAT32)


def _swiglu(module: nn.Module | None) -> tuple[Matrix | None, Matrix | None, Matrix | None, int]:
    """The three matrices of a dense feed-forward or shared expert and its inner width."""
    if not isinstance(module, SwiGLU):
        return None, None, None, 0
    gate, up, down = (_matrix(part) for part in (module.gate_proj, module.up_proj, module.down_proj))
    inner = module.gate_proj.rows if isinstance(module.gate_proj, QuantisedLinear) else len(module.gate_proj.weight)
    return gate, up, down, inner
