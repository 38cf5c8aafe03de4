"""The next token of many sequences on a chunk memory that holds nothing: the ordinary conversations of a server.

One token of one such sequence costs hundreds of small steps and little arithmetic, so the steps are taken once for all.
What differs in length between sequences (windows, places to copy from) is done row by row: a sequence gets the same
bits alone and in company. The window is read in the absorbed form; `listen` is the definition.

Legend: B sequences, D hidden, S places that can be pointed at, T and N tokens, L latent rank, P copy width, H heads, Q
query width, W one cached window row, V vocabulary or value width.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from perilune.config import LONGEST_RUN
from perilune.kernels import runs_cpu
from perilune.model.copy_head import CopyHead
from perilune.model.delta import DeltaState, KimiDeltaAttention
from perilune.model.listen import runs
from perilune.model.live_state import LiveState
from perilune.model.model import Transformer
from perilune.model.reader import WindowReader
from perilune.model.state import SequenceState


@torch.inference_mode()
def speak(model: Transformer, ids_B: Tensor, states: list[SequenceState]) -> Tensor:
    """Logits [B, V] after one more token of each sequence. The caller advances the states."""
    memory, config = model.memory, model.config
    assert memory is not None and config.memory is not None
    lives = [_live(state) for state in states]
    turns = [runs([int(id)], live, config) for id, live in zip(ids_B, lives, strict=True)]
    for turn in turns:
        next(turn)
    for state in states:
        state.reserve(1)
    starts = [state.length for state in states]
    cos_TP, sin_TP = model.rotary.up_to(max(starts) + 1)
    cos_BP, sin_BP = cos_TP[starts], sin_TP[starts]
    x_BD = model.embed(ids_B)
    for i, block in enumerate(model.lower):
        assert isinstance(block.self_attn, KimiDeltaAttention)
        y_BD = _recur(block.self_attn, block.input_layernorm(x_BD), states, i)
        x_BD = block.feed_forward(x_BD + y_BD)
    latents_BL = _remember(model, x_BD, lives)
    for live, id in zip(lives, ids_B, strict=True):
        live.ids.append(int(id))
    for i, block in enumerate(model.upper, len(model.lower)):
        assert isinstance(block.self_attn, WindowReader)
        caches = [state.latents[i] for state in states]
        y_BD = _look_back(block.self_attn, block.input_layernorm(x_BD), cos_BP, sin_BP, caches, starts)
        x_BD = block.feed_forward(x_BD + y_BD)
    for turn in turns:
        next(turn, None)
    return _predict(model, model.norm(x_BD), latents_BL, lives)


def reads_nothing(state: SequenceState) -> bool:
    """Whether a sequence is one of those that `speak` is for."""
    return state.live is not None and state.live.pages.ids_CS.shape[0] == 0


def _live(state: SequenceState) -> LiveState:
    assert state.live is not None, "the state of a model with a chunk memory comes from Runner.new_state"
    return state.live


def _recur(attention: KimiDeltaAttention, x_BD: Tensor, states: list[SequenceState], layer: int) -> Tensor:
    before = [state.deltas[layer] for state in states]
    conv_BWK = torch.cat([delta.conv_BWK for delta in before if delta is not None])
    matrix_BHKV = torch.cat([delta.matrix_BHKV for delta in before if delta is not None])
    y_B1D, after = attention.read(x_BD.unsqueeze(1), None, DeltaState(conv_BWK, matrix_BHKV))
    for b, state in enumerate(states):  # copies: a view would keep the whole batch alive
        row = slice(b, b + 1)
        state.deltas[layer] = DeltaState(after.conv_BWK[row].clone(), after.matrix_BHKV[row].clone())
    return y_B1D[:, 0]


def _remember(model: Transformer, x_BD: Tensor, lives: list[LiveState]) -> Tensor:
    """Adds each token's latent to its sequence, and what later tokens need of it. [B, L]"""
    memory, width = model.memory, model.config.hidden_size
    assert memory is not None
    before_BJD = torch.cat([live.before_BJD for live in lives])
    features_B1J = memory.features(x_BD.unsqueeze(1), before_BJD=before_BJD)
    latents_B1L = memory.latents(features_B1J)
    newest_BJD = torch.cat((before_BJD, features_B1J[..., :width]), 1)[:, 1:]
    for b, live in enumerate(lives):
        live.before_BJD = newest_BJD[b : b + 1].clone()
        live.latents_TL = torch.cat((live.latents_TL, latents_B1L[b]))
    return latents_B1L[:, 0]


def _look_back(
    attention: WindowReader, x_BD: Tensor, cos_BP: Tensor, sin_BP: Tensor, caches: list[Tensor], starts: list[int]
) -> Tensor:
    """Each token's own window, in the absorbed form."""
    q_BHQ = attention.queries(x_BD, cos_BP, sin_BP)
    rows_BW = attention.latents(x_BD, cos_BP, sin_BP)
    outs_HV = []
    for b, (cache_CW, start) in enumerate(zip(caches, starts, strict=True)):
        cache_CW[start] = rows_BW[b]
        outs_HV.append(attention.absorbed(q_BHQ[b], cache_CW[max(0, start + 1 - attention.window) : start + 1]))
    return attention.o_proj(torch.stack(outs_HV).flatten(1))


def _predict(model: Transformer, y_BD: Tensor, latents_BL: Tensor, lives: list[LiveState]) -> Tensor:
    """Logits of head and copies together: what CopyHead does, where only live tokens can be pointed at."""
    head = model.copy_head
    assert head is not None
    _know_places(head, lives)
    q_BP = (head.query_proj(y_BD) + head.latent_query_proj(latents_BL)) * head.scale
    gate_B = head.gate_proj(y_BD).squeeze(-1) + head.gate_bias.float()
    p_BV = model.lm_head(y_BD).softmax(-1)
    bias_by_run, gate_by_run = head.by_run(head.run_bias), head.by_run(head.gate_run)
    for b, live in enumerate(lives):
        live.pointed.append(None)
        assert live.places is not None
        keys_SP, gates_S = live.places
        count = len(gates_S)
        ids_S = torch.tensor(live.ids[len(live.ids) - count :], dtype=torch.long)
        sayable_S = head.sayable(ids_S)
        if not sayable_S.any():
            continue  # nothing to point at: nothing is copied
        runs_S = _runs(live.ids, count, head.window)
        logits_S = keys_SP @ q_BP[b] + bias_by_run[runs_S]
        weights_S = logits_S.masked_fill(~sayable_S, -torch.inf).softmax(-1)
        gate = (gate_B[b] + weights_S @ gates_S + (weights_S * gate_by_run[runs_S]).sum()).sigmoid()
        p_BV[b] = (p_BV[b] * (1 - gate)).scatter_add(0, ids_S, weights_S * gate)
    return p_BV.clamp(min=1e-30).log()


def _know_places(head: CopyHead, lives: list[LiveState]) -> None:
    """Brings `places` up to the token before the last one of each sequence, whose follower is the last one."""
    missing = []
    for live in lives:
        missing.append(live.latents_TL[max(live.known, len(live.ids) - head.window) : len(live.ids) - 1])
    new_NL = torch.cat(missing)
    counts = [len(part) for part in missing]
    keys, gates = head.key_proj(new_NL).split(counts), head.gate_latent_proj(new_NL).squeeze(-1).split(counts)
    for live, keys_SP, gates_S in zip(lives, keys, gates, strict=True):
        old_SP, old_S = live.places or (keys_SP[:0], gates_S[:0])
        most = head.window - 1
        live.places = torch.cat((old_SP, keys_SP))[-most:], torch.cat((old_S, gates_S))[-most:]
        live.known = len(live.ids) - 1


def _runs(ids: list[int], count: int, window: int) -> Tensor:
    """How long the last tokens have been the same as those up to each place."""
    recent_1S = np.array([ids[-window - 1 :]])
    breaks_1S = np.zeros(recent_1S.shape, np.bool_)
    runs_1TS = runs_cpu.equal_runs(recent_1S[:, -1 - LONGEST_RUN :], recent_1S, breaks_1S, LONGEST_RUN)
    return torch.from_numpy(runs_1TS[0, -1, -1 - count : -1]).int()
