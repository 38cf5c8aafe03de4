"""Equal runs of tokens and windows of matches wherever they are needed: numba's loops on a CPU, torch elsewhere.

On another device the loops over tokens become a few passes over whole arrays: a run of length n ends where a run of
length n - 1 ended one token earlier in both texts, and a window is the larger of two that are half as long.

Legend as in runs_cpu.py and windows_cpu.py: B rows, T tokens that go on, M tokens looked at, a break at m where the
token before m is not the one before it in the text, K chunks, W windows.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from perilune.kernels import runs_cpu, where, windows_cpu


def equal_runs(a_BT: Tensor, b_BM: Tensor, breaks_BM: Tensor, most: int) -> Tensor:
    """uint8 [B, T, M]: the length of the run of equal ids that ends at token t of a and at token m of b."""
    if where.on_cpu(a_BT):
        return torch.from_numpy(runs_cpu.equal_runs(a_BT.numpy(), b_BM.numpy(), breaks_BM.numpy(), most))
    return equal_runs_by_passes(a_BT, b_BM, breaks_BM, most)


def told(runs_BTM: Tensor, breaks_BM: Tensor, reach: int, before_BM: Tensor | None = None) -> Tensor:
    """uint8 [B, T, M]: the longest run so far that went over the token after m and ended at most `reach` after m."""
    if where.on_cpu(runs_BTM):
        before = None if before_BM is None else before_BM.numpy()
        return torch.from_numpy(runs_cpu.told(runs_BTM.numpy(), breaks_BM.numpy(), reach, before))
    return told_by_passes(runs_BTM, breaks_BM, reach, before_BM)


def begun(runs_BTM: Tensor, begin_BM: Tensor, breaks_BM: Tensor, before_BM: Tensor | None = None) -> Tensor:
    """float32 [B, T, M]: the likeliest begin from which on every token up to m has been said, the last of them at t.
    No gradient goes through it."""
    begin_BM = begin_BM.detach()
    if where.on_cpu(runs_BTM):
        before = None if before_BM is None else before_BM.numpy()
        return torch.from_numpy(runs_cpu.begun(runs_BTM.numpy(), begin_BM.numpy(), breaks_BM.numpy(), before))
    return begun_by_steps(runs_BTM, begin_BM, breaks_BM, before_BM)


def window_fits(match_BTM: Tensor, weight_BT: Tensor, joined_BK: Tensor) -> Tensor:
    """float32 [B, W, M]: for every window the sum over t of weight · the largest match in it (never below zero)."""
    if where.on_cpu(match_BTM):
        return torch.from_numpy(windows_cpu.window_fits(match_BTM.numpy(), weight_BT.numpy(), joined_BK.numpy()))
    return window_fits_by_passes(match_BTM, weight_BT, joined_BK)


def equal_runs_by_passes(a_BT: Tensor, b_BM: Tensor, breaks_BM: Tensor, most: int) -> Tensor:
    equal_BTM = a_BT.unsqueeze(2) == b_BM.unsqueeze(1)
    goes_on_BTM = equal_BTM & ~breaks_BM.unsqueeze(1)
    this_long_BTM, runs_BTM = equal_BTM, equal_BTM.to(torch.uint8)
    for _ in range(most - 1):
        this_long_BTM = goes_on_BTM & F.pad(this_long_BTM[:, :-1, :-1], (1, 0, 1, 0))
        runs_BTM += this_long_BTM
    return runs_BTM


def told_by_passes(runs_BTM: Tensor, breaks_BM: Tensor, reach: int, before_BM: Tensor | None = None) -> Tensor:
    size = runs_BTM.shape[2]
    told_BTM = torch.zeros_like(runs_BTM)
    if before_BM is not None and told_BTM.shape[1]:
        told_BTM[:, 0] = before_BM
    for back in range(1, min(reach, size - 1) + 1):
        there_BTM = (runs_BTM[..., back:] >= back) & ~breaks_BM[:, None, 1 : size - back + 1]
        told_BTM[..., :-back] = torch.maximum(told_BTM[..., :-back], runs_BTM[..., back:] * there_BTM)
    return told_BTM.cummax(1).values if told_BTM.shape[1] else told_BTM


def begun_by_steps(runs_BTM: Tensor, begin_BM: Tensor, breaks_BM: Tensor, before_BM: Tensor | None = None) -> Tensor:
    same_BTM = (runs_BTM > 0) & ~breaks_BM.unsqueeze(1)
    begin_BN = begin_BM[:, :-1]
    last_BM = torch.zeros_like(begin_BM) if before_BM is None else before_BM
    made = []
    for same_BM in same_BTM.unbind(1):
        last_BM = F.pad(torch.maximum(last_BM[:, :-1], begin_BN) * same_BM[:, 1:], (1, 0))
        made.append(last_BM)
    return torch.stack(made, 1) if made else begin_BM.new_zeros(runs_BTM.shape)


def window_fits_by_passes(match_BTM: Tensor, weight_BT: Tensor, joined_BK: Tensor) -> Tensor:
    if not joined_BK.shape[1]:
        return match_BTM.new_zeros(len(match_BTM), windows_cpu.WINDOWS, 0)
    here_B1M = weight_BT.unsqueeze(1) @ match_BTM
    before = _windows_up_to(match_BTM, weight_BT, joined_BK, 0)
    mirrored_BK = F.pad(joined_BK[:, 1:], (0, 1)).flip(1)
    after = _windows_up_to(match_BTM.flip(2), weight_BT, mirrored_BK, 1)
    return torch.cat((here_B1M, *before, *(fit_B1M.flip(2) for fit_B1M in after)), 1)


def _windows_up_to(match_BTM: Tensor, weight_BT: Tensor, joined_BK: Tensor, back: int) -> list[Tensor]:
    """The three windows that end so many places before each place: [B, 1, M] each."""
    chunks = joined_BK.shape[1]
    size = match_BTM.shape[2] // chunks
    place_M = torch.arange(size * chunks, device=match_BTM.device) % size
    starts_BM = (~joined_BK | (torch.arange(chunks, device=joined_BK.device) == 0)).repeat_interleave(size, 1)

    def behind(x_BxM: Tensor, step: int) -> Tensor:
        """What stands `step` places before; zero where the text breaks off between the two."""
        parted_BM = starts_BM & (place_M < step)
        return F.pad(x_BxM[..., :-step], (step, 0)).masked_fill(parted_BM.unsqueeze(1), 0.0)

    made, span = [], 1
    for window in windows_cpu.ranges(size):
        while span < window:
            match_BTM = torch.maximum(match_BTM, behind(match_BTM, span))
            span *= 2
        fit_B1M = weight_BT.unsqueeze(1) @ match_BTM
        made.append(behind(fit_B1M, back) if back else fit_B1M)
    return made
