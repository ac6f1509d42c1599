"""Wrap ``fit``: parameters, callbacks at every epoch, checkpoint, and an estimator that errors leave unchanged."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar

from sklearn.base import BaseEstimator

from skdgm import training
from skdgm._sklearn_compat import _fit_context
from skdgm.distributed._processes import together
from skdgm.estimators._checkpoints import checkpoint_of
from skdgm.estimators._shards import is_first, refuse

P = ParamSpec("P")
Estimator = TypeVar("Estimator", bound=BaseEstimator)


def fitting(method: Callable[Concatenate[Estimator, P], Estimator]) -> Callable[Concatenate[Estimator, P], Estimator]:
    """Decorate ``fit``: validate parameters, tear callbacks down, use the checkpoint if there is one.

    If ``fit`` fails, the estimator is restored.
    """

    @functools.wraps(method)
    def fit(self: Estimator, *args: P.args, **kwargs: P.kwargs) -> Estimator:
        with unchanged_on_error(self), together(self), checkpoint_of(self, method, args, kwargs):
            if method.__name__ == "partial_fit":
                refuse(self, method.__name__)
            return method(self, *args, **kwargs)

    return _fit_context(prefer_skip_nested_validation=True)(fit)


@contextmanager
def unchanged_on_error(estimator: BaseEstimator) -> Iterator[None]:
    """Restore the attributes of an estimator if the body fails."""
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        callbacks = {name: value for name, value in vars(estimator).items() if "callback" in name}
        vars(estimator).clear()
        vars(estimator).update(before | callbacks)  # scikit-learn still needs these to tear its callbacks down
        raise


class EpochTasks:
    """Connect the training loop to scikit-learn's callbacks: one task per epoch, and each may ask to stop."""

    def __init__(
        self,
        estimator: Any,
        context: Any,
        X: Any,
        y: Any = None,
        *,
        part: str = "",
        n_epochs: int | None = None,
        before_epoch: Callable[[int], None] = lambda epoch: None,
    ) -> None:
        self.estimator, self.context, self.data = estimator, context, {"X": X, "y": y}
        self.title, self.n_epochs = type(estimator).__name__ + part, n_epochs or estimator.max_iter
        self.task: Any = None
        self.before_epoch = before_epoch

    def begin(self, epoch: int) -> None:
        """Tell the callbacks that an epoch starts."""
        self.before_epoch(epoch)
        self.task = self.context.subcontext(task_name="epoch")
        self.task.call_on_fit_task_begin(estimator=self.estimator, **self.data)

    def end(self, epoch: int, history: training.History) -> bool:
        """Tell the callbacks that the epoch ended; return whether one of them asks to stop."""
        if self.estimator.verbose and is_first():
            validation = f", validation bound {history.validation[-1]:.4f}" if history.validation else ""
            parts = [
                f"{name} {history.terms[name][-1]:.4f}" for name in ("bound", "objective") if name in history.terms
            ]
            print(f"{self.title} epoch {epoch + 1}/{self.n_epochs}: {', '.join(parts)}{validation}")
        attributes = partial(attributes_after, history)
        return self.task.call_on_fit_task_end(
            estimator=self.estimator, **self.data, reconstruction_attributes=attributes
        )


def attributes_after(history: training.History) -> dict[str, Any]:
    """What callbacks see of the history of the current training, as attributes of ``fitted_estimator``."""
    terms = {name: list(values) for name, values in history.terms.items()}
    return {"history_": terms, "validation_scores_": list(history.validation) or None}
