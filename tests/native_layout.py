"""The native INT4 layout as floats, through the one definition of the grid."""

import torch

from perilune.weights import int4


def dequantized(words_NW, scale_NG):
    """NumPy words [N, K/8] and bf16 scales as uint16 [N, K/32] → float32 [N, K]."""
    return int4.dequantize(torch.from_numpy(words_NW), torch.from_numpy(scale_NG).view(torch.bfloat16)).numpy()
