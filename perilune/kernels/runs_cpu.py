"""Equal runs of token ids: how many of the last tokens of a text are the last tokens up to a place in another.

Whoever copies a text word for word is in a run that grows with every token; where a run stands is where it goes on.

B rows · T tokens that go on · M tokens looked at · a break at m: the token before m is not the one before it in the
text. Runs are counted up to `most`.
"""

import numpy as np

from perilune.kernels.jit import entry


@entry()
def _equal_runs(a_BT, b_BM, open_BM, most, out_BTM):
    rows, length = a_BT.shape
    size = b_BM.shape[1]
    for b in range(rows):
        for t in range(length):
            token = a_BT[b, t]
            for m in range(size):
                out_BTM[b, t, m] = np.uint8(b_BM[b, m] == token)
            if t == 0:
                continue
            for m in range(1, size):
                longer = min(out_BTM[b, t - 1, m - 1] * open_BM[b, m], most - 1)
                out_BTM[b, t, m] += np.uint8(longer) * out_BTM[b, t, m]


@entry()
def _told(runs_BTM, open_BM, reach, told_BTM):
    rows, length, size = runs_BTM.shape
    for b in range(rows):
        for t in range(length):
            if t:
                for m in range(size):
                    told_BTM[b, t, m] = max(told_BTM[b, t, m], told_BTM[b, t - 1, m])
            for back in range(1, reach + 1):
                for m in range(back, size):
                    run = runs_BTM[b, t, m] * np.uint8(runs_BTM[b, t, m] >= back) * open_BM[b, m - back + 1]
                    told_BTM[b, t, m - back] = max(told_BTM[b, t, m - back], run)


@entry()
def _begun(runs_BTM, begin_BM, open_BM, begun_BTM, before_BM):
    rows, length, size = runs_BTM.shape
    for b in range(rows):
        for t in range(length):
            begun_BTM[b, t, 0] = 0.0
            for m in range(1, size):
                going = before_BM[b, m - 1] if t == 0 else begun_BTM[b, t - 1, m - 1]
                same = np.float32(min(runs_BTM[b, t, m], 1) * open_BM[b, m])
                begun_BTM[b, t, m] = same * max(going, begin_BM[b, m - 1])


def equal_runs(a_BT: np.ndarray, b_BM: np.ndarray, breaks_BM: np.ndarray, most: int) -> np.ndarray:
    """uint8 [B, T, M]: the length of the run of equal ids that ends at token t of a and at token m of b."""
    out_BTM = np.empty((*a_BT.shape, b_BM.shape[1]), np.uint8)
    a, b = (np.ascontiguousarray(ids, dtype=np.int32) for ids in (a_BT, b_BM))
    _equal_runs(a, b, (~breaks_BM).astype(np.uint8), most, out_BTM)
    return out_BTM


def told(runs_BTM: np.ndarray, breaks_BM: np.ndarray, reach: int, before_BM: np.ndarray | None = None) -> np.ndarray:
    """uint8 [B, T, M]: the longest run so far that went over the token after m and ended at most `reach` after m.

    `before` is what an earlier call had at its last token.
    """
    told_BTM = np.zeros_like(runs_BTM)
    if before_BM is not None and told_BTM.shape[1]:
        told_BTM[:, 0] = before_BM
    _told(np.ascontiguousarray(runs_BTM), (~breaks_BM).astype(np.uint8), reach, told_BTM)
    return told_BTM


def begun(
    runs_BTM: np.ndarray, begin_BM: np.ndarray, breaks_BM: np.ndarray, before_BM: np.ndarray | None = None
) -> np.ndarray:
    """float32 [B, T, M]: the likeliest begin from which on every token up to m has been said, the last of them at t.

    `begin_BM`: how likely something begins after a token. `before` is what an earlier call had at its last token.
    """
    begun_BTM = np.empty(runs_BTM.shape, np.float32)
    begin, nothing = np.ascontiguousarray(begin_BM, np.float32), np.zeros(begin_BM.shape, np.float32)
    before = nothing if before_BM is None else np.ascontiguousarray(before_BM, np.float32)
    _begun(np.ascontiguousarray(runs_BTM), begin, (~breaks_BM).astype(np.uint8), begun_BTM, before)
    return begun_BTM


def equal_runs_plain(a_BT: np.ndarray, b_BM: np.ndarray, breaks_BM: np.ndarray, most: int) -> np.ndarray:
    """The definition: count back from every pair while tokens are equal."""
    out_BTM = np.zeros((*a_BT.shape, b_BM.shape[1]), np.uint8)
    for b, t, m in np.ndindex(*out_BTM.shape):
        run = 0
        while run < most and t >= run and m >= run and a_BT[b, t - run] == b_BM[b, m - run]:
            run += 1
            if breaks_BM[b, m - run + 1]:
                break
        out_BTM[b, t, m] = run
    return out_BTM


def told_plain(runs_BTM: np.ndarray, breaks_BM: np.ndarray, reach: int) -> np.ndarray:
    """The definition of `told`, without a call before."""
    told_BTM = np.zeros_like(runs_BTM)
    for b, t, m in np.ndindex(*told_BTM.shape):
        ends = range(m + 1, min(m + reach, runs_BTM.shape[2] - 1) + 1)
        over = [runs_BTM[b, s, e] for s in range(t + 1) for e in ends if runs_BTM[b, s, e] >= e - m]
        told_BTM[b, t, m] = 0 if m + 1 >= runs_BTM.shape[2] or breaks_BM[b, m + 1] else max(over, default=0)
    return told_BTM


def begun_plain(runs_BTM: np.ndarray, begin_BM: np.ndarray, breaks_BM: np.ndarray) -> np.ndarray:
    """The definition of `begun`, without a call before: walk back from every place while tokens are equal."""
    begun_BTM = np.zeros(runs_BTM.shape, np.float32)
    for b, t, m in np.ndindex(*begun_BTM.shape):
        back = 0
        while back <= min(t, m - 1) and runs_BTM[b, t - back, m - back] and not breaks_BM[b, m - back]:
            back += 1
            begun_BTM[b, t, m] = max(begun_BTM[b, t, m], begin_BM[b, m - back])
    return begun_BTM
