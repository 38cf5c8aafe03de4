"""The gated delta rule: a recurrence that is the definition, and a chunked form that is fast and tested against it.

S_t = (I - beta_t k_t k_tᵀ) Diag(exp g_t) S_{t-1} + beta_t k_t v_tᵀ,  o_t = S_tᵀ q_t   (arXiv 2510.26692)

Inside a chunk the updates u of all tokens solve one unit triangular system, so only one small matrix per chunk is
passed on. Weights exp(G_i - G_j) of pairs are products of two factors; exp(-G) alone could overflow. Within a block of
rows both factors are taken from the middle of the block's range, which is finite while that range is at most SPAN;
pairs of rows in different blocks meet at a border between them, where both exponents are sums of decays, so at most
zero. The block is the largest power of two that fits the decays at hand: all of a chunk for gates above -4.5, one
row in the worst case, which needs no bound at all. Nothing is clamped.

Legend: B batch, T tokens, H heads, K key and V value width, N chunks, C tokens of a chunk.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK = 32
SPAN = 140.0  # exp(±70) leaves gradients a factor of 1e8 on both sides


def document_runs(segments_BT: Tensor) -> Tensor:
    """Numbers the documents of each row from 0, whatever they were called: [7 7 3 3 7] → [0 0 1 1 2]."""
    changed_BT = torch.zeros_like(segments_BT, dtype=torch.long)
    changed_BT[:, 1:] = segments_BT[:, 1:] != segments_BT[:, :-1]
    return changed_BT.cumsum(1)


def delta_recurrent(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    g_BTHK: Tensor,
    beta_BTH: Tensor,
    state_BHKV: Tensor | None = None,
    segments_BT: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Token by token: the definition. A state belongs to the document of token 0; outputs and the last state."""
    if state_BHKV is None:
        state_BHKV = empty_state(k_BTHK, v_BTHV)
    runs_BT = None if segments_BT is None else document_runs(segments_BT)
    outputs = []
    tokens = zip(*(x.unbind(1) for x in (q_BTHK, k_BTHK, v_BTHV, g_BTHK.exp(), beta_BTH)), strict=True)
    for t, (q_BHK, k_BHK, v_BHV, decay_BHK, beta_BH) in enumerate(tokens):
        if runs_BT is not None and t:
            goes_on_B = runs_BT[:, t] == runs_BT[:, t - 1]
            state_BHKV = state_BHKV.masked_fill(~goes_on_B[:, None, None, None], 0.0)
        state_BHKV = state_BHKV * decay_BHK[..., None]
        recalled_BHV = (k_BHK[..., None, :] @ state_BHKV).squeeze(-2)
        update_BHV = (v_BHV - recalled_BHV) * beta_BH[..., None]
        state_BHKV = state_BHKV + k_BHK[..., None] * update_BHV[..., None, :]
        outputs.append((q_BHK[..., None, :] @ state_BHKV).squeeze(-2))
    return torch.stack(outputs, dim=1), state_BHKV


def empty_state(k_BTHK: Tensor, v_BTHV: Tensor) -> Tensor:
    batch, _, heads, width = k_BTHK.shape
    return k_BTHK.new_zeros(batch, heads, width, v_BTHV.shape[-1])


def delta_chunked(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    g_BTHK: Tensor,
    beta_BTH: Tensor,
    state_BHKV: Tensor | None = None,
    segments_BT: Tensor | None = None,
    chunk: int = CHUNK,
) -> tuple[Tensor, Tensor]:
    """The same function in chunks: everything inside them batched, one small step from each to the next."""
    if chunk < 1 or chunk & (chunk - 1):
        raise ValueError(f"chunk is {chunk}; it must be a power of two")
    if state_BHKV is None:
        state_BHKV = empty_state(k_BTHK, v_BTHV)
    length = k_BTHK.shape[1]
    q, k, v, g = (_chunks(x, chunk) for x in (q_BTHK, k_BTHK, v_BTHV, g_BTHK))  # [N, B, H, C, K|V]
    beta = _chunks(beta_BTH[..., None], chunk)
    masks = None if segments_BT is None else _document_masks(segments_BT, chunk)

    weights_qk, weights_kk = _pair_weights(q, k, g, None if masks is None else masks[0])
    head, tail = _from_start(chunk, g.dtype, g.device) @ g, _to_end(chunk, g.dtype, g.device) @ g
    from_state, to_state, carry = head.exp(), tail.exp(), head[..., -1:, :].exp().mT
    if masks is not None:
        # Rows and columns are cut before anything is multiplied: all of these are finite.
        _, sees_state, is_last, goes_on = masks
        from_state, to_state, carry = from_state * sees_state, to_state * is_last, carry * goes_on
    system = torch.eye(chunk, dtype=g.dtype, device=g.device) + weights_kk * beta
    known = torch.cat((k * from_state, v), dim=-1) * beta
    solved = torch.linalg.solve_triangular(system, known, upper=False, unitriangular=True)
    recall, wanted = solved.split([k.shape[-1], v.shape[-1]], dim=-1)

    reads = torch.cat((recall, q * from_state), dim=-2).unbind(0)
    updates, outputs = [], []
    for read, want, keys, keep in zip(reads, wanted.unbind(0), (k * to_state).unbind(0), carry.unbind(0), strict=True):
        recalled, seen = (read @ state_BHKV).chunk(2, dim=-2)
        update = want - recalled
        state_BHKV = state_BHKV * keep + keys.mT @ update
        updates.append(update)
        outputs.append(seen)
    o_NBHCV = torch.stack(outputs) + weights_qk @ torch.stack(updates)
    return o_NBHCV.permute(1, 0, 3, 2, 4).flatten(1, 2)[:, :length], state_BHKV


def _chunks(x_BTHK: Tensor, chunk: int) -> Tensor:
    """[B, T, H, K] → [N, B, H, C, K]; the last chunk is filled with zeros, which neither write nor decay."""
    x_BTHK = F.pad(x_BTHK, (0, 0, 0, 0, 0, -x_BTHK.shape[1] % chunk))
    return x_BTHK.unflatten(1, (-1, chunk)).permute(1, 0, 3, 2, 4).contiguous()


def _document_masks(segments_BT: Tensor, chunk: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Which pairs share a document; which rows the carried state reaches; which rows, and whether the carried state,
    belong to the document the chunk ends in."""
    runs_BT = document_runs(segments_BT)
    pad = -runs_BT.shape[1] % chunk
    runs_BT = torch.cat((runs_BT, runs_BT[:, -1:].expand(-1, pad)), dim=1)
    runs_NBHC = runs_BT.unflatten(1, (-1, chunk)).transpose(0, 1)[:, :, None]
    last_NBH = runs_NBHC[..., -1:]
    carried_NBH = torch.cat((torch.zeros_like(last_NBH[:1]), last_NBH[:-1]))
    same = runs_NBHC[..., :, None] == runs_NBHC[..., None, :]
    return (
        same,
        (runs_NBHC == carried_NBH)[..., None],
        (runs_NBHC == last_NBH)[..., None],
        (carried_NBH == last_NBH)[..., None],
    )


def _pair_weights(q: Tensor, k: Tensor, g: Tensor, same: Tensor | None) -> tuple[Tensor, Tensor]:
    """Σ_K q_i k_j exp(G_i - G_j) for j <= i, and the same of k_i for j < i; zero elsewhere. [N, B, H, C, C]"""
    chunk = g.shape[-2]
    both = torch.stack((q, k), dim=-3)
    block = _safe_block(g)
    middle = _about_middle(chunk, block, g.dtype, g.device) @ g
    scores = _scores(both, k, middle, -middle)
    border = block
    while border < chunk:
        before, after, pairs = _about_border(chunk, border, g.dtype, g.device)
        scores = torch.where(pairs, _scores(both, k, after @ g, before @ g), scores)
        border *= 2
    # Entries outside the mask may be infinite: they are replaced, never multiplied.
    lower = torch.ones(chunk, chunk, dtype=torch.bool, device=g.device).tril()
    keep = torch.stack((lower, lower.tril(-1)))
    if same is not None:
        keep = keep & same[..., None, :, :]
    qk, kk = scores.masked_fill(~keep, 0.0).unbind(-3)
    return qk, kk


def _scores(both: Tensor, k: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """[..., 2, C, K] rows against [..., C, K] columns, each times the exponential of its decay: [..., 2, C, C]"""
    left = (both * rows.exp()[..., None, :, :]).flatten(-3, -2)
    return (left @ (k * columns.exp()).mT).unflatten(-2, (2, -1))


def _safe_block(g: Tensor) -> int:
    """The largest block whose decay, first row excluded, stays within SPAN in every channel."""
    block = g.shape[-2]
    with torch.no_grad():
        while block > 1:
            total = g.unflatten(-2, (-1, block))[..., 1:, :].sum(-2)
            if float(total.min()) >= -SPAN:
                return block
            block //= 2
    return block


# Sums of decays are products with constant 0/1 matrices: exact where a difference of two long sums would not be.
# They are kept, so they must not be inference tensors: training may use them next.


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def _from_start(chunk: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Row i sums g over 0..i."""
    return torch.ones(chunk, chunk, dtype=dtype, device=device).tril()


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def _to_end(chunk: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Row j sums g over j+1..end."""
    return torch.ones(chunk, chunk, dtype=dtype, device=device).triu(1)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _about_middle(chunk: int, block: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Row i sums g from the row after its block's first to i, less half of the block's total."""
    inside = torch.ones(block, block, dtype=dtype, device=device)
    rows = inside.tril() - 0.5 * inside
    rows[:, 0] = 0.0
    return torch.block_diag(*[rows] * (chunk // block))


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _about_border(chunk: int, border: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """For blocks of `border` rows in twos: sums to the end of a first, from the start of a second, and their pairs."""
    inside = torch.ones(border, border, dtype=dtype, device=device)
    none = torch.zeros_like(inside)
    twos = chunk // (2 * border)
    before = torch.block_diag(*[inside.triu(1), none] * twos)
    after = torch.block_diag(*[none, inside.tril()] * twos)
    pair = torch.zeros(2 * border, 2 * border, dtype=dtype, device=device)
    pair[border:, :border] = 1.0
    return before, after, torch.block_diag(*[pair] * twos).bool()
