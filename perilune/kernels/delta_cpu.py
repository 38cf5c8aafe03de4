"""The gated delta rule token by token, for the few tokens of a decoding step: one state stays in the nearest cache.

The recurrence of model/delta_rule.py, which is the definition. A head of a sequence is one piece of work whose sums
have one order, so its bits depend on no neighbour and no thread count.

B sequences · T tokens · H heads · K width of queries and keys · V width of values.
"""

import numba
import numpy as np

from perilune.kernels import threads as team
from perilune.kernels.jit import address, entry, kernel


@kernel
def _token(q_K, k_K, v_V, decay_K, beta, state_KV, update_V, out_V):
    keys, values = state_KV.shape
    for v in range(values):
        update_V[v] = np.float32(0)
        out_V[v] = np.float32(0)
    for k in range(keys):
        decay, key = decay_K[k], k_K[k]
        for v in range(values):
            kept = state_KV[k, v] * decay
            state_KV[k, v] = kept
            update_V[v] += key * kept
    for v in range(values):
        update_V[v] = (v_V[v] - update_V[v]) * beta
    for k in range(keys):
        key, query = k_K[k], q_K[k]
        for v in range(values):
            new = state_KV[k, v] + key * update_V[v]
            state_KV[k, v] = new
            out_V[v] += query * new


@kernel
def _thread(q_BTHK, k_BTHK, v_BTHV, decay_BTHK, beta_BTH, state_BHKV, out_BTHV, sync):
    heads, total, done = state_BHKV.shape[1], state_BHKV.shape[0] * state_BHKV.shape[1], 0
    update_V = np.empty(v_BTHV.shape[3], np.float32)
    piece = team.claim(sync, 0)
    while piece < total:
        b, h = piece // heads, piece % heads
        for t in range(q_BTHK.shape[1]):
            q, k, v = q_BTHK[b, t, h], k_BTHK[b, t, h], v_BTHV[b, t, h]
            decay, beta = decay_BTHK[b, t, h], beta_BTH[b, t, h]
            _token(q, k, v, decay, beta, state_BHKV[b, h], update_V, out_BTHV[b, t, h])
        done += 1
        piece = team.claim(sync, 0)
    team.finish(sync, 0, done, total)


@entry()
def _alone(q_BTHK, k_BTHK, v_BTHV, decay_BTHK, beta_BTH, state_BHKV, out_BTHV, sync):
    _thread(q_BTHK, k_BTHK, v_BTHV, decay_BTHK, beta_BTH, state_BHKV, out_BTHV, address(sync))


@entry(parallel=True)
def _fork(threads, q_BTHK, k_BTHK, v_BTHV, decay_BTHK, beta_BTH, state_BHKV, out_BTHV, sync):
    for _ in numba.prange(threads):
        _thread(q_BTHK, k_BTHK, v_BTHV, decay_BTHK, beta_BTH, state_BHKV, out_BTHV, address(sync))


def delta_steps(
    q_BTHK: np.ndarray,
    k_BTHK: np.ndarray,
    v_BTHV: np.ndarray,
    decay_BTHK: np.ndarray,
    beta_BTH: np.ndarray,
    state_BHKV: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """float32 outputs [B, T, H, V] and the states after the last token; `decay` is what each channel keeps."""
    inputs = [np.ascontiguousarray(x, np.float32) for x in (q_BTHK, k_BTHK, v_BTHV, decay_BTHK, beta_BTH)]
    after_BHKV, out_BTHV = np.array(state_BHKV, np.float32, order="C"), np.empty(inputs[2].shape, np.float32)
    sync = team.sync_words(1)
    if 3 * after_BHKV.size * q_BTHK.shape[1] < team.FEW_PRODUCTS:
        _alone(*inputs, after_BHKV, out_BTHV, sync)
    else:
        with team.region() as threads:
            _fork(threads, *inputs, after_BHKV, out_BTHV, sync)
    return out_BTHV, after_BHKV
