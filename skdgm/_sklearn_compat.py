"""Import all private or version-dependent names of scikit-learn: one file to fix when one of them moves.

scikit-learn before 1.9 has no callbacks; estimators then behave as if none were registered.
"""

from __future__ import annotations

from contextlib import contextmanager
from copy import copy
from inspect import signature
from typing import Any

import numpy as np
from sklearn.base import _fit_context
from sklearn.model_selection._validation import _enforce_prediction_order
from sklearn.utils import _safe_indexing
from sklearn.utils._indexing import _get_column_indices
from sklearn.utils._param_validation import HasMethods, Interval, MissingValues, RealNotInt, StrOptions
from sklearn.utils._set_output import _get_container_adapter
from sklearn.utils.validation import (
    _check_feature_names,
    _check_feature_names_in,
    _check_sample_weight,
    check_non_negative,
    validate_data,
)

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:  # scikit-learn < 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Replacement for scikit-learn < 1.9: its contexts call no callbacks and never stop a fit."""

        def _init_callback_context(self, **kwargs: Any) -> NoCallbacks:
            return NoCallbacks()


def check_sample_weight(sample_weight: Any, X: Any) -> Any:
    """Validate the weights of the rows of X and return them as float64; scikit-learn before 1.9 lets zeros pass."""
    weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
    if not weight.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    check_non_negative(weight, "`sample_weight`")
    return weight


def with_labels(scorer: Any, classes: Any) -> Any:
    """Tell a scorer of probabilities which class each column belongs to: the scored rows may lack some classes."""
    metric, response = getattr(scorer, "_score_func", None), getattr(scorer, "_response_method", None)
    responses = response if isinstance(response, list | tuple) else [response]
    of_probabilities = not {"predict_proba", "predict_log_proba"}.isdisjoint(responses)
    if classes is None or metric is None or not of_probabilities or "labels" not in signature(metric).parameters:
        return scorer
    if "labels" in scorer._kwargs:
        return scorer
    labeled = copy(scorer)
    labeled._kwargs = {**scorer._kwargs, "labels": classes}
    return labeled


def scorer_name(scorer: Any) -> str:
    """Return a name for a scorer: that of its metric, with "neg_" if greater metrics are worse; or its own."""
    metric = getattr(scorer, "_score_func", None)
    if metric is not None and hasattr(metric, "__name__"):
        return f"{'neg_' if scorer._sign < 0 else ''}{metric.__name__}"
    return getattr(scorer, "__name__", type(scorer).__name__)


class NoCallbacks:
    """A callback context without callbacks."""

    def subcontext(self, **kwargs: Any) -> NoCallbacks:
        """Return a context of the same kind."""
        return self

    def call_on_fit_task_begin(self, **kwargs: Any) -> NoCallbacks:
        """Do nothing."""
        return self

    def call_on_fit_task_end(self, **kwargs: Any) -> bool:
        """Do nothing, and do not ask to stop."""
        return False

    @contextmanager
    def propagate_callback_context(self, sub_estimator: Any):
        """Run the body unchanged."""
        yield


__all__ = [
    "CallbackSupportMixin",
    "HasMethods",
    "Interval",
    "MissingValues",
    "NoCallbacks",
    "RealNotInt",
    "StrOptions",
    "_check_feature_names",
    "_check_feature_names_in",
    "_enforce_prediction_order",
    "_fit_context",
    "_get_container_adapter",
    "_get_column_indices",
    "_safe_indexing",
    "check_sample_weight",
    "scorer_name",
    "validate_data",
    "with_labels",
]
