"""Arrays in, arrays out: tensors of the caller, float types, and the chunks in which rows are predicted."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor

P = ParamSpec("P")
Self = TypeVar("Self")

# Rows are predicted in zero-padded chunks of one size: float32 products depend on a batch's shape in the last bits, and
# a row's result must not depend on its neighbors.
CHUNK = 512
# Importance-weighted bounds hold n_importance_samples draws per row at once.
MAX_DRAWS_PER_CHUNK = 4096


def like_input(method: Callable[Concatenate[Self, Any, P], Any]) -> Callable[Concatenate[Self, Any, P], Any]:
    """Decorate a method of X: for a tensor it answers with a tensor on that tensor's device."""

    @functools.wraps(method)
    def answer(self: Self, X: Any, *args: P.args, **kwargs: P.kwargs) -> Any:
        result = method(self, as_host_array(X), *args, **kwargs)
        if isinstance(result, tuple):
            return tuple(like(X, part) for part in result)
        return like(X, result)

    return answer  # type: ignore[return-value]


def like(X: Any, result: Any) -> Any:
    """Numbers as a tensor on the device of X, where that is one; else as they are."""
    if isinstance(X, Tensor) and isinstance(result, np.ndarray) and result.dtype.kind in "fiub":
        return torch.as_tensor(result, device=X.device)
    return result


def as_host_array(X: Any) -> Any:
    """A tensor as an array; anything else as it is."""
    if not isinstance(X, Tensor):
        return X
    return (X.float() if X.dtype == torch.bfloat16 else X).detach().cpu().numpy()  # numpy has no bfloat16


class KeepsFloatType:
    """Mixin, left of TransformerMixin: float32 X gives float32 features."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def chunk_of(n_draws: int) -> int:
    """Rows predicted together where each draws so often."""
    n_rows = max(16, MAX_DRAWS_PER_CHUNK // n_draws)
    return min(CHUNK, 1 << (n_rows.bit_length() - 1))  # a power of 2: no odd rows at a vector's end


def padded(rows: Tensor, length: int) -> Tensor:
    """Rows with rows of zeros behind them, ``length`` in all; True for False in a mask, so that none is empty."""
    fill = rows.new_full((length - len(rows), rows.shape[1]), rows.dtype == torch.bool)
    return torch.cat([rows, fill]) if len(fill) else rows


def check_no_empty_column(X: np.ndarray, names: np.ndarray | None, owner: str) -> None:
    """Raise for a column without any value."""
    empty = np.flatnonzero(np.isnan(X).all(0))
    if len(empty):
        named = [repr(names[j]) if names is not None else str(j) for j in empty]
        raise ValueError(
            f"X has {len(empty)} column(s) missing in every row: {', '.join(named[:10])}. {owner} cannot learn what it "
            "never sees. Drop them, or give rows that hold a value there."
        )


@torch.no_grad()
def apply_to_parts(function: Callable[[np.ndarray], Tensor], X: np.ndarray, n_rows: int) -> np.ndarray:
    """Apply a function to so many rows of X at a time; what it gives beyond their number is dropped."""
    parts = [X[start : start + n_rows] for start in range(0, len(X), n_rows)]
    return np.concatenate([function(rows)[: len(rows)].cpu().numpy() for rows in parts])
