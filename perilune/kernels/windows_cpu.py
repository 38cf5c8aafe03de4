"""Windows of matches: for every token of some chunks, how well the tokens around it answer a question, at three ranges.

Every token of a question looks for its best match within a window before or after a place; a window's fit is the sum
of these, weighted by importance. Maxima have no order, and sums are taken question token by question token, so any
number of threads gives the same bits.

B rows · T tokens of the question · M = K * S tokens of the chosen chunks · W windows: the place itself, three before
it (with it), three after it. A chunk that is joined goes on where the one before it in the row ends.
"""

import numpy as np

from perilune.kernels.jit import entry, kernel

WINDOWS = 7


def ranges(size: int) -> tuple[int, int, int]:
    """How many tokens the windows hold, for chunks of `size` tokens (a multiple of 16)."""
    return size // 16, size // 4, size


@kernel
def _widen(step, joined_K, size, from_M, into_M):
    """into[m] = the larger of from[m] and from[m - step]; step is at most half a chunk."""
    for k in range(joined_K.shape[0]):
        first = k * size
        if joined_K[k]:
            for m in range(first, first + step):
                into_M[m] = max(from_M[m], from_M[m - step])
        else:
            for m in range(first, first + step):
                into_M[m] = from_M[m]
        for m in range(first + step, first + size):
            into_M[m] = max(from_M[m], from_M[m - step])


@kernel
def _side(weight, x_M, joined_K, size, backward, spare_M, out_WM):
    """Adds the windows that end at every place of x, or, backward, those that end before it, mirrored."""
    count = x_M.shape[0]
    step, other_M = 1, spare_M
    for w in range(3):
        while step < size >> (4 - 2 * w):
            _widen(step, joined_K, size, x_M, other_M)
            x_M, other_M = other_M, x_M
            step *= 2
        if not backward:
            for m in range(count):
                out_WM[w, m] += weight * x_M[m]
            continue
        for k in range(joined_K.shape[0]):
            first = k * size
            if joined_K[k]:
                out_WM[w, count - 1 - first] += weight * x_M[first - 1]
            for m in range(first + 1, first + size):
                out_WM[w, count - 1 - m] += weight * x_M[m - 1]


@entry()
def _window_fits(match_BTM, weight_BT, joined_BK, size, out_BWM):
    rows, length, count = match_BTM.shape
    chunks = joined_BK.shape[1]
    x_M, spare_M = np.empty(count, np.float32), np.empty(count, np.float32)
    mirrored_K = np.zeros(chunks, np.uint8)
    for b in range(rows):
        for k in range(1, chunks):
            mirrored_K[k] = joined_BK[b, chunks - k]
        for t in range(length):
            weight = weight_BT[b, t]
            if weight == 0.0:
                continue
            for m in range(count):
                x_M[m] = match_BTM[b, t, m]
                out_BWM[b, 0, m] += weight * x_M[m]
            _side(weight, x_M, joined_BK[b], size, False, spare_M, out_BWM[b, 1:4])
            for m in range(count):
                x_M[m] = match_BTM[b, t, count - 1 - m]
            _side(weight, x_M, mirrored_K, size, True, spare_M, out_BWM[b, 4:7])


def window_fits(match_BTM: np.ndarray, weight_BT: np.ndarray, joined_BK: np.ndarray) -> np.ndarray:
    """float32 [B, W, M]: for every window the sum over t of weight · the largest match in it (never below zero)."""
    rows, _, count = match_BTM.shape
    chunks = joined_BK.shape[1]
    out_BWM = np.zeros((rows, WINDOWS, count), np.float32)
    if chunks:
        joined = joined_BK.astype(np.uint8)
        joined[:, 0] = 0
        match, weight = (np.ascontiguousarray(x, dtype=np.float32) for x in (match_BTM, weight_BT))
        _window_fits(match, weight, joined, count // chunks, out_BWM)
    return out_BWM


def window_fits_plain(match_BTM: np.ndarray, weight_BT: np.ndarray, joined_BK: np.ndarray) -> np.ndarray:
    """The definition: look at every token of every window."""
    rows, length, count = match_BTM.shape
    chunks = joined_BK.shape[1]
    size = count // chunks
    out_BWM = np.zeros((rows, WINDOWS, count), np.float32)
    for b in range(rows):
        part_K = np.cumsum(~joined_BK[b] | (np.arange(chunks) == 0))
        part_M = np.repeat(part_K, size)
        for m in range(count):
            same = [i for i in range(count) if part_M[i] == part_M[m]]
            windows = [[m]]
            windows += [[i for i in same if m - span < i <= m] for span in ranges(size)]
            windows += [[i for i in same if m < i <= m + span] for span in ranges(size)]
            for w, inside in enumerate(windows):
                best_T = match_BTM[b][:, inside].max(-1) if inside else np.zeros(length, np.float32)
                out_BWM[b, w, m] = float((weight_BT[b] * best_T).sum())
    return out_BWM
