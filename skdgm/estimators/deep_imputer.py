"""An imputer for pipelines: the missing cells of a table, filled by a deep generative model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from sklearn.base import MetaEstimatorMixin, TransformerMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.impute import MissingIndicator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skdgm._sklearn_compat import (
    CallbackSupportMixin,
    MissingValues,
    _check_feature_names_in,
    _fit_context,
    _get_container_adapter,
    _safe_indexing,
    validate_data,
)
from skdgm._warnings import warn_user
from skdgm.distributed._processes import together
from skdgm.estimators._arrays import PreservesFloatDtype, as_host_array, tensor_in_tensor_out
from skdgm.estimators._callbacks import unchanged_on_error
from skdgm.estimators._encoder import NestedDefaults, fitted_part
from skdgm.estimators._frames import as_table
from skdgm.estimators._latent_density import BaseLatentDensity
from skdgm.estimators._missing_values import as_frame, as_matrix, missing_cells, with_columns, with_missing
from skdgm.estimators._shards import summary_of_missing
from skdgm.estimators._state import StateError
from skdgm.estimators._tables import TableFormat
from skdgm.estimators.dlgm import DLGM

# Fills a column of text or categories without any observed cell, as SimpleImputer(strategy="constant") does.
EMPTY_LABEL = "missing_value"
NULL_TYPES = ("Null", "null", ("arrow", "null"))  # of polars, of pyarrow, and of pyarrow in pandas


class DeepImputer(PreservesFloatDtype, CallbackSupportMixin, TransformerMixin, MetaEstimatorMixin, NestedDefaults):
    """Imputer: fills missing cells with a deep generative model of all columns.

    It takes the place of ``SimpleImputer`` or ``IterativeImputer`` in a pipeline. A DLGM or a VAE learns the joint
    distribution of the columns from the observed cells. Each missing cell is filled given the observed cells of its
    row: with the mean of a number, the most probable category, or a draw. Numbers, booleans, categories, and text may
    stand side by side.

    Parameters
    ----------
    estimator : DLGM, VAE, FrozenEstimator of a fitted one, or None, default=None
        Model that fills the cells. It is cloned and fitted. A ``FrozenEstimator`` of a fitted model is used as it is.
        Searches can set its parameters, for example ``estimator__max_iter``.

        None is ``DLGM(handle_unknown="ignore")``, seeded from ``random_state``: a category that ``fit`` did not see
        counts as missing when other cells are filled, but stays in its place. The model's ``handle_unknown`` may turn
        it into a warning or an error.

    missing_values : int, float, str, np.nan, None or pandas.NA, default=np.nan
        Marker of missing cells, such as -1 or "?". NaN, None, and pandas.NA are missing whatever the marker is.

    sample_posterior : bool, default=False
        Whether to fill cells with draws from their distribution given the observed cells of the row, instead of with
        means and most probable categories. Draws keep the variances and correlations of the columns; means predict
        best. For several draws, use ``impute`` of ``estimator_``.

    add_indicator : bool, default=False
        Whether to append a column for each column that misses cells in ``fit``, which tells where cells were missing:
        those of ``sklearn.impute.MissingIndicator``.

    keep_empty_features : bool, default=False
        Whether to keep columns that miss every cell in ``fit``. They are filled with 0, or with "missing_value" if they
        are a frame's columns of text or categories. If False, ``transform`` drops them with a warning. Where the model
        is frozen, it fills all columns, and none counts as empty.

    random_state : int, RandomState instance or None, default=None
        Seeds everything random in ``fit``.

        A model with a ``random_state`` of its own keeps it. It also seeds the draws of ``sample_posterior``: with an
        int, each call of ``transform`` draws the same cells; otherwise, each call draws others.

    Attributes
    ----------
    estimator_ : DLGM or VAE
        The fitted model.
    indicator_ : MissingIndicator or None
        Which columns have indicators; None if ``add_indicator=False``.
    n_features_in_ : int
        Number of columns of X in ``fit``.
    feature_names_in_ : ndarray of str of shape (n_features,)
        Names of the columns of X. Only there if all of them are strings.

    See Also
    --------
    sklearn.impute.SimpleImputer : Fill each column with one value.
    sklearn.impute.IterativeImputer : Regress each column on the others, in turn.
    DLGM : The model; its ``impute`` also gives several draws, and fills frames as frames.

    Notes
    -----
    The output is as scikit-learn's imputers give it: an array of floats, or of objects if a column has text or
    categories, also for a frame. After ``set_output(transform="pandas")`` or "polars" it is a frame: one in the same
    library keeps the dtypes of its columns as far as they can hold means. Observed cells are never changed.

    Examples
    --------
    >>> import numpy as np
    >>> from skdgm import VAE, DeepImputer
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((200, 1)) * [1.0, 2.0, -1.0] + 0.1 * rng.standard_normal((200, 3))
    >>> imputer = DeepImputer(VAE(1, max_iter=20), random_state=0).fit(X)
    >>> imputer.transform([[1.0, np.nan, -1.0]]).round()
    array([[ 1.,  2., -1.]])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any] | str]] = {
        "estimator": "no_validation",  # its message would name the private base class
        "missing_values": [MissingValues()],
        "sample_posterior": ["boolean"],
        "add_indicator": ["boolean"],
        "keep_empty_features": ["boolean"],
        "random_state": ["random_state"],
    }

    _needed_when_fitted = ("estimator_", "indicator_", "n_features_in_", "_empty", "_kept", "_format_of_empty")

    def __init__(
        self,
        estimator=None,
        *,
        missing_values=np.nan,
        sample_posterior=False,
        add_indicator=False,
        keep_empty_features=False,
        random_state=None,
    ) -> None:
        self.estimator = estimator
        self.missing_values = missing_values
        self.sample_posterior = sample_posterior
        self.add_indicator = add_indicator
        self.keep_empty_features = keep_empty_features
        self.random_state = random_state

    def _nested_defaults(self) -> dict[str, Any]:
        return {"estimator": DLGM(handle_unknown="ignore")}

    # --- fit ----------------------------------------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None):
        """Fit the model to all rows.

        Parameters
        ----------
        X : array-like, frame or torch.Tensor of shape (n_samples, n_features)
        y : Ignored
            Present for API consistency.

        Returns
        -------
        DeepImputer
            The fitted estimator.

        Raises
        ------
        ValueError
            If no cell is observed, and as for the ``fit`` of the model. The estimator is then left unchanged.
        KeyboardInterrupt
            If Ctrl-C is pressed. The estimator is then left unchanged.
        """
        with unchanged_on_error(self), together(self):
            return self._fit(X)

    def _check_state(self) -> None:
        columns = np.sort(np.concatenate([self._kept, self._empty]))
        if not np.array_equal(columns, np.arange(self.n_features_in_)):
            raise StateError(self, f"its columns {columns.tolist()} are not the {self.n_features_in_} columns of X")
        if self.estimator_.n_features_in_ != len(self._kept):
            raise StateError(self, f"its model does not fill the {len(self._kept)} columns that have values")

    def _fit(self, X: Any) -> DeepImputer:
        context = self._init_callback_context(max_subtasks=1)
        context.call_on_fit_task_begin(estimator=self, X=X)
        table = self._read(X, reset=True)
        missing = summary_of_missing(missing_cells(table))
        self.indicator_ = MissingIndicator(error_on_new=False).fit(as_nan(missing)) if self.add_indicator else None
        self._empty = np.flatnonzero(missing.all(0) & (not isinstance(self.estimator, FrozenEstimator)))
        self._kept = np.setdiff1d(np.arange(missing.shape[1]), self._empty)
        if not len(self._kept):
            raise ValueError(
                f"X has no observed cell in its {missing.shape[1]} column(s), so {type(self).__name__} has nothing to "
                "learn from. Check missing_values, or pass rows that have values."
            )
        self._format_of_empty = format_of_empty(self._part(table, self._empty)) if len(self._empty) else None
        self.estimator_ = self._fitted_estimator(self._part(table, self._kept), context)
        context.call_on_fit_task_end(estimator=self, X=X)
        return self

    def _read(self, X: Any, *, reset: bool = False) -> Any:
        """Validate the shape and the column names of X, and make the cells that are marked as missing so."""
        table = as_table(as_host_array(X), type(self).__name__)
        validate_data(self, table, reset=reset, skip_check_array=True)
        return with_missing(table, self.missing_values)

    def _part(self, table: Any, positions: np.ndarray) -> Any:
        """Select columns of a table."""
        return table if len(positions) == self.n_features_in_ else _safe_indexing(table, positions, axis=1)

    def _fitted_estimator(self, table: Any, context: Any) -> BaseLatentDensity:
        """Return a frozen model as it is, otherwise a clone of the model fitted to the table."""
        if isinstance(self.estimator, FrozenEstimator):
            return frozen_model(self.estimator.estimator, table)
        model = self._nested_defaults()["estimator"] if self.estimator is None else self.estimator
        if not isinstance(model, BaseLatentDensity):
            raise ValueError(
                f"estimator must be a skdgm.DLGM, a skdgm.VAE, a FrozenEstimator of one, or None, got {model!r}. Pass "
                "an instance, such as VAE()."
            )
        fitted: BaseLatentDensity = fitted_part(
            clone(model), table, check_random_state(self.random_state), self, context, "fit-estimator"
        )
        return fitted

    # --- transform ----------------------------------------------------------------------------------------------

    @tensor_in_tensor_out
    def transform(self, X):
        """Fill the missing cells.

        Parameters
        ----------
        X : array-like, frame or torch.Tensor of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_features_out)
            Of floats, or of objects if the model has columns of text or categories; a frame after ``set_output``.

        Warns
        -----
        UserWarning
            If columns are dropped that missed every cell in ``fit``.
        """
        check_is_fitted(self, "estimator_")
        table = self._read(X)
        indicators = None if self.indicator_ is None else self.indicator_.transform(as_nan(missing_cells(table)))
        filled = self._filled(table)
        adapter = _get_container_adapter("transform", self)
        if adapter is None or (isinstance(filled, np.ndarray) and self._is_numeric):
            matrix = as_matrix(filled, is_numeric=self._is_numeric)
            return matrix if indicators is None else np.hstack([matrix, indicators])
        names = self.get_feature_names_out()
        frame = as_frame(filled, adapter.container_lib, names[: filled.shape[1]])
        if indicators is None:
            return frame
        return adapter.hstack([frame, adapter.create_container(indicators, frame, names[filled.shape[1] :])])

    def _filled(self, table: Any) -> Any:
        """Fill the missing cells of the columns that are kept."""
        filled = self._imputed(self._part(table, self._kept))
        if self._format_of_empty is None:
            return filled
        if not self.keep_empty_features:
            warn_user(
                f"Skipping features without any observed values: {self._names()[self._empty]}. At least one "
                "non-missing value is needed for imputation. To keep them, use keep_empty_features=True.",
            )
            return filled
        empty = self._part(table, self._empty)
        constants = self._format_of_empty.restore_like(np.zeros(empty.shape), empty)
        return with_columns(with_columns(table, self._kept, filled), self._empty, constants)

    def _imputed(self, table: Any) -> Any:
        if not self.sample_posterior:
            return self.estimator_.impute(table)
        return self.estimator_.impute(table, n_draws=1, random_state=self.random_state)[0]

    @property
    def _is_numeric(self) -> bool:
        """Whether the output holds numbers only."""
        of_empty = self._format_of_empty.types if self._format_of_empty and self.keep_empty_features else []
        return self.estimator_._is_numeric and "category" not in of_empty

    def _names(self) -> np.ndarray:
        """Names of the columns, or else their positions."""
        return np.asarray(getattr(self, "feature_names_in_", np.arange(self.n_features_in_)))

    def get_feature_names_out(self, input_features=None):
        """Get the names of the columns of the output.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Names of the columns of X. None is ``feature_names_in_``, or "x0", "x1", and so on if X had no names.

        Returns
        -------
        ndarray of str
            Names of the columns that are kept, and ``missingindicator_`` with the name of a column for each indicator.
        """
        check_is_fitted(self, "estimator_")
        input_features = _check_feature_names_in(self, input_features)
        names = input_features if self.keep_empty_features else input_features[self._kept]
        if self.indicator_ is None:
            return names
        return np.concatenate([names, self.indicator_.get_feature_names_out(input_features)])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.string = tags.input_tags.categorical = True
        return tags


def as_nan(missing: np.ndarray) -> np.ndarray:
    """Return rows with NaN where cells are missing, as MissingIndicator reads them."""
    return np.where(missing, np.nan, 0.0)


def format_of_empty(table: Any) -> TableFormat:
    """Describe columns without any observed cell: they hold zeros or, by their dtype, labels."""
    found = TableFormat.of(table)
    columns = [replace(one, categories=(EMPTY_LABEL,)) if one.kind == "category" else one for one in found.columns]
    # polars' and pyarrow's type of such columns holds no zero
    columns = [replace(one, dtype=None) if one.dtype in NULL_TYPES else one for one in columns]
    return replace(found, columns=tuple(columns))


def frozen_model(model: Any, table: Any) -> BaseLatentDensity:
    """Check that a frozen estimator is a fitted model that can read the table, and return it."""
    if not isinstance(model, BaseLatentDensity):
        raise ValueError(
            f"estimator must freeze a fitted skdgm.DLGM or skdgm.VAE, got a frozen {type(model).__name__}. Use "
            "FrozenEstimator(dlgm)."
        )
    check_is_fitted(model)
    model._read(table)
    return model
