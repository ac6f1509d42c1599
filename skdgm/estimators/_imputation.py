"""Fill missing cells: read rows, ask the module for means or draws, and restore tables of the caller's kind."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils.validation import check_scalar
from torch import Generator, Tensor

from skdgm._labels import labels_of
from skdgm.estimators._arrays import as_host_array, chunk_size, tensor_in_tensor_out
from skdgm.estimators._base import BaseDeepGenerative, RowFunction
from skdgm.estimators._streams import Table
from skdgm.readers import Rows

UNKNOWN_CLASS = -1


class BaseImputation(BaseDeepGenerative):
    """Abstract base of estimators that fill missing cells."""

    @property
    @abstractmethod
    def _draws_per_row(self) -> int:
        """Number of latent draws per row in importance sampling."""

    def _filled(
        self,
        X: Any,
        rows: Table,
        mean: RowFunction | None,
        draw: Callable[[np.ndarray, Generator], np.ndarray],
        n_draws: int | None,
        random_state: Any,
    ) -> Any:
        """Fill the missing cells of X, which was read as ``rows``: with the mean, or ``n_draws`` times with a draw.

        Without a mean, ``n_draws=None`` fills them with one draw.
        """
        if isinstance(rows, Rows):
            raise ValueError(
                f"impute fills tables in memory, got X as {type(X).__name__}, of which it would make a dense table of "
                f"{rows.shape[0]} x {rows.shape[1]} cells. Impute some rows at a time, as an array: "
                "X[start:stop].toarray() of a sparse matrix, numpy.asarray(X[start:stop]) of a file."
            )
        self._columns.check_density_range(rows)
        if n_draws is None and mean is not None:
            return self._restored(X, mean(rows), is_drawn=False)
        check_scalar(1 if n_draws is None else n_draws, "n_draws", Integral, min_val=1)
        rng = self._generator(check_random_state(random_state))
        draws = [self._restored(X, draw(rows, rng), is_drawn=True) for _ in range(n_draws or 1)]
        if n_draws is None:
            return draws[0]
        return np.stack(draws) if isinstance(draws[0], np.ndarray) else draws

    def _restored(self, X: Any, filled: np.ndarray, *, is_drawn: bool) -> Any:
        """Fill the missing cells of X from ``filled``, rows in the units of the module."""
        return self._format.restore_like(self._columns.inverse(filled), X, is_drawn=is_drawn)

    def _expected(self, rows: np.ndarray, function: Callable[..., Tensor]) -> np.ndarray:
        """Apply ``expected`` of a module; a row's noise depends on its own values."""
        draws = self._n_draws
        return self._apply_with_noise(
            lambda x, noise, observed: function(x, noise, draws, all_of(x, observed)), rows, self._draws_per_row
        )

    def _resampled(self, rows: np.ndarray, rng: Generator, function: Callable[..., Tensor]) -> np.ndarray:
        """Apply ``resampled`` of a module."""
        draws = self._n_draws
        return self._drawn(rows, lambda x, observed: function(x, rng, draws, observed))

    def _drawn(self, rows: np.ndarray, function: Callable[[Tensor, Tensor], Tensor]) -> np.ndarray:
        """Apply a function of (x, observed) that draws rows, in chunks."""
        chunk = chunk_size(self._draws_per_row)
        return self._apply(lambda x, observed: function(x, all_of(x, observed)), rows, chunk)


class BaseClassImputation(BaseImputation):
    """Abstract base of classifiers that fill missing cells, given the label or whatever the label."""

    classes_: np.ndarray

    @property
    @abstractmethod
    def _model(self) -> Any:
        """Module that predicts from X; it has ``expected`` and ``resampled``."""

    @abstractmethod
    def _class_indices(self, y: Any, n: int) -> np.ndarray:
        """Return indices into ``classes_`` of one label for all rows, or of one label for each row."""

    @tensor_in_tensor_out
    def impute(self, X, y=None, *, n_draws=None, random_state=None):
        """Fill in missing cells; leave observed cells unchanged to the bit.

        Draws of the latent code for each class are weighed by how well they explain the observed cells.

        Parameters
        ----------
        X : array-like, frame or torch.Tensor of shape (n_samples, n_features)
            NaN, None and pandas.NA mark a missing cell. All cells of a row may be missing.
        y : label or array-like of shape (n_samples,), default=None
            Labels to impute given: one for all rows, or one for each row. For None, and for rows that are marked as
            unlabeled, the label is summed out: classes are weighed by how well they explain the observed cells, too.
        n_draws : int or None, default=None
            None fills each cell once, with the mean E[x_missing | x_observed] of a number or the most probable
            category. An integer returns that many independent draws of the missing cells (multiple imputation).
        random_state : int, RandomState instance or None, default=None
            Seeds the draws. The mean does not need it: like ``score_samples``, it uses noise that is determined by the
            seed of the fit and the values of each row.

        Returns
        -------
        ndarray or frame of shape (n_samples, n_features); for ``n_draws``, (n_draws, n_samples, n_features) or a list
            A frame like X if X is a frame, and a list of ``n_draws`` frames. Otherwise an array.

        Raises
        ------
        ValueError
            For ``n_draws`` below 1, labels that are not in ``classes_``, or observed cells outside the range of a named
            likelihood.
        TypeError
            If ``n_draws`` is not an integer.
        """
        self._check_fitted()
        rows, model = self._read(X), self._model
        classes = self._given_classes(y, len(rows))

        def mean(rows: np.ndarray) -> np.ndarray:
            return by_class(rows, classes, lambda part, c: self._expected(part, self._given(model.expected, c)))

        def draw(rows: np.ndarray, rng: Generator) -> np.ndarray:
            return by_class(rows, classes, lambda part, c: self._resampled(part, rng, self._given(model.resampled, c)))

        return self._filled(X, rows, mean, draw, n_draws, random_state)

    def _given(self, method: Callable[..., Tensor], class_index: int) -> Callable[..., Tensor]:
        """Let a method of the module condition on a class, unless this is unknown."""
        y = None if class_index == UNKNOWN_CLASS else self._tensor(np.array([[class_index]]))
        return lambda *args: method(*args, y)

    def _given_classes(self, y: Any, n: int) -> np.ndarray:
        """Return the class index of each row; that of rows without a label is unknown."""
        classes = np.full(n, UNKNOWN_CLASS)
        if y is None:
            return classes
        column = [y] * n if np.ndim(as_host_array(y)) == 0 else as_host_array(y)
        check_consistent_length(classes, column)
        labeled, labels = labels_of(column, self.unlabeled_value)
        classes[labeled] = self._class_indices(labels, len(labels))
        return classes


def by_class(rows: np.ndarray, classes: np.ndarray, fill: Callable[[np.ndarray, int], np.ndarray]) -> np.ndarray:
    """Fill the rows of each class by a function of rows and class index."""
    filled = np.empty(rows.shape, np.float32)
    for class_index in np.unique(classes):
        of_class = classes == class_index
        filled[of_class] = fill(rows[of_class], int(class_index))
    return filled


def all_of(x: Tensor, observed: Tensor | None) -> Tensor:
    """Return the mask, or a mask of all cells for None."""
    return torch.ones_like(x, dtype=torch.bool) if observed is None else observed
