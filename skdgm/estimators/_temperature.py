"""The temperature of class probabilities, fitted to labels that were held out of training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from skdgm._warnings import silenced
from skdgm.estimators._class_prior import label_counts
from skdgm.estimators._interrupt import interrupts_raise
from skdgm.estimators._shards import of_rows

# Prior sd of the logarithm of a temperature: a few labels say little, and draw it only a little way from 1.
LOG_TEMPERATURE_SD = 0.5
LARGEST_LOG_TEMPERATURE = 4.0
# Probability of a class that had no labels in a fold.
SMALLEST_PROBABILITY = 1e-12

# Parameters in which the models of the folds differ from the classifier.
PARAMS_OF_FOLDS = {
    "calibration_cv": None,
    "unlabeled_value": -1,
    "warm_start": False,
    "verbose": False,
    "checkpoint": None,  # their trainings belong to that of the classifier
}


def with_temperature(log_proba: np.ndarray, temperature: float) -> np.ndarray:
    """Divide logits by the temperature and normalize them; a temperature of 1 changes nothing."""
    return log_proba if temperature == 1 else log_softmax(log_proba / temperature, axis=1)


def fit_temperature(log_proba: np.ndarray, targets: np.ndarray, weight: np.ndarray | float = 1.0) -> float:
    """Fit the temperature at which held-out labels are most probable, under a log-normal prior around 1.

    Parameters
    ----------
    log_proba : ndarray of shape (n_labeled, n_classes)
        Log-probabilities from models that did not see these labels.
    targets : ndarray of shape (n_labeled,)
        Class indices.
    weight : ndarray of shape (n_labeled,) or float
        Weights of the rows.

    Returns
    -------
    float
        Above 1 if the probabilities were too close to 0 and 1.
    """

    def loss(log_temperature: float) -> float:
        scaled = with_temperature(log_proba, np.exp(log_temperature))
        log_likelihood = (weight * scaled[np.arange(len(targets)), targets]).sum()
        return -log_likelihood + 0.5 * (log_temperature / LOG_TEMPERATURE_SD) ** 2

    limits = (-LARGEST_LOG_TEMPERATURE, LARGEST_LOG_TEMPERATURE)
    return float(np.exp(minimize_scalar(loss, bounds=limits, method="bounded").x))


def folds(targets: np.ndarray, n_folds: int, random: np.random.RandomState) -> list[np.ndarray]:
    """Split the indices of the labeled rows into folds over which each class is spread evenly."""
    shuffled = random.permutation(np.flatnonzero(targets >= 0))
    by_class = shuffled[np.argsort(targets[shuffled], kind="stable")]
    return [by_class[start::n_folds] for start in range(min(n_folds, len(by_class)))]


def temperatures(
    fitted: Callable[[np.ndarray], Any],
    X: Any,
    targets: np.ndarray,
    weight: np.ndarray | None,
    n_classes: int,
    n_folds: int,
    methods: list[str],
    random: np.random.RandomState,
) -> dict[str, float]:
    """Fit a temperature for each ``proba_method`` by cross-validation over the labels.

    A held-out label whose class has no other label says nothing, and is left out; without any, temperatures are 1.

    Parameters
    ----------
    fitted : callable
        Takes class indices, -1 for unlabeled rows, and returns a classifier fitted to all rows.
    X : array, frame or stream of shape (n_samples, n_features)
    targets : ndarray of shape (n_samples,)
        Class indices, -1 for unlabeled rows. The held-out rows of a fold stay among the rows, as unlabeled ones.
    weight : ndarray of shape (n_samples,) or None
        Weights of the rows.
    n_classes, n_folds : int
    methods : list of str
        Values of ``proba_method``.
    random : RandomState
        Draws the folds.
    """
    log_proba: dict[str, list[np.ndarray]] = {method: [np.empty((0, n_classes))] for method in methods}
    used, scales = [np.empty(0, int)], [np.empty(0)]
    of_labels = label_counts(targets, n_classes, weight)
    for fold in folds(targets, n_folds, random):
        y = targets.copy()
        y[fold] = -1
        fold = fold[np.isin(targets[fold], y[y >= 0])]
        if not len(fold):
            continue
        used.append(fold)
        with interrupts_raise(), silenced():  # no model yet that could be kept; it warns for all of them
            model = fitted(y)
        prior = model.class_prior_[np.searchsorted(model.classes_, targets[fold])]
        scales.append(prior / of_labels[targets[fold]])  # probabilities are those under p(y), not the labels' shares
        for method in methods:
            found = np.full((len(fold), n_classes), np.log(SMALLEST_PROBABILITY))
            found[:, model.classes_] = of_rows(model.set_params(proba_method=method).predict_log_proba, X, fold)
            log_proba[method].append(found)
    rows = np.concatenate(used)
    if not len(rows):
        return dict.fromkeys(methods, 1.0)
    scale = np.concatenate(scales) * (1.0 if weight is None else weight[rows])
    return {
        method: fit_temperature(np.concatenate(parts), targets[rows], scale / scale.mean())
        for method, parts in log_proba.items()
    }
