"""The small pieces every room of the network shares: RMSNorm, LayerNorm, Linear with and without bias, SwiGLU.

Legend: T tokens (any leading axes), D width in, N width out, F hidden width of a feed-forward.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from perilune.kernels import gelu_cpu, linear_cpu

VECTORS = 32  # float32 numbers that torch takes in one turn of a loop: two of the widest vectors
SERIAL_NUMBERS = 1 << 15  # torch shares out a loop over more


class _Normalise(torch.autograd.Function):
    """x / rms(x) * weight with a short backward pass: half the passes over memory of the automatic one."""

    @staticmethod
    def forward(ctx, x_TD: Tensor, weight_D: Tensor, eps: float) -> Tensor:  # type: ignore
        inverse_T1 = torch.rsqrt(x_TD.square().mean(-1, keepdim=True) + eps)
        ctx.save_for_backward(x_TD, weight_D, inverse_T1)
        return (x_TD * inverse_T1).mul_(weight_D)

    @staticmethod
    def backward(ctx, dy_TD: Tensor) -> tuple[Tensor, Tensor, None]:  # type: ignore
        x_TD, weight_D, inverse_T1 = ctx.saved_tensors
        unit_TD = x_TD * inverse_T1
        product_TD = dy_TD * unit_TD
        mean_T1 = (product_TD @ weight_D)[..., None] / x_TD.shape[-1]
        dx_TD = (dy_TD * weight_D).addcmul_(unit_TD, mean_T1, value=-1).mul_(inverse_T1)
        return dx_TD, product_TD.flatten(0, -2).sum(0), None


class RMSNorm(nn.Module):
    """x / rms(x) * weight, in float32 (arXiv 1910.07467)."""

    def __init__(self, dim: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x_TD: Tensor) -> Tensor:
        return _Normalise.apply(x_TD, self.weight.float(), self.eps)


class LayerNorm(nn.Module):
    """(x - mean) / deviation * weight + bias, in float32 whatever is stored (arXiv 1607.06450)."""

    def __init__(self, dim: int, eps: float = 1e-5):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dim))
        self.bias = nn.Parameter(torch.empty(dim))
        self.eps = eps

    def forward(self, x_TD: Tensor) -> Tensor:
        return F.layer_norm(x_TD, self.weight.shape, self.weight.float(), self.bias.float(), self.eps)


class Embedding(nn.Module):
    """Row `id` of the weight, as float32. torch's own class fills its weight on creation, which a mapped file
    makes needless and a terabyte shape makes slow."""

    def __init__(self, rows: int, dim: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, dim))

    def forward(self, ids: Tensor) -> Tensor:
        return F.embedding(ids, self.weight).float()


class Linear(nn.Module):
    """x @ weight.T without bias. Training and float32 weights use torch; stored BF16 weights are read as they lie."""

    def __init__(self, dim_in: int, dim_out: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dim_out, dim_in))

    def forward(self, x_TD: Tensor) -> Tensor:
        return linear(x_TD, self.weight)


class BiasedLinear(Linear):
    """x @ weight.T + bias."""

    def __init__(self, dim_in: int, dim_out: int):
        super().__init__(dim_in, dim_out)
        self.bias = nn.Parameter(torch.empty(dim_out))

    def forward(self, x_TD: Tensor) -> Tensor:
        y_TN = super().forward(x_TD)
        return y_TN + self.bias if torch.is_grad_enabled() else y_TN.add_(self.bias)


class SteadyLinear(Linear):
    """Linear whose rows have the same bits however many there are, also where weights are float32."""

    def forward(self, x_TD: Tensor) -> Tensor:
        return steady_linear(x_TD, self.weight)


class SteadyBiasedLinear(BiasedLinear, SteadyLinear):
    """The same with a bias."""


def linear(x_TD: Tensor, weight_ND: Tensor) -> Tensor:
    """float32 [..., D] times a float32, float16 or bfloat16 weight [N, D]: float32 [..., N]."""
    if weight_ND.dtype == torch.float32:
        return F.linear(x_TD, weight_ND)
    if weight_ND.dtype != torch.bfloat16 or torch.is_grad_enabled() or x_TD.device.type not in ("cpu", "cuda"):
        return F.linear(x_TD, weight_ND.float())
    if x_TD.device.type == "cpu":
        return _kernel_linear(x_TD, weight_ND.view(torch.uint16))
    rows_TD = x_TD.reshape(-1, x_TD.shape[-1]).contiguous()
    y_3TN = torch.mm(bf16_parts(rows_TD).flatten(0, 1), weight_ND.T, out_dtype=torch.float32).unflatten(0, (3, -1))
    return (y_3TN[0] + (y_3TN[1] + y_3TN[2])).view(*x_TD.shape[:-1], weight_ND.shape[0])


def steady_linear(x_TD: Tensor, weight_ND: Tensor) -> Tensor:
    """`linear` whose rows have the same bits however many there are: torch's own product of float32 weights sums in
    another order for another number of rows. While training, and on a GPU, it is torch's."""
    if weight_ND.dtype != torch.float32 or torch.is_grad_enabled() or x_TD.device.type != "cpu":
        return linear(x_TD, weight_ND)
    return _kernel_linear(x_TD, weight_ND)


def attend(q_BHTK: Tensor, k_BHSK: Tensor, v_BHSK: Tensor, mask: Tensor | None = None) -> Tensor:
    """Softmax attention in float32, also where training takes other products in bfloat16: on a CPU its backward pass
    is slower in that."""
    kind = q_BHTK.device.type
    if not torch.is_autocast_enabled(kind):
        return F.scaled_dot_product_attention(q_BHTK, k_BHSK, v_BHSK, attn_mask=mask)
    with torch.autocast(kind, enabled=False):
        return F.scaled_dot_product_attention(q_BHTK.float(), k_BHSK.float(), v_BHSK.float(), attn_mask=mask)


def _kernel_linear(x_TD: Tensor, weight_ND: Tensor) -> Tensor:
    rows_TD = x_TD.reshape(-1, x_TD.shape[-1]).contiguous()
    y_TN = torch.from_numpy(linear_cpu.linear(rows_TD.numpy(), weight_ND.detach().numpy()))
    return y_TN.view(*x_TD.shape[:-1], weight_ND.shape[0])


def bf16_parts(x_TD: Tensor) -> Tensor:
    """Three bfloat16 tensors [3, T, D], the largest first, whose sum is `x`, all but its smallest denormals. With
    them a GPU reads a weight once, as it lies, and makes exact products of it; one row rounded to bfloat16 would read
    as many bytes, and those set the pace."""
    high_TD = x_TD.bfloat16()
    rest_TD = x_TD - high_TD
    middle_TD = rest_TD.bfloat16()
    return torch.stack((high_TD, middle_TD, (rest_TD - middle_TD).bfloat16()))


def steady_sigmoid(x: Tensor) -> Tensor:
    """sigmoid with the same bits however many rows there are: torch takes the last numbers of a loop another way,
    so an axis that is too short for a whole turn is filled up."""
    missing = -x.shape[-1] % VECTORS
    if not missing or torch.is_grad_enabled():
        return x.sigmoid()
    return F.pad(x, (0, missing)).sigmoid()[..., : x.shape[-1]]


def steady_gelu(x: Tensor) -> Tensor:
    """GELU by tanh (arXiv 1606.08415) with the same bits on any number of threads: torch's own takes the last numbers
    of each thread's share another way."""
    if torch.is_grad_enabled() or x.device.type != "cpu":
        return F.gelu(x, approximate="tanh")
    return torch.from_numpy(gelu_cpu.gelu(x.contiguous().numpy()))


def steady_erf_gelu(x_TD: Tensor) -> Tensor:
    """GELU by the error function with the same bits however many rows and threads there are: a few rows at a time,
    which torch leaves to one thread, each filled up to whole turns of its loop."""
    if torch.is_grad_enabled() or x_TD.device.type != "cpu":
        return F.gelu(x_TD)
    missing = -x_TD.shape[-1] % VECTORS
    rows_TD = F.pad(x_TD.flatten(0, -2), (0, missing)) if missing else x_TD.flatten(0, -2)
    parts = rows_TD.split(max(1, SERIAL_NUMBERS // rows_TD.shape[1]))
    return torch.cat([F.gelu(part) for part in parts])[:, : x_TD.shape[-1]].reshape(x_TD.shape)


class SwiGLU(nn.Module):
    """down(silu(gate(x)) * up(x)): the dense feed-forward and the shared expert."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.gate_proj = Linear(dim, hidden)
        self.up_proj = Linear(dim, hidden)
        self.down_proj = Linear(hidden, dim)

    def forward(self, x_TD: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x_TD)) * self.up_proj(x_TD))


def following(ids_BT: Tensor) -> Tensor:
    """The token after each one; -1 after the last."""
    return F.pad(ids_BT[:, 1:], (0, 1), value=-1)
