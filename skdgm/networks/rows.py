"""Rows by index, and sums of rows that have the same index, in a fixed order on every device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# A GPU sums up to so many different rows as a product: for many values each, its other ways take ten times as long.
FEW = 64


def rows_at(cells: Tensor, index: Tensor) -> Tensor:
    """The rows of ``cells``, (n, ...), at ``index``, (m,)."""
    if cells.device.type == "cpu":
        return cells.index_select(0, index)
    return RowsAt.apply(cells, index)  # type: ignore[no-untyped-call]


class RowsAt(torch.autograd.Function):
    """``index_select``, whose own gradient on a GPU is a sum in no fixed order."""

    @staticmethod
    def forward(ctx: Any, cells: Tensor, index: Tensor) -> Tensor:
        """The rows."""
        ctx.save_for_backward(index)
        ctx.shape = cells.shape
        return cells.index_select(0, index)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """The sums over equal indices."""
        (index,) = ctx.saved_tensors
        return sum_at(index, grad.reshape(len(grad), -1), ctx.shape[0]).view(ctx.shape), None


def sum_at(index: Tensor, values: Tensor, n: int) -> Tensor:
    """The sums of values, (m, d), that have the same index, (n, d)."""
    if values.device.type != "cpu" and n <= FEW:
        return (torch.arange(n, device=index.device)[:, None] == index).to(values.dtype) @ values
    total = values.new_zeros(n, values.shape[1])
    if values.device.type == "cpu":
        return total.index_add_(0, index, values)
    return total.index_put_((index,), values, accumulate=True)  # on a GPU, index_add_ sums in no fixed order
