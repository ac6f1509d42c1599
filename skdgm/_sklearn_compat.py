"""Every private or version-dependent name of scikit-learn, in one place to mend when one moves.

Below scikit-learn 1.9 there are no callbacks; an estimator then behaves as one without any.
"""

from __future__ import annotations

from contextlib import contextmanager
from copy import copy
from inspect import signature
from typing import Any

from sklearn.base import _fit_context
from sklearn.utils._param_validation import HasMethods, Interval, RealNotInt, StrOptions
from sklearn.utils.validation import validate_data

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:  # scikit-learn < 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands in where scikit-learn has no callbacks: its contexts call nobody and never stop a fit."""

        def _init_callback_context(self, **kwargs: Any) -> NoCallbacks:
            return NoCallbacks()


def with_labels(scorer: Any, classes: Any) -> Any:
    """A scorer of probabilities that knows the columns they come in: rows may lack a class that the model has."""
    metric, response = getattr(scorer, "_score_func", None), getattr(scorer, "_response_method", None)
    of_probabilities = response in ("predict_proba", "predict_log_proba")
    if classes is None or metric is None or not of_probabilities or "labels" not in signature(metric).parameters:
        return scorer
    if "labels" in scorer._kwargs:
        return scorer
    labeled = copy(scorer)
    labeled._kwargs = {**scorer._kwargs, "labels": classes}
    return labeled


class NoCallbacks:
    """A callback context without callbacks."""

    def subcontext(self, **kwargs: Any) -> NoCallbacks:
        """Return a context of the same kind."""
        return self

    def call_on_fit_task_begin(self, **kwargs: Any) -> NoCallbacks:
        """Call nobody."""
        return self

    def call_on_fit_task_end(self, **kwargs: Any) -> bool:
        """Call nobody, and do not ask to stop."""
        return False

    @contextmanager
    def propagate_callback_context(self, sub_estimator: Any):  # type: ignore[no-untyped-def]
        """Run the body as it is."""
        yield


__all__ = [
    "CallbackSupportMixin",
    "HasMethods",
    "Interval",
    "NoCallbacks",
    "RealNotInt",
    "StrOptions",
    "_fit_context",
    "validate_data",
    "with_labels",
]
