"""Convert between the caller's arrays or tensors and NumPy, and split rows into the chunks used for prediction."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
import torch
from sklearn.utils import check_array
from torch import Tensor

P = ParamSpec("P")
Self = TypeVar("Self")

# Prediction uses zero-padded chunks of one size: the last bits of float32 products depend on the shape of the batch,
# and a row's result must not depend on the other rows in its batch.
CHUNK = 512
# Importance-weighted bounds keep n_importance_samples draws per row in memory.
MAX_DRAWS_PER_CHUNK = 4096
# Larger codes could overflow in a decoder.
LARGEST_CODE = 1e30


def tensor_in_tensor_out(method: Callable[Concatenate[Self, Any, P], Any]) -> Callable[Concatenate[Self, Any, P], Any]:
    """Decorate a method of X: if X is a tensor, the method returns a tensor on the same device."""

    @functools.wraps(method)
    def answer(self: Self, X: Any, *args: P.args, **kwargs: P.kwargs) -> Any:
        result = method(self, as_host_array(X), *args, **kwargs)
        if isinstance(result, tuple):
            return tuple(like(X, part) for part in result)
        return like(X, result)

    return answer  # type: ignore[return-value]


def like(X: Any, result: Any) -> Any:
    """Convert a numeric result to a tensor on the device of X if X is a tensor; otherwise return it unchanged."""
    if isinstance(X, Tensor) and isinstance(result, np.ndarray) and result.dtype.kind in "fiub":
        return torch.as_tensor(result, device=X.device)
    return result


def as_host_array(X: Any) -> Any:
    """Convert a tensor to an array; return anything else unchanged."""
    if not isinstance(X, Tensor):
        return X
    return (X.float() if X.dtype == torch.bfloat16 else X).detach().cpu().numpy()  # numpy has no bfloat16


class PreservesFloatDtype:
    """Mixin, to the left of TransformerMixin: float32 X gives float32 features."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def chunk_size(n_draws: int) -> int:
    """Return the number of rows to predict together if each row needs ``n_draws`` draws."""
    n_rows = max(16, MAX_DRAWS_PER_CHUNK // n_draws)
    return min(CHUNK, 1 << (n_rows.bit_length() - 1))  # a power of 2 leaves no partial vector at the end


def in_dtype(values: np.ndarray, dtype: Any) -> np.ndarray:
    """Convert to a type of floats; what it cannot hold becomes its largest value, not infinite."""
    limit = np.finfo(dtype).max
    return np.clip(values, -limit, limit).astype(dtype, copy=False)


def finite_log_densities(values: np.ndarray) -> np.ndarray:
    """Log-densities in float64; -inf becomes the lowest number of float32, in which they were computed.

    They are infinite if squares overflow, as under a decoder that has diverged in the last step of a fit.
    """
    return np.maximum(values.astype(np.float64), np.finfo(np.float32).min)


def pad_rows(rows: Tensor, length: int) -> Tensor:
    """Append rows of zeros up to ``length`` rows; pad a mask with True, so that padding counts as observed."""
    fill = rows.new_full((length - len(rows), *rows.shape[1:]), rows.dtype == torch.bool)
    return torch.cat([rows, fill]) if len(fill) else rows


def check_no_empty_column(X: np.ndarray, names: np.ndarray | None, owner: str) -> None:
    """Raise an error if a column has no value in any row."""
    empty = np.flatnonzero(np.isnan(X).all(0))
    if len(empty):
        named = [repr(names[j]) if names is not None else str(j) for j in empty]
        raise ValueError(
            f"X has {len(empty)} column(s) missing in every row: {', '.join(named[:10])}. {owner} needs at "
            "least one value in each column. Drop these columns, or add rows that have values there."
        )


def checked_codes(Z: Any, n_columns: int, owner: str) -> np.ndarray:
    """Return latent codes as an array; raise an error unless they have ``n_columns`` and can be decoded."""
    Z = check_array(as_host_array(Z), dtype=[np.float64, np.float32], input_name="Z")
    if Z.shape[1] != n_columns:
        raise ValueError(
            f"Z has {Z.shape[1]} columns, but {owner} has codes of {n_columns}. Pass codes as transform returns them."
        )
    largest = np.abs(Z).max(initial=0)
    if largest > LARGEST_CODE:
        raise ValueError(
            f"Z has values up to {largest:.4g} in size. Codes are of the order of 1, and cannot be decoded beyond "
            f"{LARGEST_CODE:g}. Pass codes as transform returns them."
        )
    return Z


@torch.no_grad()
def map_chunks(function: Callable[..., Tensor], n_rows: int, *arrays: np.ndarray) -> np.ndarray:
    """Apply a function to ``n_rows`` rows of the arrays at a time; drop what it returns beyond their number."""
    results = []
    for start in range(0, max(1, len(arrays[0])), n_rows):  # once for no rows, to know the shape of a result
        parts = [array[start : start + n_rows] for array in arrays]
        results.append(function(*parts)[: len(parts[0])].cpu().numpy())
    return np.concatenate(results)
