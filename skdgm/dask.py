"""Prediction on dask: a fitted estimator answers about the blocks of a dask array or data frame, lazily.

The estimator is one node of the graph, on which all blocks depend: a cluster sends it to each worker once, not with
each block. Nothing is computed until the result is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils.validation import check_is_fitted

try:
    import dask.array as da
    import dask.dataframe as dd
    import pandas as pd
    from dask.delayed import delayed
except ImportError as error:
    raise ImportError(
        f"skdgm.dask needs dask and its data frames ({error}). Install them: pip install 'skdgm[dask]'."
    ) from error

__all__ = [
    "decision_function",
    "impute",
    "predict",
    "predict_log_proba",
    "predict_proba",
    "score_samples",
    "transform",
]


class Answer(NamedTuple):
    """What a method returns for a block of rows.

    Attributes
    ----------
    method : str
        Its name.
    dtype : numpy.dtype
    columns : sequence or None
        Names of the columns; None for one value per row.
    """

    method: str
    dtype: np.dtype[Any]
    columns: Sequence[Any] | None = None

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of the answer about one row."""
        return () if self.columns is None else (len(self.columns),)


def predict(estimator: Any, X: Any) -> Any:
    """Predict the class of each row.

    Parameters
    ----------
    estimator : estimator
        A fitted classifier, or a fitted pipeline or search that ends in one.
    X : dask.array.Array or dask.dataframe.DataFrame of shape (n_samples, n_features)
        Each block of rows is one task. Larger blocks cost less per row and more memory: for a table of 100 columns,
        100,000 rows are a good size. The columns of an array are brought into one block.

    Returns
    -------
    dask.array.Array or dask.dataframe.Series of shape (n_samples,)
        Of the same kind, blocks, and index as X, and not yet computed.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If X is not of dask; pass it to the estimator's own method.
    ValueError
        If X has another number of columns than in ``fit``.
    AttributeError
        If the estimator has no such method.

    Notes
    -----
    Answers do not depend on the blocks: they are those of the estimator's own method for the whole table, to the bit.
    Wrong values in X, such as text in a column of numbers, raise an error when they are computed.

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> import skdgm.dask
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(60, 3))
    >>> model = skdgm.M2Classifier(2, max_iter=2, random_state=0).fit(X, np.where(X[:, 0] > 0, 1, 0))
    >>> many_rows = da.from_array(X, chunks=(20, 3))
    >>> labels = skdgm.dask.predict(model, many_rows)
    >>> labels.numblocks
    (3,)
    >>> np.array_equal(labels.compute(), model.predict(X))
    True
    """
    return _answers(estimator, X, "predict")


def predict_proba(estimator: Any, X: Any) -> Any:
    """Predict the probability of each class.

    Parameters
    ----------
    estimator : estimator
        A fitted classifier that has ``predict_proba``.
    X : dask.array.Array or dask.dataframe.DataFrame of shape (n_samples, n_features)
        As for ``predict``.

    Returns
    -------
    dask.array.Array or dask.dataframe.DataFrame of shape (n_samples, n_classes)
        float64, in the order of ``classes_``, which are the columns of a data frame.
    """
    return _answers(estimator, X, "predict_proba")


def predict_log_proba(estimator: Any, X: Any) -> Any:
    """Predict the logarithm of the probability of each class.

    Parameters
    ----------
    estimator : estimator
        A fitted classifier that has ``predict_log_proba``.
    X : dask.array.Array or dask.dataframe.DataFrame of shape (n_samples, n_features)
        As for ``predict``.

    Returns
    -------
    dask.array.Array or dask.dataframe.DataFrame of shape (n_samples, n_classes)
        As ``predict_proba``, in nats.
    """
    return _answers(estimator, X, "predict_log_proba")


def decision_function(estimator: Any, X: Any) -> Any:
    """Compute the signed distance of each row from the boundary of each class.

    Parameters
    ----------
    estimator : estimator
        A fitted classifier that has ``decision_function``, with one value per class (not "ovo").
    X : dask.array.Array or dask.dataframe.DataFrame of shape (n_samples, n_features)
        As for ``predict``.

    Returns
    -------
    dask.array.Array, dask.dataframe.Series or dask.dataframe.DataFrame of shape (n_samples,) or (n_samples, n_classes)
        One value per row if there are two classes; float64.
    """
    return _answers(estimator, X, "decision_function")


def transform(estimator: Any, X: Any) -> Any:
    """Encode rows, for instance as posterior means of latent codes.

    Parameters
    ----------
    estimator : estimator
        A fitted transformer that has ``get_feature_names_out``.
    X : dask.array.Array or dask.dataframe.DataFrame of shape (n_samples, n_features)
        As for ``predict``.

    Returns
    -------
    dask.array.Array or dask.dataframe.DataFrame of shape (n_samples, n_features_out)
        float32 for an array of float32, otherwise float64. The columns of a data frame are the feature names.
    """
    return _answers(estimator, X, "transform")


def score_samples(estimator: Any, X: Any) -> Any:
    """Estimate log p(x) of each row, in nats.

    Parameters
    ----------
    estimator : estimator
        A fitted density.
    X : dask.array.Array or dask.dataframe.DataFrame of shape (n_samples, n_features)
        As for ``predict``.

    Returns
    -------
    dask.array.Array or dask.dataframe.Series of shape (n_samples,)
        float64. Its mean is the ``score`` of all rows.
    """
    return _answers(estimator, X, "score_samples")


def impute(estimator: Any, X: Any) -> Any:
    """Fill in missing cells with their expected values, or with the most probable categories.

    Parameters
    ----------
    estimator : estimator
        A fitted estimator of skdgm that has ``impute``.
    X : dask.array.Array or dask.dataframe.DataFrame of shape (n_samples, n_features)
        As for ``predict``; NaN and nulls mark missing cells.

    Returns
    -------
    dask.array.Array or dask.dataframe.DataFrame of shape (n_samples, n_features)
        As X. For draws instead of means, map the estimator's own ``impute`` over the blocks, with a seed for each.
    """
    return _answers(estimator, X, "impute")


def _answers(estimator: Any, X: Any, method: str) -> Any:
    """Check what can be checked without computing, and build the graph."""
    check_is_fitted(estimator)
    getattr(estimator, method)  # a missing method has an error of its own
    if not isinstance(X, da.Array | dd.DataFrame):
        raise TypeError(
            f"X must be a dask array or a dask data frame, got {type(X).__name__}. Call estimator.{method}(X), or "
            "convert X: dask.array.from_array(X, chunks=(100_000, -1))."
        )
    n_columns, expected = _n_columns(X), getattr(estimator, "n_features_in_", None)
    if expected is not None and n_columns != expected:
        raise ValueError(
            f"X has {n_columns} column(s), but {type(estimator).__name__} was fitted to {expected}. Pass the same "
            "columns, in the same order."
        )
    once = delayed(estimator, pure=True)
    answer = _expected_answer(estimator, X, method)
    return _of_array(once, X, answer) if isinstance(X, da.Array) else _of_frame(once, X, answer)


def _n_columns(X: Any) -> int:
    return len(X.columns) if isinstance(X, dd.DataFrame) else X.shape[1] if X.ndim == 2 else 1


def _expected_answer(estimator: Any, X: Any, method: str) -> Answer:
    """Shape and type of the result, which dask needs before it is computed."""
    float64 = np.dtype(np.float64)
    keeps_float32 = isinstance(X, da.Array) and X.dtype == np.float32
    if method == "predict":
        return Answer(method, estimator.classes_.dtype)
    if method == "transform":
        features = getattr(estimator, "best_estimator_", estimator).get_feature_names_out()
        return Answer(method, np.dtype(np.float32) if keeps_float32 else float64, features)
    if method == "impute":
        return Answer(method, X.dtype if keeps_float32 else float64, range(_n_columns(X)))
    if method == "score_samples" or (method == "decision_function" and len(estimator.classes_) == 2):
        return Answer(method, float64)
    return Answer(method, float64, estimator.classes_.tolist())


def _of_array(model: Any, X: da.Array, answer: Answer) -> da.Array:
    rows = X.rechunk({1: -1})
    empty = np.empty((0, *answer.row_shape), answer.dtype)
    if answer.columns is None:
        return rows.map_blocks(_of_block, model, answer, drop_axis=1, dtype=answer.dtype, meta=empty)
    chunks = (rows.chunks[0], answer.row_shape)
    return rows.map_blocks(_of_block, model, answer, chunks=chunks, dtype=answer.dtype, meta=empty)


def _of_frame(model: Any, X: dd.DataFrame, answer: Answer) -> Any:
    if answer.method == "impute":
        return X.map_partitions(_imputed, model, meta=X._meta)
    none = np.empty((0, *answer.row_shape), answer.dtype)
    return X.map_partitions(_of_partition, model, answer, meta=_framed(none, X._meta, answer))


def _of_block(rows: Any, model: Any, answer: Answer) -> np.ndarray:
    """Answer about a block of rows, which may be empty."""
    if not len(rows):
        return np.empty((0, *answer.row_shape), answer.dtype)
    result = np.asarray(getattr(model, answer.method)(rows))
    if result.shape != (len(rows), *answer.row_shape):
        raise ValueError(
            f"{type(model).__name__}.{answer.method} returned an array of shape {result.shape} for {len(rows)} rows, "
            f"where dask expects {(len(rows), *answer.row_shape)}. Map it over the blocks yourself, by map_blocks."
        )
    return result.astype(answer.dtype, copy=False)


def _of_partition(rows: pd.DataFrame, model: Any, answer: Answer) -> Any:
    return _framed(_of_block(rows, model, answer), rows, answer)


def _framed(result: np.ndarray, rows: pd.DataFrame, answer: Answer) -> Any:
    """Give a result the index of the rows."""
    if answer.columns is None:
        return pd.Series(result, index=rows.index[: len(result)], name=answer.method)
    return pd.DataFrame(result, index=rows.index[: len(result)], columns=list(answer.columns))


def _imputed(rows: pd.DataFrame, model: Any) -> pd.DataFrame:
    return model.impute(rows) if len(rows) else rows
