"""The encoder of M1 and M1+M2: a VAE, fitted on all rows or given frozen, its default, and its active dimensions."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from skdgm._sklearn_compat import _check_feature_names
from skdgm.estimators._interrupt import interrupts_raise
from skdgm.estimators._shards import own_part
from skdgm.estimators._state import StateError, VersionedState
from skdgm.estimators._streams import header_of
from skdgm.estimators.vae import VAE


class NestedDefaults(VersionedState):
    """Mixin for parameters that hold an estimator, or None for a default: ``set_params`` reaches into the default."""

    def _nested_defaults(self) -> dict[str, Any]:
        """Return a new default for each of these parameters, by name."""
        raise NotImplementedError

    def set_params(self, **params):
        """Set parameters of this estimator and, as ``name__parameter``, of the estimators in it.

        Parameters
        ----------
        **params : dict
            If a parameter of an estimator is given that is None, its default takes its place.

        Returns
        -------
        self : estimator
            This estimator.
        """
        super().set_params(**{name: value for name, value in params.items() if "__" not in name})
        nested = {name: value for name, value in params.items() if "__" in name}
        used = {name.partition("__")[0] for name in nested}
        for name, default in self._nested_defaults().items():
            if name in used and getattr(self, name) is None:
                setattr(self, name, default)
        return super().set_params(**nested)


def check_encoder(owner: Any) -> None:
    """Raise a StateError unless ``encoder_`` is a fitted VAE with the dimensions ``active_``."""
    encoder, active = owner.encoder_, np.asarray(owner.active_)
    if not isinstance(encoder, VAE) or not hasattr(encoder, "module_"):
        raise StateError(owner, "encoder_ is not a fitted VAE")
    n_codes = encoder._n_features_out
    if encoder.n_features_in_ != owner.n_features_in_ or not np.isin(active, np.arange(n_codes)).all():
        raise StateError(
            owner, f"encoder_ has {n_codes} codes of {encoder.n_features_in_} columns, active_ is {active}"
        )


def check_code_scales(owner: Any) -> None:
    """Raise a StateError unless the codes that the classifier reads have a center and a positive scale each."""
    center, scale, n_active = owner._code_center, owner._code_scale, len(owner.active_)
    if not center.shape == scale.shape == (n_active,) or not np.isfinite(center).all() or not (scale > 0).all():
        raise StateError(owner, f"center and scale of {n_active} codes are {center} and {scale}")


def fitted_encoder(
    encoder: Any,
    X: Any,
    sample_weight: np.ndarray | None,
    random: np.random.RandomState,
    owner: Any,
    context: Any,
    default: VAE,
) -> VAE:
    """Return a fitted encoder: a frozen VAE as it is, otherwise a clone (of ``default`` for None) fitted on all rows.

    Parameters
    ----------
    encoder : VAE, FrozenEstimator of a fitted VAE, or None
    X : array, frame or stream of shape (n_samples, n_features)
    sample_weight : ndarray of shape (n_samples,) or None
    random : RandomState
        Seeds an encoder without a ``random_state`` of its own.
    owner : estimator
        The classifier.
    context : callback context
        Context of the classifier; it gets a task for the fit of the encoder.
    default : VAE

    Returns
    -------
    VAE
        The fitted encoder.
    """
    if isinstance(encoder, FrozenEstimator):
        return frozen_vae(encoder.estimator, X.shape[1])
    vae: VAE = fitted_part(
        default if encoder is None else clone(encoder), X, random, owner, context, "fit-encoder", sample_weight
    )
    return vae


def fitted_part(
    part: Any,
    X: Any,
    random: np.random.RandomState,
    owner: Any,
    context: Any,
    task_name: str,
    sample_weight: np.ndarray | None = None,
) -> Any:
    """Fit an estimator that is a part of ``owner`` to all rows, as a task of its callback context; return it.

    ``random`` seeds it unless it has a ``random_state`` of its own.
    """
    part = seeded(part, random)
    task = context.subcontext(task_name=task_name)
    with task.propagate_callback_context(part):
        task.call_on_fit_task_begin(estimator=owner, X=X)
        with interrupts_raise():  # there is no owner yet that could be kept
            part.fit(X, sample_weight=own_part(sample_weight, X))
        task.call_on_fit_task_end(estimator=owner, X=X)
    return part


def updated_encoder(
    encoder: Any,
    previous: VAE | None,
    X: Any,
    sample_weight: np.ndarray | None,
    random: np.random.RandomState,
    default: VAE,
) -> VAE:
    """Return the encoder after ``partial_fit`` to a part: as ``fitted_encoder``, or a copy of the previous one."""
    if isinstance(encoder, FrozenEstimator):
        return frozen_vae(encoder.estimator, X.shape[1])
    if previous is None:
        vae = seeded(default if encoder is None else clone(encoder), random)
    else:
        vae = copy.copy(previous)
        wanted = (default if encoder is None else encoder).get_params()
        vae.set_params(**wanted | {"random_state": previous.random_state})
    return vae.partial_fit(X, sample_weight=sample_weight)


def seeded(part: Any, random: np.random.RandomState) -> Any:
    """Set a seed if the estimator has none; return it, changed."""
    if part.random_state is None:
        part.set_params(random_state=int(random.randint(np.iinfo(np.int32).max)))
    return part


def frozen_vae(vae: Any, n_columns: int) -> VAE:
    """Check that a frozen estimator is a VAE that was fitted on ``n_columns`` columns, and return it."""
    if not isinstance(vae, VAE):
        raise ValueError(
            f"encoder must freeze a fitted skdgm.VAE, got a frozen {type(vae).__name__}. Use FrozenEstimator(vae)."
        )
    check_is_fitted(vae)
    if vae.n_features_in_ != n_columns:
        raise ValueError(
            f"the frozen encoder was fitted on {vae.n_features_in_} columns, X has {n_columns}. Fit the VAE on "
            "the same columns."
        )
    return vae


def check_frozen_names(encoder: Any, X: Any) -> None:
    """Raise or warn, as scikit-learn does, if the column names of X are not those of a frozen encoder."""
    if not isinstance(encoder, FrozenEstimator) or not isinstance(encoder.estimator, VAE):
        return
    try:
        _check_feature_names(encoder.estimator, header_of(X), reset=False)
    except ValueError as error:
        raise ValueError(f"X does not have the columns of the frozen encoder. {error}") from error


def active_dimensions(mean: np.ndarray, threshold: float) -> np.ndarray:
    """Return the indices of dimensions whose means have an sd above ``threshold``, or of all if none has."""
    active = np.flatnonzero(mean.std(0).astype(np.float64) > threshold)  # a large threshold is none in float32
    return active if len(active) else np.arange(mean.shape[1])


def code_scales(mean: np.ndarray, sd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of codes drawn from the q(z | x) of all rows, 0 and 1 if they fit p(z) = N(0, I)."""
    total = np.sqrt(mean.var(0, dtype=np.float64) + np.square(sd, dtype=np.float64).mean(0))
    return mean.mean(0, dtype=np.float64).astype(np.float32), total.astype(np.float32)
