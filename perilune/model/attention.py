"""Multi-head latent attention (MLA): the expanded form is the definition, the absorbed form reads the latent cache.

Legend: B batch, T new tokens, S all positions, D hidden, H heads, N nope and R rope width of a query or key,
V value width, L rank of the latent. Cache rows are [normed latent L | rotated shared key R].
Source: DeepSeek-V2 (arXiv 2405.04434), section 2.1; names as in the published checkpoints.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from perilune.config import ModelConfig
from perilune.model.layers import Linear, RMSNorm
from perilune.model.rope import rotate

# The published code builds the two latent norms with their default, not with rms_norm_eps.
LATENT_NORM_EPS = 1e-6


class LatentAttention(nn.Module):
    """One MLA layer. `forward` sees whole sequences, `extend` a chunk after a cache, `decode` one token each."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        heads, dim = config.num_attention_heads, config.hidden_size
        query_width = heads * config.qk_head_dim
        if config.q_lora_rank is None:
            self.q_proj = Linear(dim, query_width)
        else:
            self.q_a_proj = Linear(dim, config.q_lora_rank)
            self.q_a_layernorm = RMSNorm(config.q_lora_rank, LATENT_NORM_EPS)
            self.q_b_proj = Linear(config.q_lora_rank, query_width)
        self.kv_a_proj_with_mqa = Linear(dim, config.kv_lora_rank + config.qk_rope_head_dim)
        self.kv_a_layernorm = RMSNorm(config.kv_lora_rank, LATENT_NORM_EPS)
        self.kv_b_proj = Linear(config.kv_lora_rank, heads * (config.qk_nope_head_dim + config.v_head_dim))
        self.o_proj = Linear(heads * config.v_head_dim, dim)

    def queries(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """[..., T, D] → [..., T, H, N+R] with the rope part rotated; cos and sin are [..., T, R/2]."""
        c = self.config
        q = self.q_proj(x) if c.q_lora_rank is None else self.q_b_proj(self.q_a_layernorm(self.q_a_proj(x)))
        q = q.unflatten(-1, (c.num_attention_heads, c.qk_head_dim))
        if c.mla_use_nope:
            return q
        nope, rope = q.split([c.qk_nope_head_dim, c.qk_rope_head_dim], dim=-1)
        return torch.cat((nope, rotate(rope, cos.unsqueeze(-2), sin.unsqueeze(-2), c.rope_interleave)), dim=-1)

    def latents(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """[..., T, D] → cache rows [..., T, L+R]."""
        c = self.config
        latent, rope = self.kv_a_proj_with_mqa(x).split([c.kv_lora_rank, c.qk_rope_head_dim], dim=-1)
        if not c.mla_use_nope:
            rope = rotate(rope, cos, sin, c.rope_interleave)
        return torch.cat((self.kv_a_layernorm(latent), rope), dim=-1)

    def expand(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Cache rows [..., S, L+R] → keys [..., H, S, N+R] and values [..., H, S, V]."""
        c = self.config
        latent, rope = rows.split([c.kv_lora_rank, c.qk_rope_head_dim], dim=-1)
        both = self.kv_b_proj(latent).unflatten(-1, (c.num_attention_heads, -1)).transpose(-3, -2)
        nope, value = both.split([c.qk_nope_head_dim, c.v_head_dim], dim=-1)
        shared = rope.unsqueeze(-3).expand(*nope.shape[:-1], c.qk_rope_head_dim)
        return torch.cat((nope, shared), dim=-1), value

    def forward(
        self,
        x_BTD: Tensor,
        cos: Tensor,
        sin: Tensor,
        documents: list[int] | None = None,
        seen_RSS: Tensor | None = None,
    ) -> Tensor:
        """Whole sequences, causal; `documents` cuts T into lengths of packed documents that see only themselves.
        Or T is R rows of S tokens, and `seen` says which tokens of its row each one sees."""
        q = self.queries(x_BTD, cos, sin).transpose(1, 2)
        k, v = self.expand(self.latents(x_BTD, cos, sin))
        if seen_RSS is None:
            out = self.attend_documents(q, k, v, documents)
        else:
            out = attend_rows(q, k, v, self.config.softmax_scale, self.mask(seen_RSS))
        return self.o_proj(out.transpose(1, 2).flatten(2))

    def attend_documents(self, q: Tensor, k: Tensor, v: Tensor, documents: list[int] | None) -> Tensor:
        scale = self.config.softmax_scale
        return attend(q, k, v, scale) if documents is None else attend_documents(q, k, v, scale, documents)

    def mask(self, seen_RSS: Tensor) -> Tensor:
        """What is seen of the earlier tokens of a document: all of them."""
        return seen_RSS

    def extend(self, x_TD: Tensor, cos: Tensor, sin: Tensor, cache_SW: Tensor, start: int) -> Tensor:
        """A chunk of one sequence: writes rows [start, start+T) of the cache and attends to everything before."""
        end = start + x_TD.shape[0]
        cache_SW[start:end] = self.latents(x_TD, cos, sin)
        q = self.queries(x_TD, cos, sin).transpose(0, 1)[None]
        k, v = self.expand(cache_SW[None, :end])
        mask = None if start == 0 else torch.ones(end - start, end, dtype=torch.bool, device=x_TD.device).tril(start)
        out = attend(q, k, v, self.config.softmax_scale, mask)
        return self.o_proj(out[0].transpose(0, 1).flatten(1))

    def decode(self, x_BD: Tensor, cos: Tensor, sin: Tensor, caches: list[Tensor], starts: list[int]) -> Tensor:
        """One token of each of B sequences in the absorbed form: no key or value is ever expanded."""
        q_BHQ = self.queries(x_BD, cos, sin)
        rows_BW = self.latents(x_BD, cos, sin)
        outs = []
        for b, (cache_SW, start) in enumerate(zip(caches, starts, strict=True)):
            cache_SW[start] = rows_BW[b]
            outs.append(self.absorbed(q_BHQ[b], cache_SW[: start + 1]))
        return self.o_proj(torch.stack(outs).flatten(1))

    def absorbed(self, q_HQ: Tensor, cache_SW: Tensor) -> Tensor:
        """One query of every head against latent rows: kv_b moves to the query's and the output's side. [H, V]"""
        c = self.config
        w_HOL = self.kv_b_proj.weight.float().unflatten(0, (c.num_attention_heads, -1))
        up_k_HNL, up_v_HVL = w_HOL.split([c.qk_nope_head_dim, c.v_head_dim], dim=1)
        nope_HN, rope_HR = q_HQ.split([c.qk_nope_head_dim, c.qk_rope_head_dim], dim=-1)
        latent_HL = torch.einsum("hn,hnl->hl", nope_HN, up_k_HNL)
        scores_HS = torch.cat((latent_HL, rope_HR), dim=-1) @ cache_SW.T * c.softmax_scale
        mixed_HL = scores_HS.softmax(-1) @ cache_SW[:, : c.kv_lora_rank]
        return torch.einsum("hl,hvl->hv", mixed_HL, up_v_HVL)


def attend(q: Tensor, k: Tensor, v: Tensor, scale: float, mask: Tensor | None = None) -> Tensor:
    """softmax(q k^T scale) v over [B, H, T|S, width]; no mask means causal from the first position.

    torch's fused CPU kernel needs equal widths: values are padded to the keys' width and cut again.
    """
    pad = k.shape[-1] - v.shape[-1]
    wide_v = F.pad(v, (0, pad)) if pad > 0 else v
    out = F.scaled_dot_product_attention(q, k, wide_v, attn_mask=mask, is_causal=mask is None, scale=scale)
    return out[..., : v.shape[-1]]


def attend_documents(q: Tensor, k: Tensor, v: Tensor, scale: float, documents: list[int]) -> Tensor:
    """`attend` for each packed document alone: equal to a block mask, at the cost of the short squares only."""
    parts = zip(*(x.split(documents, dim=2) for x in (q, k, v)), strict=True)
    return torch.cat([attend(q_part, k_part, v_part, scale) for q_part, k_part, v_part in parts], dim=2)


def attend_rows(q: Tensor, k: Tensor, v: Tensor, scale: float, seen_RSS: Tensor) -> Tensor:
    """`attend_documents` under a mask: [1, H, R * S, width] of R rows of S tokens, each seeing some of its row."""

    def rows(x: Tensor) -> Tensor:
        return x[0].unflatten(1, (len(seen_RSS), -1)).transpose(0, 1)

    out_RHSV = attend(rows(q), rows(k), rows(v), scale, seen_RSS.unsqueeze(1))
    return out_RHSV.transpose(0, 1).flatten(1, 2).unsqueeze(0)
