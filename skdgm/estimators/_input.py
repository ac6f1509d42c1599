"""Base class that reads tables: arrays and frames become rows of numbers, and columns get likelihoods and scales."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import check_array

from skdgm._sklearn_compat import StrOptions, _check_feature_names, _get_column_indices, validate_data
from skdgm.estimators._arrays import as_host_array, check_no_empty_column
from skdgm.estimators._columns import ColumnTransform
from skdgm.estimators._frames import check_is_table, is_numeric_array
from skdgm.estimators._likelihood_choice import LikelihoodChoice
from skdgm.estimators._options import check_same_architecture
from skdgm.estimators._shards import exchanged, training_rows
from skdgm.estimators._state import VersionedState
from skdgm.estimators._streams import (
    Table,
    blocks,
    check_keeps_zeros,
    fits_in_memory,
    header_of,
    is_sparse,
    is_stream,
    look,
    matrix_of,
    row_of,
    rows_of,
)
from skdgm.estimators._tables import TableFormat
from skdgm.estimators._texts import warn_of_texts
from skdgm.likelihoods import LIKELIHOODS
from skdgm.readers import Rows
from skdgm.sparse import SparseReader

ALL_LIKELIHOODS = ["auto", *LIKELIHOODS]
FLOATS = [np.float64, np.float32]
LIKELIHOOD_PARAMETER: list[Any] = [StrOptions(set(ALL_LIKELIHOODS)), list, tuple, dict]  # a dict gets its own error


class BaseReader(VersionedState):
    """Abstract base of the estimators that read tables.

    An estimator that does not allow missing cells reads numbers only.
    """

    _missing_cells_allowed: ClassVar[bool] = False
    _may_mix_likelihoods: ClassVar[bool] = True
    _reads_streams: ClassVar[bool] = False  # sparse matrices, and tables that are read in blocks

    likelihood_: str
    likelihoods_: list[LikelihoodChoice]
    _columns: ColumnTransform
    _format: TableFormat
    _named: list[str]
    _fitted_likelihood: Any

    @property
    def _is_warm_start(self) -> bool:
        """Whether ``fit`` continues from the previous fit; valid before ``fit`` has set ``module_``."""
        return bool(self.warm_start and hasattr(self, "module_"))

    def _read(self, X: Any, *, reset: bool = False) -> Table:
        """Validate X and return it as numbers; NaN marks a missing cell, and categories are codes.

        float32 stays float32, all else becomes float64. Streams and sparse matrices are returned as lazy rows.
        """
        X = as_host_array(X)
        check_is_table(X, type(self).__name__)
        learns = reset and not self._is_warm_start
        if reset and not learns:
            _check_feature_names(self, header_of(X), reset=False)  # the weights are those of the columns' order
        rows: Table
        if self._reads_streams and is_stream(X):
            rows = self._read_stream(X, reset=reset, learns=learns)
        elif is_numeric_array(X) and (learns or self._is_numeric):
            finite = "allow-nan" if self._missing_cells_allowed else True
            rows = validate_data(self, X, reset=reset, dtype=[np.float64, np.float32], ensure_all_finite=finite)
            rows = self._for_training(rows, learns=learns) if reset else rows
        else:
            rows = self._read_table(X, reset=reset, learns=learns)
        if learns:
            self._named = named_likelihoods(header_of(X), self.likelihood, self._names, rows.shape[1])
            if self._missing_cells_allowed:
                check_no_empty_column(look(rows), self._names, type(self).__name__)
        elif self._missing_cells_allowed and not reset and self._columns.levels:
            for start, block in blocks(rows):
                self._columns.check_known(block, self._handle_unknown, start)
        return rows

    def _read_stream(self, X: Any, *, reset: bool, learns: bool) -> Table:
        """Read a sparse matrix, or a table in a file; one that is small enough becomes an array."""
        owner = type(self).__name__
        if not learns and not self._is_numeric:
            raise ValueError(
                f"{owner} was fitted to a table with text or categories, and reads such rows from frames only, got "
                f"{type(X).__name__}. Read it into a frame, block by block if it is large."
            )
        if issparse(X):
            X = validate_data(self, X, reset=reset, accept_sparse="csr", dtype=FLOATS, ensure_all_finite="allow-nan")
            rows = Rows(SparseReader(canonical(X)))
        else:
            validate_data(self, header_of(X), reset=reset, skip_check_array=True)
            rows = rows_of(X)
            if fits_in_memory(rows.shape):
                array = check_array(np.asarray(rows), dtype=FLOATS, ensure_all_finite="allow-nan", estimator=owner)
                return self._for_training(array, learns=learns) if reset else array
        return self._for_training(rows, learns=learns) if reset else rows

    def _for_training(self, rows: Table, *, learns: bool) -> Table:
        """Return the training rows of all processes; ``learns`` learns their format."""
        rows = training_rows(rows)
        if not learns:
            return rows
        self._format = TableFormat.of(look(rows), owner=type(self).__name__)
        if is_sparse(rows):
            self._format = replace(self._format, container=type(matrix_of(rows)).__name__)
        return rows

    def _read_table(self, X: Any, *, reset: bool, learns: bool) -> Table:
        """Read a frame, or an array with text or masked cells."""
        owner = type(self).__name__
        if not self._missing_cells_allowed:
            rows = validate_data(self, X, reset=reset, dtype=[np.float64, np.float32])
            return self._for_training(rows, learns=learns) if reset else rows
        validate_data(self, X, reset=reset, skip_check_array=True)
        if learns:
            table, declared = TableFormat.with_categories(X, owner=owner)
            warn_of_texts(table, declared, len(X))
            self._format = TableFormat.of_shards(exchanged((table, declared)))
        rows = self._format.read(X, handle_unknown=self._handle_unknown, owner=owner)
        return training_rows(rows) if reset else rows

    @property
    def _handle_unknown(self) -> str:
        return str(getattr(self, "handle_unknown", "warn"))

    @property
    def _is_numeric(self) -> bool:
        """Whether all columns hold numbers or booleans."""
        return all(column.kind != "category" for column in self._format.columns)

    @property
    def _names(self) -> Any:
        return getattr(self, "feature_names_in_", None)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self._missing_cells_allowed
        tags.input_tags.string = tags.input_tags.categorical = self._missing_cells_allowed
        tags.input_tags.sparse = self._reads_streams
        return tags

    def _choose_likelihood(self, rows: Table) -> None:
        """Set ``likelihood_`` and the scales of the columns; a warm start keeps those of the first fit."""
        X = look(rows)
        if self._is_warm_start:
            self._check_same_likelihood("warm_start=True")
            self._check_same_width(X.shape[1])
            is_named = self.likelihood != "auto" or not self._may_mix_likelihoods
            self._columns.check_density_range(X, row_of(rows), of_auto=is_named)
            if is_sparse(rows):
                check_keeps_zeros(self._columns.kinds)
            return
        if is_sparse(rows):
            check_keeps_zeros(self._named)
        self._fitted_likelihood = self.likelihood
        self._columns = ColumnTransform.of(
            X,
            self._named,
            self._format.types,
            self._names,
            may_mix=self._may_mix_likelihoods and getattr(self, "image_shape", None) is None,  # pixels are alike
            is_sparse=is_sparse(rows),
            row_of=row_of(rows),
        )
        self.likelihood_, self.likelihoods_ = self._columns.likelihood, self._columns.choices

    def _check_same_likelihood(self, continued_by: str) -> None:
        """Raise an error if training continues with another value of ``likelihood``."""
        wanted = self.likelihood_ if self.likelihood == "auto" else self.likelihood
        known = self.likelihood_ if isinstance(wanted, str) else self._fitted_likelihood
        check_same_architecture(
            {"likelihood": known}, {"likelihood": wanted}, type(self).__name__, continued_by=continued_by
        )

    def _check_same_width(self, n_columns: int) -> None:
        """Raise an error if a warm start gets rows with another number of columns."""
        known = {"n_columns": len(self._columns.kinds)}
        check_same_architecture(known, {"n_columns": n_columns}, type(self).__name__)


def canonical(matrix: Any) -> Any:
    """Return a sparse matrix that stores each cell once: a copy, if it does not."""
    if not matrix.has_canonical_format:
        matrix = matrix.copy()
        matrix.sum_duplicates()
    return matrix


def named_likelihoods(X: Any, likelihood: Any, names: Sequence[str] | None, n_columns: int) -> list[str]:
    """Resolve the parameter ``likelihood`` to a name, or "auto", for each column.

    Raises
    ------
    ValueError
        If a group has an unknown likelihood, or if a column is in two groups or in none.
    """
    if isinstance(likelihood, str):
        return [likelihood] * n_columns
    found: list[list[str]] = [[] for _ in range(n_columns)]
    for name, columns in checked_groups(likelihood):
        for j in _get_column_indices(X, columns(X) if callable(columns) else columns):
            found[j].append(name)
    wrong = [j for j in range(n_columns) if len(found[j]) != 1]
    if wrong:
        j = wrong[0]
        groups = f"in two groups, {found[j][0]!r} and {found[j][1]!r}" if found[j] else "in no group"
        raise ValueError(
            f"likelihood: column {j if names is None else names[j]!r} is {groups}. Name each column exactly once; "
            "('auto', columns) chooses for the columns in it."
        )
    return [only for (only,) in found]


def checked_groups(likelihood: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Check that ``likelihood`` is a list of pairs (name, columns), and return the pairs."""
    if isinstance(likelihood, dict):
        pairs = [*((name, [column]) for column, name in likelihood.items()), ("auto", ["..."])]
        raise TypeError(
            f"likelihood must be a name or a list of pairs (name, columns), got a dict. Write likelihood={pairs}, with "
            "all other columns in the last pair."
        )
    for pair in likelihood:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2 or pair[0] not in ALL_LIKELIHOODS:
            raise ValueError(
                f"likelihood must be a name or a list of pairs (name, columns), got {pair!r} in it. Names are "
                f"{ALL_LIKELIHOODS}; columns are names, positions, a slice, or a function of X."
            )
        yield pair[0], pair[1]
